"""Worker processes that start before the space is known."""

from results.record.columns import Device
from search.engines.ray.messages import WarmUp
from search.errors import ProblemError
from search.plan.plan import Plan

# The search ends when the discovery has lost this many processes.
MAX_LOST = 2


class Discovery:
    """Starts one process to discover the space, and others that import TensorFlow and wait."""

    def __init__(self, plan: Plan) -> None:
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most if plan.reuse_workers else 1
        self._device = Device.CPU if plan.device_rule else plan.device
        self._is_wanted = True
        self._lost = 0

    def next(self) -> WarmUp | None:
        """Return the config of the next process; None: start no other yet."""
        if self._to_warm == 0 and not self._is_wanted:
            return None
        self._to_warm = max(0, self._to_warm - 1)
        discovers, self._is_wanted = self._is_wanted, False
        return WarmUp(self._device, discovers)

    def process_lost(self, config: WarmUp, reason: str) -> None:
        """Let another process discover the space if the one that did is lost.

        Raises:
            ProblemError: It was the second.
        """
        if not config.discovers:
            return
        self._lost += 1
        if self._lost == MAX_LOST:
            raise ProblemError(
                f"Discovering the space failed: its process ended twice without a word: {reason}"
            )
        self._is_wanted = True
