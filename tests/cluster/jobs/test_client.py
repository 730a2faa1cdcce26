"""A client of a job server: Ray's own client, and a stand-in for the server."""

import datetime
import random
import re
import shlex

import pytest
from job_server import Job, running_job_server

from cluster.errors import ClusterError
from cluster.jobs.client import ConnectionLostError, job_client


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr("cluster.jobs.client.POLL_SECONDS", 0.0)


@pytest.fixture
def client(user, job_server):
    with job_client(job_server.url, None) as connected:
        yield connected


@pytest.fixture
def folder(tmp_path):
    """A folder to submit."""
    own = tmp_path / "project"
    own.mkdir()
    (own / "own.py").write_text("class Own: pass\n")
    return own


# --- Submitting -------------------------------------------------------------------------------


def test_a_job_runs_the_command_that_was_typed(client, job_server, folder):
    assert client.submit(["run", "--out", "runs/with a space"], "wide", folder) == "wide"
    job = job_server.job("wide")
    assert job.entrypoint.endswith("exec fmnist-search run --out 'runs/with a space'")
    [listed] = client.jobs()
    assert shlex.split(listed.command) == ["run", "--out", "runs/with a space"]


def test_a_job_brings_the_files_of_the_folder_without_what_no_job_needs(client, job_server, folder):
    for name in (".git", ".venv", "runs", "build", "own.egg-info", "own/__pycache__"):
        (folder / name).mkdir(parents=True)
        (folder / name / "large").write_text("large")
    (folder / ".env").write_text("PASSWORD=secret")
    (folder / "own" / "runs").mkdir()
    (folder / "own" / "runs" / "__init__.py").touch()  # a package may have the name
    client.submit(["run"], None, folder)
    assert job_server.sent_files() == {"own.py", "own/runs/__init__.py"}
    assert job_server.jobs[0].runtime_env["working_dir"].startswith("gcs://_ray_pkg_")


def test_a_job_without_a_name_gets_one_from_its_command(client, job_server, folder):
    job_id = client.submit(["resume", "runs/a"], None, folder)
    assert re.fullmatch(r"resume-\d{8}-\d{6}-[0-9a-f]{4}", job_id)
    assert [job.id for job in job_server.jobs] == [job_id]


def test_a_name_is_taken_once(client, job_server, folder):
    client.submit(["run"], "wide", folder)
    with pytest.raises(ClusterError) as error:
        client.submit(["run"], "wide", folder)
    assert str(error.value) == "--name wide: a job of this name exists: choose another."
    assert len(job_server.jobs) == 1


def test_a_folder_that_the_server_finds_too_large_is_named_with_its_largest_parts(
    client, job_server, folder
):
    job_server.max_bytes = 1024  # a server of another version may take less than we check
    (folder / "weights.bin").write_bytes(random.Random(0).randbytes(2 * 1024**2))
    with pytest.raises(ClusterError, match=r"The largest: weights\.bin 2 MiB, own\.py 0 MiB\."):
        client.submit(["run"], None, folder)
    assert job_server.jobs == []


# --- Following --------------------------------------------------------------------------------


def followed(client, job_id):
    """Follow a job to its end; return its exit status and what was written."""
    written = []
    status = client.follow(job_id, written.append)
    return status, "".join(written)


def test_the_output_of_a_job_is_written_until_its_end(client, job_server):
    job_server.jobs.append(Job("wide", output=("trial 0\n", "trial 1\n", "ended\n")))
    assert followed(client, "wide") == (0, "trial 0\ntrial 1\nended\n")
    assert job_server.job("wide").connections == 3, "each is cut off, and another one made"


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        pytest.param(("SUCCEEDED", 0), 0, id="succeeded"),
        pytest.param(("FAILED", 2), 2, id="failed"),
        pytest.param(("FAILED", -9), 137, id="killed"),
        pytest.param(("STOPPED", None), 130, id="stopped"),
        pytest.param(("FAILED", None), 1, id="lost"),
    ],
)
def test_the_status_of_a_job_is_the_one_that_a_shell_would_give(client, job_server, ending, status):
    job_server.jobs.append(Job("wide", output=("trial 0\n",), ending=ending))
    assert followed(client, "wide") == (status, "trial 0\n")


def test_the_output_of_a_job_that_has_ended_is_written_again(client, job_server):
    job_server.jobs.append(Job("wide", output=("a", "b"), status="FAILED", exit_code=3))
    assert followed(client, "wide") == (3, "ab")


def test_the_reason_why_a_job_never_started_is_written(client, job_server):
    message = "runtime_env: no such package"
    job_server.jobs.append(Job("never", status="FAILED", message=message))
    assert followed(client, "never") == (1, f"{message}\n")


