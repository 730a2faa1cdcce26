"""A trial on the data of a problem: what it reports, what it leaves, and how it ends."""

import socket

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import problems
from results.record.columns import State
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.errors import ProblemError
from search.space.parameters import PARENT_TRIAL
from search.storage.folder import RunFolder
from search.worker.callbacks import ObjectiveMissing
from search.worker.data import Data
from search.worker.single_trial import kt_objective
from search.worker.trial_end import TrialEnd
from search.worker.weights import load_best_weights

TRAIN, VALIDATION, _ = problems.blobs(1)
DATA = Data(train=TRAIN, validation=VALIDATION)
SMALL = {"units": 8, "rate": 0.01}


@pytest.fixture
def run(train):
    """Run a trial of at most four epochs on splits of data."""

    def run(hypermodel="problems:small", values=SMALL, **options):
        options = {"stored": DATA, "max_epochs": 4, "patience": 5} | options
        return train(hypermodel, values=values, **options)

    return run


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


def hyperparameters(values):
    hp = kt.HyperParameters()
    hp.values = dict(values)
    return hp


def layered(hp=None, *, rate=0.01, model_class=keras.Sequential):
    model = model_class([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile(
        keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


# --- Reports --------------------------------------------------------------------------------------


def test_a_trial_reports_every_epoch_with_its_metrics(run):
    end, reports = run()
    assert end == TrialEnd(State.COMPLETED)
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    for report in reports:
        assert set(report["metrics"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert report["objective"] == report["metrics"]["val_accuracy"]
        assert report["epoch_seconds"] > 0


def test_the_first_epoch_reports_the_values_and_parameters_that_were_used(run):
    _, [first, second, *_] = run(values=SMALL | {"unused": 3})
    assert first["values"] == SMALL
    assert [row["name"] for row in first["space"]] == ["units", "rate"]
    assert "values" not in second
    assert "space" not in second


def test_the_first_epoch_reports_how_the_trial_trains(run):
    _, [first, second, *_] = run()
    assert first["path"] == {"name": "fast", "reason": None, "continued_from": 0}
    assert "path" not in second


def test_a_trial_without_the_fast_epoch_says_so(run):
    _, [first, *_] = run(fast_epoch=False)
    assert (first["path"]["name"], first["path"]["reason"]) == ("keras", "switched off")


# --- Random numbers -------------------------------------------------------------------------------


def metrics(reports):
    return [report["metrics"] for report in reports]


def test_a_trial_repeats_to_the_bit_whatever_its_process_trained_before(run):
    _, first = run(trial=3)
    run(values={"units": 5, "rate": 0.1}, trial=4)
    _, again = run(trial=3)
    assert metrics(again) == metrics(first)


@pytest.mark.parametrize("other", [{"trial": 5}, {"seed": 2}])
def test_another_trial_or_run_has_other_random_numbers(run, other):
    _, first = run(max_epochs=1, trial=3)
    _, second = run(max_epochs=1, **({"trial": 3} | other))
    assert metrics(second) != metrics(first)


# --- How a trial ends -----------------------------------------------------------------------------


class Notes(keras.Sequential):
    """A model that notes how many epochs each ``fit`` trained."""

    trained = []

    def fit(self, *args, **kwargs):
        history = super().fit(*args, **kwargs)
        Notes.trained.append(len(history.epoch))
        return history


def test_a_stopped_trial_lets_fit_return(run):
    Notes.trained.clear()
    end, reports = run(
        lambda hp: layered(model_class=Notes), report=lambda report: report["epoch"] < 2
    )
    assert end == TrialEnd(State.STOPPED)
    assert len(reports) == 2
    assert Notes.trained == [2]


def test_a_trial_whose_loss_does_not_improve_for_the_patience_ends_early(run):
    end, reports = run(lambda hp: layered(rate=0.0), patience=2, max_epochs=9)
    assert end.state is State.EARLY_STOPPED
    assert len(reports) == 3


def test_a_trial_without_patience_trains_all_its_epochs(run):
    end, reports = run(lambda hp: layered(rate=0.0), patience=0, max_epochs=4)
    assert end.state is State.COMPLETED
    assert len(reports) == 4


@pytest.mark.filterwarnings("ignore:All-NaN axis encountered:RuntimeWarning")  # keras-tuner's
def test_a_trial_whose_loss_is_not_finite_has_diverged(run):
    end, reports = run("problems:mixed_ends", {"end": "nan"})
    assert (end.state, end.error) == (State.DIVERGED, "loss not finite in epoch 1")
    assert len(reports) == 1
    assert reports[0]["metrics"]["loss"] is None
    assert reports[0]["objective"] is None


def test_an_error_of_the_users_code_fails_the_trial_with_its_traceback(run):
    end, reports = run("problems:mixed_ends", {"end": "bad"})
    assert end.state is State.FAILED
    assert end.error == "RuntimeError: this configuration cannot be built"
    assert "problems.py" in end.traceback
    assert end.fatal is None
    assert reports == []


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), tf.errors.ResourceExhaustedError(None, None, "no room")]
)
def test_a_trial_without_enough_memory_is_out_of_memory(run, error):
    def fit(hp, model, *args, **kwargs):
        raise error

    end, _ = run(Fits(fit))
    assert end.state is State.OUT_OF_MEMORY
    assert end.error == f"{type(error).__name__}: no room"


class Fits(kt.HyperModel):
    """A hypermodel of one model, with a ``fit`` of its own."""

    def __init__(self, fit):
        super().__init__()
        self._fit = fit

    def build(self, hp):
        return layered(hp)

    def fit(self, hp, model, *args, **kwargs):
        return self._fit(hp, model, *args, **kwargs)


def test_an_objective_that_no_epoch_reports_is_fatal_and_the_nearest_is_named(run):
    end, reports = run(objective=Objective("val_acuracy", "max"))
    assert (end.state, end.fatal) == (State.FAILED, "ObjectiveMissing")
    assert end.error == (
        "objective 'val_acuracy' is not reported by any epoch: expected one of accuracy, loss, "
        "val_accuracy, val_loss. Did you mean 'val_accuracy'?"
    )
    assert reports == []


def test_a_hypermodel_that_cannot_be_loaded_is_fatal(run):
    end, _ = run("problems:missing")
    assert (end.state, end.fatal) == (State.FAILED, "ProblemError")
    assert "problems:missing" in end.error


class NoLicence(kt.errors.FatalRuntimeError):
    """A fatal error of a user's own class."""


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (kt.errors.FatalValueError("no licence"), "FatalValueError"),
        (NoLicence("no licence"), "FatalRuntimeError"),
        (ProblemError("no licence"), "ProblemError"),
        (ObjectiveMissing("no licence"), "ObjectiveMissing"),
    ],
)
def test_a_fatal_error_has_the_name_of_the_class_that_a_script_knows(error, fatal):
    end = TrialEnd.of_fatal_error(error)
    assert (end.state, end.error, end.fatal) == (State.FAILED, "no licence", fatal)
    assert "no licence" in end.traceback


