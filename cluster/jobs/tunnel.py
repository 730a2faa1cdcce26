"""A tunnel by ssh: a port of a cluster's head appears on this machine's loopback."""

import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import ClusterError
from cluster.onprem.hosts import ANSWER_SECONDS, MARK, Ssh, refusal

# No shared connection, as a user's own settings may ask for: it would keep the port open after the
# command has ended. A lost connection is noticed after 45 s.
OPTIONS = (
    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes",
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# Runs on the head: says whether the port is open there, then waits for the end of its input. That
# comes however this process ends; `ssh -N` would outlive a process that is killed.
REMOTE = """
if (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; then echo {mark} up; else echo {mark} down; fi
cat >/dev/null
"""


@contextmanager
def forwarded(ssh: Ssh, port: int) -> Iterator[int]:
    """Forward a port of the head's loopback to this machine.

    Args:
        ssh: Logs in to the head.
        port: Of the head.

    Yields:
        A port of this machine's loopback, which is closed at the end.

    Raises:
        ClusterError: Login failed, or the head's port is closed.
    """
    local_port = _free_port()
    with subprocess.Popen(
        command(ssh, port, local_port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for our own command, which closes the tunnel
    ) as tunnel:
        try:
            _check(ssh, port, tunnel)
            yield local_port
        finally:
            tunnel.kill()


def command(ssh: Ssh, port: int, local_port: int) -> list[str]:
    """Return the call of ssh that opens a tunnel and says whether the head's port is open."""
    return [
        *ssh.command(*OPTIONS, "-L", f"127.0.0.1:{local_port}:127.0.0.1:{port}"),
        f"{ssh.file.user}@{ssh.file.head}",
        f"bash -c {shlex.quote(REMOTE.format(port=port, mark=MARK))}",
    ]


def _check(ssh: Ssh, port: int, tunnel: subprocess.Popen[str]) -> None:
    answer, head = _answer(tunnel), ssh.file.head
    if answer == "down":
        raise ClusterError(
            f"{head}: nobody listens on port {port} there: expected the job server of Ray. "
            "`fmnist-cluster up` starts it, and installs what it takes."
        )
    if answer != "up":
        tunnel.kill()
        assert tunnel.stderr is not None
        errors = tunnel.stderr.read()
        if "forward" in errors:  # such as "cannot listen to port: 41234"
            raise ClusterError(
                f"{head}: ssh brings no port of it here ({_one_line(errors)}): try again; where it "
                "is forbidden, name the address of its job server by --address."
            )
        raise ClusterError(refusal(ssh, head, errors))


def _answer(tunnel: subprocess.Popen[str]) -> str:
    """Return what the head says of its port; empty if it does not answer in time."""
    assert tunnel.stdout is not None
    timeout = threading.Timer(ANSWER_SECONDS, tunnel.kill)
    timeout.start()
    try:
        marked = (line.partition(MARK) for line in tunnel.stdout)  # a login may print lines too
        return next((text.strip() for _, mark, text in marked if mark), "")
    finally:
        timeout.cancel()


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
