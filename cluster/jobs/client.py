"""Searches as jobs of a Ray cluster: submitted, followed, stopped and listed from anywhere."""

import asyncio
import datetime
import shlex
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.jobs.package import too_large
from cluster.jobs.server import NoServerError, asked, connected, web_address
from cluster.jobs.submission import entry_point, environment, made_name
from cluster.jobs.tunnel import forwarded
from cluster.onprem.config import read_cluster_file
from cluster.onprem.hosts import Ssh
from cluster.onprem.launch import Say

CLUSTER_FILE = Path("cluster/onprem.yaml")
POLL_SECONDS = 1.0
INTERRUPTED_STATUS = 130
# A shell's status of what a signal ended is this and the signal's number.
SIGNAL_STATUS = 128
# Under which a job keeps the command that it was submitted with.
COMMAND = "fmnist-search"
TOO_LARGE = "status code 413"


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        id: By which it is followed and stopped.
        status: As Ray calls it: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        since: When it was submitted, in local time (ISO 8601).
        command: What follows `fmnist-search`; of another job its whole command.
        exit_status: None while it has not ended; 130 where it was stopped, as by Ctrl-C.
        reason: Why it never began, or was lost, as Ray says it.
    """

    id: str
    status: str
    since: str
    command: str
    exit_status: int | None
    reason: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.exit_status is not None


@contextmanager
def job_server(address: str | None, cluster_file: Path | None) -> Iterator["JobServer"]:
    """Reach a job server: at an address, else that of a cluster file's head, by ssh.

    Raises:
        ClusterError: It cannot be reached, or takes no word from this user.
    """
    if address is not None and cluster_file is not None:
        raise ClusterError(
            f"--address {address} and --cluster-file {cluster_file}: expected one of them."
        )
    if address is not None:
        named = ("--address", address)
        yield JobServer(web_address(address), " ".join(named), named)
    else:
        with _server_of(cluster_file or CLUSTER_FILE) as server:
            yield server


@contextmanager
def _server_of(file: Path) -> Iterator["JobServer"]:
    if file == CLUSTER_FILE and not file.exists():
        raise ClusterError(
            f"{file}: there is no such cluster file here: expected one, or one by --cluster-file, "
            "or the address of a job server by --address."
        )
    ssh = Ssh(read_cluster_file(file))
    options = () if file == CLUSTER_FILE else ("--cluster-file", str(file))
    with forwarded(ssh, ssh.file.job_port) as port:
        try:
            server = JobServer(f"http://127.0.0.1:{port}", ssh.file.head, options)
        except NoServerError as error:
            raise ClusterError(f"{error} Or sshd there forbids it (AllowTcpForwarding).") from error
        yield server


class JobServer:
    """The job server of a Ray cluster.

    Args:
        url: Where it is.
        where: What it is called in messages.
        named: The options by which a user names it again.

    Raises:
        ClusterError: None answers there, or it takes no word from this user.
    """

    def __init__(self, url: str, where: str, named: Sequence[str]) -> None:
        self._where = where
        self._named = tuple(named)
        self._client = connected(url, where)

    def typed(self, word: str, job_id: str) -> str:
        """Return the command by which a user does something with a job from here."""
        return shlex.join(["fmnist-cluster", word, *self._named, job_id])

    def submit(self, arguments: Sequence[str], name: str | None, folder: Path) -> str:
        """Submit a command of ``fmnist-search``.

        Args:
            arguments: What follows `fmnist-search`.
            name: Of the job; None: made of the command and the time.
            folder: Sent with it: its modules are found before those of the machines.

        Returns:
            The job's id.

        Raises:
            ClusterError: The server refuses.
        """
        if name is not None and name in {job.id for job in self.jobs()}:
            raise ClusterError(f"--name {name}: there is a job of that name: choose another.")
        job_id = name or made_name(arguments[0])
        try:
            with asked(self._where):
                self._client.submit_job(
                    entrypoint=entry_point(arguments),
                    submission_id=job_id,
                    runtime_env=environment(folder),
                    metadata={COMMAND: shlex.join(arguments)},
                )
        except ClusterError as error:
            raise too_large(folder) if TOO_LARGE in str(error) else error from error
        return job_id

    def follow(self, job_id: str, pass_on: Callable[[str], None]) -> int:
        """Pass on what a job has said and says, until it ends.

        Args:
            job_id: Of the job.
            pass_on: Given each piece of text.

        Returns:
            Its exit status.

        Raises:
            ClusterError: There is no such job.
            LostError: The connection was lost.
        """
        passed = 0
        while not (job := self.job(job_id)).has_ended:
            passed = asyncio.run(self._pass_on(job_id, passed, pass_on))
            time.sleep(POLL_SECONDS)
        said = self._said(job_id)
        pass_on(said[passed:] or (f"{job.reason}\n" if job.reason and not said else ""))
        return job.exit_status or 0

    def stop(self, job_id: str, say: Say) -> None:
        """End a job as Ctrl-C ends a search, and wait until it has.

        Args:
            job_id: Of the job.
            say: Told what happens, and what the job says to it.

        Raises:
            ClusterError: There is no such job, or the connection was lost.
        """
        if self.job(job_id).has_ended:
            say(f"{job_id} has ended before")
            return
        before = len(self._said(job_id))
        say(f"{job_id} is told to end, and keeps what was found")
        while not self.job(job_id).has_ended:
            with asked(self._where):  # again: Ray does not hear it before the job has begun
                self._client.stop_job(job_id)
            time.sleep(POLL_SECONDS)
        say(self._said(job_id)[before:].rstrip("\n"))

    def jobs(self) -> list[Job]:
        """Return the jobs that were submitted, the newest last."""
        with asked(self._where):
            found = self._client.list_jobs()
        submitted = [one for one in found if one.submission_id]  # others are drivers by themselves
        return [_job(one) for one in sorted(submitted, key=lambda one: one.start_time or 0)]

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ClusterError: There is none of that id.
        """
        known = {job.id: job for job in self.jobs()}
        if job_id not in known:
            there = ", ".join(known) or "none"
            raise ClusterError(f"{job_id}: there is no such job. There: {there}.")
        return known[job_id]

    async def _pass_on(self, job_id: str, passed: int, pass_on: Callable[[str], None]) -> int:
        """Pass on what comes after so many characters; return how many that makes."""
        at = 0
        async for text in self._texts(job_id):
            if at + len(text) > passed:
                pass_on(text[max(0, passed - at) :])
            at += len(text)
        return max(at, passed)

    async def _texts(self, job_id: str) -> AsyncIterator[str]:
        import aiohttp

        try:
            async for text in self._client.tail_job_logs(job_id):
                yield text
        except (OSError, RuntimeError, aiohttp.ClientError):
            return  # whether the job has ended, or the connection, is asked next

    def _said(self, job_id: str) -> str:
        with asked(self._where):
            return str(self._client.get_job_logs(job_id))


def _job(found: Any) -> Job:
    """Return what we tell of a job; ``found`` is Ray's ``JobDetails``."""
    began = datetime.datetime.fromtimestamp((found.start_time or 0) / 1000).astimezone()
    return Job(
        id=found.submission_id,
        status=str(found.status.value),
        since=began.isoformat(" ", timespec="seconds"),
        command=(found.metadata or {}).get(COMMAND, found.entrypoint),
        exit_status=_exit_status(found),
        reason=found.message if _is_without_status(found) else None,
    )


def _exit_status(found: Any) -> int | None:
    if not found.status.is_terminal():
        return None
    if found.status.value == "STOPPED":
        return INTERRUPTED_STATUS
    if _is_without_status(found):
        return 1
    code = int(found.driver_exit_code)
    return code if code >= 0 else SIGNAL_STATUS - code


def _is_without_status(found: Any) -> bool:
    return bool(found.status.value == "FAILED" and found.driver_exit_code is None)
