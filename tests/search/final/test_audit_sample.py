"""Which stopped trials an audit trains, and what it concludes from them."""

import pytest

from results.record.audit import AuditedTrial
from results.record.columns import Decision, State
from results.record.history import EpochRecord, History, Objective, TrialRecord
from search.errors import UsageError
from search.final.audit import sample_stopped, summarize

MAX = Objective("val_accuracy", "max")


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


def test_stopped_trials_are_chosen_at_random_and_the_same_again():
    made = history(
        *(ended(n, n / 100) for n in range(30)),
        ended(30, 0.9, state=State.COMPLETED),
        ended(31, None),
    )
    numbers = [trial.trial for trial in sample_stopped(made, 10, seed=0)]
    assert numbers == [trial.trial for trial in sample_stopped(made, 10, seed=0)]
    assert numbers != [trial.trial for trial in sample_stopped(made, 10, seed=1)]
    assert len(set(numbers)) == 10
    assert set(numbers) <= set(range(30))
    with pytest.raises(UsageError, match=r"--trials 31: only 30 trials of this run were stopped"):
        sample_stopped(made, 31, seed=0)


def test_the_audit_counts_those_that_would_have_won_and_reckons_what_was_saved():
    made = history(*(ended(n, 0.5) for n in range(4)), ended(4, 0.9, state=State.COMPLETED))
    trials = [
        AuditedTrial(n, 1, 0.5, 9, 0.8 + n / 5, "completed", n == 1, n / 5 - 0.1, 1.0, 10.0, True)
        for n in range(2)
    ]
    audit = summarize(trials, made)
    assert (audit.stopped, audit.audited, audit.wrong, audit.wrong_share) == (4, 2, 1, 0.5)
    assert audit.seconds_saved == 40.0
    assert audit.seconds_searched == 10.0
    assert audit.wrong_low < 0.5 < audit.wrong_high
