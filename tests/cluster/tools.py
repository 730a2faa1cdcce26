"""The programs that a lab of hosts needs besides this machine's own: ``sshd`` and ``rsync``.

Where they are not installed, Debian's packages are unpacked into the user's cache, which takes
the network that a test does not have. Hence a step of its own: `python tests/cluster/tools.py`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Where a host looks for programs; what else is on the PATH of this machine is not seen there.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where a host has the folder of unpacked packages.
MOUNTED_AT = Path("/opt/lab-tools")
PACKAGES = ("openssh-server", "rsync")
APT_TIMEOUT_SECONDS = 300


class ToolsError(Exception):
    """The programs are not here, or could not be fetched."""


@dataclass(frozen=True)
class Tools:
    """Where the programs are.

    Attributes:
        sshd: The ssh server.
        rsync: The program of that name.
        unpacked: Folder of the unpacked packages; None when this machine has both programs.
        libraries: Folders of shared libraries unpacked with them, for ``LD_LIBRARY_PATH``.
    """

    sshd: Path
    rsync: Path
    unpacked: Path | None = None
    libraries: tuple[Path, ...] = ()

    @property
    def library_path(self) -> str:
        """Value for ``LD_LIBRARY_PATH``; empty when none is needed."""
        return os.pathsep.join(map(str, self.libraries))

    def on_a_host(self) -> "Tools":
        """Return the same as a host sees it, with the unpacked packages at ``MOUNTED_AT``."""
        if not self.unpacked:
            return self
        return _in_folder(MOUNTED_AT, [path.relative_to(self.unpacked) for path in self.libraries])


def cache_dir() -> Path:
    """Folder in which the unpacked packages are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fmnist-search" / "lab-tools"


def find() -> Tools:
    """Return the programs of this machine, else those unpacked earlier; uses no network.

    Raises:
        ToolsError: Neither is there, or what was unpacked does not run here.
    """
    sshd, rsync = (shutil.which(name, path=SYSTEM_PATH) for name in ("sshd", "rsync"))
    if sshd and rsync:
        return Tools(Path(sshd), Path(rsync))
    return _checked(cache_dir())


def fetch() -> Tools:
    """Return what ``find`` does, after fetching Debian's packages where that finds nothing.

    Nothing is installed and no list of the system is touched: apt works on lists of its own.

    Raises:
        ToolsError: This is no Debian or Ubuntu, or the packages could not be had.
    """
    try:
        return find()
    except ToolsError:
        _fetch_into(cache_dir())
        return find()


def _fetch_into(target: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ToolsError(
            "sshd and rsync are missing, and this is no Debian or Ubuntu whose packages could be"
            " fetched: install both"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lab-tools-", dir=target.parent) as beside:
        fresh = _download_and_unpack(Path(beside))
        _checked(fresh)
        # A folder takes the place of an empty one at most: what is there did not pass the check.
        shutil.rmtree(target, ignore_errors=True)
        try:
            fresh.rename(target)
        except OSError:
            _checked(target)  # another process was faster


def _download_and_unpack(work: Path) -> Path:
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
    _run(*apt, "update", folder=work)
    plan = _run(*apt, "install", "--simulate", "--no-install-recommends", *PACKAGES, folder=work)
    _run(*apt, "download", *_new_packages(plan), folder=work)
    for archive in work.glob("*.deb"):
        _run("dpkg-deb", "--extract", str(archive), str(work / "root"), folder=work)
    return work / "root"


def _new_packages(plan: str) -> list[str]:
    # `Inst rsync (3.2.7 ...)` is new; `Inst zlib1g [1.2.12] (1.2.13 ...)` is here, only older.
    return re.findall(r"^Inst (\S+) \(", plan, flags=re.MULTILINE)


def _checked(folder: Path) -> Tools:
    libraries = sorted({path.parent for path in folder.rglob("lib*.so*")})
    tools = _in_folder(folder, [path.relative_to(folder) for path in libraries])
    for program in (tools.sshd, tools.rsync):
        if not program.exists():
            raise ToolsError(
                f"{program.name} is neither on this machine nor in {folder}: install it, or run"
                " `python tests/cluster/tools.py`, which fetches it for the tests alone"
            )
        linked = _run("ldd", str(program), folder=folder, library_path=tools.library_path)
        if missing := re.findall(r"(\S+) => not found", linked):
            raise ToolsError(f"{program} does not run here: needs {', '.join(missing)}")
    return tools


def _in_folder(folder: Path, libraries: list[Path]) -> Tools:
    return Tools(
        sshd=folder / "usr/sbin/sshd",
        rsync=folder / "usr/bin/rsync",
        unpacked=folder,
        libraries=tuple(folder / path for path in libraries),
    )


def _run(*command: str, folder: Path, library_path: str = "") -> str:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ
            | {"LC_ALL": "C"}
            | ({"LD_LIBRARY_PATH": library_path} if library_path else {}),
            check=True,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise ToolsError(f"`{command[0]}` failed ({' '.join(last)})") from error
    except subprocess.TimeoutExpired as error:
        raise ToolsError(f"`{command[0]}` took over {APT_TIMEOUT_SECONDS} s") from error


if __name__ == "__main__":
    try:
        tools = fetch()
        print(f"lab: {tools.sshd}, {tools.rsync}")
    except ToolsError as error:
        sys.exit(f"error: {error}")
