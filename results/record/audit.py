"""What ``audit/audit.json`` says: stopped trials that were trained to their end."""

from dataclasses import dataclass

from results.record.confirmation import Mode
from results.record.json_record import JsonRecord


@dataclass(frozen=True)
class AuditedTrial:
    """A trial that was stopped, and was then trained to its end.

    Attributes:
        stopped_epoch: After which epoch it was stopped.
        stopped_value: The best value that it had by then.
        epochs: How many epochs it has trained now.
        value: The best value of them all; None where no epoch gave one.
        state: How the whole training ended.
        is_wrong: Whether it would have beaten the search's best.
        excess: How much better than the search's best it is, negative where it is worse.
        seconds_to_stop: What its epochs up to the stop took; those after it, seconds_after_stop.
        is_same: Whether its epochs up to the stop came out as the journal has them.
    """

    trial: int
    stopped_epoch: int
    stopped_value: float | None
    epochs: int
    value: float | None
    state: str
    is_wrong: bool
    excess: float | None
    seconds_to_stop: float
    seconds_after_stop: float
    is_same: bool


@dataclass(frozen=True)
class Audit(JsonRecord):
    """How often early stopping was wrong, and what it saved.

    Attributes:
        mode: ``max`` or ``min``: which values of the objective are the better ones.
        stopped: Trials that the scheduler stopped.
        audited: How many of them, chosen at random, were trained to their end.
        wrong: How many of these would have beaten the search's best.
        wrong_share: That as a share, in 0..1.
        wrong_low: Lower end of its 95 % Wilson interval, no less than what the audit knows of.
        wrong_high: Upper end of it, no more than is possible by what the audit knows.
        seconds_saved: What stopping saved, in seconds of a worker: an estimate by the mean of the
            audited trials.
        seconds_searched: What the search took, in seconds of a worker.

    Raises:
        ValueError: The fields contradict each other.
    """

    objective: str
    mode: Mode
    search_best: float
    stopped: int
    audited: int
    wrong: int
    wrong_share: float
    wrong_low: float
    wrong_high: float
    trials: tuple[AuditedTrial, ...]
    seconds_saved: float
    seconds_searched: float

    def __post_init__(self) -> None:
        if not 0 < len(self.trials) == self.audited <= self.stopped:
            raise ValueError(
                f"it holds {len(self.trials)} trials, with audited {self.audited} of stopped "
                f"{self.stopped}"
            )
        wrong = sum(trial.is_wrong for trial in self.trials)
        if wrong != self.wrong:
            raise ValueError(f"wrong is {self.wrong}, its trials say {wrong}")

    @property
    def saved_share(self) -> float:
        """The share that stopping saved of what all trials to their end would have taken."""
        return self.seconds_saved / ((self.seconds_saved + self.seconds_searched) or 1.0)

    @property
    def best_first(self) -> list[AuditedTrial]:
        """The trials by their best values; those without one come last."""
        sign = 1.0 if self.mode == "max" else -1.0

        def rank(trial: AuditedTrial) -> tuple[bool, float, int]:
            return trial.value is None, -sign * (trial.value or 0.0), trial.trial

        return sorted(self.trials, key=rank)
