"""What has happened in a search so far, folded from its events.

The same fold serves the running search (live view, best, target) and the journal read later.
"""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from results.record.columns import Decision, Device, Ending, State, Values
from results.record.journal import Event

# keras-tuner's name of the objective where none is named: what ``fit`` returns is minimized.
DEFAULT_OBJECTIVE = "default_objective"


@dataclass(frozen=True)
class Objective:
    """What is searched for.

    Attributes:
        name: A metric that every epoch reports, such as ``val_accuracy``.
        mode: ``max`` or ``min``.
        parts: The objectives that this one sums up, those to maximize subtracted, as
            keras-tuner 1.4.8 does with a list of objectives; empty for a plain one.
    """

    name: str
    mode: str
    parts: tuple["Objective", ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Objective":
        """Return the objective that run.json names.

        Raises:
            KeyError: It names none.
        """
        parts = tuple(cls.from_json(part) for part in row.get("parts", ()))
        return cls(row["name"], row["mode"], parts)

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Tell whether a value improves on another; None and NaN never do."""
        if value is None or math.isnan(value):
            return False
        if than is None:
            return True
        return value > than if self.mode == "max" else value < than

    def rank(self, value: float, at_seconds: float, trial: int) -> tuple[float, float, int]:
        """Return the key that sorts values: the best first, of equals the first to be reached."""
        return (-value if self.mode == "max" else value), at_seconds, trial

    def is_reached(self, value: float | None, target: float | None) -> bool:
        """Tell whether a value is at least as good as the target."""
        if value is None or target is None:
            return False
        return value >= target if self.mode == "max" else value <= target


def has_diverged(metrics: Mapping[str, float | None], objective: Objective) -> bool:
    """Tell whether an epoch's loss or objective is no finite number any more (None here)."""
    return metrics.get(objective.name, 0.0) is None or metrics.get("loss", 0.0) is None


def divergence(metrics: Mapping[str, float | None], objective: Objective, epoch: int) -> str:
    """Say what of a diverged epoch is no finite number."""
    names = dict.fromkeys(("loss", objective.name))
    which = " and ".join(name for name in names if metrics.get(name, 0.0) is None)
    return f"{which} no finite number in epoch {epoch}"


@dataclass(frozen=True)
class EpochRecord:
    """One trained epoch, as its trial reported it."""

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


@dataclass
class TrialRecord:
    """One trial: its configuration, its epochs, how it ended.

    Attributes:
        scheduler: What stopped it; None of a trial that no scheduler stopped.
        planned_epochs: Most epochs that it may train; a schedule of its own ends with them.
        retries: How often it failed and was begun again.
        deaths: How often it ended its process since it last came further than ever before.
        furthest: Execution and epoch to which it has come.
        proposed: The configuration as it was proposed; ``values`` tells what build and fit used.
        device: Where it is trained, in a search that decides it for each; None: all are alike.
        multiply_adds: Of a sample, by which that was decided; None: not known.
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

    @property
    def ending(self) -> Ending:
        """How it ended, or that it has not: for people."""
        return Ending(self.state, self.scheduler)

    @property
    def is_unfinished(self) -> bool:
        """Whether there is more of it to train: it runs, or was interrupted and can go on."""
        was_interrupted = self.state is State.INTERRUPTED and self.error is None
        return self.state is State.RUNNING or was_interrupted

    @property
    def was_told_to_stop(self) -> bool:
        """Whether the scheduler's decision on its newest epoch was to stop it."""
        return bool(self.epochs) and self.epochs[-1].decision is Decision.STOP

    @property
    def best_value(self) -> float | None:
        """The best objective so far; None before the first finite one."""
        return self.best.objective if self.best else None

    @property
    def worker(self) -> str:
        """The process that trained the newest epoch."""
        return self.epochs[-1].worker if self.epochs else ""

    @property
    def train_seconds(self) -> float:
        """Seconds spent in the epochs that count, validation included."""
        return sum(epoch.epoch_seconds for epoch in self.epochs)


class History:
    """The trials of a search in the order in which they started."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.trials: dict[int, TrialRecord] = {}
        self.best: EpochRecord | None = None
        self.epochs_trained = 0
        # Every epoch on which the scheduler decided, in order, those trained again included.
        self.judged_epochs: list[EpochRecord] = []
        self.ended_seconds: float | None = None
        self.end_reason: str | None = None
        self._next = 0

    @classmethod
    def replay(cls, objective: Objective, events: Iterable[Event]) -> "History":
        """Fold the events of a journal."""
        history = cls(objective)
        for event in events:
            history.apply(event)
        return history

    def apply(self, event: Event) -> None:
        """Take in one event; one whose trial's start was lost is passed over."""
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
        """The best objective of all trials so far; None before the first finite one."""
        return self.best.objective if self.best else None

    def count(self, state: State) -> int:
        """Return the number of trials in a state."""
        return sum(trial.state is state for trial in self.trials.values())

    @property
    def next_trial(self) -> int:
        """Number of the trial that is to start next."""
        # One of which the journal lost the start leaves a gap, and is trained again.
        while self._next in self.trials:
            self._next += 1
        return self._next

    def running(self) -> list[TrialRecord]:
        """Return the trials that have started and not ended."""
        return [trial for trial in self.trials.values() if trial.state is State.RUNNING]

    def unfinished(self) -> list[TrialRecord]:
        """Return the trials that there is more of to train."""
        return [trial for trial in self.trials.values() if trial.is_unfinished]

    def ranked(
        self, among: Iterable[int] | None = None, *, limit: int | None = None
    ) -> list[TrialRecord]:
        """Return the trials that reported a value, best first; of equals the first to reach it.

        Args:
            among: Numbers of the trials to rank; None: all.
            limit: The most trials to return; None: all.
        """
        trials = (self.trials[number] for number in (self.trials if among is None else among))
        reported = (trial for trial in trials if trial.best is not None)
        # Does not sort all of them: the live view asks for a few, twice a second.
        return heapq.nsmallest(len(self.trials) if limit is None else limit, reported, self._rank)

    def _rank(self, trial: TrialRecord) -> tuple[float, float, int]:
        assert trial.best is not None
        assert trial.best.objective is not None
        return self.objective.rank(trial.best.objective, trial.best.at_seconds, trial.trial)

    def _start(self, event: Event) -> None:
        known = self.trials.get(event["trial"])
        attempt = known.attempt + 1 if known else 1
        self.trials[event["trial"]] = TrialRecord(
            event["trial"],
            event["values"],
            event["at_seconds"],
            attempt=attempt,
            planned_epochs=event.get("epochs"),
            proposed=event["values"],
            device=known.device if known else None,
            multiply_adds=known.multiply_adds if known else None,
        )
        if known:
            # A repeated trial starts over: the best is again what has really been reported.
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
        trial.epochs.append(record)
        if (record.execution, record.epoch) > trial.furthest:
            trial.furthest, trial.deaths = (record.execution, record.epoch), 0
        trial.values = event.get("values") or trial.values
        self.epochs_trained += 1
        if record.execution > 0:
            return  # a repeated training counts in the score that the trial ends with
        if not has_diverged(record.metrics, self.objective):
            self.judged_epochs.append(record)
        if self.objective.is_better(record.objective, trial.best_value):
            trial.best = record
        if self.objective.is_better(record.objective, self.best_value):
            self.best = record

    def _forget_repeated(self, trial: TrialRecord, record: EpochRecord) -> None:
        """Forget what a lost process had reported where its successor trains it again."""
        kept = [
            one
            for one in trial.epochs
            if one.attempt == record.attempt
            or (one.execution, one.epoch) < (record.execution, record.epoch)
        ]
        if len(kept) < len(trial.epochs):
            trial.epochs = kept
            trial.best = None
            for one in kept:
                if one.execution == 0 and self.objective.is_better(one.objective, trial.best_value):
                    trial.best = one
            self._find_best()

    def _end(self, trial: TrialRecord, event: Event) -> None:
        trial.state, trial.scheduler = State(event["state"]), event.get("scheduler")
        trial.ended_seconds = event["at_seconds"]
        trial.error = event.get("error")
        trial.traceback = event.get("traceback")
        trial.values = event.get("values") or trial.values
        if "score" in event:
            trial.best = self._scored(trial, event)
            self._find_best()

    def _scored(self, trial: TrialRecord, event: Event) -> EpochRecord | None:
        """Return the record of a score that the trial itself computed, such as an average."""
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
        )
