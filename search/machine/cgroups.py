"""The limits of control groups, as Docker, Kubernetes, Slurm and systemd set them.

A process is in a group, whose limits and those of all groups above it hold; see cgroups(7). Version
2 has one tree for all controllers, version 1 a tree for each. Inside a container, the top of what
is mounted is often the container's own group.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Memory that the kernel takes back before it kills a process: the cache of files. The names of
# version 1 have a prefix where they count the groups below too.
CACHE_FIELDS = ("inactive_file", "active_file")
CACHE_FIELDS_V1 = ("total_inactive_file", "total_active_file")


@dataclass(frozen=True)
class Limit:
    """A limit, and the file that sets it.

    Attributes:
        amount: Cores, bytes, or processes and threads.
        used: How much of it is in use; 0 for cores.
        source: The file and its folder, as a user finds them.
    """

    amount: float
    used: float
    source: str

    @property
    def free(self) -> float:
        """How much of it is left, 0 or more."""
        return max(0.0, self.amount - self.used)


@dataclass(frozen=True)
class _Group:
    """The folder of a group, read below another root in tests."""

    path: PurePosixPath
    root: Path

    def read(self, file: str) -> str | None:
        """Return the text of a file; None if the group has none, as the topmost one often."""
        try:
            return (self.root / self.path.relative_to("/") / file).read_text().strip()
        except OSError:
            return None

    def number(self, file: str) -> float | None:
        """Return the number in a file; None if there is no file, or no limit (``max``)."""
        return _number(self.read(file))

    def sum_of(self, file: str, fields: tuple[str, ...]) -> float:
        """Return the sum of some fields of a file of names and numbers."""
        rows = (line.split() for line in (self.read(file) or "").splitlines())
        return sum(float(row[1]) for row in rows if len(row) == 2 and row[0] in fields)

    def source(self, file: str) -> str:
        return f"{file} of {self.path}"


def core_limits(root: Path = Path("/")) -> Iterator[Limit]:
    """Yield the limits of CPU time that hold for this process, in cores.

    Args:
        root: The folder that has ``/proc`` and ``/sys``.
    """
    for group in _groups("", root):
        quota, _, period = (group.read("cpu.max") or "").partition(" ")
        yield from _cores(group, "cpu.max", _number(quota), _number(period))
    for group in _groups("cpu", root):
        quota_us, period_us = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
        yield from _cores(group, "cpu.cfs_quota_us", quota_us, period_us)


def memory_limits(root: Path = Path("/")) -> Iterator[Limit]:
    """Yield the limits of memory that hold for this process, in bytes; arguments as above.

    A process that passes ``memory.high`` of version 2 is not killed, but nearly stands still.
    """
    for group in _groups("", root):
        used = (group.number("memory.current") or 0) - group.sum_of("memory.stat", CACHE_FIELDS)
        for file in ("memory.max", "memory.high"):
            yield from _limit(group, file, used)
    for group in _groups("memory", root):
        in_cache = group.sum_of("memory.stat", CACHE_FIELDS_V1)
        used = (group.number("memory.usage_in_bytes") or 0) - in_cache
        yield from _limit(group, "memory.limit_in_bytes", used)


def process_limits(root: Path = Path("/")) -> Iterator[Limit]:
    """Yield the limits of processes and threads that hold for this process; arguments as above."""
    for controller in ("", "pids"):
        for group in _groups(controller, root):
            yield from _limit(group, "pids.max", group.number("pids.current") or 0)


def _cores(
    group: _Group, file: str, quota_us: float | None, period_us: float | None
) -> Iterator[Limit]:
    if quota_us is not None and period_us and quota_us > 0:  # -1: no limit
        yield Limit(quota_us / period_us, 0, group.source(file))


def _limit(group: _Group, file: str, used: float) -> Iterator[Limit]:
    amount = group.number(file)
    if amount is not None:
        yield Limit(amount, max(0.0, used), group.source(file))


def _groups(controller: str, root: Path) -> Iterator[_Group]:
    """Yield the group of this process in the tree of a controller, and those above it.

    Args:
        controller: Such as ``cpu``, of version 1; empty for the tree of version 2.
        root: As above.
    """
    mount = next(_mounts(controller, root), None)
    path = _own_path(controller, root)
    if mount is None or path is None:
        return
    top, folder = mount
    # A group outside of what is mounted here has its files at the mount itself.
    below = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
    group = folder if ".." in below.parts else folder / below
    for each in (group, *group.parents):
        if each.is_relative_to(folder):
            yield _Group(each, root)


def _own_path(controller: str, root: Path) -> PurePosixPath | None:
    """Return the path of this process's group within its tree."""
    for line in _lines(root / "proc/self/cgroup"):
        _number_of_tree, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mounts(controller: str, root: Path) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """Yield where the tree of a controller is mounted: the group at its top, and the folder.

    For the fields of the file see proc_pid_mountinfo(5).
    """
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, file_system = line.partition(" - ")
        kind, _, options = file_system.split(" ", 2)
        is_it = controller in options.split(",") if controller else True
        if kind == ("cgroup" if controller else "cgroup2") and is_it:
            top, folder = (each.replace("\\040", " ") for each in mount.split(" ")[3:5])
            yield PurePosixPath(top), PurePosixPath(folder)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:  # "max"
        return None
