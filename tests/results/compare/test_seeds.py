"""Groups of runs that differ only in the seed, compared seed by seed."""

import csv
import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from in_memory import run_of, trial_of

from results.compare import formats
from results.compare.seeds import (
    Against,
    Difference,
    check_complete,
    compare_groups,
    few_pairs_warning,
    paired_difference,
    shown_columns,
)
from results.record.errors import RunFolderError

HOME = Path(__file__).parents[3]


def run(seed, best, accuracy=None, *, problem=None, ended="trials done", **plan):
    """Return a run with a seed, its best value and its test accuracy."""
    return run_of(
        [trial_of(0, best)],
        problem={"seed": seed} | (problem or {}),
        evaluation=None if accuracy is None else {"test_accuracy": accuracy},
        ended=ended,
        **plan,
    )


def rows_of(runs, against=Against.BEST):
    return compare_groups(runs, against)[0]


# --- The paired difference --------------------------------------------------------------------


def test_scores_are_paired_by_seed_and_only_of_seeds_that_both_have():
    scores = {0: 0.5, 1: 0.9, 2: 0.7, 9: 100.0}
    reference = {2: 0.6, 1: 0.6, 0: 0.3, 7: -100.0}
    difference = paired_difference(scores, reference)
    assert difference.pairs == 3
    assert difference.mean == pytest.approx((0.2 + 0.3 + 0.1) / 3)
    assert difference.interval == pytest.approx((0.1, 0.3))
    assert difference.is_tie is False


def test_the_interval_of_a_difference_is_that_of_the_exact_distribution():
    """Of five differences a single one is 1: the resampled mean is a binomial share."""
    scores, reference = {seed: float(seed == 3) for seed in range(5)}, dict.fromkeys(range(5), 0.0)
    # P(no 1) = 0.33; P(<= 2) = 0.942, P(<= 3) = 0.993
    assert paired_difference(scores, reference).interval == pytest.approx((0.0, 0.6))


@pytest.mark.parametrize(
    ("scores", "difference"),
    [({}, Difference(0, None, None)), ({1: 0.75}, Difference(1, 0.25, None))],
)
def test_fewer_than_two_pairs_have_no_interval_and_no_tie(scores, difference):
    without_interval = paired_difference(scores, {1: 0.5, 2: 0.5})
    assert without_interval == difference
    assert without_interval.is_tie is None


def drawn_sides():
    generator = np.random.default_rng(11)
    for size in (2, 3, 4, 5, 8, 13) * 3:
        sides = generator.normal(generator.choice([0.0, 1.0]), 1.0, size=(2, size))
        yield tuple(dict(enumerate(side.tolist())) for side in sides)


@pytest.mark.parametrize(("one", "other"), list(drawn_sides()))
def test_swapping_the_sides_only_flips_the_sign(one, other):
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert (back.pairs, back.mean, back.is_tie) == (there.pairs, -there.mean, there.is_tie)
    low, high = there.interval
    assert back.interval == pytest.approx((-high, -low), abs=1e-12)
    assert low <= there.mean <= high


def test_the_order_in_which_seeds_come_does_not_matter():
    # Multiples of the size of a set's table: a set has them in the order in which they came.
    sides = [{n * 1024: math.sqrt(n) for n in range(12)}, {n * 1024: n / 3 for n in range(12)}]
    turned = [dict(reversed(side.items())) for side in sides]
    assert paired_difference(*turned) == paired_difference(*sides)


@pytest.mark.parametrize(
    ("low", "high", "is_tie"),
    [
        (-1.0, 1.0, True),
        (0.0, 1.0, True),
        (-1.0, 0.0, True),
        (0.1, 1.0, False),
        (-1.0, -0.1, False),
    ],
)
def test_two_sides_tie_if_the_interval_includes_zero(low, high, is_tie):
    assert Difference(3, 0.0, (low, high)).is_tie is is_tie


