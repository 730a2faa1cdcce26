"""What ``fit`` is called with, as ``search`` was: by position or by name, of Keras or of the user."""

import keras_tuner as kt
import numpy as np
import pytest

import problems
from search.carry.carried import FitArguments
from search.errors import UsageError
from search.tuner.fit_arguments import (
    adapt_fit_arguments,
    check_data,
    decides_itself,
    requested_epochs,
)
from search.worker.tuner import TrialTuner


class KerasFit(kt.HyperModel):
    """Leaves ``fit`` to Keras."""

    def build(self, hp):
        return problems.small(hp)


class TakesAnything(kt.HyperModel):
    """Hands on to Keras whatever it gets."""

    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


class DecidesItself(kt.HyperModel):
    """Decides by itself how long it trains."""

    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, data):
        return model.fit(*data, epochs=7, verbose=0)


class NamesItsEpochs(DecidesItself):
    def fit(self, hp, model, data, epochs=3, verbose=1):
        return model.fit(*data, epochs=epochs, verbose=verbose)


class TunesBatchSize(TrialTuner):
    def run_trial(self, trial, *args, **kwargs):
        return super().run_trial(trial, *args, batch_size=8, **kwargs)


class ValidatesItself(TrialTuner):
    def run_trial(self, trial, x, y, epochs=3):
        return 1.0


def tuner_of(hypermodel, tuner_class=TrialTuner):
    """Return a tuner with nothing but a hypermodel."""
    tuner = tuner_class.__new__(tuner_class)
    tuner.hypermodel = hypermodel
    return tuner


def test_the_fit_of_keras_is_quiet_and_trains_at_most_max_epochs():
    arguments = adapt_fit_arguments(tuner_of(KerasFit()), (1, 2), {"epochs": 9, "verbose": 1}, None)
    assert arguments == FitArguments((1, 2), {"epochs": 9, "verbose": 0})
    arguments = adapt_fit_arguments(tuner_of(KerasFit()), (1, 2), {"batch_size": 8}, 4)
    assert arguments.kwargs == {"batch_size": 8, "epochs": 4, "verbose": 0}


def test_a_custom_fit_gets_only_the_arguments_that_it_names():
    assert adapt_fit_arguments(tuner_of(DecidesItself()), (1,), {}, 4).kwargs == {}
    assert adapt_fit_arguments(tuner_of(NamesItsEpochs()), (1,), {}, 4).kwargs == {
        "epochs": 4,
        "verbose": 0,
    }
    assert adapt_fit_arguments(tuner_of(TakesAnything()), (1,), {}, 4).kwargs == {}
    # What search was given, it takes.
    changed = adapt_fit_arguments(
        tuner_of(TakesAnything()), (1,), {"epochs": 9, "verbose": 2}, 4
    ).kwargs
    assert changed == {"epochs": 4, "verbose": 0}


def test_the_arguments_of_search_stay_unchanged():
    kwargs = {"epochs": 9}
    adapt_fit_arguments(tuner_of(KerasFit()), (), kwargs, 4)
    assert kwargs == {"epochs": 9}


@pytest.mark.parametrize(
    ("args", "kwargs", "epochs"),
    [
        pytest.param((), {"epochs": 5}, 5, id="by-name"),
        pytest.param((1, 2, 32, 6), {}, 6, id="by-position"),
        pytest.param((1, 2), {}, None, id="not-at-all"),
        pytest.param((1, 2), {"nonsense": 3}, None, id="that-fit-refuses"),
    ],
)
def test_the_epochs_of_the_fit_of_keras_are_read_from_its_arguments(args, kwargs, epochs):
    assert requested_epochs(tuner_of(KerasFit()), FitArguments(args, kwargs)) == epochs


def test_the_epochs_of_a_custom_fit_are_read_from_its_arguments():
    assert requested_epochs(tuner_of(NamesItsEpochs()), FitArguments((1, 8), {})) == 8
    assert requested_epochs(tuner_of(TakesAnything()), FitArguments((1,), {"epochs": 8})) == 8
    assert requested_epochs(tuner_of(DecidesItself()), FitArguments((1,), {})) is None


def test_a_run_trial_of_the_user_gets_only_the_arguments_that_it_names():
    own, without_model = tuner_of(KerasFit(), TunesBatchSize), tuner_of(None, ValidatesItself)
    assert adapt_fit_arguments(own, (1, 2), {}, 4).kwargs == {}
    assert adapt_fit_arguments(own, (1, 2), {"epochs": 9, "verbose": 1}, 4).kwargs == {
        "epochs": 4,
        "verbose": 0,
    }
    assert adapt_fit_arguments(without_model, (1, 2), {}, 4).kwargs == {"epochs": 4}
    assert requested_epochs(own, FitArguments((1, 2), {"epochs": 8})) == 8
    assert requested_epochs(without_model, FitArguments((1, 2, 6), {})) == 6


def test_code_of_the_user_may_call_fit():
    assert not decides_itself(tuner_of(KerasFit()))
    assert decides_itself(tuner_of(TakesAnything()))
    assert decides_itself(tuner_of(KerasFit(), TunesBatchSize))
    assert decides_itself(tuner_of(None, ValidatesItself))


def test_epochs_that_are_no_whole_number_are_refused():
    with pytest.raises(UsageError, match=r"search\(epochs='3'\): expected a whole number"):
        requested_epochs(tuner_of(KerasFit()), FitArguments((1, 2), {"epochs": "3"}))


def test_arrays_of_unequal_length_are_named_before_anything_starts():
    x, y = np.zeros((9, 4)), np.zeros(8)
    data = FitArguments((x, y), {"validation_data": (x, y)})
    with pytest.raises(UsageError) as refused:
        check_data(tuner_of(KerasFit()), data)
    assert str(refused.value).splitlines() == [
        "argument 1 has 9 and argument 2 has 8 samples: expected as many inputs as targets.",
        "validation_data[0] has 9 and validation_data[1] has 8 samples: expected as many inputs as "
        "targets.",
    ]
    check_data(tuner_of(DecidesItself()), data)
    check_data(tuner_of(KerasFit()), FitArguments((x,), {"y": x, "validation_data": (y, y, y)}))
