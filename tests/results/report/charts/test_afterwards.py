"""The charts of the audit of early stopping and of the confirmation on new seeds."""

import pytest
from afterwards import CANDIDATES, audit_of, confirmation_of
from in_memory import run_of, trial_of

from results.record.confirmation import Verdict
from results.report.charts.afterwards import MARKERS, audit_chart, confirmation_chart
from results.text import audited, confirmed

# --- The audit --------------------------------------------------------------------------------


def audited_run(*trials, **options):
    return run_of([trial_of(0, 0.5)], audit=audit_of(*trials, **options))


def test_each_audited_trial_is_a_line_from_its_stop_to_its_end():
    lines, stops, wrong, right, best = audit_chart(audited_run()).figure.data
    assert list(lines.x) == [0.8610, 0.9124, None, 0.8821, 0.9081, None, 0.8528, 0.9050, None]
    assert list(lines.y) == [0, 0, None, 1, 1, None, 2, 2, None]
    assert list(zip(stops.y, stops.x, strict=True)) == [
        (0, 0.8610), (1, 0.8821), (2, 0.8528), (3, 0.8003),
    ]  # fmt: skip
    assert (list(wrong.x), list(right.x)) == ([0.9124], [0.9081, 0.9050])
    assert (wrong.marker.symbol, wrong.name) != (right.marker.symbol, right.name)
    assert set(best.x) == {0.9112}
    assert best.name == "the search's best, 0.9112"


def test_the_mark_of_a_trial_says_where_it_stopped_and_ended():
    _, stops, wrong, *_ = audit_chart(audited_run()).figure.data
    assert stops.text[0] == "trial 7, stopped after epoch 1: 0.8610"
    assert wrong.text == ("trial 7, completed after epoch 30: 0.9124",)


def test_audited_trials_are_labelled_from_top_to_bottom():
    axis = audit_chart(audited_run()).figure.layout.yaxis
    assert list(axis.ticktext) == ["trial 7", "trial 8", "trial 2", "trial 11"]
    assert axis.range == (3.6, -0.6)


def test_the_chart_of_an_audit_has_its_sentences_and_its_table():
    run = audited_run()
    chart = audit_chart(run)
    assert chart.rows == audited.cells(run.audit)
    lines = chart.text.splitlines()
    assert lines[:3] == audited.sentences(run.audit)
    assert lines[3].startswith("The search has continued since the audit")
    assert len(lines) == 4


@pytest.mark.parametrize(("mode", "far"), [("max", 0.1), ("min", 9.0)])
def test_a_value_far_off_does_not_squeeze_the_others(mode, far):
    trials = [(n, 1, 0.85 + n / 1000, 0.9 + n / 1000) for n in range(10)] + [(10, 1, far, 0.9)]
    chart = audit_chart(audited_run(trials, mode=mode, best=0.9))
    low, high = chart.figure.layout.xaxis.range
    assert not low <= far <= high
    assert low <= 0.9 <= high
    assert chart.text.endswith("outside the visible range; the table has them all.")


def test_the_chart_of_many_audited_trials_stays_readable():
    trials = [(n, 1, 0.8, 0.9 + n / 1e5) for n in range(200)]
    layout = audit_chart(audited_run(trials, stopped=200)).figure.layout
    assert len(layout.yaxis.ticktext) == 50  # every fourth of them
    assert layout.height == 1600


def test_a_run_without_an_audit_has_no_chart_of_one():
    assert audit_chart(run_of()) is None


# --- The confirmation -------------------------------------------------------------------------


def confirmed_run(*candidates, **options):
    return run_of([trial_of(17, 0.5)], confirmation=confirmation_of(*candidates, **options))


def test_each_mean_stands_in_the_row_of_its_candidate_by_verdict():
    *means, _, _ = confirmation_chart(confirmed_run()).figure.data
    rows = {
        trace.name: [(row, round(mean, 4)) for row, mean in zip(trace.y, trace.x, strict=True)]
        for trace in means
    }
    assert rows == {
        "winner: mean": [(0, 0.9071)],
        "tie: mean": [(1, 0.9070)],
        "worse: mean": [(2, 0.9041), (3, 0.9005), (4, 0.8995)],
    }  # the candidate that diverged has no mean


def test_each_mean_has_its_interval():
    winner = confirmation_chart(confirmed_run()).figure.data[0]
    [mean], [above], [below] = winner.x, winner.error_x.array, winner.error_x.arrayminus
    assert (mean - below, mean + above) == pytest.approx((0.9065, 0.9077), abs=5e-5)
    assert winner.text == ("trial 17 with 20 epochs: 0.9071 (0.9065 to 0.9077), winner",)


def test_each_seed_is_a_mark_below_the_mean():
    seeds = {trace.name: trace for trace in confirmation_chart(confirmed_run()).figure.data}[
        "each seed"
    ]
    assert len(seeds.x) == 6 * 5 - 1  # one training diverged
    assert list(seeds.x[:5]) == list(CANDIDATES[0][3])
    assert list(seeds.y[:5]) == [0.24] * 5
    assert seeds.text[0] == "trial 17 with 20 epochs, seed 1: 0.9070"


def test_the_value_of_the_search_is_an_open_mark():
    *_, search = confirmation_chart(confirmed_run()).figure.data
    assert list(zip(search.y, search.x, strict=True)) == [
        (0, 0.9112), (1, 0.9112), (2, 0.9101), (5, 0.9098),
    ]  # fmt: skip
    assert search.marker.symbol == "circle-open"


def test_candidates_are_labelled_from_top_to_bottom():
    axis = confirmation_chart(confirmed_run()).figure.layout.yaxis
    assert [axis.ticktext[0], axis.ticktext[-1]] == [
        "trial 17<br>20 epochs", "trial 9<br>50 epochs",
    ]  # fmt: skip
    assert axis.range == (5.6, -0.6)


def test_the_chart_of_a_confirmation_has_its_sentences_and_its_table():
    run = confirmed_run()
    chart = confirmation_chart(run)
    assert chart.rows == confirmed.cells(run.confirmation)
    assert chart.text == "\n".join(confirmed.sentences(run.confirmation))


def test_no_two_verdicts_look_alike():
    assert set(MARKERS) == set(Verdict)
    assert len({symbol for _, symbol in MARKERS.values()}) == len(Verdict)


def test_a_name_that_a_user_gave_is_text_and_short_on_the_axis():
    name = "a <b>bold</b> configuration, and some more words: " + "x" * 100
    candidates = [*CANDIDATES[:2], (name, 20, None, (0.9, 0.91, 0.9, 0.9, 0.91))]
    figure = confirmation_chart(confirmed_run(candidates)).figure
    assert figure.layout.yaxis.ticktext[-1] == (
        "a &lt;b&gt;bold&lt;/b&gt;<br>configuration, and …<br>20 epochs"
    )
    texts = [text for trace in figure.data for text in trace.text or ()]
    assert any("&lt;b&gt;bold" in text for text in texts)
    assert not any("<b>bold" in text for text in texts)


def test_a_run_without_a_confirmation_has_no_chart_of_one():
    assert confirmation_chart(run_of()) is None
