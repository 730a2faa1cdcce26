"""Machines with limits: trees of files that look like ``/proc`` and ``/sys``, and real groups."""

import os
import time
from pathlib import Path

GIGABYTE = 1024**3
# 16 GB, of which 12 are available.
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         2097152 kB\nMemAvailable:   12582912 kB\n"
# The mounts of a machine with version 2 alone, with version 1, and with both.
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "38 31 0:35 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)


def make_tree(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """Write the files of a tree.

    Args:
        root: The folder of the tree.
        mounts: The lines of ``/proc/self/mountinfo``.
        groups: The lines of ``/proc/self/cgroup``.
        files: Texts of files of groups, by path below ``/sys/fs/cgroup``.
    """
    texts = {
        "proc/meminfo": MEMINFO,
        "proc/self/mountinfo": "23 1 0:5 / / rw - ext4 /dev/vda rw\n" + mounts,
        "proc/self/cgroup": groups,
    } | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class Groups:
    """Real control groups of version 1, into which a process can be started.

    Args:
        limits: The text of each file of a limit, by controller and file.
    """

    def __init__(self, limits: dict[tuple[str, str], str]) -> None:
        self.folders: dict[str, Path] = {}
        for (controller, file), text in limits.items():
            folder = Path("/sys/fs/cgroup") / controller / f"fmnist-test-{os.getpid()}"
            folder.mkdir(exist_ok=True)
            self.folders[controller] = folder
            (folder / file).write_text(text)

    def join(self) -> None:
        """Put this process into the groups: what ``subprocess`` calls before it starts a program."""
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Remove the groups, once the processes in them have ended."""
        deadline = time.monotonic() + 60
        while self.folders:
            controller, folder = self.folders.popitem()
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                self.folders[controller] = folder
                time.sleep(0.1)
