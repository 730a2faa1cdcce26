"""Starts a Ray worker in place of Python: forks it from the server, or else runs Python.

``start.py SOCKET SCRIPT ARGUMENTS...``. Imports only the standard library, to start fast.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Send the command line, the environment and the open files to a fork."""
    socket_path, *argv = sys.argv[1:]
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(socket_path)
            socket.send_fds(server, [b"."], [0, 1, 2])
            with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
                oom_score_adj = file.read()
            request = {
                "argv": argv,
                "environment": dict(os.environ),
                "folder": os.getcwd(),
                "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
                "oom_score_adj": oom_score_adj,
            }
            server.sendall(json.dumps(request).encode())
            server.shutdown(socket.SHUT_WR)
            is_forked = server.recv(1) != b""
    except OSError:
        is_forked = False
    if not is_forked:
        os.execv(sys.executable, [sys.executable, *argv])


if __name__ == "__main__":
    main()
