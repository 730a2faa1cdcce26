"""The lock of a run, which allows one driver: a file that names its owner and counts its beats.

A process on this machine can be checked directly. For an owner on another machine, the lock watches
the file for new beats; it never compares the clocks of two machines.
"""

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from results.record.errors import RunFolderError
from search.storage.clock import Clock

BEAT_SECONDS = 2.0
# Another driver may take a driver for dead that has written no beat for this long. Readers have
# their own limit: ``results.reading``.
WATCH_SECONDS = 12.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Owner:
    """The driver that holds a lock.

    Attributes:
        host: Name of its machine.
        boot: Id of the machine's boot; another one after a restart.
        namespace: Namespace of the process id; each container has its own.
        pid: Its process id.
        started: Start time of the process, in seconds by its machine's clock; ids are reused.
        token: A random id of this lock, so that a process recognizes its own lock.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: float
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        """Return this process as an owner, with a new token at each call."""
        return cls(
            host=platform.node(),
            boot=boot_id(),
            namespace=os.readlink(PID_NAMESPACE) if PID_NAMESPACE.exists() else "",
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            token=secrets.token_hex(8),
        )

    def is_alive(self) -> bool | None:
        """Tell whether the owner is alive; None if this process cannot know."""
        this = Owner.this_process()
        if self.host != this.host:
            return None
        if self.boot != this.boot:
            return False
        if self.namespace != this.namespace:
            return None
        try:
            process = psutil.Process(self.pid)
            # The start time varies by less than 0.5 s, as the boot time in it is rounded.
            is_same = abs(process.create_time() - self.started) < 0.5
            return is_same and process.status() != psutil.STATUS_ZOMBIE  # a zombie has ended
        except psutil.NoSuchProcess:
            return False


class RunLock:
    """The lock of a run, held by the only driver that writes to it.

    Args:
        path: The lock file.
        say: Prints a line for the user.
        beat_seconds: Interval between two beats.
        watch_seconds: How long the lock of an owner on another machine is watched for a beat.
        clock: Returns seconds that are never set back.
        sleep: Waits for a number of seconds.

    Raises:
        RunFolderError: Another driver holds the lock, or its file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        say: Say,
        beat_seconds: float = BEAT_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path = path
        self._say = say
        self._beat_seconds = beat_seconds
        self._watch_seconds = watch_seconds
        self._clock = clock
        self._sleep = sleep
        self._owner = Owner.this_process()
        self._beats = 0
        self._checked_at = clock()
        self._released = threading.Event()
        # Held while the file is written or removed.
        self._writing = threading.Lock()
        self._lost = False
        try:
            self._take()
        except OSError as error:
            raise RunFolderError(
                f"{path.parent} cannot be written ({error.strerror}). Make it writable, or name "
                "another folder."
            ) from error
        threading.Thread(target=self._keep_beating, name="run lock", daemon=True).start()

    def check(self) -> None:
        """Check that this driver still holds the lock.

        Raises:
            RunFolderError: Another driver took over, for example while this machine was asleep.
        """
        if self._clock() - self._checked_at > self._watch_seconds / 2:
            self._check_holder()
        if self._lost:
            raise RunFolderError(
                f"{self._path.parent}: another driver has taken over this run. This process writes "
                "nothing more."
            )

    def beat(self) -> bool:
        """Write one more beat; return whether this driver still holds the lock."""
        with self._writing:
            if self._released.is_set():
                return False
            self._check_holder()
            if self._lost:
                return False
            self._beats += 1
            fresh = self._path.with_name(f"{self._path.name}.{self._owner.token}")
            try:
                fresh.write_text(self._text())
                os.replace(fresh, self._path)
            except OSError:  # such as a full disk: the journal reports it
                with contextlib.suppress(OSError):
                    fresh.unlink(missing_ok=True)
            return True

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        with self._writing:  # a beat under way would create the file anew
            if not self._lost and self._holder() == self._owner:
                self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.{self._owner.token}")
        try:
            fresh.write_text(self._text())
            while True:
                try:
                    return self._create(fresh)
                except FileExistsError:
                    self._remove_if_dead()
        finally:
            fresh.unlink(missing_ok=True)

    def _create(self, fresh: Path) -> None:
        """Create the lock file; of several processes that try, one succeeds."""
        try:
            os.link(fresh, self._path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with self._path.open("x") as file:
                file.write(self._text())

    def _remove_if_dead(self) -> None:
        text = self._read()
        holder = _parse_owner(text)
        is_alive = holder.is_alive() if holder else None
        if is_alive is None and text is not None:
            driver = f"a driver on {holder.host}" if holder else "an unknown driver"
            limit = f"{self._watch_seconds:g} s"
            self._say(f"{self._path.name} is held by {driver}; watching it for {limit}")
            is_alive = self._beats_again(text)
        if is_alive:
            driver = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise RunFolderError(
                f"{self._path.parent} is in use by {driver}: expected one driver for a run. Wait "
                "until it ends, or stop it."
            )
        aside = self._path.with_name(f"{self._path.name}.{self._owner.token}.dead")
        try:
            os.rename(self._path, aside)  # of several processes, one succeeds
        except FileNotFoundError:
            return
        try:
            if _parse_owner(_read_text(aside)) != holder:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)  # a new, live lock: put it back
                return
        finally:
            aside.unlink()
        if holder is not None:
            self._say(
                f"the run's driver (process {holder.pid} on {holder.host}) is dead: this process "
                "takes over"
            )

    def _beats_again(self, text_before: str) -> bool:
        deadline = self._clock() + self._watch_seconds
        while self._clock() < deadline:
            self._sleep(self._beat_seconds / 4)
            text = self._read()
            if text != text_before:
                return text is not None
        return False

    def _keep_beating(self) -> None:
        while not self._released.wait(self._beat_seconds):
            if not self.beat():
                return

    def _check_holder(self) -> None:
        try:
            holder = self._holder()
        except OSError:  # such as a network folder that does not answer
            return
        self._lost = holder is not None and holder != self._owner
        self._checked_at = self._clock()

    def _holder(self) -> Owner | None:
        return _parse_owner(self._read())

    def _read(self) -> str | None:
        return _read_text(self._path)

    def _text(self) -> str:
        return json.dumps(asdict(self._owner) | {"beats": self._beats}) + "\n"


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _parse_owner(text: str | None) -> Owner | None:
    try:
        row = json.loads(text or "")
        del row["beats"]
        return Owner(**row)
    except (ValueError, KeyError, TypeError):
        return None  # incomplete, or written by another program


def boot_id() -> str:
    """Return a text that differs after each boot of the machine."""
    if BOOT_ID.exists():
        return BOOT_ID.read_text(encoding="utf-8").strip()
    return str(round(psutil.boot_time()))
