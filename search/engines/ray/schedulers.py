"""ASHA, as Ray implements it, over our own epoch and with its decisions kept.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020;
``ray.tune.schedulers.AsyncHyperBandScheduler``, Ray 2.60 (which stops what falls short at a
rung at once, rather than promoting later).
"""

import contextlib
import io
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from results.record.columns import Decision
from results.record.history import History

# Fields of a report to Ray Tune.
TIME_ATTR = "epoch"
METRIC = "objective"
END = "end"
# Reported by a process that waits, warm, for the space to be known.
WARM = "warm"


@dataclass(frozen=True)
class _Named:
    """What Ray's rungs know a trial by."""

    trial_id: str


class NoStopping(FIFOScheduler):
    """Lets every trial train as long as it will, and processes wait until there are trials."""

    has_trials = False
    last_decision = Decision.CONTINUE
    # Ids of the trials that wait for a device which is gone, and what is told of one called back.
    in_vain: Callable[[], Collection[str]] = staticmethod(tuple)
    called_back: Callable[[int], None] = staticmethod(lambda _number: None)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on: it is what the constructor was given."""
        return True

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave it to Tune, which begins trials in their order; call back those that never could.

        A chosen trial whose own process is just starting would be given that of a trial that has
        ended, and its own be thrown away (Ray 2.60): where trials are shorter than the start of a
        process, few processes would ever come up.
        """
        in_vain = self.in_vain()
        for trial in list(tune_controller.get_live_trials()) if in_vain else ():
            if trial.trial_id in in_vain and trial.status == Trial.PENDING:
                trial.init_local_path()  # else Tune 2.60 fails at the end, where it reads them all
                with contextlib.redirect_stdout(io.StringIO()):  # Tune 2.60 prints its result
                    tune_controller.stop_trial(trial)
                self.called_back(trial.config["trial"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """Decide on an epoch, and end a trial that says that it has ended."""
        if TIME_ATTR in result:
            self.last_decision = self.judge(
                trial.config["trial"],
                result[TIME_ATTR],
                None if math.isnan(result[METRIC]) else result[METRIC],
                last_epoch=trial.config["epochs"],
            )
            return self._action(self.last_decision)
        is_over = self.has_trials if WARM in result else END in result
        return TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE

    def judge(
        self, trial: int, epoch: int, value: float | None, *, last_epoch: int | None
    ) -> Decision:
        """Decide whether a trial goes on after an epoch.

        Args:
            trial: Number of the trial.
            epoch: Number of the epoch, from 1.
            value: The objective; None of a trial that has diverged.
            last_epoch: The epoch after which the trial ends by itself; None: that of the search.
        """
        return Decision.CONTINUE

    def begin_again(self, trial: int) -> None:
        """Take notice that a trial has failed and begins again."""

    def replay(self, history: History) -> None:
        """Take in the epochs of a search that is gone on with; their decisions stand."""

    def _action(self, decision: Decision) -> Any:
        return TrialScheduler.CONTINUE


class Asha(NoStopping):
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
        super().__init__()
        self._rungs = AsyncHyperBandScheduler(
            time_attr=TIME_ATTR,
            metric=METRIC,
            mode=mode,
            max_t=max_epochs,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        self._known: set[int] = set()
        self._stopped: dict[int, int] = {}
        self._max_epochs = max_epochs
        self._only_decides = only_decides

    def judge(
        self, trial: int, epoch: int, value: float | None, *, last_epoch: int | None
    ) -> Decision:
        """Enter an epoch into the rungs; stop the trial where it falls short."""
        # At its last epoch a trial ends by itself; a diverged one likewise.
        if value is None or epoch >= min(last_epoch or self._max_epochs, self._max_epochs):
            return Decision.CONTINUE
        if epoch >= self._stopped.get(trial, math.inf):
            return Decision.STOP  # it was stopped here, and has lost its process since
        # By number: a trial that another process goes on with is the same trial.
        named = _Named(str(trial))
        if trial not in self._known:
            self._known.add(trial)
            self._rungs.on_trial_add(None, named)
        action = self._rungs.on_trial_result(None, named, {TIME_ATTR: epoch, METRIC: value})
        if action == TrialScheduler.CONTINUE:
            return Decision.CONTINUE
        self._stopped[trial] = epoch
        return Decision.STOP

    def begin_again(self, trial: int) -> None:
        """Let a trial that failed be judged anew."""
        self._stopped.pop(trial, None)

    def replay(self, history: History) -> None:
        """Fill the rungs with the epochs reported so far, in the order in which they came."""
        for epoch in history.judged:
            last_epoch = history.trials[epoch.trial].planned_epochs
            self.judge(epoch.trial, epoch.epoch, epoch.objective, last_epoch=last_epoch)
            if epoch.decision is Decision.STOP:
                self._stopped[epoch.trial] = epoch.epoch

    def _action(self, decision: Decision) -> Any:
        stops = decision is Decision.STOP and not self._only_decides
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE
