"""Trials and drivers that meet a misfortune, by the real command."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import storm as storms

from results.record.journal import read
from search.errors import RunFolderError
from search.session.origin import ResumedRun, read_previous_run
from search.session.session import DeferredSession
from search.storage.folder import locked_run
from search.view.view import SilentView

TESTS = Path(__file__).resolve().parents[1]
ASSET = TESTS / "assets" / "version-0.1.0"
CGROUP = Path("/sys/fs/cgroup/memory")
TIMEOUT_SECONDS = 300


def start(commands, folder, *arguments, **environment):
    return subprocess.Popen(
        [commands / "fmnist-search", *map(str, arguments)],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | environment,
    )  # fmt: skip


def finish(process):
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output, errors


def trials_of(run):
    return {row["trial"]: row for row in pq.read_table(run / "trials.parquet").to_pylist()}


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def limited_memory():
    """A group of processes that may take 128 MB more, or None where none can be made.

    Little, so that it is used up at once: some virtual machines get new memory slowly.
    """
    group = CGROUP / f"stormy-{secrets.token_hex(4)}"  # process ids repeat in namespaces
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    (group / "memory.limit_in_bytes").write_text(str(128 * 1024**2))
    yield group
    group.rmdir()


@pytest.fixture(scope="module")
def misfortunes(commands, tmp_path_factory, limited_memory):
    """One search whose trials hang, die, die again and eat all memory."""
    folder, notes = tmp_path_factory.mktemp("misfortunes"), tmp_path_factory.mktemp("notes")
    (notes / "group").write_text(str(limited_memory))
    process = start(
        commands, folder, "run", "--hypermodel", "stormy:Misfortunes", "--data", "problems:blobs",
        "--workers", 2, "--trials", 5, "--epochs", 3, "--algorithm", "random", "--seed", 0,
        "--scheduler", "none", "--hung-after", 20, "--retrain-epochs", "none", "--out", "run",
        NOTES=str(notes),
    )  # fmt: skip
    return folder / "run", *finish(process)


def fates(run, fate):
    return [row for row in trials_of(run).values() if row["hp:fate"] == fate]


def test_no_misfortune_ends_the_search(misfortunes):
    run, status, output, errors = misfortunes
    assert status == 0, output + errors
    assert errors == ""
    assert "search ended (trials done): 5 trials" in output
    assert "raylet" not in output
    assert {row["hp:fate"] for row in trials_of(run).values()} == {"none", "hangs", "dies", "eats"}
    assert [row["state"] for row in fates(run, "none")] == ["completed"]


def test_a_hung_trial_is_ended_and_named(misfortunes):
    run, *_ = misfortunes
    [hung] = fates(run, "hangs")
    assert hung["state"] == "hung"
    assert re.fullmatch(r"no epoch in 20 s: its process \(\S+:\d+\) was killed", hung["error"])
    assert hung["epochs"] == 1


def test_a_trial_that_ends_its_process_twice_is_lost(misfortunes):
    run, *_ = misfortunes
    for lost in fates(run, "dies"):
        assert lost["state"] == "lost"
        assert lost["error"].startswith("its process died 2 times without a new epoch")
        assert lost["attempt"] == 2


def test_a_trial_that_the_kernel_kills_for_its_memory_is_out_of_memory(misfortunes, limited_memory):
    if limited_memory is None:
        pytest.skip("no group of processes with limited memory can be made here")
    run, *_ = misfortunes
    [eater] = fates(run, "eats")
    assert eater["state"] == "out of memory", eater
    assert eater["error"] == "the operating system killed its process for lack of memory"
    # It would eat again, and is begun again only where another process ended at the same moment.
    assert eater["attempt"] <= 2


@pytest.mark.long
def test_a_trial_that_ray_kills_for_its_memory_is_out_of_memory_and_the_search_continues(
    commands, tmp_path
):
    """Ray Tune itself ends with such a process: the search goes on on a new Ray."""
    import psutil

    memory = psutil.virtual_memory()
    threshold = (memory.used + 4 * 1024**3) / memory.total
    process = start(
        commands, tmp_path, "run", "--hypermodel", "stormy:Greedy", "--data", "problems:blobs",
        "--workers", 2, "--trials", 4, "--epochs", 3, "--algorithm", "random", "--seed", 0,
        "--scheduler", "none", "--retrain-epochs", "none", "--out", "run",
        RAY_memory_usage_threshold=f"{threshold:.3f}", RAY_memory_monitor_refresh_ms="100",
    )  # fmt: skip
    status, output, errors = finish(process)
    assert status == 0, output + errors
    greedy = fates(tmp_path / "run", "grows")
    assert greedy
    assert {row["state"] for row in greedy} == {"out of memory"}
    assert all("Ray killed its process, which used" in row["error"] for row in greedy)
    assert {row["state"] for row in fates(tmp_path / "run", "none")} == {"completed"}


@pytest.mark.long
def test_a_driver_killed_while_it_retrains_continues_there_and_the_run_can_be_extended(
    commands, tmp_path
):
    steady = ["--hypermodel", "stormy:Steady", "--data", "problems:blobs", "--out", "run"]
    driver = start(
        commands, tmp_path, "run", *steady, "--workers", 1, "--trials", 1, "--epochs", 1, "--scheduler", "none",
        "--retrain-epochs", 36,
    )  # fmt: skip
    run = tmp_path / "run"

    def kept():
        from search.worker.checkpoint import read_newest

        states = [*run.glob("checkpoints/retraining-*-state.npz")]
        newest = read_newest(states[0]) if states else None
        return newest.epochs if newest else 0

    wait_until(lambda: kept() >= 10 or driver.poll() is not None)
    family = storms.psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    finish(driver)
    storms.end_those_left(family)
    status, output, errors = finish(start(commands, tmp_path, "resume", "run"))
    assert status == 0, output + errors
    assert "retraining: epoch 10 of 36" not in output  # it goes on after those that were kept
    assert "retraining: epoch 36 of 36" in output
    rows = pq.read_table(run / "final" / "history.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == list(range(1, 37))
    assert not list(run.glob("checkpoints/*state*"))
    # A finished run has nothing left to do, and is not evaluated again.
    evaluation = (run / "final" / "evaluation.json").stat().st_mtime_ns
    status, output, errors = finish(start(commands, tmp_path, "resume", "run"))
    assert status == 0, output + errors
    assert "keeping the final model: it is that of the best trial (0)" in output
    assert (run / "final" / "evaluation.json").stat().st_mtime_ns == evaluation
    # Given more, it goes on.
    status, output, errors = finish(
        start(
            commands, tmp_path, "resume", "run", "--trials", 3, "--epochs", 2, "--workers", 2,
            "--retrain-epochs", "none",
        )
    )  # fmt: skip
    assert status == 0, output + errors
    assert {row["trial"]: row["epochs"] for row in trials_of(run).values()} == {0: 1, 1: 2, 2: 2}
    asked = json.loads((run / "run.json").read_text())
    assert (asked["plan"]["trials"], asked["plan"]["problem"]["epochs"]) == (3, 2)
    assert asked["command"][1] == "run"
    assert [one["command"][1] for one in asked["resumed"]] == ["resume"]


SCRIPT = """
import sys
import keras, keras_tuner as kt
import problems, stormy
from search import RayTuner

