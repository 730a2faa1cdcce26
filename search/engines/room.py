"""How many trials there is room for at once, while nodes join and are lost."""

import time
from collections.abc import Mapping

from results.columns import Device
from search.plan import Plan
from search.ray_nodes import slots

COUNT_SECONDS = 2.0


class Room:
    """Places for trials, each on CPUs alone or on a share of a GPU too.

    Args:
        plan: Says what a trial takes, and how many there may be at once.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._counted_at = time.monotonic()
        # As many as are begun while the space is still to be found.
        self._slots = plan.workers
        self._gpu_slots, self._gpu_slots_there = self._counted_gpu_slots()

    @property
    def has_gpus(self) -> bool:
        """Whether trials may be given to a GPU: one is there, or asked for."""
        return self._plan.device_rule is None or self._gpu_slots > 0

    def free(self, running: Mapping[Device, int]) -> list[Device]:
        """Return where a trial may begin now; a GPU first, as fewer trials can use it.

        Args:
            running: How many trials are on each.
        """
        self._count()
        rest = self._slots - sum(running.values())
        if self._plan.device_rule is None:
            return [self._plan.device] if rest > 0 else []
        free_gpus = self._gpu_slots - running.get(Device.GPU, 0)
        # One that is still to come brings CPUs of its own.
        is_to_come = self._gpu_slots > self._gpu_slots_there
        free = [Device.GPU] if free_gpus > 0 and (rest > 0 or is_to_come) else []
        return [*free, Device.CPU] if rest > 0 else free

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted_at <= COUNT_SECONDS:
            return
        self._counted_at = now
        if self._plan.elastic:
            self._slots = self._counted_slots()
        self._gpu_slots, self._gpu_slots_there = self._counted_gpu_slots()

    def _counted_slots(self) -> int:
        plan = self._plan
        return slots(plan.cpu_resources if plan.device_rule else plan.resources)

    def _counted_gpu_slots(self) -> tuple[int, int]:
        plan = self._plan
        if plan.device_rule is None or plan.gpu_share is None:
            return 0, 0
        there = slots(plan.resources)
        return there if plan.gpus is None else int(plan.gpus / plan.gpu_share), there
