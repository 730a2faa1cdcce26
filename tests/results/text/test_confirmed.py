"""A confirmation on new seeds in sentences and as a table."""

import pytest
from afterwards import CANDIDATES, confirmation_of
from in_memory import run_of, trial_of

from results.compare import formats
from results.text.confirmed import (
    cells,
    few_seeds_warning,
    label,
    optimism,
    outdated,
    sentences,
    shown_columns,
    verdict,
)

LOSSES = [
    ("trial 1", 20, 2e-6, (3.0e-6, 3.2e-6)),
    ("trial 2", 20, 1e-6, (5.0e-6, 5.2e-6)),
    ("mine", 20, None, (1.0e-6, 1.2e-6)),
]


def confirmation_of_losses():
    return confirmation_of(LOSSES, seeds=(1, 2), mode="min", objective="val_loss")


# --- As a table -------------------------------------------------------------------------------


def test_the_table_has_the_best_candidate_first_with_its_verdict():
    headings, *rows = cells(confirmation_of())
    assert headings == [
        "configuration", "epochs", "search's best", "mean", "95 % interval", "verdict",
        "difference", "95 % of difference", "test acc.", "95 % of test",
    ]  # fmt: skip
    assert rows[0] == [
        "trial 17", "20", "0.9112", "0.9071", "0.9065 to 0.9077", "winner", "", "", "0.9030",
        "0.9018 to 0.9042",
    ]  # fmt: skip
    assert rows[1][5:] == ["tie", "-0.0001", "-0.0003 to +0.0001", "", ""]
    assert [row[:2] + row[5:6] for row in rows[2:]] == [
        ["trial 4", "20", "worse"], ["published", "20", "worse"], ["published", "50", "worse"],
        ["trial 9", "50", "diverged on 1 of 5"],
    ]  # fmt: skip
    assert rows[-1][3:5] == ["", ""]


def test_the_table_of_an_objective_to_minimize_has_the_smallest_first():
    headings, *rows = cells(confirmation_of_losses())
    assert [row[0] for row in rows] == ["mine", "trial 1", "trial 2"]
    assert [row[headings.index("verdict")] for row in rows] == ["better", "winner", "worse"]
    assert [row[headings.index("difference")] for row in rows] == ["-2e-06", "", "+2e-06"]


def test_a_candidate_alone_has_no_difference():
    alone = confirmation_of([("trial 1", 20, 0.9, (0.8, 0.9))], seeds=(1, 2))
    assert "difference" not in cells(alone)[0]
    assert list(few_seeds_warning(alone)) == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_screen_shows_whole_means(width):
    confirmation = confirmation_of()
    columns = shown_columns(confirmation)
    fitting = formats.fitting_columns(columns, confirmation.best_first, width)
    assert fitting == columns[: len(fitting)]
    assert "mean" in [heading for heading, _ in fitting]


def test_a_verdict_counts_the_trainings_that_diverged():
    candidates = [("trial 1", 5, 0.9, (0.8, 0.9)), ("trial 2", 5, 0.9, (None, 0.9)),
                  ("trial 3", 5, 0.9, (None, None))]  # fmt: skip
    confirmation = confirmation_of(candidates, seeds=(1, 2))
    assert [verdict(candidate) for candidate in confirmation.candidates] == [
        "winner", "diverged on 1 of 2", "diverged",
    ]  # fmt: skip


def test_a_candidate_is_named_with_its_epochs():
    candidates = [("trial 1", 1, 0.9, (0.8, 0.9)), ("trial 1", 5, 0.9, (0.8, 0.8))]
    confirmation = confirmation_of(candidates, seeds=(1, 2))
    assert [label(candidate) for candidate in confirmation.candidates] == [
        "trial 1 with 1 epoch", "trial 1 with 5 epochs",
    ]  # fmt: skip


# --- In sentences -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search_value", "mode", "end"),
    [
        (0.5, "max", "; its best in the search, 0.5000, was 0.1000 better."),
        (0.3, "max", "; its best in the search, 0.3000, was 0.1000 worse."),
        (0.3, "min", "; its best in the search, 0.3000, was 0.1000 better."),
        (0.4, "max", "; its best in the search, 0.4000, was the same."),
        (None, "max", "."),
    ],
)
def test_the_winner_is_compared_with_its_best_in_the_search(search_value, mode, end):
    candidates = [("trial 1", 1, search_value, (0.4, 0.4)), ("trial 2", 5, 0.4, (0.4, None))]
    assert optimism(confirmation_of(candidates, seeds=(1, 2), mode=mode)) == (
        "The winner, trial 1 with 1 epoch, has a mean val_accuracy of 0.4000 (0.4000 to 0.4000) "
        f"over 2 new seeds{end}"
    )


def test_a_tiny_optimism_has_the_digits_of_the_mean():
    assert optimism(confirmation_of_losses()).endswith("was 1.1e-06 better.")


def test_the_sentences_name_ties_divergences_and_comparisons():
    winner, ties, diverged, compared, tested, caution = sentences(confirmation_of())
    assert winner.startswith("The winner, trial 17 with 20 epochs, has a mean val_accuracy of")
    assert winner.endswith("its best in the search, 0.9112, was 0.0041 better.")
    assert ties == (
        "Tied with the winner, because the 95 % interval of the difference, paired by seed, "
        "includes zero: trial 17 with 50 epochs."
    )
    assert diverged == "Without a mean, because a training diverged: trial 9 with 50 epochs."
    # Of its two numbers of epochs the better one counts.
    assert compared == (
        "For comparison, published with 20 epochs has a mean of 0.9005 (0.8996 to 0.9014): worse."
    )
    assert tested.startswith(
        "Mean test accuracy, each model evaluated once: trial 17 with 20 epochs 0.9030 (0.9018 to "
        "0.9042); published with 20 epochs "
    )
    assert caution.startswith("Caution: the intervals of few seeds are too narrow (5 pairs here).")


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (4, "trial 1 with 20 epochs, trial 2 with 20 epochs, trial 3 with 20 epochs."),
        (6, "trial 1 with 20 epochs, trial 2 with 20 epochs, trial 3 with 20 epochs and 2 more."),
    ],
)
def test_three_ties_are_named_and_the_others_counted(count, named):
    candidates = [(f"trial {n}", 20, 0.9, (0.8, 0.7, 0.9)) for n in range(count)]
    assert sentences(confirmation_of(candidates, seeds=(1, 2, 3)))[1].endswith(f": {named}")


# --- A search that has continued --------------------------------------------------------------


@pytest.mark.parametrize(("best", "is_outdated"), [(17, False), (3, True)])
def test_a_confirmation_is_outdated_if_another_trial_is_the_best(best, is_outdated):
    trials = [trial_of(n, 0.9 if n == best else 0.5) for n in range(20)]
    notes = list(outdated(run_of(trials, confirmation=confirmation_of(CANDIDATES))))
    assert notes == (
        ["The search has continued since the confirmation: its best, trial 3, was not confirmed."]
        if is_outdated
        else []
    )


def test_a_run_without_a_value_or_a_confirmation_has_none_that_is_outdated():
    assert list(outdated(run_of([trial_of(0)], confirmation=confirmation_of()))) == []
    assert list(outdated(run_of([trial_of(0, 0.5)]))) == []
