"""Processes that start before the space is known: one discovers it, the others grow warm."""

from results.record.columns import Device
from search.engines.ray.messages import WarmUp
from search.errors import ProblemError
from search.plan.plan import Plan

# A discovery that ends its process so often is not begun again.
DEADLY = 2


class Discovery:
    """Hands out the processes that start while the space is not known.

    Args:
        plan: Says how many trials there are at once, and whether processes are kept.
    """

    def __init__(self, plan: Plan) -> None:
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most if plan.reuse_workers else 1
        self._device = Device.CPU if plan.device_rule else plan.device
        self._is_wanted = True
        self._lost = 0

    def next(self) -> WarmUp | None:
        """Return what the next process does; None: no other is to start yet."""
        if self._to_warm == 0 and not self._is_wanted:
            return None
        self._to_warm = max(0, self._to_warm - 1)
        discovers, self._is_wanted = self._is_wanted, False
        return WarmUp(self._device, discovers)

    def process_lost(self, config: WarmUp, reason: str) -> None:
        """Have another process discover the space where the one that did has ended.

        Raises:
            ProblemError: It has ended again.
        """
        if not config.discovers:
            return
        self._lost += 1
        if self._lost == DEADLY:
            raise ProblemError(
                f"Discovering the space failed: its process ended twice without a word: {reason}"
            )
        self._is_wanted = True
