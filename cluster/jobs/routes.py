"""Routes to the job server of a cluster.

A new way in is a function here that returns its ``Route``, the scheme of its addresses in
``ROUTES``, and a line in docs/cluster.md.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.jobs.tunnel import forwarded
from cluster.onprem.config import ClusterFile, read_cluster_file
from cluster.onprem.hosts import Ssh

CLUSTER_FILE = Path("cluster/onprem.yaml")


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
    """Return the route to the server on the loopback of the head of a cluster file.

    Raises:
        ClusterError: The file cannot be used.
    """
    if path == CLUSTER_FILE and not path.exists():
        raise ClusterError(
            f"{path}: there is no such cluster file here: expected one, or one by --cluster-file, "
            "or the address of a job server by --address."
        )
    file = read_cluster_file(path)
    options = () if path == CLUSTER_FILE else ("--cluster-file", str(path))
    advice = "Or sshd there forbids it (AllowTcpForwarding)."
    return Route(file.head, options, lambda: _forwarded_url(file), advice)


# By the scheme of the address that a user types; one without a scheme is of ``http``.
ROUTES = {"http": direct, "https": direct}


def route_to(address: str | None, cluster_file: Path | None) -> Route:
    """Return the route that a user's options name; by default that of ``cluster/onprem.yaml``.

    Raises:
        ClusterError: They name none.
    """
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


@contextmanager
def _forwarded_url(file: ClusterFile) -> Iterator[str]:
    with forwarded(Ssh(file), file.job_port) as port:
        yield f"http://127.0.0.1:{port}"


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"
