"""The nodes of the Ray that was joined: which there are, and what is called on them."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from search.errors import ProblemError, one_line

Result = TypeVar("Result")

END_SECONDS = 30.0
NODE_SECONDS = 300.0
VMSTAT = Path("/proc/vmstat")
# What Ray calls them in a node and in a bundle.
_NAMES = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Whereabouts:
    """Where a trial is trained.

    Attributes:
        worker: Host and process id, as tables show them.
        node: Ray's name of the node.
        pid: The process id on that node.
        oom_kills: How many processes that system had ended for want of memory till then.
    """

    worker: str
    node: str
    pid: int
    oom_kills: int

    @classmethod
    def of_this_process(cls) -> "Whereabouts":
        """Return where this process is."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        name = f"{socket.gethostname()}:{os.getpid()}"
        return cls(name, node, os.getpid(), oom_kills())


def is_node_up(where: Whereabouts) -> bool:
    """Tell whether a trial's node is there, so that its process alone has ended."""
    import ray

    try:
        return any(node["NodeID"] == where.node and node["Alive"] for node in ray.nodes())
    except ray.exceptions.RayError:
        return False


def here() -> Any:
    """Return how a task or an actor is kept on the node of this process."""
    import ray

    return _on(ray.get_runtime_context().get_node_id())


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def nodes_up() -> list[dict[str, Any]]:
    """Return what Ray tells of the nodes that are up."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def cores_here() -> int:
    """Return the CPUs that Ray may use on the node of this process."""
    return int(_amount_here("CPU"))


def in_rays_names(resources: Mapping[str, float]) -> dict[str, float]:
    """Return amounts by the names that Ray has in a node and in a bundle."""
    return {_NAMES.get(name, name): amount for name, amount in resources.items()}


def slots(resources: Mapping[str, float]) -> int:
    """Return how many trials there is room for at once, by what a trial takes.

    Args:
        resources: Amounts by name, ``cpu`` and ``gpu`` among them; a trial lies on one node.
    """
    amounts = {name: amount for name, amount in in_rays_names(resources).items() if amount}
    return sum(
        min(int(node["Resources"].get(name, 0) / amount) for name, amount in amounts.items())
        for node in nodes_up()
    )


def gpus_here() -> float:
    """Return the GPUs that Ray has on the node of this process."""
    return _amount_here("GPU")


def _amount_here(resource: str) -> float:
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(float(n["Resources"].get(resource, 0)) for n in nodes_up() if n["NodeID"] == own)


def most_cpus() -> float:
    """Return the CPUs of the node that has most of them."""
    return max((float(node["Resources"].get("CPU", 0)) for node in nodes_up()), default=0.0)


def shortage(resources: Mapping[str, float]) -> str:
    """Say what of a trial's resources the node with the most CPUs and GPUs has too little of."""
    short = []
    for name, amount in resources.items():
        there = [node["Resources"].get(_NAMES.get(name, name), 0.0) for node in nodes_up()]
        if amount > max(there, default=0.0):
            short.append(f"{name} {amount:g}, where Ray has {max(there, default=0.0):g}")
    return "; ".join(short) or "no node has all of it together"


def oom_kills() -> int:
    """Return how many processes this system has ended for want of memory (Linux; else 0)."""
    try:
        lines = VMSTAT.read_text().splitlines()
        return next((int(n) for key, n in map(str.split, lines) if key == "oom_kill"), 0)
    except OSError:
        return 0


class OutOfMemory:
    """Tells whether a process that ended was ended by its system for want of memory.

    The system counts such ends and names nobody: a process of a node that is found ended after the
    count has grown is taken for the one, where no other trial's process there has ended too.
    """

    def __init__(self) -> None:
        self._counted: dict[str, int] = {}

    def know(self, where: Whereabouts) -> None:
        """Take in what a node had counted when a trial began there."""
        self._counted.setdefault(where.node, where.oom_kills)

    def ended(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        """Tell whether it was a trial's process that has been counted.

        Args:
            where: Where the trial was that has ended.
            others: Where those are that are not known to have ended.
        """
        counted = _on_node(where, oom_kills) or 0
        has_grown = counted > max(self._counted[where.node], where.oom_kills)
        self._counted[where.node] = max(counted, self._counted[where.node])
        beside = [other.pid for other in others if other.node == where.node]
        return has_grown and bool(_on_node(where, _all_live, beside))


def end_process(where: Whereabouts) -> None:
    """End the process of a trial, whatever it is doing."""
    _on_node(where, _kill, where.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _all_live(pids: Iterable[int]) -> bool:
    try:
        return all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    except psutil.NoSuchProcess:
        return False


def _on_node(where: Whereabouts, function: Callable[..., Result], *arguments: Any) -> Result | None:
    """Call a function on a trial's node; None where that node does not answer."""
    import ray

    if where.node == ray.get_runtime_context().get_node_id():
        return function(*arguments)
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    there = task.options(scheduling_strategy=_on(where.node))
    try:
        result: Result = ray.get(there.remote(*arguments), timeout=END_SECONDS)
    except ray.exceptions.RayError:
        return None
    return result


def on_this_node(error: ProblemError) -> ProblemError:
    """Name the node, where there are several, on which a package is missing."""
    import ray

    if not isinstance(error.__cause__, ImportError) or len(ray.nodes()) < 2:
        return error
    named = ProblemError(f"on node {socket.gethostname()}: {error}")
    named.__cause__ = error.__cause__
    return named


def on_every_node(function: Callable[..., Result], *arguments: Any) -> list[Result | str]:
    """Call a function once on each node of the cluster.

    Returns:
        What it returned; of a node where it could not be called, why, with the node's name.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    references = [  # no dict: two nodes may run on one host
        (
            node["NodeManagerHostname"],
            task.options(scheduling_strategy=_on(node["NodeID"])).remote(*arguments),
        )
        for node in nodes_up()
    ]
    answers: list[Result | str] = []
    for host, reference in references:
        try:
            answers.append(ray.get(reference, timeout=NODE_SECONDS))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            answers.append(f"{host}: {one_line(cause)}")
    return answers
