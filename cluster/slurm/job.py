"""A job of Slurm: what its batch script is told, and the arguments of its search."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cluster.errors import ClusterError

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


def program(name: str) -> str:
    """Return the path of a console command of this environment."""
    return str(Path(sys.executable).with_name(name))


def say(line: str) -> None:
    """Print a line at once: others read the output of a job while it runs."""
    print(line, flush=True)
