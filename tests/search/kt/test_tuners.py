"""The tuners of ``search.kt``: what they are given, and what then proposes. No Ray runs."""

import keras_tuner
import pytest

import problems
from search import kt
from search.errors import UsageError
from search.plan.registry import Scheduler

KINDS = {
    "RandomSearch": keras_tuner.oracles.RandomSearchOracle,
    "BayesianOptimization": keras_tuner.oracles.BayesianOptimizationOracle,
    "Hyperband": keras_tuner.oracles.HyperbandOracle,
    "GridSearch": keras_tuner.oracles.GridSearchOracle,
}


@pytest.fixture
def make(tmp_path):
    """Make a tuner of ``search.kt`` by its name."""

    def made(name, *args, **kwargs):
        return getattr(kt, name)(*args, directory=tmp_path, **kwargs)

    return made


def proposing(tuner):
    """Return the oracle that proposes in the search of a tuner."""
    return tuner._settings.oracle


# --- What proposes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_what_proposes_is_what_the_name_says(make, name):
    oracle = proposing(make(name, problems.small, "val_accuracy", seed=3))
    assert type(oracle) is KINDS[name]
    assert (oracle.objective.name, oracle.objective.direction, oracle.seed) == (
        "val_accuracy", "max", 3,
    )  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_oracle_gets_the_defaults_of_its_namesake(make, name, tmp_path):
    theirs = getattr(keras_tuner, name)(problems.small, "val_loss", seed=3, directory=tmp_path)
    ours = proposing(make(name, problems.small, "val_loss", seed=3))
    names = [
        "max_trials", "seed", "allow_new_entries", "tune_new_entries", "max_retries_per_trial",
        "max_consecutive_failed_trials", "num_initial_points", "alpha", "beta", "factor",
        "hyperband_iterations", "max_epochs",
    ]  # fmt: skip
    for attribute in names:
        missing = object()
        there = getattr(theirs.oracle, attribute, missing)
        assert getattr(ours, attribute, missing) in (there, missing), attribute
        assert hasattr(ours, attribute) is (there is not missing), attribute


def test_bayesian_optimization_gets_its_own_arguments(make):
    made = make(
        "BayesianOptimization",
        problems.small,
        "val_loss",
        7,
        num_initial_points=4,
        alpha=1e-3,
        beta=2,
    )
    oracle = proposing(made)
    assert (oracle.max_trials, oracle.num_initial_points, oracle.alpha, oracle.beta) == (
        7,
        4,
        1e-3,
        2,
    )


def test_hyperband_gets_its_own_arguments(make):
    made = make("Hyperband", problems.small, "val_loss", 9, 2, hyperband_iterations=3)
    oracle = proposing(made)
    assert (oracle.max_epochs, oracle.factor, oracle.hyperband_iterations) == (9, 2, 3)


def test_a_registered_space_is_copied_and_searched_first(make):
    hp = kt.HyperParameters()
    hp.Int("units", 3, 4)
    made = make(
        "RandomSearch", problems.small, "val_loss", hyperparameters=hp, tune_new_entries=False
    )
    assert [each.name for each in made.oracle.get_space().space] == ["units"]
    assert [each.name for each in hp.space] == ["units"]
    assert proposing(made).hyperparameters.space[0].max_value == 4


def test_an_oracle_is_taken_by_position_as_in_keras_tuner(make):
    oracle = kt.oracles.GridSearchOracle("val_loss", max_trials=5)
    made = make("Tuner", oracle, problems.small, 1000, "sgd")
    assert proposing(made) is oracle
    assert (made.max_model_size, made.optimizer) == (1000, "sgd")
    assert (made.oracle.max_trials, made.remaining_trials) == (5, 5)


def test_the_seed_of_a_search_that_goes_on_is_that_of_the_first_run(make):
    settings = make("BayesianOptimization", problems.small, "val_loss")._settings
    assert settings.oracle_with(settings.oracle.seed) is settings.oracle
    again = settings.oracle_with(77)
    assert (again.seed, again._seed_state, again.gpr.random_state) == (77, 77, 77)


