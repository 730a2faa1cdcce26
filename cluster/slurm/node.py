"""Runs Ray on one node of a job, with the job's resources of that node; srun runs this module."""

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cluster.errors import ClusterError
from cluster.nodes import POLL_SECONDS
from cluster.slurm.job import Signals, program, say
from cluster.slurm.ray_start import join_seconds

# Short, since the path of a socket has at most 107 characters, of which Ray needs 65.
SCRATCH = "/tmp/ray-{job}"
LAST_LINES = 20
MEGABYTE = 1024**2
# The share of a node's memory for objects that Ray takes by default (ray start --help, Ray 2.60).
OBJECTS_SHARE = 0.3


class Head(NamedTuple):
    """The head of a job's Ray: name and address of its node, and the first of its three ports."""

    name: str
    host: str
    port: int


def main(name: str, host: str, port: str) -> int:
    """Run this node's part of a job's Ray; return 0 if the job has ended it, else 1."""
    head = Head(name, host, int(port))
    signals = Signals(signal.SIGUSR2, signal.SIGTERM, sent=signal.SIGTERM)
    try:
        if os.environ["SLURMD_NODENAME"] != name:
            wait_for_head(head, signals, seconds=join_seconds(os.environ))
        options = start_options(os.environ, len(os.sched_getaffinity(0)), head)
        return run_ray(options, Path(SCRATCH.format(job=os.environ["SLURM_JOB_ID"])), signals)
    except (ClusterError, OSError) as error:
        _say(f"error: {error}")
        return 1


def wait_for_head(head: Head, signals: Signals, *, seconds: float) -> None:
    """Wait until the head listens; `ray start` would give up sooner.

    Raises:
        ClusterError: It does not listen after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not signals.received:
        with suppress(OSError):
            socket.create_connection((head.host, head.port), timeout=POLL_SECONDS).close()
            return
        if time.monotonic() > deadline:
            raise ClusterError(
                f"no Ray answers at {head.host}:{head.port} after {seconds:g} s: expected the one "
                f"of {head.name}. See its lines."
            )
        time.sleep(POLL_SECONDS)


def start_options(environment: Mapping[str, str], bound_cpus: int, head: Head) -> list[str]:
    """Return the options of ``ray start`` on a node.

    Args:
        environment: The environment of a Slurm task (man srun).
        bound_cpus: The number of CPUs that the task is bound to.
        head: The head, which may be on this node.
    """
    cpus = min(int(environment.get("SLURM_CPUS_ON_NODE", bound_cpus)), bound_cpus)
    options = [
        f"--num-cpus={cpus}",
        f"--num-gpus={environment.get('SLURM_GPUS_ON_NODE', '0')}",
        # Free ports; the fixed ones of Ray 2.60 may be in use by another job's Ray.
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    # Ray sees the memory of the machine, not that of the job. 0 means all of it (man sbatch).
    megabytes = int(environment.get("SLURM_MEM_PER_NODE", "0"))
    megabytes = megabytes or int(environment.get("SLURM_MEM_PER_CPU", "0")) * cpus
    if megabytes:
        object_megabytes = int(megabytes * OBJECTS_SHARE)
        options += [
            f"--object-store-memory={object_megabytes * MEGABYTE}",
            f"--memory={(megabytes - object_megabytes) * MEGABYTE}",
        ]
    if environment["SLURMD_NODENAME"] != head.name:
        return [*options, f"--address={head.host}:{head.port}"]
    return [
        *options, "--head", f"--node-ip-address={head.host}", f"--port={head.port}",
        f"--ray-client-server-port={head.port + 1}", f"--dashboard-port={head.port + 2}",
        "--include-dashboard=false",
    ]  # fmt: skip


def run_ray(options: Sequence[str], scratch: Path, signals: Signals) -> int:
    """Run ``ray start`` in its own folder until it ends; return 0 if a signal ended it, else 1.

    Raises:
        OSError: The folder belongs to another user.
    """
    command = [program("ray"), "start", "--block", f"--temp-dir={scratch}", *options]
    # Killed trials leave files behind; with TMPDIR these are removed with the folder.
    environment = os.environ | {"TMPDIR": str(scratch)}
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        log = scratch / "ray-start.txt"
        with log.open("wb") as output:
            status = signals.run(command, environment, output)
        if signals.received:
            return 0
        last_lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        _say(f"Ray has ended with status {status}; its last lines:", *last_lines)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _say(*lines: str) -> None:
    # In one write: srun may put the output of other nodes between two.
    say("\n".join(f"{os.environ['SLURMD_NODENAME']}: {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
