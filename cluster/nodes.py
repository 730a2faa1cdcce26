"""The nodes of a running Ray cluster: their resources, and which have not joined yet."""

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cluster.errors import ClusterError

GIB = 1024**3
CONNECT_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """A live node of a cluster, with the resources that its Ray has for trials."""

    address: str
    cpus: float
    gpus: float
    memory_gib: float


def live_nodes(address: str) -> list[Node]:
    """Return the live nodes of the cluster whose head is at ``HOST:PORT``, sorted by address.

    ``auto`` means the Ray that runs on this machine.

    Raises:
        ClusterError: No cluster answers at the address.
    """
    _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else Ray logs a dozen lines about a cluster that does not answer; the error is one line.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(_no_answer(address, error)) from error
    try:
        return sorted((_node(row) for row in ray.nodes() if row["Alive"]), key=lambda n: n.address)
    finally:
        ray.shutdown()


def printed_nodes(output: str) -> list[Node]:
    """Parse the output of ``fmnist-cluster nodes --json``, which may contain other lines."""
    table = re.search(r"^\[$.*^\]$", output, re.DOTALL | re.MULTILINE)
    return [Node(**row) for row in json.loads(table[0])] if table else []


def poll_nodes(
    list_nodes: Callable[[], list[Node]],
    count: int,
    say: Callable[[str], None],
    *,
    seconds: float,
    is_over: Callable[[], bool] = lambda: False,
) -> list[Node]:
    """Wait at most ``seconds`` for ``count`` nodes; return the nodes that have joined.

    ``list_nodes`` returns the nodes that have joined so far, ``say`` gets a line whenever there
    are more, and ``is_over`` tells whether to stop waiting early.
    """
    joined_count, deadline = 0, time.monotonic() + seconds
    while True:
        nodes = list_nodes()
        if len(nodes) > joined_count:
            joined_count = len(nodes)
            say(f"{joined_count} of {count} nodes have joined")
        if joined_count >= count or is_over() or time.monotonic() > deadline:
            return nodes
        time.sleep(POLL_SECONDS)


def missing_hosts(hosts: Iterable[str], nodes: Iterable[Node]) -> list[str]:
    """Return the hosts (names or addresses) on which no node runs."""
    node_addresses = {node.address for node in nodes}
    return [host for host in hosts if not node_addresses & _addresses(host)]


def _addresses(host: str) -> set[str]:
    try:
        return {host, *(str(info[4][0]) for info in socket.getaddrinfo(host, None))}
    except OSError:
        return {host}


def _check_reachable(address: str) -> None:
    """Raise ClusterError at once if nothing listens there; Ray itself would retry for minutes."""
    try:
        found = _find_address() if address == "auto" else address
        host, _, port = found.rpartition(":")
        if found != "auto":
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(_no_answer(address, error)) from error


def _find_address() -> str:
    """Return what Ray 2.60 takes ``auto`` for: it may be the address of a head that has crashed."""
    from ray._private import services

    return str(services.get_ray_address_from_environment("auto", None))


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"--address {address!r}: no Ray cluster answers ({str(error).splitlines()[0]}): expected "
        "the HOST:PORT of a head. Start one with `ray start --head`. (The Ray that a search starts "
        "for itself cannot be joined.)"
    )


def _node(row: dict[str, Any]) -> Node:
    resources = row["Resources"]
    return Node(
        address=row["NodeManagerAddress"],
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        memory_gib=resources.get("memory", 0.0) / GIB,
    )
