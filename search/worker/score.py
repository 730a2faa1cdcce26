"""What the score of a trial is: the best of its epochs, or another value. Imports Keras."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from results.record.columns import ScoreKind
from search.space import mirror
from search.worker.callbacks import Reporter
from search.worker.task import Task
from search.worker.tuner import TRAINING_METHODS, TrialTuner, overrides


@dataclass(frozen=True)
class Execution:
    """A training of the model that ``build`` returned.

    Attributes:
        is_history: Whether ``fit`` returned the ``History`` of a training.
        was_cut: Whether ``fit`` returned nothing, since it trained on after its last epoch.
    """

    is_history: bool
    was_cut: bool


def expected_kind(task: Task, tuner: TrialTuner) -> ScoreKind:
    """Return what the score of a trial will be, as far as it is known before the trial.

    It is unknown if code of the user returns the score.
    """
    hypermodel = tuner.hypermodel
    has_own_fit = hypermodel is not None and mirror.has_own_fit(hypermodel)
    has_own_scorer = task.scoring_oracle is not None
    if has_own_fit or has_own_scorer or overrides(type(tuner), *TRAINING_METHODS):
        return ScoreKind.UNKNOWN
    return _of_epochs(is_mean=tuner.executions_per_trial > 1)


def shown_kind(
    score: float | None,
    objective: str,
    reporters: Sequence[Reporter],
    executions: Sequence[Execution],
) -> ScoreKind:
    """Return what the score of an ended trial shows itself to be.

    The score is compared with the best epochs of the trainings that ``reporters`` reported.

    Args:
        score: The score; None if the trial returned none.
        objective: Name of the objective.
        reporters: The reporters of the trial.
        executions: What its executions returned.

    Returns:
        UNKNOWN if the trial shows nothing: because it was stopped, because its score is no number,
        or because the score may be that of its last epoch or a mean, and the best by chance.
    """
    bests = [reporter.best.get(objective) for reporter in reporters]
    values = [value for value in bests if value is not None]
    has_values = bool(values) and len(values) == len(bests)
    of_epochs = _of_epochs(is_mean=len(reporters) > 1)
    if score is None or any(execution.was_cut for execution in executions):
        was_stopped = any(reporter.was_stopped for reporter in reporters)
        # Nothing is returned where a training ignores its last epoch: its best epoch counts.
        return of_epochs if has_values and not was_stopped else ScoreKind.UNKNOWN
    if math.isnan(score):
        return ScoreKind.UNKNOWN
    if not has_values or not math.isclose(score, fmean(values)):
        return ScoreKind.RETURNED
    is_history = any(execution.is_history for execution in executions)
    is_clear = is_history or not (reporters[0].best_is_newest or reporters[0].has_several_trainings)
    return of_epochs if is_clear else ScoreKind.UNKNOWN


def _of_epochs(*, is_mean: bool) -> ScoreKind:
    return ScoreKind.EXECUTIONS if is_mean else ScoreKind.EPOCHS