# --- What stops trials --------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_asha_stops_trials_unless_hyperband_does_or_the_script_says_no(make, name):
    by_default = make(name, problems.small, "val_loss")._settings
    expected = Scheduler.NONE if name == "Hyperband" else Scheduler.ASHA
    assert by_default.scheduler_name is expected
    without = make(name, problems.small, "val_loss", scheduler=None)._settings
    assert without.scheduler_name is Scheduler.NONE


# --- Subclasses ---------------------------------------------------------------------------------


def test_a_subclass_may_set_attributes_of_its_own_before_and_after(make):
    class Mine(kt.BayesianOptimization):
        def __init__(self, hypermodel, extra, **kwargs):
            self.before = extra
            super().__init__(hypermodel, objective="val_loss", max_trials=4, **kwargs)
            self.after = self.oracle.max_trials

    made = Mine(
        problems.small, "mine", directory=make("GridSearch", problems.small, "val_loss").directory
    )
    assert (made.before, made.after) == ("mine", 4)


def test_tuners_keep_the_seed_where_keras_tuner_keeps_it(make, tmp_path):
    for name in KINDS:
        theirs = getattr(keras_tuner, name)(problems.small, "val_loss", seed=3, directory=tmp_path)
        ours = make(name, problems.small, "val_loss", seed=3)
        assert getattr(ours, "seed", None) == getattr(theirs, "seed", None), name


# --- Bad input ----------------------------------------------------------------------------------


def refused(make, *args, **kwargs):
    """Return the lines with which a tuner is refused."""
    with pytest.raises(UsageError) as caught:
        make(*args, **kwargs)
    return str(caught.value).splitlines()


def test_all_mistakes_are_listed_at_once_before_anything_is_made(make, tmp_path):
    lines = refused(
        make, "Hyperband", None, "val_foo", 0, 1, hyperband_iterations=-1, max_trials=3, overwite=True,
        tune_new_entries=False, max_consecutive_failed_trials=0, num_initial_points=2,
        scheduler="asha", max_retries_per_trial=-1,
    )  # fmt: skip
    for part in (
        "hypermodel is missing",
        "objective='val_foo': its name does not show whether to maximize or to minimize it",
        "max_epochs=0: expected a whole number, 1 or more.",
        "factor=1: expected a number, 2 or more.",
        "hyperband_iterations=-1: expected a whole number, 0 or more.",
        "max_trials=3 is not an argument of Hyperband",
        "overwite=True is not an argument of Hyperband: docs/keras-tuner.md lists them. "
        "Did you mean 'overwrite'?",
        "num_initial_points=2 is an argument of another tuner: use search.kt.BayesianOptimization",
        "tune_new_entries=False without hyperparameters",
        "max_consecutive_failed_trials=0: expected",
        "max_retries_per_trial=-1: expected",
        "scheduler='asha' with a Hyperband oracle",
    ):
        assert sum(line.startswith(part) for line in lines) == 1, (part, lines)
    assert len(lines) == 12
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_trials": 0}, "max_trials=0: expected a whole number, 1 or more"),
        ({"alpha": 0}, "alpha=0: expected a number, more than 0"),
        ({"beta": "much"}, "beta='much': expected a number, 0 or more"),
        ({"num_initial_points": 2.5}, "num_initial_points=2.5: expected a whole number, 0 or more"),
        ({"factor": 3}, "factor=3 is an argument of another tuner: use search.kt.Hyperband"),
        ({"algorithm": "tpe"}, "algorithm='tpe': BayesianOptimization has its own oracle"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(make, arguments, expected):
    [line] = refused(make, "BayesianOptimization", problems.small, "val_loss", **arguments)
    assert line.startswith(expected)


def test_an_oracle_that_is_none_is_refused_by_the_name_of_the_argument(make):
    [line] = refused(make, "Tuner", 7, problems.small, objective="val_loss")
    assert line.startswith("oracle=7: expected one of tpe, random, or an oracle such as")


def test_zero_hyperband_iterations_mean_no_end_as_in_keras_tuner(make):
    oracle = proposing(make("Hyperband", problems.small, "val_loss", hyperband_iterations=0))
    assert oracle.hyperband_iterations == float("inf")
