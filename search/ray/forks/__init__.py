"""Workers of this machine are forked of a process that imports TensorFlow while Ray starts.

The import takes longest of all that a worker does before it trains, and a fork shares its memory.
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
# The path of a socket may have 107 characters at most: unix(7).
SOCKETS_FOLDER = "/tmp" if os.path.isdir("/tmp") else None
# Threads would not be in a fork: none may be started before it. TensorFlow has a setting of its own
# for those of a trial; NumPy's stay at one.
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# None is looked for: what the driver of one starts would not be in a fork.
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
# Devices of the drivers of NVIDIA's and AMD's, on Linux and under WSL.
GPUS = ("nvidia[0-9]*", "kfd", "dxg")


def asks_for_forks(py_executable: str) -> bool:
    """Tell whether a ``py_executable`` is that of a fork server, and not one of the user's."""
    return str(START) in shlex.split(py_executable)


@contextmanager
def fork_server() -> Iterator[str | None]:
    """Run the process that workers are forked of; all end with this one, however that ends.

    A server that still imports looks for the end of this process when that is done.

    Yields:
        What Ray is to start a worker with, as its ``py_executable``; None on a system where a
        fork of a process with TensorFlow is not known to be safe, and on one with a GPU, for
        which TensorFlow looks when it is imported. Where the server cannot be reached a worker
        starts as it would without it.
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
                stdin=subprocess.PIPE,  # closed when this process is killed
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env=os.environ | WITHOUT_THREADS | QUIET_TENSORFLOW | WITHOUT_GPU,
            )
        try:
            # -S: it needs nothing but the standard library, and is there at once.
            yield shlex.join([sys.executable, "-S", str(START), path])
        finally:
            server.kill()
            server.communicate()  # closes the pipe: what was forked ends too


def _has_gpu() -> bool:
    return any(True for pattern in GPUS for _ in Path("/dev").glob(pattern))
