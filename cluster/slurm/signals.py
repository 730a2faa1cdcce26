"""Signals by which Slurm or a user ends a job, passed on to the process that runs."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

INTERRUPTED_STATUS = 130


class Signals:
    """Takes signals, and ends the process that runs by another signal.

    Args:
        taken: The signals to take.
        sent: The signal that the process gets for each.

    Attributes:
        received: The signals that have come, the first one first.
    """

    def __init__(self, *taken: signal.Signals, sent: signal.Signals) -> None:
        self.received: list[int] = []
        self._sent = sent
        self._process: subprocess.Popen[bytes] | None = None
        for number in taken:
            signal.signal(number, self._take)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> int:
        """Run a command to its end, unless a signal has come before.

        Args:
            command: What to run.
            environment: Of the process.
            output: Where it writes; None: where this process does.

        Returns:
            The exit status; of a process that a signal ended, the status that a shell gives.
        """
        if self.received:
            return INTERRUPTED_STATUS
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
        ) as self._process:
            if self.received:  # a signal came before there was a process to pass it on to
                self._process.send_signal(self._sent)
            status = self._process.wait()
        return status if status >= 0 else 128 - status

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._process.send_signal(self._sent)
