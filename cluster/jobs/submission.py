"""What a job of a search consists of: its command, its code, its environment."""

import re
import secrets
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.jobs.package import EXCLUDES, check_size
from cluster.jobs.server import prepare_process

# Between SIGTERM, by which a search ends cleanly, and SIGKILL; Ray 2.60 waits 3 s of itself
# (ray/dashboard/modules/job/job_supervisor.py).
STOP_SECONDS = 300
# Where a job runs, and keeps its runs.
PROJECT = "~/fmnist-search"
LINKED = "warning: ~ is a link here: modules in ~/fmnist-search come before those submitted"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_submission(arguments: Sequence[str], name: str | None, folder: Path) -> None:
    """Check what can be checked before a job server is asked.

    Raises:
        ClusterError: A line for each problem.
    """
    prepare_process()
    wrong = []
    if not arguments:
        wrong.append("expected a command of fmnist-search behind --, such as: -- run --space wide")
    if name is not None and not NAME.fullmatch(name):
        wrong.append(f"--name {name!r}: expected letters, digits, and . _ - between them.")
    try:
        check_size(folder)
    except ClusterError as error:
        wrong.append(str(error))
    if wrong:
        raise ClusterError("\n".join(wrong))


def entry_point(arguments: Sequence[str]) -> str:
    """Return what a job runs on the head, for its shell.

    It runs in a folder that lasts: Ray removes its copy of what was submitted with the job.
    """
    command = shlex.join(["fmnist-search", *arguments])
    return (
        f"mkdir -p {PROJECT} && cd {PROJECT} && "
        f'{{ [ "$(pwd -P)" = {PROJECT} ] || echo "{LINKED}"; }} && exec {command}'
    )


def environment(folder: Path) -> dict[str, Any]:
    """Return the runtime environment of a job whose code is that of a folder.

    Where a module is looked for, that code comes before that of the machines; also before the
    current folder, which a search puts in front unless it stands somewhere in the path.
    """
    return {
        "working_dir": str(folder),
        "excludes": list(EXCLUDES),
        # Ray 2.60 puts in the values of each machine's variables (ray/_private/utils.py).
        "env_vars": {
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
            "PYTHONPATH": PROJECT.replace("~", "${HOME}"),
        },
    }


def made_name(command: str) -> str:
    """Return a name for the job of a command, which no other has."""
    word = command if NAME.fullmatch(command) else "job"
    return f"{word}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
