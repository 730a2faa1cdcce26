"""How many trials there is room for at once, while nodes join and are lost."""

import time
from collections.abc import Mapping

from results.record.columns import Device
from search.plan.plan import Plan
from search.ray.nodes import slots

COUNT_SECONDS = 2.0
# Given out on each device beyond its places: of the process of a trial that ends, Ray Tune 2.60
# keeps what a trial that waits for the same resources can use, and ends it where none does.
SPARE = 1
# So that 0.3 of GPUs are three shares of 0.1.
ROUNDING = 1e-6


class Room:
    """Places for trials, each on CPUs alone or on a share of a GPU too.

    Args:
        plan: Says what a trial takes, and how many there may be at once.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._counted_at = time.monotonic()
        # As many as are begun while the space is still to be found.
        self._slots = plan.workers if plan.elastic else self._counted_slots()
        self._gpu_slots, self._gpu_slots_there = self._counted_gpu_slots()

    @property
    def has_gpus(self) -> bool:
        """Whether trials may be given to a GPU: one is there, or asked for."""
        return self._plan.device_rule is None or self._gpu_slots > 0

    def is_free(self, given: int) -> bool:
        """Tell whether another may be given out, where all trials take the same.

        Args:
            given: How many have been, and have not ended.
        """
        self._count()
        return given < self._slots

    def free(self, given: Mapping[Device, int], begun: Mapping[Device, int]) -> list[Device]:
        """Return where a trial may be given out now, by a rule; a GPU first, as it suits fewer.

        Args:
            given: How many trials have been given out to each, and have not ended.
            begun: How many of these have a process already.
        """
        self._count()
        free = [Device.GPU] if self._is_gpu_free(given, begun) else []
        return [*free, Device.CPU] if self._is_cpu_free(given, begun) else free

    def _is_gpu_free(self, given: Mapping[Device, int], begun: Mapping[Device, int]) -> bool:
        waiting = given.get(Device.GPU, 0) - begun.get(Device.GPU, 0)
        empty = self._gpu_slots - begun.get(Device.GPU, 0)
        return self.has_gpus and waiting < max(SPARE, empty)

    def _is_cpu_free(self, given: Mapping[Device, int], begun: Mapping[Device, int]) -> bool:
        waiting_for_gpu = given.get(Device.GPU, 0) - begun.get(Device.GPU, 0)
        empty = max(0, self._gpu_slots_there - begun.get(Device.GPU, 0))
        # Those for which a share of a GPU is free take the CPU that is free next.
        need_a_cpu = min(waiting_for_gpu, empty)
        taken = given.get(Device.CPU, 0) + begun.get(Device.GPU, 0) + need_a_cpu
        # One that comes while another waits would be given its process, and that one wait for ever.
        is_waited_for = given.get(Device.CPU, 0) > begun.get(Device.CPU, 0)
        return taken < self._slots + (0 if need_a_cpu or is_waited_for else SPARE)

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted_at <= COUNT_SECONDS:
            return
        self._counted_at = now
        self._slots = self._counted_slots()
        self._gpu_slots, self._gpu_slots_there = self._counted_gpu_slots()

    def _counted_slots(self) -> int:
        plan = self._plan
        if plan.gpus is not None and plan.device_rule is None:
            return min(plan.workers, self._shares_of(plan.gpus))
        if not plan.elastic:
            return plan.workers
        there = slots(plan.cpu_resources if plan.device_rule else plan.resources)
        return max(1, there)  # where none is left, one trial asks for a node

    def _counted_gpu_slots(self) -> tuple[int, int]:
        plan = self._plan
        if plan.device_rule is None or plan.gpu_share is None:
            return 0, 0
        there = slots(plan.resources)
        return there if plan.gpus is None else self._shares_of(plan.gpus), there

    def _shares_of(self, gpus: float) -> int:
        assert self._plan.gpu_share is not None
        return int(gpus / self._plan.gpu_share + ROUNDING)
