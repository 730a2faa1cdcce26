"""The Optuna study: domains, values, states and times in Optuna's terms. No Keras, no Ray."""

import datetime
import math
import shutil

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import (
    ACCURACY,
    REPORTED,
    UNITS,
    Notes,
    RunWriter,
    make_plan,
    write_every_end,
)
from made_up_spaces import configurations, spaces
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from results.record.columns import Decision, Ending, State
from results.record.history import History, Objective
from search.exchange.export import Part, export_run
from search.exchange.optuna_study import domain, frozen_trials
from search.session.warm_start import read_earlier_search
from search.space.parameters import Condition, Kind, Parameter, Space


def exported_study(run, out, name=None):
    export_run(run, out, Notes(), only=[Part.STUDY])
    return load_study(out / "study.db", name or run.name)


def load_study(file, name):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{file}")


# --- Domains --------------------------------------------------------------------------------------


def integer(low, high, step=None, sampling="linear", default=None):
    default = low if default is None else default
    return Parameter("x", Kind.INT, default, low=low, high=high, step=step, sampling=sampling)


def number(low, high, step=None, sampling="linear"):
    return Parameter("x", Kind.FLOAT, low, low=low, high=high, step=step, sampling=sampling)


def choice(*values, kind=Kind.CHOICE):
    return Parameter("x", kind, values[0], choices=values)


EXACT = [
    pytest.param(integer(2, 9, 1), [2, 9], IntDistribution(2, 9), id="int"),
    pytest.param(integer(2, 9, 3), [8], IntDistribution(2, 8, step=3), id="int-step"),
    pytest.param(
        integer(64, 1024, None, "log"), [64, 1024], IntDistribution(64, 1024, log=True),
        id="int-log",
    ),
    pytest.param(
        integer(2, 20, 2, "log"), [4], CategoricalDistribution([2, 4, 8, 16]),
        id="int-log-steps-are-listed",
    ),
    pytest.param(
        integer(2, 20, None, "reverse_log"), [20], IntDistribution(2, 20),
        id="int-reverse-log-is-linear",
    ),
    pytest.param(number(0.5, 2.0), [0.5], FloatDistribution(0.5, 2), id="float"),
    pytest.param(
        number(1e-4, 1e-2, None, "log"), [1e-3], FloatDistribution(1e-4, 1e-2, log=True),
        id="float-log",
    ),
    pytest.param(
        number(0.0, 1.0, 0.25), [0.75], FloatDistribution(0, 1, step=0.25), id="float-step"
    ),
    pytest.param(
        number(0.0, 0.7, 0.1), [0.6000000000000001],
        CategoricalDistribution([step * 0.1 for step in range(7)]),
        id="float-steps-that-add-up-to-a-little-more-are-listed",
    ),
    pytest.param(
        integer(1, 2**99, 2, "log"), [2], CategoricalDistribution([2**n for n in range(100)]),
        id="a-hundred-values-are-listed",
    ),
    pytest.param(choice("a", "b"), ["b"], CategoricalDistribution(["a", "b"]), id="choice"),
    pytest.param(
        choice(False, True, kind=Kind.BOOLEAN), [True], CategoricalDistribution([False, True]),
        id="boolean",
    ),
    pytest.param(choice(7, kind=Kind.FIXED), [7], CategoricalDistribution([7]), id="fixed"),
]  # fmt: skip
WIDER = [
    pytest.param(
        number(1.0, 2.0, 1.001, "reverse_log"), [1.5], FloatDistribution(1, 2),
        id="too-many-values-to-list",
    ),
    pytest.param(
        integer(2, 9, 3, default=4), [4, 5], IntDistribution(2, 9),
        id="a-default-off-the-grid",
    ),
    pytest.param(
        number(1e-3, 1e-2, None, "log"), [1e-4], FloatDistribution(1e-4, 1e-2, log=True),
        id="a-number-of-an-earlier-space",
    ),
    pytest.param(
        integer(2, 9, None, "log"), [0], IntDistribution(0, 9), id="no-log-scale-holds-0"
    ),
    pytest.param(integer(2, 9, 1), [0.5], FloatDistribution(0.5, 9), id="a-number-among-ints"),
    pytest.param(
        choice("a", "b"), ["c", "a", "c"], CategoricalDistribution(["a", "b", "c"]),
        id="a-choice-of-an-earlier-space",
    ),
    pytest.param(choice(1, 2), [3], CategoricalDistribution([1, 2, 3]), id="a-choice-of-numbers"),
    pytest.param(
        integer(2, 9, 1), ["many"], CategoricalDistribution([2, 9, "many"]), id="a-word-for-an-int"
    ),
]  # fmt: skip


