"""Names of the files, columns and states that ``search`` writes and ``results`` reads."""

from dataclasses import dataclass
from enum import StrEnum

Scalar = bool | int | float | str
# A configuration: the values of its hyperparameters by name.
Values = dict[str, Scalar]

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"
TRIALS_FILE = "trials.parquet"
EPOCHS_FILE = "epochs.parquet"
BEST_FILE = "best.json"
CHECKPOINTS_DIR = "checkpoints"
LOCK_FILE = "driver.lock"
FINAL_DIR = "final"
MODEL_FILE = "model.keras"
HISTORY_FILE = "history.parquet"
EVALUATION_FILE = "evaluation.json"
CONFUSION_FILE = "confusion_matrix.png"
MISTAKES_FILE = "mistakes.parquet"
# Confirmation of the best configurations on new seeds, and the audit of early stopping.
CONFIRM_DIR = "confirm"
CONFIRMATION_FILE = "confirmation.json"
# Key of evaluation.json if the final model is the winner of a confirmation.
CONFIRMED_SEEDS = "confirmed_seeds"
AUDIT_DIR = "audit"
AUDIT_FILE = "audit.json"
REPORT_FILE = "report.html"
PICTURES_DIR = "pictures"

# Metadata of both tables: checksum of their journal, its damaged lines, and the kind of the scores.
JOURNAL_CRC = "journal_crc"
DAMAGED_LINES = "damaged_lines"
# What the scores of the trials are: a ``ScoreKind``.
SCORE_KIND = "score_kind"

# Columns of trials.parquet and epochs.parquet. Seconds count from the start of the search process.
TRIAL = "trial"
ATTEMPT = "attempt"
EXECUTION = "execution"
STATE = "state"
SCHEDULER = "scheduler"
EPOCH = "epoch"
EPOCHS = "epochs"
OBJECTIVE = "objective"
BEST_OBJECTIVE = "best_objective"
BEST_EPOCH = "best_epoch"
BEST_SECONDS = "best_seconds"
STARTED_SECONDS = "started_seconds"
ENDED_SECONDS = "ended_seconds"
AT_SECONDS = "at_seconds"
EPOCH_SECONDS = "epoch_seconds"
TRAIN_SECONDS = "train_seconds"
DECISION = "decision"
WORKER = "worker"
ERROR = "error"
PATH = "path"
PATH_REASON = "path_reason"
CONTINUED_FROM = "continued_from"
# Only in searches with --resources.
DEVICE = "device"
MULTIPLY_ADDS = "multiply_adds"
# Prefixes of the columns of hyperparameters and metrics.
HP_PREFIX = "hp:"
METRIC_PREFIX = "metric:"
# Prefix of the columns with a worker's seconds since its last report, by activity.
LAP_PREFIX = "lap:"

# Column of history.parquet: number of epochs of the retraining that this row belongs to.
PLANNED_EPOCHS = "planned_epochs"

# Columns of mistakes.parquet. Pixels are bytes, row by row. The last four are None for samples that
# are no pictures.
POSITION = "position"
TRUE_CLASS = "true_class"
PREDICTED_CLASS = "predicted_class"
CONFIDENCE = "confidence"
TRUE_PROBABILITY = "true_probability"
PIXELS = "pixels"
HEIGHT = "height"
WIDTH = "width"
CHANNELS = "channels"

# State of a stopped trial in journals and tables of version 0.1.0, whose only scheduler was ASHA.
STOPPED_BY_ASHA = "stopped by ASHA"
# Schedulers whose name in a sentence differs from their option value.
DISPLAY_NAMES = {"asha": "ASHA"}


class State(StrEnum):
    """State of a trial: running, or how it ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    EARLY_STOPPED = "early-stopped"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    LOST = "lost"
    HUNG = "hung"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Ending:
    """The state of a trial, with the scheduler that stopped it.

    Attributes:
        state: The state.
        scheduler: The scheduler that stopped the trial; None if no scheduler stopped it.
    """

    state: State
    scheduler: str | None = None

    @classmethod
    def read(cls, state: str, scheduler: str | None = None) -> "Ending":
        """Return the ending from the values that a run of any version recorded.

        Raises:
            ValueError: The state is unknown.
        """
        if state == STOPPED_BY_ASHA:
            return cls(State.STOPPED, "asha")
        return cls(State(state), scheduler)

    def __str__(self) -> str:
        """Return the ending in words, such as ``stopped by ASHA``."""
        if self.scheduler is None:
            return str(self.state)
        return f"{self.state} by {DISPLAY_NAMES.get(self.scheduler, self.scheduler)}"


class Device(StrEnum):
    """Device of a trial: CPUs only, or CPUs and a share of a GPU."""

    CPU = "cpu"
    GPU = "gpu"


class ScoreKind(StrEnum):
    """What the score of a trial is, as far as the trials so far have shown.

    Only scores of one kind are compared. A trial that has no score of its own counts with the best
    of its epochs if that is what the scores of the other trials are; otherwise its worth is
    unknown.
    """

    EPOCHS = "epochs"  # the best value of its epochs
    EXECUTIONS = "executions"  # the mean of the best values of its executions
    RETURNED = "returned"  # another value, which its fit or run_trial returns
    UNKNOWN = "unknown"  # fit or run_trial returns it; no trial has ended yet


class Decision(StrEnum):
    """Decision of the scheduler on a reported epoch."""

    CONTINUE = "continue"
    STOP = "stop"
