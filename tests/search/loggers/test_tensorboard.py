"""The log for TensorBoard, read back by TensorBoard's own reader and server."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from in_process import fmnist_search

from results.record.columns import Decision, Ending, State
from results.record.files import read_json
from results.record.history import History, Objective
from results.record.journal import Journal, read
from results.record.tables import rebuild
from search.cli import app
from search.errors import RunFolderError, UsageError
from search.loggers.tensorboard import TensorBoardLog
from search.plan.registry import Log
from search.run import resume_run
from search.session.changes import Changes
from search.session.origin import ResumedRun, read_previous_run
from search.session.run_file import RecordedRun
from search.session.session import DeferredSession
from search.storage.folder import RunFolder, locked_run
from search.storage.recorder import Recorder
from search.view.view import SilentView

ACCURACY = Objective("val_accuracy", "max")
ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
FIRST_DAY, SECOND_DAY = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


def seconds_of(day):
    return datetime.fromisoformat(day).astimezone(UTC).timestamp()


@dataclass
class Shown:
    """What TensorBoard shows of a trial: by tag (step, value), by tag wall times, its row."""

    scalars: dict
    wall_times: dict
    hparams: dict
    status: str | None
    seconds: tuple


def shown(run, trial):
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.plugins.hparams import api_pb2, metadata

    place = run / "tensorboard" / f"trial-{trial:05d}"
    assert len([path for path in place.iterdir() if "tfevents" in path.name]) == 1
    read_back = event_accumulator.EventAccumulator(
        str(place), size_guidance={event_accumulator.SCALARS: 0}
    ).Reload()
    events = {tag: read_back.Scalars(tag) for tag in read_back.Tags()["scalars"]}
    hparams, status, seconds = {}, None, ()
    try:
        content = read_back.PluginTagToContent("hparams")
    except KeyError:  # a trial that runs has no row yet
        content = None
    if content is not None:
        start = metadata.parse_session_start_info_plugin_data(
            content[metadata.SESSION_START_INFO_TAG]
        )
        end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
        hparams = {
            name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()
        }
        status = api_pb2.Status.Name(end.status)
        seconds = start.start_time_secs, end.end_time_secs
    return Shown(
        scalars={tag: [(one.step, one.value) for one in events[tag]] for tag in events},
        wall_times={tag: [one.wall_time for one in events[tag]] for tag in events},
        hparams=hparams,
        status=status,
        seconds=seconds,
    )


def float32(value):
    return float(np.float32(value))


def assert_it_shows_the_tables_of(run):
    """Compare every scalar with epochs.parquet, and every row of values with trials.parquet."""
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    epochs = pq.read_table(run / "epochs.parquet").to_pylist()
    folders = {path.name for path in (run / "tensorboard").iterdir()}
    assert folders == {f"trial-{trial['trial']:05d}" for trial in trials}
    for trial in trials:
        scalars = {}
        for epoch in (one for one in epochs if one["trial"] == trial["trial"]):
            for column, value in epoch.items():
                if column.startswith("metric:") and value is not None and epoch["execution"] == 0:
                    scalars.setdefault(column.removeprefix("metric:"), []).append(
                        (epoch["epoch"], float32(value))
                    )
        if trial["best_objective"] is not None:
            last_epoch = max(one["epoch"] for one in epochs if one["trial"] == trial["trial"])
            best = trial["best_epoch"] or last_epoch, float32(trial["best_objective"])
            scalars["hparam/best_val_accuracy"] = [best]
        values = {
            column.removeprefix("hp:"): value
            for column, value in trial.items()
            if column.startswith("hp:") and value is not None
        }
        log = shown(run, trial["trial"])
        assert log.scalars == scalars
        ending = Ending.read(trial["state"], trial["scheduler"])
        assert log.hparams == values | {"trial state": str(ending)}
        for name, value in values.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            assert type(log.hparams[name]) is (float if is_number else type(value))


class Search:
    """A run whose events a test records: a real recorder, journal, history and log."""

    def __init__(self, path):
        self.folder = RunFolder.create(path)
        self.history = History(ACCURACY)
        self.now = 10.0
        self.lines = []
        self.log = TensorBoardLog(self.folder, self.history, self.lines.append)
        self.recorder = Recorder(
            Journal(self.folder.journal_file),
            self.history,
            [self.log],
            clock=lambda: self.now,
            scheduler="asha",
        )
        self.recorder.search_started(run={"started_at": FIRST_DAY})

    def epoch(self, trial, epoch, value, **more):
        self.now += 1.0
        report = {"epoch": epoch, "epoch_seconds": 1.0, "metrics": {"val_accuracy": value}} | more
        self.recorder.epoch(trial, report, decision=Decision.CONTINUE, worker="w")

    def epochs(self, trial, first, last, offset=0.0):
        for epoch in range(first, last + 1):
            self.epoch(trial, epoch, offset + epoch / 10)

    def shown(self, trial):
        return shown(self.folder.path, trial)


@pytest.fixture
def search(tmp_path):
    return Search(tmp_path / "run")


def accuracies(log):
    return [(step, round(value, 6)) for step, value in log.scalars["val_accuracy"]]


# --- By the real command --------------------------------------------------------------------------


def small(problem, *options):
    named = ["--hypermodel", f"problems:{problem}", "--data", "problems:blobs", "--workers", 1]
    return [
        "run",
        *named,
        "--retrain-epochs",
        "none",
        "--log",
        "tensorboard",
        "--out",
        "run",
        *options,
    ]


@pytest.fixture(scope="module")
def logged_run(running_ray, notes_folder, tmp_path_factory):
    """A real search that was logged, then resumed with more trials; what it printed at first."""
    folder = tmp_path_factory.mktemp("logged")
    done = fmnist_search(folder, *small("mixed_ends", "--trials", 4, "--epochs", 3))
    assert done.status == 0, done
    shutil.copytree(folder / "run", folder / "first")
    resumed = fmnist_search(folder, "resume", "run", "--trials", 6)
    assert resumed.status == 0, resumed
    return folder, done.output


def test_a_real_search_is_logged_and_says_how_to_look_at_the_log(logged_run):
    folder, output = logged_run
    assert "log: tensorboard --logdir run/tensorboard" in output
    assert_it_shows_the_tables_of(folder / "first")
    assert read_json(folder / "first" / "run.json")["plan"]["log"] == "tensorboard"


def test_a_resumed_search_goes_on_with_its_log(logged_run):
    run = logged_run[0] / "run"
    assert len(list((run / "tensorboard").iterdir())) == 6
    assert_it_shows_the_tables_of(run)


def test_the_whole_log_follows_from_the_journal(logged_run, tmp_path):
    run = shutil.copytree(logged_run[0] / "run", tmp_path / "run")
    # Times of day included, to the second.
    before = {trial: shown(run, trial) for trial in range(6)}
    shutil.rmtree(run / "tensorboard")
    resume_run(run, Changes(), SilentView(None))
    assert {trial: shown(run, trial) for trial in range(6)} == before


def test_a_search_by_keras_tuner_is_logged_too(here, tmp_path):
    engine = ["--engine", "keras-tuner", "--tuner", "random", "--trials", 2, "--epochs", 2]
    done = here(*small("small", *engine))
    assert done.status == 0, done
    assert_it_shows_the_tables_of(tmp_path / "run")


def test_an_unknown_log_is_named_with_all_else_that_is_wrong():
    with pytest.raises(UsageError) as raised:
        app(["run", "--log", "tensorbord", "--trials", "0"], standalone_mode=False)
    assert str(raised.value).splitlines() == [
        f"--log 'tensorbord': expected one of {', '.join(Log)}. Did you mean 'tensorboard'?",
        "--trials 0: expected 1 or more.",
    ]
    with pytest.raises(UsageError) as raised:
        app(["resume", "nowhere", "--log", "mlfow", "--retrain-epochs", "x"], standalone_mode=False)
    first, second, third = str(raised.value).splitlines()
    assert first.startswith("--retrain-epochs 'x': expected whole numbers")
    assert second == f"--log 'mlfow': expected one of {', '.join(Log)}."
    assert third.startswith("'nowhere' does not exist: expected a folder with run.json")


# --- A run that continues -------------------------------------------------------------------------


@pytest.fixture
def former_run(tmp_path):
    """Copy a run that an earlier version wrote, which knew no log."""

    def copied(name):
        shutil.copytree(ASSETS / name, tmp_path / name)
        return tmp_path / name

    return copied


def test_a_finished_run_gets_a_log_and_keeps_it_from_then_on(former_run):
    run = former_run("finished")
    assert read_previous_run(run).plan.log is None
    resume_run(run, Changes({"log": Log.TENSORBOARD}), SilentView(None))
    assert_it_shows_the_tables_of(run)
    before = read_previous_run(ASSETS / "finished").plan
    assert read_previous_run(run).plan == replace(before, log=Log.TENSORBOARD, out=run.resolve())


def test_a_run_that_was_cut_off_gets_a_log_of_its_earlier_epochs(former_run):
    run = former_run("cut-off")
    previous = read_previous_run(run)
    plan = replace(previous.plan, log=Log.TENSORBOARD)
    with locked_run(previous.folder, print) as lock:
        deferred = DeferredSession(
            plan=plan, run=lock, origin=ResumedRun(previous), view=SilentView(None),
            clock=lambda: previous.seconds,
            data_digest=lambda: previous.description["data_digest"],
        )  # fmt: skip
        session = deferred.open(previous.space)
        unfinished = previous.history.unfinished()[0]
        reported = [epoch.epoch for epoch in unfinished.epochs]
        assert [step for step, _ in shown(run, unfinished.trial).scalars["loss"]] == reported
        session.recorder.trial_restarted(unfinished.trial)
        report = {"epoch": reported[-1], "epoch_seconds": 1.0, "metrics": {"val_accuracy": 0.5}}
        session.recorder.epoch(
            unfinished.trial, report, decision=Decision.CONTINUE, worker="another"
        )
        session.close("interrupted")
    assert_it_shows_the_tables_of(run)
    again = shown(run, unfinished.trial)
    assert again.scalars["val_accuracy"][-1] == (reported[-1], 0.5)
    assert [step for step, _ in again.scalars["loss"]] == reported[:-1]


def test_a_run_json_with_an_unknown_log_is_refused(former_run):
    run = former_run("finished")
    description = read_json(run / "run.json")
    description["plan"]["log"] = "of a newer version"
    with pytest.raises(RunFolderError, match="does not describe a search"):
        _ = RecordedRun(RunFolder(run), description, (), ()).plan


def test_the_times_of_day_are_those_of_each_session(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epoch(0, 1, 0.1)  # at 11 s, of a search that was begun on the first day at 10 s
    search.now = 100.0
    resumed = {"started_at": FIRST_DAY, "resumed": [{"started_at": SECOND_DAY}]}
    search.recorder.search_resumed(run=resumed)
    search.recorder.trial_restarted(0)
    search.epoch(0, 2, 0.2)
    search.now = 103.0
    search.recorder.trial_ended(0, State.COMPLETED)
    log = search.shown(0)
    first, second = seconds_of(FIRST_DAY), seconds_of(SECOND_DAY)
    assert log.wall_times["val_accuracy"] == [first + 1.0, second + 1.0]
    assert log.wall_times["hparam/best_val_accuracy"] == [second + 1.0]
    assert log.seconds == (first, second + 3.0)


# --- Trials with interruptions --------------------------------------------------------------------


def test_a_trial_that_continues_after_its_process_died_shows_no_epoch_twice(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 4)
    search.recorder.worker_lost(0, "killed", by_trial=True)
    search.recorder.trial_restarted(0)
    search.epochs(0, 3, 3, offset=0.5)
    assert accuracies(search.shown(0)) == [(1, 0.1), (2, 0.2), (3, 0.8)]
    search.epochs(0, 4, 5, offset=0.5)
    search.recorder.trial_ended(0, State.COMPLETED)
    log = search.shown(0)
    assert accuracies(log) == [(1, 0.1), (2, 0.2), (3, 0.8), (4, 0.9), (5, 1.0)]
    assert log.status == "STATUS_SUCCESS"


def test_a_trial_that_is_retried_shows_only_its_last_attempt(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 3)
    search.recorder.trial_retried(0, "ValueError")
    search.epochs(0, 1, 2, offset=0.3)
    assert accuracies(search.shown(0)) == [(1, 0.4), (2, 0.5)]
    search.recorder.trial_retried(0, "ValueError")
    search.recorder.trial_ended(0, State.FAILED, error="ValueError")
    log = search.shown(0)
    assert log.scalars == {}
    assert log.status == "STATUS_FAILURE"
    assert log.hparams == {"units": 8.0, "trial state": "failed"}


def test_an_interrupted_trial_that_continues_has_one_row_with_its_last_state(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 2)
    search.recorder.search_ended("time budget spent")
    assert search.shown(0).hparams["trial state"] == "interrupted"
    assert search.shown(0).status == "STATUS_UNKNOWN"
    search.recorder.trial_restarted(0)
    search.epochs(0, 3, 3)
    assert search.shown(0).hparams == {}
    search.recorder.trial_ended(0, State.STOPPED)
    log = search.shown(0)
    assert accuracies(log) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert log.hparams == {"units": 8.0, "trial state": "stopped by ASHA"}
    assert log.status == "STATUS_SUCCESS"
    assert [step for step, _ in log.scalars["hparam/best_val_accuracy"]] == [3]


def test_a_value_that_is_not_finite_is_left_out(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epoch(0, 1, 0.5, metrics={"loss": 1.5, "val_accuracy": 0.5})
    search.epoch(0, 2, None, metrics={"loss": None, "val_accuracy": 0.25})
    search.epoch(0, 3, None, metrics={"loss": None, "val_accuracy": None})
    search.recorder.trial_ended(0, State.DIVERGED, error="loss not finite in epoch 2")
    log = search.shown(0)
    assert log.scalars == {
        "loss": [(1, 1.5)],
        "val_accuracy": [(1, 0.5), (2, 0.25)],
        "hparam/best_val_accuracy": [(1, 0.5)],
    }
    assert log.status == "STATUS_FAILURE"


def test_only_the_first_execution_of_a_trial_is_logged(search):
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 2)
    for epoch in (1, 2):
        search.epoch(0, epoch, 0.75, execution=1)
    averaged = {"score": 0.5, "best_step": 1, "metrics": {"val_accuracy": 0.5}}
    search.recorder.trial_ended(0, State.COMPLETED, **averaged)
    log = search.shown(0)
    assert accuracies(log) == [(1, 0.1), (2, 0.2)]
    assert log.scalars["hparam/best_val_accuracy"] == [(2, 0.5)]


def test_a_trial_without_an_epoch_has_a_row(search):
    search.recorder.trial_started(0, {"units": 8})
    search.recorder.trial_ended(0, State.OUT_OF_MEMORY, error="too large")
    log = search.shown(0)
    assert log.scalars == {}
    assert log.hparams == {"units": 8.0, "trial state": "out of memory"}


def test_values_of_every_kind_keep_their_type_and_name(search):
    values = {
        "head/units": 8,
        "rate (log)": 1e-5,
        "is_deep": False,
        "activation": "ReLU, geglättet",
        "none": None,
        "numpy_integer": np.int64(3),
        "numpy_float": np.float32(0.5),
        "numpy_bool": np.bool_(True),
        "numpy_string": np.str_("tanh"),
    }
    started = {"event": "trial_started", "trial": 0, "values": values, "at_seconds": 1.0}
    ended = {"event": "trial_ended", "trial": 0, "state": "completed", "at_seconds": 2.0}
    for event in (started, ended):  # no journal: JSON has no numbers of numpy
        search.history.apply(event)
        search.log(event)
    expected = {
        "head/units": 8.0,
        "rate (log)": 1e-5,
        "is_deep": False,
        "activation": "ReLU, geglättet",
        "numpy_integer": 3.0,
        "numpy_float": 0.5,
        "numpy_bool": True,
        "numpy_string": "tanh",
        "trial state": "completed",
    }
    hparams = search.shown(0).hparams
    assert hparams == expected
    assert {name: type(value) for name, value in hparams.items()} == {
        name: type(value) for name, value in expected.items()
    }


# --- What the log may cost ------------------------------------------------------------------------


def test_a_log_that_cannot_be_written_costs_nothing_else_and_is_reported_once(search):
    blocked = search.log.path
    blocked.write_text("a file where the folder should be")
    for trial in range(3):
        search.recorder.trial_started(trial, {"units": trial})
        search.epochs(trial, 1, 2)
    search.recorder.trial_ended(0, State.COMPLETED)
    [line] = search.lines
    assert line.startswith(
        f"{os.path.relpath(blocked)} cannot be written (Not a directory): expected a writable folder"
    )
    assert "\n" not in line
    assert len(read(search.folder.journal_file).events) == 1 + 3 * 3 + 1
    assert blocked.read_text() == "a file where the folder should be"
    blocked.unlink()
    search.epochs(1, 3, 3)
    assert accuracies(search.shown(1)) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    search.log.write_all()
    assert search.shown(0).hparams == {"units": 0.0, "trial state": "completed"}


def test_a_full_disk_under_the_log_does_not_end_the_search(search, mount_disk):
    disk = mount_disk(search.log.path, "32k")
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 2)
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(64 * 1024))
    search.epochs(0, 3, 100)
    [line] = search.lines
    assert "cannot be written (No space left on device)" in line
    filler.unlink()
    search.epochs(0, 101, 101)
    assert [step for step, _ in search.shown(0).scalars["val_accuracy"]] == list(range(1, 102))
    assert len(search.history.trials[0].epochs) == 101


def test_file_handles_do_not_grow_with_the_trials(search):
    process = psutil.Process()
    search.recorder.trial_started(0, {"units": 8})
    search.epochs(0, 1, 1)
    before = process.num_fds()
    for trial in range(1, 60):
        search.recorder.trial_started(trial, {"units": trial})
        search.epochs(trial, 1, 2)
        assert process.num_fds() == before
        if trial % 2:
            search.recorder.trial_ended(trial, State.COMPLETED)
    assert len(list(search.log.path.iterdir())) == 60


def test_the_tables_do_not_depend_on_the_log(former_run):
    run = former_run("finished")
    rebuild(run)
    without = [(run / name).read_bytes() for name in ("trials.parquet", "epochs.parquet")]
    resume_run(run, Changes({"log": Log.TENSORBOARD}), SilentView(None))
    assert [(run / name).read_bytes() for name in ("trials.parquet", "epochs.parquet")] == without


# --- TensorBoard itself ---------------------------------------------------------------------------


class Server:
    """A real TensorBoard on this machine."""

    def __init__(self, commands, log_dir, *, loader):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        options = {"logdir": log_dir, "host": "127.0.0.1", "port": self._port}
        options |= {"reload_interval": 1, "load_fast": loader}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [commands / "tensorboard", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)

    def ask(self, path, **body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/data/plugin/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, question, is_answer):
        """Ask until the answer is there, for a minute or two."""
        for _ in range(120):
            try:
                answer = question()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                answer = None
            if answer is not None and is_answer(answer):
                return answer
            time.sleep(1.0)
        raise AssertionError(f"TensorBoard still answers {answer}")

    def steps(self, trial):
        run = f"trial-{trial:05d}"
        rows = self.ask(f"scalars/scalars?run={run}&tag=val_accuracy")
        return [(step, round(value, 6)) for _, step, value in rows]

    def rows(self):
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        groups = self.ask(
            "hparams/session_groups",
            experimentName="", allowedStatuses=statuses, colParams=[], startIndex=0, sliceSize=99,
        ).get("sessionGroups", [])  # fmt: skip
        return {group["name"]: group for group in groups}


@pytest.mark.long
@pytest.mark.parametrize("loader", ["true", "false"])
def test_an_open_tensorboard_shows_each_epoch_once_and_a_row_for_each_trial(
    commands, search, loader
):
    search.recorder.trial_started(0, {"units": 8, "activation": "relu"})
    search.recorder.trial_started(1, {"units": 9, "is_deep": True})
    search.epochs(0, 1, 4)
    search.epochs(1, 1, 2)
    with Server(commands, search.log.path, loader=loader) as server:
        tags = server.wait_for(lambda: server.ask("scalars/tags"), lambda rows: len(rows) == 2)
        assert {run: set(of) for run, of in tags.items()} == {
            "trial-00000": {"val_accuracy"},
            "trial-00001": {"val_accuracy"},
        }
        assert server.steps(0) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
        search.recorder.trial_restarted(0)
        search.epochs(0, 3, 3, offset=0.5)
        server.wait_for(
            lambda: server.steps(0), lambda rows: rows == [(1, 0.1), (2, 0.2), (3, 0.8)]
        )
        search.recorder.trial_ended(0, State.COMPLETED)
        search.recorder.trial_ended(1, State.STOPPED)
        rows = server.wait_for(server.rows, lambda rows: len(rows) == 2)
        columns = server.ask("hparams/experiment", experimentName="")
    assert {name: row["hparams"] for name, row in rows.items()} == {
        "trial-00000": {"units": 8.0, "activation": "relu", "trial state": "completed"},
        "trial-00001": {"units": 9.0, "is_deep": True, "trial state": "stopped by ASHA"},
    }
    best = {
        name: metric["value"]
        for name, row in rows.items()
        for metric in row["metricValues"]
        if metric["name"]["tag"] == "hparam/best_val_accuracy"
    }
    assert best == {"trial-00000": float32(0.8), "trial-00001": float32(0.2)}
    assert {row["sessions"][0]["status"] for row in rows.values()} == {"STATUS_SUCCESS"}
    names = {column["name"] for column in columns["hparamInfos"]}
    assert names == {"units", "activation", "is_deep", "trial state"}
