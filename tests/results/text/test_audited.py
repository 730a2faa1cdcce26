"""An audit of early stopping in sentences and as a table."""

from dataclasses import replace

import pytest
from afterwards import audit_of
from in_memory import run_of, trial_of

from results.text.audited import cells, outdated, sentences

# --- In sentences -----------------------------------------------------------------------------


def test_an_audit_says_how_often_stopping_was_wrong_and_what_it_saved():
    assert sentences(audit_of()) == [
        "4 of 120 stopped trials, drawn at random, were trained to the last epoch: 1 would have "
        "beaten the search's best val_accuracy, 0.9112. That is 25%; the share among all stopped "
        "trials is between 5% and 70% (95 % Wilson interval).",
        "The best audited trial is trial 7: it reached 0.9124, 0.0012 better than the search's best.",
        "Stopping saved about 3960 worker seconds, 83% of the time that training every trial to "
        "its last epoch would take (estimated from the mean of the audited trials). The search "
        "took 820 worker seconds.",
    ]


@pytest.mark.parametrize(
    ("trials", "mode", "count", "best"),
    [
        ([(1, 1, 0.5, 0.9), (2, 1, 0.5, 0.8)], "max", "none",
         "trial 1: it reached 0.9000, 0.0112 worse than the search's best."),
        ([(1, 1, 0.5, 0.93), (2, 1, 0.5, 0.92)], "max", "2",
         "trial 1: it reached 0.9300, 0.0188 better than the search's best; the 2 wrongly stopped "
         "trials are 0.0138 better on average."),
        ([(1, 1, 2.0, 0.9), (2, 1, 1.5, 1.3)], "min", "1",
         "trial 1: it reached 0.9000, 0.0112 better than the search's best."),
    ],
)  # fmt: skip
def test_the_best_audited_trial_is_compared_with_the_best_of_the_search(trials, mode, count, best):
    first, second, *_ = sentences(audit_of(trials, mode=mode))
    assert f": {count} would have beaten the search's best" in first
    assert second == f"The best audited trial is {best}"


def test_an_audit_without_a_value_has_no_best_trial():
    first, second = sentences(audit_of([(1, 1, 0.5, None)]))
    assert first.startswith("1 of 120 stopped trials, drawn at random, was trained to the last")
    assert second.startswith("Stopping saved about")


def test_a_search_that_took_no_time_saved_no_share_of_it():
    audit = audit_of(seconds_saved=0.0, seconds_searched=0.0)
    assert sentences(audit)[2].startswith("Stopping saved about 0 worker seconds, 0% of the time")


@pytest.mark.parametrize(
    ("places", "numbers"), [([], None), ([1], "trial 7"), ([1, 3], "trials 7, 11")]
)
def test_trials_that_gave_other_values_than_in_the_search_are_named(places, numbers):
    audit = audit_of()
    trials = [replace(one, is_same=place not in places) for place, one in enumerate(audit.trials)]
    lines = sentences(replace(audit, trials=tuple(trials)))[3:]
    assert lines == (
        [f"Up to the stop, {numbers} gave other values than in the search, because the machine or "
         "a version differs."] if numbers else []
    )  # fmt: skip


# --- A search that has continued --------------------------------------------------------------


def run_after(audit, stopped, best):
    """Return a run with an audit, a completed trial and stopped ones, of which one has no value."""
    trials = [trial_of(0, best), trial_of(1, state="stopped", scheduler="asha")]
    trials += [trial_of(2 + n, 0.5, state="stopped", scheduler="asha") for n in range(stopped)]
    return run_of(trials, audit=audit)


@pytest.mark.parametrize(
    ("stopped", "best", "is_outdated"), [(4, 0.9112, False), (5, 0.9112, True), (4, 0.92, True)]
)
def test_an_audit_is_outdated_if_the_search_has_continued(stopped, best, is_outdated):
    notes = list(outdated(run_after(audit_of(stopped=4), stopped, best)))
    assert notes == (
        [f"The search has continued since the audit: it has {stopped} stopped trials now, and its "
         f"best is {best:.4f}."] if is_outdated else []
    )  # fmt: skip


def test_a_run_without_an_audit_has_none_that_is_outdated():
    assert list(outdated(run_after(None, 4, 0.5))) == []


# --- As a table -------------------------------------------------------------------------------


def test_the_table_has_the_best_trial_first_and_those_without_a_value_last():
    headings, *rows = cells(audit_of())
    assert [row[0] for row in rows] == ["7", "8", "2", "11"]
    assert dict(zip(headings, rows[0], strict=True)) == {
        "trial": "7", "stopped after epoch": "1", "best by then": "0.8610", "trained epochs": "30",
        "best of all": "0.9124", "better than the search's best by": "+0.0012",
        "wrongly stopped": "yes", "ended": "completed", "s to the stop": "1.5",
        "s after it": "33.0", "as in the journal": "yes",
    }  # fmt: skip
    last = dict(zip(headings, rows[-1], strict=True))
    assert (last["best of all"], last["better than the search's best by"]) == ("", "")
    assert (last["wrongly stopped"], last["ended"]) == ("no", "diverged")
