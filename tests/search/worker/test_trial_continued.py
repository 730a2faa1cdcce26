"""A trial that is killed and continued, against one that never was: the same bits."""

import dataclasses
import shutil

import keras
import keras_tuner as kt
import numpy as np
import pytest
from rarely_validated import EverySecond

from problems import CLASSES, blobs
from results.record.columns import State
from search.storage.folder import RunFolder, previous_state_file
from search.worker.data import Data
from search.worker.weights import load_best_weights

EPOCHS = 6
TRAIN, VALIDATION, _ = blobs()
DATA = Data(train=TRAIN, validation=VALIDATION)
VALUES = {"units": 8}


class Killed(BaseException):
    """Stands for a signal that no process survives: nothing of ours may catch it."""


class Stateful(kt.HyperModel):
    """Everything that has a state between two epochs."""

    optimizer = "nadam"

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(hp.Int("units", 2, 20, default=8), "relu"),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.3),
                keras.layers.GaussianNoise(0.1),
                keras.layers.Dense(CLASSES, "softmax"),
            ]
        )
        model.compile(self.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        own = [
            keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.05),
            keras.callbacks.EarlyStopping(
                "val_loss", patience=3, min_delta=0.02, restore_best_weights=True
            ),
        ]
        return model.fit(*args, callbacks=[*own, *callbacks], batch_size=32, **kwargs)


class Clipped(Stateful):
    """Takes Keras's path."""

    @property
    def optimizer(self):
        return keras.optimizers.Adam(0.01, clipnorm=1.0)


class Loops(kt.HyperModel):
    """Has a training loop of its own."""

    def build(self, hp):
        return Stateful().build(hp)

    def fit(self, hp, model, x, y, validation_data, callbacks, epochs, **kwargs):
        callbacks = keras.callbacks.CallbackList(callbacks, model=model)
        callbacks.on_train_begin()
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            loss, accuracy = model.train_on_batch(x, y)
            callbacks.on_epoch_end(epoch, {"loss": loss, "val_accuracy": accuracy})


class FailsOnce(Stateful):
    """The first attempt fails in epoch 3."""

    has_failed = False

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        def fail(epoch, logs=None):
            if epoch == 2 and not FailsOnce.has_failed:
                FailsOnce.has_failed = True
                raise RuntimeError("once")

        failing = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
        return super().fit(hp, model, *args, callbacks=[failing, *callbacks], **kwargs)


@pytest.fixture(scope="module")
def run(train):
    """Run trial 0 in a folder, with a state after every epoch."""

    def run(folder, hypermodel=Stateful, *, values=VALUES, **options):
        return train(
            hypermodel, stored=DATA, values=values, max_epochs=EPOCHS, folder=folder, seed=3,
            checkpoint_seconds=0, **options,
        )  # fmt: skip

    return run


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


def kill(run, folder, hypermodel, *, epoch):
    """Run a trial whose process is killed as it reports this epoch."""

    def report(one):
        if one.get("epoch") == epoch:
            raise Killed
        return True

    with pytest.raises(Killed):
        run(folder, hypermodel, report=report)


@dataclasses.dataclass
class Undisturbed:
    """A trial that was never killed.

    Attributes:
        snapshots: Copies of the run folder, each made as an epoch was reported.
    """

    folder: RunFolder
    end: object
    reports: list
    snapshots: dict

    def killed_at(self, epoch, path):
        """Return a run folder as a kill leaves it that comes with the report of this epoch."""
        shutil.copytree(self.snapshots[epoch], path)
        return RunFolder(path)


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    folder, snapshots = RunFolder.create(path / "run"), {}

    def report(one):
        snapshots[one["epoch"]] = path / f"epoch-{one['epoch']}"
        shutil.copytree(folder.path, snapshots[one["epoch"]])
        return True

    end, reports = run(folder, report=report)
    return Undisturbed(folder, end, reports, snapshots)


def metrics(reports):
    return {report["epoch"]: report["metrics"] for report in reports}


def weights(folder):
    model = Stateful().build(kt.HyperParameters())
    load_best_weights(model, folder, 0)
    return [np.asarray(array) for array in model.get_weights()]


# --- On the fast path -----------------------------------------------------------------------------


def test_the_trial_of_these_tests_takes_the_fast_path_and_all_its_epochs(undisturbed):
    assert undisturbed.reports[0]["path"] == {"name": "fast", "reason": None, "continued_from": 0}
    assert [report["epoch"] for report in undisturbed.reports] == list(range(1, EPOCHS + 1))
    assert undisturbed.end.state is State.COMPLETED


