"""An oracle and a tuner that prepares the data, as libraries on top of keras-tuner have them."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(11)
x = rng.normal(5.0, 3.0, size=(80, 6)).astype("float32")
y = (x[:, 0] > 5).astype("int32")
ended = []


class GreedyOracle(kt.Oracle):
    """Begins with the defaults, then changes the best trial so far."""

    def populate_space(self, trial_id):
        hp = self.get_space()
        best = [trial for trial in self.get_best_trials() if trial.score is not None]
        values = dict((best[0].hyperparameters if best else hp).values)
        values["units"] = 4 + 2 * len(self.start_order)
        if self._compute_values_hash(values) in self._tried_so_far:
            return {"status": kt.engine.trial.TrialStatus.STOPPED, "values": None}
        return {"status": kt.engine.trial.TrialStatus.RUNNING, "values": values}

    def score_trial(self, trial):
        super().score_trial(trial)
        trial.score += 0.001 * trial.hyperparameters.get("units")

    def end_trial(self, trial):
        super().end_trial(trial)
        ended.append([trial.trial_id, trial.status])


class PipelineTuner(kt.Tuner):
    def __init__(self, oracle, hypermodel, **kwargs):
        self.shape = None
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)

    def _populate_initial_space(self):
        """The space is known only when the data are."""

    def _build_hypermodel(self, hp):
        self.hypermodel.num_features = self.shape
        return super()._build_hypermodel(hp)

    def _prepare(self, hp, x):
        self.shape = hp.Choice("features", [3, 6])
        return x[:, : self.shape]

    def _build_and_fit_model(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        kwargs["x"] = self._prepare(hp, kwargs["x"])
        x, y = kwargs["validation_data"]
        kwargs["validation_data"] = (self._prepare(hp, x), y)
        with open(os.path.join(self.get_trial_dir(trial.trial_id), "pipeline.json"), "w") as file:
            json.dump({"features": self.shape}, file)
        model = self._try_build(hp)
        return model.fit(*args, **kwargs)

    def load_model(self, trial):
        with open(os.path.join(self.get_trial_dir(trial.trial_id), "pipeline.json")) as file:
            self.shape = json.load(file)["features"]
        return super().load_model(trial)


class Classifier(kt.HyperModel):
    num_features = None

    def build(self, hp):
        model = keras.Sequential([keras.Input((self.num_features,))])
        model.add(keras.layers.Dense(hp.Int("units", 4, 32, step=2), activation="relu"))
        model.add(keras.layers.Dense(2, activation="softmax"))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


oracle = GreedyOracle(objective=kt.Objective("val_loss", "min"), max_trials=3, seed=1)
tuner = PipelineTuner(oracle, Classifier(), directory="my_dir", project_name="pipeline")
tuner.search(x=x[:60], y=y[:60], validation_data=(x[60:], y[60:]), epochs=2, verbose=0)

trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
best = tuner.oracle.get_best_trials()[0]
model = tuner.get_best_models()[0]
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in trials],
            "units": [trial.hyperparameters.values["units"] for trial in trials],
            "features": [trial.hyperparameters.values.get("features") for trial in trials],
            "ended": ended,
            "files": os.listdir(tuner.get_trial_dir(best.trial_id)).count("pipeline.json"),
            "predictions": model.predict(tuner._prepare(best.hyperparameters, x), verbose=0).shape,
        }
    )
)
