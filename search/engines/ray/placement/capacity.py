"""How many trials may be given out at once, while nodes join and are lost.

The arithmetic is in two values and two functions, without a clock or a cluster: ``Slots`` is what
the cluster can train, ``Load`` is what it has been given, ``count_slots`` makes the one and
``free_devices`` compares them. ``Capacity`` repeats the count while the search runs.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from results.record.columns import Device
from search.plan.plan import Plan
from search.ray import nodes

COUNT_SECONDS = 2.0
# How many trials may wait for a device that has no empty slot. Ray Tune 2.60 hands the process of
# a trial that ends to one that waits for the same resources, and ends the process if none waits.
SPARE = 1
# 0.3 / 0.1 is 2.9999999999999996, and three shares.
ROUNDING = 1e-6

# Returns how many trials that take these resources the nodes of the cluster can train at once.
CountSlots = Callable[[Mapping[str, float]], int]


@dataclass(frozen=True)
class Slots:
    """How many trials can be trained at once.

    Attributes:
        trials: Of any kind. Where a rule chooses the device of each trial, these are the slots on
            CPUs: a trial on a GPU takes one of them too.
        gpu: Shares of GPUs that may be taken, those of GPUs that are still to come included.
        gpu_up: Shares of the GPUs that are up.
    """

    trials: int
    gpu: int = 0
    gpu_up: int = 0


@dataclass(frozen=True)
class Load:
    """Trials that have been given out and have not ended: each has a process, or waits for one."""

    cpu_running: int = 0
    cpu_waiting: int = 0
    gpu_running: int = 0
    gpu_waiting: int = 0

    @classmethod
    def of(cls, trials: Iterable[tuple[Device, bool]]) -> Self:
        """Count trials, of each of which the device is known and whether it has a process."""
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


def count_slots(plan: Plan, count: CountSlots) -> Slots:
    """Count what a cluster can train.

    Where all trials take the same, that is ``plan.workers``; at most one for each share of
    ``plan.gpus``; or, of an elastic run, what the nodes have. Where a rule chooses the device,
    the shares of GPUs are counted beside it: those of ``plan.gpus``, or those that are up.
    """
    if plan.device_rule is None:
        if plan.gpus is not None:
            return Slots(min(plan.workers, _shares(plan, plan.gpus)))
        return Slots(_trials(plan, plan.resources, count))
    gpu_up = count(plan.resources)
    gpu = gpu_up if plan.gpus is None else _shares(plan, plan.gpus)
    return Slots(_trials(plan, plan.cpu_resources, count), gpu=gpu, gpu_up=gpu_up)


def _trials(plan: Plan, resources: Mapping[str, float], count: CountSlots) -> int:
    if not plan.elastic:
        return plan.workers
    return max(1, count(resources))  # where no node is left, one trial asks for one


def _shares(plan: Plan, gpus: float) -> int:
    assert plan.gpu_share is not None  # as ``Plan.problems`` demands
    return int(gpus / plan.gpu_share + ROUNDING)


def free_devices(slots: Slots, load: Load) -> list[Device]:
    """Return where one more trial may be given out, where a rule chooses the device.

    To a GPU: while fewer trials wait for a share than shares are empty. Where there are GPUs,
    ``SPARE`` may wait although none is empty, but not where more shares are up than may be taken:
    Ray would give it one of those.

    To the CPUs: while fewer slots are taken than there are. Taken are those of the trials that run,
    on either device; of the trials that wait for CPUs; and of the trials that wait for a GPU and
    have an empty share there, as they take the CPUs that become free next. ``SPARE`` may wait
    beyond the slots, but only while no other trial waits for CPUs: Ray would hand the next process
    to the later one, and the earlier would wait for ever.

    Returns:
        None, one or both; the GPU first, as it suits fewer trials.
    """
    gpu_empty = slots.gpu - load.gpu_running
    gpu_spare = SPARE if slots.gpu >= slots.gpu_up else 0
    is_gpu_free = slots.gpu > 0 and load.gpu_waiting < max(gpu_spare, gpu_empty)

    gpu_next = min(load.gpu_waiting, max(0, slots.gpu_up - load.gpu_running))
    cpu_taken = load.cpu_running + load.gpu_running + load.cpu_waiting + gpu_next
    cpu_spare = 0 if load.cpu_waiting or gpu_next else SPARE
    is_cpu_free = cpu_taken < slots.trials + cpu_spare

    free = [Device.GPU] if is_gpu_free else []
    return [*free, Device.CPU] if is_cpu_free else free


class Capacity:
    """Tells where a trial may be given out now; counts the cluster again every few seconds."""

    def __init__(
        self,
        plan: Plan,
        *,
        count: CountSlots = nodes.trial_slots,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._count = count
        self._clock = clock
        self._counted_at = clock()
        self._slots = count_slots(plan, count)

    @property
    def has_gpus(self) -> bool:
        """False only where a rule chooses the devices and no GPU is there or to come."""
        return self._plan.device_rule is None or self._slots.gpu > 0

    def free(self, load: Load) -> list[Device]:
        """Return the devices on which another trial may be given out now, the GPU first."""
        if self._clock() - self._counted_at > COUNT_SECONDS:
            self._counted_at = self._clock()
            self._slots = count_slots(self._plan, self._count)
        if self._plan.device_rule is not None:
            return free_devices(self._slots, load)
        return [self._plan.device] if load.trials < self._slots.trials else []
