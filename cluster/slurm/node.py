"""Ray on one node of a job, with what the job has of that node: the command of the job's step."""

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
from cluster.nodes import LOOK_SECONDS
from cluster.slurm.job import Signals, program, say
from cluster.slurm.ray_start import join_seconds

# Short: the path of a socket has at most 107 characters, of which Ray needs 65.
SCRATCH = "/tmp/ray-{job}"
LAST_LINES = 20
MEGABYTE = 1024**2
# Ray's own share of a node's memory for objects (ray start --help, Ray 2.60).
OBJECTS_SHARE = 0.3


class Head(NamedTuple):
    """The head of a job's Ray: the name of its node, its address, the first of its three ports."""

    name: str
    host: str
    port: int


def main(name: str, host: str, port: str) -> int:
    """Run this node's part of a job's Ray; return 0 if it ended because the job asked for it."""
    head = Head(name, host, int(port))
    signals = Signals(signal.SIGUSR2, signal.SIGTERM, sent=signal.SIGTERM)
    try:
        if os.environ["SLURMD_NODENAME"] != name:
            wait_for(head, signals, seconds=join_seconds(os.environ))
        start_options = options(os.environ, len(os.sched_getaffinity(0)), head)
        return run_ray(start_options, Path(SCRATCH.format(job=os.environ["SLURM_JOB_ID"])), signals)
    except (ClusterError, OSError) as error:
        _say(f"error: {error}")
        return 1


def wait_for(head: Head, signals: Signals, *, seconds: float) -> None:
    """Wait until the head listens: `ray start` would give up sooner."""
    deadline = time.monotonic() + seconds
    while not signals.received:
        with suppress(OSError):
            socket.create_connection((head.host, head.port), timeout=LOOK_SECONDS).close()
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"the head does not answer at {head.host}:{head.port}")
        time.sleep(LOOK_SECONDS)


def options(environment: Mapping[str, str], bound_cpus: int, head: Head) -> list[str]:
    """Return the options of ``ray start`` on a node.

    Args:
        environment: Of a task of Slurm (man srun).
        bound_cpus: How many CPUs the task is bound to.
        head: The node of the head, which may be this one.
    """
    cpus = min(int(environment.get("SLURM_CPUS_ON_NODE", bound_cpus)), bound_cpus)
    start_options = [
        f"--num-cpus={cpus}",
        f"--num-gpus={environment.get('SLURM_GPUS_ON_NODE', '0')}",
        # Given out by the system; the ports of Ray 2.60 itself may be those of another job's Ray.
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    # Ray sees what the machine has, not what the job has of it. 0 stands for all (man sbatch).
    megabytes = int(environment.get("SLURM_MEM_PER_NODE", "0"))
    megabytes = megabytes or int(environment.get("SLURM_MEM_PER_CPU", "0")) * cpus
    if megabytes:
        objects = int(megabytes * OBJECTS_SHARE)
        start_options += [
            f"--object-store-memory={objects * MEGABYTE}",
            f"--memory={(megabytes - objects) * MEGABYTE}",
        ]
    if environment["SLURMD_NODENAME"] != head.name:
        return [*start_options, f"--address={head.host}:{head.port}"]
    return [
        *start_options, "--head", f"--node-ip-address={head.host}", f"--port={head.port}",
        f"--ray-client-server-port={head.port + 1}", f"--dashboard-port={head.port + 2}",
        "--include-dashboard=false",
    ]  # fmt: skip


def run_ray(start_options: Sequence[str], scratch: Path, signals: Signals) -> int:
    """Run ``ray start`` in a folder of its own until a signal ends it; return 0 if one did, else 1.

    Raises:
        OSError: The folder belongs to another user.
    """
    command = [program("ray"), "start", "--block", f"--temp-dir={scratch}", *start_options]
    # Trials that are killed leave files behind: TMPDIR has them removed with the folder.
    environment = os.environ | {"TMPDIR": str(scratch)}
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        log = scratch / "ray-start.txt"
        with log.open("wb") as output:
            status = signals.run(command, environment, output)
        if signals.received:
            return 0
        last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        _say(f"Ray has ended with status {status}; it said last:", *last)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _say(*lines: str) -> None:
    # At once: srun puts what others write between two writes.
    say("\n".join(f"{os.environ['SLURMD_NODENAME']}: {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
