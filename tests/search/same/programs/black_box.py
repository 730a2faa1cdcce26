"""Searches for the best point of a function, without a model."""

import json

import keras_tuner as kt
import numpy as np


def cost(data, x, y, kind):
    return float(np.mean((data - x) ** 2) + abs(y) + (kind == "rough"))


class FunctionTuner(kt.RandomSearch):
    def run_trial(self, trial, data, **kwargs):
        hp = trial.hyperparameters
        kind = hp.Choice("kind", ["rough", "smooth"])
        y = hp.Int("y", 0, 4) if kind == "smooth" else 5
        return cost(data, hp.Float("x", -1.0, 1.0), y, kind)


class ScoreTuner(kt.BayesianOptimization):
    """Returns several values, one of which is the objective."""

    def __init__(self, offset, **kwargs):
        self.offset = offset
        super().__init__(**kwargs)

    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        x, y = hp.Float("x", 0.0, 1.0), hp.Float("y", 1e-3, 1.0, sampling="log")
        if hp.Boolean("bad"):
            raise kt.errors.FailedTrialError("this point is out of the question")
        values = [self.offset - (x - 0.3) ** 2 - part * y for part in (1, 2)]
        return [{"score": value, "x": x} for value in values]


def describe(tuner):
    trials = sorted(tuner.oracle.trials.items())
    return {
        "trials": [[key, trial.status, trial.hyperparameters.values] for key, trial in trials],
        "scores": [trial.score and round(trial.score, 9) for _, trial in trials],
        "best": tuner.get_best_hyperparameters()[0].values,
        "space": sorted(parameter.name for parameter in tuner.oracle.get_space().space),
        "remaining": tuner.remaining_trials,
    }


function = FunctionTuner(max_trials=8, seed=3, directory="my_dir", project_name="function")
function.search(np.linspace(0, 1, 50), verbose=0)

score = ScoreTuner(
    offset=2.0,
    objective=kt.Objective("score", "max"),
    max_trials=7,
    num_initial_points=3,
    max_consecutive_failed_trials=7,
    seed=4,
    directory="my_dir",
    project_name="score",
)
score.search()
metrics = score.oracle.get_best_trials()[0].metrics
print(
    json.dumps(
        {
            "function": describe(function),
            "score": describe(score),
            "metrics": {name: metrics.get_direction(name) for name in sorted(metrics.metrics)},
        }
    )
)
