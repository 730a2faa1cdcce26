"""The arguments of ``fit`` on their way to the workers: what can be sent, and what arrives."""

import shutil
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import problems
from search.carry.arguments import pack, unpack, unpack_sample
from search.carry.carried import FitArguments, PickledObject
from search.carry.datasets import CarriedDataset, NotAGraphError
from search.carry.description import DataPart, Numbers, Way
from search.carry.saved import save
from search.errors import ProblemError

TRAIN, VALIDATION, _ = problems.blobs()


class Connection:
    """Belongs to this process alone."""

    def __reduce__(self):
        raise TypeError("cannot pickle a connection")

    def send(self, value):
        return value


CONNECTION = Connection()


def dataset(*, batch=40):
    return tf.data.Dataset.from_tensor_slices(TRAIN).batch(batch)


def packed(scratch, *args, epochs=None, **kwargs):
    return pack(FitArguments(args, kwargs), scratch, epochs=epochs)


def sent(scratch, *args, **kwargs):
    return packed(scratch, *args, **kwargs).arguments


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


def test_a_dataset_is_sent_as_a_graph_and_each_copy_has_its_elements(tmp_path):
    packed = sent(tmp_path, dataset())
    assert isinstance(packed.args[0], CarriedDataset)
    assert batches(unpack(packed).args[0]) == batches(dataset())
    assert batches(unpack(packed).args[0]) == batches(dataset()), "in the same order each time"


def test_datasets_of_the_same_arrays_are_sent_with_one_copy_of_them(tmp_path):
    x = np.zeros((400, 50), dtype="float32")
    source = tf.data.Dataset.from_tensor_slices(x)
    packed = sent(tmp_path, source.take(300), validation_data=source.skip(300))
    [constant] = packed.args[0].constants
    assert constant is packed.kwargs["validation_data"].constants[0]
    assert (constant == x).all()


def test_a_sample_is_read_past_the_caches(tmp_path):
    counted = (
        dataset().map(lambda x, y: (x + 1, y)).cache(str(tmp_path / "cache")).repeat(2).cache()
    )
    packed = sent(tmp_path, counted)
    assert batches(unpack_sample(packed).args[0]) == batches(unpack(packed).args[0])
    [first] = unpack_sample(packed).args[0].take(1)
    assert (first[0].numpy() == TRAIN[0][:40] + 1).all()
    assert not list(tmp_path.glob("cache*")), "the cache of the script stays as it is"


def test_a_dataset_that_cannot_be_a_graph_is_saved(tmp_path, monkeypatch):
    def too_large(dataset, dumps):
        raise NotAGraphError("the dataset is too large for a graph")  # of 2 GB

    monkeypatch.setattr(CarriedDataset, "of", too_large)
    made = packed(tmp_path, dataset())
    assert batches(unpack(made.arguments).args[0].map(lambda x, y: (x, y))) != []
    assert sorted(batches(unpack(made.arguments).args[0])) == sorted(batches(dataset()))
    assert [part.way for part in made.data.parts] == [Way.SAVED]
    again = packed(tmp_path, dataset().shuffle(6, seed=1))
    assert str(again.data) == str(made.data), "of equal elements, in any order"
    assert str(packed(tmp_path, dataset(batch=20)).data) != str(made.data)
    with pytest.raises(ProblemError, match=r"argument 1: the dataset is too large for a graph"):
        packed(tmp_path, dataset().repeat())


def saved(folder, *, shuffles=False):
    folder.mkdir()
    return save(dataset(), folder, shuffles=shuffles)


def test_a_saved_dataset_is_unpacked_on_a_node_without_its_folder(tmp_path):
    one = saved(tmp_path / "driver")
    shutil.rmtree(tmp_path / "driver")
    assert batches(one.open()) == batches(dataset())
    assert [path.name for path in (tmp_path / "driver").iterdir()] == [Path(one.folder).name], (
        "what was unpacked beside the folder is left"
    )
    assert batches(one.open()) == batches(dataset())


def test_a_saved_dataset_that_another_worker_has_just_unpacked_is_opened(tmp_path, monkeypatch):
    one = saved(tmp_path / "driver")
    kept = tmp_path / "kept"
    shutil.move(one.folder, kept)
    rename = Path.rename

    def late(fresh, target):
        # A moment that no test can meet: another worker renames its copy first.
        shutil.copytree(kept, target)
        return rename(fresh, target)

    monkeypatch.setattr(Path, "rename", late)
    assert batches(one.open()) == batches(dataset())
    assert len(list((tmp_path / "driver").iterdir())) == 1


def test_the_batches_of_a_saved_dataset_that_shuffled_come_in_an_order_of_the_seed(tmp_path):
    one = saved(tmp_path / "driver", shuffles=True)

    def epochs(seed):
        keras.utils.set_random_seed(seed)
        opened = one.open()
        return [[labels.numpy().tolist() for _, labels in opened] for _ in range(2)]

    first, again, other = epochs(5), epochs(5), epochs(6)
    assert first == again != other
    assert first[0] != first[1], "a new order each epoch"
    assert sorted(first[0]) == sorted(first[1]) == sorted(other[0]), "the batches are the same"


@pytest.mark.parametrize(
    "tensor",
    [
        tf.ragged.range(tf.range(8000) % 4),
        tf.sparse.from_dense(tf.eye(5000, 30)),
    ],
    ids=["ragged", "sparse"],
)
def test_ragged_and_sparse_tensors_are_sent_and_compared(tmp_path, tensor):
    dataset = tf.data.Dataset.from_tensor_slices(tensor).batch(4000)
    made = packed(tmp_path, dataset)
    assert [str(batch) for batch in unpack(made.arguments).args[0]] == list(map(str, dataset))
    assert made.data.unstable == ()


