"""What a job of a search consists of: its command, its code and its environment."""

import logging
import os
import re
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.onprem.config import TOKEN

MIB = 1024**2
# The most that a job server accepts: DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py,
# Ray 2.60.
MAX_BYTES = 100 * MIB
NAMED_ENTRIES = 3
# Left out of every job, besides what .gitignore and .rayignore name. A leading slash: only at the
# top of the folder. `.env` often holds passwords.
EXCLUDES = (
    ".git", ".venv", "venv", ".env", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".hypothesis", ".ipynb_checkpoints", "*.egg-info", "node_modules", "/runs", "/build", "/dist",
)  # fmt: skip
# Seconds between SIGTERM, by which a search ends cleanly, and SIGKILL. Ray 2.60 waits 3 s unless it
# is told otherwise (ray/dashboard/modules/job/job_supervisor.py).
STOP_SECONDS = 300
# Where a job runs, and keeps its runs.
PROJECT = "~/fmnist-search"
LINKED = "warning: ~ is a link here: modules in ~/fmnist-search come before those submitted"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Variables by which a user gives Ray a token (ray/_private/authentication, Ray 2.60).
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Ray 2.60 prefers the address in one of these to the address that it is called with.
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def prepare_process() -> None:
    """Set the variables that Ray reads, and silence its log; call this before importing Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if TOKEN.expanduser().exists() or any(name in os.environ for name in TOKEN_VARIABLES):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name in ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    # Ray logs on many lines what it packs and leaves out.
    logging.disable(logging.WARNING)


def check_submission(arguments: Sequence[str], name: str | None, folder: Path) -> None:
    """Check what can be checked without the job server, and name all that is wrong at once."""
    prepare_process()
    problems = []
    if not arguments:
        problems.append(
            "expected a command of fmnist-search behind --, such as: -- run --space wide"
        )
    if name is not None and not NAME.fullmatch(name):
        problems.append(f"--name {name!r}: expected letters, digits, and . _ - between them.")
    if _sizes(folder).total() > MAX_BYTES:
        problems.append(size_problem(folder))
    if problems:
        raise ClusterError("\n".join(problems))


def entry_point(arguments: Sequence[str]) -> str:
    """Return the shell command that a job runs on the head.

    It runs in a folder that lasts: Ray removes its copy of the submitted folder with the job.
    """
    command = shlex.join(["fmnist-search", *arguments])
    return (
        f"mkdir -p {PROJECT} && cd {PROJECT} && "
        f'{{ [ "$(pwd -P)" = {PROJECT} ] || echo "{LINKED}"; }} && exec {command}'
    )


def environment(folder: Path) -> dict[str, Any]:
    """Return the runtime environment of a job whose code is that of a folder.

    Python finds modules of the submitted folder before those that are installed on the machines,
    and before those of the job's current folder, which a search puts in front of the path unless
    the path names it.
    """
    return {
        "working_dir": str(folder),
        "excludes": list(EXCLUDES),
        # Ray 2.60 fills in the variables of each machine (ray/_private/utils.py).
        "env_vars": {
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
            "PYTHONPATH": PROJECT.replace("~", "${HOME}"),
        },
    }


def unique_name(command: str) -> str:
    """Return a name for the job of a command that no other job has."""
    word = command if NAME.fullmatch(command) else "job"
    return f"{word}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def size_problem(folder: Path) -> str:
    """Return a line on a folder that the job server refuses because of its size."""
    sizes = _sizes(folder)
    largest = ", ".join(f"{name} {_mib(size)}" for name, size in sizes.most_common(NAMED_ENTRIES))
    return (
        f"{folder}: {_mib(sizes.total())} would be sent, and Ray takes {_mib(MAX_BYTES)} with all "
        f"names; the largest: {largest}. Name what the search does not need in "
        f"{folder / '.rayignore'} (a line each, as in .gitignore), or submit from another folder."
    )


def _sizes(folder: Path) -> Counter[str]:
    """Return the bytes that a job would send of each entry of a folder."""
    # Ray 2.60 packs by this walk, so that what is counted is what is sent.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sizes: Counter[str] = Counter()

    def count(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size

    excludes = [_get_excludes(folder, list(EXCLUDES))]
    _dir_travel(folder, excludes, count, include_gitignore=True)
    return sizes


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