def holds(distribution, value):
    """Tell whether Optuna takes a value of a distribution, and gives it back as it is."""
    try:
        trial = optuna.trial.create_trial(
            params={"x": value}, distributions={"x": distribution}, value=0.0
        )
    except ValueError:
        return False
    return trial.params["x"] == value


@pytest.mark.parametrize(("parameter", "tried", "expected"), EXACT)
def test_a_parameter_has_the_domain_with_its_values(parameter, tried, expected):
    assert domain(parameter, tried) == expected
    assert all(holds(domain(parameter, tried), value) for value in tried)


@pytest.mark.parametrize(("parameter", "tried", "expected"), WIDER)
def test_a_domain_that_optuna_lacks_or_that_misses_a_tried_value_is_widened(
    parameter, tried, expected
):
    assert domain(parameter, tried) == expected
    assert all(holds(domain(parameter, tried), value) for value in tried)


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([3, 1], IntDistribution(1, 3)),
        ([0.5, 2], FloatDistribution(0.5, 2)),
        (["b", 1, "b"], CategoricalDistribution(["b", 1])),
        ([True], CategoricalDistribution([True])),
    ],
)
def test_a_parameter_of_no_known_space_spans_the_values_that_were_tried(tried, expected):
    assert domain(None, tried) == expected


# --- Values ---------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_configuration_stands_in_the_study_as_it_is(data):
    space = data.draw(spaces())
    tried = [space.defaults(), *(data.draw(configurations(space)) for _ in range(3))]
    history = History(ACCURACY)
    for number, values in enumerate(tried):
        started = {"event": "trial_started", "at_seconds": 0.0, "trial": number, "values": values}
        history.apply(started)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trials(frozen_trials(history, space, datetime.datetime.fromtimestamp))
    assert [trial.params for trial in study.trials] == tried
    assert [[type(v) for v in trial.params.values()] for trial in study.trials] == [
        [type(values[name]) for name in trial.params]
        for values, trial in zip(tried, study.trials, strict=True)
    ]


def test_one_name_in_two_scopes_has_two_names_in_the_study(tmp_path):
    kind = Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"))
    sizes = [
        Parameter("size", Kind.CHOICE, "x", (Condition("kind", (value,)),), choices=("x", other))
        for value, other in (("a", "y"), ("b", "z"))
    ]
    writer = RunWriter(tmp_path / "run", Space((kind, *sizes)))
    writer.trial(0, {"kind": "a", "size": "y"}, [0.5], State.COMPLETED)
    writer.trial(1, {"kind": "b", "size": "z"}, [0.6], State.COMPLETED)
    study = exported_study(writer.close(), tmp_path / "out")
    assert [trial.params for trial in study.trials] == [
        {"kind": "a", "size [kind in ['a']]": "y"},
        {"kind": "b", "size [kind in ['b']]": "z"},
    ]


# --- How trials ended -----------------------------------------------------------------------------

# Optuna's state and value of each trial of ``write_every_end``.
OUTCOMES = {
    State.COMPLETED: ("COMPLETE", 0.7),
    State.EARLY_STOPPED: ("COMPLETE", 0.4),
    State.STOPPED: ("PRUNED", 0.9),
    State.INTERRUPTED: ("PRUNED", 0.2),
    State.DIVERGED: ("FAIL", None),
    State.FAILED: ("FAIL", None),
    State.OUT_OF_MEMORY: ("FAIL", None),
    State.LOST: ("FAIL", None),
    State.HUNG: ("FAIL", None),
    State.RUNNING: ("RUNNING", None),
}


@pytest.fixture(scope="module")
def every_end(tmp_path_factory):
    """A run with a trial for each state, in a folder of an odd name."""
    return write_every_end(tmp_path_factory.mktemp("runs") / "odd {name}?")


