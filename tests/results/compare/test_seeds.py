import csv
import io
import itertools
import json
import math
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.compare import seeds
from results.compare.formats import Format
from results.compare.seeds import Against, Difference, paired_difference
from results.reading import read_run
from results.record import columns
from results.record.intervals import mean_interval
from results.record.tables import is_current, refresh

HOME = Path(__file__).parents[3]
ASSETS = HOME / "tests" / "assets" / "version-0.1.0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of an older version, its tables made anew once for all tests."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    shutil.copytree(ASSETS / "finished", path)
    assert refresh(path) is None
    return path


@pytest.fixture
def make(finished, tmp_path):
    """Make a run like ``finished`` of another seed, other results and another plan."""
    numbers = itertools.count()

    def made(seed, best, accuracy=None, *, problem=None, **plan):
        path = tmp_path / f"run-{next(numbers)}"
        shutil.copytree(finished, path)
        asked = json.loads((path / columns.RUN_FILE).read_text())
        asked["plan"] |= plan | {"out": path.name}
        asked["plan"]["problem"] |= {"seed": seed} | (problem or {})
        (path / columns.RUN_FILE).write_text(json.dumps(asked))
        trials = pq.read_table(path / columns.TRIALS_FILE)
        values = pa.array([best] * trials.num_rows, pa.float64())
        place = trials.column_names.index(columns.BEST_OBJECTIVE)
        table = trials.set_column(place, columns.BEST_OBJECTIVE, values)
        pq.write_table(table, path / columns.TRIALS_FILE)
        if accuracy is not None:
            (path / columns.FINAL_DIR).mkdir()
            evaluation = path / columns.FINAL_DIR / columns.EVALUATION_FILE
            evaluation.write_text(json.dumps({"test_accuracy": accuracy}))
        assert is_current(path)  # what was written here is what is read
        return path

    return made


def compared(paths, against=Against.BEST):
    return seeds.compare_groups(map(read_run, paths), against)


# The mean of n resampled zeros and ones is a binomial share: its quantiles are known exactly.
@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0, 1.0], 0.0, 1.0),
        ([0.25, 1.0, 0.5], 0.25, 1.0),  # (1/3)^3 = 3.7 % at each end, more than 2.5 %
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0.0, 0.6),  # P(no 1) = 0.33; P(<= 2) = 0.942, P(<= 3) = 0.993
        ([1.0, 0.0, 1.0, 0.0, 1.0], 0.2, 1.0),  # P(no 1) = 0.010, P(<= 1) = 0.087; P(5) = 0.078
        ([0.0] * 5 + [1.0] * 5, 0.2, 0.8),  # P(<= 1) = 0.011, P(<= 2) = 0.055, and the same above
        ([0.7, 0.7, 0.7], 0.7, 0.7),
    ],
)
def test_the_interval_is_that_of_the_exact_distribution(values, low, high):
    assert mean_interval(values) == pytest.approx((low, high), abs=1e-12)


