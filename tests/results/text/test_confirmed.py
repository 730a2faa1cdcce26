"""What `fmnist-search confirm` left, as `fmnist-results` reads and tells it."""

import copy
import csv
import io
import json
import math
import shutil

import afterwards
import made_up
import pyarrow.parquet as pq
import pytest

from results import RunError
from results.compare import formats
from results.reading import read_run
from results.record import columns
from results.record.confirmation import Candidate, Verdict
from results.record.history import Objective
from results.record.words import format_difference
from results.report import charts
from results.report.charts.afterwards import MARKERS
from results.report.report import page
from results.run import row_of
from results.text import confirmed
from search.final.confirm import compare_candidates

SHOWN = ["confirmed", "95 % of confirmed", "new seeds", "confirmed test", "95 % of test"]


@pytest.fixture
def run(plain, tmp_path):
    """A run whose best were confirmed."""
    shutil.copytree(plain, tmp_path / "run")
    afterwards.confirm(tmp_path / "run")
    return tmp_path / "run"


def told(run):
    return json.loads((run / columns.CONFIRM_DIR / columns.CONFIRMATION_FILE).read_text())


def written(run, said):
    return afterwards.put(run, columns.CONFIRM_DIR, columns.CONFIRMATION_FILE, said)


def headings(text):
    return [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]


def test_what_the_search_writes_is_read_as_it_was_meant(run):
    scores = [(0.3, 0.2, 0.4), (0.5, None, 0.6), (0.1, 0.2, 0.1)]
    chosen = [
        Candidate("trial 3", 3, 20, {"layers": 1}, 0.15),
        Candidate("trial 5", 5, 20, {"layers": 2}, 0.16),
        Candidate("published", None, 20, {"layers": 3}, None),
    ]
    made = compare_candidates(chosen, (7, 8, 9), scores, Objective("val_loss", "min"))
    made.write(run / columns.CONFIRM_DIR / columns.CONFIRMATION_FILE)
    read = read_run(run).confirmation
    assert read == made
    assert [one.verdict for one in read.candidates] == ["winner", "worse", "tie"]
    assert [one.scores for one in read.candidates] == scores
    assert [one.name for one in read.best_first] == ["published", "trial 3", "trial 5"]
    assert read.winning_candidate.mean == pytest.approx(0.3)
    assert (read.candidates[1].mean, read.candidates[1].difference) == (None, None)
    assert read.candidates[2].difference.mean == pytest.approx(-0.5 / 3)
    assert read.optimism == pytest.approx(0.15)


def test_a_row_has_the_winner_s_numbers_and_a_run_without_has_none(run, plain):
    row, said = row_of(read_run(run)), told(run)
    winner = said["candidates"][said["winner"]]
    assert (row.confirmed_mean, row.confirmed_low, row.confirmed_high, row.confirmed_seeds) == (
        winner["mean"], winner["low"], winner["high"], 5,
    )  # fmt: skip
    assert (row.confirmed_test_mean, row.confirmed_test_low, row.confirmed_test_high) == tuple(
        winner["test"][name] for name in ("mean", "low", "high")
    )
    without = row_of(read_run(plain))
    assert (without.confirmed_mean, without.confirmed_seeds, without.confirmed_test_low) == (
        None, None, None,
    )  # fmt: skip


def test_the_columns_are_there_where_any_run_has_them_and_else_not(results, run, plain):
    _, alone, _ = results("compare", plain, "--format", "markdown")
    assert not set(SHOWN) & set(headings(alone))
    assert not set(SHOWN) & {heading for heading, _ in formats.shown_columns([])}
    _, both, _ = results("compare", run, plain, "--format", "markdown")
    heads = headings(both)
    assert heads[1:7] == ["best val_accuracy", *SHOWN]
    rows = {cells[0]: cells for cells in map(headings, both.splitlines()[2:])}
    assert rows["run"][2:7] == [
        "0.9071", "0.9065 to 0.9077", "5", "0.9030", "0.9018 to 0.9042",
    ]  # fmt: skip
    assert rows["plain"][2:7] == [""] * 5


