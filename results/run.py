"""A run that was read from its folder, and its row of the comparison."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.record import columns
from results.record.audit import Audit
from results.record.columns import Ending, ScoreKind, State
from results.record.confirmation import Confirmation
from results.record.history import Objective


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    Attributes:
        path: The folder.
        description: Content of run.json: the plan of the search, its space, machine and versions.
        trials: Content of trials.parquet.
        epochs: Content of epochs.parquet.
        evaluation: Content of final/evaluation.json; None if nothing was retrained.
        ended: Why the search ended, or that it is running or was cut off.
        confirmation: Content of confirm/confirmation.json; None if nothing was confirmed.
        audit: Content of audit/audit.json; None if no stopped trial was audited.
    """

    path: Path
    description: dict[str, Any]
    trials: pa.Table
    epochs: pa.Table
    evaluation: dict[str, Any] | None
    ended: str
    confirmation: Confirmation | None = None
    audit: Audit | None = None

    @property
    def name(self) -> str:
        """Name of the folder as text, also if its bytes are none in this locale."""
        return os.fsencode(self.path.resolve().name).decode(errors="replace")

    @property
    def objective(self) -> str:
        """Name of the metric that the search optimized."""
        return str(self.description["plan"]["problem"]["objective"]["name"])

    @property
    def mode(self) -> str:
        """``max`` or ``min``."""
        return str(self.description["plan"]["problem"]["objective"]["mode"])

    @property
    def score_kind(self) -> ScoreKind:
        """What the scores of the trials are."""
        metadata = self.trials.schema.metadata or {}
        return ScoreKind(metadata.get(columns.SCORE_KIND.encode(), b"epochs").decode())


@dataclass(frozen=True)
class Row:
    """A row of the comparison: a run or a published result. Unknown values are None.

    Attributes:
        name: Name of the run's folder, or a description of the published result.
        engine: ``ray``, ``keras-tuner``, ``published``, or the program of an imported search.
        data: Reference to the training data; rows of different data are not comparable.
        ended: Why the search ended.
        objective: Name of the metric that the search optimized.
        mode: ``max`` if larger values of the objective are better, ``min`` if smaller ones are.
        best: Best value of the objective over all epochs of all trials.
        reached_seconds: Seconds from the start of the process to the best value.
        test_accuracy: Accuracy of the final model on the test set, in 0..1.
        precision_macro: Its mean precision over the classes, in 0..1.
        recall_macro: Its mean recall over the classes, in 0..1.
        test_loss: Its loss on the test set.
        final_epochs: Number of epochs that it was retrained for.
        trials: Number of trials started.
        epochs: Number of epochs trained by all trials.
        wall_seconds: Seconds from the start of the process to the end of the last trial.
        space: Name of the space.
        algorithm: Name of the search algorithm.
        workers: Number of trials that run at once.
        confirmed_mean: Mean objective of the confirmation's winner over the new seeds.
        confirmed_low: Lower end of its 95 % bootstrap interval.
        confirmed_high: Upper end of that interval.
        confirmed_seeds: Number of new seeds.
        confirmed_test_mean: Mean test accuracy of the winner's models, in 0..1.
        confirmed_test_low: Lower end of its 95 % bootstrap interval.
        confirmed_test_high: Upper end of that interval.
        audit_wrong: Number of audited trials that were wrongly stopped.
        audit_audited: Number of stopped trials that were audited.
        audit_seconds_saved: Worker seconds that stopping saved; an estimate.
    """

    name: str
    engine: str
    data: str | None = None
    ended: str | None = None
    objective: str | None = None
    mode: str = "max"
    best: float | None = None
    reached_seconds: float | None = None
    test_accuracy: float | None = None
    precision_macro: float | None = None
    recall_macro: float | None = None
    test_loss: float | None = None
    final_epochs: int | None = None
    trials: int | None = None
    epochs: int | None = None
    wall_seconds: float | None = None
    space: str | None = None
    algorithm: str | None = None
    workers: int | None = None
    confirmed_mean: float | None = None
    confirmed_low: float | None = None
    confirmed_high: float | None = None
    confirmed_seeds: int | None = None
    confirmed_test_mean: float | None = None
    confirmed_test_low: float | None = None
    confirmed_test_high: float | None = None
    audit_wrong: int | None = None
    audit_audited: int | None = None
    audit_seconds_saved: float | None = None


FIELDS = tuple(field.name for field in fields(Row))


