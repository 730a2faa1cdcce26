"""Programs that a test needs and the machine lacks: Debian's packages, unpacked and not installed.

They live in the user's cache. No list of the system is touched: apt works on lists of its own.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

COMMAND_TIMEOUT_SECONDS = 300


class UnpackedError(Exception):
    """A program is not here, does not run here, or could not be fetched."""


def cache_dir(name: str) -> Path:
    """Folder of this project's cache in which packages are kept under a name."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fmnist-search" / name


def can_fetch() -> bool:
    """Whether this is a Debian or Ubuntu, whose packages can be fetched."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


@contextmanager
def unpacked(
    packages: Sequence[str], *, beside: Path, anyway: Sequence[str] = ()
) -> Iterator[Path]:
    """Fetch packages, with what they need and this machine lacks, and unpack them.

    Args:
        packages: Their names; those that are installed here are left out.
        beside: The folder is made beside this path, on the same file system.
        anyway: Packages that are unpacked even where they are installed.

    Yields:
        The folder; what is left of it afterwards is removed.

    Raises:
        UnpackedError: A package could not be had.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{beside.name}-", dir=beside.parent) as folder:
        work = Path(folder)
        _download(packages, anyway, work)
        for archive in work.glob("*.deb"):
            run("dpkg-deb", "--extract", str(archive), str(work / "root"), folder=work)
        yield work / "root"


def take_place(fresh: Path, target: Path, *, check: Callable[[Path], object]) -> None:
    """Put a folder that passed the check where one is that did not, or none.

    Args:
        fresh: The folder, on the file system of ``target``.
        target: Where it goes.
        check: Raises where a folder is not as it must be.
    """
    # A folder takes the place of an empty one at most: what is there did not pass the check.
    shutil.rmtree(target, ignore_errors=True)
    try:
        fresh.rename(target)
    except OSError:
        check(target)  # another process was faster


def library_folders(folder: Path) -> list[Path]:
    """Folders of the shared libraries among unpacked packages, for ``LD_LIBRARY_PATH``."""
    return sorted({path.parent for path in folder.rglob("lib*.so*")})


def check_libraries(program: Path, folders: Sequence[Path]) -> None:
    """Check that the shared libraries that a program is linked with are all here.

    Args:
        program: The program.
        folders: Where libraries are beside the system's own folders.

    Raises:
        UnpackedError: Some are not.
    """
    variables = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))} if folders else {}
    linked = run("ldd", str(program), folder=program.parent, variables=variables)
    if missing := re.findall(r"(\S+) => not found", linked):
        raise UnpackedError(f"{program} does not run here: needs {', '.join(missing)}")


def run(
    *command: str,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
) -> str:
    """Run a command and return what it printed.

    Args:
        *command: The program and its arguments.
        folder: Where it runs.
        variables: Environment variables that it has besides those of this process.
        timeout_seconds: When it is ended.

    Raises:
        UnpackedError: It is not here, failed, or took longer than it may.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"} | dict(variables or {}),
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        ).stdout
    except OSError as error:
        raise UnpackedError(f"`{command[0]}` cannot be run ({error})") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise UnpackedError(f"`{command[0]}` failed ({' '.join(last)})") from error
    except subprocess.TimeoutExpired as error:
        raise UnpackedError(f"`{command[0]}` took over {timeout_seconds} s") from error


def _download(packages: Sequence[str], anyway: Sequence[str], work: Path) -> None:
    for folder in ("lists/partial", "archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    apt = (
        "apt-get",
        "-q",
        f"-oDir::State::Lists={work / 'lists'}",
        f"-oDir::Cache={work}",
        # As root, apt would change to a user that may not write into this folder.
        "-oAPT::Sandbox::User=root",
        # A list that cannot be had is a failure, not a warning.
        "-oAPT::Update::Error-Mode=any",
    )
    run(*apt, "update", folder=work)
    plan = run(*apt, "install", "--simulate", "--no-install-recommends", *packages, folder=work)
    run(*apt, "download", *sorted({*_new_packages(plan), *anyway}), folder=work)


def _new_packages(plan: str) -> list[str]:
    # `Inst rsync (3.2.7 ...)` is new; `Inst zlib1g [1.2.12] (1.2.13 ...)` is here, only older.
    return re.findall(r"^Inst (\S+) \(", plan, flags=re.MULTILINE)
