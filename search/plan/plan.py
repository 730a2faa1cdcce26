"""What a user asked for: a frozen value, checked whole before any work starts."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from results.record.columns import Device, Values
from results.record.history import Objective
from search.errors import UsageError
from search.plan.registry import Log, Scheduler

CHECKPOINT_SECONDS = 10.0
# Ray's name, in what a trial takes.
GPU = "gpu"
# The rule of ``search.engines.ray.placement.rule``, in the place of one of the user's own.
AUTO = "auto"
GPU_SHARE = 0.25
SEEDS = 5
HUNG_AFTER_SECONDS = 3600.0


class Engine(StrEnum):
    """What runs the trials."""

    RAY = "ray"
    KERAS_TUNER = "keras-tuner"


@dataclass(frozen=True)
class ASHA:
    """Settings of asynchronous successive halving.

    Attributes:
        grace_period: Epochs that every trial may train.
        reduction_factor: About one trial in so many passes a rung; more than 1.
    """

    grace_period: int = 1
    reduction_factor: float = 3.0


class Tuner(StrEnum):
    """Which of keras-tuner's tuners its engine runs."""

    HYPERBAND = "hyperband"
    BAYESIAN = "bayesian"
    RANDOM = "random"
    GRID = "grid"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched: models, data and objective, by names that any process can load.

    Attributes:
        hypermodel: ``module:attribute`` of a ``build_model(hp)`` or a ``HyperModel``; None where
            a script's own object is searched, which no other process can name.
        data: ``module:attribute`` of a function that returns the splits; or, of a script's own
            data, a description that equal data share.
        data_dir: Handed to the data function where it takes one.
        space: Name of the space, for the tables.
        objective: What is searched for.
        epochs: Most epochs that a trial trains.
        patience: Epochs without a better ``val_loss`` after which a trial ends; 0: never.
        seed: Seed of the run: the split, the configurations, the weights.
        fast_epoch: Whether ``fit`` may run a whole epoch as one compiled call.
    """

    hypermodel: str | None
    data: str
    data_dir: str | None = None
    space: str
    objective: Objective
    epochs: int
    patience: int
    seed: int
    fast_epoch: bool = True


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is to be trained again: the ``top`` of a search, each on so many new ``seeds``.

    Attributes:
        epochs: Numbers of epochs at which each is trained.
        also: By name, configurations that are trained beside them, to compare.
    """

    top: int
    seeds: int
    epochs: tuple[int, ...]
    also: Mapping[str, Values] = field(default_factory=dict)

    def problems(self, *, top_option: str = "--confirm") -> Iterator[str]:
        """Say everything that is wrong, a line each; ``top_option`` is what was typed for it."""
        if self.top < 1:
            yield f"{top_option} {self.top}: expected 1 or more."
        if self.seeds < 2:
            yield (
                f"--seeds {self.seeds}: expected 2 or more: of one seed nobody can tell what is "
                "luck."
            )
        if not self.epochs or min(self.epochs) < 1:
            yield f"--retrain-epochs {list(self.epochs)}: expected 1 or more each."


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole run: the problem, how it is searched, and what follows.

    Attributes:
        algorithm: How the Ray engine chooses configurations: an ``Algorithm``, or the name of
            the keras-tuner oracle that does.
        tuner: What the keras-tuner engine runs; None for the others.
        trials: Most trials that are started; None: as many as the tuner itself decides.
        workers: Trials at once; of an elastic run, as many as there was room for at its beginning.
        elastic: Whether as many are trained at once as the cluster has room for at any time.
        address: The Ray cluster that is joined; None: a Ray of this machine, for this run alone.
        cpus_per_trial: CPUs of a trial, and its threads.
        other_resources: What else of Ray's resources a trial takes, such as ``{"gpu": 0.5}``.
        device_rule: Decides for each trial whether it takes a GPU (``gpu`` of the other resources)
            or CPUs alone: ``auto``, or a ``module:function``; None: all trials take the same.
        gpus: GPUs that trials may take in all, also those that an autoscaler has still to bring;
            None: those that are there.
        scheduler: What stops trials early.
        grace_period: Epochs that ASHA lets every trial train.
        reduction_factor: One in so many trials goes on at each rung.
        time_budget_seconds: The search ends after so long, counted from the process start.
        target: The search ends when the objective has reached this value.
        retrain_epochs: Numbers of epochs at which the best configuration is retrained.
        warm_start: An earlier search from whose finished trials the searcher learns.
        reuse_workers: Whether a worker process serves many trials.
        checkpoint_seconds: No more training than this, or one epoch where that is longer, is lost
            with a worker process; 0 keeps the state after every epoch.
        hung_after_seconds: A trial that reports no epoch for so long is ended; None: none is.
        defaults_first: Whether the first trial gets the defaults that the builder declares.
        kept_weights: So many of the best trials keep their weights; None: all do.
        log: What else is written of the search while it runs; None: nothing.
        confirm: So many of the best configurations are trained again on new seeds, and the best
            of them by the mean is the final one; None: the best of the search is.
        seeds: So many new seeds.
        audit: So many of the stopped trials are trained to their end; None: none.
        out: The run folder to make.
    """

    problem: Problem
    engine: Engine
    algorithm: str
    tuner: Tuner | None = None
    trials: int | None
    workers: int
    elastic: bool = False
    address: str | None = None
    cpus_per_trial: float = 1
    other_resources: dict[str, float] = field(default_factory=dict)
    device_rule: str | None = None
    gpus: float | None = None
    scheduler: Scheduler = Scheduler.ASHA
    grace_period: int
    reduction_factor: float
    time_budget_seconds: float | None = None
    target: float | None = None
    retrain_epochs: tuple[int, ...] = ()
    out: Path
    warm_start: str | None = None
    reuse_workers: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    hung_after_seconds: float | None = HUNG_AFTER_SECONDS
    defaults_first: bool = True
    kept_weights: int | None = 10
    log: Log | None = None
    confirm: int | None = None
    seeds: int = SEEDS
    audit: int | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What a trial takes of Ray's resources."""
        return {"cpu": self.cpus_per_trial, **self.other_resources}

    @property
    def threads(self) -> int:
        """How many threads a trial may use: one for each of its CPUs."""
        return max(1, int(self.cpus_per_trial))

    @property
    def cpu_resources(self) -> dict[str, float]:
        """What a trial takes that is trained on CPUs alone."""
        return {name: n for name, n in self.resources.items() if name != GPU}

    @property
    def device(self) -> Device:
        """Where trials are trained, where nothing decides it for each."""
        return Device.GPU if self.gpu_share else Device.CPU

    @property
    def gpu_share(self) -> float | None:
        """What a trial takes of GPUs; None: none."""
        return self.other_resources.get(GPU) or None

    def resources_on(self, device: Device) -> dict[str, float]:
        """Return what a trial takes on a device."""
        return self.resources if device is Device.GPU else self.cpu_resources

    @property
    def confirmation(self) -> ConfirmationPlan | None:
        """What is trained again on new seeds; None: nothing."""
        if self.confirm is None:
            return None
        return ConfirmationPlan(self.confirm, self.seeds, self.retrain_epochs)

    @property
    def algorithm_name(self) -> str:
        """The algorithm in the words of the engine that runs it."""
        return str(self.tuner if self.engine is Engine.KERAS_TUNER else self.algorithm)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self) | {"algorithm": self.algorithm_name, "out": str(self.out)}

    def problems(self) -> Iterator[str]:
        """Say everything that is wrong with what was asked, a line each."""
        problem = self.problem
        whole_numbers = {
            "--trials": (self.trials, 1),
            "--workers": (self.workers, 1),
            "--epochs": (problem.epochs, 1),
            "--grace-period": (self.grace_period, 1),
            "--patience": (problem.patience, 0),
            "--seed": (problem.seed, 0),
        }
        for option, (value, least) in whole_numbers.items():
            if value is not None and value < least:
                yield f"{option} {value}: expected {least} or more."
        if self.grace_period > problem.epochs >= 1:
            yield (
                f"--grace-period {self.grace_period} is above --epochs {problem.epochs}: "
                "expected at most as many."
            )
        lowest = 1.5 if self.engine is Engine.KERAS_TUNER else 1.0  # Hyperband rounds it
        if self.reduction_factor <= lowest:
            yield (
                f"--reduction-factor {self.reduction_factor}: expected more than {lowest}, "
                "such as 3."
            )
        if self.time_budget_seconds is not None and self.time_budget_seconds <= 0:
            yield f"--time-budget {self.time_budget_seconds}: expected more than 0 seconds."
        if not 0 <= self.checkpoint_seconds < math.inf:
            yield f"--checkpoint-seconds {self.checkpoint_seconds}: expected a number from 0 on."
        yield from self._resource_problems()
        yield from self._follow_up_problems()
        if any(epochs < 1 for epochs in self.retrain_epochs):
            yield f"--retrain-epochs {list(self.retrain_epochs)}: expected 1 or more each."
        if problem.data_dir is not None and not Path(problem.data_dir).expanduser().is_dir():
            yield f"--data-dir {problem.data_dir!r}: there is no such folder."
        if self.hung_after_seconds is not None and self.hung_after_seconds <= 0:
            yield f"--hung-after {self.hung_after_seconds}: expected more than 0 seconds."

    def _resource_problems(self) -> Iterator[str]:
        if not 0 < self.cpus_per_trial < math.inf:
            yield f"--cpus-per-trial {self.cpus_per_trial:g}: expected more than 0, such as 1."
        share = self.other_resources.get(GPU)
        if share is not None and not (0 < share <= 1 or (1 < share < math.inf and share % 1 == 0)):
            yield (
                f"--gpus-per-trial {share:g}: expected a share of one, such as 0.25, or a whole "
                "number."
            )
        if self.gpus is not None and not 0 < self.gpus < math.inf:
            yield f"--gpus {self.gpus:g}: expected more than 0."
        elif self.gpus is not None and share and self.gpus < share:
            yield f"--gpus {self.gpus:g}: expected {share:g} or more, what a trial takes."
        if self.gpus is not None and self.address is None:
            yield (
                f"--gpus {self.gpus:g}: expected --address with it: it asks the autoscaler of a "
                "cluster for GPUs."
            )
        if self.gpus is not None and not share:
            yield f"--gpus {self.gpus:g} is for --gpus-per-trial or --resources: add one of them."
        if self.device_rule is not None and not share:
            yield f"--resources {self.device_rule!r}: expected --gpus-per-trial above 0 with it."
        if self.device_rule not in (None, AUTO) and ":" not in str(self.device_rule):
            yield (
                f"--resources {self.device_rule!r}: expected {AUTO}, or module:function of a rule "
                "of your own."
            )

    def _follow_up_problems(self) -> Iterator[str]:
        if self.confirmation is not None:
            yield from self.confirmation.problems()
        if self.confirm and self.trials is not None and self.confirm > self.trials:
            yield (
                f"--confirm {self.confirm} is above --trials {self.trials}: expected at most as "
                "many."
            )
        if self.audit is None:
            return
        if self.audit < 1:
            yield f"--audit {self.audit}: expected 1 or more."
        if self.engine is not Engine.RAY:
            yield (
                f"--audit {self.audit} is for --engine ray: the {self.engine} engine has no such "
                "stops."
            )
        elif self.scheduler is Scheduler.NONE:
            yield f"--audit {self.audit}: expected --scheduler asha, which stops trials."


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_resources(share: float) -> dict[str, float]:
    """Return what a trial takes of GPUs, as Ray's resources; 0: nothing."""
    return {GPU: share} if share else {}


def local_workers(cpus_per_trial: float) -> int:
    """Return for how many trials at once this machine has CPUs; 1 at least."""
    return max(1, int(available_cores() / cpus_per_trial))


def infer_objective(name: str, direction: str | None) -> Objective:
    """Make an objective of a metric's name, its direction inferred where it is well known.

    Raises:
        UsageError: The direction cannot be known.
    """
    if direction:
        return Objective(name, direction)
    bare = name.removeprefix("val_")
    if "loss" in bare or "error" in bare:
        return Objective(name, "min")
    if any(word in bare for word in ("acc", "auc", "precision", "recall", "f1", "iou", "r2")):
        return Objective(name, "max")
    raise UsageError(
        f"--objective {name!r}: it is not known whether more or less of it is better. "
        "Say so by --direction max or --direction min."
    )
