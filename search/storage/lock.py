"""One driver for a run: a file that names who writes to it, with a beat by which others know.

Whether an owner still lives is known for sure where it ran on this machine since its last start.
For any other the file is watched for a while: no clocks of two machines are compared.
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

BEAT_SECONDS = 2.0
# A driver that could not write its beat for this long may be taken for dead by another driver. A
# reader has a limit of its own: ``results.reading``.
WATCH_SECONDS = 12.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Owner:
    """A driver.

    Attributes:
        host: Name of its machine.
        boot: What changes when that machine starts again.
        namespace: In which its process id counts: containers have their own.
        pid: Its process id.
        started: When the process started, by its machine; a process id is used again.
        token: Its own, so that a process knows a lock of its own from any other.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: float
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        """Return this process as an owner, a new one at each call."""
        return cls(
            host=platform.node(),
            boot=_boot(),
            namespace=os.readlink(PID_NAMESPACE) if PID_NAMESPACE.exists() else "",
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            token=secrets.token_hex(8),
        )

    def is_alive(self) -> bool | None:
        """Tell whether it lives; None where that cannot be known from here."""
        here = Owner.this_process()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            return False
        if self.namespace != here.namespace:
            return None
        try:
            process = psutil.Process(self.pid)
            # A zombie has ended. Half a second: the boot time from which it is counted is rounded.
            is_it = abs(process.create_time() - self.started) < 0.5
            return is_it and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class RunLock:
    """Held by the one driver that writes to a run.

    Args:
        beat_seconds: How often the owner shows that it lives.
        watch_seconds: How long a foreign one is watched for such a sign.
        say: Told when a dead driver's lock is taken over.

    Raises:
        RunFolderError: Another driver holds it, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        say: Say,
        beat_seconds: float = BEAT_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._path = path
        self._say = say
        self._beat_seconds = beat_seconds
        self._watch_seconds = watch_seconds
        self._owner = Owner.this_process()
        self._beats = 0
        self._seen_at = time.monotonic()
        self._ended = threading.Event()
        self._lost = False
        try:
            self._take()
        except OSError as error:
            raise RunFolderError(
                f"{path.parent} cannot be written ({error.strerror}). Allow writing there, or use "
                "another place."
            ) from error
        threading.Thread(target=self._keep_beating, name="run lock", daemon=True).start()

    def check(self) -> None:
        """Make sure that this driver still holds the lock.

        Raises:
            RunFolderError: Another has taken the run over, for example while this machine slept.
        """
        if time.monotonic() - self._seen_at > self._watch_seconds / 2:
            self._look()
        if self._lost:
            raise RunFolderError(
                f"{self._path.parent}: another driver has taken this run over. This one writes "
                "nothing more."
            )

    def release(self) -> None:
        """Give the lock back."""
        self._ended.set()
        if not self._lost and self._holder() == self._owner:
            self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.{self._owner.token}")
        try:
            fresh.write_text(self._text())
            while True:
                try:
                    return self._place(fresh)
                except FileExistsError:
                    self._remove_if_dead()
        finally:
            fresh.unlink(missing_ok=True)

    def _place(self, fresh: Path) -> None:
        """Put the lock into its place; of several that try, one succeeds."""
        try:
            os.link(fresh, self._path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with self._path.open("x") as file:
                file.write(self._text())

    def _remove_if_dead(self) -> None:
        text = self._read()
        holder = _owner(text)
        alive = holder.is_alive() if holder else None
        if alive is None and text is not None:
            place = f"on {holder.host}" if holder else "unknown"
            self._say(f"{self._path.name}: held by a driver {place}; watching for a sign of life")
            alive = self._beats_again(text)
        if alive:
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise RunFolderError(
                f"{self._path.parent} is in use by {who}: expected one driver for a run. Wait for "
                "it, or end it first."
            )
        aside = self._path.with_name(f"{self._path.name}.{self._owner.token}.dead")
        try:
            os.rename(self._path, aside)  # of several that take it over, one succeeds
        except FileNotFoundError:
            return
        try:
            if _owner(_text_of(aside)) != holder:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)  # a living one's, made meanwhile: put back
                return
        finally:
            aside.unlink()
        if holder is not None:
            self._say(
                f"its driver (process {holder.pid} on {holder.host}) is dead: this one goes on"
            )

    def _beats_again(self, before: str) -> bool:
        deadline = time.monotonic() + self._watch_seconds
        while time.monotonic() < deadline:
            time.sleep(self._beat_seconds / 4)
            text = self._read()
            if text != before:
                return text is not None
        return False

    def _keep_beating(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            self._look()
            if self._lost:
                return
            self._beats += 1
            fresh = self._path.with_name(f"{self._path.name}.{self._owner.token}")
            try:
                fresh.write_text(self._text())
                os.replace(fresh, self._path)
            except OSError:  # a full disk: what cannot be written will be said by the journal
                with contextlib.suppress(OSError):
                    fresh.unlink(missing_ok=True)

    def _look(self) -> None:
        try:
            holder = self._holder()
        except OSError:  # a folder that does not answer at the moment
            return
        self._lost = holder is not None and holder != self._owner
        self._seen_at = time.monotonic()

    def _holder(self) -> Owner | None:
        return _owner(self._read())

    def _read(self) -> str | None:
        return _text_of(self._path)

    def _text(self) -> str:
        return json.dumps(asdict(self._owner) | {"beats": self._beats}) + "\n"


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _owner(text: str | None) -> Owner | None:
    try:
        row = json.loads(text or "")
        del row["beats"]
        return Owner(**row)
    except (ValueError, KeyError, TypeError):
        return None  # torn, or of another program


def _boot() -> str:
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else str(round(psutil.boot_time()))
