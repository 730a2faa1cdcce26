"""Real searches by the real command: real Ray workers, real TensorFlow."""

import json
import os
import re
import signal
import subprocess
import time

import pyarrow.parquet as pq
import pytest

from results.record.journal import read

TIMEOUT_SECONDS = 300


def start(commands, folder, *arguments, **environment):
    return subprocess.Popen(
        [commands / "fmnist-search", *(str(argument) for argument in arguments)],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | environment,
    )  # fmt: skip


def finish(process):
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output, errors


def search(commands, folder, *arguments, **environment):
    return finish(start(commands, folder, "run", *arguments, **environment))


def events(run, kind):
    return [event for event in read(run / "journal.jsonl").events if event["event"] == kind]


def small(name, *more, data="blobs", workers=1):
    """Options for a small problem; one worker, so that TensorFlow is imported once."""
    named = ["--hypermodel", f"problems:{name}", "--data", f"problems:{data}"]
    return [*named, "--workers", workers, *more]


# --- The real problem -------------------------------------------------------------------------


def test_a_real_search_makes_the_documented_run_folder(real_run):
    run, _ = real_run
    assert {path.name for path in run.iterdir()} == {
        "run.json", "journal.jsonl", "trials.parquet", "epochs.parquet", "checkpoints", "best.json",
        "final",
    }  # fmt: skip
    assert {path.name for path in (run / "final").iterdir()} >= {
        "model.keras", "history.parquet", "evaluation.json",
    }  # fmt: skip


def test_a_real_search_runs_every_trial_and_stops_some(real_run):
    run, _ = real_run
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    epochs = pq.read_table(run / "epochs.parquet").to_pylist()
    assert len(trials) == 6
    states = [trial["state"] for trial in trials]
    assert set(states) <= {"completed", "stopped"}
    assert states.count("stopped") >= 1
    for trial in trials:
        own = [epoch for epoch in epochs if epoch["trial"] == trial["trial"]]
        assert [epoch["epoch"] for epoch in own] == list(range(1, trial["epochs"] + 1))
        assert trial["best_objective"] == max(epoch["objective"] for epoch in own)
        stopped = trial["state"] == "stopped"
        assert (own[-1]["decision"] == "stop") == stopped
        assert stopped or trial["epochs"] == 3


def test_worker_processes_are_kept_warm(real_run):
    run, _ = real_run
    epochs = events(run, "epoch")
    # Six trials in two processes: neither an idle nor a stopped one is replaced.
    assert len({epoch["worker"] for epoch in epochs}) == 2


