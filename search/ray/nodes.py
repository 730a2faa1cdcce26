"""The nodes of the Ray that was joined: what they have room for, and what is called on them."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from search.errors import ProblemError, UsageError, one_line
from search.plan.plan import Plan
from search.worker import process

Result = TypeVar("Result")
Say = Callable[[str], None]

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
        return cls(process.name(), node, os.getpid(), oom_kills())


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


def amount_here(resource: str) -> float:
    """Return how much Ray has of ``CPU`` or ``GPU`` on the node of this process."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(float(n["Resources"].get(resource, 0)) for n in nodes_up() if n["NodeID"] == own)


def most_of(resource: str) -> float:
    """Return the most that any one node has of ``CPU`` or another of Ray's resources."""
    return max((float(node["Resources"].get(resource, 0)) for node in nodes_up()), default=0.0)


def shortage(resources: Mapping[str, float]) -> str:
    """Say what of a trial's resources the node with the most CPUs and GPUs has too little of."""
    most = {name: most_of(_NAMES.get(name, name)) for name in resources}
    short = [
        f"{name} {amount:g}, where Ray has {most[name]:g}"
        for name, amount in resources.items()
        if amount > most[name]
    ]
    return "; ".join(short) or "no node has all of it together"


def fit_to_cluster(plan: Plan, say: Say) -> Plan:
    """Return the plan with as many workers as there is room for, and say how many that are.

    Raises:
        UsageError: Every trial asks for a GPU, and none is there or still to come.
    """
    gpus = _gpus(plan, say)
    if slots(plan.cpu_resources) == 0:
        lacks = shortage(plan.cpu_resources)
        say(f"no node has room for a trial ({lacks}): waiting for one that has")
    workers = slots(plan.cpu_resources if plan.device_rule else plan.resources)
    if plan.elastic:
        say(
            f"cluster: {len(nodes_up())} nodes; trials at once: {workers}{gpus}, more as nodes join"
        )
        return replace(plan, workers=max(1, workers))
    if plan.address is None and workers < plan.workers:
        say(f"trials at once: {workers}{gpus}, as many as there is room for")
        return replace(plan, workers=workers)
    return plan


def _gpus(plan: Plan, say: Say) -> str:
    """Return words on how many trials may be on GPUs at once; empty where none asks for one."""
    if plan.gpu_share is None:
        return ""
    trials = slots(plan.resources)
    if trials == 0 and plan.gpus is None:
        if plan.device_rule is None:
            raise UsageError(
                f"--gpus-per-trial {plan.gpu_share:g} asks for {shortage(plan.resources)}: leave "
                "it out (of resume: --gpus-per-trial 0) to train on CPUs; name a cluster that has "
                "more by --address; where its autoscaler has still to bring GPUs, say how many by "
                "--gpus."
            )
        until = ", until one joins" if plan.address else ""
        say(f"no GPU is here: every trial is trained on CPUs{until}")
    elif trials == 0:
        say(f"no GPU is here yet: waiting for those of --gpus {plan.gpus:g}")
    return f", {trials} of them on GPUs" if plan.device_rule else ""


def trials_at_once(resources: Mapping[str, float]) -> int:
    """Return for how many trials of a script there is room at once.

    Raises:
        ProblemError: There is no room for one.
    """
    trials = slots(resources)
    if trials < 1:
        raise ProblemError(
            f"resources_per_trial asks for {shortage(resources)}: expected no more than that on a "
            "node. Ask for less, or name a larger cluster as address."
        )
    return trials


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

    def ended_for_memory(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        """Tell whether a trial's process that has ended was counted, and of ``others`` none."""
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
