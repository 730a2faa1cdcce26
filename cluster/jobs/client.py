"""Submits, follows, stops and lists searches that run as jobs of a Ray cluster."""

import asyncio
import datetime
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.jobs.package import (
    entry_point,
    environment,
    prepare_process,
    size_problem,
    unique_name,
)
from cluster.jobs.routes import Route, route_to
from cluster.onprem.config import TOKEN

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}
POLL_SECONDS = 1.0
INTERRUPTED_STATUS = 130
# A shell adds the signal's number to this for the status of a process that a signal ended.
SIGNAL_STATUS = 128
# Key of the submitted command in a job's metadata.
COMMAND_KEY = "fmnist-search"
TOO_LARGE = "status code 413"


class ConnectionLostError(ClusterError):
    """The job server has answered before but no longer does; its jobs keep running."""


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        status: Ray's status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        since: Time of its submission, local (ISO 8601).
        command: Arguments of `fmnist-search`; of any other job, the whole command.
        exit_status: None until the job has ended; 130 if it was stopped, as after Ctrl-C.
        reason: Ray's reason why the job never started or was lost; else None.
    """

    id: str
    status: str
    since: str
    command: str
    exit_status: int | None
    reason: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, for any reason."""
        return self.exit_status is not None


@contextmanager
def job_client(address: str | None, cluster_file: Path | None) -> Iterator["JobClient"]:
    """Connect to the job server at an address, or on the head of a cluster file.

    Raises:
        ClusterError: The server cannot be reached, or rejects this user.
    """
    route = route_to(address, cluster_file)
    with route.open() as url:
        yield JobClient(url, route)


class JobClient:
    """Submits, follows, stops and lists the jobs of one job server."""

    def __init__(self, url: str, route: Route) -> None:
        self._route = route
        self._ray = _connect(url, route)

    def command_line(self, command: str, job_id: str) -> str:
        """Return the command line by which a user follows or stops a job from this machine."""
        return shlex.join(["fmnist-cluster", command, *self._route.options, job_id])

    def submit(self, arguments: Sequence[str], name: str | None, folder: Path) -> str:
        """Submit a command of ``fmnist-search``; return the job's id.

        The id is ``name``, or made from the command and the time if that is None. The job brings
        the modules of ``folder``, which take precedence over those of the machines.
        """
        if name is not None and name in {job.id for job in self.jobs()}:
            raise ClusterError(f"--name {name}: a job of this name exists: choose another.")
        job_id = name or unique_name(arguments[0])
        try:
            with _translated_errors(self._route.name):
                self._ray.submit_job(
                    entrypoint=entry_point(arguments),
                    submission_id=job_id,
                    runtime_env=environment(folder),
                    metadata={COMMAND_KEY: shlex.join(arguments)},
                )
        except ClusterError as error:
            if TOO_LARGE in str(error):
                raise ClusterError(size_problem(folder)) from error
            raise
        return job_id

    def follow(self, job_id: str, write: Callable[[str], None]) -> int:
        """Write the output of a job from its start until the job ends; return its exit status.

        Raises:
            ClusterError: There is no such job.
            ConnectionLostError: The connection was lost.
        """
        written_chars = 0
        while not (job := self.job(job_id)).has_ended:
            written_chars = asyncio.run(self._write_new(job_id, written_chars, write))
            time.sleep(POLL_SECONDS)
        output = self._output(job_id)
        write(output[written_chars:] or (f"{job.reason}\n" if job.reason and not output else ""))
        return job.exit_status or 0

    def stop(self, job_id: str, say: Callable[[str], None]) -> None:
        """Stop a job as Ctrl-C stops a search; wait for its end and say what it prints until then.

        Raises:
            ClusterError: There is no such job.
        """
        if self.job(job_id).has_ended:
            say(f"job {job_id} has already ended")
            return
        old_chars = len(self._output(job_id))
        say(f"stopping job {job_id}; its run is kept")
        while not self.job(job_id).has_ended:
            # Repeated, since Ray ignores it before the job has started.
            with _translated_errors(self._route.name):
                self._ray.stop_job(job_id)
            time.sleep(POLL_SECONDS)
        say(self._output(job_id)[old_chars:].rstrip("\n"))

    def jobs(self) -> list[Job]:
        """Return the submitted jobs, newest last."""
        with _translated_errors(self._route.name):
            details = self._ray.list_jobs()
        submitted = [job for job in details if job.submission_id]  # the others are plain drivers
        return [_job(job) for job in sorted(submitted, key=lambda job: job.start_time or 0)]

    def job(self, job_id: str) -> Job:
        """Return the job with an id.

        Raises:
            ClusterError: There is no such job.
        """
        jobs = {job.id: job for job in self.jobs()}
        if not jobs:
            raise ClusterError(f"{job_id}: no such job: this cluster has none. Submit one first.")
        if job_id not in jobs:
            raise ClusterError(f"{job_id}: no such job: expected one of {', '.join(jobs)}.")
        return jobs[job_id]

    async def _write_new(
        self, job_id: str, written_chars: int, write: Callable[[str], None]
    ) -> int:
        """Write the output after ``written_chars`` characters; return how many are written then."""
        position = 0
        async for text in self._output_parts(job_id):
            if position + len(text) > written_chars:
                write(text[max(0, written_chars - position) :])
            position += len(text)
        return max(position, written_chars)

    async def _output_parts(self, job_id: str) -> AsyncIterator[str]:
        import aiohttp

        try:
            async for text in self._ray.tail_job_logs(job_id):
                yield text
        except (OSError, RuntimeError, aiohttp.ClientError):
            return  # the caller checks next whether the job or the connection has ended

    def _output(self, job_id: str) -> str:
        with _translated_errors(self._route.name):
            return str(self._ray.get_job_logs(job_id))


