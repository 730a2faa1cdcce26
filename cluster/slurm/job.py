"""A job of Slurm: what its batch script is given, and the signals that end it."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from cluster.errors import ClusterError

INTERRUPTED_STATUS = 130
# What slurm.sh asks for before the time limit.
TIME_LIMIT = signal.SIGUSR1
OR_RESUME = "--or-resume"


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
            ClusterError: It is none.
        """
        try:
            number, head = int(environment["SLURM_JOB_ID"]), environment["SLURMD_NODENAME"]
            listed = environment["SLURM_JOB_NODELIST"]
        except KeyError as missing:
            raise ClusterError(
                f"{missing.args[0]} is not set: expected to be run by Slurm, as "
                "sbatch cluster/slurm.sh run --space wide"
            ) from missing
        shown = subprocess.run(
            ["scontrol", "show", "hostnames", listed], stdout=subprocess.PIPE, text=True, check=True
        )
        others = tuple(name for name in shown.stdout.split() if name != head)
        return cls(number, head, others, int(environment.get("SLURM_RESTART_COUNT", "0")))


class Ending:
    """Takes the signals by which Slurm or its user ends the job, and passes them on as Ctrl-C.

    Attributes:
        signals: Those that have come.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._attended: subprocess.Popen[bytes] | None = None
        for number in (TIME_LIMIT, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    @property
    def is_by_time_limit(self) -> bool:
        """Whether what has come first was the signal before the time limit."""
        return self.signals[:1] == [TIME_LIMIT]

    def attend(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a command to its end; return its status, of a signal as a shell gives it."""
        if self.signals:
            return INTERRUPTED_STATUS
        with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as self._attended:
            if self.signals:  # it has come while there was nobody to pass it on to
                self._attended.send_signal(signal.SIGINT)
            status = self._attended.wait()
        return status if status >= 0 else 128 - status

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)
        if self._attended is not None:
            self._attended.send_signal(signal.SIGINT)


def completed(arguments: Sequence[str], job: Job) -> list[str]:
    """Return the arguments of a search that can be begun again.

    A job that Slurm begins again gets the same arguments: it goes on with the run that is there.
    """
    asked = list(arguments)
    if asked[0] == "run" and out_of(asked) is None:
        asked += ["--out", f"runs/slurm-{job.number}"]
    return again(asked) if job.restarts else asked


def again(asked: Sequence[str]) -> list[str]:
    """Return the arguments that go on with what some have begun, or begin it."""
    is_so = asked[0] != "run" or OR_RESUME in asked
    return [*asked] if is_so else [*asked, OR_RESUME]


def out_of(arguments: Sequence[str]) -> str | None:
    """Return the run folder that arguments of ``fmnist-search run`` name, or None."""
    named = None
    for place, argument in enumerate(arguments):
        if argument == "--out":
            named = "".join(arguments[place + 1 : place + 2])
        elif argument.startswith("--out="):
            named = argument.removeprefix("--out=")
    return named


def program(name: str) -> str:
    """Return where a command of this environment is."""
    return str(Path(sys.executable).with_name(name))


def say(line: str) -> None:
    """Print a line at once: the output of a job is a file that others read meanwhile."""
    print(line, flush=True)
