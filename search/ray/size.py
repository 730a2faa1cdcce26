"""How many trials the Ray that was joined has room for at once."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from search.errors import ProblemError, UsageError
from search.plan.plan import Plan
from search.ray.nodes import nodes_up, shortage, slots

Say = Callable[[str], None]


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
    """Return words on how many trials may be on GPUs at once.

    Raises:
        UsageError: Every trial asks for a GPU, and none is there or still to come.
    """
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

    Args:
        resources: What a trial takes, by Ray's names.

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