# --- Groups -----------------------------------------------------------------------------------


def test_runs_that_differ_only_in_the_seed_are_one_group_labelled_by_its_settings():
    runs = [
        run(0, 0.90), run(1, 0.92, address="auto"), run(2, 0.91, problem={"data_dir": "/data"}),
        run(0, 0.90, algorithm="random"), run(1, 0.91, algorithm="random"),
        run(0, 0.80, time_budget_seconds=300.0), run(1, 0.85, time_budget_seconds=300.0),
        run(1, 0.70, hung_after_seconds=None),
    ]  # fmt: skip
    assert [(row.group, row.seeds) for row in rows_of(runs)] == [
        ("tpe, time budget none, hung after 3600 s", 3),
        ("random, time budget none, hung after 3600 s", 2),
        ("tpe, time budget 300 s, hung after 3600 s", 2),
        ("tpe, time budget none, hung after none", 1),
    ]


def test_a_single_group_is_labelled_by_its_main_settings():
    [row] = rows_of([run(0, 0.9), run(1, 0.8)])
    assert (row.group, row.against, row.pairs) == ("ray, Steady, tpe", None, None)


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ([{"workers": 2}, {"workers": 4}], ["workers 2", "workers 4"]),
        ([{"target": None}, {"target": 0.9}], ["target none", "target 0.9"]),
        ([{"retrain_epochs": []}, {"retrain_epochs": [2, 4]}],
         ["retrain epochs none", "retrain epochs [2, 4]"]),
        ([{"engine": "ray"}, {"engine": "keras-tuner"}], ["ray", "keras-tuner"]),
    ],
)  # fmt: skip
def test_a_setting_that_differs_is_in_the_label(settings, labels):
    rows = rows_of([run(0, 0.9 - place / 10, **plan) for place, plan in enumerate(settings)])
    assert [row.group for row in rows] == labels


# --- The comparison ---------------------------------------------------------------------------


def test_each_group_is_compared_with_the_best_on_the_seeds_of_both():
    runs = [run(seed, best) for seed, best in enumerate([0.90, 0.92, 0.94, 0.96])]
    random_values = {0: 0.85, 2: 0.90, 3: 0.94, 5: 0.91}
    runs += [run(seed, best, algorithm="random") for seed, best in random_values.items()]
    best, other = rows_of(runs)
    assert (best.group, best.against, best.tie) == ("tpe", None, None)
    assert best.mean == pytest.approx(0.93)
    assert (other.group, other.against, other.seeds, other.pairs) == ("random", "tpe", 4, 3)
    assert other.mean == pytest.approx(0.90)
    assert other.difference == pytest.approx((-0.05 - 0.04 - 0.02) / 3)
    assert (other.difference_low, other.difference_high) == pytest.approx((-0.05, -0.02))
    assert other.tie is False


def test_a_group_has_the_interval_of_its_mean():
    [row] = rows_of([run(0, 0.25), run(1, 1.0), run(2, 0.5)])
    assert (row.mean, row.low, row.high) == pytest.approx((1.75 / 3, 0.25, 1.0))


def test_the_first_group_can_be_the_reference_instead():
    runs = [run(n, 0.8 + n / 100, algorithm="random") for n in range(3)]
    runs += [run(n, 0.9 + n / 100) for n in range(3)]
    best, other = rows_of(runs, Against.FIRST)
    assert (best.group, best.against, other.against) == ("tpe", "random", None)
    assert best.difference == pytest.approx(0.1)


def test_the_best_of_an_objective_to_minimize_is_the_smallest():
    loss = {"objective": {"name": "val_loss", "mode": "min", "parts": []}}
    runs = [run(n, 0.5, problem=loss) for n in range(2)]
    runs += [run(n, 0.3, problem=loss, algorithm="random") for n in range(2)]
    rows = rows_of(runs)
    assert [(row.group, row.against) for row in rows] == [("random", None), ("tpe", "random")]
    assert (rows[1].difference, rows[1].mode) == (pytest.approx(0.2), "min")


