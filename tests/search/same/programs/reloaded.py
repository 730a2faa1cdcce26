"""A tuner with a state of its own, which is made again and goes on."""

import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(10)
x = rng.normal(size=(80, 3)).astype("float32")
y = x.sum(axis=1)


def build_model(hp):
    model = keras.Sequential([keras.Input((3,))])
    model.add(keras.layers.Dense(hp.Int("units", 1, 30), activation="relu"))
    model.add(keras.layers.Dense(1))
    model.compile(
        keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")), "mse", metrics=["mae"]
    )
    return model


class CountingTuner(kt.BayesianOptimization):
    def __init__(self, hypermodel, *args, name="counting", **kwargs):
        self.calls = {"search": 0, "begin": 0, "end": 0}
        self.name = name
        super().__init__(hypermodel, *args, **kwargs)
        self.made = True

    def get_state(self):
        return {**super().get_state(), "calls": self.calls, "name": self.name}

    def set_state(self, state):
        super().set_state(state)
        self.calls = state["calls"]

    def on_search_begin(self):
        self.calls["search"] += self.made
        super().on_search_begin()

    def on_trial_begin(self, trial):
        self.calls["begin"] += trial.status == "RUNNING"
        super().on_trial_begin(trial)

    def on_trial_end(self, trial):
        self.calls["end"] += 1
        super().on_trial_end(trial)

    def search(self, *args, epochs=2, **kwargs):
        super().search(*args, epochs=epochs, **kwargs)
        return self.get_best_hyperparameters()[0]


def make_tuner(max_trials, **kwargs):
    return CountingTuner(
        build_model, "val_mae", max_trials, seed=5, directory="my_dir", project_name="run", **kwargs
    )


def describe(tuner):
    statuses = [trial.status for _, trial in sorted(tuner.oracle.trials.items())]
    return [statuses, dict(tuner.calls), tuner.remaining_trials]


data = {"validation_data": (x[60:], y[60:]), "verbose": 0}
tuner = make_tuner(2, overwrite=True, name="first")
told = [describe(tuner)]
best = tuner.search(x[:60], y[:60], **data)
told.append(describe(tuner))
scores = {trial.trial_id: trial.score for trial in tuner.oracle.trials.values()}

again = make_tuner(3, overwrite=False, name="second")
told.append(describe(again))
same = {trial.trial_id: trial.score for trial in again.oracle.trials.values()} == scores
again.search(x[:60], y[:60], **data)
told.append(describe(again))

third = make_tuner(3)
told.append(describe(third))
model = third.get_best_models()[0]
score = third.oracle.get_best_trials()[0].score
print(
    json.dumps(
        {
            "told": told,
            "same": same,
            "tuned": sorted(best.values),
            "weights": bool(np.isclose(model.evaluate(*data["validation_data"], 32, 0)[1], score)),
            "names": [tuner.name, again.name, third.name],
        }
    )
)
