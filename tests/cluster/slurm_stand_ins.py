"""Stand in for ``srun`` and ``scontrol`` on a machine that is the only node of every job.

They take what ``cluster/slurm`` gives them, refuse the rest, and do what Slurm's manuals and its
src/srun (22.05) say of it: the task has the caller's environment and its own SLURM_* variables,
SIGUSR2 is passed on to all processes of the step, SIGTERM kills them, and what the task leaves
behind ends with it. What is Slurm's own, as other nodes, limits and the queue, is not here: the
tests on several hosts have it from Slurm itself. `scontrol requeue` writes to the file that
``REQUEUED`` names.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

REQUEUED = "STAND_IN_REQUEUED"
KNOWN = {
    "--nodes=1", "--ntasks=1", "--ntasks-per-node=1", "--cpu-bind=none", "--mpi=none",
    "--export=ALL", "--input=none", "--no-kill", "--kill-on-bad-exit=0", "--wait=0",
}  # fmt: skip
# Linux: processes whose parents have ended become children of this one.
PR_SET_CHILD_SUBREAPER = 36


def srun(arguments: list[str]) -> int:
    """Run a task, as the first step of the job."""
    options = [argument for argument in arguments if argument.startswith("--")]
    if set(options) != KNOWN:
        print(f"srun: not stood in for: {set(options) ^ KNOWN}", file=sys.stderr)
        return 1
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, pass_on)
    of_the_task = {"SLURM_STEP_ID": "0", "SLURM_NODEID": "0", "SLURM_PROCID": "0"}
    task = subprocess.Popen(
        arguments[len(options) :], env=os.environ | of_the_task, stdin=subprocess.DEVNULL
    )
    status = task.wait()
    signal_all(signal.SIGKILL)
    return status if status >= 0 else 128 - status


def pass_on(number: int, _frame: object) -> None:
    """Take a signal as srun does."""
    signal_all(signal.SIGKILL if number == signal.SIGTERM else number)


def signal_all(number: int) -> None:
    """Send a signal to all processes of the step."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def scontrol(arguments: list[str]) -> int:
    """List the names of nodes, or take note of a job that is to be queued again."""
    match arguments:
        case ["show", "hostnames", names]:
            print("\n".join(names.split(",")))
        case ["requeue", job]:
            Path(os.environ[REQUEUED]).write_text(job)
        case _:
            print(f"scontrol: not stood in for: {arguments}", file=sys.stderr)
            return 1
    return 0


def install(folder: Path) -> None:
    """Write programs of these names into a folder."""
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        program.chmod(0o755)


PROGRAMS = {"srun": srun, "scontrol": scontrol}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
