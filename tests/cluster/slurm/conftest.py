"""What the tests of Slurm jobs share."""

import signal

import pytest
from slurm_machine import Machine

from cluster.slurm.job import Signals


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "a project")


@pytest.fixture
def kept_handlers():
    """The handlers of signals are again what they were after the test."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def signals(kept_handlers):
    """Signals of the batch script."""
    numbers = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)
    return Signals(*numbers, sent=signal.SIGINT)