# --- Errors of the user's code --------------------------------------------------------------------


def builds_badly(hp):
    return _helper_of_the_users(hp.Int("units", 1, 9))


def _helper_of_the_users(units):
    raise ValueError(f"{units} units are too few")


def lacks_a_package(hp):
    hp.Int("units", 1, 9)
    import a_package_that_is_nowhere  # noqa: F401


def test_the_lines_of_the_users_own_code_come_first(run):
    end, _ = run(builds_badly, {"units": 3})
    assert (end.state, end.error) == (State.FAILED, "ValueError: 3 units are too few")
    first, _, whole = end.traceback.partition("\n\nFull traceback:\n")
    lines = first.splitlines()
    assert lines[0] == "In your code:"
    assert [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")] == [
        "builds_badly", "_helper_of_the_users",
    ]  # fmt: skip
    assert lines[-1] == "ValueError: 3 units are too few"
    assert whole.startswith("Traceback (most recent call last):")
    assert "keras_tuner" in whole


def test_a_missing_package_is_named_with_its_node(run):
    end, _ = run(lacks_a_package, {"units": 3})
    assert end.state is State.FAILED
    assert end.error == (
        "ModuleNotFoundError: No module named 'a_package_that_is_nowhere' "
        f"(on {socket.gethostname()})"
    )


# --- Weights --------------------------------------------------------------------------------------


def test_the_weights_of_the_best_epoch_are_kept(run, folder):
    values = {"units": 8, "rate": 0.05}
    _, reports = run(values=values, folder=folder)
    model = problems.small(hyperparameters(values))
    load_best_weights(model, folder, 0)
    accuracy = model.evaluate(*VALIDATION, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(max(report["objective"] for report in reports))
    assert {path.name for path in folder.checkpoints.iterdir()} == {
        "trial-00000-best.weights.h5", "trial-00000-build.json",
    }  # fmt: skip


def test_a_model_that_declares_no_shape_gets_its_weights_back(run, folder):
    def shapeless(hp=None):
        model = keras.Sequential([keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    _, reports = run(shapeless, {}, folder=folder, max_epochs=1)
    model = shapeless()
    assert not model.built
    load_best_weights(model, folder, 0)
    accuracy = model.evaluate(*VALIDATION, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(reports[0]["objective"])


def test_a_trial_of_hyperband_continues_from_the_weights_of_its_parent(run, folder):
    def unchanged(hp):
        return layered(rate=0.0)

    _, parent = run(lambda hp: layered(rate=0.5), {}, folder=folder, trial=4)
    _, child = run(unchanged, {PARENT_TRIAL: "0004"}, folder=folder, trial=7)
    _, other = run(unchanged, {}, folder=folder, trial=7)
    best = max(report["objective"] for report in parent)
    assert child[0]["objective"] == pytest.approx(best)
    assert other[0]["objective"] != pytest.approx(best)


def test_a_trial_of_hyperband_trains_from_its_first_epoch_to_its_last(run):
    values = SMALL | {"tuner/epochs": 3, "tuner/initial_epoch": 1}
    _, reports = run(values=values, max_epochs=9)
    assert [report["epoch"] for report in reports] == [2, 3]


# --- Objectives of keras-tuner --------------------------------------------------------------------


def test_an_objective_becomes_one_of_keras_tuner():
    assert kt_objective(Objective("val_auc", "max")) == kt.Objective("val_auc", "max")
    assert kt_objective(Objective(DEFAULT_OBJECTIVE, "min")) is None
    parts = (Objective("val_auc", "max"), Objective("val_loss", "min"))
    assert kt_objective(Objective("multi_objective", "min", parts)) == [
        kt.Objective("val_auc", "max"), kt.Objective("val_loss", "min"),
    ]  # fmt: skip


def test_the_data_of_a_trial_are_its_two_splits(run):

    def fit(hp, model, x, y, **kwargs):
        np.testing.assert_array_equal(x, TRAIN[0])
        np.testing.assert_array_equal(kwargs["validation_data"][1], VALIDATION[1])
        return {"val_accuracy": float(kwargs["epochs"])}

    end, _ = run(Fits(fit))
    assert (end.state, end.result["score"]) == (State.COMPLETED, 4.0)