def test_programs_get_plain_numbers(results, run, plain, tmp_path):
    file = tmp_path / "rows.parquet"
    assert results("compare", run, plain, "--out", file)[0] == 0
    schema = pq.read_schema(file)
    assert [str(schema.field(name).type) for name in ("confirmed_low", "confirmed_seeds")] == [
        "double", "int64",
    ]  # fmt: skip
    _, out, _ = results("compare", plain, run, "--format", "json", "--sort", "-confirmed_mean")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == ["run", "plain"]
    assert rows[0]["confirmed_mean"] == pytest.approx(0.9071)
    assert rows[1]["confirmed_mean"] is None
    _, out, _ = results("compare", plain, run, "--format", "csv", "--where", "confirmed_seeds=5")
    [line] = csv.DictReader(io.StringIO(out))
    assert (line["name"], float(line["confirmed_test_mean"])) == ("run", pytest.approx(0.903))


def test_show_tells_the_candidates_the_best_first_and_the_optimism_after_the_trials(results, run):
    status, out, notes = results("show", run)
    assert status == 0
    trials, _, rest = out.partition("\nconfirmed on 5 new seeds\n")
    assert len(trials.splitlines()) == 1 + 20
    heads, *rows, said = rest.splitlines()
    assert heads.split()[:4] == ["configuration", "epochs", "search's", "best"]
    assert [row.split()[:3] for row in rows] == [
        ["trial", "17", "20"], ["trial", "17", "50"], ["trial", "4", "20"],
        ["published", "20", "0.9005"], ["published", "50", "0.8995"], ["trial", "9", "50"],
    ]  # fmt: skip
    for row, expected in zip(
        rows, ["winner", "tie", "worse", "worse", "worse", "diverged on 1 of 5"], strict=True
    ):
        assert f"  {expected}" in row
    assert "-0.0001  -0.0003 to +0.0001" in rows[1]
    assert said.startswith("The winner, trial 17 with 20 epochs, has a mean val_accuracy of 0.9071")
    assert "0.9112, was 0.0041 better" in said
    assert notes[0] == (
        "The search has continued since the confirmation: its best, trial 2, was not confirmed."
    )
    assert [note.partition(":")[0] for note in notes[1:]] == ["caution"]


def test_a_confirmation_of_the_search_as_it_is_has_no_such_note(results, run):
    afterwards.confirm(run, [("trial 2", 20, 0.8634, (0.85, 0.86))], seeds=(1, 2))
    status, out, notes = results("show", run)
    assert (status, notes) == (0, [])
    assert "trial 2" in out


def test_show_gives_each_trial_what_came_of_it_as_json(results, run, plain):
    rows = json.loads(results("show", run, "--format", "json")[1])
    assert len(rows) == 20
    assert [one["epochs"] for one in rows[17]["confirmed"]] == [20, 50]
    assert [one["verdict"] for one in rows[17]["confirmed"]] == ["winner", "tie"]
    assert rows[9]["confirmed"][0]["scores"][1] is None
    assert rows[0]["confirmed"] == []
    assert "confirmed" not in json.loads(results("show", plain, "--format", "json")[1])[0]


@pytest.mark.parametrize(
    ("seen", "mode", "said"),
    [
        (0.5, "max", "its best in the search, 0.5000, was 0.1000 better."),
        (0.3, "max", "its best in the search, 0.3000, was 0.1000 worse."),
        (0.3, "min", "its best in the search, 0.3000, was 0.1000 better."),
        (0.4, "max", "its best in the search, 0.4000, was the same."),
        (None, "max", "over 2 new seeds."),
    ],
)
def test_the_search_s_best_is_held_against_the_mean(run, seen, mode, said):
    candidates = [("trial 1", 1, seen, (0.4, 0.4)), ("trial 2", 5, 0.4, (0.4, None))]
    afterwards.confirm(run, candidates, seeds=(1, 2), mode=mode)
    text = confirmed.optimism(read_run(run).confirmation)
    assert text.startswith("The winner, trial 1 with 1 epoch, has a mean val_accuracy of 0.4000")
    assert text.endswith(said)


