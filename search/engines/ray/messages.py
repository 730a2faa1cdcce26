"""The messages between the driver and its worker processes, which Ray Tune carries.

The driver sends a config (``TrainTrial`` or ``WarmUp``) to a process; the process sends reports.
A message travels as a flat dict, because Ray Tune copies and flattens nested ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from results.record.columns import Device, State, Values
from search.ray.nodes import TrialProcess

KIND, CONTENT = "kind", "content"


@dataclass(frozen=True, kw_only=True)
class TrainTrial:
    """Config: train a trial.

    Attributes:
        trial: Number of the trial.
        values: Its configuration.
        epochs: Maximum number of epochs; None: the trial's ``fit`` decides.
        device: Where the trial trains.
        space: The search space so far, as JSON values.
        is_continued: Whether an earlier process or driver has started the trial.
        retries: How often the trial has failed and started again.
    """

    trial: int
    values: Values
    epochs: int | None
    device: Device
    space: list[dict[str, Any]]
    is_continued: bool = False
    retries: int = 0


@dataclass(frozen=True)
class WarmUp:
    """Config: import TensorFlow, discover the space if told to, and wait for trials.

    Attributes:
        device: Where the process runs.
        discovers_space: Whether this process discovers the search space.
    """

    device: Device
    discovers_space: bool


@dataclass(frozen=True)
class Started:
    """Report: a process has started the trial."""

    process: TrialProcess


@dataclass(frozen=True)
class Ready:
    """Report: the process has imported TensorFlow and has the data; it begins to train.

    Attributes:
        host_without_gpu: The host, if Ray assigns a GPU there that TensorFlow does not see.
    """

    host_without_gpu: str | None = None


@dataclass(frozen=True)
class Epoch:
    """Report: the trial has trained an epoch.

    Attributes:
        report: What the trial's reporter returned for the epoch.
        worker: Host and process id.
        printed: Lines that the trial has printed since its last report.
        is_end_reported: Whether the process reports the end of the trial even if it is stopped.
    """

    report: dict[str, Any]
    worker: str
    printed: list[str] = field(default_factory=list)
    is_end_reported: bool = False

    @property
    def is_judged(self) -> bool:
        """Whether the scheduler judges it: only the first execution is judged."""
        return "execution" not in self.report


@dataclass(frozen=True)
class Retried:
    """Report: the trial has failed with an error and starts again.

    Attributes:
        error: The error in one line.
        printed: Lines that the trial has printed since its last report.
    """

    error: str
    printed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """Report: the trial has ended by itself; the other fields are those of ``TrialEnd``.

    Attributes:
        printed: Lines that the trial has printed since its last report.
    """

    state: State
    error: str | None = None
    traceback: str | None = None
    fatal: str | None = None
    result: dict[str, Any] | None = None
    returned: dict[str, dict[str, Any]] | None = None
    printed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Waiting:
    """Report: a process is warm and waits for trials."""


@dataclass(frozen=True)
class Discovered:
    """Report: the process has discovered the search space, given as JSON values."""

    space: list[dict[str, Any]]


Config = TrainTrial | WarmUp
Report = Started | Ready | Epoch | Retried | Ended | Waiting | Discovered

_KINDS = {kind.__name__: kind for kind in (*get_args(Config), *get_args(Report))}


def encode(message: Config | Report) -> dict[str, str]:
    """Return a message as the flat dict that Ray Tune carries."""
    return {KIND: type(message).__name__, CONTENT: json.dumps(vars(message), default=vars)}


def decode_config(fields: Mapping[str, Any]) -> Config:
    """Read the config of a trial of Ray Tune."""
    kind, content = _read(fields)
    config: Config = kind(**content | {"device": Device(content["device"])})
    return config


def decode_report(fields: Mapping[str, Any]) -> Report:
    """Read the report of a process."""
    kind, content = _read(fields)
    if kind is Started:
        return Started(TrialProcess(**content["process"]))
    if kind is Ended:
        return Ended(**content | {"state": State(content["state"])})
    report: Report = kind(**content)
    return report


def _read(fields: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    return _KINDS[fields[KIND]], json.loads(fields[CONTENT])
