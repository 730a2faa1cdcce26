"""Ray on all nodes of a Slurm job.

Two jobs of one user may share a node: each Ray has its own folder, ports and token, and ends only
its own processes. docs/cluster/slurm.md says why `ray symmetric-run` is not used.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.nodes import Node, missing_hosts, poll_nodes, printed_nodes
from cluster.slurm.job import Job, Signals, program, say

JOIN_SECONDS = 300.0
# The variable that sets another limit, for file systems on which a first import takes long.
JOIN_VARIABLE = "FMNIST_SEARCH_JOIN_SECONDS"
# Time for the nodes to end their Ray, before Slurm ends it.
END_SECONDS = 40.0
ANSWER_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
# Below the ports that Linux assigns by itself, which begin at 32768.
FIRST_PORT, LAST_PORT = 20000, 32000
PORTS_OF_A_HEAD = 3
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Ray 2.60 would wait for work on the node before it ends: the search has ended by then.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
# Keeps a Ray of one node on loopback, as on Windows and macOS (ray/_private/services.py, Ray 2.60).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class JobRay:
    """The Ray of a job.

    Attributes:
        host: Address of the head, as the other nodes reach it.
        port: The port on which the head listens.
        environment: The environment of processes that join this Ray.
        step: The job step that runs Ray on all nodes.
    """

    job: Job
    host: str
    port: int
    environment: Mapping[str, str]
    step: subprocess.Popen[bytes]

    def wait_for_nodes(self, signals: Signals) -> None:
        """Wait until all nodes have joined; warn about those that have not.

        The search starts without them, and uses them when they join.

        Raises:
            ClusterError: Ray has ended, or the head has not joined.
        """
        seconds = join_seconds(self.environment)
        count = 1 + len(self.job.others)
        nodes = poll_nodes(
            self.nodes, count, say, seconds=seconds,
            is_over=lambda: bool(signals.received) or self._has_ended(),
        )  # fmt: skip
        if signals.received or len(nodes) >= count:
            return
        missing = self.missing(nodes)
        if self._has_ended() or self.job.head in missing:
            raise ClusterError(f"Ray did not start on {', '.join(missing)}: see the lines above.")
        for name in missing:
            say(f"warning: {name}: has not joined in {seconds:g} s. The search starts without it.")

    def nodes(self) -> list[Node]:
        """Return the nodes that have joined; none while the head does not answer."""
        # In a process of its own: Ray would replace the signal handlers of this one.
        command = [program("fmnist-cluster"), "nodes", f"--address={self.host}:{self.port}"]
        try:
            listing = subprocess.run(
                [*command, "--json"],
                env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=True, timeout=ANSWER_SECONDS,
            )  # fmt: skip
        except subprocess.SubprocessError:
            return []
        return printed_nodes(listing.stdout)

    def missing(self, nodes: list[Node]) -> list[str]:
        """Return the names of the job's nodes that are not among ``nodes``."""
        has_head = self.host in {node.address for node in nodes}
        return [*(() if has_head else (self.job.head,)), *missing_hosts(self.job.others, nodes)]

    def _has_ended(self) -> bool:
        return self.step.poll() is not None


@contextmanager
def running_ray(job: Job) -> Iterator[JobRay]:
    """Run Ray on the nodes of a job."""
    host, port = own_address(job), first_free_port(job.number)
    environment = dict(os.environ) | ENVIRONMENT | (ON_LOOPBACK if not job.others else {})
    # The token of this job's Ray. `ps` would show it to everyone on a command line.
    environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    environment.pop("RAY_ADDRESS", None)
    nodes = 1 + len(job.others)
    command = [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        # No --cpus-per-task, which implies --exact: a task gets all of the job's CPUs of its node.
        "--cpu-bind=none", "--mpi=none", "--export=ALL", "--input=none",
        # A node that fails leaves the others alone.
        "--no-kill", "--kill-on-bad-exit=0", "--wait=0",
        sys.executable, "-P", "-m", "cluster.slurm.node", job.head, host, str(port),
    ]  # fmt: skip
    try:
        step = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ClusterError(f"srun cannot be run ({error.strerror}): expected Slurm's.") from error
    try:
        yield JobRay(job, host, port, environment, step)
    finally:
        _end(step)


def _end(step: subprocess.Popen[bytes]) -> None:
    # srun passes SIGUSR2 on to its tasks; at SIGTERM it would kill them (Slurm's src/srun).
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL):
        step.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            step.wait(END_SECONDS)
            return


def own_address(job: Job) -> str:
    """Return the address at which the other nodes reach this machine.

    /etc/hosts may give loopback for its name, so the route to another node tells the address.

    Raises:
        ClusterError: There is no route to the other node.
    """
    if not job.others:
        return LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((job.others[0], 1))  # sends nothing
        except OSError as error:
            raise ClusterError(
                f"{job.head}: no route to {job.others[0]}, another node of this job ({error})"
            ) from error
        return str(probe.getsockname()[0])


def first_free_port(job_number: int) -> int:
    """Return the first of ``PORTS_OF_A_HEAD`` consecutive free ports for the head of a job's Ray.

    Raises:
        ClusterError: There are none.
    """
    count = (LAST_PORT - FIRST_PORT) // PORTS_OF_A_HEAD
    for offset in range(count):
        first = FIRST_PORT + (job_number + offset) % count * PORTS_OF_A_HEAD
        if all(_is_free(port) for port in range(first, first + PORTS_OF_A_HEAD)):
            return first
    raise ClusterError(
        f"{socket.gethostname()}: expected {PORTS_OF_A_HEAD} free ports in a row between "
        f"{FIRST_PORT} and {LAST_PORT}, but there are none."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def join_seconds(environment: Mapping[str, str]) -> float:
    """Return how long to wait for the nodes of a job."""
    value = environment.get(JOIN_VARIABLE, str(JOIN_SECONDS))
    try:
        return float(value)
    except ValueError as error:
        raise ClusterError(
            f"{JOIN_VARIABLE}={value}: expected a number of seconds, such as 600."
        ) from error