def test_iterators_of_the_script_stay_there(tmp_path):
    spec = tf.TensorSpec((4,), tf.float32)
    rows = tf.data.Dataset.from_generator(lambda: iter(TRAIN[0]), output_signature=spec)
    before = str(packed(tmp_path, rows).data)
    iterator = iter(rows)
    next(iterator)
    made = packed(tmp_path, rows)
    assert str(made.data) == before
    assert len(list(unpack(made.arguments).args[0])) == len(TRAIN[0])
    assert (next(iterator).numpy() == TRAIN[0][1]).all()


# --- What cannot be sent --------------------------------------------------------------------------


def numbers():
    yield from TRAIN


def begun():
    generator = numbers()
    next(generator)
    return generator


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            begun,
            "argument 1: the generator numbers has begun, so no worker can begin it anew. Pass a "
            "new generator, arrays or a tf.data.Dataset; or pass steps_per_epoch and epochs, so "
            "that it can be read here.",
            id="begun",
        ),
        pytest.param(
            lambda: dataset().map(lambda x, y: tf.numpy_function(CONNECTION.send, [y], tf.int64)),
            "argument 1: the dataset calls a Python function that cannot be sent to a worker "
            "process (TypeError: cannot pickle a connection): create open files and "
            "connections inside the function.",
            id="function-of-a-connection",
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
        sent(tmp_path, callbacks=[CONNECTION])
    assert str(refused.value).startswith(
        "callbacks[0] (Connection) cannot be sent to a worker process (TypeError: "
    )


def test_every_argument_that_cannot_be_sent_is_named_with_its_place(tmp_path):
    with pytest.raises(ProblemError) as refused:
        sent(tmp_path, TRAIN[0], begun(), validation_data=({"a": begun()}, CONNECTION))
    assert [line.split(" ")[0].rstrip(":") for line in str(refused.value).splitlines()] == [
        "argument", "validation_data[0]['a']", "validation_data[1]",
    ]  # fmt: skip


# --- Iterators ------------------------------------------------------------------------------------


def test_a_generator_is_made_anew_by_each_trial(tmp_path):
    made = packed(tmp_path, numbers())
    for _ in range(2):
        assert [part.tolist() for part in unpack(made.arguments).args[0]] == [
            part.tolist() for part in TRAIN
        ]
    assert made.data.parts == (DataPart("argument 1", "generator", "", Way.ANEW),)
    assert made.notes == ()


def test_a_generator_that_has_begun_is_read_as_far_as_a_trial_trains(tmp_path):
    generator = (number for number in range(100))
    next(generator)
    made = packed(tmp_path, generator, epochs=3, steps_per_epoch=2)
    for _ in range(2):
        assert list(islice(unpack(made.arguments).args[0], 8)) == [1, 2, 3, 4, 5, 6, 1, 2]
    assert next(generator) == 7
    assert made.data.parts == (DataPart("argument 1", "generator", "", Way.READ),)
    assert made.data.unstable == ("argument 1",)
    assert made.notes == (
        "argument 1: only this process can read the generator, so 6 batches were read once; each "
        "trial trains on these, in this order",
    )


def test_validation_batches_are_read_by_their_own_number_of_steps(tmp_path):
    generator = (number for number in range(100))
    next(generator)
    made = packed(tmp_path, validation_data=generator, validation_steps=1, epochs=2)
    assert list(islice(unpack(made.arguments).kwargs["validation_data"], 3)) == [1, 2, 1]


# --- The description of the data ------------------------------------------------------------------


def described(tmp_path, *args, **kwargs):
    return str(packed(tmp_path, *args, **kwargs).data)


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
    assert described(tmp_path, dataset()) == described(tmp_path, dataset())
    assert described(tmp_path, dataset()) != described(tmp_path, dataset(batch=20))


def test_the_seeds_that_layers_draw_in_a_pipeline_do_not_count(tmp_path):
    def augmented(rate):
        augment = keras.Sequential([keras.layers.Dropout(rate), keras.layers.GaussianNoise(0.1)])
        return dataset().map(lambda x, y: (augment(x, training=True), y))

    made = [packed(tmp_path, augmented(rate)).data for rate in (0.5, 0.5, 0.2)]
    assert str(made[0]) == str(made[1]) != str(made[2])
    assert made[0].parts == made[1].parts


def test_each_part_of_the_data_is_described_with_the_way_that_it_travels(tmp_path):
    made = packed(
        tmp_path, *TRAIN, validation_data=dataset(), sample_weight=Shuffling(), batch_size=32,
        callbacks=[keras.callbacks.EarlyStopping()],
    )  # fmt: skip
    x, y = (
        Numbers(shape, pytest.approx(part.mean()), pytest.approx(part.std()))
        for shape, part in zip(("240x4", "240"), TRAIN, strict=True)
    )
    order = Numbers("240", pytest.approx(119.5), pytest.approx(np.arange(240).std()))
    assert made.data.parts == (
        DataPart("argument 1", "array", "240x4", Way.SHARED, False, (x,)),
        DataPart("argument 2", "array", "240", Way.SHARED, False, (y,)),
        DataPart("validation_data", "dataset", "", Way.ANEW, False, (x, y)),
        DataPart("sample_weight", "Shuffling", "", Way.PICKLED, False, (order,)),
    )
    assert made.data.rows()[0] == {
        "argument": "argument 1", "kind": "array", "shape": "240x4", "way": "shared arrays",
        "may_differ": False, "arrays": ({"shape": "240x4", "mean": x.mean, "deviation": x.deviation},),
    }  # fmt: skip
