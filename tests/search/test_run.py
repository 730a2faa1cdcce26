"""Real searches by the real command: real Ray workers, real TensorFlow.

One is a process of its own, as a user starts it; the others run in this process, on one Ray.
"""

import json
import os
import re
import subprocess

import pyarrow.parquet as pq
import pytest
from in_process import fmnist_search

from results.record.journal import read


def events(run, kind):
    return [event for event in read(run / "journal.jsonl").events if event["event"] == kind]


def rows(run, table="trials"):
    return pq.read_table(run / f"{table}.parquet").to_pylist()


def small(name, *options, data="blobs", workers=1):
    """Options for a small problem; one worker trains one trial after the other."""
    problem = ["--hypermodel", f"problems:{name}", "--data", f"problems:{data}"]
    return [*problem, "--workers", workers, *options]


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
    trials, epochs = rows(run), rows(run, "epochs")
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


def test_trials_take_the_fast_path(real_run):
    run, _ = real_run
    assert {trial["path"] for trial in rows(run)} == {"fast"}


def test_the_laps_of_a_worker_leave_no_time_out(real_run):
    run, _ = real_run
    by_worker = {}
    for epoch in events(run, "epoch"):
        by_worker.setdefault(epoch["worker"], []).append(epoch)
    for reports in by_worker.values():
        # Two clocks: the laps are the worker's, the times of the reports are the driver's.
        laps = sum(sum(report["laps"].values()) for report in reports[1:])
        seconds = reports[-1]["at_seconds"] - reports[0]["at_seconds"]
        assert laps == pytest.approx(seconds, rel=0.1, abs=2.0)


