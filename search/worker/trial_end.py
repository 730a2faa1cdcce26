"""How a trial ended, as its worker reports it. Imports Keras."""

import socket
from dataclasses import dataclass
from typing import Any

import keras_tuner as kt
import tensorflow as tf

from results.record.columns import State
from search.errors import SearchError, one_line, traceback_of
from search.worker.callbacks import ObjectiveMissing


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: The state in which it ended.
        error: ``ErrorType: message`` of a failed trial.
        traceback: The traceback of the error.
        fatal: Name of the error's class if every trial would fail, so that the search must end.
        result: What the reports of its epochs lack: ``score``, ``best_step``, ``metrics`` and
            ``score_kind`` if ``fit`` returned them or was executed several times; ``values`` and
            ``space`` of a trial that reported no epoch.
        returned: By class, the attributes that callbacks, hypermodel and tuner return, as JSON
            values; None if they name none.
    """

    state: State
    error: str | None = None
    traceback: str | None = None
    fatal: str | None = None
    result: dict[str, Any] | None = None
    returned: dict[str, dict[str, Any]] | None = None

    @classmethod
    def of_fatal_error(cls, error: Exception) -> "TrialEnd":
        """Return the end of a trial with an error that every trial would have."""
        class_name = type(error).__name__
        if not isinstance(error, (ObjectiveMissing, SearchError)):
            # The script gets keras-tuner's own class, also for a user's subclass of FatalError.
            base_names = (base.__name__ for base in type(error).__mro__)
            class_name = next(name for name in base_names if hasattr(kt.errors, name))
        return cls(State.FAILED, error=str(error), traceback=traceback_of(error), fatal=class_name)


def failed_end(
    error: Exception, trace: str | None = None, result: dict[str, Any] | None = None
) -> TrialEnd:
    """Return the end of a trial with an error of the user's code.

    Args:
        error: The error.
        trace: Its traceback; None: that of the error.
        result: What the reports of the trial's epochs lack.
    """
    is_out_of_memory = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    # A package may be missing on one node only.
    node = f" (on {socket.gethostname()})" if isinstance(error, ImportError) else ""
    return TrialEnd(
        State.OUT_OF_MEMORY if is_out_of_memory else State.FAILED,
        error=one_line(error) + node,
        traceback=trace or traceback_of(error),
        result=result,
    )
