"""Stands in for ``ssh`` to a host that is this machine: runs the command, forwards a port."""

import socket
import subprocess
import sys
import threading
from contextlib import suppress

WITH_A_VALUE = ("-o", "-i", "-L")


def main(arguments: list[str]) -> int:
    """Run the command of an ssh command line in a shell; return its exit status."""
    words = iter(arguments)
    for word in words:
        if word not in WITH_A_VALUE:
            break  # the host
        value = next(words)
        if word == "-L":
            forward(value)
    return subprocess.run(["sh", "-c", " ".join(words)], check=False).returncode


def forward(ports: str) -> None:
    """Forward a port, written as ``ADDRESS:PORT:ADDRESS:PORT``, until this process ends."""
    address, port, target_address, target_port = ports.split(":")
    server = socket.create_server((address, int(port)))
    target = (target_address, int(target_port))

    def accept() -> None:
        while True:
            ends = server.accept()[0], socket.create_connection(target)
            for source, sink in (ends, ends[::-1]):
                threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Send what arrives at one end to the other, until it is closed."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
