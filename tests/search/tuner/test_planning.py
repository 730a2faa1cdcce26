"""The arguments of RayTuner as what every trial shares. No Ray runs."""

import keras
import keras_tuner as kt
import pytest

import problems
from results.record.history import Objective
from search import RayTuner
from search.carry.carried import FitArguments
from search.errors import ProblemError
from search.session.warm_start import EarlierSearch, EarlierTrial, fit_to_space
from search.space import mirror
from search.tuner.planning import (
    ASSUMED_EPOCHS,
    check_copy,
    extend_space,
    make_task,
    max_epochs_per_trial,
)


@pytest.fixture
def tuner(tmp_path):
    def make(hypermodel=problems.small, objective="val_accuracy", **arguments):
        return RayTuner(hypermodel, objective, directory=tmp_path, **arguments)

    return make


@pytest.fixture
def task_of(tuner, settings):
    """Return the task for a tuner of these arguments: ``task_of(seed=5)``."""

    def make(objective="val_accuracy", loss=None, max_model_size=None, **arguments):
        own = settings(objective, **arguments)
        registered = own.registered()  # before the tuner explores the space
        made = tuner(objective=objective, loss=loss, max_model_size=max_model_size, **arguments)
        return make_task(made, own, Objective("val_accuracy", "max"), registered)

    return make


@pytest.fixture
def epochs_of(tuner, settings):
    """Return the most epochs of a trial for these arguments of ``search``."""

    def count(*args, hypermodel=problems.small, objective="val_accuracy", options=None, **kwargs):
        made = tuner(hypermodel, "val_accuracy")
        own = settings(objective, **(options or {}))
        return max_epochs_per_trial(made, own, FitArguments(args, kwargs))

    return count


class OwnFit(kt.HyperModel):
    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


def test_the_seed_of_the_tuner_or_of_its_oracle_is_that_of_the_search(task_of):
    assert task_of(seed=5).seed == 5
    oracle = kt.oracles.RandomSearchOracle("val_loss", seed=9)
    assert task_of(None, algorithm=oracle).seed == 9


def test_a_search_without_a_seed_draws_one(task_of):
    assert task_of().seed != task_of().seed  # equal once in 2**31


def test_only_what_was_registered_in_advance_is_sent_as_registered(task_of):
    registered = kt.HyperParameters()
    registered.Int("units", 2, 4)
    task = task_of(hyperparameters=registered)
    explored = [parameter.name for parameter in registered.space]
    assert explored == ["units", "rate"]  # the tuner has found the other one
    assert [row["config"]["name"] for row in task.registered["space"]] == ["units"]


def test_without_registered_hyperparameters_none_are_sent(task_of):
    assert task_of().registered is None


def test_a_task_has_what_keras_tuner_would_do_with_a_trial(task_of):
    task = task_of(
        max_trials=1000, max_retries_per_trial=2, executions_per_trial=3, max_model_size=99,
        loss="mse", max_epochs=6, fast_epoch=False,
    )  # fmt: skip
    assert (task.trial_digits, task.max_retries_per_trial, task.executions_per_trial) == (4, 2, 3)
    assert (task.max_model_size, task.epochs, task.fast_epoch) == (99, 6, False)
    assert task.compile_overrides.open() == {"loss": "mse"}


def test_the_epochs_of_a_trial_are_those_that_fit_is_asked_for(epochs_of):
    assert epochs_of(1, 2, epochs=5) == 5
    assert epochs_of(1, 2) == 1  # Keras's own default


def test_the_epochs_of_a_custom_fit_are_assumed_unless_max_epochs_says_them(epochs_of):
    assert epochs_of(1, 2, hypermodel=OwnFit()) == ASSUMED_EPOCHS
    assert epochs_of(1, 2, hypermodel=OwnFit(), options={"max_epochs": 12}) == 12


def test_the_epochs_of_hyperband_are_its_own(epochs_of):
    hyperband = kt.oracles.HyperbandOracle("val_loss", max_epochs=27)
    assert epochs_of(1, 2, epochs=5, objective=None, options={"algorithm": hyperband}) == 27


DEEP = EarlierTrial("0", {"layers": 3, "units_0": 4, "units_1": 5, "units_2": 6, "rate": 0.01}, 0.5)
EARLIER = EarlierSearch("old", "keras-tuner", (DEEP,), ())


def test_hyperparameters_that_an_earlier_search_met_in_a_loop_join_the_space(tuner):
    made = tuner(problems.growing, "val_loss")
    assert "units_2" not in {parameter.name for parameter in made.oracle.get_space().space}
    extend_space(made, EARLIER)
    space = mirror.mirror_space(made.oracle.get_space().space)
    assert fit_to_space(EARLIER, space) == ([DEEP], [])


def test_without_an_earlier_search_the_space_stays_as_it_is(tuner):
    made = tuner(problems.growing, "val_loss")
    before = [parameter.name for parameter in made.oracle.get_space().space]
    extend_space(made, None)
    assert [parameter.name for parameter in made.oracle.get_space().space] == before


# --- The copy that workers get --------------------------------------------------------------------


def base():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def checked(tuner, settings, builder, build=None):
    """Check the copy of a builder; ``build`` takes the place of the script's own build."""
    made = tuner(builder)
    task = make_task(made, settings("val_accuracy"), Objective("val_accuracy", "max"), None)
    check_copy(task, build or (lambda: builder(kt.HyperParameters())), kt.HyperParameters())


def mixed():
    """Make a builder that takes a tensor of a model, and the model."""
    model = base()
    output = model.output
    return lambda hp: keras.Model(model.input, keras.layers.Dense(1)(output))


def test_a_builder_that_takes_a_tensor_of_a_model_and_the_model_is_refused(tuner, settings):
    with pytest.raises(
        ProblemError, match=r"a worker cannot build its model \(ValueError: .* inside build\.$"
    ):
        checked(tuner, settings, mixed())


def test_a_builder_that_takes_tensors_alone_or_a_model_alone_passes(tuner, settings):
    model = base()
    inputs, output = model.input, model.output
    checked(tuner, settings, lambda hp: keras.Model(inputs, keras.layers.Dense(1)(output)))
    checked(
        tuner, settings, lambda hp: keras.Model(model.input, keras.layers.Dense(1)(model.output))
    )


def test_a_builder_that_fails_by_itself_is_left_to_the_trials(tuner, settings):
    def build():
        raise ValueError("by itself")

    checked(tuner, settings, mixed(), build)
