"""A tuner subclass: run_trial tunes the batch size and returns what a callback has counted."""

import search.kt as kt
import keras
from sklearn.datasets import load_digits


class Batches(keras.callbacks.Callback):
    returned_attributes = ("count",)

    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


class BatchSizeTuner(kt.RandomSearch):
    def run_trial(self, trial, *args, **kwargs):
        kwargs["batch_size"] = trial.hyperparameters.Int("batch_size", 32, 256, step=32)
        return super().run_trial(trial, *args, **kwargs)


def build_model(hp):
    model = keras.Sequential([keras.Input((64,))])
    model.add(keras.layers.Dense(hp.Int("units", 16, 128, step=16), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    x, y = load_digits(return_X_y=True)
    tuner = BatchSizeTuner(
        build_model, "val_accuracy", max_trials=6, seed=0, project_name="own_tuner"
    )
    tuner.search(x / 16, y, epochs=9, validation_split=0.2, callbacks=[Batches()])
    best = tuner.oracle.get_best_trials()[0]
    batches = best.returned["Batches"]["count"]
    print(f"best: {best.hyperparameters.values}, {batches} batches, val_accuracy {best.score:.4f}")


if __name__ == "__main__":
    main()
