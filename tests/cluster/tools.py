"""The programs that a lab of hosts needs besides this machine's own: ``sshd`` and ``rsync``.

Where they are not installed, Debian's packages are unpacked into the user's cache, which takes
the network that a test does not have. Hence a step of its own: `python tests/cluster/tools.py`.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # The root too: folders of the tests are named as packages.
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

import debian
from debian import UnpackedError as ToolsError

# Where a host looks for programs; what else is on the PATH of this machine is not seen there.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where a host has the folder of unpacked packages.
MOUNTED_AT = Path("/opt/lab-tools")
PACKAGES = ("openssh-server", "rsync")


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
    return debian.cache_dir("lab-tools")


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
    if not debian.can_fetch():
        raise ToolsError(
            "sshd and rsync are missing, and this is no Debian or Ubuntu whose packages could be"
            " fetched: install both"
        )
    with debian.unpacked(PACKAGES, beside=target) as fresh:
        _checked(fresh)
        debian.take_place(fresh, target, check=_checked)


def _checked(folder: Path) -> Tools:
    libraries = debian.library_folders(folder)
    tools = _in_folder(folder, [path.relative_to(folder) for path in libraries])
    for program in (tools.sshd, tools.rsync):
        if not program.exists():
            raise ToolsError(
                f"{program.name} is neither on this machine nor in {folder}: install it, or run"
                " `python tests/cluster/tools.py`, which fetches it for the tests alone"
            )
        debian.check_libraries(program, tools.libraries)
    return tools


def _in_folder(folder: Path, libraries: list[Path]) -> Tools:
    return Tools(
        sshd=folder / "usr/sbin/sshd",
        rsync=folder / "usr/bin/rsync",
        unpacked=folder,
        libraries=tuple(folder / path for path in libraries),
    )


if __name__ == "__main__":
    try:
        tools = fetch()
        print(f"lab: {tools.sshd}, {tools.rsync}")
    except ToolsError as error:
        sys.exit(f"error: {error}")
