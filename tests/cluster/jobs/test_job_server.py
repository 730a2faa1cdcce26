"""Searches as jobs of a Ray that runs here: submitted, followed, stopped, gone on with."""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import storm as storms
from stage import ROOT, TESTS, epochs

from results.record.columns import State
from results.record.history import History
from results.record.journal import parse
from search.ray.environment import ON_LOOPBACK

# What shares the Ray runs in one process.
pytestmark = pytest.mark.xdist_group("job_server")

PATIENCE_SECONDS = 240
TOKEN = "0123456789abcdef" * 4
# In the folder that is submitted; tells from which files a worker runs.
OWN = """
from pathlib import Path
import search.worker.trial
from stormy import Steady
with Path("~/files.txt").expanduser().open("a") as told:
    told.write(f"{__file__}\\n{search.worker.trial.__file__}\\n")
class Own(Steady): pass
"""


@dataclass(frozen=True)
class Head:
    """A Ray with a job server, and a user of it.

    Attributes:
        process: That of ``ray start``.
        home: The user's, on this machine and that of Ray, which are one.
        port: Of the job server.
        environment: Of the user.
        commands: Folder of the console commands.
    """

    process: psutil.Process
    home: Path
    port: int
    environment: dict[str, str]
    commands: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, word, *arguments, folder, address=None, **environment):
        """Begin a command about jobs in a folder."""
        # Of a shell in the background an ignored Ctrl-C would be inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [self.commands / "fmnist-cluster", word, "--address", address or self.address, *arguments],
            cwd=folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, word, *arguments, folder, **options):
        """Run one to its end; return its status and output."""
        process = self.start(word, *arguments, folder=folder, **options)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, output

    def journal(self, run):
        return self.home / "fmnist-search" / run / "journal.jsonl"

    def events(self, run):
        path = self.journal(run)
        return parse(path.read_bytes(), path).events if path.exists() else ()

    def wait(self, run, met, process=None):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not met(self.events(run)):
            assert process is None or process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, self.run("jobs", "--json", folder=self.home)
            time.sleep(0.2)

    def driver(self):
        """Return the process of the search that runs as a job."""
        for one in self.process.children(recursive=True):
            if any(word.endswith("bin/fmnist-search") for word in one.cmdline()):
                return one
        raise AssertionError("no search runs")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


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
    port, scratch = (
        free_port(),
        tempfile.mkdtemp(prefix="jobs-", dir="/tmp"),
    )  # a socket's path is short
    with (home / "ray.log").open("wb") as log:
        ray = subprocess.Popen(
            [
                commands / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
                f"--port={free_port()}", f"--dashboard-port={port}", "--dashboard-host=127.0.0.1",
                f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0",
                "--num-cpus=2", "--object-store-memory=200000000", f"--temp-dir={scratch}",
            ],
            stdout=log, stderr=log, cwd=home, env=user | ON_LOOPBACK | {"RAY_AUTH_MODE": "token"},
        )  # fmt: skip
    found = Head(psutil.Process(ray.pid), home, port, user, commands)
    try:
        wait_until_up(found)
        yield found
    finally:
        left = [*found.process.children(recursive=True), found.process]
        ray.terminate()
        ray.wait(60)
        for one in left:
            if one.is_running():
                one.kill()
        shutil.rmtree(scratch, ignore_errors=True)


def wait_until_up(head):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while head.run("jobs", folder=head.home)[0] != 0:
        assert head.process.is_running(), (head.home / "ray.log").read_text()
        assert time.monotonic() < deadline, (head.home / "ray.log").read_text()
        time.sleep(1)


@pytest.fixture
def project(tmp_path):
    """The folder from which a user submits, with a problem in it."""
    for module in ("problems", "stormy"):
        shutil.copy(TESTS / f"{module}.py", tmp_path)
    return tmp_path


