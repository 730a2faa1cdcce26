"""The files with which a folder becomes a project for a cluster: ``fmnist-cluster init``.

A project is what is copied to the machines: a folder with ``cluster/``, and the packages to install
there. A checkout is one; ``init`` makes one of any other folder.
"""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from cluster.errors import ClusterError
from cluster.wheel import DISTRIBUTION, wheel, wheel_name

HERE = Path(__file__).resolve().parent
FOLDER = "cluster"
# Copied as they are; the first five are for editing.
FILES = (
    "onprem.yaml", "slurm.sh", "kuberay.yaml", "kuberay-runs.yaml", "aws.yaml",
    "submit.py", "setup.sh", "aws.lock", "Dockerfile", "Dockerfile.dockerignore",
)  # fmt: skip
REQUIREMENTS = "requirements.txt"
DOCKERFILE = "Dockerfile"
# Which of its two ways to install is the default.
FROM_THE_WHEEL = (b"ARG PROJECT=checkout\n", b"ARG PROJECT=wheel\n")
# Every virtual environment brings its own.
NOT_PINNED = (DISTRIBUTION, "pip")
HEADER = f"""\
# The packages of each machine: those that were installed where `fmnist-cluster init` was run.
# Add what else your code imports. By hand: pip install -r {FOLDER}/{REQUIREMENTS}
"""


@dataclass(frozen=True)
class Written:
    """What ``write_project`` has done.

    Attributes:
        folder: The folder of the files.
        written: Names of the files that are new.
        kept: Names of the files that were there before, and are unchanged.
        left_out: Installed packages that are not in the requirements, since only this machine has
            their source: a folder, or a repository.
    """

    folder: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]


def write_project(project: Path) -> Written:
    """Write the files for clusters into ``cluster/`` of a folder; change none that is there.

    Raises:
        ClusterError: The folder is a checkout, or cannot be written to.
    """
    folder = project / FOLDER
    if (folder / "__init__.py").exists():
        raise ClusterError(
            f"{folder} is a Python package: expected a folder of your own. A checkout of "
            "fmnist-search has these files."
        )
    contents = {name: (HERE / name).read_bytes() for name in FILES}
    contents[DOCKERFILE] = contents[DOCKERFILE].replace(*FROM_THE_WHEEL)
    pins, left_out = installed_packages()
    requirements = [f"./{FOLDER}/{wheel_name()}", *pins]
    contents[REQUIREMENTS] = (HEADER + "".join(f"{line}\n" for line in requirements)).encode()
    try:
        if not _names_other_wheel(folder / REQUIREMENTS):
            contents[wheel_name()] = wheel()
        folder.mkdir(parents=True, exist_ok=True)
        kept = tuple(name for name in contents if (folder / name).exists())
        written = tuple(name for name in contents if name not in kept)
        for name in written:
            (folder / name).write_bytes(contents[name])
    except OSError as error:
        raise ClusterError(
            f"{error.filename or folder} cannot be written ({error.strerror}): expected a folder "
            "that you may write to."
        ) from error
    return Written(folder, written, kept, left_out)


def _names_other_wheel(requirements: Path) -> bool:
    """Return whether there are requirements, such as those of an earlier version."""
    return requirements.exists() and wheel_name() not in requirements.read_text(encoding="utf-8")


def installed_packages() -> tuple[list[str], tuple[str, ...]]:
    """Return the packages of this environment as requirements, and those that only it can have.

    The second are names of packages that were installed from a folder or a repository.
    """
    pins: dict[str, str] = {}
    left_out = []
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"] or "")
        if not name or name in NOT_PINNED or name in pins:  # Python imports the first of two
            continue
        source = json.loads(distribution.read_text("direct_url.json") or "{}")
        if "dir_info" in source or "vcs_info" in source:
            left_out.append(name)
        else:
            pins[name] = f"{name}=={distribution.version}"
    return sorted(pins.values()), tuple(sorted(left_out))


def needs_make(project: Path) -> bool:
    """Return whether ``setup.sh`` of a project installs by make: a checkout does."""
    return not (project / FOLDER / REQUIREMENTS).exists()


def is_project(folder: Path) -> bool:
    """Return whether a folder has what is copied to machines and installed there."""
    has_packages = (folder / FOLDER / REQUIREMENTS, folder / "requirements.lock")
    return (folder / FOLDER / "setup.sh").exists() and any(path.exists() for path in has_packages)


def project_folder() -> Path:
    """Return the folder to copy to the machines: the current one, else this checkout.

    Raises:
        ClusterError: Neither is a project.
    """
    for folder in (Path.cwd(), HERE.parent):
        if is_project(folder):
            return folder
    raise ClusterError(
        f"{Path.cwd()} has no {FOLDER}/setup.sh and {FOLDER}/{REQUIREMENTS}: expected the folder "
        "of your project, which is copied to the machines. `fmnist-cluster init` writes both files."
    )
