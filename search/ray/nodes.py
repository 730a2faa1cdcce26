"""The nodes of the Ray cluster: how many trials fit, and function calls on a given node."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from search.errors import ProblemError, UsageError, one_line
from search.plan.plan import Plan
from search.storage.clock import uncounted
from search.worker.process import worker_name

Result = TypeVar("Result")
Say = Callable[[str], None]

CALL_TIMEOUT_SECONDS = 30.0
EVERY_NODE_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 1.0
VMSTAT = Path("/proc/vmstat")
# Ray's names in a node's resources and in a bundle.
_RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class TrialProcess:
    """The process that trains a trial.

    Attributes:
        worker: Host and process id, as tables show them.
        node_id: Ray's id of the node.
        pid: The process id on that node.
        oom_kills: Processes that the node's kernel had killed to free memory when the trial began.
    """

    worker: str
    node_id: str
    pid: int
    oom_kills: int

    @classmethod
    def of_this_process(cls) -> "TrialProcess":
        """Return the description of this process."""
        import ray

        node_id = ray.get_runtime_context().get_node_id()
        return cls(worker_name(), node_id, os.getpid(), oom_kills())


def is_node_up(process: TrialProcess) -> bool:
    """Tell whether the node of a trial's process is alive."""
    import ray

    try:
        return any(node["NodeID"] == process.node_id and node["Alive"] for node in ray.nodes())
    except ray.exceptions.RayError:
        return False


def this_node_affinity() -> Any:
    """Return the scheduling strategy that keeps a task or an actor on the node of this process."""
    import ray

    return _node_affinity(ray.get_runtime_context().get_node_id())


