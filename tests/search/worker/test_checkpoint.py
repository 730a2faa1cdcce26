"""A trial that is interrupted and continued, against one that was not: the same bits."""

import dataclasses
import os

import keras
import keras_tuner as kt
import numpy as np
import pytest

from problems import CLASSES, blobs
from results.record.columns import State
from results.record.history import Objective
from search.errors import RunFolderError
from search.plan.task import NamedObject, Task
from search.storage.folder import RunFolder, previous_state_file
from search.worker import checkpoint
from search.worker.checkpoint import Checkpoint, Checkpoints
from search.worker.data import Data
from search.worker.trial import run_trial

EPOCHS = 6
VALUES = {"units": 8}


class Killed(BaseException):
    """Stands for a signal that no process survives: nothing of ours may catch it."""


class Forgetful(kt.HyperModel):
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


class Clipped(Forgetful):
    """On Keras's path."""

    optimizer = property(lambda self: keras.optimizers.Adam(0.01, clipnorm=1.0))


class Loops(kt.HyperModel):
    """A training loop of its own."""

    def build(self, hp):
        return Forgetful().build(hp)

    def fit(self, hp, model, x, y, validation_data, callbacks, epochs, **kwargs):
        told = keras.callbacks.CallbackList(callbacks, model=model)
        told.on_train_begin()
        for epoch in range(epochs):
            told.on_epoch_begin(epoch)
            loss, accuracy = model.train_on_batch(x, y)
            told.on_epoch_end(epoch, {"loss": loss, "val_accuracy": accuracy})


def data():
    train, validation, _ = blobs()
    return Data(train=train, validation=validation)