def test_a_job_is_followed_to_its_success_and_runs_what_was_submitted(head, project):
    for room in ("search", "results", "fmnist_model"):
        shutil.copytree(ROOT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (project / "search" / "cli" / "__init__.py").open("a") as code:
        code.write('\nprint("driver:", __file__, flush=True)\n')
    (project / "own.py").write_text(OWN)
    (project / "runs").mkdir()
    (project / "runs" / "left.txt").write_text("here")
    # What an earlier `fmnist-cluster up` may have left on the machines.
    for module in ("own", "stormy", "problems"):
        (head.home / "fmnist-search").mkdir(exist_ok=True)
        (head.home / "fmnist-search" / f"{module}.py").write_text("raise RuntimeError('stale')\n")
    asked = [
        "run", "--hypermodel", "own:Own", "--data", "problems:blobs", "--trials", "2", "--epochs", "1",
        "--retrain-epochs", "1", "--out", "runs/with a space",
    ]  # fmt: skip
    try:
        status, output = head.run("submit", "--name", "first", "--", *asked, folder=project)
    finally:
        for module in ("own", "stormy", "problems"):
            (head.home / "fmnist-search" / f"{module}.py").unlink()
    assert status == 0, output
    told = output.splitlines()
    assert told[0] == "job: first"
    assert told[1].endswith(f"fmnist-cluster follow --address {head.address} first")
    assert told[2].endswith(f"fmnist-cluster stop --address {head.address} first")
    assert "search ended (trials done): 2 trials" in output
    [driver] = [line for line in told if line.startswith("driver: ")]
    assert "/working_dir_files/" in driver
    files = (head.home / "files.txt").read_text().splitlines()
    assert {Path(file).name for file in files} == {"own.py", "trial.py"}
    assert all("/runtime_resources/" in file for file in files)
    # It lasts, on the head.
    assert head.events("runs/with a space")[-1]["reason"] == "trials done"
    assert head.journal("runs/with a space").with_name("final").is_dir()
    assert not (head.home / "fmnist-search" / "runs" / "left.txt").exists()
    status, output = head.run("jobs", "--json", folder=project)
    [job] = [one for one in json.loads(output) if one["id"] == "first"]
    assert (job["status"], job["exit_status"]) == ("SUCCEEDED", 0)
    assert shlex.split(job["command"]) == asked


def test_the_status_of_a_failure_is_passed_on_and_a_name_is_taken_once(head, project):
    wrong = ("run", "--space", "no such space", "--trials", "1")
    # `--` forgotten: what follows the first word is for fmnist-search all the same.
    status, output = head.run("submit", "--name", "wrong", *wrong, folder=project)
    assert status == 2, output
    assert "error: --space 'no such space': expected one of published, wide." in output
    assert head.run("follow", "wrong", folder=project) == (
        2,
        "\n".join(output.splitlines()[3:]) + "\n",
    )
    status, output = head.run("submit", "--name", "wrong", "--", *wrong, folder=project)
    assert (status, output) == (
        2,
        "error: --name wrong: a job of this name exists: choose another.\n",
    )
    status, output = head.run("stop", "wrong", folder=project)
    assert (status, output) == (0, "job wrong has already ended\n")
    status, output = head.run("jobs", folder=project)
    [line] = [line for line in output.splitlines() if line.startswith("wrong ")]
    assert "FAILED" in line
    assert line.rstrip().endswith("run --space 'no such space' --trials 1")


def test_a_job_outlives_who_submitted_it_is_stopped_cleanly_and_gone_on_with(head, project):
    weather = storms.Weather(0, trials=8, epochs=6)
    ask = ("submit", "--name", "long", "--", "run", *storms.asked(weather), "--out", "runs/long")
    client = head.start(*ask, folder=project)
    head.wait("runs/long", lambda events: epochs(events) >= 2, client)
    client.send_signal(signal.SIGINT)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 130, output
    assert (
        "job long keeps running\n"
        f"to follow it: fmnist-cluster follow --address {head.address} long\n" in output
    )
    seen = epochs(head.events("runs/long"))
    head.wait("runs/long", lambda events: epochs(events) >= seen + 2)

    # A search that cannot end at once is waited for, longer than Ray's own three seconds.
    driver = head.driver()
    driver.suspend()
    stopping = head.start("stop", "long", folder=project)
    assert "stopping job long" in stopping.stdout.readline()
    time.sleep(6)
    assert driver.status() == psutil.STATUS_STOPPED
    driver.resume()
    output, _ = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 0, output
    assert "search ended (interrupted)" in output
    last = head.events("runs/long")[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "interrupted")
    status, output = head.run("follow", "long", folder=project)
    assert status == 130
    assert "to continue: fmnist-search resume runs/long" in output

    again = ("submit", "--name", "again", "--", "resume", "runs/long")
    client = head.start(*again, folder=project)
    seen = epochs(head.events("runs/long"))
    head.wait("runs/long", lambda events: epochs(events) >= seen + 2, client)
    client.kill()
    client.communicate(timeout=60)
    with relayed(head.port) as relay:
        address = f"http://127.0.0.1:{relay.port}"
        lost = head.start("follow", "again", folder=project, address=address)
        assert "Runtime env" in lost.stdout.readline()
        relay.close()
        output, _ = lost.communicate(timeout=60)
    assert lost.returncode == 255, output
    assert "error: --address http://127.0.0.1:" in output
    assert "the job server no longer answers." in output
    assert "job again keeps running\nto follow it: fmnist-cluster follow --address " in output
    status, output = head.run("follow", "again", folder=project)
    assert status == 0, output
    assert "search ended (trials done): 8 trials" in output
    # What follows a search, in a job: on a Ray of its own.
    status, output = head.run(
        "submit", "--", "retrain", "runs/long", "--retrain-epochs", "1", folder=project
    )
    assert status == 0, output
    assert "final model (1 epochs)" in output
    history = History.replay(storms.OBJECTIVE, head.events("runs/long"))
    assert {trial.state for trial in history.trials.values()} == {State.COMPLETED}
    assert [[epoch.epoch for epoch in one.epochs] for one in history.trials.values()] == [
        [*range(1, weather.epochs + 1)]
    ] * weather.trials


@pytest.mark.long
def test_plain_ray_job_submit_does_the_same(head, project):
    out = head.home / "fmnist-search" / "runs" / "plain"
    weather = storms.Weather(0, trials=2, epochs=2)
    done = subprocess.run(
        [
            head.commands / "ray", "job", "submit", "--address", head.address, "--working-dir", ".",
            "--", "fmnist-search", "run", *storms.asked(weather), "--out", out,
        ],
        cwd=project, env=head.environment | {"RAY_AUTH_MODE": "token"},
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert head.events("runs/plain")[-1]["reason"] == "trials done"


@pytest.mark.long
def test_why_a_job_never_began_is_told_and_one_is_stopped_before_it_has(head, project):
    submitted = subprocess.run(
        [
            head.commands / "ray", "job", "submit", "--address", head.address, "--no-wait",
            "--submission-id", "never", "--runtime-env-json", '{"working_dir": "gcs://_ray_pkg_0.zip"}',
            "--", "true",
        ],
        cwd=project, env=head.environment | {"RAY_AUTH_MODE": "token"},
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    status, output = head.run("follow", "never", folder=project)
    assert status == 1
    assert "runtime_env" in output
    weather = storms.Weather(0, trials=40, epochs=6)
    ask = ("submit", "--no-wait", "--name", "soon", "--", "run", *storms.asked(weather))
    assert head.run(*ask, folder=project)[0] == 0
    status, output = head.run("stop", "soon", folder=project)
    assert status == 0, output
    status, output = head.run("jobs", "--json", folder=project)
    [job] = [one for one in json.loads(output) if one["id"] == "soon"]
    assert (job["status"], job["exit_status"]) == ("STOPPED", 130)


UNKNOWN = "the job server rejects this user: expected the cluster's token in"


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"RAY_AUTH_TOKEN": "fedcba9876543210" * 4}, id="wrong"),
        pytest.param({"HOME": "/nonexistent"}, id="none"),
        pytest.param({"HOME": "/nonexistent", "RAY_AUTH_MODE": "token"}, id="none-but-asked-for"),
        pytest.param({"RAY_AUTH_MODE": "disabled"}, id="not-used"),
    ],
)
def test_who_has_no_token_is_told_so_in_a_line(head, project, environment):
    status, output = head.run("jobs", folder=project, **environment)
    assert status == 2
    assert len(output.splitlines()) == 1
    assert output.startswith(f"error: --address {head.address}: {UNKNOWN}")


