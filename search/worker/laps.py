"""Where the time of a process goes: stretches that follow each other without a gap."""

import time

from search.storage.clock import process_start

# What a worker does, in the order in which a trial meets it.
START = "start"  # the process itself, until its first trial
IMPORT = "import"  # of TensorFlow and Keras
BETWEEN = "between"  # from one trial's last report, or the import, until a trial begins
DATA = "data"
RESET = "reset"  # what the trial before left is cleared, keras-tuner's one-trial search is made
BUILD = "build"
COMPILE = "compile"  # tracing of the fast epoch
TRAIN = "train"
VALIDATE = "validate"
KEEP = "keep"  # weights and checkpoints
REPORT = "report"


class Laps:
    """Adds up seconds by name, from the start of the process on."""

    def __init__(self) -> None:
        self._last = process_start()
        self._seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Count what has passed since the last call as ``name``."""
        now = time.monotonic()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Return the seconds by name since the last call of this method."""
        taken, self._seconds = self._seconds, {}
        return {name: round(seconds, 4) for name, seconds in taken.items()}


LAPS = Laps()
