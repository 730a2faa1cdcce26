"""Routes to the job server of a cluster.

A new way in is a function here that returns its ``Route``, the scheme of its addresses in
``ROUTES``, and a line in docs/cluster.md.
"""

import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.onprem.config import read_cluster_file
from cluster.onprem.hosts import ANSWER_SECONDS, MARK, Ssh, refusal

CLUSTER_FILE = Path("cluster/onprem.yaml")
# No shared connection, as a user's own settings may ask for: it would keep the port open after the
# command has ended. A lost connection is noticed after 45 s.
TUNNEL_OPTIONS = (
    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes",
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# Runs on the head: says whether the port is open there, then waits for the end of its input. That
# comes however this process ends; `ssh -N` would outlive a process that is killed.
TUNNEL_SCRIPT = """
if (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; then echo {mark} up; else echo {mark} down; fi
cat >/dev/null
"""


@dataclass(frozen=True)
class Route:
    """A route from this machine to a job server.

    Attributes:
        name: What messages call the server.
        options: The options by which a user takes the same route again.
        opened: Opens the route, yields the URL of the server, and closes the route at the end;
            raises ClusterError where that fails.
        advice: A sentence on what else may be wrong if no server answers.
    """

    name: str
    options: tuple[str, ...]
    opened: Callable[[], AbstractContextManager[str]]
    advice: str = ""


def direct(address: str) -> Route:
    """Return the route to a server that can be reached from here."""
    options = ("--address", address)
    return Route(" ".join(options), options, lambda: nullcontext(_with_scheme(address)))


def through_ssh(path: Path) -> Route:
    """Return the route to the server on the loopback of the head of a cluster file."""
    if path == CLUSTER_FILE and not path.exists():
        raise ClusterError(
            f"{path}: there is no such cluster file here: expected one, or one by --cluster-file, "
            "or the address of a job server by --address."
        )
    file = read_cluster_file(path)
    options = () if path == CLUSTER_FILE else ("--cluster-file", str(path))
    advice = "Or sshd there forbids it (AllowTcpForwarding)."
    return Route(file.head, options, lambda: _tunnel(Ssh(file), file.job_port), advice)


# By the scheme of the address that a user types; one without a scheme is of ``http``.
ROUTES = {"http": direct, "https": direct}


def route_to(address: str | None, cluster_file: Path | None) -> Route:
    """Return the route that a user's options name; by default that of ``cluster/onprem.yaml``."""
    if address is None:
        return through_ssh(cluster_file or CLUSTER_FILE)
    if cluster_file is not None:
        raise ClusterError(
            f"--address {address} and --cluster-file {cluster_file}: expected one of them."
        )
    parts = urlsplit(_with_scheme(address))
    if parts.scheme not in ROUTES or not parts.hostname:
        raise ClusterError(
            f"--address {address}: expected that of a job server, such as http://127.0.0.1:8265."
        )
    return ROUTES[parts.scheme](address)


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


@contextmanager
def _tunnel(ssh: Ssh, port: int) -> Iterator[str]:
    """Forward a port of the head's loopback to this machine's; yield the URL of the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        local_port = free.getsockname()[1]
    with subprocess.Popen(
        tunnel_command(ssh, port, local_port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for our own command, which closes the tunnel
    ) as tunnel:
        try:
            _check(ssh, port, tunnel)
            yield f"http://127.0.0.1:{local_port}"
        finally:
            tunnel.kill()


def tunnel_command(ssh: Ssh, port: int, local_port: int) -> list[str]:
    """Return the call of ssh that opens a tunnel and says whether the head's port is open."""
    return [
        *ssh.command(*TUNNEL_OPTIONS, "-L", f"127.0.0.1:{local_port}:127.0.0.1:{port}"),
        f"{ssh.file.user}@{ssh.file.head}",
        f"bash -c {shlex.quote(TUNNEL_SCRIPT.format(port=port, mark=MARK))}",
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
            reason = "; ".join(line.strip() for line in errors.splitlines() if line.strip())
            raise ClusterError(
                f"{head}: ssh brings no port of it here ({reason}): try again; where it "
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
