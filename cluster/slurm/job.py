"""A Slurm job: its nodes, the arguments of its search, and its signals."""

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
    """A Slurm job.

    Attributes:
        number: Its id.
        head: Name of its first node, on which this process runs.
        others: Names of its other nodes.
        restarts: How often Slurm has restarted it.
    """

    number: int
    head: str
    others: tuple[str, ...]
    restarts: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return the job that the environment of a batch script describes (man sbatch).

        Raises:
            ClusterError: Slurm did not start this process.
        """
        try:
            number, head = int(environment["SLURM_JOB_ID"]), environment["SLURMD_NODENAME"]
            node_list = environment["SLURM_JOB_NODELIST"]
        except KeyError as missing:
            raise ClusterError(
                f"{missing.args[0]} is not set: expected to run in a Slurm job. Start one with: "
                "sbatch cluster/slurm.sh run --space wide"
            ) from missing
        hostnames = subprocess.run(
            ["scontrol", "show", "hostnames", node_list],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        others = tuple(name for name in hostnames.stdout.split() if name != head)
        return cls(number, head, others, int(environment.get("SLURM_RESTART_COUNT", "0")))

    def arguments(self, typed: Sequence[str]) -> list[str]:
        """Return the arguments of this job's search from those that the user typed.

        Slurm restarts a job with the same arguments. Its search then resumes the run, so that the
        run folder needs a name that does not change.
        """
        arguments = list(typed)
        has_folder = any(word == "--out" or word.startswith("--out=") for word in arguments)
        if arguments[0] == "run" and not has_folder:
            arguments += ["--out", f"runs/slurm-{self.number}"]
        return resuming(arguments) if self.restarts else arguments


def resuming(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command that resumes the run if there is one, else starts it."""
    resumes = arguments[0] != "run" or OR_RESUME in arguments
    return [*arguments] if resumes else [*arguments, OR_RESUME]


class Signals:
    """Signal handlers that end the running process by another signal.

    Args:
        handled: The signals to handle.
        sent: The signal to send to the process for each of them.

    Attributes:
        received: The signals received so far, in order.
    """

    def __init__(self, *handled: signal.Signals, sent: signal.Signals) -> None:
        self.received: list[int] = []
        self._sent = sent
        self._process: subprocess.Popen[bytes] | None = None
        for number in handled:
            signal.signal(number, self._handle)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> int:
        """Run a command to its end; do not start it after a signal.

        Its output goes to ``output``, by default to that of this process.

        Returns:
            The exit status, as a shell gives it: 128 plus the number of a signal that ended it.
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
            if self.received:  # a signal came before the process existed
                self._process.send_signal(self._sent)
            status = self._process.wait()
        return status if status >= 0 else 128 - status

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._process.send_signal(self._sent)


def program(name: str) -> str:
    """Return the path of a console command of this environment."""
    return str(Path(sys.executable).with_name(name))


def say(line: str) -> None:
    """Print a line at once: users read the output of a job while it runs."""
    print(line, flush=True)
