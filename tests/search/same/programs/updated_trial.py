"""Tells the oracle of each trial itself, as tuners of former versions do."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np
from sklearn.model_selection import train_test_split

rng = np.random.default_rng(4)
x = rng.normal(size=(100, 4)).astype("float32")
y = (x[:, 0] > x[:, 1]).astype("int32")


def build_model(hp):
    model = keras.Sequential(
        [keras.layers.Dense(hp.Int("units", 4, 12, 4), "relu"), keras.layers.Dense(2, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class HoldoutTuner(kt.Tuner):
    def run_trial(self, trial, x, y, repeats=2, **kwargs):
        batch_size = trial.hyperparameters.Choice("batch_size", [10, 20])
        scores = []
        for repeat in range(repeats):
            x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=repeat)
            model = self.hypermodel.build(trial.hyperparameters)
            model.fit(x_train, y_train, batch_size=batch_size, **kwargs)
            scores.append(model.evaluate(x_test, y_test, verbose=0))
        loss, accuracy = np.mean(scores, axis=0)
        self.oracle.update_trial(trial.trial_id, {"val_loss": loss, "val_accuracy": accuracy})
        model.save_weights(self.weights_file(trial.trial_id))

    def weights_file(self, trial_id):
        return os.path.join(self.get_trial_dir(trial_id), "model.weights.h5")

    def load_model(self, trial):
        model = self.hypermodel.build(trial.hyperparameters)
        model.build((None, 4))
        model.load_weights(self.weights_file(trial.trial_id))
        return model


class StepwiseTuner(HoldoutTuner):
    def run_trial(self, trial, x, y):
        model = self.hypermodel.build(trial.hyperparameters)
        for epoch in range(3):
            model.train_on_batch(x, y)
            # The second epoch is the best.
            self.oracle.update_trial(trial.trial_id, {"val_accuracy": epoch % 2 / 2}, step=epoch)
        model.save_weights(self.weights_file(trial.trial_id))


def search(tuner_class, name, **arguments):
    oracle = kt.oracles.RandomSearchOracle(kt.Objective("val_accuracy", "max"), 2, seed=3)
    tuner = tuner_class(
        oracle=oracle, hypermodel=build_model, directory="my_dir", project_name=name
    )
    tuner.search(x, y, **arguments)
    best = tuner.oracle.get_best_trials(1)[0]
    return {
        "statuses": [trial.status for trial in tuner.oracle.trials.values()],
        "metrics": sorted(best.metrics.metrics),
        "score": bool(best.score == best.metrics.get_best_value("val_accuracy")),
        "step": best.best_step,
        "tuned": sorted(best.hyperparameters.values),
        "predictions": tuner.get_best_models()[0].predict(x, verbose=0).shape,
    }


holdout = search(HoldoutTuner, "holdout", repeats=2, epochs=1, verbose=0)
print(json.dumps([holdout, search(StepwiseTuner, "stepwise")]))
