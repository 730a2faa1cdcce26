"""Schedulers, which decide after each epoch whether a trial continues.

A new scheduler is a subclass of ``BaseScheduler`` and a line of ``search.plan.registry``.
"""

import math
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Self

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from results.record.columns import Decision
from results.record.history import History
from search.plan.plan import Plan


class BaseScheduler(ABC):
    """A scheduler, which may stop trials early.

    A subclass defines ``from_plan``, which sets it up, and ``should_stop``, which decides whether
    the value of an epoch stops its trial. Every scheduler keeps two rules: it stops no trial at
    its last epoch or after it has diverged, and it never reverses a decision.

    Args:
        max_epochs: Maximum number of epochs; a trial that reaches it ends by itself.

    Attributes:
        stops_trials: Whether it ever stops a trial.
    """

    stops_trials = True

    def __init__(self, *, max_epochs: int) -> None:
        self._max_epochs = max_epochs
        # By trial: the last epoch that was judged, and the epoch at which the trial was stopped.
        self._judged: dict[int, int] = {}
        self._stopped: dict[int, int] = {}

    @classmethod
    @abstractmethod
    def from_plan(cls, plan: Plan) -> Self:
        """Return the scheduler of a plan."""

    @abstractmethod
    def should_stop(self, trial: int, epoch: int, value: float) -> bool:
        """Record the value of an epoch, and return whether it stops the trial.

        This is called once for each epoch, in the order of the reports, and again for the epochs
        of a trial that has failed and starts again.
        """

    def judge(
        self,
        trial: int,
        epoch: int,
        value: float | None,
        *,
        last_epoch: int | None,
        may_stop: bool = True,
    ) -> Decision:
        """Decide whether a trial continues after an epoch.

        Args:
            trial: Number of the trial.
            epoch: Number of the epoch, from 1.
            value: The objective; None if the trial has diverged.
            last_epoch: After this epoch the trial ends by itself; None: after ``max_epochs``.
            may_stop: Whether the trial may be stopped; otherwise the value is only recorded.
        """
        if value is None or epoch >= min(last_epoch or self._max_epochs, self._max_epochs):
            return Decision.CONTINUE  # the trial ends by itself
        if epoch >= self._stopped.get(trial, math.inf):
            return Decision.STOP  # the trial was stopped here, but lost its process before it ended
        if epoch <= self._judged.get(trial, 0):
            return Decision.CONTINUE  # another process repeats an epoch that was judged
        self._judged[trial] = epoch
        if not self.should_stop(trial, epoch, value) or not may_stop:
            return Decision.CONTINUE
        self._stopped[trial] = epoch
        return Decision.STOP

    def reset(self, trial: int) -> None:
        """Forget the decisions on a trial that has failed and starts again."""
        self._judged.pop(trial, None)
        self._stopped.pop(trial, None)

    def replay(self, history: History) -> None:
        """Restore the epochs and decisions of a resumed search."""
        for epoch in history.judged_epochs:
            last_epoch = history.trials[epoch.trial].planned_epochs
            self.judge(epoch.trial, epoch.epoch, epoch.objective, last_epoch=last_epoch)
            if epoch.decision is Decision.STOP:
                self._stopped[epoch.trial] = epoch.epoch
            elif self._stopped.get(epoch.trial) == epoch.epoch:
                del self._stopped[epoch.trial]


class FifoScheduler(BaseScheduler):
    """A scheduler that stops no trial."""

    stops_trials = False

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(max_epochs=plan.problem.epochs)

    def should_stop(self, trial: int, epoch: int, value: float) -> bool:
        return False


class AshaScheduler(BaseScheduler):
    """Asynchronous successive halving (ASHA), by Ray's implementation.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020;
    ``ray.tune.schedulers.AsyncHyperBandScheduler``, Ray 2.60, which stops a trial that falls short
    at a rung at once instead of promoting the others later.

    Args:
        mode: ``max`` or ``min``.
        max_epochs: Maximum number of epochs of a trial.
        grace_period: Epochs of the first rung; no trial is stopped before it.
        reduction_factor: Ratio of the epochs of two rungs, more than 1; about one trial in this
            many passes a rung.
    """

    def __init__(
        self, *, mode: str, max_epochs: int, grace_period: int, reduction_factor: float
    ) -> None:
        super().__init__(max_epochs=max_epochs)
        self._rungs = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="value",
            mode=mode,
            max_t=max_epochs,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        self._added_trials: set[int] = set()

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(
            mode=plan.problem.objective.mode,
            max_epochs=plan.problem.epochs,
            grace_period=plan.grace_period,
            reduction_factor=plan.reduction_factor,
        )

    def should_stop(self, trial: int, epoch: int, value: float) -> bool:
        """Record the value in the rungs, and return whether it stops the trial."""
        # Ray identifies the trial by our number: a continued trial keeps its rungs.
        ray_trial = SimpleNamespace(trial_id=str(trial))
        if trial not in self._added_trials:
            self._added_trials.add(trial)
            self._rungs.on_trial_add(None, ray_trial)
        action = self._rungs.on_trial_result(None, ray_trial, {"epoch": epoch, "value": value})
        return bool(action == TrialScheduler.STOP)
