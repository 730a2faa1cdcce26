"""A Ray over the nodes of one job of Slurm.

Two jobs of one user may share a node: each Ray has its own folder, ports and token, and is ended by
its own processes.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from cluster.errors import ClusterError
from cluster.slurm.job import Ending, Job, program, say

JOIN_SECONDS = 300.0
# Names another bound, for file systems on which a first import takes long.
JOIN = "FMNIST_SEARCH_JOIN_SECONDS"
# A node has ended its Ray by then; else Slurm does.
END_SECONDS = 40.0
LOOK_SECONDS = 2.0
ANSWER_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
# Below those that Linux gives out by itself, from 32768 on.
FIRST_PORT, LAST_PORT = 20000, 32000
PORTS_OF_A_HEAD = 3
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # How long Ray 2.60 waits at its end for whoever still uses a node: the search has ended.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
# A Ray on one node is on loopback by it, as on Windows and macOS (ray/_private/services.py, 2.60).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def ray_on(job: Job) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """Run a Ray over the nodes of a job.

    Yields:
        Where its head will listen, the environment of who joins it, and the job step that it is.

    Raises:
        ClusterError: This machine cannot be its head.
    """
    host, port = own_address(job), free_ports(job.number)
    environment = dict(os.environ) | ENVIRONMENT | (ON_LOOPBACK if not job.others else {})
    # By it the nodes of this job know each other; on no command line, which `ps` shows to all.
    environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    environment.pop("RAY_ADDRESS", None)
    nodes = str(1 + len(job.others))
    command = [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        # A task has all of the node that the job has: srun without --cpus-per-task is not --exact.
        "--cpu-bind=none", "--mpi=none", "--export=ALL", "--input=none",
        # What happens to one node leaves the others alone.
        "--no-kill", "--kill-on-bad-exit=0", "--wait=0",
        sys.executable, "-m", "cluster.slurm.node", job.head, host, str(port),
    ]  # fmt: skip
    try:
        step = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ClusterError(f"srun cannot be run ({error.strerror})") from error
    try:
        yield f"{host}:{port}", environment, step
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
    """Return this machine's address as the other nodes see it.

    Its own name may stand for loopback in its /etc/hosts; how it reaches another node does not.

    Raises:
        ClusterError: It reaches none of them.
    """
    if not job.others:
        return LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((job.others[0], 1))  # sends nothing
        except OSError as error:
            raise ClusterError(
                f"{job.head}: knows no way to {job.others[0]}, another node of this job ({error})"
            ) from error
        return str(probe.getsockname()[0])


def free_ports(job_number: int) -> int:
    """Return the first of the ports in a row that the head of a job's Ray takes.

    Raises:
        ClusterError: None are free.
    """
    count = (LAST_PORT - FIRST_PORT) // PORTS_OF_A_HEAD
    for offset in range(count):
        first = FIRST_PORT + (job_number + offset) % count * PORTS_OF_A_HEAD
        if all(_is_free(port) for port in range(first, first + PORTS_OF_A_HEAD)):
            return first
    raise ClusterError(f"{socket.gethostname()}: all ports from {FIRST_PORT} on are taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def wait_for_nodes(
    job: Job,
    address: str,
    environment: Mapping[str, str],
    step: subprocess.Popen[bytes],
    ending: Ending,
) -> None:
    """Wait until all nodes of a job have joined its Ray; name those that have not.

    The search begins without them, and uses them when they join.

    Raises:
        ClusterError: Not even the head is there.
    """
    told, there, count = 0, set[str](), 1 + len(job.others)
    seconds = join_seconds(environment)
    deadline = time.monotonic() + seconds
    while len(there) < count and not ending.signals:
        if step.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(LOOK_SECONDS)
        there = nodes_at(address, environment)
        if len(there) > told:
            told = len(there)
            say(f"{told} of {count} nodes have joined")
    if ending.signals or len(there) >= count:
        return
    missing = missing_nodes(job, address, there)
    if step.poll() is not None or job.head in missing:
        raise ClusterError(f"no Ray on {', '.join(missing)}: why, is said above")
    for name in missing:
        say(f"warning: {name}: has not joined in {seconds:g} s. The search begins without it.")


def join_seconds(environment: Mapping[str, str]) -> float:
    """Return how long the nodes of a job are waited for.

    Raises:
        ClusterError: What the environment says of it is no number.
    """
    said = environment.get(JOIN, str(JOIN_SECONDS))
    try:
        return float(said)
    except ValueError as error:
        raise ClusterError(f"{JOIN}={said}: expected a number of seconds, such as 600") from error


def nodes_at(address: str, environment: Mapping[str, str]) -> set[str]:
    """Return the addresses of the nodes of a Ray; none while it does not answer."""
    # A process of its own, as Ray would take the signals of this one.
    try:
        listed = subprocess.run(
            [program("fmnist-cluster"), "nodes", "--address", address, "--json"],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=ANSWER_SECONDS,
        )  # fmt: skip
    except subprocess.SubprocessError:
        return set()
    return {node["address"] for node in json.loads(listed.stdout)}


def missing_nodes(job: Job, address: str, there: set[str]) -> list[str]:
    """Return the names of the nodes of a job that are not among those at some addresses."""
    known = {job.head: {address.rpartition(":")[0]}} | {n: _addresses(n) for n in job.others}
    return [name for name, addresses in known.items() if not addresses & there]


def _addresses(name: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        return set()
