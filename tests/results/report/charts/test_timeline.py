"""What each worker did: a bar for each stay of a trial in a process."""

import itertools
import re
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
from in_memory import epoch_of, run_of, trial_of

from results.record.columns import Ending, State
from results.report.charts.timeline import Stay, stays, timeline

MIN = {"objective": {"name": "val_loss", "mode": "min"}}
TRIALS = [trial_of(0, 0.7), trial_of(1, 0.5, state="stopped", scheduler="asha"), trial_of(2, 0.6)]
EPOCHS = [
    epoch_of(0, 1, 0.4, at=3.0, epoch_seconds=1.0, **{"lap:build": 0.5, "lap:train": 1.0}),
    epoch_of(1, 1, 0.5, at=4.0, epoch_seconds=1.0, worker="host:2"),
    epoch_of(0, 2, 0.7, at=5.0, epoch_seconds=1.0),
    epoch_of(2, 1, 0.6, at=8.0, epoch_seconds=1.0),
]
COMPLETED, STOPPED = Ending(State.COMPLETED), Ending(State.STOPPED, "asha")


@pytest.fixture
def run():
    return run_of(TRIALS, EPOCHS)


# --- Stays ------------------------------------------------------------------------------------


def test_a_stay_lasts_from_the_work_on_its_first_epoch_to_its_last_report(run):
    assert stays(run) == [
        Stay("host:1", 0, COMPLETED, 1.5, 5.0, 0.7, Counter({0: 2})),
        Stay("host:2", 1, STOPPED, 3.0, 4.0, 0.5, Counter({0: 1})),
        Stay("host:1", 2, COMPLETED, 7.0, 8.0, 0.6, Counter({0: 1})),
    ]


def test_a_trial_that_continues_in_another_process_stays_in_both():
    epochs = [
        epoch_of(0, 1, 0.4, at=3.0), epoch_of(0, 2, 0.6, at=9.0, attempt=2, worker="host:2"),
        epoch_of(0, 3, 0.5, at=10.0, attempt=2, worker="host:2"),
    ]  # fmt: skip
    assert [(stay.worker, stay.epochs, stay.best) for stay in stays(run_of(TRIALS[:1], epochs))] == [
        ("host:1", 1, 0.4), ("host:2", 2, 0.6),
    ]  # fmt: skip


def test_a_bar_counts_the_epochs_of_each_execution():
    epochs = [
        epoch_of(0, epoch, 0.5, at=2.0 * n + epoch, execution=n) for n in (0, 1) for epoch in (1, 2)
    ]
    [bar] = timeline(run_of(TRIALS[:1], epochs)).figure.data
    assert "2 trainings of 2 epochs" in bar.text[0]


def test_a_trial_that_starts_over_in_its_process_stays_twice():
    epochs = [epoch_of(0, 1, 0.4, at=3.0), epoch_of(0, 1, 0.5, at=4.0, attempt=2)]
    assert [stay.epochs for stay in stays(run_of(TRIALS[:1], epochs))] == [1, 1]


def test_the_best_of_a_stay_follows_the_objective_and_ignores_missing_values():
    epochs = [
        epoch_of(0, n, value, at=n) for n, value in enumerate([None, 0.4, 0.2, None], start=1)
    ]
    assert stays(run_of(TRIALS[:1], epochs, problem=MIN))[0].best == 0.2
    assert stays(run_of(TRIALS[:1], epochs))[0].best == 0.4
    assert stays(run_of(TRIALS[:1], epochs[:1]))[0].best is None


def test_a_stay_does_not_begin_before_the_start():
    [stay] = stays(run_of(TRIALS[:1], [epoch_of(0, 1, 0.4, at=0.5, epoch_seconds=2.0)]))
    assert stay.began_seconds == 0.0