def test_where_less_is_better_the_least_comes_first_and_what_is_less_is_better(run):
    candidates = [
        ("trial 1", 20, 2e-6, (3.0e-6, 3.2e-6)),
        ("trial 2", 20, 1e-6, (5.0e-6, 5.2e-6)),
        ("mine", 20, None, (1.0e-6, 1.2e-6)),
    ]
    afterwards.confirm(run, candidates, seeds=(1, 2), mode="min", objective="val_loss")
    found = read_run(run).confirmation
    heads, *rows = confirmed.cells(found)
    assert [row[0] for row in rows] == ["mine", "trial 1", "trial 2"]
    assert [row[heads.index("verdict")] for row in rows] == ["better", "winner", "worse"]
    assert [row[heads.index("difference")] for row in rows] == ["-2e-06", "", "+2e-06"]
    assert "was 1.1e-06 better" in confirmed.optimism(found)


def test_what_is_said_names_ties_what_diverged_and_what_was_there_to_compare(run):
    said = confirmed.sentences(read_run(run).confirmation)
    assert [text.partition(",")[0] for text in said] == [
        "The winner", "Tied with the winner", "Without a mean", "For comparison", "Mean test accuracy",
        "Caution: the intervals of few seeds are too narrow (5 pairs here). If two settings are "
        "equally good",
    ]  # fmt: skip
    assert said[1].endswith("includes zero: trial 17 with 50 epochs.")
    assert said[2].endswith("diverged: trial 9 with 50 epochs.")
    # Of two numbers of epochs the better one stands for it.
    assert "published with 20 epochs has a mean of 0.9005 (0.8996 to 0.9014): worse." in said[3]
    assert "trial 17 with 20 epochs 0.9030 (0.9018 to 0.9042)" in said[4]


def test_of_many_ties_the_others_are_counted(run):
    ties = [(f"trial {n}", 20, 0.9, (0.8, 0.7, 0.9)) for n in range(6)]
    afterwards.confirm(run, ties, seeds=(1, 2, 3))
    text = confirmed.sentences(read_run(run).confirmation)[1]
    assert text.endswith(
        ": trial 1 with 20 epochs, trial 2 with 20 epochs, trial 3 with 20 epochs and 2 more."
    )


def test_one_candidate_alone_is_the_winner_of_no_comparison(run):
    afterwards.confirm(run, [("trial 1", 20, 0.9, (0.8, 0.9))], seeds=(1, 2))
    found = read_run(run).confirmation
    assert "difference" not in confirmed.cells(found)[0]
    assert list(confirmed.few_seeds_warning(found)) == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_narrow_screen_the_means_are_there_and_whole(run, width):
    found = read_run(run).confirmation
    shown = confirmed.shown_columns(found)
    kept = formats.fitting_columns(shown, found.best_first, width)
    assert kept == shown[: len(kept)]
    assert "mean" in [heading for heading, _ in kept]


def lacks_winner(said):
    del said["winner"]


def wrong_kinds(said):
    said["seeds"][0] = "one"
    said["candidates"][0]["mean"] = math.nan
    said["candidates"][0]["is_for_comparison"] = 1
    said["candidates"][1]["difference"]["low"] = True
    said["candidates"][2]["verdict"] = "unsure"
    said["candidates"][3]["epochs"] = 2.5
    said["mode"] = "most"


def winner_from_nowhere(said):
    said["winner"] = 17


def winner_to_compare(said):
    said["winner"] = 4


def a_seed_too_many(said):
    said["seeds"].append(9)


