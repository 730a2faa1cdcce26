"""What TPE learns from the events of a search, and which trials it considers. No Keras, no Ray."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from results.record.history import Objective
from search.algorithms import tpe
from search.algorithms.tpe import TPESearcher
from search.space.parameters import Condition, Kind, Parameter, Space, fingerprint

UNITS = Space((Parameter("units", Kind.INT, 8, low=2, high=64, step=1),))
X = Space((Parameter("x", Kind.FLOAT, 0.9, low=0.0, high=1.0),))


def report(searcher, trial, value, *, epoch=1, decision="continue", state=None, **fields):
    """Report an epoch and, if a state is given, the end of the trial."""
    event = {"event": "epoch", "trial": trial, "epoch": epoch, "metrics": {"v": value}}
    searcher.observe(event | {"decision": decision, **fields})
    if state:
        end(searcher, trial, state)


def end(searcher, trial, state, **fields):
    searcher.observe({"event": "trial_ended", "trial": trial, "state": state, **fields})


@pytest.fixture
def searcher():
    """A searcher of a larger objective that has proposed four trials."""
    searcher = TPESearcher(UNITS, seed=0, objective=Objective("v", "max"))
    for trial in range(4):
        searcher.propose(trial)
    return searcher


def outcomes(searcher):
    return [(trial.state.name, trial.value) for trial in searcher.study.trials]


# --- How trials end -------------------------------------------------------------------------------


def test_a_running_trial_is_known_as_one(searcher):
    assert outcomes(searcher) == [("RUNNING", None)] * 4


def test_a_trial_that_ended_by_itself_is_complete_with_its_best_value(searcher):
    for epoch, value in enumerate((0.5, 0.9, 0.7), start=1):
        report(searcher, 0, value, epoch=epoch)
    end(searcher, 0, "completed")
    report(searcher, 1, 0.4, state="early-stopped")
    assert outcomes(searcher)[:2] == [("COMPLETE", 0.9), ("COMPLETE", 0.4)]


def test_the_best_value_of_an_objective_to_minimize_is_the_lowest():
    searcher = TPESearcher(UNITS, seed=0, objective=Objective("v", "min"))
    searcher.propose(0)
    for epoch, value in enumerate((0.5, 0.3, 0.7), start=1):
        report(searcher, 0, value, epoch=epoch)
    end(searcher, 0, "completed")
    assert outcomes(searcher) == [("COMPLETE", 0.3)]
    assert searcher.study.direction.name == "MINIMIZE"


def test_a_stopped_trial_is_pruned_with_the_values_of_its_epochs(searcher):
    report(searcher, 0, 0.4)
    report(searcher, 0, 0.5, epoch=2, decision="stop")
    end(searcher, 0, "stopped")
    trial = searcher.study.trials[0]
    assert (trial.state.name, trial.intermediate_values) == ("PRUNED", {1: 0.4, 2: 0.5})


def test_a_decision_to_stop_ends_a_trial_before_its_process_does(searcher):
    report(searcher, 0, 0.5, decision="stop")
    assert outcomes(searcher)[0][0] == "PRUNED"


@pytest.mark.parametrize("state", ["failed", "lost", "hung", "out of memory", "diverged"])
def test_a_trial_that_failed_has_failed(searcher, state):
    report(searcher, 0, 0.9, state=state)
    assert outcomes(searcher)[0] == ("FAIL", None)


@pytest.mark.parametrize("state", ["completed", "stopped", "interrupted"])
def test_a_trial_without_a_value_has_failed(searcher, state):
    report(searcher, 0, None)
    end(searcher, 0, state)
    assert outcomes(searcher)[0] == ("FAIL", None)


def test_an_interrupted_trial_is_pruned(searcher):
    report(searcher, 0, 0.5, state="interrupted")
    assert outcomes(searcher)[0][0] == "PRUNED"


def test_a_mean_score_of_several_trainings_is_the_value_of_a_trial(searcher):
    report(searcher, 0, 0.9)
    report(searcher, 0, 0.1, execution=1)  # another training of the same trial
    end(searcher, 0, "completed", score=0.5)
    trial = searcher.study.trials[0]
    assert (trial.value, trial.intermediate_values) == (0.5, {1: 0.9})


def test_a_returned_score_is_not_mixed_with_the_values_of_epochs(searcher):
    report(searcher, 0, 0.9)
    end(searcher, 0, "completed", score=0.2)
    report(searcher, 1, 0.9)
    end(searcher, 1, "completed", score=None)
    report(searcher, 2, 0.9, decision="stop")
    assert outcomes(searcher)[:3] == [("COMPLETE", 0.2), ("FAIL", None), ("PRUNED", 0.9)]


def test_the_newest_report_of_a_repeated_epoch_counts(searcher):
    """A trial that lost its process trains an epoch again."""
    report(searcher, 0, 0.9)
    report(searcher, 0, 0.4, state="completed")
    assert outcomes(searcher)[0] == ("COMPLETE", 0.4)


def test_events_of_other_trials_and_metrics_pass(searcher):
    report(searcher, 99, 0.5, state="completed")
    searcher.observe(
        {"event": "epoch", "trial": 0, "epoch": 1, "metrics": {}, "decision": "continue"}
    )
    assert outcomes(searcher) == [("RUNNING", None)] * 4


# --- What it learns -------------------------------------------------------------------------------


def test_tpe_learns_where_the_good_values_are():
    searcher = TPESearcher(X, seed=1, objective=Objective("v", "min"))
    values = []
    for trial in range(60):
        values.append(searcher.propose(trial)["x"])
        report(searcher, trial, abs(values[-1] - 0.2), state="completed")
    # Uniform draws would come within 0.2 in 40 % of the cases: 24 or more of 30 with p < 1e-5.
    assert sum(abs(x - 0.2) < 0.2 for x in values[30:]) >= 24


def earlier_trial(values, score):
    return {"event": "earlier_trial", "at_seconds": 0, "values": values, "score": score,
            "source": "x"}  # fmt: skip


def test_tpe_learns_from_an_earlier_search():
    kind = Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"), ordered=False)
    space = Space((*X, kind))
    searcher = TPESearcher(space, seed=1, objective=Objective("v", "min"))
    for number in range(40):
        x = number / 40
        searcher.observe(earlier_trial({"x": x, "kind": "ab"[number % 2]}, abs(x - 0.2)))
    drawn = [searcher.propose(trial)["x"] for trial in range(1, 31)]
    # Uniform draws would come within 0.2 in 40 % of the cases: 22 or more of 30 with p < 1e-3.
    assert sum(abs(x - 0.2) < 0.2 for x in drawn) >= 22
    assert len({fingerprint({"x": x}) for x in drawn}) == 30


def test_an_earlier_trial_is_complete_with_a_position_for_each_active_parameter():
    kind = Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"), ordered=False)
    size = Parameter("size", Kind.INT, 2, (Condition("kind", ("b",)),), low=2, high=9, step=1)
    searcher = TPESearcher(Space((kind, size, *X)), seed=1, objective=Objective("v", "max"))
    searcher.observe(earlier_trial({"kind": "b", "size": 5, "x": 0.25}, 0.7))
    searcher.observe(earlier_trial({"kind": "a", "x": 0.5}, 0.8))
    assert outcomes(searcher) == [("COMPLETE", 0.7), ("COMPLETE", 0.8)]
    assert [trial.params for trial in searcher.study.trials] == [
        {"kind": 1, "size [kind in ['b']]": 3, "x": 0.25},
        {"kind": 0, "x": 0.5},
    ]
    # What has an order is a number to Optuna.
    first = searcher.study.trials[0].distributions
    assert [type(domain) for domain in first.values()] == [
        CategoricalDistribution,
        IntDistribution,
        FloatDistribution,
    ]


def test_a_draw_that_is_known_has_failed_in_the_study():
    rates = Space((Parameter("rate", Kind.CHOICE, 0.01, choices=(0.01, 0.001)),))
    searcher = TPESearcher(rates, seed=0, objective=Objective("v", "max"))
    assert searcher.propose(0) is not None
    assert searcher.propose(1) is not None
    assert searcher.propose(2) is None
    states = [trial.state.name for trial in searcher.study.trials]
    assert states.count("RUNNING") == 2
    assert states.count("FAIL") == len(states) - 2 > 0


def test_tpe_draws_the_first_and_the_last_value_of_a_grid():
    few = Space((Parameter("units", Kind.INT, 2, low=1, high=3, step=1),))
    searcher = TPESearcher(few, seed=0, objective=Objective("v", "max"), defaults_first=False)
    assert {searcher.propose(trial)["units"] for trial in range(3)} == {1, 2, 3}


def test_an_adopted_configuration_stands_in_the_study_as_one_that_was_drawn():
    drawing, adopting = (
        TPESearcher(UNITS, seed=seed, objective=Objective("v", "max")) for seed in (5, 6)
    )
    values = drawing.propose(1)
    adopting.adopt(1, values)
    assert adopting.study.trials[0].params == drawing.study.trials[0].params
    assert adopting.propose(2) != values


# --- Which trials it considers --------------------------------------------------------------------


def considered(searcher):
    """Return the numbers of the trials that TPE considers."""
    return {trial.number for trial in searcher.study.get_trials(deepcopy=False)}


@pytest.fixture
def few_shown(monkeypatch):
    """Let TPE consider fewer trials, so that a short search reaches the limit."""
    monkeypatch.setattr(tpe, "KEPT_BEST", 5)
    monkeypatch.setattr(tpe, "KEPT_NEWEST", 20)
    monkeypatch.setattr(tpe, "MAX_SHOWN", 50)


def test_the_trials_of_optunas_good_group_are_kept():
    # Optuna's default is nowhere public.
    from optuna.samplers._tpe.sampler import default_gamma

    assert default_gamma(1_000_000) <= tpe.KEPT_BEST
    assert tpe.KEPT_BEST + tpe.KEPT_NEWEST < tpe.MAX_SHOWN


@pytest.mark.usefixtures("few_shown")
def test_tpe_considers_the_best_and_the_newest_trials_of_a_long_search():
    searcher = TPESearcher(X, seed=1, objective=Objective("v", "max"))
    sizes = []
    for trial in range(76):
        searcher.propose(trial)
        sizes.append(len(considered(searcher)))
        if trial < 5:  # the best come early, and all but these are stopped
            report(searcher, trial, 1.0 - trial / 100, state="completed")
        else:
            report(searcher, trial, 0.1, decision="stop", state="stopped")
    assert max(sizes) == 50 + 1  # one runs
    assert considered(searcher) >= {*range(5), *range(56, 76)}
    assert 5 not in considered(searcher)


@pytest.mark.usefixtures("few_shown")
def test_a_replayed_search_considers_the_same_trials():
    searcher, replayed = (TPESearcher(X, seed=1, objective=Objective("v", "max")) for _ in range(2))
    for trial in range(76):
        replayed.adopt(trial, searcher.propose(trial))
        for each in (searcher, replayed):
            report(each, trial, trial * 37 % 11 / 10, state="completed")
    assert considered(searcher) == considered(replayed)
    assert len(considered(searcher)) < 76


@pytest.mark.usefixtures("few_shown")
def test_earlier_trials_are_considered_as_those_of_the_search():
    searcher = TPESearcher(X, seed=1, objective=Objective("v", "min"))
    for number in range(51):
        searcher.observe(earlier_trial({"x": number / 51}, float(number)))
    assert considered(searcher) == {*range(5), *range(31, 51)}


@pytest.mark.usefixtures("few_shown")
def test_of_pruned_trials_those_of_the_latest_epoch_are_the_best():
    searcher = TPESearcher(X, seed=1, objective=Objective("v", "max"))
    for trial in range(51):
        searcher.propose(trial)
        for epoch in range(1, 4 if trial in (2, 9) else 2):
            report(searcher, trial, 0.1 if trial in (2, 9) else trial / 100, epoch=epoch)
        end(searcher, trial, "stopped")
    # After those two the ones of the highest value, which are also among the newest.
    assert {2, 9} <= considered(searcher)
    assert considered(searcher) == {2, 9, *range(31, 51)}


@pytest.mark.usefixtures("few_shown")
def test_failed_trials_are_considered_and_count_for_no_limit():
    searcher = TPESearcher(X, seed=1, objective=Objective("v", "max"))
    for trial in range(60):
        searcher.propose(trial)
        end(searcher, trial, "failed")
    assert len(considered(searcher)) == 60