def task(hypermodel="test_checkpoint:Forgetful", **changes):
    made = Task(
        hypermodel=NamedObject(hypermodel), objective=Objective("val_accuracy", "max"), epochs=EPOCHS,
        patience=0, seed=3, checkpoint_seconds=0,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    return RunFolder.create(tmp_path / "run")


def trained(folder, asked=None, *, killed_at=None):
    """Run trial 0 until it ends or is killed with a report; return its end and its reports."""
    reports = []

    def report(told):
        if told["epoch"] == killed_at:
            raise Killed
        reports.append(told)
        return True

    given = {"trial": 0, "values": VALUES, "report": report, "folder": folder}
    try:
        end = run_trial(asked or task(), data(), **given)
    except Killed:
        end = None
    return end, reports


def metrics(reports):
    return {report["epoch"]: report["metrics"] for report in reports}


def weights(folder):
    model = Forgetful().build(kt.HyperParameters())
    from search.worker.weights import load_best_weights

    load_best_weights(model, folder, 0)
    return [np.asarray(one) for one in model.get_weights()]


@pytest.mark.parametrize("killed_at", range(2, EPOCHS))
def test_a_trial_continued_at_any_epoch_gives_the_same_bits(tmp_path, folder, killed_at):
    whole = RunFolder.create(tmp_path / "whole")
    end, expected = trained(whole)
    assert expected[0]["path"] == {"name": "fast", "reason": None, "continued_from": 0}
    interrupted, first = trained(folder, killed_at=killed_at)
    assert interrupted is None
    again, second = trained(folder)
    assert second[0]["path"]["continued_from"] == killed_at - 1
    assert [report["epoch"] for report in second] == list(range(killed_at, len(expected) + 1))
    assert metrics(first) | metrics(second) == metrics(expected)
    assert dataclasses.replace(again, result=None) == dataclasses.replace(end, result=None)
    for one, other in zip(weights(folder), weights(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, folder):
    _, expected = trained(RunFolder.create(tmp_path / "whole"))
    trained(folder, killed_at=4)
    newest = folder.state_file(0)
    content = newest.read_bytes()
    for damage in (content[: len(content) // 2], b"", content[:-400] + b"x" * 400):
        newest.write_bytes(damage)
        assert checkpoint.read_newest(newest).epochs == 2
    place = content.index(b"\x93NUMPY") + 130  # in the numbers of the first array
    newest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert checkpoint.read_newest(newest).epochs == 2  # one bit
    _, second = trained(folder)
    assert second[0]["path"]["continued_from"] == 2
    assert metrics(second).items() <= metrics(expected).items()


def test_without_a_whole_state_the_trial_begins_again(folder):
    trained(folder, killed_at=4)
    for path in (folder.state_file(0), previous_state_file(folder.state_file(0))):
        path.write_bytes(b"PK nothing")
    end, second = trained(folder)
    assert second[0]["epoch"] == 1
    assert end.state in (State.COMPLETED, State.EARLY_STOPPED)


def test_kerass_path_goes_on_with_a_new_shuffle_and_says_that_it_does(folder):
    asked = task("test_checkpoint:Clipped")
    trained(folder, asked, killed_at=4)
    _, second = trained(folder, asked)
    path = second[0]["path"]
    assert (path["name"], path["continued_from"]) == ("keras", 3)
    assert path["reason"] == "optimizer with clipnorm=1.0; the order of its samples started over"
    assert second[0]["epoch"] == 4


def test_a_loop_of_the_users_own_begins_again(folder):
    asked = task("test_checkpoint:Loops")
    trained(folder, asked, killed_at=4)
    _, second = trained(folder, asked)
    assert second[0]["epoch"] == 1
    assert second[0]["path"]["name"] == "own"


def test_the_state_of_another_model_is_not_used(folder):
    trained(folder, killed_at=4)
    kept = folder.state_file(0).read_bytes()
    trained(folder)
    folder.state_file(0).write_bytes(kept)
    reports = []
    run_trial(
        task(), data(), trial=0, values={"units": 9}, folder=folder,
        report=lambda told: reports.append(told) or True,
    )  # fmt: skip
    assert reports[0]["epoch"] == 1


def test_a_second_fit_of_one_trial_keeps_no_state(tmp_path):
    from search.worker import fast

    model = Forgetful().build(kt.HyperParameters())
    kept = Checkpoints(tmp_path / "state.npz", every_seconds=0)
    fast.install(model, seed=1, checkpoints=kept)
    (x, y), _, _ = blobs()
    model.fit(x, y, epochs=2, verbose=0)
    assert kept.newest().epochs == 2
    model.fit(x, y, epochs=2, verbose=0)
    assert kept.newest() is None


def test_a_state_is_due_before_more_is_lost_than_was_promised(tmp_path):
    now = [0.0]
    kept = Checkpoints(tmp_path / "state.npz", every_seconds=10, clock=lambda: now[0])
    lost = []
    written_at = 0.0
    for seconds in [4.0, 4.0, 1.0, 3.0, 25.0, 30.0, 0.5, 9.0, 0.1]:
        kept.begin_epoch()
        now[0] += seconds
        lost.append((now[0] - written_at, seconds))
        if kept.is_due():
            kept.keep(Checkpoint(0, [np.zeros(1)], []))
            written_at = now[0]
    # What a kill at the end of an epoch costs: ten seconds, or epochs that grew beyond the forecast.
    assert all(cost <= max(10.0, 2 * epoch) for cost, epoch in lost)


def test_nothing_in_a_state_file_is_pickled(folder):
    trained(folder, killed_at=4)
    with np.load(folder.state_file(0), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_a_state_that_cannot_be_written_leaves_the_one_that_stood_there(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    Checkpoint(1, [np.zeros(3)], []).write(path)

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        Checkpoint(2, [np.zeros(3)], []).write(path)
    monkeypatch.undo()
    assert checkpoint.read_newest(path).epochs == 1
    assert [one.name for one in tmp_path.iterdir()] == ["state.npz"]


def test_a_kill_between_the_two_renames_loses_no_state(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    Checkpoint(1, [np.zeros(3)], []).write(path)
    rename, done = os.replace, []

    def killed(source, target):
        if done:
            raise Killed
        done.append(rename(source, target))

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(Killed):
        Checkpoint(2, [np.zeros(3)], []).write(path)
    assert checkpoint.read_newest(path).epochs == 1


def test_every_dtype_comes_back(tmp_path):
    given = [np.arange(3, dtype=kind) for kind in ("float32", "float64", "int64", "uint32")]
    given.append(np.asarray(keras.ops.convert_to_numpy(keras.ops.ones(3, "bfloat16"))))
    Checkpoint(1, given, []).write(tmp_path / "state.npz")
    kept = checkpoint.read_newest(tmp_path / "state.npz").variables
    assert [one.dtype for one in kept] == [one.dtype for one in given]
    assert all((one == other).all() for one, other in zip(kept, given, strict=True))


class FailsOnce(Forgetful):
    """The first attempt fails in epoch 4."""

    failed = False

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        def fail(epoch, logs=None):
            if epoch == 3 and not FailsOnce.failed:
                FailsOnce.failed = True
                raise RuntimeError("once")

        failing = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
        return super().fit(hp, model, *args, callbacks=[failing, *callbacks], **kwargs)


def test_a_retry_is_continued_and_its_state_is_no_other_attempts(folder, monkeypatch):
    monkeypatch.setattr(FailsOnce, "failed", False)
    reports = []

    def report(told):
        reports.append(told)
        if [one.get("epoch") for one in reports[-2:]] == [1, 2] and "retry" in str(reports):
            raise Killed
        return True

    asked = task("test_checkpoint:FailsOnce", max_retries_per_trial=1)
    given = {"trial": 0, "values": VALUES, "report": report, "folder": folder}
    with pytest.raises(Killed):
        run_trial(asked, data(), **given)
    reports.clear()
    run_trial(
        asked, data(), **given | {"report": lambda told: reports.append(told) or True}, retries=1
    )
    assert reports[0]["path"]["continued_from"] == 1  # the retry's own state
    first = [report["epoch"] for report in reports]
    reports.clear()
    run_trial(asked, data(), **given | {"report": lambda told: reports.append(told) or True})
    assert reports[0]["epoch"] == 1  # of another training than the one that was kept
    assert first[0] == 2


def test_best_weights_of_an_epoch_that_is_not_met_again_are_taken_back(tmp_path):
    best = tmp_path / "best.h5"
    kept = Checkpoints(tmp_path / "state.npz", best, every_seconds=0)
    best.write_text("of epoch 2")
    kept.keep(Checkpoint(3, [np.zeros(1)], []))
    fresh = tmp_path / "fresh"
    fresh.write_text("of epoch 4, whose process is killed")
    fresh.replace(best)
    kept.restore_best_weights()
    assert best.read_text() == "of epoch 2"
    kept.remove()
    assert [one.name for one in tmp_path.iterdir()] == ["best.h5"]