def _job(details: Any) -> Job:
    """Convert a job from Ray's ``JobDetails``."""
    start = datetime.datetime.fromtimestamp((details.start_time or 0) / 1000).astimezone()
    return Job(
        id=details.submission_id,
        status=str(details.status.value),
        since=start.isoformat(" ", timespec="seconds"),
        command=(details.metadata or {}).get(COMMAND_KEY, details.entrypoint),
        exit_status=_exit_status(details),
        reason=details.message if _failed_without_exit_code(details) else None,
    )


def _exit_status(details: Any) -> int | None:
    if not details.status.is_terminal():
        return None
    if details.status.value == "STOPPED":
        return INTERRUPTED_STATUS
    if _failed_without_exit_code(details):
        return 1
    code = int(details.driver_exit_code)
    return code if code >= 0 else SIGNAL_STATUS - code


def _failed_without_exit_code(details: Any) -> bool:
    return bool(details.status.value == "FAILED" and details.driver_exit_code is None)


def _connect(url: str, route: Route) -> Any:
    """Return Ray's ``JobSubmissionClient`` for a job server that accepts this user's token."""
    _check_reachable(url, route)
    prepare_process()
    from ray.job_submission import JobSubmissionClient

    with _translated_errors(route.name):
        try:
            client = JobSubmissionClient(url)
            client.list_jobs()  # the line above only asks for the version, which needs no token
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if "Request failed" in str(error):
                raise
            raise _no_server(route, error) from error
    return client


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    """Turn exceptions of Ray's client into errors of one line."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"{name}: the job server rejects this user: expected the cluster's token in {TOKEN} "
            "(or RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token. Copy the token from the machine that "
            "started the cluster."
        ) from error
    except OSError as error:  # the base class of all errors of requests
        raise ConnectionLostError(f"{name}: the job server no longer answers.") from error
    except RuntimeError as error:
        raise ClusterError(f"{name}: the job server refused: {_first_line(error)}") from error


def _check_reachable(url: str, route: Route) -> None:
    # Ray's client has no timeout of its own: it waits for minutes.
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_server(route, error) from error


def _no_server(route: Route, error: Exception) -> ClusterError:
    message = (
        f"{route.name}: no job server answers ({_first_line(error)}): expected the one that Ray "
        f"with ray[default] starts on its head, by default on port 8265. {route.advice}"
    )
    return ClusterError(message.rstrip())


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
