"""Schedulers, which decide after each epoch whether a trial trains on.

A new one is a subclass of ``Scheduler`` and a line of ``search.plan.registry``.
"""

import math
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Self

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from results.record.columns import Decision
from results.record.history import History
from search.plan.plan import Plan


class Scheduler(ABC):
    """Stops trials early.

    A subclass answers two questions: ``from_plan``, how a plan sets it up, and ``falls_short``,
    whether the value of an epoch stops its trial. The rest holds for every scheduler: no trial is
    stopped at its last epoch or after it has diverged, and a decision is never taken back.

    Args:
        max_epochs: Most epochs of a trial; a trial that reaches them ends by itself.
    """

    def __init__(self, *, max_epochs: int) -> None:
        self._max_epochs = max_epochs
        # By trial: the last epoch judged, and the epoch at which the trial was stopped.
        self._judged: dict[int, int] = {}
        self._stopped: dict[int, int] = {}

    @classmethod
    @abstractmethod
    def from_plan(cls, plan: Plan) -> Self:
        """Return the scheduler of a plan."""

    @abstractmethod
    def falls_short(self, trial: int, epoch: int, value: float) -> bool:
        """Take in the value of an epoch, and tell whether it stops the trial.

        Called once for each epoch, in the order in which the trials report them; called again for
        the epochs of a trial that has failed and starts again.
        """

    def judge(
        self, trial: int, epoch: int, value: float | None, *, last_epoch: int | None
    ) -> Decision:
        """Decide whether a trial trains on after an epoch; they are numbered from 1.

        The value is None if the trial has diverged; the last epoch, after which the trial ends by
        itself, is None where it is that of the search.
        """
        # At its last epoch, or diverged, a trial ends by itself.
        if value is None or epoch >= min(last_epoch or self._max_epochs, self._max_epochs):
            return Decision.CONTINUE
        if epoch >= self._stopped.get(trial, math.inf):
            return Decision.STOP  # it was stopped here and has lost its process since
        if epoch <= self._judged.get(trial, 0):
            return Decision.CONTINUE  # it was judged, and repeats the epoch in another process
        self._judged[trial] = epoch
        if not self.falls_short(trial, epoch, value):
            return Decision.CONTINUE
        self._stopped[trial] = epoch
        return Decision.STOP

    def begin_again(self, trial: int) -> None:
        """Forget the decisions on a trial that has failed and starts again."""
        self._judged.pop(trial, None)
        self._stopped.pop(trial, None)

    def replay(self, history: History) -> None:
        """Take in the epochs and the decisions of a search that is resumed."""
        for epoch in history.judged_epochs:
            last_epoch = history.trials[epoch.trial].planned_epochs
            self.judge(epoch.trial, epoch.epoch, epoch.objective, last_epoch=last_epoch)
            if epoch.decision is Decision.STOP:
                self._stopped[epoch.trial] = epoch.epoch
            elif self._stopped.get(epoch.trial) == epoch.epoch:
                del self._stopped[epoch.trial]


class Fifo(Scheduler):
    """Lets every trial train to its end."""

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(max_epochs=plan.problem.epochs)

    def falls_short(self, trial: int, epoch: int, value: float) -> bool:
        return False


class Asha(Scheduler):
    """Asynchronous successive halving, as Ray implements it, over our own epochs.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020;
    ``ray.tune.schedulers.AsyncHyperBandScheduler``, Ray 2.60 (which stops what falls short at a
    rung at once, rather than promoting later).

    Args:
        mode: ``max`` or ``min``.
        max_epochs: Most epochs of a trial.
        grace_period: Epochs of the first rung: none is stopped before it.
        reduction_factor: Ratio of two rungs' epochs; about one in so many trials passes a rung.
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
        self._known: set[int] = set()

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(
            mode=plan.problem.objective.mode,
            max_epochs=plan.problem.epochs,
            grace_period=plan.grace_period,
            reduction_factor=plan.reduction_factor,
        )

    def falls_short(self, trial: int, epoch: int, value: float) -> bool:
        """Enter the value into the rungs."""
        # Known by its number: a trial that another process continues is the same trial.
        named = SimpleNamespace(trial_id=str(trial))
        if trial not in self._known:
            self._known.add(trial)
            self._rungs.on_trial_add(None, named)
        action = self._rungs.on_trial_result(None, named, {"epoch": epoch, "value": value})
        return bool(action == TrialScheduler.STOP)
