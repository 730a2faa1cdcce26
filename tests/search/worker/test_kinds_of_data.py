"""A trial on each kind of data that ``--data`` takes gives the numbers of ``model.fit``."""

import pickle

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import pytest
import ray.cloudpickle
import scipy.sparse
import tensorflow as tf

import problems
from results.record.columns import State
from results.record.history import Objective
from search.carry.description import Way
from search.errors import ProblemError
from search.plan.plan import Problem
from search.worker import process, reading, splits
from search.worker.data import UNKNOWN_DIGEST, Data, load_data

EPOCHS = 2
WORDS = ["red", "green", "blue", "dark", "light"]
SPLITS = problems.blobs(3)
LOADED = "problems:loads"


# --- Kinds of data, each with a model for it ------------------------------------------------------


def as_frames(x, y):
    frame = pd.DataFrame(x.astype("float64"), columns=list("abcd"))
    return frame.assign(e=np.arange(len(x)), f=x[:, 0] > 0), pd.Series(y, name="label")


def as_texts(x, y):
    words = np.array(WORDS, dtype=object)
    return words[y] + " " + words[3 + (x[:, 3] > 0)], y


def as_text_tensor(x, y):
    return tf.constant(as_texts(x, y)[0]), y


def as_ragged(x, y):
    return tf.RaggedTensor.from_row_lengths(x[:, 0], 1 + np.arange(len(x)) * 0), y


def as_sparse(x, y):
    return scipy.sparse.coo_matrix(np.where(abs(x) > 1, x, 0.0)), y


def as_list(x, y):
    return [x[:, :1], x[:, 1:]], y


def as_mixture(x, y):
    inputs = {"text": as_texts(x, y)[0], "sparse": as_sparse(x, y)[0], "table": as_frames(x, y)[0]}
    return inputs | {"series": pd.Series(x[:, 0])}, pd.Series(y)


def as_dataset(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=5).batch(32)