def test_the_command_timing_names_what_workers_do(real_run, commands):
    run, _ = real_run
    shown = subprocess.run(
        [commands / "fmnist-results", "timing", run, "--format", "json"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    seconds = json.loads(shown)
    for name in ("before", "start", "import", "build", "compile", "train", "validate"):
        assert seconds[name] > 0, name


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


@pytest.fixture(scope="module")
def mixed_ends(running_ray, notes_folder, tmp_path_factory):
    """A search whose trials complete, fail and diverge."""
    folder = tmp_path_factory.mktemp("mixed ends")
    done = fmnist_search(
        folder, "run",
        *small("mixed_ends", "--trials", 9, "--algorithm", "random", "--seed", 1, data="named_blobs", workers=2),
        "--epochs", 3, "--grace-period", 3, "--retrain-epochs", 2, "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    return folder / "run"


def test_trials_end_in_named_states_and_none_ends_the_search(mixed_ends):
    ends = {"good": "completed", "bad": "failed", "nan": "diverged"}
    trials = rows(mixed_ends)
    assert {trial["hp:end"] for trial in trials} == set(ends)
    for trial in trials:
        assert trial["state"] == ends[trial["hp:end"]]
        assert (trial["error"] is not None) == (trial["state"] != "completed")
        if trial["state"] == "diverged":
            assert trial["error"] == "loss not finite in epoch 1"


def test_the_evaluation_has_the_class_names_of_the_data(mixed_ends):
    evaluation = json.loads((mixed_ends / "final" / "evaluation.json").read_text())
    assert [row["name"] for row in evaluation["per_class"]] == ["red", "green", "blue"]


def test_splits_of_any_kind_are_searched_and_evaluated(here, tmp_path):
    done = here(
        "run", *small("of_mixed_blobs", "--trials", 1, data="mixed_blobs"),
        "--epochs", 1, "--retrain-epochs", 1, "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    [trial] = rows(tmp_path / "run")
    assert (trial["state"], trial["path"]) == ("completed", "keras")
    asked = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {part["argument"]: part["way"] for part in asked["data"]} == {
        "train[0]['sparse']": "shared arrays", "train[0]['table']": "shared arrays",
        "train[0]['text']": "pickled", "train[1]": "shared arrays",
        "validation[0]": "made anew in the worker", "test[0]": "pickled",
    }  # fmt: skip
    evaluation = json.loads((tmp_path / "run" / "final" / "evaluation.json").read_text())
    supports = [sum(row) for row in evaluation["confusion_matrix"]]
    assert supports == [row["support"] for row in evaluation["per_class"]]
    assert sum(supports) == 60
    assert [row["name"] for row in evaluation["per_class"]] == ["red", "green", "blue"]


@pytest.mark.long
def test_splits_of_any_kind_are_known_again_and_serve_all_that_follows(here, tmp_path):
    problem = small("of_mixed_blobs", data="mixed_blobs")
    options = ["--trials", 1, "--epochs", 2, "--grace-period", 2, "--retrain-epochs", "none"]
    for words in (
        ["run", *problem, *options, "--out", "run"],
        ["resume", "run", "--trials", 2],
        ["replay", "run", 0],
        ["confirm", "run", "--top", 1, "--seeds", 2, "--retrain-epochs", 2],
        ["run", *problem, *options, "--engine", "keras-tuner", "--tuner", "random", "--out", "kt"],
    ):
        done = here(*words)
        assert done.status == 0, (words, done)
        assert words[0] != "replay" or "bit for bit" in done.output
    assert len(rows(tmp_path / "run")) == 2


def test_the_same_seed_and_number_draw_the_same_and_train_to_the_same_bits(
    mixed_ends, here, tmp_path
):
    done = here(
        "run", *small("mixed_ends", "--trials", 3, "--algorithm", "random", "--seed", 1, data="named_blobs"),
        "--epochs", 3, "--grace-period", 3, "--retrain-epochs", "none", "--out", "again",
    )  # fmt: skip
    assert done.status == 0, done
    first, second = (
        {
            (epoch["trial"], epoch["epoch"]): epoch["metrics"]
            for epoch in events(run, "epoch")
            if epoch["trial"] < 3
        }
        for run in (mixed_ends, tmp_path / "again")
    )
    assert len(first) > 0
    assert first == second


def test_what_a_builder_prints_is_shown_with_its_trial(here):
    done = here("run", *small("printing", "--trials", 2, "--epochs", 1), "--retrain-epochs", "none", "--out", "run")  # fmt: skip
    assert done.status == 0, done
    printed = [line for line in done.output.splitlines() if "units: 1" in line]
    assert printed == ["trial 0: units: 1", "trial 1: units: 1"]


@pytest.fixture(scope="module")
def grown(running_ray, notes_folder, tmp_path_factory):
    """A search of a builder that registers a parameter only where the network is deep."""
    folder = tmp_path_factory.mktemp("grown")
    done = fmnist_search(
        folder, "run", *small("growing", "--trials", 12, "--algorithm", "random"),
        "--epochs", 1, "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    return folder / "run"


def test_without_retraining_there_is_no_final_folder(grown):
    assert not (grown / "final").exists()


def test_a_parameter_that_some_builds_register_joins_the_space(grown):
    added = [row["name"] for event in events(grown, "space_grown") for row in event["parameters"]]
    # Layers are drawn from 1 to 3: both are met in 11 draws with p > 0.98, here by the seed.
    assert sorted(added) == ["units_1", "units_2"]


def test_a_trial_has_the_parameters_that_its_build_registers(grown):
    for trial in rows(grown):
        active = {name for name, value in trial.items() if name.startswith("hp:units_") and value}
        assert active == {f"hp:units_{number}" for number in range(trial["hp:layers"])}


def test_a_new_parameter_takes_its_default_first_and_is_searched_then(grown):
    values = [trial["hp:units_1"] for trial in rows(grown) if trial["hp:units_1"] is not None]
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
    done = subprocess.run(
        [
            commands / "fmnist-search", "run", "--hypermodel", "my_models:build_model",
            "--data", "my_models:load", "--workers", "2", "--objective", "val_loss", "--target", "3.0",
            "--epochs", "30", "--retrain-epochs", "1", "--out", "run",
        ],
        cwd=tmp_path, text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search ended (target reached)" in done.stdout
    # By one process, into shared memory, for both workers and the retraining.
    assert (tmp_path / "loads.txt").read_text().count("\n") == 1
    epochs = events(tmp_path / "run", "epoch")
    assert min(epoch["metrics"]["val_loss"] for epoch in epochs) <= 3.0
    assert "test_accuracy" not in json.loads(
        (tmp_path / "run" / "final" / "evaluation.json").read_text()
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            small("raising"),
            r"error: --hypermodel 'problems:raising': the builder raised ValueError: units may not be 1",
        ),
        (
            small("small", "--objective", "val_acc"),
            r"error: objective 'val_acc' is not reported by any epoch.*Did you mean 'val_accuracy'\?",
        ),
        (small("failing_in_fit"), r"error: The first \d trials all failed: ValueError"),
        (
            small("small", data="broken_data"),
            r"error: --data 'problems:broken_data': FileNotFoundError: the disk with the data",
        ),
    ],
    ids=["builder", "objective", "every-fit", "data"],
)
def test_a_problem_that_cannot_be_searched_ends_with_one_error(here, tmp_path, options, expected):
    done = here("run", *options, "--out", "run")
    assert done.status in (1, 2)
    assert re.match(expected, done.errors), done
    assert len(done.errors.splitlines()) == 1
    assert not (tmp_path / "run").exists()  # nothing was trained: the name is free again


def test_a_disk_that_fills_up_costs_nothing_that_was_recorded(here, notes, tmp_path, mount_disk):
    disk = mount_disk(tmp_path / "disk", "600m")
    (notes / "disk").write_text(str(disk))
    run = disk / "run"
    done = here(
        "run", *small("filling", "--trials", 2, "--epochs", 6, "--retrain-epochs", 1), "--out", run
    )
    assert done.status == 2, done
    assert re.match(
        r"error: .* cannot be written \((No space left on device|only \d+ of \d+ bytes were "
        r"written)\).*Free disk space",
        done.errors,
    ), done
    assert len(done.errors.splitlines()) == 1
    recorded = len(events(run, "epoch"))
    assert recorded >= 3
    assert read(run / "journal.jsonl").damaged_lines == ()
    (disk / "filler").unlink()
    done = here("resume", run)
    assert done.status == 0, done
    assert len(rows(run, "epochs")) > recorded
    states = [trial["state"] for trial in rows(run)]
    assert set(states) <= {"completed", "stopped"}  # no trial failed for the disk
    assert len(states) == 2


@pytest.fixture
def interrupted(here, notes, tmp_path):
    """A search that Ctrl-C has ended, and what it printed."""
    (notes / "driver").write_text(str(os.getpid()))
    done = here(
        "run", *small("interrupting", "--trials", 2, "--epochs", 6, "--retrain-epochs", 1), "--out", "run"
    )  # fmt: skip
    return tmp_path / "run", done


def test_ctrl_c_keeps_what_was_trained_and_resume_continues_it(interrupted, here):
    run, done = interrupted
    assert done.status == 130, done
    assert done.errors == ""
    assert "search ended (interrupted)" in done.output
    assert "to continue: fmnist-search resume run" in done.output
    assert "interrupted" in {trial["state"] for trial in rows(run)}
    assert sum(trial["epochs"] for trial in rows(run)) >= 3

    done = here("resume", "run")
    assert done.status == 0, done
    assert "resumed; ended trials: 0; continuing: trial 0 (after epoch " in done.output
    assert {trial["state"] for trial in rows(run)} <= {"completed", "stopped"}
    assert len(rows(run)) == 2
    assert (run / "final" / "evaluation.json").exists()


@pytest.mark.long  # in the short tier it continues from its state
def test_a_trial_whose_process_dies_is_started_again(here, notes, tmp_path):
    done = here(
        "run", *small("dying_once", "--trials", 4, "--epochs", 3, "--grace-period", 3),
        "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    assert (notes / "died").exists()
    trials = rows(tmp_path / "run")
    assert [trial["state"] for trial in trials] == ["completed"] * 4
    assert [trial["epochs"] for trial in trials] == [3] * 4
    assert sorted(trial["attempt"] for trial in trials) == [1, 1, 1, 2]


def test_a_trial_whose_process_dies_continues_from_its_newest_state(here, notes, tmp_path):
    done = here(
        "run", "--hypermodel", "interrupted:Interrupted", "--data", "problems:blobs", "--workers", 1,
        "--trials", 2, "--epochs", 4, "--grace-period", 4, "--checkpoint-seconds", 0,
        "--algorithm", "random", "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    assert (notes / "died").exists()
    trial = rows(tmp_path / "run")[1]
    assert (trial["state"], trial["attempt"], trial["continued_from"]) == ("completed", 2, 2)
    epochs = [event for event in events(tmp_path / "run", "epoch") if event["trial"] == 1]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]  # none is trained twice
    assert len({epoch["worker"] for epoch in epochs}) == 2
    assert not list((tmp_path / "run" / "checkpoints").glob("*state*"))


def test_every_speed_up_can_be_switched_off(here, tmp_path):
    done = here(
        "run", *small("small", "--trials", 2, "--epochs", 2, "--grace-period", 2),
        "--no-fast-epoch", "--no-reuse-workers", "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    trials = rows(tmp_path / "run")
    assert {(trial["path"], trial["path_reason"]) for trial in trials} == {
        ("keras", "switched off")
    }
    assert len({trial["worker"] for trial in trials}) == 2


@pytest.mark.parametrize(
    "tuner",
    [
        "random",
        *(
            pytest.param(tuner, marks=pytest.mark.long)
            for tuner in ("bayesian", "grid", "hyperband")
        ),
    ],
)
def test_the_keras_tuner_engine_writes_the_same_run_folder(here, tmp_path, tuner):
    done = here(
        "run", *small("in_scopes", "--engine", "keras-tuner", "--tuner", tuner, "--trials", 4),
        "--epochs", 4, "--retrain-epochs", "1" if tuner == "random" else "none", "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    assert done.errors == ""
    run = tmp_path / "run"
    trials = rows(run)
    assert len(trials) == 4
    assert {trial["state"] for trial in trials} == {"completed"}
    assert all(trial["hp:head/units"] in range(2, 9) for trial in trials)
    assert all((trial.get("hp:scale") is None) == (trial["hp:kind"] == "plain") for trial in trials)
    plan = json.loads((run / "run.json").read_text())["plan"]
    assert (plan["engine"], plan["algorithm"]) == ("keras-tuner", tuner)
    best = json.loads((run / "best.json").read_text())
    assert best["value"] == max(trial["best_objective"] for trial in trials)
    assert (run / "final").exists() == (tuner == "random")
