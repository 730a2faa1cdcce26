"""The process that workers are forked from: ``server.py SOCKET FOLDER VARIABLE IDLE-SECONDS``.

The number of the listening socket; the folder with its path; the variable that is set in the
environment of each fork; the time after which a server without forks ends.

Ray is imported only after the fork: the gRPC library inside Ray 2.60 does not work in a fork once
it is initialized.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

# The thread of jemalloc, which pyarrow contains: jemalloc restarts it after a fork
# (``pthread_atfork``).
SAFE_THREADS = ("jemalloc_bg_thd",)
# What a worker imports with Ray and Ray Tune 2.60, apart from Ray itself: half of that time.
NEEDED_BY_RAY = ("fsspec", "jsonschema", "pandas", "pyarrow.fs", "pydantic", "rich.console", "yaml")


def main() -> None:
    """Import TensorFlow, then fork on each request until the driver is gone or has no use for it.

    A fork returns too, after it has run its worker. If the imports have started threads, the server
    ends, and workers start without it.
    """
    listener = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reap ended forks
    import keras  # noqa: F401
    import keras_tuner  # noqa: F401
    import tensorflow  # noqa: F401

    for name in NEEDED_BY_RAY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

    if _has_threads():
        shutil.rmtree(sys.argv[2], ignore_errors=True)  # clients then start Python themselves
        return
    gc.collect()
    gc.freeze()  # keep the imported objects in memory that the forks share
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(timeout=float(sys.argv[4]))}
            # The input was closed; nothing is ever written to it.
            if sys.stdin in ready or not (ready or _has_forks()):
                shutil.rmtree(sys.argv[2], ignore_errors=True)  # left by a killed driver
                return
            if not ready:
                continue
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    listener.close()
    become_worker(connection)


def become_worker(connection: socket.socket) -> None:
    """Become the requested process: take over its files, environment, folder and script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by the thread
    threading.Thread(target=_exit_with_driver, args=[os.dup(0)], daemon=True).start()
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile("rb").read())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # As Ray does for its workers: Ctrl-C does not reach them, the OOM killer prefers them.
    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(request["oom_score_adj"], encoding="utf-8")
    os.environ.clear()
    os.environ |= request["environment"] | {sys.argv[3]: "1"}
    os.chdir(request["folder"])
    random.seed()
    sys.modules["numpy"].random.seed()
    sys.argv = request["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    connection.sendall(b".")
    connection.close()
    runpy.run_path(sys.argv[0], run_name="__main__")


def _has_threads() -> bool:
    """Tell whether this process has threads that would be missing in a fork."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    unsafe = [name for name in names if name not in SAFE_THREADS]
    return len(unsafe) > 1  # one is the main thread


def _has_forks() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _exit_with_driver(pipe: int) -> None:
    # After a kill of the driver or the raylet, some workers of Ray 2.60 stay for ever.
    os.read(pipe, 1)  # returns when the driver ends; nothing is ever written
    os._exit(1)


if __name__ == "__main__":
    main()
