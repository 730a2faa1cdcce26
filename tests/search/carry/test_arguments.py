"""The arguments of ``fit`` on their way to the workers: what can be sent, and what arrives."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import problems
from search.carry.arguments import SavedDataset, describe_data, pack, unpack
from search.carry.carried import FitArguments, PickledObject
from search.errors import ProblemError

TRAIN, VALIDATION, _ = problems.blobs()


def dataset(*, batch=40):
    return tf.data.Dataset.from_tensor_slices(TRAIN).batch(batch)


def sent(scratch, *args, **kwargs):
    return pack(FitArguments(args, kwargs), scratch)


class Shuffling(keras.utils.PyDataset):
    """Shuffles its indices in place, as many do."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(len(TRAIN[0]))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = self.order[index * 60 : index * 60 + 60]
        return TRAIN[0][rows], TRAIN[1][rows]

    def on_epoch_end(self):
        np.random.default_rng(0).shuffle(self.order)


# --- What is sent ---------------------------------------------------------------------------------


def test_arrays_and_plain_values_are_sent_as_they_are(tmp_path):
    x, y = TRAIN
    packed = sent(tmp_path, x, y, batch_size=32, validation_split=0.5, verbose=False, shuffle="batch",
                  sample_weight=None)  # fmt: skip
    assert packed.args[0] is x
    assert packed.args[1] is y
    assert packed.kwargs == {
        "batch_size": 32, "validation_split": 0.5, "verbose": False, "shuffle": "batch",
        "sample_weight": None,
    }  # fmt: skip
    assert unpack(packed) == packed


def test_arrays_in_tuples_lists_and_dicts_are_sent_as_they_are(tmp_path):
    x, y = TRAIN
    packed = sent(tmp_path, {"a": x, "b": [x, y]}, validation_data=(x, {"c": y}))
    assert packed.args[0]["b"][1] is y
    assert packed.kwargs["validation_data"][1]["c"] is y
    assert type(packed.kwargs["validation_data"]) is tuple


def test_other_objects_are_pickled_so_that_each_trial_has_its_own(tmp_path):
    packed = sent(tmp_path, Shuffling())
    assert isinstance(packed.args[0], PickledObject)
    unpack(packed).args[0].on_epoch_end()
    assert (unpack(packed).args[0].order == np.arange(240)).all()


def test_a_named_tuple_is_pickled_whole(tmp_path):
    packed = sent(tmp_path, validation_data=problems.named_blobs())
    assert isinstance(packed.kwargs["validation_data"], PickledObject)
    assert unpack(packed).kwargs["validation_data"].class_names == ("red", "green", "blue")


# --- Datasets -------------------------------------------------------------------------------------


def batches(dataset):
    return [(x.numpy().tolist(), y.numpy().tolist()) for x, y in dataset]


def test_a_dataset_is_saved_and_opened(tmp_path):
    packed = sent(tmp_path, dataset())
    assert isinstance(packed.args[0], SavedDataset)
    assert batches(unpack(packed).args[0]) == batches(dataset())
    assert batches(unpack(packed).args[0]) == batches(dataset()), "in the same order each time"


def test_a_dataset_is_unpacked_on_a_node_without_its_folder(tmp_path):
    (tmp_path / "driver").mkdir()
    packed = sent(tmp_path / "driver", dataset())
    shutil.rmtree(tmp_path / "driver")
    assert batches(unpack(packed).args[0]) == batches(dataset())
    assert [path.name for path in (tmp_path / "driver").iterdir()] == [
        Path(packed.args[0].folder).name
    ], "what was unpacked beside the folder is left"
    assert batches(unpack(packed).args[0]) == batches(dataset())


def test_a_dataset_that_another_worker_has_just_unpacked_is_opened(tmp_path, monkeypatch):
    (tmp_path / "driver").mkdir()
    packed = sent(tmp_path / "driver", dataset())
    kept = tmp_path / "kept"
    shutil.move(packed.args[0].folder, kept)
    rename = Path.rename

    def late(fresh, target):
        # A moment that no test can meet: another worker renames its copy first.
        shutil.copytree(kept, target)
        return rename(fresh, target)

    monkeypatch.setattr(Path, "rename", late)
    assert batches(unpack(packed).args[0]) == batches(dataset())
    assert len(list((tmp_path / "driver").iterdir())) == 1


@pytest.fixture
def shuffled(tmp_path):
    pipeline = tf.data.Dataset.from_tensor_slices(TRAIN).shuffle(240).batch(40)
    return sent(tmp_path, validation_data=pipeline)


def order(packed, seed):
    keras.utils.set_random_seed(seed)
    return [labels.numpy().tolist() for _, labels in unpack(packed).kwargs["validation_data"]]


def test_a_shuffled_dataset_comes_in_an_order_that_follows_from_the_seed(shuffled):
    first, again, other = order(shuffled, 5), order(shuffled, 5), order(shuffled, 6)
    assert first == again != other
    assert sorted(map(sorted, first)) == sorted(map(sorted, other)), "the batches are the same"


def test_a_shuffled_dataset_comes_in_a_new_order_each_epoch(shuffled):
    keras.utils.set_random_seed(5)
    opened = unpack(shuffled).kwargs["validation_data"]
    assert batches(opened) != batches(opened)


def test_only_a_dataset_that_shuffles_is_marked(shuffled, tmp_path):
    assert shuffled.kwargs["validation_data"].shuffles
    assert not sent(tmp_path, dataset()).args[0].shuffles


