"""The messages between the driver and its worker processes, which Ray Tune carries.

The driver sends a process a config, ``TrainTrial`` or ``WarmUp``; the process answers with reports.
Ray Tune carries flat dicts: it would copy and flatten nested ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from results.record.columns import Device, State, Values
from search.ray.nodes import TrialProcess

KIND, CONTENT = "kind", "content"


@dataclass(frozen=True, kw_only=True)
class TrainTrial:
    """Config: train a trial.

    Attributes:
        epochs: Most epochs that it may train; None: its fit decides.
        space: The space so far, as JSON values.
        again: Whether another process, or another driver, started it before.
        retries: How often it has failed and started again.
    """

    trial: int
    values: Values
    epochs: int | None
    device: Device
    space: list[dict[str, Any]]
    again: bool = False
    retries: int = 0


@dataclass(frozen=True)
class WarmUp:
    """Config: import TensorFlow, discover the space if asked to, and wait for trials."""

    device: Device
    discovers: bool


@dataclass(frozen=True)
class Started:
    """Report: a process has started the trial."""

    process: TrialProcess


@dataclass(frozen=True)
class Ready:
    """Report: the process has imported TensorFlow and has the data; it begins to train.

    Attributes:
        lacks_gpu_on: The host, if Ray has assigned a GPU there that TensorFlow does not see.
    """

    lacks_gpu_on: str | None = None


@dataclass(frozen=True)
class Epoch:
    """Report: an epoch was trained, as the trial's reporter tells it."""

    report: dict[str, Any]
    worker: str

    @property
    def is_judged(self) -> bool:
        """Whether the scheduler decides on it: not in a repeated execution."""
        return "execution" not in self.report


@dataclass(frozen=True)
class Retried:
    """Report: the trial has failed with an error and starts again."""

    error: str


@dataclass(frozen=True)
class Ended:
    """Report: the trial has ended by itself; the fields are those of ``TrialEnd``."""

    state: State
    error: str | None = None
    traceback: str | None = None
    fatal: str | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Waiting:
    """Report: a process is warm and waits for trials."""


@dataclass(frozen=True)
class Discovered:
    """Report: the process that discovers the space has found it."""

    space: list[dict[str, Any]]


Config = TrainTrial | WarmUp
Report = Started | Ready | Epoch | Retried | Ended | Waiting | Discovered

_KINDS = {kind.__name__: kind for kind in (*get_args(Config), *get_args(Report))}


def to_ray(message: Config | Report) -> dict[str, str]:
    """Return a message as Ray Tune carries it."""
    return {KIND: type(message).__name__, CONTENT: json.dumps(vars(message), default=vars)}


def config_of(fields: Mapping[str, Any]) -> Config:
    """Read the config of one of Ray's trials."""
    kind, content = _read(fields)
    config: Config = kind(**content | {"device": Device(content["device"])})
    return config


def report_of(fields: Mapping[str, Any]) -> Report:
    """Read what a process has reported."""
    kind, content = _read(fields)
    if kind is Started:
        return Started(TrialProcess(**content["process"]))
    if kind is Ended:
        return Ended(**content | {"state": State(content["state"])})
    report: Report = kind(**content)
    return report


def _read(fields: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    return _KINDS[fields[KIND]], json.loads(fields[CONTENT])
