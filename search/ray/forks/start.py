"""What Ray runs where it would run Python for a worker: has the worker forked, or runs Python.

``start.py SOCKET SCRIPT ARGUMENTS...``. Imports nothing of ours, to be there at once.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Hand the command line, the environment and the open files over to a fork."""
    path, *words = sys.argv[1:]
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(path)
            socket.send_fds(server, [b"."], [0, 1, 2])
            with open("/proc/self/oom_score_adj") as file:
                oom_score_adj = file.read()
            request = {
                "words": words,
                "environment": dict(os.environ),
                "folder": os.getcwd(),
                "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
                "oom_score_adj": oom_score_adj,
            }
            server.sendall(json.dumps(request).encode())
            server.shutdown(socket.SHUT_WR)
            is_taken = server.recv(1) != b""
    except OSError:
        is_taken = False
    if not is_taken:
        os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main()
