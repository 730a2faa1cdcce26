"""Forks the workers of this machine from a process that imports TensorFlow beside the driver.

The import is the longest step before a worker trains, and forks share its memory.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.ray.child import start_child
from search.storage import scratch
from search.storage.home import prepare_home
from search.worker.process import FORKED, QUIET_TENSORFLOW

HERE = Path(__file__).parent
START = HERE / "start.py"
# A fork has none of its parent's threads, so the server must not start any. Each trial sets the
# number of TensorFlow's threads; NumPy's stays at one.
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# The server must not look for a GPU: a fork would lack the threads of the GPU driver.
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
# Device files of the NVIDIA and AMD drivers on Linux, and of GPUs under WSL.
GPUS = ("nvidia[0-9]*", "kfd", "dxg")
# A server without forks ends after this time: a script may never search, or never again.
IDLE_SECONDS = 300


def asks_for_forks(py_executable: str) -> bool:
    """Tell whether a ``py_executable`` uses a fork server, rather than a Python of the user."""
    return str(START) in shlex.split(py_executable)


class ForkServer:
    """The process that workers are forked from; it starts to import TensorFlow at once.

    It ends, and its forks with it, by ``end`` or with this process, also if that is killed. Without
    forks it ends by itself after ``IDLE_SECONDS``. A killed driver may leave a server that still
    imports; it ends after the import.
    """

    def __init__(self) -> None:
        prepare_home()  # Keras looks for it
        self._folder = str(scratch.new_sockets_folder())
        self._path = os.path.join(self._folder, "socket")
        command = [sys.executable, str(HERE / "server.py")]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen(128)
            number = listener.fileno()
            self._process = start_child(
                [*command, str(number), self._folder, FORKED, str(IDLE_SECONDS)],
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # signals of the terminal are for this process
                pass_fds=[number, *scratch.locks()],
                env=os.environ | WITHOUT_THREADS | QUIET_TENSORFLOW | WITHOUT_GPU,
            )

    @property
    def executable(self) -> str:
        """Ray's ``py_executable`` for workers; without the server, it starts a normal Python."""
        # -S starts faster; the script needs only the standard library.
        return shlex.join([sys.executable, "-S", str(START), self._path])

    @property
    def is_running(self) -> bool:
        """Whether the server runs; it may still be importing."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the server and its forks."""
        self._process.kill()
        self._process.communicate()  # closes the pipe, which ends the forks too
        shutil.rmtree(self._folder, ignore_errors=True)


def may_fork() -> bool:
    """Tell whether forking is known to be safe.

    It is not on other systems than Linux, and with a GPU, which TensorFlow looks for during its
    import.
    """
    return sys.platform == "linux" and not _has_gpu()


@contextmanager
def fork_server() -> Iterator[str | None]:
    """Run a fork server until the context is left.

    Yields:
        Ray's ``py_executable`` for workers; None if forking is not known to be safe.
    """
    if not may_fork():
        yield None
        return
    server = ForkServer()
    try:
        yield server.executable
    finally:
        server.end()


def _has_gpu() -> bool:
    return any(True for pattern in GPUS for _ in Path("/dev").glob(pattern))
