"""What happens in a search, in the words that all who watch or follow it read."""

from results.record.history import EpochRecord, History, TrialRecord
from results.record.words import first_line


def trial_ended(trial: TrialRecord, objective: str) -> str:
    """Say how a trial ended and what it reached."""
    sentence = f"trial {trial.trial} {trial.ending} after {len(trial.epochs)} epochs"
    if trial.best:
        sentence += f", best {objective} {trial.best.objective:.4f}"
    return f"{sentence}: {first_line(trial.error)}" if trial.error else sentence


def new_best(best: EpochRecord, objective: str) -> str:
    """Say that a value is the best so far."""
    return f"trial {best.trial}, epoch {best.epoch}: best {objective} so far {best.objective:.4f}"


def counted(history: History) -> str:
    """Say how much was trained."""
    return f"{len(history.trials)} trials, {history.epochs_trained} epochs"


def best_of_all(best: EpochRecord, objective: str) -> str:
    """Say where and when the best value was reached."""
    return (
        f"best {objective} {best.objective:.4f} in trial {best.trial}, epoch {best.epoch}, after "
        f"{best.at_seconds:.0f} s"
    )
