"""Content of ``audit/audit.json``: stopped trials that were trained to their last epoch."""

from dataclasses import dataclass

from results.record.confirmation import Mode
from results.record.json_record import JsonRecord


@dataclass(frozen=True)
class AuditedTrial:
    """A stopped trial that was trained to its last epoch after the search.

    Attributes:
        trial: Its number.
        stopped_epoch: The epoch after which it was stopped.
        stopped_value: Its best value up to that epoch; None if it had none.
        epochs: Number of epochs of the whole training.
        value: Best value of the whole training; None if no epoch gave one.
        state: How the whole training ended.
        is_wrong: Whether stopping was wrong: it would have beaten the search's best.
        excess: How much better than the search's best it is; negative if it is worse.
        seconds_to_stop: Seconds of the epochs up to the stop.
        seconds_after_stop: Seconds of the epochs after the stop.
        is_same: Whether the epochs up to the stop gave the values that the journal recorded.
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
    """An audit of early stopping: how often it was wrong, and what it saved.

    Attributes:
        objective: Name of the metric.
        mode: ``max`` if larger values of the objective are better, ``min`` if smaller ones are.
        search_best: Best objective of the search.
        stopped: Number of trials that the scheduler stopped.
        audited: Number of them that were audited: drawn at random and trained to the last epoch.
        wrong: Number of audited trials that would have beaten the search's best.
        wrong_share: Share of them among the audited trials, in 0..1.
        wrong_low: Lower end of its 95 % Wilson interval; at least ``wrong / stopped``.
        wrong_high: Upper end of that interval; at most what the audited trials leave possible.
        trials: The audited trials.
        seconds_saved: Worker seconds that stopping saved, estimated from the audited trials' mean.
        seconds_searched: Worker seconds that the search took.

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
        """Share saved of the time that training every trial to its last epoch would take."""
        return self.seconds_saved / ((self.seconds_saved + self.seconds_searched) or 1.0)

    @property
    def best_first(self) -> list[AuditedTrial]:
        """The trials, best value first; those without a value come last."""
        sign = 1.0 if self.mode == "max" else -1.0

        def rank(trial: AuditedTrial) -> tuple[bool, float, int]:
            return trial.value is None, -sign * (trial.value or 0.0), trial.trial

        return sorted(self.trials, key=rank)