tuner = RayTuner(
    stormy.Steady(), "val_accuracy", max_trials=4, seed=2, algorithm="random", scheduler="none",
    directory="kept", project_name="run",
)
train, validation, _ = problems.blobs()
tuner.search(*train, validation_data=validation, epochs=6)
print("best", tuner.get_best_hyperparameters()[0].values)
"""


@pytest.mark.long
def test_a_killed_script_continues_when_it_is_run_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    def begin():
        return subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        )  # fmt: skip

    run = tmp_path / "kept" / "run"

    def epochs():
        if not (run / "journal.jsonl").exists():
            return 0
        return sum(event["event"] == "epoch" for event in read(run / "journal.jsonl").events)

    script = begin()
    wait_until(lambda: epochs() >= 5 or script.poll() is not None)
    family = storms.psutil.Process(script.pid).children(recursive=True)
    script.send_signal(signal.SIGKILL)
    finish(script)
    storms.end_those_left(family)
    status, output, errors = finish(begin())
    assert status == 0, output + errors[-3000:]
    assert re.search(r"resumed; ended trials: \d; continuing: trial \d", output)
    assert "best {" in output
    events = read(run / "journal.jsonl").events
    started = [event["trial"] for event in events if event["event"] == "trial_started"]
    assert started == [0, 1, 2, 3]
    assert {row["epochs"] for row in trials_of(run).values()} == {6}


def test_a_run_with_other_data_is_refused(tmp_path):
    """The driver knows the data by the time at which it knows the space."""
    run = shutil.copytree(ASSET / "cut-off", tmp_path / "run")
    (run / "driver.lock").unlink()
    asked = (run / "run.json").read_text()
    previous = read_previous_run(run)
    with (
        locked_run(previous.folder, print) as mine,
        pytest.raises(
            RunFolderError, match=r"the data have changed since .*digest other\): expected"
        ),
    ):
        deferred = DeferredSession(
            plan=previous.plan, run=mine, origin=ResumedRun(previous), view=SilentView(None),
            clock=lambda: 0.0, data_digest=lambda: "other",
        )  # fmt: skip
        deferred.open(previous.space)
    assert (run / "run.json").read_text() == asked