def test_stays_of_a_process_do_not_overlap(made_up_run):
    in_order = stays(made_up_run)
    assert {stay.trial for stay in in_order} == set(made_up_run.epochs["trial"].to_pylist())
    assert sum(stay.epochs for stay in in_order) == made_up_run.epochs.num_rows
    of_one = [stay for stay in in_order if stay.worker == "host:100"]
    assert len(of_one) > 10
    for before, after in itertools.pairwise(of_one):
        assert before.ended_seconds <= after.began_seconds


# --- The chart --------------------------------------------------------------------------------


def test_each_stay_is_a_bar_in_the_row_of_its_process(run):
    completed, stopped = timeline(run).figure.data
    assert (completed.name, stopped.name) == ("completed", "stopped by ASHA")
    assert (completed.y, stopped.y) == (("host:1", "host:1"), ("host:2",))
    assert (completed.base, completed.x) == ((1.5, 7.0), (3.5, 1.0))
    assert completed.text[0] == "trial 0, completed<br>2 epochs, best 0.7000<br>1.5 to 5.0 s"
    assert completed.marker.color != stopped.marker.color


def test_neighbouring_bars_of_a_process_have_two_shades():
    epochs = [epoch_of(n, 1, 0.5, at=n + 1.0) for n in range(4)]
    [bars] = timeline(run_of([trial_of(n, 0.5) for n in range(4)], epochs)).figure.data
    assert bars.marker.opacity == (1.0, 0.65, 1.0, 0.65)


def test_the_first_process_is_the_top_row(run):
    axis = timeline(run).figure.layout.yaxis
    assert axis.categoryarray == ("host:2", "host:1")
    assert axis.tickmode == "linear"


def test_the_description_says_how_busy_the_processes_were(run):
    # The first process from 1.5 to 8 s: 4.5 s busy. The second was busy all of its second.
    assert timeline(run).text == (
        "2 processes; training started after 2 s. From their first to their last trial, the "
        "processes were busy 73% of the time; the longest gap between two trials was 2.0 s. The "
        "shades only separate neighbouring trials."
    )


def test_a_single_bar_has_no_gap():
    text = timeline(run_of(TRIALS[:1], EPOCHS[:1])).text
    assert text.startswith("1 process; training started after 2 s.")
    assert "busy 100% of the time. The shades" in text


def test_the_time_between_two_processes_is_no_gap_of_either(run):
    replaced = [*EPOCHS[:3], EPOCHS[3] | {"worker": "host:3"}]
    text = timeline(run_of(TRIALS, replaced)).text
    assert text.startswith("3 processes")
    assert "busy 100% of the time. The shades" in text


def test_replaced_processes_hardly_change_how_busy_the_time_was(made_up_run):
    def busy_percent(run):
        return int(re.search(r"(\d+)% of the time", timeline(run).text)[1])

    rows = made_up_run.epochs.to_pylist()
    replaced = [
        row | {"worker": row["worker"] + ("" if place < len(rows) // 2 else "-again")}
        for place, row in enumerate(rows)
    ]
    changed = replace(made_up_run, epochs=pa.Table.from_pylist(replaced))
    assert timeline(changed).text.startswith("4 processes")
    assert abs(busy_percent(made_up_run) - busy_percent(changed)) <= 3


@pytest.mark.parametrize(("processes", "height"), [(2, 150 + 34 * 2), (60, 1600)])
def test_the_chart_grows_with_its_rows_up_to_a_limit(processes, height):
    epochs = [epoch_of(0, 1, 0.5, at=1.0, worker=f"host:{n}") for n in range(processes)]
    assert timeline(run_of(TRIALS[:1], epochs)).figure.layout.height == height


def test_many_rows_are_not_all_labelled():
    epochs = [epoch_of(0, 1, 0.5, at=1.0, worker=f"host:{n}") for n in range(81)]
    assert timeline(run_of(TRIALS[:1], epochs)).figure.layout.yaxis.tickmode == "auto"


def test_a_run_without_an_epoch_has_no_timeline():
    assert timeline(run_of([trial_of(0)])) is None