def row_of(run: Run) -> Row:
    """Return the row of the comparison for a run."""
    plan = run.description["plan"]
    evaluation = run.evaluation or {}
    best = best_trial(run)
    winner = run.confirmation.winning_candidate if run.confirmation else None
    test, audit = winner.test if winner else None, run.audit
    end_seconds = [seconds for seconds in run.trials[columns.ENDED_SECONDS].to_pylist() if seconds]
    return Row(
        name=run.name,
        engine=plan["engine"],
        data=plan["problem"]["data"],
        ended=run.ended,
        objective=run.objective,
        mode=run.mode,
        best=best[columns.BEST_OBJECTIVE] if best else None,
        reached_seconds=best[columns.BEST_SECONDS] if best else None,
        test_accuracy=evaluation.get("test_accuracy"),
        precision_macro=evaluation.get("precision_macro"),
        recall_macro=evaluation.get("recall_macro"),
        test_loss=evaluation.get("test_loss"),
        final_epochs=evaluation.get("epochs"),
        trials=run.trials.num_rows,
        epochs=run.epochs.num_rows,
        wall_seconds=max(end_seconds, default=None),
        space=plan["problem"]["space"],
        algorithm=plan["algorithm"],
        workers=plan["workers"],
        confirmed_mean=winner.mean if winner else None,
        confirmed_low=winner.low if winner else None,
        confirmed_high=winner.high if winner else None,
        confirmed_seeds=len(run.confirmation.seeds) if run.confirmation else None,
        confirmed_test_mean=test.mean if test else None,
        confirmed_test_low=test.low if test else None,
        confirmed_test_high=test.high if test else None,
        audit_wrong=audit.wrong if audit else None,
        audit_audited=audit.audited if audit else None,
        audit_seconds_saved=audit.seconds_saved if audit else None,
    )


def hyperparameters_of(run: Run) -> dict[str, tuple[Any, ...]]:
    """Return the value of each trial by hyperparameter; None where it is inactive.

    A column of several types, or of numbers beyond 64 bits, is stored as JSON texts: they are
    decoded, unless the hyperparameter takes texts alone.
    """
    space = run.description.get("space") or []
    values = {}
    for column in run.trials.column_names:
        if column.startswith(columns.HP_PREFIX):
            name = column.removeprefix(columns.HP_PREFIX)
            rows = [row for row in space if row["name"] == name]
            values[name] = _decode(run.trials[column].to_pylist(), rows)
    return values


def _decode(values: Sequence[Any], rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    declared = {type(choice) for row in rows for choice in row["choices"]}
    has_numbers = any(not row["choices"] for row in rows) or declared - {str}
    is_text = all(isinstance(value, str) for value in values if value is not None)
    if not (rows and has_numbers and is_text):
        return tuple(values)
    return tuple(None if value is None else _load_json(value) for value in values)


def _load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def best_trial(run: Run) -> dict[str, Any] | None:
    """Return the row of the trial with the best value, of equal values the earliest; else None."""
    rows = [row for row in run.trials.to_pylist() if row[columns.BEST_OBJECTIVE] is not None]
    rank = Objective(run.objective, run.mode).rank
    return min(
        rows,
        key=lambda row: rank(
            row[columns.BEST_OBJECTIVE], row[columns.BEST_SECONDS], row[columns.TRIAL]
        ),
        default=None,
    )


def has_stopped(run: Run) -> bool:
    """Tell whether the scheduler stopped a trial of a run."""
    return any(ending_of(row).state is State.STOPPED for row in run.trials.to_pylist())


def ending_of(row: dict[str, Any]) -> Ending:
    """Return the ending of a trial from its row of trials.parquet."""
    return Ending(State(row[columns.STATE]), row[columns.SCHEDULER])


def executions_of(run: Run) -> dict[int, Counter[int]]:
    """Return the number of epochs of each execution, by trial; a trial without epochs is left out.

    A run of version 0.1.0 has no executions: all its epochs are of the first.
    """
    counts: dict[int, Counter[int]] = {}
    for row in run.epochs.to_pylist():
        execution = row.get(columns.EXECUTION) or 0
        counts.setdefault(row[columns.TRIAL], Counter())[execution] += 1
    return counts


def epoch_cells(run: Run) -> dict[str, list[str]]:
    """Return the columns that count the epochs of each trial, by their headings.

    Trials of several executions have their number, and the epochs of each, such as ``3 to 5``.
    """
    trials = run.trials.to_pylist()
    executions = executions_of(run)
    if all(len(counts) <= 1 for counts in executions.values()):
        return {"epochs": [str(row[columns.EPOCHS]) for row in trials]}
    counts = [sorted(executions.get(row[columns.TRIAL], {0: 0}).values()) for row in trials]
    return {
        "trainings": [str(len(each)) if any(each) else "0" for each in counts],
        "epochs each": [
            str(each[0]) if each[0] == each[-1] else f"{each[0]} to {each[-1]}" for each in counts
        ],
    }
