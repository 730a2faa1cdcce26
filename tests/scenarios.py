"""Scripts for keras-tuner, run under ``keras_tuner`` and under ``search.kt`` in turn.

A scenario gets a ``Script`` and returns a tuner. Unless it trains, the score of a trial follows
from its configuration alone, so that both must come to the same.
"""

import contextlib
import io
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

import problems

TRAIN, VALIDATION, _ = problems.blobs()
REGRESSION = problems.regression_data()[0]


@dataclass
class Script:
    """A script as a user writes it, with the module that it imports.

    Attributes:
        kt: The module: ``keras_tuner`` or ``search.kt``.
        folder: A folder of its own.
        options: What ``search.kt`` needs so that one trial follows the other, and none is stopped.
        said: What hooks, oracles and callbacks in the process of the script have noted.
        oracle: The oracle of the script, if it makes one itself.
    """

    kt: types.ModuleType
    folder: Path
    options: dict[str, Any]
    said: list[Any] = field(default_factory=list)
    oracle: Any = None

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """Return the arguments of a tuner: its folder, the options, and what the scenario adds."""
        return {"directory": self.folder, "project_name": "run", **self.options, **changes}

    def note(self, name: str) -> Path:
        """Return a file through which a hypermodel in a worker notes something."""
        return self.folder / name


@dataclass
class Outcome:
    """What came of a script: its tuner, what it printed, and the error that ended it."""

    script: Script
    tuner: Any = None
    error: Exception | None = None
    printed: str = ""

    @property
    def trials(self) -> list[Any]:
        """The trials, in the order of their ids."""
        return [trial for _, trial in sorted(self.tuner.oracle.trials.items())]

    @property
    def best(self) -> list[Any]:
        """All trials, the best first."""
        return list(self.tuner.oracle.get_best_trials(100))

    @property
    def notes(self) -> list[str]:
        """The lines that hypermodels noted in workers."""
        file = self.script.note("noted")
        return file.read_text().splitlines() if file.exists() else []


