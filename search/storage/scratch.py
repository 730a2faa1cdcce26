"""Temporary files: one folder for each process, which is removed even if the process is killed.

A process holds a lock on its folder as long as it lives, and so do the processes that it starts and
that use the folder. The next run removes the folders whose lock is free.
"""

import atexit
import contextlib
import fcntl
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from results.record.errors import SearchError
from search.storage.lock import boot_id

FOLDER, LINK = "fmnist-search", "fmnist-link"
NAME = re.compile(rf"(?P<kind>{FOLDER}|{LINK})-(?P<pid>\d+)-[0-9a-f]{{4}}")
LOCK_FILE = "lock"
# A search of small models writes less than 1 MB; Ray puts data there that do not fit in memory.
MIN_FREE_BYTES = 50 * 1024**2
# A socket path has at most 107 bytes: unix(7).
MAX_SOCKET_BYTES = 107
# What Ray 2.60 adds to its folder, with the longest id of a process.
RAY_SOCKET = "session_2026-12-01_15-54-15_123456_1234567/sockets/plasma_store"
# A process starts Ray anew a few times: the number of a folder has at most two digits.
LONGEST_NUMBER = "99"
# Names the folder of the process that has started this one.
INHERITED = "FMNIST_SEARCH_SCRATCH"


class NoRoomError(SearchError):
    """No folder has room for temporary files."""


@dataclass(frozen=True)
class LockedFolder:
    """A folder that this process has made and whose lock it holds.

    Attributes:
        lock: Number of the open lock file.
    """

    path: Path
    lock: int

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


