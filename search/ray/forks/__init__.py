"""Forks the workers of this machine from a process that imports TensorFlow while Ray starts.

The import is the longest step before a worker trains, and forks share its memory.
"""

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.worker.process import FORKED, QUIET_TENSORFLOW

HERE = Path(__file__).parent
START = HERE / "start.py"
# A socket path has at most 107 characters: unix(7).
SOCKETS_FOLDER = "/tmp" if os.path.isdir("/tmp") else None
# A fork has none of its parent's threads, so the server must not start any. Each trial sets the
# number of TensorFlow's threads; NumPy's stays at one.
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# The server must not look for a GPU: a fork would lack the threads of the GPU driver.
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
# Device files of the NVIDIA and AMD drivers on Linux, and of GPUs under WSL.
GPUS = ("nvidia[0-9]*", "kfd", "dxg")


def asks_for_forks(py_executable: str) -> bool:
    """Tell whether a ``py_executable`` uses a fork server, rather than a Python of the user."""
    return str(START) in shlex.split(py_executable)


@contextmanager
def fork_server() -> Iterator[str | None]:
    """Run the process that workers are forked from; server and forks end with this process.

    A killed driver may leave a server that still imports; it ends after the import.

    Yields:
        Ray's ``py_executable`` for workers, which starts a normal Python if the server cannot be
        reached. None if forking is not known to be safe: on other systems than Linux, and with a
        GPU, which TensorFlow looks for during its import.
    """
    if sys.platform != "linux" or _has_gpu():
        yield None
        return
    with tempfile.TemporaryDirectory(
        prefix="forks-", dir=SOCKETS_FOLDER, ignore_cleanup_errors=True
    ) as folder:
        path = os.path.join(folder, "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(128)
            server = subprocess.Popen(
                [sys.executable, HERE / "server.py", str(listener.fileno()), folder, FORKED],
                stdin=subprocess.PIPE,  # closes when this process is killed
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env=os.environ | WITHOUT_THREADS | QUIET_TENSORFLOW | WITHOUT_GPU,
            )
        try:
            # -S starts faster; the script needs only the standard library.
            yield shlex.join([sys.executable, "-S", str(START), path])
        finally:
            server.kill()
            server.communicate()  # closes the pipe, which ends the forks too


def _has_gpu() -> bool:
    return any(True for pattern in GPUS for _ in Path("/dev").glob(pattern))
