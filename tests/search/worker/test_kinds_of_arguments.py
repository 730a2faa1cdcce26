"""A trial on each kind of data that ``search`` takes gives the numbers of ``model.fit``."""

import pickle

import data_kinds
import keras
import pytest
import ray.cloudpickle

from results.record.columns import State
from results.record.history import Objective
from search.carry.arguments import pack
from search.carry.carried import FitArguments
from search.worker import process

EPOCHS = 2
LOSS = Objective("loss", "min")


def build_images(hp=None):
    return compiled([keras.Input((6, 6, 1)), keras.layers.Flatten()])


def build_table(hp=None):
    return compiled([keras.Input((4,))])


def build_texts(hp=None):
    vectorization = keras.layers.TextVectorization(
        output_mode="multi_hot", vocabulary=["shirt", "boot"]
    )
    return compiled([keras.Input((), dtype="string"), vectorization])


def compiled(layers):
    model = keras.Sequential([*layers, keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


BUILDERS = {"images": build_images, "table": build_table, "texts": build_texts}
KINDS = [
    pytest.param(kind, id=kind.make.__name__, marks=() if kind.is_short else pytest.mark.long)
    for kind in data_kinds.KINDS
]


# Keras warns about ``shuffle=True``, its default, where it has no effect, and about the end of a
# dataset of which it did not know the length.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
    pytest.mark.filterwarnings("ignore:Your input ran out of data"),
]


@pytest.fixture
def made(tmp_path):
    """Make the data of a kind, anew each time; return the arguments of ``fit``."""

    def made(kind):
        return kind.make(tmp_path) | {"epochs": EPOCHS, "verbose": 0}

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_has_the_numbers_of_fit(train, made, kind, tmp_path):
    packed = pack(FitArguments((), made(kind)), tmp_path, epochs=EPOCHS)
    assert packed.data.parts[0].way == kind.way
    assert any(part.may_differ for part in packed.data.parts) is kind.may_differ
    assert bool(packed.data.unstable) is not kind.is_compared

    stored = pickle.loads(ray.cloudpickle.dumps(packed.arguments))
    expected = fitted(BUILDERS[kind.model], made(kind))
    for training in ("first", "second in the same process"):
        end, reports = train(
            BUILDERS[kind.model], stored=stored, max_epochs=EPOCHS, fast_epoch=False, objective=LOSS
        )
        assert end.state is State.COMPLETED, end.error
        assert [report["metrics"] for report in reports] == expected, training


def fitted(build, arguments):
    """Return the metrics of each epoch of Keras's own ``fit``."""
    process.reset_session(process.trial_seed(1, 0))
    history = build().fit(**arguments).history
    return [{name: values[epoch] for name, values in history.items()} for epoch in range(EPOCHS)]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_contents_have_equal_descriptions(made, kind, tmp_path):
    first, second = (pack(FitArguments((), made(kind)), tmp_path, epochs=EPOCHS) for _ in range(2))
    assert str(first.data) == str(second.data)


def test_the_page_has_the_table_of_the_kinds():
    assert data_kinds.PAGE.read_text() == data_kinds.page()
