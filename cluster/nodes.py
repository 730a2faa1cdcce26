"""What a running Ray cluster has to offer."""

import os
import socket
from dataclasses import dataclass
from typing import Any

from cluster.errors import ClusterError

GIB = 1024**3
CONNECT_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Node:
    """One live node of a cluster.

    Attributes:
        address: Its network address.
        cpus: CPUs that Ray may give to trials there.
        gpus: GPUs likewise.
        memory_gib: Memory that Ray may give to trials there, in GiB.
    """

    address: str
    cpus: float
    gpus: float
    memory_gib: float


def live_nodes(address: str) -> list[Node]:
    """Return the live nodes of the cluster at an address, by address.

    Args:
        address: ``HOST:PORT`` of the head, or ``auto`` for the one this machine belongs to.

    Raises:
        ClusterError: None answers there.
    """
    _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What it cannot reach is said in one line here, not in a dozen of Ray's own.
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
