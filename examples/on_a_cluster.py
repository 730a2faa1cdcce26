"""A search on the Ray cluster that RAY_ADDRESS or the argument names; without one, on this machine.

On a node of the cluster: ``python on_a_cluster.py auto``.
"""

import sys

from search import RayTuner
import keras
from sklearn.datasets import load_digits


def build_model(hp):
    model = keras.Sequential([keras.Input((64,))])
    model.add(keras.layers.Dense(hp.Int("units", 16, 256, step=16), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def main():
    x, y = load_digits(return_X_y=True)
    address = sys.argv[1] if len(sys.argv) > 1 else None
    tuner = RayTuner(
        build_model,
        "val_accuracy",
        max_trials=12,
        seed=0,
        address=address,
        project_name="on_a_cluster",
    )
    tuner.search(x / 16, y, epochs=9, validation_split=0.2)
    trials = tuner.oracle.get_best_trials(3)
    print("best three:", *(f"{trial.score:.4f}" for trial in trials))


if __name__ == "__main__":
    main()