def run(scenario: Callable[[Script], Any], script: Script) -> Outcome:
    """Run a scenario; an error ends it as it ends a script."""
    outcome = Outcome(script)
    output = io.StringIO()
    # A script does not turn warnings into errors, nor does it lose a failed trial to one.
    with contextlib.redirect_stdout(output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for tuner in scenario(script):
                outcome.tuner = tuner
        except Exception as error:
            outcome.error = error
    outcome.printed = output.getvalue()
    return outcome


# --- Hypermodels ----------------------------------------------------------------------------------


def tiny_model(units=1):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    return model


def declare(hp):
    """Register one hyperparameter of each kind."""
    hp.Int("units", 1, 40)
    hp.Int("step", 0, 10, step=5)
    hp.Float("rate", 1e-3, 1e-1, sampling="log")
    hp.Float("share", 0.0, 0.5, step=0.25)
    hp.Choice("name", ["a", "b", "c"], default="b")
    hp.Choice("number", [1, 2, 3])
    hp.Choice("fraction", [0.5, 1.5])
    hp.Boolean("deep")
    hp.Fixed("batch", 16)
    hp.Choice("kind", ["plain", "scaled"])
    with hp.conditional_scope("kind", ["scaled"]):
        hp.Int("scale", 2, 5)
    with hp.name_scope("head"):
        hp.Int("units", 1, 3)


class Scored(keras_tuner.HyperModel):
    """Its score follows from the configuration."""

    def build(self, hp):
        declare(hp)
        return tiny_model()

    def fit(self, hp, model, *args, **kwargs):
        return self.score(hp)

    def score(self, hp):
        return hp.get("units") + hp.get("rate") - hp.get("number") / 7


class InFit(keras_tuner.HyperModel):
    """Registers one more hyperparameter in ``fit``."""

    def build(self, hp):
        hp.Int("units", 1, 9)
        return tiny_model()

    def fit(self, hp, model, *args, **kwargs):
        return float(hp.get("units") + hp.Choice("batch_size", [16, 32]))


class Growing(keras_tuner.HyperModel):
    """Registers more hyperparameters the more layers it has."""

    def build(self, hp):
        for layer in range(hp.Int("layers", 1, 3)):
            hp.Int(f"units_{layer}", 1, 9)
        return tiny_model()

    def fit(self, hp, model, *args, **kwargs):
        return float(sum(hp.get(f"units_{layer}") for layer in range(hp.get("layers"))))


class Points(Scored):
    """Returns a dict, of which one value is to be maximized."""

    def fit(self, hp, model, *args, **kwargs):
        return {"points": self.score(hp), "cost": 2 * hp.get("units")}


class Noting(keras_tuner.HyperModel):
    """Notes each call of ``fit`` in a file, and does what its ``act`` does."""

    def __init__(self, file, act):
        super().__init__()
        self.file, self.act = file, act

    def build(self, hp):
        hp.Int("number", 0, 5)
        return tiny_model()

    def fit(self, hp, model, *args, **kwargs):
        with self.file.open("a") as file:
            file.write(f"{hp.get('number')}\n")
        return self.act(hp.get("number"), len(self.file.read_text().splitlines()))


def in_many_ways(number, _calls):
    """Fail in all ways but the last two."""
    if number == 0:
        raise keras_tuner.errors.FailedTrialError("not this one")
    if number == 1:
        raise ValueError("something went wrong")
    return {2: float("nan"), 3: [1.0, float("nan")], 4: 0.5, 5: np.float32(0.25)}[number]


def in_three_ways(number, _calls):
    """Fail, return a number, return a dict."""
    if number == 0:
        raise keras_tuner.errors.FailedTrialError("not this one")
    return 0.75 if number == 3 else {"default_objective": 0.5, "cost": 2.0}


def at_first(number, calls):
    """Fail at the first call of each two."""
    if calls % 2:
        raise ValueError("try again")
    return float(number)


def always(number, _calls):
    raise ValueError(f"{number} is out of order")


def fatally(number, _calls):
    raise keras_tuner.errors.FatalRuntimeError("the licence has expired")


def by_call(_number, calls):
    return float(calls)


def sized(hp):
    """A model of 5, 50 or 500 weights."""
    return tiny_model(hp.Choice("units", [1, 10, 100]))


def classifier(hp):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(hp.Int("units", 2, 9), "relu"),
            keras.layers.Dense(3),
        ]
    )
    model.compile(
        keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-1, sampling="log")),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


class Counting(keras.callbacks.Callback):
    """Counts epochs; a copy counts for itself."""

    def __init__(self, file):
        super().__init__()
        self.file, self.epochs = file, 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        with self.file.open("a") as file:
            file.write(f"epoch {epoch} is number {self.epochs}\n")


# --- Scenarios ------------------------------------------------------------------------------------


