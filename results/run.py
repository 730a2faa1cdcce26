"""A run as it was read, and its row of the comparison."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.record import columns
from results.record.audit import Audit
from results.record.columns import Ending, State
from results.record.confirmation import Confirmation
from results.record.history import Objective


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        path: The folder.
        description: Content of run.json.
        trials: trials.parquet.
        epochs: epochs.parquet.
        evaluation: final/evaluation.json, or None where nothing was retrained.
        ended: Why the search ended, by the last event of its journal.
        confirmation: confirm/confirmation.json, or None where nothing was confirmed.
        audit: audit/audit.json, or None where no stopped trial was audited.
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
        """The folder's name."""
        return self.path.resolve().name

    @property
    def objective(self) -> str:
        """The metric that was searched by."""
        return str(self.description["plan"]["problem"]["objective"]["name"])

    @property
    def mode(self) -> str:
        """``max`` or ``min``."""
        return str(self.description["plan"]["problem"]["objective"]["mode"])


@dataclass(frozen=True)
class Row:
    """What is compared of a run, or of a published figure. None is what is not known.

    Attributes:
        name: The run's folder, or what the published figure is of.
        engine: ``ray``, ``keras-tuner``, ``published``, or the program of an imported search.
        data: Reference of the data that was learnt: rows of other data are no peers.
        ended: Why the search ended.
        objective: The metric that was searched by.
        mode: ``max`` or ``min``: which values of it are the better ones.
        best: Best value of the objective over all epochs of all trials.
        reached_seconds: When it was reached, from the start of the process.
        test_accuracy: Accuracy of the final model on the test set, in 0..1.
        precision_macro: Its mean precision over the classes, in 0..1.
        recall_macro: Its mean recall, in 0..1.
        test_loss: Its loss on the test set.
        final_epochs: Epochs that it was retrained for.
        trials: Trials started.
        epochs: Epochs trained by all of them.
        wall_seconds: Seconds from the start of the process to the end of the last trial.
        space: Name of the space.
        algorithm: How configurations were chosen.
        workers: Trials at once.
        confirmed_mean: Mean of the objective over new seeds, of the winner among the confirmed.
        confirmed_low: Lower end of its 95 % bootstrap interval.
        confirmed_high: Upper end of it.
        confirmed_seeds: How many new seeds.
        confirmed_test_mean: Mean accuracy of the winner's models on the test set, in 0..1.
        confirmed_test_low: Lower end of its 95 % bootstrap interval.
        confirmed_test_high: Upper end of it.
        audit_wrong: How many of the audited trials were wrongly stopped.
        audit_audited: How many of the stopped trials were trained to their end.
        audit_seconds_saved: What stopping saved, in seconds of a worker; an estimate.
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
    """Return the comparison's row of a run."""
    plan = run.description["plan"]
    evaluation = run.evaluation or {}
    best = best_trial(run)
    chosen = run.confirmation.winning_candidate if run.confirmation else None
    test, audit = chosen.test if chosen else None, run.audit
    ended = [seconds for seconds in run.trials[columns.ENDED_SECONDS].to_pylist() if seconds]
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
        wall_seconds=max(ended, default=None),
        space=plan["problem"]["space"],
        algorithm=plan["algorithm"],
        workers=plan["workers"],
        confirmed_mean=chosen.mean if chosen else None,
        confirmed_low=chosen.low if chosen else None,
        confirmed_high=chosen.high if chosen else None,
        confirmed_seeds=len(run.confirmation.seeds) if run.confirmation else None,
        confirmed_test_mean=test.mean if test else None,
        confirmed_test_low=test.low if test else None,
        confirmed_test_high=test.high if test else None,
        audit_wrong=audit.wrong if audit else None,
        audit_audited=audit.audited if audit else None,
        audit_seconds_saved=audit.seconds_saved if audit else None,
    )


def best_trial(run: Run) -> dict[str, Any] | None:
    """Return the row of the trial with the best value, or None; of equals the first to reach it."""
    rows = [row for row in run.trials.to_pylist() if row[columns.BEST_OBJECTIVE] is not None]
    rank = Objective(run.objective, run.mode).rank
    return min(
        rows,
        key=lambda row: rank(
            row[columns.BEST_OBJECTIVE], row[columns.BEST_SECONDS], row[columns.TRIAL]
        ),
        default=None,
    )


def ending_of(row: dict[str, Any]) -> Ending:
    """Return how the trial of a row of trials.parquet ended."""
    return Ending(State(row[columns.STATE]), row[columns.SCHEDULER])
