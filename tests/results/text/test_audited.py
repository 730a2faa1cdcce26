"""What `fmnist-search audit` left, as `fmnist-results` reads and tells it."""

import json
import shutil

import afterwards
import pytest

from results import RunError
from results.reading import read_run
from results.record import columns
from results.record.history import History, Objective
from results.record.journal import read
from results.report import charts
from results.report.report import page
from results.run import row_of
from results.text import audited
from search.final.audit import stopped_trials, summarize


@pytest.fixture
def run(plain, tmp_path):
    """A run with an audit of four stopped trials."""
    shutil.copytree(plain, tmp_path / "run")
    afterwards.audit(tmp_path / "run")
    return tmp_path / "run"


def told(run):
    return json.loads((run / columns.AUDIT_DIR / columns.AUDIT_FILE).read_text())


def written(run, said):
    return afterwards.put(run, columns.AUDIT_DIR, columns.AUDIT_FILE, said)


def test_what_the_search_writes_is_read_as_it_was_meant(run):
    events = read(run / columns.JOURNAL_FILE).events
    history = History.replay(Objective("val_accuracy", "max"), events)
    trials = read_run(run).audit.trials
    made = summarize(trials, history)
    made.write(run / columns.AUDIT_DIR / columns.AUDIT_FILE)
    found = read_run(run).audit
    assert found == made
    assert (found.search_best, found.stopped) == (history.best_value, len(stopped_trials(history)))
    assert (found.wrong_share, found.seconds_saved) == (0.25, 33.0 * found.stopped)
    # Wilson's formula, of 1 in 4 with z = 1.95996, begins at 0.04559: but one of the 14 is known.
    assert found.stopped == 14
    assert (found.wrong_low, found.wrong_high) == pytest.approx((1 / 14, 0.69936), abs=1e-4)
    assert found.trials == trials
    assert found.saved_share == pytest.approx(
        found.seconds_saved / (found.seconds_saved + found.seconds_searched)
    )


def test_a_row_counts_the_wrongly_stopped_and_a_run_without_an_audit_has_none(run, plain):
    row, without = row_of(read_run(run)), row_of(read_run(plain))
    assert (row.audit_wrong, row.audit_audited, row.audit_seconds_saved) == (1, 4, 3960.0)
    assert (without.audit_wrong, without.audit_audited, without.audit_seconds_saved) == (
        None, None, None,
    )  # fmt: skip


def test_compare_says_how_many_of_how_many(results, run, plain):
    _, out, _ = results("compare", run, plain, "--format", "markdown")
    heads, _, *rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()]
    place = heads.index("wrongly stopped")
    assert {row[1]: row[place] for row in rows} == {"run": "1 of 4", "plain": ""}
    assert "wrongly stopped" not in results("compare", plain)[1]
    _, out, _ = results("compare", run, "--format", "json")
    assert json.loads(out)[0]["audit_audited"] == 4


def test_show_says_it_in_a_few_lines_after_the_trials(results, run, plain):
    status, out, notes = results("show", run)
    assert status == 0
    assert notes == [
        "The search has continued since the audit: it has 14 stopped trials now, and its best is 0.8634."
    ]
    lines = out.partition("\nwhat early stopping cost\n")[2].splitlines()
    assert lines == [
        "4 of 120 stopped trials, drawn at random, were trained to the last epoch: 1 would have "
        "beaten the search's best val_accuracy, 0.9112. That is 25%; the share among all stopped "
        "trials is between 5% and 70% (95 % Wilson interval).",
        "The best audited trial is trial 7: it reached 0.9124, 0.0012 better than the search's best.",
        "Stopping saved about 3960 worker seconds, 83% of the time that training every trial to "
        "its last epoch would take (estimated from the mean of the audited trials). The search "
        "took 820 worker seconds.",
    ]
    assert "early stopping cost" not in results("show", plain)[1]
    rows = json.loads(results("show", run, "--format", "json")[1])
    assert (rows[7]["audited"]["is_wrong"], rows[0]["audited"]) == (True, None)
    assert "audited" not in json.loads(results("show", plain, "--format", "json")[1])[0]


def test_an_audit_of_the_search_as_it_is_has_no_such_note(results, run):
    written(run, told(run) | {"search_best": row_of(read_run(run)).best, "stopped": 14})
    status, out, notes = results("show", run)
    assert (status, notes) == (0, [])
    assert "4 of 14 stopped trials" in out


@pytest.mark.parametrize(
    ("trials", "mode", "said"),
    [
        ([(1, 1, 0.5, 0.9), (2, 1, 0.5, 0.8)], "max",
         ["none would have beaten", "trial is trial 1: it reached 0.9000, 0.0112 worse than the search's best."]),
        ([(1, 1, 0.5, 0.93), (2, 1, 0.5, 0.92)], "max",
         ["2 would have beaten", "0.0188 better than the search's best; the 2 wrongly stopped trials are 0.0138 better on average."]),
        ([(1, 1, 2.0, 0.9), (2, 1, 1.5, 1.3)], "min",
         ["1 would have beaten", "trial is trial 1: it reached 0.9000, 0.0112 better than the search's best."]),
        ([(1, 1, 0.5, None)], "max", ["1 of 120 stopped trials, drawn at random, was trained"]),
    ],
)  # fmt: skip
def test_how_often_and_by_how_much_stopping_was_wrong(run, trials, mode, said):
    afterwards.audit(run, trials, mode=mode)
    text = " ".join(audited.sentences(read_run(run).audit))
    for part in said:
        assert part in text
    assert text.count("The best audited trial") == (trials[0][3] is not None)


