"""Which trials go to a GPU: by the rule that ships, or by one of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from results.record.columns import Device, Values
from search.errors import ProblemError, one_line
from search.plan import importer
from search.plan.plan import AUTO

# From so many on a trial goes to a GPU. Six times as many floating-point operations train a
# sample (forward, and twice as much back): of 128 samples some 15 ms on a CPU core that does
# 50 thousand million a second, where starting the few dozen kernels of a step takes a GPU 1 or 2.
GPU_FROM_MULTIPLY_ADDS = 1_000_000

# Given a configuration and the multiply-adds of its model: "cpu" or "gpu".
Rule = Callable[[Values, int | None], Any]


@dataclass(frozen=True)
class Judgement:
    """Where a configuration is to be trained.

    Attributes:
        device: On CPUs alone, or on a share of a GPU.
        multiply_adds: What its model takes for a sample; None: not known.
    """

    device: Device
    multiply_adds: int | None = None


def by_size(_values: Values, multiply_adds: int | None) -> Device:
    """Return the device that suits a model; the CPUs if its size is not known."""
    is_large = multiply_adds is not None and multiply_adds >= GPU_FROM_MULTIPLY_ADDS
    return Device.GPU if is_large else Device.CPU


def own_rule(rule: str | None) -> str | None:
    """Return the reference of the user's own rule; None for the rule that ships."""
    return None if rule == AUTO else rule


def judge(rule: str, values: Values, multiply_adds: int | None) -> Judgement:
    """Apply the rule that a user named.

    Args:
        rule: ``auto``, or ``module:function`` of the user's own.
        values: The configuration.
        multiply_adds: What its model takes for a sample.

    Raises:
        ProblemError: The function cannot be loaded, raised, or returned no device.
    """
    choose: Rule = by_size if rule == AUTO else importer.load(rule, "resources")
    try:
        device = choose(values, multiply_adds)
    except Exception as error:
        raise ProblemError(f"--resources {rule!r} raised {one_line(error)} for {values}") from error
    if device not in tuple(Device):
        raise ProblemError(
            f"--resources {rule!r} returned {device!r} for {values}: expected 'cpu' or 'gpu'."
        )
    return Judgement(Device(device), multiply_adds)