def test_of_many_values_the_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    low, high = mean_interval(list(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    # 9999 resamples leave an end uncertain by 2 % of half; 6 % is three times that.
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_fewer_than_two_values_have_no_interval(values):
    assert mean_interval(values) is None


def test_only_seeds_of_both_sides_are_paired_each_with_itself():
    ours = {0: 0.5, 1: 0.9, 2: 0.7, 9: 100.0}
    theirs = {2: 0.6, 1: 0.6, 0: 0.3, 7: -100.0}
    found = paired_difference(ours, theirs)
    assert found.pairs == 3
    assert found.mean == pytest.approx((0.2 + 0.3 + 0.1) / 3)
    assert found.interval == pytest.approx((0.1, 0.3))
    assert found.is_tie is False


@pytest.mark.parametrize(
    ("ours", "expected"),
    [({}, Difference(0, None, None)), ({1: 0.75}, Difference(1, 0.25, None))],
)
def test_of_fewer_than_two_pairs_nothing_is_said_of_a_tie(ours, expected):
    found = paired_difference(ours, {1: 0.5, 2: 0.5})
    assert found == expected
    assert found.is_tie is None


def draws():
    generator = np.random.default_rng(11)
    for size in (2, 3, 4, 5, 8, 13) * 3:
        ours, theirs = generator.normal(generator.choice([0.0, 1.0]), 1.0, size=(2, size))
        yield dict(enumerate(ours.tolist())), dict(enumerate(theirs.tolist()))


@pytest.mark.parametrize(("ours", "theirs"), list(draws()))
def test_swapping_the_sides_flips_the_sign_and_nothing_else(ours, theirs):
    there, back = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert (back.pairs, back.mean, back.is_tie) == (there.pairs, -there.mean, there.is_tie)
    low, high = there.interval
    assert back.interval == pytest.approx((-high, -low), abs=1e-12)
    assert low <= there.mean <= high


def test_the_order_in_which_seeds_come_does_not_matter():
    # Multiples of the size of a set's table: a set has them in the order in which they came.
    ours = {n * 1024: math.sqrt(n) for n in range(12)}
    theirs = {n * 1024: n / 3 for n in range(12)}
    turned = [dict(reversed(side.items())) for side in (ours, theirs)]
    assert paired_difference(*turned) == paired_difference(ours, theirs)


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
def test_it_is_a_tie_where_the_interval_contains_zero(low, high, is_tie):
    assert Difference(3, 0.0, (low, high)).is_tie is is_tie


def test_runs_that_differ_in_the_seed_alone_are_one_group_named_by_what_tells_it_apart(make):
    paths = [
        make(0, 0.90), make(1, 0.92, address="auto"), make(2, 0.91, problem={"data_dir": "/data"}),
        make(0, 0.90, algorithm="random"), make(1, 0.91, algorithm="random"),
        make(0, 0.80, time_budget_seconds=300.0), make(1, 0.85, time_budget_seconds=300.0),
        make(1, 0.70, hung_after_seconds=None),
    ]  # fmt: skip
    standings, _ = compared(paths)
    assert [(row.group, row.seeds) for row in standings] == [
        ("tpe, time budget none, hung after 3600 s", 3),
        ("random, time budget none, hung after 3600 s", 2),
        ("tpe, time budget 300 s, hung after 3600 s", 2),
        ("tpe, time budget none, hung after none", 1),
    ]


def test_one_group_is_named_by_what_it_is(make):
    [row], _ = compared([make(0, 0.9), make(1, 0.8)])
    assert (row.group, row.against, row.pairs) == ("ray, Steady, tpe", None, None)


def test_each_group_is_held_against_the_best_on_the_seeds_of_both(make):
    tpe = [make(seed, best) for seed, best in enumerate([0.90, 0.92, 0.94, 0.96])]
    drawn = {0: 0.85, 2: 0.90, 3: 0.94, 5: 0.91}
    paths = tpe + [make(seed, best, algorithm="random") for seed, best in drawn.items()]
    [best, other], _ = compared(paths)
    assert (best.group, best.against, best.tie) == ("tpe", None, None)
    assert best.mean == pytest.approx(0.93)
    assert (other.group, other.against, other.seeds, other.pairs) == ("random", "tpe", 4, 3)
    assert other.mean == pytest.approx(0.90)
    assert other.difference == pytest.approx((-0.05 - 0.04 - 0.02) / 3)
    assert (other.difference_low, other.difference_high) == pytest.approx((-0.05, -0.02))
    assert other.tie is False


def test_the_first_group_may_be_the_measure_instead(make):
    paths = [make(n, 0.8 + n / 100, algorithm="random") for n in range(3)]
    paths += [make(n, 0.9 + n / 100) for n in range(3)]
    [best, other], _ = compared(paths, Against.FIRST)
    assert (best.group, best.against, other.against) == ("tpe", "random", None)
    assert best.difference == pytest.approx(0.1)


def test_where_less_is_better_the_best_has_the_least(make):
    loss = {"objective": {"name": "val_loss", "mode": "min", "parts": []}}
    paths = [make(n, 0.5, problem=loss) for n in range(2)]
    paths += [make(n, 0.3, problem=loss, algorithm="random") for n in range(2)]
    rows, _ = compared(paths)
    assert [(row.group, row.against) for row in rows] == [("random", None), ("tpe", "random")]
    assert rows[1].difference == pytest.approx(0.2)


def test_a_group_of_one_seed_is_no_measure_where_another_has_more(make):
    rows, _ = compared([make(0, 0.99, algorithm="random"), make(0, 0.8), make(1, 0.9)])
    assert [(row.group, row.against) for row in rows] == [("random", "tpe"), ("tpe", None)]
    assert (rows[0].pairs, rows[0].difference_low, rows[0].tie) == (1, None, None)


def test_other_data_are_never_held_against_each_other(make):
    paths = [make(n, 0.9) for n in range(2)]
    paths += [make(n, 0.5, problem={"data": "other:load"}) for n in range(2)]
    rows, _ = compared(paths)
    assert [(row.data, row.against) for row in rows] == [
        ("problems:blobs", None), ("other:load", None),
    ]  # fmt: skip


def test_of_a_seed_that_was_run_twice_the_mean_counts_and_that_is_said(make):
    rows, notes = compared([make(0, 0.8), make(0, 0.9), make(1, 0.95)])
    assert (rows[0].seeds, rows[0].mean) == (2, pytest.approx(0.9))
    assert "3 runs with 2 seeds" in notes[0]


def test_test_accuracy_is_compared_where_each_run_of_a_group_has_it(make):
    paths = [make(n, 0.90, 0.88 + n / 100) for n in range(3)]
    paths += [make(n, 0.89, 0.87 + n / 100, algorithm="random") for n in range(3)]
    paths += [make(0, 0.5, 0.5, workers=7), make(1, 0.5, workers=7)]
    rows, _ = compared(paths)
    of_test = [row for row in rows if row.metric == "test accuracy"]
    assert [row.group for row in of_test] == ["tpe, workers 2", "random, workers 2"]
    assert (of_test[0].against, of_test[0].mean) == (None, pytest.approx(0.89))
    assert (of_test[1].pairs, of_test[1].tie) == (3, False)
    assert of_test[1].difference == pytest.approx(-0.01)
    assert len(rows) == 3 + 2


def test_few_pairs_are_warned_of_and_many_are_not(make):
    few = [make(n, 0.9) for n in range(3)] + [make(n, 0.8, workers=4) for n in range(3)]
    _, notes = compared(few)
    assert ["3 pairs here" in note for note in notes] == [True]
    many = [make(n, 0.9) for n in range(3, 10)] + [make(n, 0.8, workers=4) for n in range(3, 10)]
    assert compared(few + many)[1] == []


def test_the_command_shows_the_same_table_again_in_every_format(make, results):
    paths = [make(n, 0.90 + n / 70, 0.88) for n in range(4)]
    paths += [make(n, 0.90 + n**2 / 170, algorithm="random") for n in range(4)]
    shown = {}
    for output in [one for one in Format if one is not Format.PARQUET]:
        status, shown[output], notes = results("seeds", *paths, "--format", output)
        assert status == 0
        assert [note.split(":")[0] for note in notes] == ["caution"]
        assert results("seeds", *paths, "--format", output)[1] == shown[output]
    rows = json.loads(shown[Format.JSON])
    assert len(rows) == 3
    assert [row["tie"] for row in rows] == [None, True, None]
    lines = list(csv.DictReader(io.StringIO(shown[Format.CSV])))
    assert [float(line["mean"]) for line in lines] == [row["mean"] for row in rows]
    difference = f"{rows[1]['difference']:+.4f}"
    for output in (Format.TABLE, Format.MARKDOWN):
        line = shown[output].splitlines()[-2]
        assert difference in line
        assert "tie" in line
    assert shown[Format.MARKDOWN].startswith("| group | metric | seeds | mean | 95 % interval |")


def test_the_command_writes_a_file_too(make, results, tmp_path):
    file = tmp_path / "seeds.parquet"
    assert results("seeds", make(0, 0.9), make(1, 0.8), "--out", file)[0] == 0
    [row] = pq.read_table(file).to_pylist()
    assert (row["seeds"], row["mean"], row["tie"]) == (2, pytest.approx(0.85), None)
    assert str(pq.read_schema(file).field("tie").type) == "bool"


def test_one_seed_has_no_interval_and_that_is_said(make, results):
    _, out, _ = results("seeds", make(0, 0.9), make(1, 0.8, workers=4))
    assert out.count("none with 1 seed") == 2
    assert "none with 0 pairs" in out


def test_a_run_that_cannot_stand_for_its_seed_is_left_out_by_name(make, results, tmp_path):
    cut_off = tmp_path / "cut-off"
    shutil.copytree(ASSETS / "cut-off", cut_off)
    os.utime(cut_off / columns.LOCK_FILE, (0, 0))
    without_seed = make(None, 0.9)
    whole = make(0, 0.9)
    status, out, errors = results(
        "seeds", cut_off, without_seed, whole, tmp_path / "nowhere", whole, "--format", "json"
    )
    assert status == 0
    assert [row["seeds"] for row in json.loads(out)] == [1]
    assert [line.startswith("skipped: ") for line in errors] == [True] * 3
    assert "cut-off' is not complete (search: cut off)" in errors[0]
    assert "its seed is None" in errors[1]
    status, out, errors = results("seeds", cut_off)
    assert (status, out, len(errors)) == (2, "", 1)


def test_a_typo_of_its_options_gets_a_line_each(results, tmp_path):
    status, _, errors = results("seeds", tmp_path, "--against", "frist", "--format", "jsn")
    assert status == 2
    assert [line.rpartition("Did you mean ")[2] for line in errors] == ["'first'?", "'json'?"]


def test_the_race_is_paired_by_seed_as_its_file_says():
    """Of three pairs the mean and the two ends are computed here without the benchmark's code."""
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
