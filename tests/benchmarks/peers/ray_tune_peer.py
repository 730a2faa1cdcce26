"""A search by plain Ray Tune with ASHA: a function trainable and Ray's own callback for Keras.

Source: https://docs.ray.io/en/latest/tune, "Using Keras & TensorFlow with Tune", "Tune Trial
Schedulers" and "ray.tune.TuneConfig", Ray 2.60.
"""

import argparse
import json
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from rules import EPOCHS

from fmnist_model.data import load_data

PUBLISHED = {
    "hidden_layers": tune.randint(1, 11),
    "neurons": tune.randint(16, 513),
    "activation": tune.choice(["relu", "tanh"]),
    "optimizer": tune.choice(["sgd", "adam", "nadam"]),
    "dropout": tune.uniform(0.0, 0.5),
    "l2": tune.choice([0.0, 1e-5, 1e-4]),
}
WIDE = {
    "hidden_layers": tune.randint(1, 7),
    "neurons": tune.lograndint(64, 1025),
    "activation": tune.choice(["relu", "tanh"]),
    "optimizer": tune.choice(["sgd", "adam", "nadam"]),
    "dropout": tune.uniform(0.0, 0.5),
    "sgd_learning_rate": tune.loguniform(0.01, 0.3),
    "learning_rate": tune.loguniform(1e-4, 1e-2),
    "penalize_weights": tune.choice([False, True]),
    "l2": tune.loguniform(1e-6, 1e-3),
    "batch_size": tune.choice([32, 64, 96, 128, 192, 256, 384, 512]),
    "schedule": tune.choice(["constant", "cosine"]),
}
SPACES = {"published": PUBLISHED, "wide": WIDE}


def trainable(config, splits, space, out):
    """Train one configuration, an epoch reported to Ray Tune each."""
    import tensorflow as tf

    # One CPU a trial: without this, two trials would have two threads each on two cores.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    from ray.tune.integration.keras import TuneReportCheckpointCallback
    from training import Reports, model_of, train

    keras.backend.clear_session()  # of the trial before, where processes are reused
    # No checkpoints, as in Ray's example: ASHA needs none.
    report = TuneReportCheckpointCallback(checkpoint_on=[], metrics=["val_accuracy"])
    train(space, model_of(space, config), config, splits, [Reports(out, config), report])


def main() -> None:
    """Search for so many seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=SPACES, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--first", type=json.loads, help="configuration, as JSON")
    parser.add_argument("--reuse-actors", action="store_true", help="one process for many trials")
    asked = parser.parse_args()
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                trainable,
                splits=load_data(seed=asked.seed),
                space=asked.space,
                out=os.path.abspath(asked.out),
            ),
            {"cpu": 1},
        ),
        param_space=SPACES[asked.space],
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=4),
            search_alg=BasicVariantGenerator(
                points_to_evaluate=[asked.first] if asked.first else None, random_state=asked.seed
            ),
            num_samples=-1,
            time_budget_s=asked.seconds,
            reuse_actors=asked.reuse_actors,
        ),
        run_config=tune.RunConfig(storage_path=os.path.abspath(asked.folder), name="ray-tune"),
    )
    tuner.fit()


if __name__ == "__main__":
    main()
