"""How many trials may run at once, while nodes join and are lost.

Two values and two functions hold the arithmetic, without a clock or a cluster. ``Slots`` is what
the cluster can train, and ``count_slots`` computes it. ``Load`` is what is assigned to it, and
``free_devices_by_rule`` compares both. ``Capacity`` repeats the count while the search runs.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from results.record.columns import Device
from search.plan.plan import Plan
from search.ray import nodes

RECOUNT_SECONDS = 2.0
# How many trials may wait for a device without an empty slot. When a trial ends, Ray Tune 2.60
# gives its process to a trial that waits for the same resources, and ends it if none waits.
SPARE_TRIALS = 1
# In floating point, 0.3 / 0.1 is 2.9999999999999996, but it must count as 3 shares.
ROUNDING = 1e-6

# Returns how many trials with these resources the cluster can train at once.
CountFitting = Callable[[Mapping[str, float]], int]


@dataclass(frozen=True)
class Slots:
    """How many trials the cluster can train at once.

    Attributes:
        trials: Number of trials. If a rule chooses the device of each trial, this is the number of
            CPU slots: a trial on a GPU takes one of them too.
        gpu_shares: GPU shares that trials may take, including those of GPUs yet to join.
        gpu_shares_up: GPU shares on the nodes that are up.
    """

    trials: int
    gpu_shares: int = 0
    gpu_shares_up: int = 0


@dataclass(frozen=True)
class Load:
    """The numbers of assigned trials, which have a process (running) or wait for one."""

    cpu_running: int = 0
    cpu_waiting: int = 0
    gpu_running: int = 0
    gpu_waiting: int = 0

    @classmethod
    def of(cls, trials: Iterable[tuple[Device, bool]]) -> Self:
        """Count trials, given the device of each and whether it has a process."""
        counts = Counter(trials)
        return cls(
            cpu_running=counts[Device.CPU, True],
            cpu_waiting=counts[Device.CPU, False],
            gpu_running=counts[Device.GPU, True],
            gpu_waiting=counts[Device.GPU, False],
        )

    @property
    def trials(self) -> int:
        return self.cpu_running + self.cpu_waiting + self.gpu_running + self.gpu_waiting


def count_slots(plan: Plan, count_fitting: CountFitting) -> Slots:
    """Count what a cluster can train.

    The number of trials is ``plan.workers``, or what the nodes have if the run is elastic. If all
    trials use the same resources, ``plan.gpus`` limits it to one trial for each of its shares. If
    a rule chooses the device, GPU shares are counted too: those of ``plan.gpus``, or those up.
    """
    if plan.device_rule is None:
        if plan.gpus is not None:
            return Slots(min(plan.workers, _gpu_shares(plan, plan.gpus)))
        return Slots(_trial_slots(plan, plan.resources, count_fitting))
    shares_up = count_fitting(plan.resources)
    shares = shares_up if plan.gpus is None else _gpu_shares(plan, plan.gpus)
    trials = _trial_slots(plan, plan.cpu_resources, count_fitting)
    return Slots(trials, gpu_shares=shares, gpu_shares_up=shares_up)


def _trial_slots(plan: Plan, resources: Mapping[str, float], count_fitting: CountFitting) -> int:
    if not plan.elastic:
        return plan.workers
    return max(1, count_fitting(resources))  # without a node, one waiting trial asks Ray for one


def _gpu_shares(plan: Plan, gpus: float) -> int:
    assert plan.gpu_share is not None  # ``Plan.problems`` checks this
    return int(gpus / plan.gpu_share + ROUNDING)


def free_devices_by_rule(slots: Slots, load: Load) -> list[Device]:
    """Return the devices on which one more trial may start, if a rule chooses the device.

    GPU: free while fewer trials wait for a share than shares are empty. ``SPARE_TRIALS`` may wait
    although no share is empty, unless more shares are up than trials may take: Ray would give the
    waiting trial one of those.

    CPUs: free while not all slots are taken. Taken are the slots of all running trials, of the
    trials that wait for CPUs, and of the trials that wait for an empty GPU share, as they take the
    next free CPUs. ``SPARE_TRIALS`` may wait beyond the slots, but only while no other trial waits
    for CPUs: Ray would give the next process to the later trial, and the earlier one would wait
    for ever.

    Returns:
        None, one or both of the devices; the GPU first, as it suits fewer trials.
    """
    gpu_empty = slots.gpu_shares - load.gpu_running
    gpu_spare = SPARE_TRIALS if slots.gpu_shares >= slots.gpu_shares_up else 0
    is_gpu_free = slots.gpu_shares > 0 and load.gpu_waiting < max(gpu_spare, gpu_empty)

    gpu_starting = min(load.gpu_waiting, max(0, slots.gpu_shares_up - load.gpu_running))
    cpu_taken = load.cpu_running + load.gpu_running + load.cpu_waiting + gpu_starting
    cpu_spare = 0 if load.cpu_waiting or gpu_starting else SPARE_TRIALS
    is_cpu_free = cpu_taken < slots.trials + cpu_spare

    gpu_if_free = [Device.GPU] if is_gpu_free else []
    return [*gpu_if_free, Device.CPU] if is_cpu_free else gpu_if_free


class Capacity:
    """The capacity of a cluster, which is counted again every few seconds.

    Args:
        plan: The run.
        count_fitting: Counts the trials with some resources that the cluster can train at once.
        clock: Returns the time, in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        count_fitting: CountFitting = nodes.trial_slots,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._count_fitting = count_fitting
        self._clock = clock
        self._counted_at = clock()
        self._slots = count_slots(plan, count_fitting)

    @property
    def has_gpus(self) -> bool:
        """False only if a rule chooses the devices and there is no GPU, now or to come."""
        return self._plan.device_rule is None or self._slots.gpu_shares > 0

    def free_devices(self, load: Load) -> list[Device]:
        """Return the devices on which another trial may start now, the GPU first."""
        if self._clock() - self._counted_at > RECOUNT_SECONDS:
            self._counted_at = self._clock()
            self._slots = count_slots(self._plan, self._count_fitting)
        if self._plan.device_rule is not None:
            return free_devices_by_rule(self._slots, load)
        return [self._plan.device] if load.trials < self._slots.trials else []
