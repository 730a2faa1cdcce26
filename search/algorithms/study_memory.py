"""What TPE looks at of a long search: the best and the newest, so that asking stays cheap.

TPE's cost grows with every trial that it looks at, some 0.05 ms each; a search on hundreds of
workers would wait for it from a few thousand trials on.
"""

from collections.abc import Container, Sequence
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

    Trials that run, wait or failed are shown as they are: their number is the search's own. What
    is shown follows from the order in which trials ended alone, so that a journal played back
    leaves what the search left.

    Args:
        mode: ``max`` or ``min``: which objective is best.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._sign = -1.0 if mode == "max" else 1.0
        self._ended: list[int] = []
        self._forgotten: set[int] = set()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Take in a trial, which may have ended in an earlier search."""
        trial_id: int = super().create_new_trial(study_id, template_trial)
        if template_trial is not None:
            self._note(trial_id, template_trial.state)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Take in how a trial ended."""
        is_set: bool = super().set_trial_state_values(trial_id, state, values)
        self._note(trial_id, state)
        return is_set

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that TPE shall look at, in the order of their numbers."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return [trial for trial in trials if trial._trial_id not in self._forgotten]

    def _note(self, trial_id: int, state: TrialState) -> None:
        if state not in ENDED:
            return
        self._ended.append(trial_id)
        if len(self._ended) > MOST:
            kept = {*self._ended[-NEWEST:], *sorted(self._ended, key=self._rank)[:BEST]}
            self._forgotten |= set(self._ended) - kept
            self._ended = [one for one in self._ended if one in kept]

    def _rank(self, trial_id: int) -> tuple[Any, ...]:
        """Order as TPE does: what ended by itself, by value; then stopped ones, the later first.

        Source: ``_split_trials`` of ``optuna.samplers._tpe.sampler``, Optuna 5.0.
        """
        trial = self.get_trial(trial_id)
        if trial.state == TrialState.COMPLETE:
            return 0, 0, self._sign * float(trial.value or 0.0)
        epoch, value = max(trial.intermediate_values.items())
        return 1, -epoch, self._sign * value