@dataclass
class _Own:
    """The folders of a process.

    Attributes:
        pid: The process. One that it has forked inherits this object, and makes its own folders.
        folder: Its folder, once it needs one.
        link: A folder with a short path and a link to its folder, if that has a long one.
        shared: Number of the open lock file of each folder of another process that it uses.
    """

    pid: int
    folder: LockedFolder | None = None
    link: LockedFolder | None = None
    shared: dict[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherProcess:
    """A live process of this user that has a temporary folder.

    Attributes:
        pid: Its id; in its own container, if it runs in one.
        folder: Its folder.
    """

    pid: int
    folder: Path


_own = _Own(os.getpid())


def folder() -> Path:
    """Return the folder of this process for temporary files; make it at the first call.

    It is in ``TMPDIR`` if that has room, else in a folder that has. It ends with the process.

    Raises:
        NoRoomError: No folder has room.
    """
    own = _of_this_process()
    if own.folder is None or not own.folder.path.exists():  # something else tidies up, too
        _sweep()
        _remove_own()
        own.folder = _first_usable(_make_folder)
    return own.folder.path


def new_sockets_folder() -> Path:
    """Make a folder whose path is short enough for Ray's sockets; the caller removes it.

    Raises:
        NoRoomError: No folder has room.
    """
    path, own = folder(), _of_this_process()
    if own.link is None and not _is_short(path):
        own.link = _first_usable(lambda place: _make_link(place, path), min_free_bytes=0)
    parent = path if own.link is None else own.link.path / "0"
    number = 0
    while True:
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            number += 1


def locks() -> tuple[int, ...]:
    """Return the numbers of the open files that a process inherits which uses the folder."""
    own = _of_this_process()
    return tuple(each.lock for each in (own.folder, own.link) if each is not None)


def make(prefix: str) -> Path:
    """Make a folder that the caller removes, in the folder of this process or of its driver.

    Raises:
        NoRoomError: No folder has room.
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_inherited() or folder()))


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Provide an empty folder, and remove it when the context is left.

    Raises:
        NoRoomError: No folder has room.
    """
    own = _of_this_process().folder
    parent = _inherited() or (None if own is None else own.path)
    if parent is None:
        # Ray ends its workers without notice: they keep no folder for longer than they use it.
        _sweep()
        locked = _first_usable(_make_folder)
        try:
            yield locked.path
        finally:
            locked.remove()
        return
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def share(path: Path) -> None:
    """Keep the folder of another process, which ``path`` is in, as long as this process lives.

    For what is sent to every node, and put there at the path that it has on the driver's machine.
    """
    own = _of_this_process()
    root = next((each for each in (path, *path.parents) if NAME.fullmatch(each.name)), None)
    if root is None or root in own.shared or (own.folder and root == own.folder.path):
        return
    with contextlib.suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _hold(root)
        if lock is not None:
            own.shared[root] = lock


def others() -> list[OtherProcess]:
    """Return the other live processes of this user on this machine that have a folder."""
    own = _of_this_process().folder
    return [
        OtherProcess(int(name["pid"]), path)
        for path in _folders()
        if (name := NAME.fullmatch(path.name)) is not None
        if name["kind"] == FOLDER and not (own and own.path == path) and not _is_free(path)
    ]


def _of_this_process() -> _Own:
    global _own
    if _own.pid != os.getpid():
        _own = _Own(os.getpid())
    return _own


def _inherited() -> Path | None:
    """Return the folder of the driver, in a process that it has started on this machine."""
    name = os.environ.get(INHERITED)
    return Path(name) if name and _is_own_folder(Path(name)) else None


def _places() -> list[Path]:
    """Return where a temporary folder can be, the best place first."""
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP", "RAY_TMPDIR")]
    names = [*named, "/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "."]
    places = []
    for name in names:
        with contextlib.suppress(OSError):  # the current folder was removed
            places += [Path(name).absolute()] if name else []
    return list(dict.fromkeys(places))


def _first_usable(
    make_in: Callable[[Path], LockedFolder], *, min_free_bytes: int = MIN_FREE_BYTES
) -> LockedFolder:
    reasons = []
    for place in _places():
        try:
            free = shutil.disk_usage(place).free
            if free >= min_free_bytes:
                return make_in(place)
            reasons.append(f"{place} ({free / 1024**2:.0f} MB free)")
        except OSError as error:
            reasons.append(f"{place} ({error.strerror or error})")
    raise NoRoomError(
        f"there is no room for temporary files: expected a folder that can be written, with "
        f"{MIN_FREE_BYTES / 1024**2:.0f} MB free, found {', '.join(reasons)}. Free some space "
        "there, or set TMPDIR to another folder."
    )


def _make_folder(place: Path) -> LockedFolder:
    return _make_locked(place, FOLDER)


def _make_link(place: Path, target: Path) -> LockedFolder:
    link = _make_locked(place, LINK)
    try:
        path = link.path / "0"
        path.symlink_to(target)
        if not _is_short(path):
            raise OSError(0, "its path is too long for a socket")
    except OSError:
        link.remove()
        raise
    return link


def _make_locked(place: Path, kind: str) -> LockedFolder:
    while True:
        path = place / f"{kind}-{os.getpid()}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            try:
                lock = _hold(path)
            except OSError:
                shutil.rmtree(path, ignore_errors=True)
                raise
            if lock is not None:
                return LockedFolder(path, lock)


def _is_short(path: Path) -> bool:
    """Tell whether Ray's sockets fit below a numbered folder in a folder."""
    longest = path / LONGEST_NUMBER / RAY_SOCKET
    return len(os.fsencode(longest)) <= MAX_SOCKET_BYTES


def _hold(path: Path) -> int | None:
    """Lock a folder together with others that use it; None if it was just removed.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if os.path.samestat(os.fstat(lock), os.lstat(path / LOCK_FILE)):
            os.pwrite(lock, _machine().encode(), 0)
            return lock
    except FileNotFoundError:
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _sweep() -> None:
    """Remove the folders that no live process holds."""
    for path in _folders():
        with contextlib.suppress(OSError):
            try:
                with _locked_alone(path) as is_free:
                    if is_free:
                        shutil.rmtree(path, ignore_errors=True)
            except FileNotFoundError:
                path.rmdir()  # its process was killed before it made the lock


def _is_free(path: Path) -> bool:
    try:
        with _locked_alone(path) as is_free:
            return is_free
    except OSError:
        return True


@contextmanager
def _locked_alone(path: Path) -> Iterator[bool]:
    """Lock a folder that no process holds; tell whether that was possible.

    Raises:
        OSError: It has no lock, or the file system has none.
    """
    lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield _is_of_this_machine(os.pread(lock, 4096, 0).decode(errors="replace"))
    finally:
        os.close(lock)


def _folders() -> list[Path]:
    """Return all temporary folders of this user."""
    paths = []
    for place in _places():
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(place) if NAME.fullmatch(name)]
            paths += [place / name for name in names if _is_own_folder(place / name)]
    return paths


def _is_own_folder(path: Path) -> bool:
    """Tell whether this user owns a folder; not a link, which may lead anywhere."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _machine() -> str:
    return f"{boot_id()} {platform.node()}"


def _is_of_this_machine(text: str) -> bool:
    """Tell whether a lock was written here; one on a network disk may be held elsewhere."""
    boot, _, host = text.partition(" ")
    return boot == boot_id() or host == platform.node()


@atexit.register
def _remove_own() -> None:
    own = _of_this_process()
    for each in (own.link, own.folder):
        if each is not None:
            each.remove()
    own.link = own.folder = None
