"""Routes to the job server of a cluster.

To add a route, write a function here that returns it, add the scheme of its addresses to
``ROUTES`` and a line to docs/cluster/jobs.md.
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
from cluster.onprem.hosts import ANSWER_SECONDS, MARK, Ssh, ssh_problem

CLUSTER_FILE = Path("cluster/onprem.yaml")
# A shared connection, which the user's own settings may ask for, would keep the port open after
# the command has ended. A lost connection is noticed after 45 s.
TUNNEL_OPTIONS = (
    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes",
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# Runs on the head: prints whether the port is open, then waits until its input ends, which happens
# however this process ends. `ssh -N` would outlive a killed process.
TUNNEL_SCRIPT = """
if (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; then echo {mark} up; else echo {mark} down; fi
cat >/dev/null
"""


@dataclass(frozen=True)
class Route:
    """A route from this machine to a job server.

    Attributes:
        name: The server's name in messages.
        options: Options of `fmnist-cluster` that select this route.
        open: Opens the route, yields the URL of the server and closes the route at the end; raises
            ClusterError if it cannot be opened.
        advice: A sentence on a further cause if no server answers, or empty.
    """

    name: str
    options: tuple[str, ...]
    open: Callable[[], AbstractContextManager[str]]
    advice: str = ""


def direct(address: str) -> Route:
    """Return the route to a server that this machine reaches without help."""
    options = ("--address", address)
    return Route(" ".join(options), options, lambda: nullcontext(_with_scheme(address)))


def through_ssh(path: Path) -> Route:
    """Return the route to the server on the loopback of a cluster file's head."""
    if path == CLUSTER_FILE and not path.exists():
        raise ClusterError(
            f"{path} does not exist: expected a cluster file, as `fmnist-cluster init` writes it. "
            "Name one by --cluster-file, or a job server by --address."
        )
    file = read_cluster_file(path)
    options = () if path == CLUSTER_FILE else ("--cluster-file", str(path))
    advice = "Or the head's sshd forbids forwarding (AllowTcpForwarding)."
    return Route(file.head, options, lambda: _tunnel(Ssh(file), file.job_port), advice)


# By the scheme of a typed address; an address without a scheme counts as ``http``.
ROUTES = {"http": direct, "https": direct}


def route_to(address: str | None, cluster_file: Path | None) -> Route:
    """Return the route that the options select, by default that of ``cluster/onprem.yaml``."""
    if address is None:
        return through_ssh(cluster_file or CLUSTER_FILE)
    if cluster_file is not None:
        raise ClusterError(
            f"--address {address} and --cluster-file {cluster_file}: expected only one of them."
        )
    parts = urlsplit(_with_scheme(address))
    if parts.scheme not in ROUTES or not parts.hostname:
        raise ClusterError(
            f"--address {address}: expected the URL of a job server, such as http://127.0.0.1:8265."
        )
    return ROUTES[parts.scheme](address)


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


@contextmanager
def _tunnel(ssh: Ssh, port: int) -> Iterator[str]:
    """Forward a port of the head's loopback to this machine's; yield the server's URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        local_port = free.getsockname()[1]
    with subprocess.Popen(
        tunnel_command(ssh, port, local_port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C ends our own command, which then closes the tunnel
    ) as tunnel:
        try:
            _check_tunnel(ssh, port, tunnel)
            yield f"http://127.0.0.1:{local_port}"
        finally:
            tunnel.kill()


def tunnel_command(ssh: Ssh, port: int, local_port: int) -> list[str]:
    """Return the ssh command that opens a tunnel and prints whether the head's port is open."""
    return [
        *ssh.command(*TUNNEL_OPTIONS, "-L", f"127.0.0.1:{local_port}:127.0.0.1:{port}"),
        f"{ssh.file.user}@{ssh.file.head}",
        f"bash -c {shlex.quote(TUNNEL_SCRIPT.format(port=port, mark=MARK))}",
    ]


def _check_tunnel(ssh: Ssh, port: int, tunnel: subprocess.Popen[str]) -> None:
    answer, head = _answer(tunnel), ssh.file.head
    if answer == "down":
        raise ClusterError(
            f"{head}: no program listens on port {port}: expected Ray's job server. Start it with "
            "`fmnist-cluster up`."
        )
    if answer != "up":
        tunnel.kill()
        assert tunnel.stderr is not None
        errors = tunnel.stderr.read()
        if "forward" in errors:  # such as "cannot listen to port: 41234"
            reason = "; ".join(line.strip() for line in errors.splitlines() if line.strip())
            raise ClusterError(
                f"{head}: ssh cannot forward the job server's port ({reason}): try again. If the "
                "head forbids forwarding, name its job server by --address."
            )
        raise ClusterError(ssh_problem(ssh, head, errors))


def _answer(tunnel: subprocess.Popen[str]) -> str:
    """Return the head's answer about its port, or an empty text if none comes in time."""
    assert tunnel.stdout is not None
    timeout = threading.Timer(ANSWER_SECONDS, tunnel.kill)
    timeout.start()
    try:
        marked = (line.partition(MARK) for line in tunnel.stdout)  # a login may print lines too
        return next((text.strip() for _, mark, text in marked if mark), "")
    finally:
        timeout.cancel()
