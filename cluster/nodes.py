"""The nodes of a running Ray cluster: what they offer, and who has not joined yet."""

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
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """One live node of a cluster, and what Ray may give to trials there."""

    address: str
    cpus: float
    gpus: float
    memory_gib: float


def live_nodes(address: str) -> list[Node]:
    """Return the live nodes of the cluster whose head is at ``HOST:PORT``, sorted by address.

    ``auto`` stands for the cluster of this machine.

    Raises:
        ClusterError: No cluster answers there.
    """
    _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray logs a dozen lines on a cluster that does not answer; we raise one.
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
    """Return the nodes that ``fmnist-cluster nodes --json`` printed, perhaps among other lines."""
    table = re.search(r"^\[$.*^\]$", output, re.DOTALL | re.MULTILINE)
    return [Node(**row) for row in json.loads(table[0])] if table else []


def joined_nodes(
    look: Callable[[], list[Node]],
    count: int,
    say: Callable[[str], None],
    *,
    seconds: float,
    is_over: Callable[[], bool] = lambda: False,
) -> list[Node]:
    """Wait until so many nodes have joined; return those that have, which may be fewer.

    ``say`` takes a line whenever more have joined. ``is_over`` tells whether to wait no longer.
    """
    joined, deadline = 0, time.monotonic() + seconds
    while True:
        nodes = look()
        if len(nodes) > joined:
            joined = len(nodes)
            say(f"{joined} of {count} nodes have joined")
        if joined >= count or is_over() or time.monotonic() > deadline:
            return nodes
        time.sleep(LOOK_SECONDS)


def missing_hosts(hosts: Iterable[str], nodes: Iterable[Node]) -> list[str]:
    """Return the hosts, by name or address, that none of the nodes is on."""
    there = {node.address for node in nodes}
    return [host for host in hosts if not there & _addresses(host)]


def _addresses(host: str) -> set[str]:
    try:
        return {host, *(str(info[4][0]) for info in socket.getaddrinfo(host, None))}
    except OSError:
        return {host}


def _check_reachable(address: str) -> None:
    # Ray itself would try for minutes, and write warnings meanwhile.
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(_no_answer(address, error)) from error


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"--address {address!r}: no Ray cluster answers ({str(error).splitlines()[0]}). Start one "
        "by `ray start --head`, or name the HOST:PORT of another (a search keeps its own Ray to "
        "itself)."
    )


def _node(row: dict[str, Any]) -> Node:
    resources = row["Resources"]
    return Node(
        address=row["NodeManagerAddress"],
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        memory_gib=resources.get("memory", 0.0) / GIB,
    )