def test_a_job_that_is_not_there_is_told_with_those_that_are(head, project):
    for word in ("follow", "stop"):
        status, output = head.run(word, "nowhere", folder=project)
        assert status == 2
        assert len(output.splitlines()) == 1
        assert output.startswith("error: nowhere: no such job: expected one of ")


@contextmanager
def relayed(port):
    """A port that leads to another, until it is closed as a connection is lost."""
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
            for ends in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source, target):
        with suppress(OSError):  # it was closed
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def called(commands, *words, folder):
    """Run a command about jobs where there is no Ray; return its status and error lines."""
    done = subprocess.run(
        [commands / "fmnist-cluster", *words],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_what_is_wrong_with_a_submission_is_told_before_any_server_is_asked(commands, project):
    sparse(project / "weights.bin")
    sparse(project / "data" / "images.bin", 30 * 1024**2)
    nowhere = ("--address", "http://127.0.0.1:9")
    status, lines = called(commands, "submit", *nowhere, "--name", "a/b", "--", folder=project)
    assert status == 2
    assert lines[0].startswith("error: no command: expected one of fmnist-search after --")
    assert lines[1].startswith("error: --name 'a/b': expected letters")
    assert "150 MiB would be sent, but Ray accepts at most 100 MiB" in lines[2]
    assert "The largest: weights.bin 120 MiB, data 30 MiB, " in lines[2]
    assert f"{project / '.rayignore'} (one entry per line" in lines[2]
    assert len(lines) == 3
    (project / ".rayignore").write_text("weights.bin\n")
    status, lines = called(commands, "submit", *nowhere, "--", "run", folder=project)
    assert len(lines) == 1
    assert "127.0.0.1:9: no job server answers (" in lines[0]


LARGE = 120 * 1024**2
LEFT = (
    ".git",
    ".venv",
    ".env",
    "runs",
    "build",
    "own.egg-info",
    "own/__pycache__",
    "own/.ruff_cache",
)


def test_what_no_job_needs_stays_here_and_nothing_else(commands, project):
    for folder in LEFT:
        sparse(project / folder / "large")
    words = ("submit", "--address", "http://127.0.0.1:9", "--", "run")
    _, [line] = called(commands, *words, folder=project)
    assert "no job server answers (" in line
    sparse(project / "own" / "runs" / "large")  # which may be a package
    _, [line] = called(commands, *words, folder=project)
    assert "120 MiB would be sent" in line
    assert "The largest: own 120 MiB, " in line


def sparse(path, size_bytes=LARGE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--address", "http://127.0.0.1:9"),
            "127.0.0.1:9: no job server answers ([Errno 111]",
        ),
        (("--address", "ray://127.0.0.1:9"), "ray://127.0.0.1:9: expected the URL of a job server"),
        ((), "cluster/onprem.yaml does not exist: expected a cluster file"),
        (("--cluster-file", "mine.yaml"), "'mine.yaml' cannot be read"),
        (("--cluster-file", "a.yaml", "--address", "b:1"), "expected only one of them"),
    ],
)
def test_no_server_is_one_clear_line(commands, project, words, said):
    status, lines = called(commands, "jobs", *words, folder=project)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]


def test_a_server_of_something_else_is_one_clear_line(commands, project):
    import http.server

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
    ) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_port}"
        status, lines = called(commands, "jobs", "--address", address, folder=project)
        web.shutdown()
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"error: --address {address}: no job server answers (")


def test_debug_behind_the_dashes_is_for_the_search(commands, project):
    nowhere = ("submit", "--address", "http://127.0.0.1:9")
    assert len(called(commands, *nowhere, "--", "run", "--debug", folder=project)[1]) == 1
    _, lines = called(commands, *nowhere, "--debug", "--", "run", folder=project)
    assert lines[0].startswith("Traceback")