@pytest.fixture(scope="module")
def study(every_end, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    odd = folder / "taken % {of} it"
    export_run(every_end, odd, Notes(), only=[Part.STUDY])
    shutil.copy(odd / "study.db", folder / "study.db")  # Optuna's own URLs know no such path
    return load_study(folder / "study.db", "odd {name}?")


def test_each_trial_has_optunas_state_and_its_best_value(study):
    assert set(OUTCOMES) == set(State)
    assert [(trial.state.name, trial.value) for trial in study.trials] == list(OUTCOMES.values())


def test_each_trial_keeps_its_number_and_its_ending(study):
    for trial, state in zip(study.trials, REPORTED, strict=True):
        scheduler = "asha" if state is State.STOPPED else None
        assert trial.user_attrs["ended"] == str(Ending(state, scheduler))
        # The first number was lost: Optuna counts anew.
        assert trial.user_attrs["trial"] == trial.number + 1 == trial.params["units"] - 1
    assert study.trials[5].user_attrs["error"] == "ValueError: no"
    assert "error" not in study.trials[0].user_attrs


def test_an_oracles_own_values_are_attributes_of_a_trial(study):
    assert all(trial.user_attrs["tuner/round"] == 0 for trial in study.trials)
    assert all(set(trial.params) == {"units"} for trial in study.trials)


def test_each_trial_has_the_objective_of_its_epochs_and_the_best_one(study):
    for trial, reported in zip(study.trials, REPORTED.values(), strict=True):
        values = [math.nan if value is None else value for value in reported]
        assert trial.intermediate_values == pytest.approx(
            dict(enumerate(values, start=1)), rel=0, abs=0, nan_ok=True
        )
    assert [trial.user_attrs.get("best_epoch") for trial in study.trials] == [
        2, 1, 1, 1, 1, None, None, 1, None, 1,
    ]  # fmt: skip


def test_only_a_running_trial_has_no_end(study):
    assert [trial.datetime_complete is None for trial in study.trials] == [
        state is State.RUNNING for state in REPORTED
    ]


def test_the_best_complete_trial_is_optunas_and_the_best_of_all_an_attribute(study):
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.user_attrs["trial"] == 1
    assert study.user_attrs["best_trial"] == 3


def test_an_objective_to_minimize_is_minimized(tmp_path):
    plan = make_plan(tmp_path / "run", objective=Objective("val_loss", "min"))
    writer = RunWriter(tmp_path / "run", UNITS, plan)
    writer.trial(0, {"units": 3}, [0.5, 0.4, 0.6], State.COMPLETED)
    writer.trial(1, {"units": 5}, [0.7], State.COMPLETED)
    study = exported_study(writer.close(), tmp_path / "out")
    assert (study.best_trial.number, study.best_value) == (0, 0.4)


def test_a_completed_trial_without_a_value_has_failed(tmp_path):
    writer = RunWriter(tmp_path / "run")
    for number, state in enumerate([State.COMPLETED, State.STOPPED, State.INTERRUPTED]):
        writer.trial(number, {"units": 3 + number}, [], state)
    writer.trial(3, {"units": 9}, [0.5], State.COMPLETED)
    study = exported_study(writer.close(), tmp_path / "out")
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "FAIL", "FAIL", "COMPLETE"]


def test_the_study_is_read_as_an_earlier_search_like_the_run_itself(every_end, tmp_path):
    export_run(every_end, tmp_path / "out", Notes(), only=[Part.STUDY])
    for source in (tmp_path / "out" / "study.db", every_end):
        earlier = read_earlier_search(source, ACCURACY)
        assert [(trial.values, trial.score) for trial in earlier.trials] == [
            ({"units": 2}, 0.7),
            ({"units": 3}, 0.4),
        ]


# --- Times and repeated trainings -----------------------------------------------------------------


def test_times_are_those_of_the_wall_clock_in_each_session(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.trial(0, {"units": 3}, [0.5, 0.6], State.COMPLETED)
    late = writer.description | {"resumed": [{"started_at": "2030-01-01T00:00:00+00:00"}]}
    writer.recorder.search_resumed(run=late)
    writer.trial(1, {"units": 4}, [0.5], State.COMPLETED)
    first, second = exported_study(writer.close(), tmp_path / "out").trials
    # An event a second: start, two epochs, end; then the search goes on, some years later.
    assert (first.datetime_complete - first.datetime_start).total_seconds() == 3
    assert second.datetime_start.timestamp() == 1893456000 + 1
    assert (second.datetime_complete - second.datetime_start).total_seconds() == 2


def test_a_repeated_training_counts_in_the_value_and_not_among_the_epochs(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.trial(0, {"units": 3}, [0.5])
    again = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": 0.7}, "execution": 1}
    writer.recorder.epoch(0, again, decision=Decision.CONTINUE, worker="w")
    writer.recorder.trial_ended(0, State.COMPLETED, score=0.6, best_step=0, metrics={})
    [trial] = exported_study(writer.close(), tmp_path / "out").trials
    assert (trial.value, trial.intermediate_values) == (0.6, {1: 0.5})