def too_large(said):
    said["candidates"][0]["mean"] = 10**400


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda said: "{", ["EOF while parsing an object"]),
        (lambda said: "[]", ["it is not an object"]),
        (lambda said: "[" * 100_000, ["recursion"]),
        (lacks_winner, ["winner is missing"]),
        (wrong_kinds, ["mode is 'most'", "seeds[0] is 'one'", "candidates[0].mean is nan",
                       "candidates[0].is_for_comparison is 1", "candidates[1].difference.low is True",
                       "and 2 more"]),
        (winner_from_nowhere, ["winner is 17 of 6 candidates"]),
        (winner_to_compare, ["candidates[4] cannot be the winner"]),
        (a_seed_too_many, ["candidates[0] has 5 scores of 6 seeds"]),
        (too_large, ["candidates[0].mean is 1000"]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_all_that_is_wrong(results, run, plain, change, problems):
    said = copy.deepcopy(told(run))
    text = change(said)
    written(run, text if text is not None else said)
    with pytest.raises(RunError, match=r"confirmation\.json is damaged or incomplete") as caught:
        read_run(run)
    for problem in problems:
        assert problem in str(caught.value)
    assert f"Write it again with `fmnist-search confirm {run}`" in str(caught.value)
    status, out, [line] = results("compare", run, plain, "--format", "json")
    assert (status, [row["name"] for row in json.loads(out)]) == (0, ["plain"])
    assert line.startswith("skipped: ")
    status, out, [line] = results("show", run)
    assert (status, out) == (2, "")
    assert line.startswith("error: ")


def test_what_a_newer_version_adds_is_no_damage(run):
    said = told(run)
    said["new"] = said["candidates"][0]["new"] = {"of": "another version"}
    written(run, said)
    assert len(read_run(run).confirmation.candidates) == 6


def test_each_mark_of_the_chart_stands_where_the_file_says(run):
    read = read_run(run)
    chart = charts.confirmation_chart(read)
    traces = {trace.name: trace for trace in chart.figure.data}
    assert list(traces) == [
        "winner: mean", "tie: mean", "worse: mean", "each seed", "best in the search",
    ]  # fmt: skip
    candidates = read.confirmation.best_first
    for verdict in (Verdict.WINNER, Verdict.TIE, Verdict.WORSE):
        trace = traces[f"{verdict}: mean"]
        shown = [
            (place, one)
            for place, one in enumerate(candidates)
            if one.verdict is verdict and one.mean is not None
        ]
        assert list(zip(trace.y, trace.x, strict=True)) == [(n, one.mean) for n, one in shown]
        for (_, one), above, below in zip(
            shown, trace.error_x.array, trace.error_x.arrayminus, strict=True
        ):
            assert (one.mean + above, one.mean - below) == pytest.approx((one.high, one.low))
    assert len(traces["each seed"].x) == 6 * 5 - 1
    search = traces["best in the search"]
    assert list(zip(search.y, search.x, strict=True)) == [
        (place, one.search_value) for place, one in enumerate(candidates) if one.search_value
    ]
    assert search.marker.symbol == "circle-open"
    assert chart.rows[1][:4] == ["trial 17", "20", "0.9112", "0.9071"]
    assert list(chart.figure.layout.yaxis.ticktext)[-1] == "trial 9<br>50 epochs"
    # The best stands at the top.
    assert chart.figure.layout.yaxis.range[0] > chart.figure.layout.yaxis.range[1]


def test_no_two_verdicts_look_alike():
    assert len({symbol for _, symbol in MARKERS.values()}) == len(MARKERS) == len(Verdict)


def test_a_name_that_a_user_gave_is_text_and_short_on_the_axis(run):
    name = "a <b>bold</b> configuration, and some more words: " + "x" * 100
    candidates = [*afterwards.CANDIDATES[:2], (name, 20, None, (0.9, 0.91, 0.9, 0.9, 0.91))]
    afterwards.confirm(run, candidates)
    chart = charts.confirmation_chart(read_run(run))
    label = chart.figure.layout.yaxis.ticktext[-1]
    assert label == "a &lt;b&gt;bold&lt;/b&gt;<br>configuration, and …<br>20 epochs"
    html = page([read_run(run)]).partition("<script>")[0]
    assert "<b>bold" not in html


def test_the_page_says_it_and_which_seed_s_model_is_the_final_one(run, plain):
    made_up.retrained(run)
    before = page([read_run(run)])
    assert "The number of epochs was chosen on validation data" in before
    evaluation = run / columns.FINAL_DIR / columns.EVALUATION_FILE
    scores = json.loads(evaluation.read_text())
    evaluation.write_text(json.dumps(scores | {"seed": 1, "confirmed_seeds": [1, 2, 3, 4, 5]}))
    html = page([read_run(run)])
    assert "trained on the new seed 1." in html
    assert "<dt>mean over 5 new seeds</dt><dd>0.9071</dd>" in html
    assert "<details open><summary>Confirmed on new seeds as a table</summary>" in html
    assert html.count('href="#run-1-confirmed-title"') == 1
    assert "new seeds" not in page([read_run(plain)]).partition("<script>")[0]


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [(0.00031, 0.9, "+0.0003"), (-0.00031, 0.9, "-0.0003"), (2e-6, 3e-6, "+2e-06"),
     (0.0, 0.9, "+0.0000"), (0.5, None, "+0.5000")],
)  # fmt: skip
def test_a_difference_has_the_digits_of_what_it_is_of(value, like, text):
    assert format_difference(value, like) == text