@pytest.mark.parametrize("killed_at", range(2, EPOCHS + 1))
def test_a_trial_continued_at_any_epoch_gives_the_same_bits(run, undisturbed, tmp_path, killed_at):
    folder = undisturbed.killed_at(killed_at, tmp_path / "run")
    end, reports = run(folder)
    assert reports[0]["path"]["continued_from"] == killed_at - 1
    assert [report["epoch"] for report in reports] == list(range(killed_at, EPOCHS + 1))
    assert metrics(reports).items() <= metrics(undisturbed.reports).items()
    assert dataclasses.replace(end, result=None) == dataclasses.replace(
        undisturbed.end, result=None
    )
    for array, expected in zip(weights(folder), weights(undisturbed.folder), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_kill_in_its_first_epoch_makes_a_trial_begin_again(run, undisturbed, tmp_path):
    folder = undisturbed.killed_at(1, tmp_path / "run")
    _, reports = run(folder)
    assert metrics(reports) == metrics(undisturbed.reports)


def test_a_trial_continues_from_the_state_before_a_damaged_one(run, undisturbed, tmp_path):
    folder = undisturbed.killed_at(4, tmp_path / "run")
    folder.state_file(0).write_bytes(folder.state_file(0).read_bytes()[:-400])
    _, reports = run(folder)
    assert reports[0]["path"]["continued_from"] == 2
    assert metrics(reports).items() <= metrics(undisturbed.reports).items()


def test_a_trial_without_a_whole_state_begins_again(run, undisturbed, tmp_path):
    folder = undisturbed.killed_at(4, tmp_path / "run")
    for path in (folder.state_file(0), previous_state_file(folder.state_file(0))):
        path.write_bytes(b"PK nothing")
    _, reports = run(folder)
    assert metrics(reports) == metrics(undisturbed.reports)


@pytest.mark.parametrize("killed_at", [2, 3, 4])
def test_a_trial_that_validates_every_second_epoch_is_continued(run, folder, killed_at):
    kill(run, folder, EverySecond, epoch=killed_at)
    end, reports = run(folder, EverySecond)
    assert end.state is State.COMPLETED
    assert reports[0]["path"]["continued_from"] == killed_at - 1
    validated = [report["epoch"] for report in reports if report["objective"] is not None]
    assert validated == [epoch for epoch in (2, 4, 6) if epoch >= killed_at]


@pytest.mark.parametrize(
    "change",
    [{"values": {"units": 9}}, {"trial": 0, "hypermodel": Clipped}],
    ids=["shape", "model"],
)
def test_the_state_of_another_model_is_not_used(run, undisturbed, tmp_path, change):
    folder = undisturbed.killed_at(4, tmp_path / "run")
    _, reports = run(folder, **change)
    assert reports[0]["epoch"] == 1
    assert reports[0]["path"]["continued_from"] == 0


def test_the_state_of_another_run_is_not_used(run, undisturbed, tmp_path, train):
    folder = undisturbed.killed_at(4, tmp_path / "run")
    _, reports = train(
        Stateful, stored=DATA, values=VALUES, max_epochs=1, folder=folder, seed=4,
        checkpoint_seconds=0,
    )  # fmt: skip
    assert reports[0]["epoch"] == 1


def test_a_trial_of_several_executions_keeps_no_state(run, folder):
    run(folder, executions_per_trial=2, report=lambda report: report["epoch"] < 2)
    assert not folder.state_file(0).exists()


# --- On the other paths ---------------------------------------------------------------------------


def test_a_trial_on_the_path_of_keras_continues_with_a_new_shuffle_and_says_so(run, folder):
    kill(run, folder, Clipped, epoch=4)
    _, reports = run(folder, Clipped)
    path = reports[0]["path"]
    assert (path["name"], path["continued_from"]) == ("keras", 3)
    assert path["reason"] == "optimizer with clipnorm=1.0; the order of its samples started over"
    assert reports[0]["epoch"] == 4


def test_a_training_loop_of_the_user_begins_again(run, folder):
    kill(run, folder, Loops, epoch=4)
    _, reports = run(folder, Loops)
    assert reports[0]["epoch"] == 1
    assert reports[0]["path"]["name"] == "own"


# --- Retries --------------------------------------------------------------------------------------


@pytest.fixture
def killed_retry(run, folder, monkeypatch):
    """A trial whose first attempt failed in epoch 3, and whose second was killed there."""
    monkeypatch.setattr(FailsOnce, "has_failed", False)
    reports = []

    def report(one):
        reports.append(one)
        if one.get("epoch") == 3:
            raise Killed
        return True

    with pytest.raises(Killed):
        run(folder, FailsOnce, max_retries_per_trial=1, report=report)
    assert [one.get("epoch") for one in reports] == [1, 2, None, 1, 2, 3]
    return folder


def test_a_retry_continues_from_its_own_state(run, killed_retry):
    _, reports = run(killed_retry, FailsOnce, max_retries_per_trial=1, retries=1)
    assert reports[0]["path"]["continued_from"] == 2
    assert reports[0]["epoch"] == 3


def test_the_state_of_a_retry_is_not_that_of_the_first_attempt(run, killed_retry):
    _, reports = run(killed_retry, FailsOnce, max_retries_per_trial=1)
    assert reports[0]["epoch"] == 1
    assert reports[0]["path"]["continued_from"] == 0
