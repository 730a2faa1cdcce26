"""Which configurations a confirmation trains, and which of them wins."""

import pytest

from results.record.columns import Decision, State
from results.record.confirmation import Candidate
from results.record.history import EpochRecord, History, Objective, TrialRecord
from search.errors import TrainingError, UsageError
from search.final.confirm import compare_candidates, distinct_trials, make_candidates
from search.plan.plan import ConfirmationPlan

MAX, MIN = Objective("val_accuracy", "max"), Objective("val_loss", "min")


def ended(number, value, *, state=State.STOPPED, values=None, objective=MAX):
    epoch = EpochRecord(
        number, 1, 1, 1.0, 2.0, value, {objective.name: value}, Decision.STOP, "host:1"
    )
    return TrialRecord(
        number, values or {"units": number}, 0.0, state=state, epochs=[epoch], best=epoch if value is not None else None,
        proposed=values or {"units": number},
    )  # fmt: skip


def history(*trials, objective=MAX):
    made = History(objective)
    made.trials = {trial.trial: trial for trial in trials}
    ranked = made.ranked()
    made.best = ranked[0].best if ranked else None
    return made


def asked(top=2, seeds=3, epochs=(5,), **also):
    return ConfirmationPlan(top, seeds, epochs, also)


def test_the_best_configurations_are_taken_each_once_and_at_each_number_of_epochs():
    same = {"units": 7}
    made = history(
        ended(0, 0.7), ended(1, 0.9, values=same), ended(2, 0.8, values=same), ended(3, 0.6)
    )
    assert [trial.trial for trial in distinct_trials(made)] == [1, 0, 3]
    chosen = make_candidates(made, asked(2, epochs=(5, 9), published={"units": 1}))
    assert [(one.name, one.trial, one.epochs, one.search_value) for one in chosen] == [
        ("trial 1", 1, 5, 0.9), ("trial 1", 1, 9, 0.9), ("trial 0", 0, 5, 0.7), ("trial 0", 0, 9, 0.7),
        ("published", None, 5, None), ("published", None, 9, None),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"--top 4: only 3 different configurations .* at most 3"):
        make_candidates(made, asked(4))


def confirmed(scores, objective=MAX, *, compared=()):
    chosen = [
        Candidate(name, None if name in compared else place, 5, {"units": place}, 0.99)
        for place, name in enumerate(scores)
    ]
    seeds = range(len(next(iter(scores.values()))))
    made = compare_candidates(chosen, seeds, list(scores.values()), objective)
    return {one.name: one for one in made.candidates}


def test_the_winner_has_the_best_mean_and_others_are_held_against_it_seed_by_seed():
    made = confirmed(
        {"a": [0.90, 0.91, 0.92], "b": [0.91, 0.92, 0.93], "c": [0.909, 0.921, 0.929], "d": [0.80, 0.81, 0.82], "p": [0.94, 0.95, 0.96]},
        compared=("p",),
    )  # fmt: skip
    assert {name: one.verdict for name, one in made.items()} == {
        "a": "worse", "b": "winner", "c": "tie", "d": "worse", "p": "better",
    }  # fmt: skip
    assert made["b"].mean == pytest.approx(0.92)
    assert made["b"].difference is None
    assert made["a"].difference.to_json() == pytest.approx(
        {"mean": -0.01, "low": -0.01, "high": -0.01}
    )
    assert made["c"].difference.low <= 0 <= made["c"].difference.high
    assert made["p"].is_for_comparison


def test_of_an_objective_to_minimize_the_least_mean_wins():
    made = confirmed({"a": [0.5, 0.6], "b": [0.3, 0.4]}, MIN)
    assert (made["a"].verdict, made["b"].verdict) == ("worse", "winner")


def test_a_configuration_that_diverges_on_a_seed_is_no_winner():
    made = confirmed({"a": [0.99, None], "b": [0.5, 0.6]})
    assert made["a"].verdict == "worse"
    assert made["a"].mean is None
    assert made["b"].verdict == "winner"
    with pytest.raises(TrainingError, match="every configuration diverged on some seed"):
        confirmed({"a": [0.99, None]})