def test_a_group_of_one_seed_is_no_reference_if_another_has_more():
    rows = rows_of([run(0, 0.99, algorithm="random"), run(0, 0.8), run(1, 0.9)])
    assert [(row.group, row.against) for row in rows] == [("random", "tpe"), ("tpe", None)]
    assert (rows[0].pairs, rows[0].difference_low, rows[0].tie) == (1, None, None)


def test_runs_on_different_data_are_not_compared():
    runs = [run(n, 0.9) for n in range(2)]
    runs += [run(n, 0.5, problem={"data": "other:load"}) for n in range(2)]
    assert [(row.data, row.against) for row in rows_of(runs)] == [
        ("problems:blobs", None), ("other:load", None),
    ]  # fmt: skip


def test_runs_of_the_same_seed_are_averaged_with_a_note():
    rows, notes = compare_groups([run(0, 0.8), run(0, 0.9), run(1, 0.95)], Against.BEST)
    assert (rows[0].seeds, rows[0].mean) == (2, pytest.approx(0.9))
    assert notes == [
        "ray, Steady, tpe: 3 runs with 2 seeds; runs with the same seed are averaged",
    ]


def test_the_test_accuracy_is_compared_of_groups_whose_runs_all_have_it():
    runs = [run(n, 0.90, 0.88 + n / 100) for n in range(3)]
    runs += [run(n, 0.89, 0.87 + n / 100, algorithm="random") for n in range(3)]
    runs += [run(0, 0.5, 0.5, workers=7), run(1, 0.5, workers=7)]
    rows = rows_of(runs)
    of_test = [row for row in rows if row.metric == "test accuracy"]
    assert [row.group for row in of_test] == ["tpe, workers 2", "random, workers 2"]
    assert (of_test[0].against, of_test[0].mean) == (None, pytest.approx(0.89))
    assert (of_test[1].pairs, of_test[1].tie) == (3, False)
    assert of_test[1].difference == pytest.approx(-0.01)
    assert len(rows) == 3 + 2


def test_more_test_accuracy_is_better_whatever_the_objective():
    loss = {"objective": {"name": "val_loss", "mode": "min", "parts": []}}
    rows = rows_of([run(n, 0.3, 0.8, problem=loss) for n in range(2)])
    assert [(row.metric, row.mode) for row in rows] == [
        ("val_loss", "min"), ("test accuracy", "max"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "warned"), [([0, 1, 10, 11], None), ([2], "2"), ([3, 9, 3, 20], "3, 9")]
)
def test_fewer_than_ten_pairs_are_warned_of(pairs, warned):
    warnings = list(few_pairs_warning(pairs))
    assert [f"too narrow ({warned} pairs here)" in text for text in warnings] == (
        [True] if warned else []
    )


def test_a_comparison_of_few_pairs_comes_with_the_warning():
    few = [run(n, 0.9) for n in range(3)] + [run(n, 0.8, workers=4) for n in range(3)]
    [note] = compare_groups(few, Against.BEST)[1]
    assert note.startswith("caution: the intervals of few seeds are too narrow (3 pairs here).")
    others = [run(n, 0.9) for n in range(3, 10)] + [run(n, 0.8, workers=4) for n in range(3, 10)]
    assert compare_groups(few + others, Against.BEST)[1] == []


# --- Runs that cannot stand for their seed ----------------------------------------------------


@pytest.mark.parametrize("ended", ["trials done", "time budget spent", "target reached"])
def test_a_complete_run_with_a_seed_can_be_compared(ended):
    check_complete(run(0, 0.9, ended=ended))


