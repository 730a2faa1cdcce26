"""The arguments of RayTuner as what every trial shares. No Ray runs."""

import keras_tuner as kt
import pytest

import problems
from search import ASHA, RayTuner
from search.plan.registry import Scheduler
from search.plan.task import FitArguments
from search.tuner.planning import ASSUMED_EPOCHS, make_task, max_epochs_per_trial


@pytest.fixture
def tuner(tmp_path):
    def make(hypermodel=problems.small, objective="val_accuracy", **arguments):
        return RayTuner(hypermodel, objective, directory=tmp_path, **arguments)

    return make


def task_of(tuner):
    return make_task(tuner, tuner._settings, tuner._objective, tuner._registered)


def epochs_of(tuner, *args, **kwargs):
    return max_epochs_per_trial(tuner.hypermodel, tuner._settings, FitArguments(args, kwargs))


class OwnFit(kt.HyperModel):
    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


def test_a_seed_is_kept_and_one_is_drawn_where_none_is_given(tuner):
    assert task_of(tuner(seed=5)).seed == 5
    drawn = tuner()
    assert task_of(drawn).seed != task_of(drawn).seed  # equal once in 2**31
    oracle = kt.oracles.RandomSearchOracle("val_loss", seed=9)
    assert task_of(tuner(objective=None, algorithm=oracle)).seed == 9


def test_what_was_registered_in_advance_is_sent_without_what_exploring_found(tuner):
    registered = kt.HyperParameters()
    registered.Int("units", 2, 4)
    made = tuner(hyperparameters=registered)
    assert {one.name for one in made.oracle.get_space().space} == {"units", "rate"}
    names = [one["config"]["name"] for one in task_of(made).registered["space"]]
    assert names == ["units"]
    assert task_of(tuner()).registered is None


def test_a_task_has_what_keras_tuner_would_do_with_a_trial(tuner):
    made = tuner(
        max_trials=1000, max_retries_per_trial=2, executions_per_trial=3, max_model_size=99,
        loss="mse", max_epochs=6, fast_epoch=False,
    )  # fmt: skip
    task = task_of(made)
    assert (task.trial_digits, task.max_retries_per_trial, task.executions_per_trial) == (4, 2, 3)
    assert (task.max_model_size, task.epochs, task.fast_epoch) == (99, 6, False)
    assert task.compile_overrides.open() == {"loss": "mse"}
    assert (task.objective.name, task.objective.mode) == ("val_accuracy", "max")


def test_the_most_epochs_are_what_fit_is_asked_for_or_what_is_known_of_it(tuner):
    assert epochs_of(tuner(), 1, 2, epochs=5) == 5
    assert epochs_of(tuner(), 1, 2) == 1  # Keras's own default
    assert epochs_of(tuner(OwnFit()), 1, 2) == ASSUMED_EPOCHS
    assert epochs_of(tuner(OwnFit(), max_epochs=12), 1, 2) == 12
    hyperband = kt.oracles.HyperbandOracle("val_loss", max_epochs=27)
    assert epochs_of(tuner(objective=None, algorithm=hyperband), 1, 2, epochs=5) == 27


def test_an_asha_of_the_users_own_is_the_one_that_stops(tuner):
    settings = tuner(scheduler=ASHA(2, 4))._settings
    assert (settings.scheduler_name, settings.asha) == (Scheduler.ASHA, ASHA(2, 4))
    assert tuner()._settings.asha == ASHA()


@pytest.mark.parametrize("name", Scheduler)
def test_every_scheduler_of_the_registry_may_be_named(tuner, name):
    assert tuner(scheduler=str(name))._settings.scheduler_name is name


def test_nothing_stops_trials_beside_hyperband_and_where_the_script_says_so(tuner):
    hyperband = kt.oracles.HyperbandOracle("val_loss")
    by_default = tuner(objective=None, algorithm=hyperband)._settings
    assert by_default.scheduler_name is Scheduler.NONE
    assert tuner(scheduler=None)._settings.scheduler_name is Scheduler.NONE
