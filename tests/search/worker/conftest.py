"""What the tests of the worker share: a trial that runs in this process."""

import gc

import pytest

import problems
from results.record.history import Objective

ACCURACY = Objective("val_accuracy", "max")


class Clock:
    """Shows the seconds that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def keras_is_imported():
    """Import Keras, and hide the objects of the imports from garbage collection, as workers do.

    Each trial collects garbage several times, which would take a second each.
    """
    import keras_tuner  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def train(keras_is_imported):
    """Run a trial in what is as good as a fresh process; return its end and its reports.

    The hypermodel is an object or its name as ``module:attribute``. Without ``stored`` data, the
    trial gets the arguments of ``fit``: blobs, ``epochs`` and ``callbacks``. ``max_epochs`` is the
    limit of the search. ``report`` gets each report, and returns whether the trial may go on.
    """
    from search.carry.carried import FitArguments, PickledObject
    from search.worker import process
    from search.worker.task import NamedObject, Task
    from search.worker.trial import run_trial

    training, validation, _ = problems.blobs()

    def train(
        hypermodel, *, stored=None, epochs=2, callbacks=(), report=lambda report: True, trial=0,
        values=None, folder=None, space=None, retries=0, max_epochs=None, **task,
    ):  # fmt: skip
        process.load_named.cache_clear()
        is_name = isinstance(hypermodel, str)
        source = NamedObject(hypermodel) if is_name else PickledObject.of(hypermodel, "hypermodel")
        kwargs = {
            "epochs": epochs, "validation_data": validation, "verbose": 0,
            "callbacks": PickledObject.of(list(callbacks), "callbacks"),
        }  # fmt: skip
        reports = []

        def note(one):
            reports.append(dict(one))
            return report(one)

        settings = {"objective": ACCURACY, "epochs": max_epochs, "patience": 0, "seed": 1} | task
        end = run_trial(
            Task(hypermodel=source, **settings),
            stored or FitArguments(training, kwargs),
            trial=trial, values=values or {}, report=note, folder=folder, space=space,
            retries=retries,
        )  # fmt: skip
        return end, reports

    return train
