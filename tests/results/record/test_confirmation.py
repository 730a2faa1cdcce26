"""What follows from a confirmation's figures: the order, the final models, the optimism."""

from dataclasses import replace

import pytest

from results.record.confirmation import Confirmation, ConfirmedCandidate, Verdict

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


def confirmation(*candidates, mode="max", winner=1):
    return Confirmation("val_loss", mode, (1, 2), candidates, winner)


def test_the_best_come_first_and_those_without_a_mean_last():
    made = confirmation(DIVERGED, OWN, LONGER, OTHER)
    assert made.best_first == [OWN, OTHER, LONGER, DIVERGED]
    assert replace(made, mode="min").best_first == [LONGER, OTHER, OWN, DIVERGED]


@pytest.mark.parametrize(("mode", "compared"), [("max", [MINE, OTHER]), ("min", [LONGER, OTHER])])
def test_each_configuration_to_compare_has_one_final_model_at_its_best_epochs(mode, compared):
    without = replace(MINE, name="diverged", mean=None)
    made = confirmation(LONGER, OWN, OTHER, MINE, without, mode=mode)
    assert made.comparisons == compared
    assert made.tested_candidates == [OWN, *compared]
    assert made.confirmed_trials == {3}


@pytest.mark.parametrize(
    ("mode", "search_value", "optimism"),
    [("max", 0.75, 0.125), ("min", 0.75, -0.125), ("max", None, None)],
)
def test_optimism_is_how_much_better_the_search_had_shown_the_winner(mode, search_value, optimism):
    winner = replace(OWN, search_value=search_value)
    assert confirmation(winner, mode=mode, winner=0).optimism == optimism


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
    with pytest.raises(ValueError, match=problem):
        confirmation(*candidates, winner=winner)
