"""Searches as jobs of a Ray cluster: submitted, followed, stopped and listed from anywhere."""

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
# A shell's status of a process that a signal ended is this plus the signal's number.
SIGNAL_STATUS = 128
# The key under which a job's metadata hold the command that it was submitted with.
COMMAND = "fmnist-search"
TOO_LARGE = "status code 413"


class LostError(ClusterError):
    """A job server that has answered does not any more; its jobs go on."""


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        status: Ray's word: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        since: When it was submitted, in local time (ISO 8601).
        command: The arguments of `fmnist-search`; of another job, its whole command.
        exit_status: None until it has ended; 130 if it was stopped, as after Ctrl-C.
        reason: Ray's reason why it never began or was lost; None otherwise.
    """

    id: str
    status: str
    since: str
    command: str
    exit_status: int | None
    reason: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self.exit_status is not None


@contextmanager
def job_client(address: str | None, cluster_file: Path | None) -> Iterator["JobClient"]:
    """Connect to a job server: at an address, or that of a cluster file's head.

    Raises:
        ClusterError: It cannot be reached, or does not know this user.
    """
    route = route_to(address, cluster_file)
    with route.opened() as url:
        yield JobClient(url, route)


class JobClient:
    """Submits, follows, stops and lists the jobs of one job server."""

    def __init__(self, url: str, route: Route) -> None:
        self._route = route
        self._ray = _connected(url, route)

    def command_line(self, command: str, job_id: str) -> str:
        """Return what a user types here for a command about a job."""
        return shlex.join(["fmnist-cluster", command, *self._route.options, job_id])

    def submit(self, arguments: Sequence[str], name: str | None, folder: Path) -> str:
        """Submit a command of ``fmnist-search``; return the job's id.

        The id is ``name``; None makes one of the command and the time. The modules of ``folder``
        are sent with the job, and come before those of the machines.
        """
        if name is not None and name in {job.id for job in self.jobs()}:
            raise ClusterError(f"--name {name}: there is a job of that name: choose another.")
        job_id = name or unique_name(arguments[0])
        try:
            with _translated_errors(self._route.name):
                self._ray.submit_job(
                    entrypoint=entry_point(arguments),
                    submission_id=job_id,
                    runtime_env=environment(folder),
                    metadata={COMMAND: shlex.join(arguments)},
                )
        except ClusterError as error:
            if TOO_LARGE in str(error):
                raise ClusterError(size_problem(folder)) from error
            raise
        return job_id

    def follow(self, job_id: str, write: Callable[[str], None]) -> int:
        """Write the output of a job from its beginning until it ends; return its exit status.

        Raises:
            ClusterError: There is no such job.
            LostError: The connection was lost.
        """
        written = 0
        while not (job := self.job(job_id)).has_ended:
            written = asyncio.run(self._write_new(job_id, written, write))
            time.sleep(POLL_SECONDS)
        output = self._output(job_id)
        write(output[written:] or (f"{job.reason}\n" if job.reason and not output else ""))
        return job.exit_status or 0

    def stop(self, job_id: str, say: Callable[[str], None]) -> None:
        """End a job as Ctrl-C ends a search, and say what it prints until it has ended."""
        if self.job(job_id).has_ended:
            say(f"{job_id} has ended before")
            return
        before = len(self._output(job_id))
        say(f"{job_id} is told to end, and keeps what was found")
        while not self.job(job_id).has_ended:
            # Again each time: Ray ignores it until the job has begun.
            with _translated_errors(self._route.name):
                self._ray.stop_job(job_id)
            time.sleep(POLL_SECONDS)
        say(self._output(job_id)[before:].rstrip("\n"))

    def jobs(self) -> list[Job]:
        """Return the jobs that were submitted, the newest last."""
        with _translated_errors(self._route.name):
            details = self._ray.list_jobs()
        submitted = [job for job in details if job.submission_id]  # the others are plain drivers
        return [_job(job) for job in sorted(submitted, key=lambda job: job.start_time or 0)]

    def job(self, job_id: str) -> Job:
        """Return the job of an id; raise ClusterError where there is none."""
        jobs = {job.id: job for job in self.jobs()}
        if job_id not in jobs:
            there = ", ".join(jobs) or "none"
            raise ClusterError(f"{job_id}: there is no such job. There: {there}.")
        return jobs[job_id]

    async def _write_new(self, job_id: str, written: int, write: Callable[[str], None]) -> int:
        """Write the output that follows so many characters; return how many it has now."""
        position = 0
        async for text in self._texts(job_id):
            if position + len(text) > written:
                write(text[max(0, written - position) :])
            position += len(text)
        return max(position, written)

    async def _texts(self, job_id: str) -> AsyncIterator[str]:
        import aiohttp

        try:
            async for text in self._ray.tail_job_logs(job_id):
                yield text
        except (OSError, RuntimeError, aiohttp.ClientError):
            return  # the caller asks next whether the job or the connection has ended

    def _output(self, job_id: str) -> str:
        with _translated_errors(self._route.name):
            return str(self._ray.get_job_logs(job_id))


def _job(details: Any) -> Job:
    """Return what we show of a job; ``details`` is Ray's ``JobDetails``."""
    start = datetime.datetime.fromtimestamp((details.start_time or 0) / 1000).astimezone()
    return Job(
        id=details.submission_id,
        status=str(details.status.value),
        since=start.isoformat(" ", timespec="seconds"),
        command=(details.metadata or {}).get(COMMAND, details.entrypoint),
        exit_status=_exit_status(details),
        reason=details.message if _has_no_status(details) else None,
    )


def _exit_status(details: Any) -> int | None:
    if not details.status.is_terminal():
        return None
    if details.status.value == "STOPPED":
        return INTERRUPTED_STATUS
    if _has_no_status(details):
        return 1
    code = int(details.driver_exit_code)
    return code if code >= 0 else SIGNAL_STATUS - code


def _has_no_status(details: Any) -> bool:
    return bool(details.status.value == "FAILED" and details.driver_exit_code is None)


def _connected(url: str, route: Route) -> Any:
    """Return Ray's ``JobSubmissionClient`` of a job server that knows this user's token."""
    _check_reachable(url, route)
    prepare_process()
    from ray.job_submission import JobSubmissionClient

    with _translated_errors(route.name):
        try:
            client = JobSubmissionClient(url)
            client.list_jobs()  # the line above asks for the version, which needs no token
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if "Request failed" in str(error):
                raise
            raise _no_server(route, error) from error
    return client


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    """Turn the exceptions of Ray's client into errors of one line."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"{name}: the job server does not know this user: expected the token of its machines "
            f"in {TOKEN} (or RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token."
        ) from error
    except OSError as error:  # the base class of all errors of requests
        raise LostError(f"{name}: the job server does not answer any more.") from error
    except RuntimeError as error:
        raise ClusterError(f"{name}: the job server refuses: {_first_line(error)}") from error


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
        f"{route.name}: no job server answers there ({_first_line(error)}): expected that of a Ray "
        f"with ray[default], on port 8265 of its head unless it was told otherwise. {route.advice}"
    )
    return ClusterError(message.rstrip())


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