def test_trials_take_the_fast_path_and_say_where_their_time_went(real_run, commands):
    run, _ = real_run
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert {trial["path"] for trial in trials} == {"fast"}
    shown = subprocess.run(
        [commands / "fmnist-results", "timing", run, "--format", "json"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    seconds = json.loads(shown)
    assert {"before", "start", "import", "build", "compile", "train", "validate"} <= set(seconds)
    assert all(taken >= 0 for taken in seconds.values())
    # Two workers, from the start of the program to the end of the search: nothing is left out.
    ended = max(trial["ended_seconds"] for trial in trials)
    assert sum(seconds.values()) == pytest.approx(2 * ended, rel=0.01)


def test_trials_run_side_by_side(real_run):
    run, _ = real_run
    at_once = most = 0
    for event in read(run / "journal.jsonl").events:
        at_once += {"trial_started": 1, "trial_ended": -1}.get(event["event"], 0)
        most = max(most, at_once)
    assert most == 2


def test_the_best_of_the_search_is_the_best_of_its_epochs(real_run):
    run, _ = real_run
    best = json.loads((run / "best.json").read_text())
    epochs = events(run, "epoch")
    assert best["value"] == max(epoch["metrics"]["val_accuracy"] for epoch in epochs)
    assert best["value"] > 0.8
    assert best["values"]["batch_size"] in (32, 64, 96, 128, 192, 256, 384, 512)


def test_the_final_model_is_the_one_that_was_evaluated(real_run):
    import keras
    import numpy as np

    from fmnist_model import load_data

    run, _ = real_run
    evaluation = json.loads((run / "final" / "evaluation.json").read_text())
    history = pq.read_table(run / "final" / "history.parquet").to_pylist()
    assert [(row["planned_epochs"], row["epoch"]) for row in history] == [(1, 1), (2, 1), (2, 2)]
    last = {row["planned_epochs"]: row["metric:val_accuracy"] for row in history}
    assert evaluation["epochs"] == max(last, key=lambda epochs: (last[epochs], -epochs))
    assert evaluation["validation_accuracy"] == last[evaluation["epochs"]]
    model = keras.models.load_model(run / "final" / "model.keras", compile=False)
    images, labels = load_data().test
    predicted = np.argmax(model.predict(images, batch_size=1000, verbose=0), axis=1)
    assert evaluation["test_accuracy"] == pytest.approx(np.mean(predicted == labels), abs=2e-4)
    matrix = np.array(evaluation["confusion_matrix"])
    assert matrix.shape == (10, 10)
    assert matrix.sum(axis=1).tolist() == [1000] * 10
    assert np.trace(matrix) / 10_000 == evaluation["test_accuracy"]
    assert evaluation["per_class"][9]["name"] == "Ankle boot"


def test_the_screen_is_plain_and_quiet_when_it_is_no_terminal(real_run):
    _, done = real_run
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert re.search(
        r"trial \d+ stopped by ASHA after \d epochs?, best val_accuracy 0\.\d{4}", done.stdout
    )
    assert re.search(r"final model \(\d epochs\): test_accuracy 0\.\d{4}", done.stdout)
    for noise in ("raylet", "gcs", "absl", "warning", "cuda"):
        assert noise not in done.stdout.replace("a real run", "").lower().replace("array", "")


def test_the_run_says_what_was_asked_and_with_what(real_run):
    run, _ = real_run
    asked = json.loads((run / "run.json").read_text())
    assert asked["plan"]["problem"]["hypermodel"] == "fmnist_model.mlp:Wide"
    assert asked["plan"]["trials"] == 6
    assert asked["command"][:2] == ["fmnist-search", "run"]
    assert {"tensorflow", "ray", "keras-tuner", "python"} <= set(asked["versions"])


# --- Other problems, and every way to end -----------------------------------------------------


def test_trials_end_in_named_states_and_none_ends_the_search(commands, tmp_path):
    status, output, errors = search(
        commands, tmp_path,
        *small("mixed_ends", "--trials", 9, "--algorithm", "random", "--seed", 1, data="named_blobs", workers=2),
        "--epochs", 3, "--grace-period", 3, "--retrain-epochs", 2, "--out", "run",
    )  # fmt: skip
    assert status == 0, output + errors
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    ends = {"good": "completed", "bad": "failed", "nan": "diverged"}
    assert {trial["hp:end"] for trial in trials} == set(ends)
    for trial in trials:
        assert trial["state"] == ends[trial["hp:end"]]
        assert (trial["error"] is not None) == (trial["state"] != "completed")
        if trial["state"] == "diverged":
            assert trial["error"] == "loss not finite in epoch 1"
    evaluation = json.loads((tmp_path / "run" / "final" / "evaluation.json").read_text())
    assert [row["name"] for row in evaluation["per_class"]] == ["red", "green", "blue"]
    # The same seed and number draw the same, and train to the same bits.
    status, output, errors = search(
        commands, tmp_path,
        *small("mixed_ends", "--trials", 3, "--algorithm", "random", "--seed", 1, data="named_blobs"),
        "--epochs", 3, "--grace-period", 3, "--retrain-epochs", "none", "--out", "again",
    )  # fmt: skip
    assert status == 0, output + errors
    first, again = (
        {(e["trial"], e["epoch"]): e["metrics"] for e in events(tmp_path / run, "epoch") if e["trial"] < 3}
        for run in ("run", "again")
    )  # fmt: skip
    assert first == again
    assert not (tmp_path / "again" / "final").exists()


def test_a_parameter_of_some_builds_is_searched_from_the_first_of_them_on(commands, tmp_path):
    status, output, errors = search(
        commands, tmp_path,
        *small("growing", "--trials", 12, "--algorithm", "random"),
        "--epochs", 1, "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert status == 0, output + errors
    run = tmp_path / "run"
    grown = [row["name"] for event in events(run, "space_grown") for row in event["parameters"]]
    # Layers are drawn from 1 to 3: both are met in 11 draws with p > 0.98, here by the seed.
    assert grown == ["units_1", "units_2"] or grown == ["units_2", "units_1"]
    for trial in pq.read_table(run / "trials.parquet").to_pylist():
        asked_for = {
            name for name, value in trial.items() if name.startswith("hp:units_") and value
        }
        assert asked_for == {f"hp:units_{number}" for number in range(trial["hp:layers"])}
    drawn = [trial["hp:units_1"] for trial in pq.read_table(run / "trials.parquet").to_pylist()]
    values = [value for value in drawn if value is not None]
    assert values[0] == 2  # the default, in the trial that first met it
    assert set(values) != {2}


def test_a_problem_of_the_current_folder_is_minimized_until_its_target(commands, tmp_path):
    (tmp_path / "my_models.py").write_text(
        "import pathlib, problems\n"
        "build_model = problems.regression\n"
        "def load(seed):\n"
        "    with (pathlib.Path(__file__).parent / 'loads.txt').open('a') as loads:\n"
        "        loads.write('loaded once more\\n')\n"
        "    return problems.regression_data(seed)\n"
    )
    status, output, errors = search(
        commands, tmp_path,
        "--hypermodel", "my_models:build_model", "--data", "my_models:load", "--workers", 2,
        "--objective", "val_loss", "--target", 3.0,
        "--epochs", 30, "--retrain-epochs", 1, "--out", "run",
    )  # fmt: skip
    assert status == 0, output + errors
    assert "search ended (target reached)" in output
    # By one process, into shared memory, for both workers and the retraining.
    assert (tmp_path / "loads.txt").read_text().count("\n") == 1
    epochs = events(tmp_path / "run", "epoch")
    assert min(epoch["metrics"]["val_loss"] for epoch in epochs) <= 3.0
    assert "test_accuracy" not in json.loads(
        (tmp_path / "run" / "final" / "evaluation.json").read_text()
    )


UNSEARCHABLE = {
    "builder": (
        small("raising"),
        r"error: --hypermodel 'problems:raising': the builder raised ValueError: units may not be 1",
    ),
    "objective": (
        small("small", "--objective", "val_acc"),
        r"error: objective 'val_acc' is not reported by any epoch.*Did you mean 'val_accuracy'\?",
    ),
    "every-fit": (small("failing_in_fit"), r"error: The first \d trials all failed: ValueError"),
    "data": (
        small("small", data="broken_data"),
        r"error: --data 'problems:broken_data': FileNotFoundError: the disk with the data",
    ),
}


@pytest.fixture(scope="module")
def unsearchable(commands, tmp_path_factory):
    """All of them at once: most of the time each waits for TensorFlow's import."""
    folders = {name: tmp_path_factory.mktemp(name) for name in UNSEARCHABLE}
    started = {
        name: start(commands, folders[name], "run", *arguments, "--out", "run")
        for name, (arguments, _) in UNSEARCHABLE.items()
    }
    return {name: (folders[name], *finish(process)) for name, process in started.items()}


@pytest.mark.parametrize("name", UNSEARCHABLE)
def test_a_problem_that_cannot_be_searched_ends_it_with_that_one_error(unsearchable, name):
    folder, status, output, errors = unsearchable[name]
    assert status in (1, 2)
    assert re.match(UNSEARCHABLE[name][1], errors), output + errors
    assert len(errors.splitlines()) == 1
    assert not (folder / "run").exists()  # nothing was trained: the name is free again


def wait_for_epochs(process, run, count):
    """Wait until a run has trained so many epochs, or its process has ended."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "journal.jsonl").exists() and len(events(run, "epoch")) >= count:
            return
        time.sleep(0.2)


def test_a_disk_that_fills_up_costs_nothing_that_was_recorded(commands, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here: run the tests as root, or with user namespaces")
    try:
        run = disk / "run"
        asked = small("slow", "--trials", 2, "--epochs", 6, "--retrain-epochs", 1, "--out", run)
        process = start(commands, tmp_path, "run", *asked)
        wait_for_epochs(process, run, 3)
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={disk / 'filler'}", "bs=1M"],
            capture_output=True,
            check=False,
        )
        status, output, errors = finish(process)
        assert status == 2, output + errors
        assert re.match(
            r"error: .* cannot be written \(No space left on device\).*Free disk space", errors
        ), errors
        assert len(errors.splitlines()) == 1
        recorded = len(events(run, "epoch"))
        assert recorded >= 3
        assert read(run / "journal.jsonl").damaged_lines == ()
        (disk / "filler").unlink()
        status, output, errors = finish(start(commands, tmp_path, "resume", run))
        assert status == 0, output + errors
        assert pq.read_table(run / "epochs.parquet").num_rows > recorded
        states = pq.read_table(run / "trials.parquet")["state"].to_pylist()
        assert set(states) <= {"completed", "stopped"}  # no trial failed for the disk
        assert len(states) == 2
    finally:
        # Lazily: a process of Ray that is just ending may still hold a file there.
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_ctrl_c_keeps_what_was_found_and_says_how_to_go_on(commands, tmp_path):
    asked = small("slow", "--trials", 2, "--epochs", 6, "--retrain-epochs", 1, "--out", "run")
    process = start(commands, tmp_path, "run", *asked)
    wait_for_epochs(process, tmp_path / "run", 4)
    process.send_signal(signal.SIGINT)
    status, output, errors = finish(process)
    assert status == 130, output + errors
    assert errors == ""
    assert "search ended (interrupted)" in output
    assert "to continue: fmnist-search resume run" in output
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert "interrupted" in {trial["state"] for trial in trials}
    assert sum(trial["epochs"] for trial in trials) > 3
    status, output, errors = finish(start(commands, tmp_path, "resume", "run"))
    assert status == 0, output + errors
    assert "resumed; ended trials: 0; continuing: trial 0 (after epoch " in output
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert {trial["state"] for trial in trials} <= {"completed", "stopped"}
    assert len(trials) == 2
    assert (tmp_path / "run" / "final" / "evaluation.json").exists()


def test_a_trial_whose_process_dies_is_started_again(commands, tmp_path):
    status, output, errors = search(
        commands, tmp_path,
        *small("dying_once", "--trials", 4, "--epochs", 3, "--grace-period", 3),
        "--retrain-epochs", "none", "--out", "run", DYING_MARKER=str(tmp_path / "died"),
    )  # fmt: skip
    assert status == 0, output + errors
    assert (tmp_path / "died").exists()
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert [trial["state"] for trial in trials] == ["completed"] * 4
    assert [trial["epochs"] for trial in trials] == [3] * 4
    assert sorted(trial["attempt"] for trial in trials) == [1, 1, 1, 2]


def test_a_trial_whose_process_dies_goes_on_from_its_newest_state(commands, tmp_path):
    status, output, errors = search(
        commands, tmp_path,
        "--hypermodel", "interrupted:Interrupted", "--data", "problems:blobs", "--workers", 1,
        "--trials", 2, "--epochs", 4, "--grace-period", 4, "--checkpoint-seconds", 0,
        "--algorithm", "random", "--retrain-epochs", "none", "--out", "run",
        DYING_MARKER=str(tmp_path / "died"),
    )  # fmt: skip
    assert status == 0, output + errors
    died = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()[1]
    assert (died["state"], died["attempt"], died["continued_from"]) == ("completed", 2, 2)
    told = [event for event in events(tmp_path / "run", "epoch") if event["trial"] == 1]
    assert [event["epoch"] for event in told] == [1, 2, 3, 4]  # none is trained twice
    assert len({event["worker"] for event in told}) == 2
    assert not list((tmp_path / "run" / "checkpoints").glob("*state*"))


def test_every_speed_up_can_be_switched_off(commands, tmp_path):
    status, output, errors = search(
        commands, tmp_path, *small("small", "--trials", 2, "--epochs", 2, "--grace-period", 2),
        "--no-fast-epoch", "--no-reuse-workers", "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert status == 0, output + errors
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert {(trial["path"], trial["path_reason"]) for trial in trials} == {
        ("keras", "switched off")
    }
    assert len({trial["worker"] for trial in trials}) == 2


TUNERS = ("hyperband", "bayesian", "random", "grid")


@pytest.fixture(scope="module")
def keras_tuner_runs(commands, tmp_path_factory):
    """A search by each of keras-tuner's tuners, all at once; one of them is retrained."""
    folder = tmp_path_factory.mktemp("keras-tuner")
    started = {
        tuner: start(
            commands, folder, "run",
            *small("in_scopes", "--engine", "keras-tuner", "--tuner", tuner, "--trials", 4),
            "--epochs", 4, "--retrain-epochs", "1" if tuner == "random" else "none",
            "--out", tuner,
        )
        for tuner in TUNERS
    }  # fmt: skip
    return {tuner: (folder / tuner, *finish(process)) for tuner, process in started.items()}


@pytest.mark.parametrize("tuner", TUNERS)
def test_keras_tuner_writes_the_same_run_folder(keras_tuner_runs, tuner):
    run, status, output, errors = keras_tuner_runs[tuner]
    assert status == 0, output + errors
    assert errors == ""
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert len(trials) == 4
    assert {trial["state"] for trial in trials} == {"completed"}
    assert all(trial["hp:head/units"] in range(2, 9) for trial in trials)
    assert all((trial.get("hp:scale") is None) == (trial["hp:kind"] == "plain") for trial in trials)
    asked = json.loads((run / "run.json").read_text())
    assert (asked["plan"]["engine"], asked["plan"]["algorithm"]) == ("keras-tuner", tuner)
    best = json.loads((run / "best.json").read_text())
    assert best["value"] == max(trial["best_objective"] for trial in trials)
    assert (run / "final").exists() == (tuner == "random")