def _node_affinity(node_id: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def nodes_up() -> list[dict[str, Any]]:
    """Return Ray's records of the nodes that are up."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def ray_resources(resources: Mapping[str, float]) -> dict[str, float]:
    """Return the amounts under the names that Ray uses."""
    return {_RAY_NAMES.get(name, name): amount for name, amount in resources.items()}


def trial_slots(resources: Mapping[str, float]) -> int:
    """Return how many trials fit on the cluster at once.

    Args:
        resources: What one trial takes of a node: amounts by name, such as ``cpu`` and ``gpu``.
    """
    amounts = {name: amount for name, amount in ray_resources(resources).items() if amount}
    return sum(
        min(int(node["Resources"].get(name, 0) / amount) for name, amount in amounts.items())
        for node in nodes_up()
    )


def local_amount(resource: str) -> float:
    """Return the amount of a Ray resource, such as ``CPU``, on the node of this process."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    [node] = [node for node in nodes_up() if node["NodeID"] == node_id]
    return float(node["Resources"].get(resource, 0))


def largest_node_amount(resource: str) -> float:
    """Return the largest amount of a Ray resource, such as ``CPU``, that one node has."""
    return max((float(node["Resources"].get(resource, 0)) for node in nodes_up()), default=0.0)


def describe_shortage(resources: Mapping[str, float]) -> str:
    """Describe the resources of a trial that no node has enough of."""
    largest = {name: largest_node_amount(_RAY_NAMES.get(name, name)) for name in resources}
    shortages = [
        f"{name} {amount:g} (the largest node has {largest[name]:g})"
        for name, amount in resources.items()
        if amount > largest[name]
    ]
    together = ", ".join(f"{name} {amount:g}" for name, amount in resources.items())
    return ", ".join(shortages) or f"{together} on one node"


def fit_to_cluster(plan: Plan, say: Say) -> Plan:
    """Return the plan with as many workers as fit on the cluster, and report their number.

    Raises:
        UsageError: Every trial needs a GPU, and the cluster has none and expects none.
    """
    share_cluster(plan, say)
    gpus = _describe_gpu_slots(plan, say)
    if trial_slots(plan.cpu_resources) == 0:
        shortage = describe_shortage(plan.cpu_resources)
        say(f"a trial needs {shortage}: waiting for a larger node")
    workers = trial_slots(plan.cpu_resources if plan.device_rule else plan.resources)
    if plan.elastic:
        say(
            f"cluster: {len(nodes_up())} nodes; trials at once: {workers}{gpus}, more as nodes join"
        )
        return replace(plan, workers=max(1, workers))
    if plan.address is None and workers < plan.workers:
        say(f"trials at once: {workers}{gpus}, all that fit on this machine")
        return replace(plan, workers=workers)
    return plan


def share_cluster(plan: Plan, say: Say) -> None:
    """Say which CPUs of a joined cluster others use, and wait for them if the plan asks for that.

    Without a wait, Ray starts each trial as soon as there are CPUs for it.
    """
    is_said = False
    while plan.address is not None and (use := _describe_use(plan)) is not None:
        if not plan.wait:
            say(f"{use}; trials start as CPUs become free")
            return
        if not is_said:
            say(f"{use}; waiting until there is room for all trials at once")
            is_said = True
        with uncounted():
            time.sleep(POLL_SECONDS)


def _describe_use(plan: Plan) -> str | None:
    """Describe how many CPUs of the cluster others use; None if they leave enough for the plan."""
    import ray

    total = ray.cluster_resources().get("CPU", 0.0)
    free = ray.available_resources().get("CPU", 0.0)
    wanted = total if plan.elastic else min(total, plan.workers * plan.cpus_per_trial)
    if free >= wanted:
        return None
    return f"{total - free:g} of {total:g} CPUs of the cluster are used by other programs"


def _describe_gpu_slots(plan: Plan, say: Say) -> str:
    """Describe how many trials fit on GPUs at once; empty if no trial needs a GPU."""
    if plan.gpu_share is None:
        return ""
    trials = trial_slots(plan.resources)
    if trials == 0 and plan.gpus is None:
        if plan.device_rule is None:
            raise UsageError(
                f"--gpus-per-trial {plan.gpu_share:g}: a trial needs "
                f"{describe_shortage(plan.resources)}. Leave the option out (with resume: "
                "--gpus-per-trial 0) to train on CPUs, name a larger cluster with --address, or "
                "give the number of GPUs that an autoscaler will add with --gpus."
            )
        until = " until one joins" if plan.address else ""
        say(f"no GPU is available: every trial trains on CPUs{until}")
    elif trials == 0:
        say(f"no GPU is available yet: waiting for up to {plan.gpus:g} (--gpus)")
    return f", {trials} of them on GPUs" if plan.device_rule else ""


def trials_at_once(resources: Mapping[str, float]) -> int:
    """Return how many trials of a script fit on the cluster at once.

    Raises:
        ProblemError: Not even one fits.
    """
    trials = trial_slots(resources)
    if trials < 1:
        raise ProblemError(
            f"resources_per_trial: a trial needs {describe_shortage(resources)}, but must fit on "
            "one node. Ask for less, or name a larger cluster as address."
        )
    return trials


def oom_kills() -> int:
    """Return how many processes this machine's kernel has killed to free memory (Linux; else 0)."""
    try:
        lines = VMSTAT.read_text(encoding="utf-8").splitlines()
        return next((int(n) for key, n in map(str.split, lines) if key == "oom_kill"), 0)
    except OSError:
        return 0


def call_on_node(
    process: TrialProcess, function: Callable[..., Result], *arguments: Any
) -> Result | None:
    """Call a function on a trial's node and return its result; None if the node does not answer."""
    import ray

    if process.node_id == ray.get_runtime_context().get_node_id():
        return function(*arguments)
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    task = task.options(scheduling_strategy=_node_affinity(process.node_id))
    try:
        result: Result = ray.get(task.remote(*arguments), timeout=CALL_TIMEOUT_SECONDS)
    except ray.exceptions.RayError:
        return None
    return result


class OomKillDetector:
    """Detects whether a trial's process was killed by its node's kernel to free memory.

    The kernel counts its out-of-memory kills but names no process. If the count has grown when a
    process ends, the kill is attributed to that process, unless another trial's process on the node
    has ended too.

    Args:
        call: Calls a function on the node of a process, as ``call_on_node`` does.
    """

    def __init__(self, call: Callable[..., Any] = call_on_node) -> None:
        self._call = call
        self._oom_kills: dict[str, int] = {}  # by node

    def note_start(self, process: TrialProcess) -> None:
        """Note the count of a node on which a trial begins."""
        self._oom_kills.setdefault(process.node_id, process.oom_kills)

    def was_oom_killed(self, process: TrialProcess, others: Iterable[TrialProcess]) -> bool:
        """Tell whether the kernel has killed a process that has ended.

        Args:
            process: The ended process.
            others: The processes of the other running trials.
        """
        node_id = process.node_id
        kills = self._call(process, oom_kills) or 0
        has_grown = kills > max(self._oom_kills[node_id], process.oom_kills)
        self._oom_kills[node_id] = max(kills, self._oom_kills[node_id])
        neighbor_pids = [other.pid for other in others if other.node_id == node_id]
        return has_grown and bool(self._call(process, _all_live, neighbor_pids))


def end_process(process: TrialProcess) -> None:
    """Kill the process of a trial."""
    call_on_node(process, _kill, process.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _all_live(pids: Iterable[int]) -> bool:
    try:
        return all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    except psutil.NoSuchProcess:
        return False


def with_node_name(error: ProblemError) -> ProblemError:
    """Return an error about a missing package with the node's name, if there are several nodes."""
    import ray

    if not isinstance(error.__cause__, ImportError) or len(ray.nodes()) < 2:
        return error
    error_with_name = ProblemError(f"on node {socket.gethostname()}: {error}")
    error_with_name.__cause__ = error.__cause__
    return error_with_name


def call_on_every_node(function: Callable[..., Result], *arguments: Any) -> list[Result | str]:
    """Call a function once on each node of the cluster.

    Returns:
        For each node the function's result, or a line with the node's name and the error.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    references = [  # not a dict: two nodes may share a host name
        (
            node["NodeManagerHostname"],
            task.options(scheduling_strategy=_node_affinity(node["NodeID"])).remote(*arguments),
        )
        for node in nodes_up()
    ]
    results: list[Result | str] = []
    for host, reference in references:
        try:
            results.append(ray.get(reference, timeout=EVERY_NODE_TIMEOUT_SECONDS))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            results.append(f"{host}: {one_line(cause)}")
    return results
