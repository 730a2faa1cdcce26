"""A Ray of this machine alone, run by a process of its own.

So Ray starts beside what this process does, can be joined and left, and is ended by ending that
process, also while it starts.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from search.errors import ProblemError
from search.machine.machine import this_machine
from search.ray.child import start_child
from search.ray.environment import (
    RAYLET_PID,
    environment_of_a_head,
    joining_own_ray,
    prepare_environment,
)
from search.ray.head.process import JOIN, LEAVE
from search.signals import same_handlers
from search.storage import scratch
from search.worker.process import silenced_stderr

PROCESS = Path(__file__).parent / "process.py"
# A Ray that is not used ends after this time: a script may not search again.
IDLE_SECONDS = 300
RAYLET, GCS = "raylet", "gcs_server"


class Head:
    """Ray's processes on this machine; they start at once and end with this process.

    They end by themselves when they are not used for ``IDLE_SECONDS`` after a search.

    Args:
        workers: The CPUs of Ray.
    """

    def __init__(self, workers: int) -> None:
        self._scratch = str(scratch.new_sockets_folder())
        options = {
            "num_cpus": workers,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": "ERROR",
            "_temp_dir": self._scratch,
            **this_machine().memory_of_ray(),
        }
        command = [sys.executable, str(PROCESS), RAYLET_PID, json.dumps(options), str(IDLE_SECONDS)]
        self._process = start_child(
            command,
            env=environment_of_a_head() | {scratch.INHERITED: str(scratch.folder())},
            pass_fds=scratch.locks(),
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which then ends Ray
        )
        self._has_started = False

    @property
    def is_running(self) -> bool:
        """Whether Ray starts or runs."""
        if self._process.poll() is not None:
            return False
        is_whole = is_running(self._child(RAYLET)) and is_running(self._child(GCS))
        return is_whole or not self._has_started

    def raylet(self) -> psutil.Process | None:
        """Return Ray's process that starts the workers; None if it has not started or has ended."""
        return self._child(RAYLET)

    def _child(self, name: str) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            return next((child for child in children if child.name() == name), None)
        return None

    @contextmanager
    def joined(self, py_executable: str | None = None) -> Iterator[None]:
        """Wait for Ray's start, and use Ray until the context is left; its jobs end there.

        Args:
            py_executable: Ray's ``py_executable`` for workers; None: this Python.

        Raises:
            ProblemError: Ray cannot be started.
        """
        prepare_environment()
        import ray

        address = self._ask_for_address()
        try:
            # Ray's native code writes there at any log level.
            with same_handlers(), silenced_stderr(), joining_own_ray():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level="ERROR",
                    runtime_env={"py_executable": py_executable} if py_executable else None,
                )
            yield
        finally:
            ray.shutdown()
            self._write(LEAVE)

    def end(self, *, waits: bool = True) -> None:
        """End Ray; at once if it still starts.

        Args:
            waits: Whether to wait until Ray's processes have ended, for one to two seconds.
        """
        if not self._has_started:
            self._kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        if waits or not self._has_started:
            self._process.wait()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()

    def _ask_for_address(self) -> str:
        self._write(JOIN)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            raise ProblemError(
                f"Ray cannot be started on this machine ({answer['error']}): expected free memory, "
                "processes and ports on the loopback network. Close other programs, or name a "
                "running cluster as address."
            )
        self._has_started = True
        return str(answer["address"])

    def _write(self, command: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended
            self._process.stdin.write(command)


def is_running(process: psutil.Process | None) -> bool:
    """Tell whether a process runs, rather than has ended without being reaped."""
    try:
        return process is not None and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