def test_trials_that_came_out_otherwise_are_named(run):
    said = told(run)
    assert "other values" not in " ".join(audited.sentences(read_run(run).audit))
    for place in (1, 3):
        said["trials"][place]["is_same"] = False
    written(run, said)
    [text] = [one for one in audited.sentences(read_run(run).audit) if "other values" in one]
    assert "trials 7, 11 gave other values than in the search" in text


def test_a_search_that_took_no_time_has_no_share_of_it(run):
    afterwards.audit(run, seconds_saved=0.0, seconds_searched=0.0)
    assert "0 worker seconds, 0% of" in audited.sentences(read_run(run).audit)[2]


def test_the_table_has_the_best_first_and_what_came_to_nothing_last(run):
    heads, *rows = audited.cells(read_run(run).audit)
    assert [row[0] for row in rows] == ["7", "8", "2", "11"]
    of_the_best = dict(zip(heads, rows[0], strict=True))
    assert of_the_best["better than the search's best by"] == "+0.0012"
    assert (of_the_best["wrongly stopped"], of_the_best["as in the journal"]) == ("yes", "yes")
    of_the_last = dict(zip(heads, rows[-1], strict=True))
    assert (of_the_last["best of all"], of_the_last["ended"]) == ("", "diverged")


def lacks_a_trial(said):
    del said["trials"][0]


def counts_another(said):
    said["wrong"] = 2


def wrong_kinds(said):
    said["search_best"] = None
    said["trials"][2]["value"] = "high"
    del said["trials"][3]["state"]


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda said: "not JSON", ["expected ident at line 1"]),
        (lambda said: "17", ["it is not an object"]),
        (lambda said: said.clear(), ["objective is missing", "and 7 more"]),
        (lacks_a_trial, ["it holds 3 trials, with audited 4 of stopped 120"]),
        (counts_another, ["wrong is 2, its trials say 1"]),
        (wrong_kinds, ["search_best is None", "trials[2].value is 'high'",
                       "trials[3].state is missing"]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_all_that_is_wrong(results, run, plain, change, problems):
    said = told(run)
    text = change(said)
    written(run, text if text is not None else said)
    with pytest.raises(RunError, match=r"audit\.json is damaged or incomplete") as caught:
        read_run(run)
    for problem in problems:
        assert problem in str(caught.value)
    assert f"Write it again with `fmnist-search audit {run}`" in str(caught.value)
    status, out, [line] = results("compare", run, plain, "--format", "json")
    assert (status, [row["name"] for row in json.loads(out)]) == (0, ["plain"])
    assert line.startswith("skipped: ")


def test_each_trial_is_drawn_from_its_stop_to_its_end(run):
    read = read_run(run)
    chart = charts.audit_chart(read)
    ways, stops, wrong, right, best = chart.figure.data
    assert list(ways.x) == [0.8610, 0.9124, None, 0.8821, 0.9081, None, 0.8528, 0.9050, None]
    assert list(zip(stops.y, stops.x, strict=True)) == [
        (0, 0.8610), (1, 0.8821), (2, 0.8528), (3, 0.8003),
    ]  # fmt: skip
    assert (list(wrong.x), list(right.x)) == ([0.9124], [0.9081, 0.9050])
    assert (wrong.marker.symbol, wrong.name) != (right.marker.symbol, right.name)
    assert set(best.x) == {0.9112}
    assert list(chart.figure.layout.yaxis.ticktext) == ["trial 7", "trial 8", "trial 2", "trial 11"]
    assert chart.rows == audited.cells(read.audit)
    assert "outside" not in chart.text


@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_far_off_does_not_squeeze_the_rest_and_that_is_said(run, mode):
    far = 0.1 if mode == "max" else 9.0
    trials = [(n, 1, 0.85 + n / 1000, 0.9 + n / 1000) for n in range(10)] + [(10, 1, far, 0.9)]
    afterwards.audit(run, trials, mode=mode, best=0.9)
    chart = charts.audit_chart(read_run(run))
    low, high = chart.figure.layout.xaxis.range
    assert not low <= far <= high
    assert low <= 0.9 <= high
    assert chart.text.endswith("outside the visible range; the table has them all.")


def test_of_very_many_some_are_labelled(run):
    afterwards.audit(run, [(n, 1, 0.8, 0.9 + n / 1e5) for n in range(200)], stopped=200)
    chart = charts.audit_chart(read_run(run))
    assert len(chart.figure.layout.yaxis.ticktext) <= 60
    assert chart.figure.layout.height <= 1600


def test_the_page_has_its_section_where_there_is_an_audit_alone(run, plain):
    html = page([read_run(run)]).partition("<script>")[0]
    assert html.count('href="#run-1-early-stop-audit-title"') == 1
    assert "What early stopping cost" not in page([read_run(plain)]).partition("<script>")[0]
