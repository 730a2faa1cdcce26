"""What TPE looks at of a long search: the best and the newest, so that asking stays cheap.

TPE's cost grows with every trial that it looks at, some 0.1 ms each; a search on hundreds of
workers would wait for it from a few thousand trials on.
"""

from collections.abc import Container
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

# TPE's good group holds 25 trials at most (``default_gamma``, Optuna 5.0): they are among these.
BEST = 50
NEWEST = 200
# What has been learnt may grow to twice of what is kept before it is thinned again.
MOST = 2 * (BEST + NEWEST)
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class ThinnedStorage(InMemoryStorage):
    """Keeps the trials of one study, and shows no more than ``MOST`` that have ended.

    Trials that run, wait or failed are shown as they are: their number is the search's own.

    Args:
        mode: ``max`` or ``min``: which objective is best.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._sign = -1.0 if mode == "max" else 1.0
        self._forgotten: set[int] = set()

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that TPE shall look at, in the order of their numbers."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        shown = [trial for trial in trials if trial.number not in self._forgotten]
        ended = [trial for trial in shown if trial.state in ENDED]
        if len(ended) <= MOST:
            return shown
        kept = {trial.number for trial in ended[-NEWEST:]}
        kept |= {trial.number for trial in sorted(ended, key=self._rank)[:BEST]}
        self._forgotten |= {trial.number for trial in ended} - kept
        return [trial for trial in shown if trial.number not in self._forgotten]

    def _rank(self, trial: FrozenTrial) -> tuple[Any, ...]:
        """Order as TPE does: what ended by itself, by value; then stopped ones, the later first.

        Source: ``_split_trials`` of ``optuna.samplers._tpe.sampler``, Optuna 5.0.
        """
        if trial.state == TrialState.COMPLETE:
            return 0, 0, self._sign * float(trial.value or 0.0)
        epoch, value = max(trial.intermediate_values.items())
        return 1, -epoch, self._sign * value