def test_the_reason_is_not_written_after_output_of_the_job(client, job_server):
    failed = Job("lost", output=("trial 0\n",), status="FAILED", message="its node is lost")
    job_server.jobs.append(failed)
    assert followed(client, "lost") == (1, "trial 0\n")


# --- Stopping ---------------------------------------------------------------------------------


def test_a_job_is_stopped_and_what_it_prints_until_then_is_said(client, job_server):
    job = Job("wide", output=("trial 0\n",), ending=("STOPPED", None))
    job_server.jobs.append(job)
    lines = []

    def say(line):
        lines.append(line)
        job.output = ("trial 0\n", "search ended (interrupted)\n")

    client.stop("wide", say)
    assert lines == ["stopping job wide; its run is kept", "search ended (interrupted)"]
    assert job.status == "STOPPED"


def test_a_job_is_stopped_again_until_it_has_ended(client, job_server):
    job = Job("soon", ending=("STOPPED", None), stops_needed=3)
    job_server.jobs.append(job)
    client.stop("soon", lambda line: None)
    assert job.stops_needed == 0


def test_a_job_that_has_ended_is_not_stopped(client, job_server):
    job_server.jobs.append(Job("wide", status="SUCCEEDED", exit_code=0))
    lines = []
    client.stop("wide", lines.append)
    assert lines == ["job wide has already ended"]
    assert job_server.job("wide").stops_needed == 1


# --- Listing ----------------------------------------------------------------------------------


def test_jobs_are_listed_by_their_time_without_drivers_that_nobody_submitted(client, job_server):
    job_server.jobs += [Job("b", start_time=5000), Job("a", start_time=9000), Job(None)]
    assert [job.id for job in client.jobs()] == ["b", "a"]


def test_a_job_has_its_local_time_its_command_and_no_exit_status_while_it_runs(client, job_server):
    job_server.jobs.append(
        Job("other", entrypoint="python script.py", start_time=1_800_000_000_500)
    )
    job = client.job("other")
    since = datetime.datetime.fromisoformat(job.since)
    assert since == datetime.datetime(2027, 1, 15, 8, 0, tzinfo=datetime.UTC)
    assert since.utcoffset() == datetime.datetime.fromtimestamp(1.8e9).astimezone().utcoffset()
    assert (job.status, job.command) == ("RUNNING", "python script.py")
    assert (job.exit_status, job.reason, job.has_ended) == (None, None, False)


@pytest.mark.parametrize("method", ["job", "follow", "stop"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("", "wide: no such job: this cluster has none. Submit one first."),
        ("ab", "wide: no such job: expected one of a, b."),
    ],
    ids=["none", "others"],
)
def test_an_unknown_job_is_named_with_those_that_exist(client, job_server, method, ids, message):
    job_server.jobs += [Job(job_id, start_time=time) for time, job_id in enumerate(ids, 1)]
    arguments = ["wide"] if method == "job" else ["wide", print]
    with pytest.raises(ClusterError) as error:
        getattr(client, method)(*arguments)
    assert str(error.value) == message


# --- Connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("has_open_version", [True, False])
@pytest.mark.parametrize("status", [401, 403])
def test_a_user_whom_the_server_rejects_is_told_where_the_token_is_expected(
    user, job_server, status, has_open_version
):
    job_server.refusal, job_server.has_open_version = status, has_open_version
    with pytest.raises(ClusterError) as error, job_client(job_server.url, None):
        pass
    [line] = str(error.value).splitlines()
    assert line.startswith(
        f"--address {job_server.url}: the job server rejects this user: expected the cluster's "
        "token in ~/.ray/auth_token (or RAY_AUTH_TOKEN)"
    )


def test_a_request_that_the_server_refuses_is_one_line(client, job_server):
    job_server.refusal = 500
    with pytest.raises(ClusterError, match="the job server refused: Request failed with") as error:
        client.jobs()
    assert len(str(error.value).splitlines()) == 1


def test_a_refusal_at_the_start_is_not_taken_for_another_kind_of_server(user, job_server):
    job_server.refusal, job_server.has_open_version = 500, True
    with (
        pytest.raises(ClusterError, match="the job server refused: Request failed with"),
        job_client(job_server.url, None),
    ):
        pass


def test_a_server_that_no_longer_answers_is_a_lost_connection(user):
    with running_job_server() as server, job_client(server.url, None) as client:
        server.jobs.append(Job("wide"))
        assert client.job("wide").status == "RUNNING"
    with pytest.raises(ConnectionLostError) as error:
        client.follow("wide", print)
    assert str(error.value) == f"--address {server.url}: the job server no longer answers."
