"""The names of files, columns and states that ``search`` writes and ``results`` reads."""

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
# What becomes of the best on new seeds, and what early stopping cost: search writes them.
CONFIRM_DIR = "confirm"
CONFIRMATION_FILE = "confirmation.json"
# In evaluation.json where the final model is the winner of a confirmation.
CONFIRMED_SEEDS = "confirmed_seeds"
AUDIT_DIR = "audit"
AUDIT_FILE = "audit.json"
REPORT_FILE = "report.html"
PICTURES_DIR = "pictures"

# In the metadata of both tables: of which journal they tell, and which of its lines are damaged.
JOURNAL_CRC = "journal_crc"
DAMAGED_LINES = "damaged_lines"

# Columns of trials.parquet and epochs.parquet. Seconds count from the start of the process.
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
# Of a search with --resources alone.
DEVICE = "device"
MULTIPLY_ADDS = "multiply_adds"
# A hyperparameter's column is its name behind this; a metric's column likewise.
HP_PREFIX = "hp:"
METRIC_PREFIX = "metric:"
# Seconds of a worker since its last report, by what it did.
LAP_PREFIX = "lap:"

# Column of history.parquet: how many epochs the retraining of this row was asked for.
PLANNED_EPOCHS = "planned_epochs"

# Columns of mistakes.parquet. Pixels are bytes, row by row; the last four are None of no picture.
POSITION = "position"
TRUE_CLASS = "true_class"
PREDICTED_CLASS = "predicted_class"
CONFIDENCE = "confidence"
TRUE_PROBABILITY = "true_probability"
PIXELS = "pixels"
HEIGHT = "height"
WIDTH = "width"
CHANNELS = "channels"

# The state that version 0.1.0 recorded of a trial that a scheduler stopped, in the journal and in
# the tables: ASHA was its only scheduler.
STOPPED_BY_ASHA = "stopped by ASHA"
# Schedulers whose name is written otherwise in a sentence.
IN_WORDS = {"asha": "ASHA"}


class State(StrEnum):
    """How a trial ended, or that it has not."""

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
    """How a trial ended, or that it has not.

    Attributes:
        state: The named state.
        scheduler: What stopped it; None of a trial that no scheduler stopped.
    """

    state: State
    scheduler: str | None = None

    @classmethod
    def read(cls, state: str, scheduler: str | None = None) -> "Ending":
        """Return the ending that a run of any version recorded.

        Raises:
            ValueError: There is no such state.
        """
        if state == STOPPED_BY_ASHA:
            return cls(State.STOPPED, "asha")
        return cls(State(state), scheduler)

    def __str__(self) -> str:
        """Return it in words, such as ``stopped by ASHA``."""
        if self.scheduler is None:
            return str(self.state)
        return f"{self.state} by {IN_WORDS.get(self.scheduler, self.scheduler)}"


class Device(StrEnum):
    """Where a trial is trained: on CPUs alone, or on a share of a GPU, with CPUs beside it."""

    CPU = "cpu"
    GPU = "gpu"


class Decision(StrEnum):
    """What the scheduler said of a reported epoch."""

    CONTINUE = "continue"
    STOP = "stop"
