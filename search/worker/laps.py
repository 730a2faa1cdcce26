"""Measures what a process spends its time on, in laps without gaps."""

import time

from search.storage.clock import Clock, process_start

# The activities of a worker, in the order of a trial.
START = "start"  # from the start of the process to its first trial
IMPORT = "import"  # of TensorFlow and Keras
BETWEEN = "between"  # from the last report of a trial, or the import, to the next trial
DATA = "data"
RESET = "reset"  # clear the previous trial's state, create keras-tuner's search of one trial
BUILD = "build"
COMPILE = "compile"  # trace the fast epoch
TRAIN = "train"
VALIDATE = "validate"
KEEP = "keep"  # save weights and checkpoints
REPORT = "report"


class Laps:
    """Sums the seconds of each activity, from the start of the process.

    Args:
        clock: Returns seconds that are never set back.
        start: When the process started, by that clock; None: when this process started.
    """

    def __init__(self, clock: Clock = time.monotonic, start: float | None = None) -> None:
        self._clock = clock
        self._last = process_start() if start is None else start
        self._seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Add the time since the last call to the activity ``name``."""
        now = self._clock()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Return the seconds of each activity since the last call of this method."""
        seconds, self._seconds = self._seconds, {}
        return {name: round(value, 4) for name, value in seconds.items()}


LAPS = Laps()
