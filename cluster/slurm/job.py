"""A job of Slurm: what its batch script is told, the arguments of its search, and its signals."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Self

from cluster.errors import ClusterError

OR_RESUME = "--or-resume"
INTERRUPTED_STATUS = 130


@dataclass(frozen=True)
class Job:
    """A job of Slurm.

    Attributes:
        number: Its id.
        head: Name of its first node, on which this process runs.
        others: Names of its other nodes.
        restarts: How often Slurm has begun it again.
    """

    number: int
    head: str
    others: tuple[str, ...]
    restarts: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment of a batch script (man sbatch).

        Raises:
            ClusterError: Slurm did not start this process.
        """
        try:
            number, head = int(environment["SLURM_JOB_ID"]), environment["SLURMD_NODENAME"]
            node_list = environment["SLURM_JOB_NODELIST"]
        except KeyError as missing:
            raise ClusterError(
                f"{missing.args[0]} is not set: expected to be run by Slurm, as "
                "sbatch cluster/slurm.sh run --space wide"
            ) from missing
        shown = subprocess.run(
            ["scontrol", "show", "hostnames", node_list],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        others = tuple(name for name in shown.stdout.split() if name != head)
        return cls(number, head, others, int(environment.get("SLURM_RESTART_COUNT", "0")))

    def arguments(self, typed: Sequence[str]) -> list[str]:
        """Return the arguments of this job's search, which a user typed.

        Slurm gives a job that it begins again the same arguments; the search then resumes its run,
        for which it takes a run folder of a known name.
        """
        arguments = list(typed)
        has_folder = any(word == "--out" or word.startswith("--out=") for word in arguments)
        if arguments[0] == "run" and not has_folder:
            arguments += ["--out", f"runs/slurm-{self.number}"]
        return resuming(arguments) if self.restarts else arguments


def resuming(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that resume what others have begun, or else begin it."""
    resumes = arguments[0] != "run" or OR_RESUME in arguments
    return [*arguments] if resumes else [*arguments, OR_RESUME]


class Signals:
    """Takes signals, and ends the process that runs by another signal.

    Args:
        taken: The signals to take.
        sent: The signal that the process gets for each.

    Attributes:
        received: The signals that have come, the first one first.
    """

    def __init__(self, *taken: signal.Signals, sent: signal.Signals) -> None:
        self.received: list[int] = []
        self._sent = sent
        self._process: subprocess.Popen[bytes] | None = None
        for number in taken:
            signal.signal(number, self._take)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> int:
        """Run a command to its end, unless a signal has come before.

        It writes to ``output``, or where this process does.

        Returns:
            The exit status; of a process that a signal ended, the status that a shell gives.
        """
        if self.received:
            return INTERRUPTED_STATUS
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
        ) as self._process:
            if self.received:  # a signal came before there was a process to pass it on to
                self._process.send_signal(self._sent)
            status = self._process.wait()
        return status if status >= 0 else 128 - status

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._process.send_signal(self._sent)


def program(name: str) -> str:
    """Return the path of a console command of this environment."""
    return str(Path(sys.executable).with_name(name))


def say(line: str) -> None:
    """Print a line at once: others read the output of a job while it runs."""
    print(line, flush=True)
