"""confirmation.json: what follows from its figures, and which contents are refused."""

import json
import math
from dataclasses import replace

import pytest

from results.record.confirmation import (
    AccuracyOnTest,
    Confirmation,
    ConfirmedCandidate,
    Verdict,
)
from results.record.intervals import Estimate

OWN = ConfirmedCandidate(
    "trial 3", 3, 20, {"units": 3}, 0.75, scores=(0.5, 0.75), mean=0.625, low=0.5, high=0.75,
    difference=None, verdict=Verdict.WINNER, is_for_comparison=False, test=None,
)  # fmt: skip
DIVERGED = replace(
    OWN, name="trial 4", trial=4, scores=(0.5, None), mean=None, low=None, high=None,
    verdict=Verdict.WORSE,
)  # fmt: skip
MINE = replace(OWN, name="mine", trial=None, search_value=None, is_for_comparison=True)
LONGER = replace(MINE, epochs=50, scores=(0.25, 0.5), mean=0.375)
OTHER = replace(MINE, name="other", mean=0.5)
TESTED = replace(
    OWN, difference=Estimate(0.1, 0.0, 0.2), test=AccuracyOnTest((0.5, 0.75), 0.625, 0.5, 0.75)
)


def confirmation(*candidates, mode="max", winner=1):
    return Confirmation("val_loss", mode, (1, 2), candidates, winner)


@pytest.mark.parametrize(
    ("mode", "candidates"),
    [("max", [OWN, OTHER, LONGER, DIVERGED]), ("min", [LONGER, OTHER, OWN, DIVERGED])],
)
def test_candidates_stand_best_first_and_without_a_mean_last(mode, candidates):
    assert confirmation(DIVERGED, OWN, LONGER, OTHER, mode=mode).best_first == candidates


@pytest.mark.parametrize(("mode", "compared"), [("max", [MINE, OTHER]), ("min", [LONGER, OTHER])])
def test_each_configuration_for_comparison_counts_with_its_best_epochs(mode, compared):
    without_mean = replace(MINE, name="diverged", mean=None)
    made = confirmation(LONGER, OWN, OTHER, MINE, without_mean, mode=mode)
    assert made.comparisons == compared
    assert made.tested_candidates == [OWN, *compared]


def test_the_confirmed_trials_are_those_of_the_candidates_that_have_one():
    assert confirmation(DIVERGED, OWN, MINE).confirmed_trials == {3, 4}


@pytest.mark.parametrize(
    ("mode", "search_value", "optimism"),
    [("max", 0.75, 0.125), ("min", 0.75, -0.125), ("max", None, None)],
)
def test_optimism_is_how_much_better_the_winner_was_in_the_search(mode, search_value, optimism):
    winner = replace(OWN, search_value=search_value)
    assert confirmation(winner, mode=mode, winner=0).optimism == optimism


@pytest.mark.parametrize(
    "change", [{"mean": None}, {"low": None}, {"high": None}], ids=["mean", "low", "high"]
)
def test_a_candidate_without_a_mean_or_an_end_has_no_estimate(change):
    assert OWN.estimate == Estimate(0.625, 0.5, 0.75)
    assert replace(OWN, **change).estimate is None


def test_the_test_accuracy_has_an_estimate():
    assert TESTED.test.estimate == Estimate(0.625, 0.5, 0.75)


def test_a_written_confirmation_is_read_as_it_was(tmp_path):
    written = confirmation(DIVERGED, TESTED, MINE)
    written.write(tmp_path / "confirmation.json")
    assert Confirmation.read(tmp_path / "confirmation.json") == written


@pytest.mark.parametrize(
    ("candidates", "winner", "problem"),
    [
        ((OWN,), 1, "winner is 1 of 1 candidates"),
        ((OWN,), -1, "winner is -1 of 1 candidates"),
        ((OWN, MINE), 1, r"candidates\[1\] cannot be the winner"),
        ((OWN, DIVERGED), 1, r"candidates\[1\] cannot be the winner"),
        ((OWN, replace(OWN, scores=(0.5,))), 0, r"candidates\[1\] has 1 scores of 2 seeds"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(candidates, winner, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        confirmation(*candidates, winner=winner)


# --- Contents of the file that are refused ----------------------------------------------------


def without_a_winner(content):
    del content["winner"]


def of_wrong_types(content):
    content["mode"] = "most"
    content["seeds"][0] = "one"
    content["candidates"][0]["mean"] = math.nan
    content["candidates"][0]["is_for_comparison"] = 1
    content["candidates"][1]["difference"]["low"] = True
    content["candidates"][2]["verdict"] = "unsure"
    content["candidates"][2]["epochs"] = 2.5


def with_a_winner_from_nowhere(content):
    content["winner"] = 17


def with_a_winner_for_comparison(content):
    content["winner"] = 2


def with_a_seed_too_many(content):
    content["seeds"] += [9]


def with_a_mean_too_large(content):
    content["candidates"][0]["mean"] = 10**400


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda content: "{", ["EOF while parsing an object"]),
        (lambda content: "[]", ["it is not an object"]),
        (lambda content: "[" * 100_000, ["recursion"]),
        (without_a_winner, ["winner is missing"]),
        (of_wrong_types, ["mode is 'most'", "seeds[0] is 'one'", "candidates[0].mean is nan",
                          "candidates[0].is_for_comparison is 1",
                          "candidates[1].difference.low is True", "and 2 more"]),
        (with_a_winner_from_nowhere, ["winner is 17 of 3 candidates"]),
        (with_a_winner_for_comparison, ["candidates[2] cannot be the winner"]),
        (with_a_seed_too_many, ["candidates[0] has 2 scores of 3 seeds"]),
        (with_a_mean_too_large, ["candidates[0].mean is 1000"]),
    ],
)  # fmt: skip
def test_a_wrong_content_is_refused_with_every_problem(change, problems):
    content = json.loads(json.dumps(confirmation(OWN, TESTED, MINE).to_json()))
    text = change(content) or json.dumps(content)
    with pytest.raises(ValueError) as refused:
        Confirmation.from_json(text)
    for problem in problems:
        assert problem in str(refused.value)


def test_what_a_newer_version_adds_is_ignored():
    content = confirmation(OWN, TESTED, MINE).to_json()
    newer = content | {"new": {"of": "another version"}}
    newer["candidates"] = [candidate | {"new": 1} for candidate in content["candidates"]]
    assert Confirmation.from_json(json.dumps(newer)) == confirmation(OWN, TESTED, MINE)