def scored(script):
    """Random search without an objective."""
    tuner = script.kt.RandomSearch(Scored(), max_trials=12, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def maximized(script):
    """An objective to maximize, in a dict that ``fit`` returns."""
    objective = script.kt.Objective("points", "max")
    tuner = script.kt.RandomSearch(Points(), objective, 5, 11, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def grid(script):
    """A grid to its end."""

    def build(hp):
        hp.Int("n", 1, 3, default=2)
        hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["b"]):
            hp.Choice("late", [1, 2, 3])
        return tiny_model()

    tuner = script.kt.GridSearch(OwnScore(build), seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


class OwnScore(keras_tuner.HyperModel):
    """Scores each configuration of a function alike."""

    def __init__(self, build):
        super().__init__()
        self.build = build

    def fit(self, hp, model, *args, **kwargs):
        return 1.0


def bayesian(script):
    """The Gaussian process takes over after three trials."""

    def build(hp):
        hp.Float("x", 0, 1)
        return tiny_model()

    class Near(OwnScore):
        def fit(self, hp, model, *args, **kwargs):
            return abs(hp.get("x") - 0.7)

    tuner = script.kt.BayesianOptimization(
        Near(build), max_trials=6, num_initial_points=3, seed=5, **script.arguments()
    )
    yield tuner
    tuner.search(verbose=0)


def hyperband(script):
    """Two brackets, of three trials and one, and of two."""
    tuner = script.kt.Hyperband(
        classifier, "val_accuracy", max_epochs=3, factor=3, seed=2, **script.arguments()
    )
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=1, verbose=0)


def registered_in_fit(script):
    tuner = script.kt.RandomSearch(InFit(), max_trials=4, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def growing(script):
    tuner = script.kt.RandomSearch(Growing(), max_trials=5, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def exhausted(script):
    """Six configurations, and more trials than that."""

    def build(hp):
        hp.Int("number", 1, 6)
        return tiny_model()

    tuner = script.kt.RandomSearch(OwnScore(build), max_trials=20, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def only_fixed(script):
    def build(hp):
        hp.Fixed("batch", 16)
        return tiny_model()

    tuner = script.kt.RandomSearch(OwnScore(build), max_trials=3, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def _noting(script, act, tuner="GridSearch", **arguments):
    made = getattr(script.kt, tuner)(
        Noting(script.note("noted"), act), **script.arguments(**arguments)
    )
    yield made
    made.search(verbose=0)


def failing(script):
    return _noting(script, in_many_ways, max_consecutive_failed_trials=9)


def retried(script):
    return _noting(script, in_many_ways, max_consecutive_failed_trials=9, max_retries_per_trial=2)


def recovering(script):
    return _noting(script, at_first, max_retries_per_trial=1)


def giving_up(script):
    return _noting(script, always, max_consecutive_failed_trials=2)


def giving_up_by_default(script):
    return _noting(script, always)


def failing_once(script):
    """One trial, which fails."""
    return _noting(script, always, max_trials=1)


def fatal(script):
    return _noting(script, fatally)


def repeated(script):
    return _noting(script, by_call, executions_per_trial=3, max_trials=2)


def oversized(script):
    tuner = script.kt.GridSearch(
        sized, "loss", **script.arguments(max_model_size=50, max_consecutive_failed_trials=9)
    )
    yield tuner
    tuner.search(*REGRESSION, epochs=1, verbose=0)


def trained(script):
    """Keras's own fit, with callbacks of Keras and of the user."""
    tuner = script.kt.RandomSearch(classifier, "val_accuracy", 2, 4, **script.arguments())
    script.said.append(Counting(script.note("noted")))
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=3, callbacks=script.said, verbose=0)


def several_objectives(script):
    objective = ["val_loss", script.kt.Objective("val_accuracy", "max")]
    tuner = script.kt.RandomSearch(classifier, objective, 2, 4, **script.arguments())
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=2, verbose=0)


def known_space(script, **arguments):
    hp = script.kt.HyperParameters()
    hp.Int("units", 30, 33)
    hp.Choice("name", ["c", "a"])
    hp.Fixed("rate", 0.5)
    tuner = script.kt.RandomSearch(
        Scored(), max_trials=4, seed=2, hyperparameters=hp, **script.arguments(**arguments)
    )
    script.said.append(hp)
    yield tuner
    tuner.search(verbose=0)


def overridden(script):
    return known_space(script)


def untuned(script):
    return known_space(script, tune_new_entries=False)


def not_allowed(script):
    return known_space(script, allow_new_entries=False)


def hooked(script):
    """A subclass that notes its hooks."""

    class Hooked(script.kt.RandomSearch):
        def __init__(self, own, *args, **kwargs):
            self.said = own
            super().__init__(*args, **kwargs)

        def on_search_begin(self):
            self.said.append("search begins")
            super().on_search_begin()

        def on_trial_begin(self, trial):
            self.said.append((trial.trial_id, trial.status, trial.score))
            super().on_trial_begin(trial)

        def on_trial_end(self, trial):
            self.said.append((trial.trial_id, trial.status))
            super().on_trial_end(trial)
            self.said.append((trial.trial_id, self.oracle.get_trial(trial.trial_id).score))

        def on_search_end(self):
            self.said.append("search ends")
            super().on_search_end()

    tuner = Hooked(script.said, Scored(), max_trials=3, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def reloaded(script):
    """The same script is run twice, the second time with more trials."""
    first = script.kt.RandomSearch(Scored(), max_trials=3, seed=3, **script.arguments())
    first.search(verbose=0)
    script.said.append(rows_of(first))
    again = script.kt.RandomSearch(Scored(), max_trials=5, seed=3, **script.arguments())
    script.said.append(rows_of(again))
    script.said.append(again.remaining_trials)
    yield again
    again.search(verbose=0)


def overwritten(script):
    first = script.kt.RandomSearch(Scored(), max_trials=2, seed=3, **script.arguments())
    first.search(verbose=0)
    again = script.kt.RandomSearch(
        Scored(), max_trials=3, seed=4, **script.arguments(overwrite=True)
    )
    script.said.append(len(again.oracle.trials))
    yield again
    again.search(verbose=0)


def rows_of(tuner):
    return [
        (trial.trial_id, trial.status, trial.score, trial.hyperparameters.values)
        for _, trial in sorted(tuner.oracle.trials.items())
    ]


class Returning(keras_tuner.HyperModel):
    """Returns what the configuration names."""

    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def build(self, hp):
        hp.Int("number", 0, len(self.returned) - 1)
        return tiny_model()

    def fit(self, hp, model, *args, **kwargs):
        return self.returned[hp.get("number")]


def returning(*returned):
    """Return a scenario whose ``fit`` returns these values, one after the other."""

    def scenario(script):
        objective = script.kt.Objective("points", "max")
        tuner = script.kt.GridSearch(Returning(returned), objective, **script.arguments())
        yield tuner
        tuner.search(verbose=0)

    return scenario


returned = returning(
    {"points": 1.0},
    2,
    [1.0, 3.0],
    [{"points": 1.0}, {"points": 2.0}],
    np.float32(0.5),
    {"points": 3, "cost": -1.0},
)
not_finite = returning(1.0, float("nan"), float("-inf"))


def without_a_model(script):
    def build(hp):
        hp.Int("n", 1, 9)

    tuner = script.kt.RandomSearch(OwnScore(build), max_trials=1, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def shown(script):
    """A search with all that the script leaves to the default."""
    tuner = script.kt.RandomSearch(
        classifier, "val_accuracy", 2, 4, directory=script.folder, project_name="run"
    )
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=2)


def misspelt(script):
    """An argument that ``fit`` does not have."""
    tuner = script.kt.RandomSearch(classifier, "val_accuracy", 9, 4, **script.arguments())
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epoch=2, verbose=0)


def not_reported(script):
    """An objective that no epoch reports."""
    objective = script.kt.Objective("val_acc", "max")
    tuner = script.kt.RandomSearch(classifier, objective, 9, 4, **script.arguments())
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=1, verbose=0)


def diverging(script):
    """The loss is no number from the first epoch on."""

    def build(hp):
        hp.Int("n", 1, 9)
        model = tiny_model()
        model.compile(keras.optimizers.SGD(float("nan")), "mse")
        return model

    tuner = script.kt.RandomSearch(build, "loss", 1, 4, **script.arguments())
    script.said.append(Counting(script.note("noted")))
    yield tuner
    tuner.search(*REGRESSION, epochs=3, callbacks=script.said, verbose=0)


def noting_oracle(script):
    """Return the class of an oracle that proposes by itself, and notes what is called."""

    class Noting(script.kt.Oracle):
        said = script.said

        def populate_space(self, trial_id):
            self.said.append(("populate_space", trial_id))
            calls = [call for call in self.said if call[0] == "populate_space"]
            if len(calls) in (2, 3):
                return {"status": "IDLE"}
            if len(calls) == 6:
                return {"status": "STOPPED"}
            return {"status": "RUNNING", "values": {"number": len(calls) - 1}}

        @script.kt.synchronized
        def update_trial(self, trial_id, metrics, step=0):
            self.said.append(("update_trial", trial_id, dict(metrics), step))
            return super().update_trial(trial_id, metrics, step)

        @script.kt.synchronized
        def end_trial(self, trial):
            self.said.append(("end_trial", trial.trial_id, trial.status))
            super().end_trial(trial)

        def score_trial(self, trial):
            self.said.append(("score_trial", trial.trial_id))
            super().score_trial(trial)

    return Noting


def own_oracle(script, act=in_three_ways, **arguments):
    """An oracle of the user that is idle for a while, proposes values of its own and stops."""
    oracle = noting_oracle(script)(max_trials=9, seed=1, **arguments)
    tuner = script.kt.Tuner(oracle, Noting(script.note("noted"), act), **script.arguments())
    script.oracle = oracle
    yield tuner
    tuner.search(verbose=0)


def own_oracle_with_retries(script):
    return own_oracle(script, act=at_first, max_retries_per_trial=1)


def own_score(script):
    """An oracle that scores trials by more than their metrics."""

    class Scoring(noting_oracle(script)):
        def score_trial(self, trial):
            super().score_trial(trial)
            trial.score += 1000 * trial.hyperparameters.get("number")

    tuner = script.kt.Tuner(
        Scoring(max_trials=9, seed=1),
        Noting(script.note("noted"), in_three_ways),
        **script.arguments(),
    )
    yield tuner
    tuner.search(verbose=0)


# --- Tuners of the user ---------------------------------------------------------------------------


def black_box(script):
    """No hypermodel: ``run_trial`` registers what it needs, and returns what to minimize."""

    class Own(script.kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            hp = trial.hyperparameters
            x, scale = hp.Float("x", -2.0, 2.0), hp.Choice("scale", [1, 2])
            return scale * x**2 + args[0] + kwargs["offset"]

    tuner = Own(max_trials=5, seed=1, **script.arguments())
    script.said.append([each.name for each in tuner.oracle.get_space().space])
    yield tuner
    tuner.search(10, offset=100)


def black_box_grid(script):
    class Own(script.kt.GridSearch):
        def run_trial(self, trial, *args, **kwargs):
            hp = trial.hyperparameters
            number = hp.Int("number", 0, 2)
            return {"points": number + hp.Choice("more", [0.5, 0.25]), "cost": number}

    tuner = Own(objective=script.kt.Objective("points", "max"), **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def around_fit(script):
    """``run_trial`` adds a hyperparameter and calls keras-tuner's own; hooks note what they see."""

    class Own(script.kt.RandomSearch):
        def __init__(self, file, *args, **kwargs):
            self.file = file
            super().__init__(*args, **kwargs)

        def _note(self, *words):
            with self.file.open("a") as file:
                file.write(f"{' '.join(map(str, words))}\n")

        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Choice("batch_size", [60, 120])
            self._note("trial", trial.trial_id, kwargs["batch_size"])
            return super().run_trial(trial, *args, **kwargs)

        def on_epoch_begin(self, trial, model, epoch, logs=None):
            self._note("begin", trial.trial_id, type(model).__name__, epoch)

        def on_epoch_end(self, trial, model, epoch, logs=None):
            self._note("end", trial.trial_id, epoch, *sorted(logs))

        def on_batch_end(self, trial, model, batch, logs=None):
            self._note("batch", trial.trial_id, batch)

    tuner = Own(script.note("noted"), classifier, "val_accuracy", 2, 4, **script.arguments())
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=2, verbose=0)


def failing_tuner(script):
    """``run_trial`` fails in several ways."""

    class Own(script.kt.GridSearch):
        def run_trial(self, trial, *args, **kwargs):
            number = trial.hyperparameters.Int("number", 0, 3)
            if number == 1:
                raise keras_tuner.errors.FailedTrialError("not this one")
            if number == 2:
                raise ValueError("something went wrong")
            return float(number)

    tuner = Own(max_consecutive_failed_trials=9, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def useless_tuner(script):
    class Own(script.kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            trial.hyperparameters.Int("number", 0, 3)

    tuner = Own(max_trials=9, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


class OwnError(Exception):
    """An error of the script's own."""


def hook_that_raises(script):
    class Raising(script.kt.RandomSearch):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            if len(self.oracle.trials) == 2:
                raise OwnError("this will do")

    tuner = Raising(Scored(), max_trials=9, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def watched(script):
    """Hooks look at the oracle and at the configuration of their trial."""

    class Watching(script.kt.RandomSearch):
        said = script.said

        def pre_create_trial(self):
            self.said.append(("next", len(self.oracle.trials), self.remaining_trials))

        def on_trial_begin(self, trial):
            self.said.append(("begin", trial.trial_id, dict(trial.hyperparameters.values)))
            self.said.append(("known", sorted(self.oracle.trials), self.oracle.start_order[:]))

        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            best = self.oracle.get_best_trials()[0]
            self.said.append(("best", best.trial_id, best.score, self.oracle.end_order[:]))

    tuner = Watching(Scored(), max_trials=4, seed=6, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def searched_twice(script):
    tuner = script.kt.RandomSearch(Scored(), max_trials=3, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)
    script.said.append(rows_of(tuner))
    tuner.search(verbose=0)


class Declared(Scored):
    """Declares a hyperparameter apart from its builder."""

    def declare_hyperparameters(self, hp):
        hp.Choice("declared", ["x", "y"])

    def fit(self, hp, model, *args, **kwargs):
        return self.score(hp) + (hp.get("declared") == "y")


def declared(script):
    tuner = script.kt.RandomSearch(Declared(), max_trials=3, seed=3, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def not_tunable(script):
    class OfUnits(Scored):
        def fit(self, hp, model, *args, **kwargs):
            return float(hp.get("units"))

    hypermodel = OfUnits(name="fixed", tunable=False)
    hp = script.kt.HyperParameters()
    hp.Int("units", 30, 33)
    tuner = script.kt.RandomSearch(
        hypermodel, max_trials=2, seed=3, hyperparameters=hp, **script.arguments()
    )
    script.said.append((hypermodel.name, hypermodel.tunable))
    yield tuner
    tuner.search(verbose=0)


def trained_twice(script):
    """Two executions of each training."""
    tuner = script.kt.RandomSearch(
        classifier, "val_loss", 2, 4, **script.arguments(executions_per_trial=2)
    )
    yield tuner
    tuner.search(*TRAIN, validation_split=0.25, epochs=2, verbose=0)


def compiled_anew(script):
    """The tuner's optimizer, loss and metrics replace those of the builder."""
    replaced = {
        "optimizer": keras.optimizers.SGD(0.25),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["sparse_categorical_accuracy"],
    }
    tuner = script.kt.RandomSearch(
        classifier, "val_sparse_categorical_accuracy", 2, 4, **script.arguments(**replaced)
    )
    yield tuner
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=1, verbose=0)


def early_stopping(script):
    tuner = script.kt.RandomSearch(classifier, "val_accuracy", 1, 4, **script.arguments())
    stopping = keras.callbacks.EarlyStopping("val_loss", min_delta=9, patience=1)
    script.said.append(Counting(script.note("noted")))
    yield tuner
    tuner.search(
        *TRAIN, validation_data=VALIDATION, epochs=9, callbacks=[stopping, *script.said], verbose=0
    )


def with_datasets(script):
    import tensorflow as tf

    train = tf.data.Dataset.from_tensor_slices(TRAIN).batch(60)
    held_out = tf.data.Dataset.from_tensor_slices(VALIDATION).batch(60)
    tuner = script.kt.RandomSearch(classifier, "val_accuracy", 1, 4, **script.arguments())
    script.said.append(Counting(script.note("noted")))
    yield tuner
    tuner.search(train, validation_data=held_out, epochs=2, callbacks=script.said, verbose=0)


def keeping(script):
    """Keeps what its trials find in an attribute of the tuner."""

    class Keeping(script.kt.RandomSearch):
        returned_attributes = ("kept",)

        def __init__(self, **arguments):
            self.kept = {}
            super().__init__(**arguments)

        def run_trial(self, trial, **kwargs):
            self.kept[trial.trial_id] = trial.hyperparameters.Int("n", 1, 9)
            return self.kept[trial.trial_id]

    tuner = Keeping(max_trials=2, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)


def stepwise(script):
    """Tells the oracle of three epochs, of which the second is the best."""

    class Stepwise(script.kt.RandomSearch):
        def run_trial(self, trial, **kwargs):
            trial.hyperparameters.Int("n", 1, 9)
            for step, points in enumerate((1.0, 3.0, 2.0)):
                self.oracle.update_trial(trial.trial_id, {"points": points}, step=step)

    objective = script.kt.Objective("points", "max")
    tuner = Stepwise(objective=objective, max_trials=1, seed=1, **script.arguments())
    yield tuner
    tuner.search(verbose=0)
