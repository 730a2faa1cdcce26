"""The parts of a submitted search: its command, its code and its environment."""

import logging
import os
import re
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.onprem.config import TOKEN

MIB = 1024**2
# The limit of a job server: DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py, Ray 2.60.
MAX_BYTES = 100 * MIB
NAMED_ENTRIES = 3
# Never sent, like the entries of .gitignore and .rayignore. A leading slash limits an entry to the
# top of the folder. `.env` often holds passwords.
EXCLUDES = (
    ".git", ".venv", "venv", ".env", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".hypothesis", ".ipynb_checkpoints", "*.egg-info", "node_modules", "/runs", "/build", "/dist",
)  # fmt: skip
# Time between SIGTERM, which ends a search cleanly, and SIGKILL. Ray 2.60 waits 3 s by default
# (ray/dashboard/modules/job/job_supervisor.py).
STOP_SECONDS = 300
# The folder on the head in which a job runs and keeps its runs.
PROJECT = "~/fmnist-search"
LINK_WARNING = (
    "warning: the home folder is a symbolic link: modules in ~/fmnist-search take precedence over "
    "the submitted ones"
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# The packages that a search imports, each with a part by which it is known.
PACKAGES = {"search": "plan", "results": "record"}
# Variables that may hold a user's token (ray/_private/authentication, Ray 2.60).
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Ray 2.60 prefers an address in one of these variables to its argument.
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def prepare_process() -> None:
    """Set the variables that Ray reads and silence its log; call it before importing Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.path.exists(os.path.expanduser(TOKEN)) or any(
        name in os.environ for name in TOKEN_VARIABLES
    ):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name in ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    # Ray logs many lines on what it packs and what it leaves out.
    logging.disable(logging.WARNING)


def check_submission(arguments: Sequence[str], name: str | None, folder: Path) -> None:
    """Check a submission without the job server.

    Raises:
        ClusterError: Names all problems at once.
    """
    prepare_process()
    problems = []
    if not arguments:
        problems.append(
            "no command: expected one of fmnist-search after --, such as: -- run --space wide"
        )
    if name is not None and not NAME.fullmatch(name):
        problems.append(
            f"--name {name!r}: expected letters, digits, . _ and -, a letter or digit first."
        )
    problems += _hiding_modules(folder)
    if _sizes(folder).total() > MAX_BYTES:
        problems.append(size_problem(folder))
    if problems:
        raise ClusterError("\n".join(problems))


def entry_point(arguments: Sequence[str]) -> str:
    """Return the shell command that a job runs on the head.

    It changes to a lasting folder: Ray removes its copy of the submitted folder with the job.
    """
    command = shlex.join(["fmnist-search", *arguments])
    return (
        f"mkdir -p {PROJECT} && cd {PROJECT} && "
        f'{{ [ "$(pwd -P)" = {PROJECT} ] || echo "{LINK_WARNING}"; }} && exec {command}'
    )


def environment(folder: Path) -> dict[str, Any]:
    """Return the runtime environment of a job that runs the code of a folder.

    Python finds the modules of the submitted folder first, before those that are installed on the
    machines. PYTHONPATH names the job's current folder, since a search puts that folder first if
    the path lacks it.
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
    """Return a unique job name that starts with a command, such as run-20270131-120000-1a2b."""
    prefix = command if NAME.fullmatch(command) else "job"
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def size_problem(folder: Path) -> str:
    """Return the message about a folder that is too large for the job server."""
    sizes = _sizes(folder)
    largest = ", ".join(f"{name} {_mib(size)}" for name, size in sizes.most_common(NAMED_ENTRIES))
    return (
        f"{folder}: {_mib(sizes.total())} would be sent, but Ray accepts at most "
        f"{_mib(MAX_BYTES)}, file names included. The largest: {largest}. List what the search "
        f"does not need in {folder / '.rayignore'} (one entry per line, as in .gitignore), or "
        "submit from another folder."
    )


def _hiding_modules(folder: Path) -> Iterator[str]:
    """Yield a message for each module that a job would import in place of a package of ours."""
    for package, part in PACKAGES.items():
        modules = [folder / f"{package}.py"]
        if not (folder / package / part).is_dir():
            modules.append(folder / package / "__init__.py")
        for module in filter(Path.is_file, modules):
            yield (
                f"{module} would hide the package {package!r} of fmnist-search: expected no other "
                "module of this name. Rename it."
            )


def _sizes(folder: Path) -> Counter[str]:
    """Return the bytes that a job would send for each entry of a folder."""
    # Ray 2.60 packs with the same walk, so the count matches what is sent.
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