class Batches(keras.utils.PyDataset):
    """Batches that are another noise in each epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y
        self.generator = np.random.default_rng(0)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(index, None, 3)
        noise = self.generator.normal(size=self.x[rows].shape)
        return (self.x[rows] + noise).astype("float32"), self.y[rows]


def as_pictures(x, y):
    generator = tf.keras.preprocessing.image.ImageDataGenerator(horizontal_flip=True)
    pictures = np.tile(x[:, None, :, None], (1, 4, 1, 1))
    return generator.flow(pictures, keras.utils.to_categorical(y), batch_size=32, seed=3)


def of_pictures(hp=None):
    inputs = keras.Input((4, 4, 1))
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(problems.CLASSES, "softmax")(hidden))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def classifier(inputs, features):
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(8, "relu")(features))
    model = keras.Model(inputs, keras.layers.Dense(problems.CLASSES, "softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def of_numbers(width, **options):
    def build(hp=None):
        inputs = keras.Input((width,), **options)
        return classifier(inputs, inputs)

    return build


def of_texts(hp=None):
    inputs = keras.Input((), dtype="string")
    return classifier(inputs, counted(inputs))


def counted(texts):
    return keras.layers.TextVectorization(output_mode="count", vocabulary=WORDS)(texts)


def of_list(hp=None):
    inputs = [keras.Input((1,)), keras.Input((3,))]
    return classifier(inputs, keras.layers.Concatenate()(inputs))


def of_mixture(hp=None):
    inputs = {
        "text": keras.Input((), name="text", dtype="string"),
        "sparse": keras.Input((4,), name="sparse", sparse=True),
        "table": keras.Input((6,), name="table"),
        "series": keras.Input((1,), name="series"),
    }
    parts = [counted(inputs["text"]), keras.layers.Dense(3)(inputs["sparse"])]
    parts += [inputs["table"], inputs["series"]]
    return classifier(inputs, keras.layers.Concatenate()(parts))


SHORT = ("dataset",)
# What converts the splits, the model, and the path of the training.
KINDS = {
    "mixture": (as_mixture, of_mixture, "keras"),
    "arrays": (lambda x, y: (x, y), of_numbers(4), "fast"),
    "frames": (as_frames, of_numbers(6), "fast"),
    "list": (as_list, of_list, "fast"),
    "texts": (as_texts, of_texts, "keras"),
    "text-tensor": (as_text_tensor, of_texts, "keras"),
    "sparse": (as_sparse, of_numbers(4, sparse=True), "keras"),
    "dataset": (as_dataset, of_numbers(4), "keras"),
    "py-dataset": (Batches, of_numbers(4), "keras"),
    "pictures": (as_pictures, of_pictures, "keras"),
}


# --- The comparison -------------------------------------------------------------------------------


@pytest.fixture
def carried(monkeypatch):
    """Load the splits that a function returns, as a worker gets them."""

    def carried(load, hypermodel=None):
        monkeypatch.setattr(problems, "loads", load, raising=False)
        problem = Problem(
            hypermodel=hypermodel, data=LOADED, data_dir=None, space="s", epochs=EPOCHS, patience=0,
            objective=Objective("val_accuracy", "max"), seed=1,
        )  # fmt: skip
        data = load_data(problem, needs_test=False)
        assert data.digest() == load_data(problem, needs_test=False).digest() != UNKNOWN_DIGEST
        return pickle.loads(ray.cloudpickle.dumps(data.packed()))

    return carried


def fitted(build, training, validation):
    """Return the metrics of each epoch of Keras's own ``fit``, on what the data function makes."""
    process.reset_session(process.trial_seed(1, 0))
    model = build()
    inputs = training if isinstance(training, tuple) else (training,)
    history = model.fit(*inputs, epochs=EPOCHS, validation_data=validation, verbose=0).history
    return [{name: values[epoch] for name, values in history.items()} for epoch in range(EPOCHS)]


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras's own default
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] * (kind not in SHORT)) for kind in KINDS]
)
def test_a_trial_has_the_numbers_of_fit(train, carried, kind):
    convert, build, path = KINDS[kind]

    def load():
        keras.utils.set_random_seed(7)  # a dataset's own seed is mixed with it
        return tuple(convert(*split) for split in SPLITS[:2])

    data = carried(load)
    expected = fitted(build, *load())
    end, reports = train(build, stored=data, max_epochs=EPOCHS, fast_epoch=path == "keras")
    assert end.state is State.COMPLETED, end.error
    assert [report["metrics"] for report in reports] == expected
    if path == "fast" or len(data.train) == 1:  # the next trial on a dataset begins as the first
        end, reports = train(build, stored=data, max_epochs=EPOCHS)
        assert path == "fast" or [report["metrics"] for report in reports] == expected
    assert reports[0]["path"]["name"] == path, reports[0]["path"]


# --- What is known of a dataset -------------------------------------------------------------------


class Endless(Batches):
    num_batches = None


def test_the_length_of_a_dataset_is_that_of_its_batches():
    dataset = as_dataset(*SPLITS[0])
    assert splits.length((dataset,)) == 8
    assert splits.length((dataset.filter(lambda x, y: True),)) is None
    assert splits.length((Batches(*SPLITS[0]),)) == 3
    assert splits.length(as_ragged(*SPLITS[0])) == 240


def test_a_dataset_must_end_and_have_a_batch():
    dataset = as_dataset(*SPLITS[0])
    never = "the train split never ends, expected one pass in each epoch. Leave out repeat()."
    assert list(reading.problems((dataset,), "train")) == []
    assert list(reading.problems((dataset.repeat(),), "train")) == [never]
    assert list(reading.problems((Endless(*SPLITS[0]),), "train")) == [never]
    assert list(reading.problems((dataset.take(0),), "test")) == [
        "the test split is a dataset without a batch, expected at least one."
    ]