# --- What cannot be sent --------------------------------------------------------------------------


def numbers():
    yield from TRAIN


def noise(x, y):
    return x + tf.random.normal(tf.shape(x)), y


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            numbers,
            "argument 1 is a generator, which the first trial would use up: pass arrays, a "
            "keras.utils.PyDataset or a tf.data.Dataset, or create it in HyperModel.fit.",
            id="generator",
        ),
        pytest.param(
            lambda: dataset().repeat(),
            "argument 1: the dataset never ends, so it cannot be saved for the workers: leave out "
            "repeat(). Each epoch iterates over it once.",
            id="endless",
        ),
        pytest.param(
            lambda: dataset().unbatch().repeat().filter(lambda x, y: y > 0),
            "argument 1: the dataset may never end, since it repeats and filters: leave out "
            "repeat().",
            id="may-be-endless",
        ),
        pytest.param(
            lambda: tf.data.Dataset.from_generator(numbers, output_signature=tf.TensorSpec(None)),
            "argument 1: the dataset has a state (a Python generator or function, or random "
            "numbers), which cannot be sent to the workers: put random augmentation into the "
            "model or into HyperModel.fit, and pass arrays instead of a generator.",
            id="python-generator",
        ),
        pytest.param(
            lambda: dataset().map(noise),
            "argument 1: the dataset has a state (a Python generator or function, or random "
            "numbers), which cannot be sent to the workers: put random augmentation into the "
            "model or into HyperModel.fit, and pass arrays instead of a generator.",
            id="random-numbers",
        ),
        pytest.param(
            lambda: keras.callbacks.BackupAndRestore("backup"),
            "argument 1: all trials would share the folder of BackupAndRestore, and continue each "
            "other's training. Leave it out: the search saves the states of its trials itself.",
            id="backup",
        ),
    ],
)
def test_an_argument_that_only_one_trial_could_use_is_refused(tmp_path, make, message):
    with pytest.raises(ProblemError) as refused:
        sent(tmp_path, make())
    assert str(refused.value) == message
    assert list(tmp_path.iterdir()) == [], "nothing is saved of arguments that are refused"


def test_an_argument_that_cannot_be_pickled_is_refused(tmp_path):
    with pytest.raises(ProblemError) as refused:
        sent(tmp_path, callbacks=[threading.Lock()])
    assert str(refused.value).startswith(
        "callbacks[0] (lock) cannot be sent to a worker process (TypeError: "
    )


def test_every_argument_that_cannot_be_sent_is_named_with_its_place(tmp_path):
    with pytest.raises(ProblemError) as refused:
        sent(tmp_path, TRAIN[0], numbers(), validation_data=({"a": numbers()}, dataset().repeat()))
    assert [line.partition(" is a")[0].partition(":")[0] for line in str(refused.value).splitlines()] == [
        "argument 2", "validation_data[0]['a']", "validation_data[1]",
    ]  # fmt: skip


def test_a_dataset_that_filters_and_ends_is_sent(tmp_path):
    filtered = dataset().unbatch().filter(lambda x, y: y > 0).batch(40)
    packed = sent(tmp_path, filtered)
    assert batches(unpack(packed).args[0]) == batches(filtered)


# --- The description of the data ------------------------------------------------------------------


def described(tmp_path, *args, **kwargs):
    return describe_data(sent(tmp_path, *args, **kwargs))


def test_data_are_described_by_their_shapes_and_a_digest(tmp_path):
    text = described(tmp_path, *TRAIN, validation_data=VALIDATION)
    shapes, _, digest = text.partition(") ")
    assert shapes == "search(240x4, 240"
    assert len(digest) == 8


def test_a_dataset_is_described_as_one(tmp_path):
    assert described(tmp_path, dataset()).startswith("search(dataset) ")


def other(array):
    changed = array.copy()
    changed.flat[-1] += 1
    return changed


@pytest.mark.parametrize(
    ("kwargs", "is_equal"),
    [
        pytest.param({}, True, id="same"),
        pytest.param({"x": other(TRAIN[0])}, False, id="inputs"),
        pytest.param({"y": other(TRAIN[1])}, False, id="targets"),
        pytest.param({"validation_data": (VALIDATION[0], other(VALIDATION[1]))}, False, id="more"),
        pytest.param({"x": np.asfortranarray(TRAIN[0])}, True, id="order-in-memory"),
        pytest.param({"batch_size": 64}, True, id="settings"),
        pytest.param({"callbacks": [keras.callbacks.EarlyStopping()]}, True, id="callbacks"),
        pytest.param({"sample_weight": Shuffling()}, False, id="objects"),
    ],
)
def test_the_description_tells_other_data(tmp_path, kwargs, is_equal):
    arguments = {"x": TRAIN[0], "y": TRAIN[1], "validation_data": VALIDATION}
    before = described(tmp_path, **arguments)
    assert (described(tmp_path, **(arguments | kwargs)) == before) is is_equal


def test_the_names_of_the_arguments_belong_to_the_data(tmp_path):
    x, y = np.zeros(3), np.zeros(3)
    assert described(tmp_path, x=x, y=y) != described(tmp_path, a=x, b=y)


def test_other_datasets_have_another_description(tmp_path):
    first = sent(tmp_path, dataset()).args[0]
    second = replace(first, archive=other(first.archive))
    descriptions = [describe_data(FitArguments((one,), {})) for one in (first, second)]
    assert descriptions[0] != descriptions[1]
