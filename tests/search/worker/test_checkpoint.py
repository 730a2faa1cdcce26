"""The state of a training on disk: what is in it, what survives, and when it is saved."""

import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from search.errors import RunFolderError
from search.storage.folder import previous_state_file, state_weights_file
from search.worker.checkpoint import Checkpoint, Checkpoints, KeepState, read_newest
from search.worker.laps import LAPS

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"


class Killed(BaseException):
    """Stands for a signal that no process survives: nothing of ours may catch it."""


@pytest.fixture(scope="module", autouse=True)
def _keras(keras_is_imported):
    """Every model here is a real one."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.npz"


def make_model(units=2, dtype=None, optimizer="sgd"):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, dtype=dtype)])
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def state(epochs=1, *, seed=0, callbacks=(), variables=None):
    variables = [np.full(3, float(epochs))] if variables is None else variables
    return Checkpoint(epochs, variables, list(callbacks), seed)


def written(path, *checkpoints):
    for checkpoint in checkpoints:
        checkpoint.write(path)
    return path


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# --- What a state holds ---------------------------------------------------------------------------


def test_a_state_holds_the_variables_of_the_model_and_then_of_the_optimizer():
    model = make_model(optimizer=keras.optimizers.SGD(0.1, momentum=0.5))
    checkpoint = Checkpoint.of(model, [], epochs=3, seed=7)
    expected = [*model.variables, *model.optimizer.variables]
    assert [array.shape for array in checkpoint.variables] == [
        (3, 2), (2,), (), (), (3, 2), (2,),
    ]  # fmt: skip
    for array, variable in zip(checkpoint.variables, expected, strict=True):
        np.testing.assert_array_equal(array, variable)
    assert (checkpoint.epochs, checkpoint.seed, checkpoint.callbacks) == (3, 7, [])


class Remembers(keras.callbacks.Callback):
    """A callback with attributes of many kinds."""

    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)


class AlsoRemembers(Remembers):
    pass


PLAIN = {
    "none": None, "truth": True, "count": 3, "rate": 0.5, "not_finite": float("inf"),
    "text": "ReLU, geglättet", "words": ["a", "b"], "nested": {"a": [1, {"b": None}]},
    "numpy_number": np.float32(0.5), "numpy_truth": np.bool_(True), "array": np.arange(3),
    "arrays": [np.zeros(2), {"b": np.ones((1, 2), "float32")}], "complex_name 1": 1,
}  # fmt: skip
NOT_PLAIN = {
    "function": len, "object": object(), "objects": [1, object()], "in_a_dict": {"a": object()},
    "numbers_as_keys": {1: 2}, "set": {1}, "text_array": np.array(["a"]),
    "object_array": np.array([None]), "complex_array": np.zeros(2, complex),
}  # fmt: skip


def test_a_state_holds_the_plain_attributes_of_the_callbacks():
    checkpoint = Checkpoint.of(
        make_model(), [Remembers(**PLAIN, **NOT_PLAIN), AlsoRemembers(a=1)], epochs=1, seed=0
    )
    (first, attributes), (second, others) = checkpoint.callbacks
    assert (first, second) == ("Remembers", "AlsoRemembers")
    assert set(PLAIN) <= set(attributes)
    assert not set(NOT_PLAIN) & set(attributes)
    assert others["a"] == 1
    assert attributes["words"] is PLAIN["words"]


def test_a_state_leaves_out_what_belongs_to_the_process():
    attributes = {"_model": 1, "params": {"epochs": 3}, "min_delta": 0.1, "wait": 2}
    checkpoint = Checkpoint.of(make_model(), [Remembers(**attributes)], epochs=1, seed=0)
    [(_, kept)] = checkpoint.callbacks
    assert not {"_model", "params", "min_delta"} & set(kept)
    assert kept["wait"] == 2


# --- Restoring a state ----------------------------------------------------------------------------


def test_a_state_fits_a_model_of_the_same_shapes_and_types():
    assert Checkpoint.of(make_model(), [], epochs=1, seed=0).fits(make_model())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"units": 3}, id="shape"),
        pytest.param({"dtype": "float64"}, id="type"),
        pytest.param({"optimizer": "adam"}, id="optimizer"),
    ],
)
def test_a_state_does_not_fit_another_model(other):
    checkpoint = Checkpoint.of(make_model(), [], epochs=1, seed=0)
    assert not checkpoint.fits(make_model(**other))
    assert not Checkpoint.of(make_model(**other), [], epochs=1, seed=0).fits(make_model())


def test_restoring_gives_model_optimizer_and_callbacks_their_state():
    model, other = make_model(optimizer="adam"), make_model(optimizer="adam")
    for number, variable in enumerate([*model.variables, *model.optimizer.variables]):
        variable.assign(np.full(variable.shape, number))
    callbacks = [Remembers(wait=3, best=0.5), AlsoRemembers(wait=4)]
    checkpoint = Checkpoint.of(model, callbacks, epochs=1, seed=0)
    fresh = [Remembers(wait=0, other=1), AlsoRemembers(wait=0)]
    checkpoint.restore(other, fresh)
    for number, variable in enumerate([*other.variables, *other.optimizer.variables]):
        assert (np.asarray(variable) == number).all(), variable.path
    assert (fresh[0].wait, fresh[0].best, fresh[0].other, fresh[1].wait) == (3, 0.5, 1, 4)


def test_the_state_of_a_callback_of_another_class_is_left_out():
    checkpoint = state(callbacks=[("Remembers", {"wait": 3}), ("Remembers", {"wait": 4})])
    model = make_model()
    checkpoint = Checkpoint(1, Checkpoint.of(model, [], epochs=1, seed=0).variables,
                            checkpoint.callbacks)  # fmt: skip
    callbacks = [AlsoRemembers(wait=0), Remembers(wait=0)]
    checkpoint.restore(model, callbacks)
    assert [callback.wait for callback in callbacks] == [0, 4]


@pytest.mark.parametrize("count", [0, 2])
def test_a_state_of_more_or_fewer_callbacks_can_be_restored(count):
    model = make_model()
    checkpoint = Checkpoint.of(model, [Remembers(wait=3)], epochs=1, seed=0)
    callbacks = [Remembers(wait=0) for _ in range(count)]
    checkpoint.restore(model, callbacks)
    assert [callback.wait for callback in callbacks] == [3, 0][:count]


def test_a_state_of_fewer_variables_is_not_restored():
    with pytest.raises(ValueError, match="shorter"):
        state(variables=[np.zeros((3, 2))]).restore(make_model(), [])


# --- The file -------------------------------------------------------------------------------------


def equal(one, other):
    """Tell whether two values are equal, with the types of their arrays and numbers."""
    if isinstance(one, np.ndarray | np.generic):
        same_kind = type(one) is type(other) and one.dtype == other.dtype
        return same_kind and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    return type(one) is type(other) and one == other


def test_a_state_is_read_as_it_was_written(path):
    variables = [np.arange(6.0).reshape(2, 3), np.float64(3.0)]
    callbacks = [("Remembers", PLAIN), ("Another", {})]
    checkpoint = read_newest(written(path, Checkpoint(5, variables, callbacks, seed=7)))
    assert (checkpoint.epochs, checkpoint.seed) == (5, 7)
    assert equal(checkpoint.variables, variables)
    [(name, attributes), another] = checkpoint.callbacks
    assert (name, another) == ("Remembers", ("Another", {}))
    assert equal(attributes, PLAIN)


def test_arrays_of_every_type_are_read_as_they_were_written(path):
    variables = [
        np.arange(2).astype(kind)
        for kind in ("float16", "float32", "float64", "int64", "uint32", "uint8", "bool")
    ]
    variables.append(np.asarray(keras.ops.convert_to_numpy(keras.ops.ones(3, "bfloat16"))))
    assert equal(read_newest(written(path, state(variables=variables))).variables, variables)


def test_a_tuple_is_read_as_a_list(path):
    checkpoint = state(callbacks=[("Remembers", {"pair": (1, 2)})])
    [(_, attributes)] = read_newest(written(path, checkpoint)).callbacks
    assert attributes == {"pair": [1, 2]}


def test_nothing_in_a_file_is_pickled(path):
    model = make_model()
    written(path, Checkpoint.of(model, [Remembers(**PLAIN, **NOT_PLAIN)], epochs=1, seed=0))
    with np.load(path, allow_pickle=False) as file:
        assert "state" in file.files
        assert len(file.files) > 4
        assert all(file[name].dtype != object for name in file.files)


def test_a_file_with_a_pickled_array_is_damaged(path):
    np.savez(path, array0=np.array([None]), state=np.frombuffer(b"{}", np.uint8))
    assert read_newest(path) is None


def test_a_whole_state_with_a_pickled_array_beside_it_is_damaged(path):
    written(path, state(1))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, more=np.array([None]), **arrays)
    assert read_newest(path) is None


def test_a_state_of_version_0_1_0_is_read():
    file = ASSETS / "cut-off" / "checkpoints" / "trial-00000-state.npz"
    checkpoint = read_newest(file)
    assert (checkpoint.epochs, checkpoint.seed) == (2, 1484405855)
    assert read_newest(previous_state_file(file)).epochs == 1
    assert [array.shape for array in checkpoint.variables[:4]] == [(4, 8), (8,), (8, 3), (3,)]
    assert {array.dtype.name for array in checkpoint.variables[:4]} == {"float32"}
    attributes = dict(checkpoint.callbacks)
    assert set(attributes) == {"LambdaCallback", "Reporter", "History"}
    assert attributes["Reporter"]["epochs"] == 2
    first, _ = attributes["History"]["history"]["loss"]
    assert first == 2.0527360439300537


# --- Which state is read --------------------------------------------------------------------------


def test_no_file_is_no_state(path):
    assert read_newest(path) is None


def test_the_first_state_has_none_before_it(path):
    written(path, state(1))
    assert names(path.parent) == ["state.npz"]


def test_each_state_keeps_the_one_before(path):
    written(path, state(1), state(2), state(3))
    assert read_newest(path).epochs == 3
    assert read_newest(previous_state_file(path)).epochs == 2
    assert names(path.parent) == ["state.before.npz", "state.npz"]


@pytest.fixture
def two_states(path):
    """A file of the second epoch, and one of the first before it."""
    return written(path, state(1), state(2))


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "overwritten-end": lambda content: content[:-400] + b"x" * 400,
    "no-archive": lambda content: b"PK nothing",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_falls_back_to_the_one_before(two_states, damage):
    two_states.write_bytes(damage(two_states.read_bytes()))
    assert read_newest(two_states).epochs == 1


def test_a_state_with_one_altered_bit_falls_back_to_the_one_before(two_states):
    content = bytearray(two_states.read_bytes())
    content[content.index(b"\x93NUMPY") + 130] ^= 1  # in the numbers of the first array
    two_states.write_bytes(content)
    assert read_newest(two_states).epochs == 1


def test_a_state_without_one_of_its_parts_falls_back_to_the_one_before(two_states):
    with zipfile.ZipFile(two_states) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for left_out in parts:
        with zipfile.ZipFile(two_states, "w") as archive:
            for name, content in parts.items():
                if name != left_out:
                    archive.writestr(name, content)
        assert read_newest(two_states).epochs == 1, f"without {left_out}"


def test_a_missing_state_falls_back_to_the_one_before(two_states):
    two_states.unlink()
    assert read_newest(two_states).epochs == 1


def test_without_an_undamaged_state_there_is_none(two_states):
    for file in (two_states, previous_state_file(two_states)):
        file.write_bytes(b"PK nothing")
    assert read_newest(two_states) is None


def test_only_a_state_of_the_training_is_read(path):
    written(path, state(1, seed=5), state(2, seed=6))
    assert read_newest(path, 6).epochs == 2
    assert read_newest(path, 5).epochs == 1
    assert read_newest(path, 7) is None
    assert read_newest(path, 0) is None
    assert read_newest(path).epochs == 2


# --- Writing that fails ---------------------------------------------------------------------------


def test_a_state_that_cannot_be_written_leaves_the_one_before(path, monkeypatch):
    written(path, state(1))

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    # A full disk, which a test cannot have.
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        state(2).write(path)
    assert read_newest(path).epochs == 1
    assert names(path.parent) == ["state.npz"]


def test_a_kill_between_the_two_renames_loses_no_state(path, monkeypatch):
    written(path, state(1))
    rename, done = os.replace, []

    def killed(source, target):
        if done:
            raise Killed
        done.append(rename(source, target))

    # A kill at a moment that no test can meet.
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(Killed):
        state(2).write(path)
    assert read_newest(path).epochs == 1


# --- When a state is due --------------------------------------------------------------------------


@pytest.fixture
def changed():
    """The files that were written or removed, in order."""
    return []


@pytest.fixture
def make(path, clock, changed):
    """Make the checkpoints of a training with seed 3."""

    def make(**options):
        return Checkpoints(
            path, **{"seed": 3, "clock": clock, "on_change": changed.append} | options
        )

    return make


@pytest.mark.parametrize(
    ("before", "epoch", "is_due"),
    [
        # Seconds since the last state without this epoch, and those of this epoch: another epoch
        # as long may end 10 s after the last state.
        (0.0, 5.0, False),
        (0.0, 5.001, True),
        (4.0, 3.0, False),
        (4.0, 3.001, True),
        (9.0, 0.5, False),
        (9.0, 0.501, True),
        (0.0, 0.001, False),
    ],
)
def test_a_state_is_due_if_another_epoch_would_leave_too_much_unsaved(
    make, clock, before, epoch, is_due
):
    checkpoints = make()
    clock.now += before
    checkpoints.begin_epoch()
    clock.now += epoch
    assert checkpoints.is_due() is is_due


def test_the_first_epoch_begins_with_the_training(make, clock):
    checkpoints = make(every_seconds=2.0)
    clock.now += 1.0
    assert not checkpoints.is_due()
    clock.now += 0.001
    assert checkpoints.is_due()


def test_the_time_counts_from_the_last_state(make, clock):
    checkpoints = make()
    clock.now += 9.0
    checkpoints.begin_epoch()
    checkpoints.keep(state(1, seed=3))
    clock.now += 5.0
    assert not checkpoints.is_due()
    clock.now += 0.001
    assert checkpoints.is_due()


def test_a_state_is_due_before_more_is_lost_than_was_promised(make, clock):
    checkpoints = make(every_seconds=10)
    lost, saved_at = [], clock.now
    for seconds in [4.0, 4.0, 1.0, 3.0, 25.0, 30.0, 0.5, 9.0, 0.1]:
        checkpoints.begin_epoch()
        clock.now += seconds
        lost.append((clock.now - saved_at, seconds))
        if checkpoints.is_due():
            checkpoints.keep(state())
            saved_at = clock.now
    # What a kill at the end of an epoch costs: ten seconds, or epochs that grew beyond the forecast.
    assert all(cost <= max(10.0, 2 * epoch) for cost, epoch in lost), lost


# --- Saving and removing --------------------------------------------------------------------------


def test_a_state_is_kept_and_read_by_its_seed(make, path, changed):
    checkpoints = make()
    assert checkpoints.seed == 3
    assert checkpoints.newest() is None
    checkpoints.keep(state(1, seed=3))
    assert checkpoints.newest().epochs == 1
    assert make(seed=4).newest() is None
    assert changed == [path]


def test_a_training_without_a_seed_has_seed_0(path):
    assert Checkpoints(path).seed == 0
    assert Checkpoint(1, [], []).seed == 0


def test_a_state_keeps_a_copy_of_the_best_weights(make, path, tmp_path, changed):
    best = tmp_path / "best.h5"
    best.write_text("of epoch 2")
    make(best_weights=best).keep(state(3, seed=3))
    copy = state_weights_file(path)
    assert copy.read_text() == "of epoch 2"
    assert changed == [copy, path]


def test_a_state_before_the_first_best_weights_has_no_copy(make, path, tmp_path, changed):
    make(best_weights=tmp_path / "best.h5").keep(state(1, seed=3))
    assert changed == [path]
    assert names(tmp_path) == ["state.npz"]


@pytest.mark.parametrize("has_links", [True, False])
def test_the_best_weights_at_the_time_of_the_state_are_restored(
    make, tmp_path, changed, monkeypatch, has_links
):
    if not has_links:
        # A file system such as FAT, which only root can mount.
        def link(source, target):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    best = tmp_path / "best.h5"
    best.write_text("of epoch 2")
    checkpoints = make(best_weights=best)
    checkpoints.keep(state(3, seed=3))
    fresh = tmp_path / "fresh"
    fresh.write_text("of epoch 4, whose process is killed")
    fresh.replace(best)  # as best weights are always written
    changed.clear()
    checkpoints.restore_best_weights()
    assert best.read_text() == "of epoch 2"
    assert changed == [best]


def test_without_a_copy_the_best_weights_stay(make, tmp_path, changed):
    best = tmp_path / "best.h5"
    best.write_text("of epoch 2")
    make(best_weights=best).restore_best_weights()
    make().restore_best_weights()
    assert best.read_text() == "of epoch 2"
    assert changed == []


def test_a_training_without_best_weights_restores_none(make, path, changed):
    state_weights_file(path).write_text("of another training")
    make().restore_best_weights()
    assert changed == []


def test_all_states_are_removed_but_not_the_best_weights(make, path, tmp_path, changed):
    best = tmp_path / "best.h5"
    best.write_text("of epoch 2")
    checkpoints = make(best_weights=best)
    checkpoints.keep(state(1, seed=3))
    checkpoints.keep(state(2, seed=3))
    changed.clear()
    checkpoints.remove()
    assert names(tmp_path) == ["best.h5"]
    assert changed == [path, previous_state_file(path), state_weights_file(path)]


def test_nothing_needs_to_listen_to_changes(path):
    checkpoints = Checkpoints(path)
    checkpoints.keep(state())
    checkpoints.remove()
    assert names(path.parent) == []


# --- The callback ---------------------------------------------------------------------------------

X, Y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")


def fit(model, *callbacks, epochs=3):
    return model.fit(X, Y, epochs=epochs, batch_size=4, verbose=0, callbacks=list(callbacks))


@pytest.fixture
def model():
    """A model that trains without being compiled to a graph."""
    model = make_model()
    model.compile("sgd", "mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_training_saves_its_state_after_each_epoch_that_is_due(make, clock, model, path):
    seconds = iter([1.0, 6.0, 1.0])
    takes = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: setattr(clock, "now", clock.now + next(seconds))
    )
    remembers = Remembers(wait=3)
    LAPS.take()
    fit(model, takes, remembers, KeepState(make(), [remembers], None))
    checkpoint = read_newest(path)
    assert (checkpoint.epochs, checkpoint.seed) == (2, 3)
    assert checkpoint.callbacks[0][0] == "Remembers"
    assert checkpoint.callbacks[0][1]["wait"] == 3
    assert not previous_state_file(path).exists(), "only the second epoch was due"
    assert "keep" in LAPS.take()


def test_a_training_that_stops_saves_no_state(make, clock, model, path):
    def stop(epoch, logs=None):
        clock.now += 20.0
        model.stop_training = True

    fit(model, keras.callbacks.LambdaCallback(on_epoch_end=stop), KeepState(make(), [], None))
    assert not path.exists()


def test_each_epoch_is_timed_from_its_beginning(make, clock, model, path):
    def wait(epoch, logs=None):
        clock.now += 3.0

    # Between the epochs: else each would count as 4 s, and the second would be due.
    between = keras.callbacks.LambdaCallback(on_epoch_begin=wait)
    during = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: setattr(clock, "now", clock.now + 1.0)
    )
    fit(model, between, during, KeepState(make(), [], None), epochs=2)
    assert not path.exists()


def test_a_training_continues_with_its_state_after_the_callbacks_have_begun(make, model, path):
    source = make_model()
    checkpoint = Checkpoint.of(source, [Remembers(wait=3)], epochs=2, seed=3)

    class Resets(Remembers):
        def on_train_begin(self, logs=None):
            self.wait = 0

    Resets.__name__ = "Remembers"
    remembers, epochs, weights = Resets(wait=9), [], []

    def note(epoch, logs=None):
        epochs.append(epoch)
        weights.append(model.get_weights())

    fit(
        model,
        remembers,
        keras.callbacks.LambdaCallback(on_epoch_begin=note),
        KeepState(make(), [remembers], checkpoint),
        epochs=4,
    )
    assert epochs == [2, 3]
    assert remembers.wait == 3
    for array, expected in zip(weights[0], source.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_the_next_fit_begins_with_its_first_epoch(make, model):
    checkpoint = Checkpoint.of(model, [], epochs=2, seed=3)
    fit(model, KeepState(make(), [], checkpoint), epochs=3)
    assert fit(model, epochs=2).epoch == [0, 1]


def test_the_callback_tells_with_which_state_it_continues(make):
    checkpoint = state(2)
    assert KeepState(make(), [], checkpoint).checkpoint is checkpoint
