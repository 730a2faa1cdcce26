"""Searches by the tuners of ``search.kt`` on a running Ray, two trials at a time."""

import json
import signal
from pathlib import Path

import pytest
import scenarios

import problems
from results.record.journal import read
from search import kt

TRAIN, VALIDATION, _ = problems.blobs()


def in_twelve_configurations(hp):
    hp.Int("n", 1, 3)
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Choice("late", [1, 2, 3])
    return scenarios.tiny_model()


TWELVE = [
    {"n": n, "kind": kind} | ({"late": late} if kind == "b" else {})
    for n in (1, 2, 3)
    for kind, late in (("a", None), ("b", 1), ("b", 2), ("b", 3))
]


class Interrupted(kt.GridSearch):
    """The user presses Ctrl-C when five trials have ended."""

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        if len(self.oracle.end_order) == 5:
            signal.raise_signal(signal.SIGINT)


def events(tuner, kind):
    journal = Path(tuner.project_dir, "journal.jsonl")
    return [event for event in read(journal).events if event["event"] == kind]


@pytest.fixture(scope="module")
def grid(running_ray, tmp_path_factory):
    """A grid of twelve configurations that was interrupted and searched to its end."""
    folder = tmp_path_factory.mktemp("grid")
    arguments = {"seed": 1, "directory": folder, "project_name": "run"}
    hypermodel = scenarios.OwnScore(in_twelve_configurations)
    with pytest.raises(KeyboardInterrupt):
        Interrupted(hypermodel, **arguments).search(verbose=0)
    again = kt.GridSearch(hypermodel, **arguments)
    so_far = len(again.oracle.trials)
    again.search(verbose=0)
    return again, so_far


@pytest.mark.long
def test_a_grid_that_was_interrupted_goes_on_to_its_end_in_order(grid):
    tuner, so_far = grid
    assert 5 <= so_far <= 7
    trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
    assert [trial.hyperparameters.values for trial in trials] == TWELVE
    assert {trial.status for trial in trials} == {"COMPLETED"}


def test_every_configuration_of_a_grid_starts_once(grid):
    started = events(grid[0], "trial_started")
    assert [event["trial"] for event in started] == list(range(12))
    assert [event["values"] for event in started] == TWELVE


def test_trials_of_a_grid_run_side_by_side(grid):
    running, most = 0, 0
    for event in read(Path(grid[0].project_dir, "journal.jsonl")).events:
        running += (event["event"] == "trial_started") - (event["event"] == "trial_ended")
        most = max(most, running)
    assert most == 2


def test_a_grid_that_is_done_is_not_searched_again(grid, capsys):
    tuner, _ = grid
    again = kt.GridSearch(
        tuner.hypermodel, seed=1, directory=tuner.directory, project_name=tuner.project_name
    )
    again.search()
    assert "all 12 trials are done" in capsys.readouterr().out
    assert again.remaining_trials is None


def test_the_run_file_names_what_proposed(grid):
    plan = json.loads(Path(grid[0].project_dir, "run.json").read_text())["plan"]
    assert (plan["algorithm"], plan["scheduler"], plan["trials"]) == (
        "keras-tuner GridSearch", "asha", None,
    )  # fmt: skip


FIRST_LINES = {
    "RandomSearch": "keras-tuner RandomSearch; ASHA stops weak trials early (scheduler=None turns it off)",
    "Hyperband": "keras-tuner Hyperband, which stops weak trials early by itself",
}


@pytest.mark.parametrize("name", FIRST_LINES)
def test_the_first_line_says_what_proposes_and_what_stops_trials(
    running_ray, tmp_path, capsys, name
):
    size = {"max_epochs": 2, "factor": 2} if name == "Hyperband" else {"max_trials": 1}
    tuner = getattr(kt, name)(
        problems.small, "val_accuracy", seed=1, directory=tmp_path, project_name="run", **size
    )
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=1)
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("starting:")]
    assert line.startswith(f"starting: {FIRST_LINES[name]}; maximizing val_accuracy; trials")


def test_without_a_scheduler_no_trial_is_stopped(running_ray, tmp_path, capsys):
    tuner = kt.RandomSearch(
        problems.small, "val_accuracy", 1, 1, scheduler=None, directory=tmp_path, project_name="run"
    )
    tuner.search(*TRAIN, validation_data=VALIDATION, epochs=1)
    output = capsys.readouterr().out
    assert "starting: keras-tuner RandomSearch; no trial is stopped early; maximizing" in output


def test_a_script_raises_max_trials_and_searches_again(running_ray, tmp_path):
    hypermodel = scenarios.OwnScore(in_twelve_configurations)
    tuner = kt.RandomSearch(hypermodel, max_trials=1, seed=1, directory=tmp_path)
    tuner.search(verbose=0)
    tuner.oracle.max_trials = 3
    tuner.search(verbose=0)
    assert [event["trial"] for event in events(tuner, "trial_started")] == [0, 1, 2]
    assert len(tuner.oracle.trials) == 3
