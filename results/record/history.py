"""The state of a search, rebuilt from its events.

A running search (live view, best value, target) and a reader of the journal use the same code.
"""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from results.record.columns import Decision, Device, Ending, ScoreKind, State, Values
from results.record.journal import Event

# keras-tuner's objective if the user names none: it minimizes what ``fit`` returns.
DEFAULT_OBJECTIVE = "default_objective"


@dataclass(frozen=True)
class Objective:
    """The metric that a search maximizes or minimizes.

    Attributes:
        name: Name of the metric, such as ``val_accuracy``; every epoch reports it.
        mode: ``max`` or ``min``.
        parts: Objectives that this one sums up, for a list of objectives; those to maximize are
            subtracted, as in keras-tuner 1.4.8. Empty for a single objective.
    """

    name: str
    mode: str
    parts: tuple["Objective", ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Objective":
        """Return the objective from its JSON object in run.json.

        Raises:
            KeyError: The name or the mode is missing.
        """
        parts = tuple(cls.from_json(part) for part in row.get("parts", ()))
        return cls(row["name"], row["mode"], parts)

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Tell whether a value is better than another; None and NaN never are."""
        if value is None or math.isnan(value):
            return False
        if than is None:
            return True
        return value > than if self.mode == "max" else value < than

    def rank(self, value: float, at_seconds: float, trial: int) -> tuple[float, float, int]:
        """Return a sort key: the best value first, and of equal values the earliest."""
        return (-value if self.mode == "max" else value), at_seconds, trial

    def is_reached(self, value: float | None, target: float | None) -> bool:
        """Tell whether a value is at least as good as the target."""
        if value is None or target is None:
            return False
        return value >= target if self.mode == "max" else value <= target


def has_diverged(metrics: Mapping[str, float | None], objective: Objective) -> bool:
    """Tell whether the loss or the objective of an epoch is not finite (recorded as None)."""
    return metrics.get(objective.name, 0.0) is None or metrics.get("loss", 0.0) is None


def divergence(metrics: Mapping[str, float | None], objective: Objective, epoch: int) -> str:
    """Describe which metric of a diverged epoch is not finite."""
    names = dict.fromkeys(("loss", objective.name))
    not_finite = " and ".join(name for name in names if metrics.get(name, 0.0) is None)
    return f"{not_finite} not finite in epoch {epoch}"


@dataclass(frozen=True)
class EpochRecord:
    """A trained epoch, as its trial reported it.

    Attributes:
        execution: Number of the training within the trial, from 0: of its execution, or of its
            call of ``fit`` if the trial calls ``fit`` several times.
        is_score: Whether this is no epoch, but the score that the trial returned at its end.
    """

    trial: int
    attempt: int
    epoch: int
    at_seconds: float
    epoch_seconds: float
    objective: float | None
    metrics: dict[str, float | None]
    decision: Decision
    worker: str
    execution: int = 0
    laps: dict[str, float] = field(default_factory=dict)
    is_score: bool = False


@dataclass
class TrialRecord:
    """A trial: its configuration, its epochs and how it ended.

    Attributes:
        scheduler: The scheduler that stopped the trial; None if no scheduler stopped it.
        planned_epochs: Maximum number of epochs; None if the journal does not record it.
        retries: How often it failed and was restarted from its first epoch.
        deaths: How often its process died because of it since it last reached a new epoch.
        furthest: Furthest execution and epoch that it has reached.
        best_epoch: The best epoch of its first training.
        score: The score that it returned, as an epoch without training; None: it returned none.
        has_returned: Whether it returned a score, which may be no number.
        expected_kind: What its score was expected to be; None if the journal does not say it.
        best: What it is worth: its score, or its best epoch if that is of the same kind as the
            scores of the other trials. None: unknown.
        proposed: The configuration as proposed; ``values`` are the values that build and fit used.
        device: Its device in a search that chooses one for each trial; else None.
        multiply_adds: Multiply-adds of the model per sample, by which the device is chosen; None if
            unknown.
        returned: What its callbacks and its hypermodel returned: by class, their attributes.
    """

    trial: int
    values: Values
    started_seconds: float
    attempt: int = 1
    state: State = State.RUNNING
    scheduler: str | None = None
    ended_seconds: float | None = None
    error: str | None = None
    traceback: str | None = None
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: EpochRecord | None = None
    score: EpochRecord | None = None
    has_returned: bool = False
    expected_kind: ScoreKind | None = None
    best: EpochRecord | None = None
    path: str | None = None
    path_reason: str | None = None
    continued_from: int = 0
    planned_epochs: int | None = None
    retries: int = 0
    deaths: int = 0
    furthest: tuple[int, int] = (0, 0)
    proposed: Values = field(default_factory=dict)
    device: Device | None = None
    multiply_adds: int | None = None
    returned: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ending(self) -> Ending:
        """Its state with the scheduler, for display."""
        return Ending(self.state, self.scheduler)

    @property
    def is_unfinished(self) -> bool:
        """Whether it has epochs left to train: it runs, or was interrupted without an error."""
        was_interrupted = self.state is State.INTERRUPTED and self.error is None
        return self.state is State.RUNNING or was_interrupted

    @property
    def was_told_to_stop(self) -> bool:
        """Whether the scheduler decided to stop it after its newest epoch."""
        return bool(self.epochs) and self.epochs[-1].decision is Decision.STOP

    @property
    def best_value(self) -> float | None:
        """What the trial is worth; None before the first finite value, or if it is unknown."""
        return self.best.objective if self.best else None

    @property
    def worker(self) -> str:
        """The worker process that trained the newest epoch."""
        return self.epochs[-1].worker if self.epochs else ""

    @property
    def train_seconds(self) -> float:
        """Seconds of all its epochs, validation included; repeated epochs count once."""
        return sum(epoch.epoch_seconds for epoch in self.epochs)


class History:
    """The trials of a search, in the order in which they started.

    Attributes:
        score_kind: What the scores of its trials are.
        best: The best trial's worth, as an epoch.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.score_kind = ScoreKind.EPOCHS
        # Whether a trial that has ended has shown the kind of the scores.
        self._is_kind_shown = False
        self.trials: dict[int, TrialRecord] = {}
        self.best: EpochRecord | None = None
        self.epochs_trained = 0
        # Every epoch that a scheduler judged, in order; repeated epochs are listed again.
        self.judged_epochs: list[EpochRecord] = []
        self.ended_seconds: float | None = None
        self.end_reason: str | None = None
        self._next = 0

    @classmethod
    def replay(cls, objective: Objective, events: Iterable[Event]) -> "History":
        """Return the history that the events of a journal give."""
        history = cls(objective)
        for event in events:
            history.apply(event)
        return history

    def apply(self, event: Event) -> None:
        """Apply an event; ignore an event of a trial whose start was lost."""
        kind = event["event"]
        if kind == "search_ended":
            self.ended_seconds, self.end_reason = event["at_seconds"], event["reason"]
        elif kind == "search_resumed":
            self.ended_seconds = self.end_reason = None
        elif kind == "trial_started":
            self._start(event)
        elif event.get("trial") in self.trials:
            trial = self.trials[event["trial"]]
            if kind == "trial_retried":
                self._start(event | {"values": trial.proposed, "epochs": trial.planned_epochs})
                self.trials[event["trial"]].retries = trial.retries + 1
            elif kind == "trial_restarted":
                trial.attempt += 1
                trial.state, trial.scheduler = State.RUNNING, None
                trial.ended_seconds = None
            elif kind == "trial_placed":
                trial.device, trial.multiply_adds = Device(event["device"]), event["multiply_adds"]
            elif kind == "worker_lost":
                trial.deaths += event["by_trial"]
            elif kind == "epoch":
                self._add_epoch(trial, event)
            elif kind == "trial_ended":
                self._end(trial, event)

    @property
    def best_value(self) -> float | None:
        """Best objective of all trials so far; None before the first finite value."""
        return self.best.objective if self.best else None

    def count(self, state: State) -> int:
        """Return the number of trials in a state."""
        return sum(trial.state is state for trial in self.trials.values())

    @property
    def next_trial(self) -> int:
        """Number of the next trial to start."""
        # If the journal lost the start of a trial, its number is free: that trial is trained again.
        while self._next in self.trials:
            self._next += 1
        return self._next

    def kind_after(self, epoch: Event) -> ScoreKind:
        """Return what the scores are, as far as it is known after an epoch."""
        if self._is_kind_shown or "score_kind" not in epoch:
            return self.score_kind
        return ScoreKind(epoch["score_kind"])

    def running(self) -> list[TrialRecord]:
        """Return the trials that run."""
        return [trial for trial in self.trials.values() if trial.state is State.RUNNING]

    def unfinished(self) -> list[TrialRecord]:
        """Return the trials that have epochs left to train."""
        return [trial for trial in self.trials.values() if trial.is_unfinished]

    def ranked(
        self, numbers: Iterable[int] | None = None, *, limit: int | None = None
    ) -> list[TrialRecord]:
        """Return the trials whose worth is known: best first, of equal values the earliest.

        Args:
            numbers: Numbers of the trials to rank; None ranks all.
            limit: Maximum number of trials to return; None returns all.
        """
        trials = (self.trials[number] for number in (self.trials if numbers is None else numbers))
        reported = (trial for trial in trials if trial.best is not None)
        # nsmallest does not sort all trials: the live view asks for a few, twice a second.
        return heapq.nsmallest(len(self.trials) if limit is None else limit, reported, self._rank)

    def _rank(self, trial: TrialRecord) -> tuple[float, float, int]:
        assert trial.best is not None
        assert trial.best.objective is not None
        return self.objective.rank(trial.best.objective, trial.best.at_seconds, trial.trial)

    def _start(self, event: Event) -> None:
        previous = self.trials.get(event["trial"])
        attempt = previous.attempt + 1 if previous else 1
        self.trials[event["trial"]] = TrialRecord(
            event["trial"],
            event["values"],
            event["at_seconds"],
            attempt=attempt,
            planned_epochs=event.get("epochs"),
            proposed=event["values"],
            device=previous.device if previous else None,
            multiply_adds=previous.multiply_adds if previous else None,
        )
        if previous:
            # The trial starts over: its earlier epochs no longer count for the best value.
            self._find_best()

    def _find_best(self) -> None:
        ranked = self.ranked()
        self.best = ranked[0].best if ranked else None

    def _add_epoch(self, trial: TrialRecord, event: Event) -> None:
        record = EpochRecord(
            trial=trial.trial,
            attempt=trial.attempt,
            epoch=event["epoch"],
            at_seconds=event["at_seconds"],
            epoch_seconds=event["epoch_seconds"],
            objective=event["metrics"].get(self.objective.name),
            metrics=event["metrics"],
            decision=Decision(event["decision"]),
            worker=event["worker"],
            execution=event.get("execution", 0),
            laps=event.get("laps", {}),
        )
        if "path" in event:
            trial.path, trial.path_reason = event["path"]["name"], event["path"]["reason"]
            trial.continued_from = event["path"]["continued_from"] or trial.continued_from
        self._forget_repeated(trial, record)
        if "score_kind" in event:
            trial.expected_kind = ScoreKind(event["score_kind"])
        self._set_kind(self.kind_after(event))
        trial.epochs.append(record)
        if (record.execution, record.epoch) > trial.furthest:
            trial.furthest, trial.deaths = (record.execution, record.epoch), 0
        trial.values = event.get("values") or trial.values
        self.epochs_trained += 1
        if record.execution > 0:
            return  # it only counts in the score that the trial reports at its end
        if not has_diverged(record.metrics, self.objective):
            self.judged_epochs.append(record)
        if self.objective.is_better(record.objective, _value(trial.best_epoch)):
            trial.best_epoch = record
            self._weigh(trial)

    def _forget_repeated(self, trial: TrialRecord, record: EpochRecord) -> None:
        """Remove the epochs of a lost process that its successor trains again."""
        remaining = [
            epoch
            for epoch in trial.epochs
            if epoch.attempt == record.attempt
            or (epoch.execution, epoch.epoch) < (record.execution, record.epoch)
        ]
        if len(remaining) < len(trial.epochs):
            trial.epochs = remaining
            trial.best_epoch = None
            for epoch in remaining:
                is_better = self.objective.is_better(epoch.objective, _value(trial.best_epoch))
                if epoch.execution == 0 and is_better:
                    trial.best_epoch = epoch
            trial.best = self._worth(trial)
            self._find_best()

    def _end(self, trial: TrialRecord, event: Event) -> None:
        trial.state, trial.scheduler = State(event["state"]), event.get("scheduler")
        trial.ended_seconds = event["at_seconds"]
        trial.error = event.get("error")
        trial.traceback = event.get("traceback")
        trial.values = event.get("values") or trial.values
        trial.returned = event.get("returned", {})
        if "score" in event:
            trial.has_returned, trial.score = True, self._scored(trial, event)
        if trial.best is not self._worth(trial):
            trial.best = self._worth(trial)
            self._find_best()
        kind = self._shown_kind(trial, event)
        if kind is not None and (kind is ScoreKind.RETURNED or not self._is_kind_shown):
            self._is_kind_shown = True
            self._set_kind(kind)

    def _shown_kind(self, trial: TrialRecord, event: Event) -> ScoreKind | None:
        """Return the kind of the scores that the end of a trial shows; None if it shows none."""
        kind = event.get("score_kind")
        if kind is not None:
            return None if kind == ScoreKind.UNKNOWN else ScoreKind(kind)
        if event.get("score") is None or not trial.epochs:
            return None
        # Version 0.1.0 recorded no kind, and a score only if it differed from the best epoch.
        is_mean = any(epoch.execution > 0 for epoch in trial.epochs)
        return ScoreKind.EXECUTIONS if is_mean else ScoreKind.RETURNED

    def _set_kind(self, kind: ScoreKind) -> None:
        """Set the kind of the scores, by which the worth of every trial may change."""
        if kind is not self.score_kind:
            self.score_kind = kind
            for trial in self.trials.values():
                trial.best = self._worth(trial)
            self._find_best()

    def _worth(self, trial: TrialRecord) -> EpochRecord | None:
        best = trial.best_epoch
        if trial.has_returned:
            is_of_epoch = best and trial.score and best.objective == trial.score.objective
            return best if is_of_epoch else trial.score
        # A score that differs from the best epoch is recorded, unless user code returns it.
        ended_by_itself = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
        is_of_epochs = ended_by_itself and trial.expected_kind is not ScoreKind.UNKNOWN
        return best if is_of_epochs or self.score_kind is ScoreKind.EPOCHS else None

    def _weigh(self, trial: TrialRecord) -> None:
        """Update what a trial is worth after a new best epoch."""
        trial.best = self._worth(trial)
        if self.objective.is_better(trial.best_value, self.best_value):
            self.best = trial.best

    def _scored(self, trial: TrialRecord, event: Event) -> EpochRecord | None:
        """Return a score that the trial computed itself, such as an average, as an epoch."""
        if event["score"] is None:
            return None
        return EpochRecord(
            trial=trial.trial,
            attempt=trial.attempt,
            epoch=event["best_step"] + 1,
            at_seconds=event["at_seconds"],
            epoch_seconds=0.0,
            objective=event["score"],
            metrics=event["metrics"],
            decision=Decision.CONTINUE,
            worker=trial.worker,
            is_score=True,
        )


def _value(epoch: EpochRecord | None) -> float | None:
    return epoch.objective if epoch else None
