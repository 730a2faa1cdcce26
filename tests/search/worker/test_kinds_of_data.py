"""A trial on each kind of data that ``--data`` takes gives the numbers of ``model.fit``."""

import pickle

import keras
import numpy as np
import pandas as pd
import pytest
import ray.cloudpickle
import scipy.sparse
import tensorflow as tf

import problems
from results.record.columns import State
from results.record.history import Objective
from search.plan.plan import Problem
from search.worker import process
from search.worker.data import load_data

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


def as_sparse(x, y):
    return scipy.sparse.coo_matrix(np.where(abs(x) > 1, x, 0.0)), y


def as_list(x, y):
    return [x[:, :1], x[:, 1:]], y


def as_mixture(x, y):
    inputs = {"text": as_texts(x, y)[0], "sparse": as_sparse(x, y)[0], "table": as_frames(x, y)[0]}
    return inputs | {"series": pd.Series(x[:, 0])}, pd.Series(y)


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


# What converts the splits, the model, and the path of the training.
KINDS = {
    "mixture": (as_mixture, of_mixture, "keras"),
    "arrays": (lambda x, y: (x, y), of_numbers(4), "fast"),
    "frames": (as_frames, of_numbers(6), "fast"),
    "list": (as_list, of_list, "fast"),
    "texts": (as_texts, of_texts, "keras"),
    "text-tensor": (as_text_tensor, of_texts, "keras"),
    "sparse": (as_sparse, of_numbers(4, sparse=True), "keras"),
}


# --- The comparison -------------------------------------------------------------------------------


@pytest.fixture
def carried(monkeypatch):
    """Load the splits that a function returns, as a worker gets them."""

    def carried(*splits):
        monkeypatch.setattr(problems, "loads", lambda: splits, raising=False)
        problem = Problem(
            hypermodel=None, data=LOADED, data_dir=None, space="s", epochs=EPOCHS, patience=0,
            objective=Objective("val_accuracy", "max"), seed=1,
        )  # fmt: skip
        data = load_data(problem, needs_test=False)
        assert data.digest() == load_data(problem, needs_test=False).digest()
        return pickle.loads(ray.cloudpickle.dumps(data.packed()))

    return carried


def fitted(build, training, validation):
    """Return the metrics of each epoch of Keras's own ``fit``, on what the data function makes."""
    process.reset_session(process.trial_seed(1, 0))
    model = build()
    inputs = training if isinstance(training, tuple) else (training,)
    history = model.fit(*inputs, epochs=EPOCHS, validation_data=validation, verbose=0).history
    return [{name: values[epoch] for name, values in history.items()} for epoch in range(EPOCHS)]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] * (kind != "mixture")) for kind in KINDS]
)
def test_a_trial_has_the_numbers_of_fit(train, carried, kind):
    convert, build, path = KINDS[kind]
    training, validation, _ = (convert(*split) for split in SPLITS)
    data = carried(training, validation)
    end, reports = train(build, stored=data, max_epochs=EPOCHS, fast_epoch=False)
    assert end.state is State.COMPLETED, end.error
    assert [report["metrics"] for report in reports] == fitted(build, training, validation)
    end, [report, *_] = train(build, stored=data, max_epochs=EPOCHS)
    assert report["path"]["name"] == path, report["path"]
