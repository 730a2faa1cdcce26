"""How the workers spent their time: every second counts once."""

import io
import json

import pytest
from in_memory import epoch_of, run_of, trial_of
from rich.console import Console

from results.record.errors import RunFolderError
from results.text.timing import ACTIVITIES, timing, timing_json, timing_table


def laps(**seconds):
    return {f"lap:{name}": value for name, value in seconds.items()}


@pytest.fixture
def run():
    """Two workers of which one starts later and ends earlier, 20 s long."""
    return run_of(
        [trial_of(0, 0.5, ended_seconds=20.0), trial_of(1, 0.6, ended_seconds=14.0)],
        [
            epoch_of(0, 1, 0.4, at=9.0, **laps(**{"import": 2.0}, build=1.0, train=3.0)),
            epoch_of(0, 2, 0.5, at=20.0, **laps(train=8.0, validate=2.0, report=1.0)),
            epoch_of(1, 1, 0.6, at=14.0, worker="host:2", **laps(train=4.0)),
        ],
        workers=2,
    )


def test_the_seconds_of_all_reports_are_added_up(run):
    seconds = timing(run)
    assert list(seconds) == list(ACTIVITIES)
    assert {name: spent for name, spent in seconds.items() if spent} == {
        "before": 6.0,  # two workers, of which the first process started after 3 s
        "import": 2.0, "build": 1.0, "train": 15.0, "validate": 2.0, "report": 1.0,
        "waiting": 13.0,
    }  # fmt: skip
    assert sum(seconds.values()) == 2 * 20.0


def test_a_process_that_reported_more_than_has_passed_started_at_once():
    run = run_of([trial_of(0, 0.5)], [epoch_of(0, 1, 0.5, at=1.0, **laps(train=5.0))], workers=1)
    assert (timing(run)["before"], timing(run)["waiting"]) == (0.0, 0.0)


def test_a_search_lasts_until_its_last_trial_has_ended():
    run = run_of(
        [trial_of(0, 0.5, ended_seconds=9.0), trial_of(1, ended_seconds=None)],
        [epoch_of(0, 1, 0.5, at=5.0, **laps(train=5.0))], workers=1,
    )  # fmt: skip
    assert timing(run)["waiting"] == 4.0


@pytest.mark.parametrize("epochs", [[], [epoch_of(0, 1, 0.5, at=1.0)]])
def test_a_run_whose_trials_report_no_times_is_refused(epochs):
    run = run_of([trial_of(0, 0.5)], epochs, path="other")
    with pytest.raises(RunFolderError, match=r"^'other' has no times: only trained runs of the"):
        timing(run)


def test_the_table_has_seconds_and_shares_of_all_workers(run):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(timing_table(run))
    title, heading, *lines = [line.split() for line in console.export_text().splitlines()]
    assert title == ["2", "workers", "x", "20.0", "s,", "of", "which", "42.5%", "training"]
    assert heading == ["seconds", "share", "name", "spent", "on"]
    shown = {words[2]: words[:2] for words in lines}
    assert list(shown) == list(ACTIVITIES)
    assert (shown["train"], shown["data"]) == (["15.0", "37.5%"], ["0.0", "0.0%"])


def test_the_seconds_are_printed_as_json(run):
    assert json.loads(timing_json(run)) == timing(run)