class OwnSteps(kt.HyperModel):
    def build(self, hp):
        return of_numbers(4)()

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, steps_per_epoch=2, validation_steps=1, **kwargs)


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras's own default
def test_a_dataset_may_be_endless_where_a_fit_of_ones_own_counts_the_steps(
    train, carried, monkeypatch
):
    def load(*parts):
        return tuple(as_dataset(*SPLITS[0]).repeat() for _ in range(2)) + parts

    monkeypatch.setattr(problems, "own_steps", OwnSteps, raising=False)
    data = carried(load, hypermodel="problems:own_steps")
    end, reports = train("problems:own_steps", stored=data, max_epochs=2)
    assert (end.state, len(reports)) == (State.COMPLETED, 2)
    with pytest.raises(ProblemError, match=r"the train split never ends.*\n.*the validation split"):
        carried(load, hypermodel="problems:small")
    with pytest.raises(ProblemError, match=r"^[^\n]*the test split never ends[^\n]*$"):
        carried(lambda: load(load()[0]), hypermodel="problems:own_steps")


def test_a_dataset_stands_alone_since_it_has_its_targets():
    split = reading.as_split((as_dataset(*SPLITS[0]), SPLITS[0][1]))
    [problem] = reading.problems(split, "train")
    assert problem.startswith("the inputs of the train split: got ")
    assert problem.endswith("in a pair, but it holds inputs and targets itself. Return it alone.")


@pytest.mark.parametrize("convert", [as_dataset, Batches])
def test_the_first_of_a_dataset_is_a_dataset_of_its_first_batch(convert):
    [dataset] = splits.first((convert(*SPLITS[0]),), 7)
    [(x, y)] = list(dataset)
    assert len(x) == len(y) > 7


def test_the_first_samples_of_tensors_are_tensors():
    ragged, _ = splits.first(as_ragged(*SPLITS[0]), 7)
    assert ragged.to_list() == as_ragged(*SPLITS[0])[0].to_list()[:7]
    sparse = tf.sparse.from_dense(SPLITS[0][0])
    [first, _] = splits.first((sparse, SPLITS[0][1]), 7)
    np.testing.assert_array_equal(tf.sparse.to_dense(first), SPLITS[0][0][:7])


def test_tensors_have_a_checksum_and_travel():
    for convert in (as_ragged, as_text_tensor):
        split = reading.as_split(convert(*SPLITS[0]))
        again, other = (reading.as_split(convert(*part)) for part in (SPLITS[0], SPLITS[1]))
        assert splits.checksum(split, 0) == splits.checksum(again, 0) != splits.checksum(other, 0)
        opened = splits.opened(splits.packed(split, "train"))
        assert splits.checksum(opened, 0) == splits.checksum(split, 0)


def test_how_a_dataset_travels_is_described():
    drawn = as_dataset(*SPLITS[0]).map(lambda x, y: (x + tf.random.normal(()), y))
    described = []
    for dataset in (as_dataset(*SPLITS[0]), drawn, Batches(*SPLITS[0]), as_pictures(*SPLITS[0])):
        [part] = splits.described((dataset,), splits.packed((dataset,), "x"), "train")
        described.append((part.argument, part.kind, part.way, part.may_differ))
    assert described == [
        ("train[0]", "dataset", Way.ANEW, False),
        ("train[0]", "dataset", Way.ANEW, True),
        ("train[0]", "Batches", Way.PICKLED, False),
        ("train[0]", "NumpyArrayIterator", Way.ANEW, False),
    ]


def test_tensors_of_numbers_become_arrays():
    inputs, targets = reading.as_split((tf.constant(SPLITS[0][0]), tf.constant(SPLITS[0][1])))
    np.testing.assert_array_equal(inputs, SPLITS[0][0])
    assert type(inputs) is type(targets) is np.ndarray


def begun():
    generator = (number for number in range(3))
    next(generator)
    return generator


def test_every_split_that_cannot_travel_is_named():
    held = Batches(*SPLITS[0])
    held.file = begun()
    data = Data(train=(held,), validation=SPLITS[1], test=(held,))
    with pytest.raises(ProblemError) as refused:
        data.packed()
    for name, line in zip(("train", "test"), str(refused.value).splitlines(), strict=True):
        assert line.startswith(f"--data: the {name} split (Batches)")
    assert data.digest() == UNKNOWN_DIGEST


def test_the_names_of_the_classes_may_be_those_of_the_dataset(carried):
    def load():
        dataset = as_dataset(*SPLITS[0])
        dataset.class_names = ["a", "b", "c"]
        return dataset, as_dataset(*SPLITS[1])

    assert carried(load).class_names == ("a", "b", "c")
