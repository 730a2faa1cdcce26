"""audit.json: what follows from its figures, and which contents are refused."""

import json
from dataclasses import replace

import pytest

from results.record.audit import Audit, AuditedTrial

FIRST = AuditedTrial(2, 1, 0.5, 9, 0.75, "completed", False, -0.125, 1.0, 8.0, True)
BEST = replace(FIRST, trial=5, value=0.875, is_wrong=True, excess=0.25)
EQUAL = replace(FIRST, trial=1)
NO_VALUE = replace(FIRST, trial=0, value=None, excess=None)
AUDIT = Audit(
    "val_accuracy", "max", 0.8, stopped=6, audited=4, wrong=1, wrong_share=0.25, wrong_low=0.1,
    wrong_high=0.5, trials=(FIRST, NO_VALUE, BEST, EQUAL), seconds_saved=30.0, seconds_searched=10.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "trials"),
    [("max", [BEST, EQUAL, FIRST, NO_VALUE]), ("min", [EQUAL, FIRST, BEST, NO_VALUE])],
)
def test_trials_stand_best_first_then_by_number_and_without_a_value_last(mode, trials):
    assert replace(AUDIT, mode=mode).best_first == trials


@pytest.mark.parametrize(("saved", "searched", "share"), [(30.0, 10.0, 0.75), (0.0, 0.0, 0.0)])
def test_the_saved_share_is_of_the_time_of_all_trials_to_their_ends(saved, searched, share):
    assert replace(AUDIT, seconds_saved=saved, seconds_searched=searched).saved_share == share


def test_a_written_audit_is_read_as_it_was(tmp_path):
    AUDIT.write(tmp_path / "audit.json")
    assert Audit.read(tmp_path / "audit.json") == AUDIT


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
    with pytest.raises(ValueError, match=f"^{problem}$"):
        replace(AUDIT, **change)


def test_every_stopped_trial_may_have_been_audited():
    assert replace(AUDIT, stopped=4).stopped == 4


# --- Contents of the file that are refused ----------------------------------------------------


def without_a_trial(content):
    del content["trials"][0]


def with_another_count(content):
    content["wrong"] = 2


def of_wrong_types(content):
    content["search_best"] = None
    content["trials"][2]["value"] = "high"
    del content["trials"][3]["state"]


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda content: "not JSON", ["expected ident at line 1"]),
        (lambda content: "17", ["it is not an object"]),
        (lambda content: content.clear(), ["objective is missing", "and 7 more"]),
        (without_a_trial, ["it holds 3 trials, with audited 4 of stopped 6"]),
        (with_another_count, ["wrong is 2, its trials say 1"]),
        (of_wrong_types, ["search_best is None", "trials[2].value is 'high'",
                          "trials[3].state is missing"]),
    ],
)  # fmt: skip
def test_a_wrong_content_is_refused_with_every_problem(change, problems):
    content = json.loads(json.dumps(AUDIT.to_json()))
    text = change(content) or json.dumps(content)
    with pytest.raises(ValueError) as refused:
        Audit.from_json(text)
    for problem in problems:
        assert problem in str(refused.value)
