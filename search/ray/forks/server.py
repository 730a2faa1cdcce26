"""The process that workers are forked of: ``server.py LISTENING-SOCKET FOLDER VARIABLE``.

The variable is set in the environment of each fork. Ray itself is not imported before the fork:
what its library holds from then on (Ray 2.60, with gRPC inside) does not work in a fork.
"""

import contextlib
import gc
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

# jemalloc's own, in libraries that bring it (pyarrow): jemalloc has handlers for a fork (its
# ``pthread_atfork``) and starts the thread anew.
FORKED_SAFELY = ("jemalloc_bg_thd",)


def main() -> None:
    """Import, then fork whenever one is asked for, until the driver is gone.

    Returns in a fork too, once that has been the worker it was asked to be. A server that finds
    threads of others in itself ends: a worker then starts by itself.
    """
    listener = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended are not waited for
    import keras  # noqa: F401
    import keras_tuner  # noqa: F401
    import tensorflow  # noqa: F401

    if _has_threads():
        shutil.rmtree(sys.argv[2], ignore_errors=True)  # nobody will be answered
        return
    gc.collect()
    gc.freeze()  # what was imported stays where it is, in memory that forks share
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if sys.stdin in ready:  # closed: nothing is ever written to it
                shutil.rmtree(sys.argv[2], ignore_errors=True)  # a killed driver leaves it
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    listener.close()
    become_worker(connection)


def become_worker(connection: socket.socket) -> None:
    """Be the process that was asked for: its files, environment, folder and script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # for the thread's whole life
    threading.Thread(target=_end_with_the_driver, args=[os.dup(0)], daemon=True).start()
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile("rb").read())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # As Ray starts a worker: Ctrl-C at a terminal does not reach it, the system ends it first.
    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as badness:
        badness.write(request["oom_score_adj"])
    os.environ.clear()
    os.environ |= request["environment"] | {sys.argv[3]: "1"}
    os.chdir(request["folder"])
    random.seed()
    sys.modules["numpy"].random.seed()
    sys.argv = request["words"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    connection.sendall(b".")
    connection.close()
    runpy.run_path(sys.argv[0], run_name="__main__")


def _has_threads() -> bool:
    """Tell whether there are threads that a fork would lack and wait for."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    others = [name for name in names if name not in FORKED_SAFELY]
    return len(others) > 1  # the first is this one


def _end_with_the_driver(pipe: int) -> None:
    # Of Ray's workers (2.60) some stay for ever where a driver or a raylet was killed.
    os.read(pipe, 1)  # nothing is written to it: it ends when the driver does
    os._exit(1)


if __name__ == "__main__":
    main()
