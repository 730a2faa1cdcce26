"""What follows from an audit's figures: the order, the share that was saved."""

from dataclasses import replace

import pytest

from results.record.audit import Audit, AuditedTrial

FIRST = AuditedTrial(2, 1, 0.5, 9, 0.75, "completed", False, -0.125, 1.0, 8.0, True)
BEST = replace(FIRST, trial=5, value=0.875, is_wrong=True, excess=0.25)
EQUAL = replace(FIRST, trial=1)
NOTHING = replace(FIRST, trial=0, value=None, excess=None)
AUDIT = Audit(
    "val_accuracy", "max", 0.8, stopped=6, audited=4, wrong=1, wrong_share=0.25, wrong_low=0.1,
    wrong_high=0.5, trials=(FIRST, NOTHING, BEST, EQUAL), seconds_saved=30.0, seconds_searched=10.0,
)  # fmt: skip


def test_the_best_come_first_of_equals_the_lower_number_and_those_without_a_value_last():
    assert AUDIT.best_first == [BEST, EQUAL, FIRST, NOTHING]
    assert replace(AUDIT, mode="min").best_first == [EQUAL, FIRST, BEST, NOTHING]


@pytest.mark.parametrize(("saved", "searched", "share"), [(30.0, 10.0, 0.75), (0.0, 0.0, 0.0)])
def test_what_was_saved_is_a_share_of_all_trials_to_their_ends(saved, searched, share):
    assert replace(AUDIT, seconds_saved=saved, seconds_searched=searched).saved_share == share


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"audited": 3}, "it holds 4 trials, with audited 3 of stopped 6"),
        ({"stopped": 3}, "it holds 4 trials, with audited 4 of stopped 3"),
        ({"trials": (), "audited": 0}, "it holds 0 trials, with audited 0 of stopped 6"),
        ({"wrong": 2}, "wrong is 2, its trials say 1"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(AUDIT, **change)
