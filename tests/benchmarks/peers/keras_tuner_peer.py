"""A search by keras-tuner: a script as its guide teaches it.

Source: https://keras.io/guides/keras_tuner/getting_started, keras-tuner 1.4.8.
"""

import argparse
import json

import keras
import keras_tuner as kt
from rules import EPOCHS, PATIENCE
from training import Reports, model_of, train

from fmnist_model.data import load_data
from fmnist_model.mlp import published


class Recorded(kt.HyperModel):
    """The published space, whose every epoch is written down."""

    def __init__(self, out: str) -> None:
        super().__init__()
        self._out = out

    def build(self, hp):
        return published(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        return model.fit(
            *args, callbacks=[*callbacks, Reports(self._out, dict(hp.values))], **kwargs
        )


def main() -> None:
    """Search until ended from outside: keras-tuner has no budget of time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tuner", choices=["hyperband", "bayesian", "random"], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--first", type=json.loads, help="configuration, as JSON")
    asked = parser.parse_args()
    splits = load_data(seed=asked.seed)
    keras.utils.set_random_seed(asked.seed)
    if asked.first:  # it has no setting for a first configuration: the baseline is trained before
        model = model_of("published", asked.first)
        train("published", model, asked.first, splits, [Reports(asked.out, asked.first)])
    common = {
        "objective": "val_accuracy",
        "seed": asked.seed,
        "directory": asked.folder,
        "project_name": "keras-tuner",
    }
    hypermodel = Recorded(asked.out)
    many = 1_000
    if asked.tuner == "hyperband":
        tuner = kt.Hyperband(hypermodel, max_epochs=EPOCHS, hyperband_iterations=many, **common)
    elif asked.tuner == "bayesian":
        tuner = kt.BayesianOptimization(hypermodel, max_trials=many, **common)
    else:
        tuner = kt.RandomSearch(hypermodel, max_trials=many, **common)
    tuner.search(
        *splits.train,
        validation_data=splits.validation,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE["published"])],
    )


if __name__ == "__main__":
    main()
