"""What benchmarks share: what a program and all its processes use, and the machine in words."""

import contextlib
import os
import platform
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Use:
    """What was used.

    Attributes:
        cpu_seconds: Of all processes, those that ended meanwhile included (at their last look).
        peak_memory_bytes: Most that was held at once; memory that processes share counts once.
    """

    cpu_seconds: float
    peak_memory_bytes: int


class Meter:
    """Looks at a process and its descendants every second, in a thread of its own.

    Args:
        process: The one that was started.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._root = psutil.Process(process.pid)
        self._cpu: dict[tuple[int, float], float] = {}
        self._known: dict[int, psutil.Process] = {process.pid: self._root}
        self._peak = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def stop(self) -> Use:
        """Look no more, and return what was used so far."""
        self._is_over.set()
        self._thread.join()
        return Use(round(sum(self._cpu.values()), 1), self._peak)

    def kill(self) -> None:
        """End all processes that were seen and still run."""
        self._find()
        for process in self._known.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)  # psutil looks whether the number is another's

    def _look_on(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            self._find()
            self._look()
            # A look costs the more, the more processes there are: never over a tenth of a core.
            self._is_over.wait(max(LOOK_SECONDS, 10 * (time.monotonic() - began)))

    def _find(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in self._root.children(recursive=True):
                self._known.setdefault(child.pid, child)

    def _look(self) -> None:
        memory = 0
        for pid, process in list(self._known.items()):
            try:
                times = process.cpu_times()
                self._cpu[pid, process.create_time()] = times.user + times.system
                memory += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                del self._known[pid]
            except psutil.AccessDenied:
                continue
        self._peak = max(self._peak, memory)


def machine() -> str:
    """Return the machine in words: its cores and their kind."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    kinds = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {kinds[0] if kinds else platform.machine()}"
