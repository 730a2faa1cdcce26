"""A port of a cluster's head, brought to this machine by ssh."""

import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import ClusterError
from cluster.onprem.hosts import ANSWER_SECONDS, MARK, Ssh, refusal

# The user's own ssh may share one connection among all, which would keep a port after the end of
# the command. And a connection that is lost must be noticed: after 45 s.
OPTIONS = (
    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes",
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# Says whether anybody listens there. Then it waits for the end of its input, which comes when the
# process here ends in whatever way: `ssh -N` would outlive one that is killed.
THERE = """
if (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; then echo {mark} up; else echo {mark} down; fi
cat >/dev/null
"""


@contextmanager
def forwarded(ssh: Ssh, port: int) -> Iterator[int]:
    """Bring a port that is open on the head's loopback to this machine's.

    Args:
        ssh: Reaches the head.
        port: Of the head.

    Yields:
        The port of this machine's loopback; it is closed at the end.

    Raises:
        ClusterError: The head cannot be logged in to, or nobody listens on its port.
    """
    here, there = _free_port(), shlex.quote(THERE.format(port=port, mark=MARK))
    words = ssh.command(*OPTIONS, "-L", f"127.0.0.1:{here}:127.0.0.1:{port}")
    process = subprocess.Popen(
        [*words, f"{ssh.file.user}@{ssh.file.head}", f"bash -c {there}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for the command alone, which ends it
    )
    with process:
        try:
            _check(ssh, port, _told(process), process)
            yield here
        finally:
            process.kill()


def _told(process: subprocess.Popen[str]) -> str:
    """Return what the head says of its port; nothing where it does not answer in time."""
    assert process.stdout is not None
    patience = threading.Timer(ANSWER_SECONDS, process.kill)
    patience.start()
    try:
        marked = (line.partition(MARK) for line in process.stdout)  # a login may say things too
        return next((words.strip() for _, mark, words in marked if mark), "")
    finally:
        patience.cancel()


def _check(ssh: Ssh, port: int, told: str, process: subprocess.Popen[str]) -> None:
    head = ssh.file.head
    if told == "down":
        raise ClusterError(
            f"{head}: nobody listens on port {port} there: expected the job server of Ray. "
            "`fmnist-cluster up` starts it, and installs what it takes."
        )
    if told != "up":
        process.kill()
        assert process.stderr is not None
        said = process.stderr.read()
        if "forward" in said:  # such as "cannot listen to port: 41234"
            raise ClusterError(
                f"{head}: ssh brings no port of it here ({_line(said)}): try again; where it is "
                "forbidden, name the address of its job server by --address."
            )
        raise ClusterError(refusal(ssh, head, said))


def _line(said: str) -> str:
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
