"""Searches as jobs of a Ray that runs here; what needs no Ray is in test_client.py."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest
import storm as storms
from epoch_limit import allow
from stage import ROOT, TESTS, ends, epochs, events_in

from cluster.nodes import printed_nodes
from results.record.columns import State
from results.record.history import History
from search.ray.environment import ON_LOOPBACK

# What shares the Ray runs in one process.
pytestmark = pytest.mark.xdist_group("job_server")

PATIENCE_SECONDS = 240
TOKEN = "0123456789abcdef" * 4
# In the folder that is submitted: tells from which files a worker runs.
OWN = """
from pathlib import Path
import search.worker.trial
from held import Held
with Path("~/files.txt").expanduser().open("a") as files:
    files.write(f"{__file__}\\n{search.worker.trial.__file__}\\n")
class Own(Held): pass
"""
TRIALS, EPOCHS = 2, 4
SEARCH = (
    "run", "--hypermodel", "own:Own", "--data", "problems:blobs", "--trials", str(TRIALS),
    "--epochs", str(EPOCHS), "--patience", "0", "--scheduler", "none", "--workers", "1",
    "--checkpoint-seconds", "0", "--retrain-epochs", "none", "--out", "runs/with a space",
)  # fmt: skip
RUN = "runs/with a space"
WRONG = ("run", "--space", "no such space", "--trials", "1")


@dataclass(frozen=True)
class Head:
    """A Ray with a job server, and a user of it.

    Attributes:
        process: That of ``ray start``.
        home: The user's, on this machine and that of Ray, which are one.
        port: Of Ray.
        job_port: Of the job server.
        environment: Of the user.
        commands: Folder of the console commands.
    """

    process: psutil.Process
    home: Path
    port: int
    job_port: int
    environment: dict[str, str]
    commands: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.job_port}"

    def start(self, word, *arguments, folder=None, address=None, **environment):
        """Begin a command of fmnist-cluster in a folder, by default the user's home."""
        # Of a shell in the background an ignored Ctrl-C would be inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [self.commands / "fmnist-cluster", word, "--address", address or self.url, *arguments],
            cwd=folder or self.home, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, word, *arguments, **options):
        """Run one to its end; return its status and output."""
        process = self.start(word, *arguments, **options)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, output

    def ray_job_submit(self, *arguments, folder):
        """Run Ray's own command that submits a job."""
        return subprocess.run(
            [self.commands / "ray", "job", "submit", "--address", self.url, *arguments],
            cwd=folder, env=self.environment | {"RAY_AUTH_MODE": "token"},
            capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def run_folder(self, run):
        return self.home / "fmnist-search" / run

    def events(self, run):
        return events_in(self.run_folder(run))

    def wait(self, run, is_met, process=None):
        """Wait until the events of a run meet a condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_met(self.events(run)):
            assert process is None or process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, self.run("jobs", "--json")
            time.sleep(0.1)

    def jobs(self):
        """Return what the job server lists, by the ids of the jobs."""
        status, output = self.run("jobs", "--json")
        assert status == 0, output
        return {job["id"]: job for job in json.loads(output)}

    def driver(self):
        """Return the process of the search that runs as a job."""
        for one in self.process.children(recursive=True):
            if any(word.endswith("bin/fmnist-search") for word in one.cmdline()):
                return one
        raise AssertionError("no search runs")


def free_ports(count):
    """Return different ports: each is held until all are found."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@pytest.fixture(scope="module")
def head(tmp_path_factory, commands):
    """A Ray with a job server on loopback; its user has the token."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir(mode=0o700)
    (home / ".ray" / "auth_token").write_text(TOKEN)
    # Nothing of the test's own: no token, no path to its modules.
    kept = {
        name: os.environ[name] for name in ("LANG", "TF_CPP_MIN_LOG_LEVEL") if name in os.environ
    }
    user = kept | {
        "HOME": str(home), "PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "200",
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    port, job_port, client_port = free_ports(3)
    scratch = tempfile.mkdtemp(prefix="jobs-", dir="/tmp")  # short, as a socket's path must be
    with (home / "ray.log").open("wb") as log:
        ray = subprocess.Popen(
            [
                commands / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
                f"--port={port}", f"--dashboard-port={job_port}", "--dashboard-host=127.0.0.1",
                f"--ray-client-server-port={client_port}", "--dashboard-agent-listen-port=0",
                "--num-cpus=2", "--object-store-memory=200000000", f"--temp-dir={scratch}",
            ],
            stdout=log, stderr=log, cwd=home, env=user | ON_LOOPBACK | {"RAY_AUTH_MODE": "token"},
        )  # fmt: skip
    head = Head(psutil.Process(ray.pid), home, port, job_port, user, commands)
    try:
        wait_until_up(head)
        yield head
    finally:
        processes = [*head.process.children(recursive=True), head.process]
        ray.terminate()
        ray.wait(60)
        for process in processes:
            if process.is_running():
                process.kill()
        shutil.rmtree(scratch, ignore_errors=True)


def wait_until_up(head):
    request = Request(f"{head.url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(OSError):
            urlopen(request, timeout=10).close()
            return
        assert head.process.is_running(), (head.home / "ray.log").read_text()
        assert time.monotonic() < deadline, (head.home / "ray.log").read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder from which a user submits, with a problem and a version of the program in it."""
    folder = tmp_path_factory.mktemp("project")
    for module in ("problems", "stormy", "cluster/epoch_limit", "cluster/held"):
        shutil.copy(TESTS / f"{module}.py", folder)
    (folder / "own.py").write_text(OWN)
    for room in ("search", "results", "fmnist_model"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "search" / "cli" / "__init__.py").open("a") as code:
        code.write('\nprint("driver:", __file__, flush=True)\n')
    (folder / "runs").mkdir()
    (folder / "runs" / "left.txt").write_text("here")
    return folder


# --- One job: submitted, left, stopped, resumed -------------------------------------------------


@dataclass(frozen=True)
class Command:
    """What came of a command of the user."""

    status: int
    output: str


@dataclass(frozen=True)
class LeftJob:
    """A job whose submitter left it, and which then was stopped.

    Attributes:
        submit, stop: The commands; Ctrl-C ended the first one.
        epochs_when_left, epochs_when_stopped: How many epochs the run had then.
    """

    submit: Command
    stop: Command
    epochs_when_left: int
    epochs_when_stopped: int


@pytest.fixture(scope="module")
def left_job(head, project):
    """The job ``first``: submitted, left by Ctrl-C after two epochs, stopped after three."""
    # What an earlier `fmnist-cluster up` may have left on the machines.
    installed = head.home / "fmnist-search"
    installed.mkdir(exist_ok=True)
    for module in ("own", "stormy", "problems"):
        (installed / f"{module}.py").write_text("raise RuntimeError('stale')\n")
    allow(head.home, 2)
    client = head.start("submit", "--name", "first", "--", *SEARCH, folder=project)
    head.wait(RUN, lambda events: epochs(events) == 2, client)
    client.send_signal(signal.SIGINT)
    output, _ = client.communicate(timeout=PATIENCE_SECONDS)
    left = Command(client.returncode, output)
    seen = epochs(head.events(RUN))
    allow(head.home, 3)
    head.wait(RUN, lambda events: epochs(events) == 3)
    stop = Command(*head.run("stop", "first"))
    return LeftJob(left, stop, seen, epochs(head.events(RUN)))


def test_a_submitted_job_says_its_name_and_is_followed(left_job, head):
    lines = left_job.submit.output.splitlines()
    assert lines[:3] == [
        "job: first",
        f"to follow it: fmnist-cluster follow --address {head.url} first",
        f"to stop it: fmnist-cluster stop --address {head.url} first",
    ]
    assert [line for line in lines if line.startswith("driver: ")], "the job's own first line"


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(left_job, head):
    assert left_job.submit.status == 130
    assert left_job.submit.output.endswith(
        "\njob first keeps running\n"
        f"to follow it: fmnist-cluster follow --address {head.url} first\n"
        f"to stop it: fmnist-cluster stop --address {head.url} first\n"
    )
    assert (left_job.epochs_when_left, left_job.epochs_when_stopped) == (2, 3)


def test_a_stopped_job_ends_its_search_as_ctrl_c_does(left_job, head):
    assert left_job.stop.status == 0, left_job.stop.output
    assert left_job.stop.output.startswith("stopping job first; its run is kept\n")
    assert "search ended (interrupted)" in left_job.stop.output
    assert ends(head.events(RUN))[0] == "interrupted"


def test_a_stopped_job_has_the_status_of_ctrl_c_and_says_how_to_continue(left_job, head):
    status, output = head.run("follow", "first")
    assert status == 130
    assert f"to continue: fmnist-search resume '{RUN}'" in output


@pytest.fixture(scope="module")
def resumed_job(head, project, left_job):
    """The job ``again``, which resumes the run of the stopped one and is followed to its end."""
    allow(head.home, None)
    return Command(*head.run("submit", "--name", "again", "--", "resume", RUN, folder=project))


@pytest.mark.long
def test_a_stopped_run_is_resumed_by_another_job(resumed_job, head):
    assert resumed_job.status == 0, resumed_job.output
    assert f"search ended (trials done): {TRIALS} trials" in resumed_job.output
    assert ends(head.events(RUN)) == ["interrupted", "trials done"]


@pytest.mark.long
def test_a_resumed_run_has_every_epoch_of_every_trial_once(resumed_job, head):
    history = History.replay(storms.OBJECTIVE, head.events(RUN))
    assert {trial.state for trial in history.trials.values()} == {State.COMPLETED}
    trained = [[epoch.epoch for epoch in trial.epochs] for trial in history.trials.values()]
    assert trained == [[*range(1, EPOCHS + 1)]] * TRIALS


@pytest.mark.long
def test_a_job_runs_the_code_that_was_submitted(left_job, resumed_job, head):
    for output in (left_job.submit.output, resumed_job.output):
        [driver] = [line for line in output.splitlines() if line.startswith("driver: ")]
        assert "/working_dir_files/" in driver
    files = (head.home / "files.txt").read_text().splitlines()
    assert {Path(file).name for file in files} == {"own.py", "trial.py"}
    assert all("/runtime_resources/" in file for file in files)


def test_the_run_of_a_job_stays_on_the_head_and_those_of_the_submitter_stay_here(left_job, head):
    assert (head.run_folder(RUN) / "run.json").exists()
    assert not (head.home / "fmnist-search" / "runs" / "left.txt").exists()


@pytest.mark.long
def test_jobs_are_listed_with_their_states_and_commands(resumed_job, head):
    jobs = head.jobs()
    assert [(job["status"], job["exit_status"]) for job in jobs.values()] == [
        ("STOPPED", 130), ("SUCCEEDED", 0)
    ]  # fmt: skip
    assert shlex.split(jobs["first"]["command"]) == list(SEARCH)


# --- The cluster and its users ------------------------------------------------------------------


def test_the_nodes_of_a_running_cluster_are_listed(head):
    status, output = head.run(
        "nodes", "--json", address=f"127.0.0.1:{head.port}", RAY_AUTH_MODE="token"
    )
    assert status == 0, output
    [node] = printed_nodes(output)  # Ray may print warnings too
    assert (node.address, node.cpus, node.gpus) == ("127.0.0.1", 2, 0)
    assert node.memory_gib > 0


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"RAY_AUTH_TOKEN": "fedcba9876543210" * 4}, id="wrong"),
        pytest.param({"HOME": "/nonexistent"}, id="none", marks=pytest.mark.long),
        pytest.param(
            {"HOME": "/nonexistent", "RAY_AUTH_MODE": "token"}, id="none but asked for",
            marks=pytest.mark.long,
        ),
        pytest.param({"RAY_AUTH_MODE": "disabled"}, id="not used", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_user_without_the_token_is_rejected_in_one_line(head, environment):
    status, output = head.run("jobs", **environment)
    assert status == 2
    [line] = output.splitlines()
    assert line.startswith(
        f"error: --address {head.url}: the job server rejects this user: expected the cluster's "
        "token in"
    )


# --- More jobs ----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_status_of_a_failure_is_passed_on(head, project):
    status, output = head.run("submit", "--name", "wrong", *WRONG, folder=project)
    assert status == 2, output
    assert "error: --space 'no such space': expected one of published, wide." in output
    followed = "".join(f"{line}\n" for line in output.splitlines()[3:])
    assert head.run("follow", "wrong") == (2, followed)
    assert head.run("stop", "wrong") == (0, "job wrong has already ended\n")
    assert head.jobs()["wrong"]["status"] == "FAILED"


@pytest.mark.long
def test_a_job_retrains_on_a_ray_of_its_own(resumed_job, head, project):
    # The Ray of its own looks for modules in ~/fmnist-search first, unlike the Ray of the jobs.
    for module in ("own", "stormy", "problems"):
        (head.home / "fmnist-search" / f"{module}.py").unlink()
    words = ("submit", "--", "retrain", RUN, "--retrain-epochs", "1")
    status, output = head.run(*words, folder=project)
    assert status == 0, output
    assert "final model (1 epochs)" in output
    assert (head.run_folder(RUN) / "final").is_dir()


@pytest.mark.long
def test_a_search_that_cannot_end_at_once_is_waited_for(head, project):
    weather = storms.Weather(0, trials=20, epochs=6)
    words = ("run", *storms.asked(weather), "--out", "runs/slow")
    head.run("submit", "--no-wait", "--name", "slow", "--", *words, folder=project)
    head.wait("runs/slow", lambda events: epochs(events) >= 2)
    driver = head.driver()
    driver.suspend()
    stopping = head.start("stop", "slow")
    assert "stopping job slow" in stopping.stdout.readline()
    time.sleep(6)  # Ray itself would wait for three seconds
    assert driver.status() == psutil.STATUS_STOPPED
    driver.resume()
    output, _ = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 0, output
    assert "search ended (interrupted)" in output
    assert ends(head.events("runs/slow")) == ["interrupted"]


@pytest.mark.long
def test_a_job_outlives_a_killed_client_and_a_lost_connection(head, project):
    weather = storms.Weather(0, trials=8, epochs=6)
    words = ("submit", "--name", "long", "--", "run", *storms.asked(weather), "--out", "runs/long")
    client = head.start(*words, folder=project)
    head.wait("runs/long", lambda events: epochs(events) >= 2, client)
    client.kill()
    client.communicate(timeout=60)
    with relayed(head.job_port) as relay:
        address = f"http://127.0.0.1:{relay.port}"
        lost = head.start("follow", "long", address=address)
        assert "Runtime env" in lost.stdout.readline()
        relay.close()
        output, _ = lost.communicate(timeout=60)
    assert lost.returncode == 255, output
    assert f"error: --address {address}: the job server no longer answers." in output
    assert "job long keeps running\nto follow it: fmnist-cluster follow --address " in output
    status, output = head.run("follow", "long")
    assert status == 0, output
    assert "search ended (trials done): 8 trials" in output


@pytest.mark.long
def test_plain_ray_job_submit_does_the_same(head, project):
    out = head.run_folder("runs/plain")
    weather = storms.Weather(0, trials=2, epochs=2)
    search = ("fmnist-search", "run", *storms.asked(weather), "--out", out)
    done = head.ray_job_submit("--working-dir", ".", "--", *search, folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ends(head.events("runs/plain")) == ["trials done"]


@pytest.mark.long
def test_a_job_that_never_started_says_why(head, project):
    environment = '{"working_dir": "gcs://_ray_pkg_0.zip"}'
    words = ("--no-wait", "--submission-id", "never", "--runtime-env-json", environment)
    submitted = head.ray_job_submit(*words, "--", "true", folder=project)
    assert submitted.returncode == 0, submitted.stderr
    status, output = head.run("follow", "never")
    assert status == 1
    assert "runtime_env" in output


@pytest.mark.long
def test_a_job_is_stopped_before_it_has_started(head, project):
    weather = storms.Weather(0, trials=40, epochs=6)
    words = ("submit", "--no-wait", "--name", "soon", "--", "run", *storms.asked(weather))
    assert head.run(*words, folder=project)[0] == 0
    status, output = head.run("stop", "soon")
    assert status == 0, output
    job = head.jobs()["soon"]
    assert (job["status"], job["exit_status"]) == ("STOPPED", 130)


@contextmanager
def relayed(port):
    """Relay a port to another one, until it is closed as a connection is lost."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()


class Relay:
    def __init__(self, target):
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for one in (self._server, *self._open):
            with suppress(OSError):  # it has ended by itself
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._target))
            self._open += [here, there]
            for pair in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source, target):
        with suppress(OSError):  # it was closed
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
