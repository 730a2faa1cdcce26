"""What ``slurm_ray.py`` has Slurm run on each node: Ray, with what the job has of the node."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cluster.errors import ClusterError
from cluster.slurm.job import program, say
from cluster.slurm.ray_start import LOOK_SECONDS, join_seconds

# Short: the path of a socket has at most 107 characters, of which Ray needs 65.
SCRATCH = "/tmp/ray-{job}"
LAST_LINES = 20
MEGABYTE = 1024**2
# Ray's own share of a node's memory for objects (ray start --help, 2.60).
OBJECTS_SHARE = 0.3


@dataclass(frozen=True)
class Head:
    """The head of a job's Ray.

    Attributes:
        name: Of its node.
        host: Its address.
        port: Where it listens; the two that follow are its, too.
    """

    name: str
    host: str
    port: int


def options(environment: Mapping[str, str], bound_cpus: int, head: Head) -> list[str]:
    """Return what ``ray start`` is told on a node.

    Args:
        environment: Of a task of Slurm (man srun).
        bound_cpus: To so many CPUs the task is bound.
        head: The head, which may be this node.
    """
    cpus = min(int(environment.get("SLURM_CPUS_ON_NODE", bound_cpus)), bound_cpus)
    given = [
        f"--num-cpus={cpus}",
        f"--num-gpus={environment.get('SLURM_GPUS_ON_NODE', '0')}",
        # Given out by the system, where Ray 2.60 would take those of another job's Ray.
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    # Ray sees what the machine has, not what the job has of it. 0 stands for all (man sbatch).
    megabytes = int(environment.get("SLURM_MEM_PER_NODE", "0"))
    megabytes = megabytes or int(environment.get("SLURM_MEM_PER_CPU", "0")) * cpus
    if megabytes:
        objects = int(megabytes * OBJECTS_SHARE)
        given += [
            f"--object-store-memory={objects * MEGABYTE}",
            f"--memory={(megabytes - objects) * MEGABYTE}",
        ]
    if environment["SLURMD_NODENAME"] != head.name:
        return [*given, f"--address={head.host}:{head.port}"]
    return [
        *given, "--head", f"--node-ip-address={head.host}", f"--port={head.port}",
        f"--ray-client-server-port={head.port + 1}", f"--dashboard-port={head.port + 2}",
        "--include-dashboard=false",
    ]  # fmt: skip


class NodeRay:
    """Ray on this node, until a signal says that the job has ended.

    Args:
        scratch: Its folder, which is made and removed.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._signals: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._end)

    def wait_for(self, head: Head, *, seconds: float) -> None:
        """Wait until the head listens: Ray would give up sooner.

        Raises:
            ClusterError: It does not.
        """
        deadline = time.monotonic() + seconds
        while not self._signals:
            with suppress(OSError):
                socket.create_connection((head.host, head.port), timeout=LOOK_SECONDS).close()
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"the head does not answer at {head.host}:{head.port}")
            time.sleep(LOOK_SECONDS)

    def run(self, given: Sequence[str]) -> int:
        """Run ``ray start``; return 0 where it has ended because it should.

        Raises:
            OSError: The folder is another user's.
        """
        if self._signals:
            return 0
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o700)
        try:
            return self._run(given, self._scratch / "said.txt")
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _run(self, given: Sequence[str], said: Path) -> int:
        command = [program("ray"), "start", "--block", f"--temp-dir={self._scratch}", *given]
        # Trials that are ended leave their own scratch behind: it goes with this folder.
        environment = os.environ | {"TMPDIR": str(self._scratch)}
        with (
            said.open("wb") as output,
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as self._process,
        ):
            if self._signals:  # it has come before there was a process
                self._process.terminate()
            status = self._process.wait()
        if self._signals:
            return 0
        last = said.read_text(errors="replace").splitlines()[-LAST_LINES:]
        _say(f"Ray has ended with status {status}; it said last:", *last)
        return 1

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)
        if self._process is not None:
            self._process.terminate()


def main(name: str, host: str, port: str) -> int:
    """Run this node's part of the Ray of a job; return 0 where it has ended because it should."""
    head = Head(name, host, int(port))
    ray = NodeRay(Path(SCRATCH.format(job=os.environ["SLURM_JOB_ID"])))
    try:
        if os.environ["SLURMD_NODENAME"] != name:
            ray.wait_for(head, seconds=join_seconds(os.environ))
        return ray.run(options(os.environ, len(os.sched_getaffinity(0)), head))
    except (ClusterError, OSError) as error:
        _say(f"error: {error}")
        return 1


def _say(*lines: str) -> None:
    for line in lines:
        say(f"{os.environ['SLURMD_NODENAME']}: {line}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