@pytest.mark.parametrize(
    ("incomplete", "problem"),
    [
        (run(0, None), "'run' has no results"),
        *(
            (run(0, 0.9, ended=ended), rf"'run' is not complete \(search: {ended}\)")
            for ended in ("running", "cut off", "interrupted", "failed")
        ),
        (run(None, 0.9), "'run' cannot be paired by seed: its seed is None"),
    ],
)
def test_a_run_that_cannot_be_compared_is_refused_by_name(incomplete, problem):
    with pytest.raises(RunFolderError, match=problem):
        check_complete(incomplete)


# --- The table --------------------------------------------------------------------------------


def test_the_table_shows_means_differences_and_ties():
    runs = [run(n, 0.90 + n / 100) for n in range(3)]
    runs += [run(n, 0.89 + n / 100, workers=4) for n in range(3)] + [run(0, 0.5, workers=8)]
    rows = rows_of(runs)
    headings, *lines = formats.cells(rows, shown_columns(rows))
    assert headings == [
        "group", "metric", "seeds", "mean", "95 % interval", "difference", "95 % of difference",
        "pairs", "tie",
    ]  # fmt: skip
    assert lines == [
        ["workers 2", "val_accuracy", "3", "0.9100", "0.9000 to 0.9200", "(reference)", "", "", ""],
        ["workers 4", "val_accuracy", "3", "0.9000", "0.8900 to 0.9100", "-0.0100",
         "-0.0100 to -0.0100", "3", "no"],
        ["workers 8", "val_accuracy", "1", "0.5000", "none with 1 seed", "-0.4000",
         "none with 1 pair", "1", ""],
    ]  # fmt: skip


def test_the_table_names_ties_and_what_has_no_pair():
    runs = [run(0, 0.9), run(1, 0.8), run(0, 0.89, workers=4), run(1, 0.81, workers=4)]
    runs += [run(7, 0.5, workers=8)]
    rows = rows_of(runs)
    lines = formats.cells(rows, shown_columns(rows))[1:]
    assert [line[5:] for line in lines] == [
        ["(reference)", "", "", ""],
        ["+0.0000", "-0.0100 to +0.0100", "2", "tie"],
        ["", "none with 0 pairs", "0", ""],
    ]


def test_the_table_has_a_column_of_data_if_they_differ():
    rows = rows_of([run(0, 0.9), run(0, 0.9, problem={"data": "other:load"})])
    headings, *lines = formats.cells(rows, shown_columns(rows))
    assert headings[1] == "data"
    assert [line[1] for line in lines] == ["problems:blobs", "other:load"]


# --- The documented race ----------------------------------------------------------------------


def test_the_documented_race_is_paired_by_seed_as_its_data_say():
    """The mean, and of three pairs the ends of the interval, are computed here from race.csv."""
    bests = {}
    with (HOME / "docs" / "race.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            values = [float(pair.split(":")[1]) for pair in line["curve"].split()]
            row = (line["racer"], line["space"], "given" if line["first"] == "True" else "drawn")
            if line["budget_seconds"] == "300":
                bests.setdefault(row, {})[line["seed"]] = max(values)
    page = (HOME / "docs" / "performance.md").read_text()
    shown = page.partition("| against | space | first | seeds | ours less theirs |")[2]
    lines = itertools.takewhile(lambda line: line.startswith("|"), shown.splitlines()[2:])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {tuple(row[:3]) for row in rows} == {row for row in bests if row[0] != "fmnist-search"}
    for racer, space, first, pairs, mean, interval, tie in rows:
        ours, theirs = bests["fmnist-search", space, first], bests[racer, space, first]
        both = ours.keys() & theirs.keys()
        differences = [ours[seed] - theirs[seed] for seed in both]
        assert int(pairs) == len(differences)
        assert mean == f"{statistics.fmean(differences):+.4f}"
        low, high = (float(end) for end in interval.split(" to "))
        assert (tie == "tie") is (low <= 0 <= high)
        if len(differences) == 3:
            assert (low, high) == pytest.approx((min(differences), max(differences)), abs=6e-5)
