"""ASHA, as Ray implements it, over our own epoch and with its decisions kept.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020;
``ray.tune.schedulers.AsyncHyperBandScheduler``, Ray 2.60 (which stops what falls short at a
rung at once, rather than promoting later).
"""

import math
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from results.columns import Decision

# Fields of a report to Ray Tune.
TIME_ATTR = "epoch"
METRIC = "objective"
END = "end"
# Reported by a process that waits, warm, for the space to be known.
WARM = "warm"


class _Waiting:
    """Mixed into a scheduler: lets processes wait until there are trials for them."""

    has_trials = False

    def _of_no_epoch(self, result: dict[str, Any]) -> str | None:
        """Return what follows a report that tells of no epoch; None for one that does."""
        if TIME_ATTR in result:
            return None
        is_over = self.has_trials if WARM in result else END in result
        return str(TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE)


class Asha(_Waiting, AsyncHyperBandScheduler):
    """Asynchronous successive halving.

    Args:
        mode: ``max`` or ``min``.
        max_epochs: Most epochs a trial trains; a trial that reaches it ends by itself.
        grace_period: Epochs of the first rung: none is stopped before it.
        reduction_factor: Ratio of two rungs' epochs; about one in so many trials passes a rung.
        only_decides: The trial itself is told of the decision and ends when it is ready; Ray
            Tune is not.
    """

    def __init__(
        self,
        *,
        mode: str,
        max_epochs: int,
        grace_period: int,
        reduction_factor: float,
        only_decides: bool = False,
    ) -> None:
        super().__init__(
            time_attr=TIME_ATTR,
            metric=METRIC,
            mode=mode,
            max_t=max_epochs,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        self._max_epochs = max_epochs
        self._only_decides = only_decides
        self.last_decision = Decision.CONTINUE

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on: it is what the constructor was given."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """Decide on an epoch, and end a trial that says that it has ended."""
        at_once = self._of_no_epoch(result)
        if at_once is not None:
            return at_once
        action = TrialScheduler.CONTINUE
        # At its last epoch a trial ends by itself; a diverged one likewise.
        if result[TIME_ATTR] < self._max_epochs and not math.isnan(result[METRIC]):
            action = super().on_trial_result(tune_controller, trial, result)
        stops = action == TrialScheduler.STOP
        self.last_decision = Decision.STOP if stops else Decision.CONTINUE
        return TrialScheduler.CONTINUE if self._only_decides else action


class NoStopping(_Waiting, FIFOScheduler):
    """Lets every trial train as long as it will."""

    last_decision = Decision.CONTINUE

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on: nothing is judged here."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """End a trial that says that it has ended."""
        return self._of_no_epoch(result) or TrialScheduler.CONTINUE
