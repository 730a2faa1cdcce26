"""What a user asked for: a frozen value, checked whole before any work starts.

The fields of ``Problem``, ``Plan`` and ``Unrecorded`` are the table of options.
"""

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
from search.plan.options import (
    Group,
    Option,
    Rule,
    Speaker,
    at_least,
    more_than,
    option,
    problems_of,
    rows,
)
from search.plan.registry import Algorithm, Log, Scheduler

# The problem that ships with the project, by name: nothing of it is imported here.
SHIPPED_SPACES = {"published": "fmnist_model.mlp:published", "wide": "fmnist_model.mlp:Wide"}
SHIPPED_DATA = "fmnist_model.data:load_data"
NO_RETRAINING = "none"
# Ray's name, in what a trial takes.
GPU = "gpu"
# The rule of ``search.engines.ray.placement.rule``, in place of one of the user's own.
AUTO = "auto"
GPU_SHARE = 0.25
# How many of the best trials keep their weights.
KEPT_WEIGHTS = 10
DEFAULT_TRIALS = 20
DEFAULT_OBJECTIVE = "val_accuracy"
DEFAULT_RETRAIN_EPOCHS = (20, 50, 100)
# EarlyStopping on val_loss; elsewhere none, which on ``wide`` costs no accuracy: docs/settings.md.
PUBLISHED_PATIENCE_EPOCHS = 5


class Engine(StrEnum):
    """What runs the trials."""

    RAY = "ray"
    KERAS_TUNER = "keras-tuner"


@dataclass(frozen=True)
class ASHA:
    """Settings of asynchronous successive halving.

    Attributes:
        grace_period: Epochs that every trial may train.
        reduction_factor: About one trial in this many passes a rung; more than 1.
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
        data: ``module:attribute`` of a function that returns the splits; for a script's own data,
            a description that equal data share.
        space: Name of the space, for the tables.
    """

    space: str = option(
        str,
        "published",
        group=Group.PROBLEM,
        is_common=True,
        metavar="|".join(SHIPPED_SPACES),
        help="Space of the Fashion-MNIST problem to search.",
    )
    hypermodel: str | None = option(
        str,
        group=Group.PROBLEM,
        is_common=True,
        metavar="MODULE:NAME",
        help="Search your own build_model(hp) or HyperModel instead of --space; needs --data.",
    )
    data: str = option(
        str,
        group=Group.PROBLEM,
        is_common=True,
        metavar="MODULE:NAME",
        help="Function that returns the data for --hypermodel.",
    )
    data_dir: str | None = option(
        str,
        None,
        group=Group.PROBLEM,
        metavar="FOLDER",
        rule=Rule(lambda folder: Path(folder).expanduser().is_dir(), "an existing folder"),
        help="Folder that is passed to the data function.",
    )
    objective: Objective = option(
        str,
        group=Group.PROBLEM,
        metavar="METRIC",
        argument="objective",
        argument_default=None,
        default_text=DEFAULT_OBJECTIVE,
        help="Metric to optimize.",
    )
    epochs: int = option(
        int,
        30,
        group=Group.SEARCH,
        is_common=True,
        rule=at_least(1),
        argument="max_epochs",
        argument_default=None,
        in_resume=True,
        help="Maximum epochs per trial.",
        argument_help="Maximum epochs per trial. Default: `epochs` of `search`.",
        resume_help="Maximum epochs of a new trial.",
    )
    patience: int = option(
        int,
        0,
        group=Group.EARLY_STOPPING,
        metavar="EPOCHS",
        rule=at_least(0),
        default_text=f"{PUBLISHED_PATIENCE_EPOCHS} for --space published, as in the published "
        "work; else 0",
        help="Stop a trial after this many epochs without a better val_loss; 0: never.",
    )
    seed: int = option(
        int,
        0,
        group=Group.SEARCH,
        is_common=True,
        rule=at_least(0),
        argument="seed",
        argument_default=None,
        help="Seed of the data split, the configurations and the weights.",
    )
    fast_epoch: bool = option(
        bool,
        True,
        group=Group.RESOURCES,
        argument="fast_epoch",
        help="Run an epoch as one compiled call where this gives the same numbers as Keras.",
    )


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is trained again: the ``top`` of a search, each on ``seeds`` new seeds.

    Attributes:
        epochs: Numbers of epochs at which each is trained.
        also: By name, configurations that are trained beside them, to compare.
    """

    top: int
    seeds: int
    epochs: tuple[int, ...]
    also: Mapping[str, Values] = field(default_factory=dict)

    def problems(self, *, top_option: str = "--confirm") -> Iterator[str]:
        """Say everything that is wrong, a line each; ``top_option`` is the option typed for it."""
        if self.top < 1:
            yield f"{top_option} {self.top}: expected 1 or more."
        if self.seeds < 2:
            yield (
                f"--seeds {self.seeds}: expected 2 or more: a single seed does not show how much "
                "is luck."
            )
        if not self.epochs:
            yield f"--retrain-epochs {NO_RETRAINING}: {top_option} needs numbers such as 20,50."
        elif min(self.epochs) < 1:
            yield RETRAIN_EPOCHS.problem(self.epochs) or ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole run: the problem, how it is searched, and what follows.

    Attributes:
        algorithm: How the Ray engine chooses configurations: an ``Algorithm``, or the name of
            the keras-tuner oracle that does.
        tuner: What the keras-tuner engine runs; None for the Ray engine.
        trials: Maximum number of started trials; None: the tuner decides.
        workers: Trials at once; for an elastic run, the capacity at its start.
        elastic: Whether the number of trials at once follows the capacity of the cluster.
        address: The Ray cluster to join; None: a Ray of this machine, for this run alone.
        other_resources: Ray's resources of a trial beside CPUs, such as ``{"gpu": 0.5}``.
        time_budget_seconds: Counted from the start of the process.
        hung_after_seconds: None: hung trials are not ended.
        kept_weights: How many of the best trials keep their weights; None: all.
        log: Which logger writes while the search runs; None: none.
        confirm: How many of the best configurations are retrained on new seeds; the best by the
            mean becomes the final model. None: the best of the search does.
        audit: How many stopped trials are trained to their end; None: none.
    """

    problem: Problem
    trials: int | None = option(
        int,
        None,
        group=Group.SEARCH,
        is_common=True,
        rule=at_least(1),
        argument="max_trials",
        default_text=f"{DEFAULT_TRIALS}; no limit with --time-budget",
        in_resume=True,
        help="Maximum number of trials.",
        resume_help="Maximum number of trials, including the earlier ones.",
    )
    time_budget_seconds: float | None = option(
        float,
        None,
        flag="--time-budget",
        group=Group.SEARCH,
        is_common=True,
        metavar="SECONDS",
        rule=more_than(0, " seconds"),
        in_resume=True,
        help="End the search after this many seconds.",
        resume_help="End the search after this many seconds, including the earlier ones.",
    )
    workers: int = option(
        int,
        group=Group.RESOURCES,
        is_common=True,
        rule=at_least(1),
        default_text="the CPUs of this machine, or of the cluster",
        in_resume=True,
        help="Number of trials that run at once.",
    )
    retrain_epochs: tuple[int, ...] = option(
        tuple,
        (),
        group=Group.AFTER,
        is_common=True,
        metavar=f"N,N,..|{NO_RETRAINING}",
        rule=Rule(lambda numbers: all(number >= 1 for number in numbers), "1 or more each"),
        default_text=",".join(map(str, DEFAULT_RETRAIN_EPOCHS)),
        in_resume=True,
        help="Retrain the best configuration for each of these numbers of epochs, and evaluate "
        "the best of the models on the test set.",
        resume_help="Retrain the best configuration for each of these numbers of epochs.",
    )
    out: Path = option(
        Path,
        group=Group.FILES,
        is_common=True,
        metavar="FOLDER",
        default_text="runs/SPACE-ALGORITHM-TIME",
        help="Run folder to create.",
    )
    target: float | None = option(
        float,
        None,
        group=Group.SEARCH,
        metavar="VALUE",
        in_resume=True,
        help="End the search when the objective reaches this value.",
    )
    engine: Engine = option(
        Engine,
        Engine.RAY,
        group=Group.SEARCH,
        help="What runs the trials; keras-tuner runs one at a time.",
    )
    algorithm: str = option(
        Algorithm,
        Algorithm.TPE,
        group=Group.SEARCH,
        argument="algorithm",
        argument_type="`tpe`, `random` or a keras-tuner oracle",
        instead="use --tuner",
        help="How configurations are chosen.",
    )
    tuner: Tuner | None = option(
        Tuner,
        None,
        group=Group.SEARCH,
        default_text="hyperband",
        help="Which tuner --engine keras-tuner runs.",
    )
    warm_start: str | None = option(
        str,
        None,
        group=Group.SEARCH,
        metavar="PATH",
        argument="warm_start",
        instead="keras-tuner's tuners cannot learn from another search",
        help="Learn from an earlier search: a keras-tuner project, an Optuna study or a run "
        "folder.",
    )
    defaults_first: bool = option(
        bool,
        True,
        group=Group.SEARCH,
        instead="keras-tuner chooses its first trial itself",
        help="Start with the default values that the builder declares.",
    )
    scheduler: Scheduler = option(
        Scheduler,
        Scheduler.ASHA,
        group=Group.EARLY_STOPPING,
        argument="scheduler",
        argument_type="`asha`, `search.ASHA(...)` or `none`",
        argument_default=AUTO,
        help="What stops weak trials early.",
        argument_help="What stops weak trials early. Default: ASHA; none with Hyperband's oracle.",
    )
    grace_period: int = option(
        int,
        ASHA.grace_period,
        group=Group.EARLY_STOPPING,
        metavar="EPOCHS",
        rule=at_least(1),
        help="Epochs that ASHA lets every trial train.",
    )
    reduction_factor: float = option(
        float,
        ASHA.reduction_factor,
        group=Group.EARLY_STOPPING,
        rule=more_than(1, ", such as 3"),
        help="ASHA lets about one in this many trials pass each rung.",
    )
    elastic: bool = False
    address: str | None = option(
        str,
        None,
        group=Group.RESOURCES,
        metavar="HOST:PORT|auto",
        environment_variable="RAY_ADDRESS",
        argument="address",
        default_text="a Ray of its own on this machine",
        in_resume=True,
        help="Ray cluster to run on; auto: the one on this machine.",
    )
    cpus_per_trial: float = option(
        float,
        1.0,
        group=Group.RESOURCES,
        rule=more_than(0, ", such as 1"),
        instead="keras-tuner runs one trial at a time, on all CPUs",
        help="CPUs per trial, which is also its number of threads.",
    )
    other_resources: dict[str, float] = field(default_factory=dict)
    reuse_workers: bool = option(
        bool,
        True,
        group=Group.RESOURCES,
        argument="reuse_workers",
        help="Run many trials in each worker process.",
    )
    checkpoint_seconds: float = option(
        float,
        10.0,
        group=Group.RESOURCES,
        metavar="SECONDS",
        rule=at_least(0, "seconds"),
        help="Training that a lost worker process may cost, but at least one epoch; 0: save "
        "every epoch.",
    )
    hung_after_seconds: float | None = option(
        float,
        3600.0,
        flag="--hung-after",
        group=Group.RESOURCES,
        metavar="SECONDS",
        rule=more_than(0, " seconds"),
        argument="hung_after",
        argument_default=None,
        help="End a trial that completes no epoch for this many seconds.",
        argument_help="End a trial that completes no epoch for this many seconds. Default: never.",
    )
    device_rule: str | None = option(
        str,
        None,
        flag="--resources",
        group=Group.RESOURCES,
        metavar=f"{AUTO}|MODULE:NAME",
        rule=Rule(
            lambda rule: rule == AUTO or ":" in rule,
            f"{AUTO}, or module:function of a rule of your own",
        ),
        instead="keras-tuner runs one trial at a time, on all that the machine has",
        argument="resources_per_trial",
        argument_type='a dict such as `{"cpu": 1, "gpu": 0.5}`, `auto` or `module:function`',
        help="Decide for each trial whether it gets a GPU. auto: if its model is large; else "
        "your own function.",
        argument_help="Ray resources per trial. `auto`: a CPU, and a quarter of a GPU if the "
        'model is large; `module:function` decides like it. Default: `{"cpu": 1}`.',
    )
    gpus: float | None = option(
        float,
        None,
        group=Group.RESOURCES,
        rule=more_than(0),
        default_text="the GPUs that are up",
        instead="keras-tuner runs one trial at a time, on all that the machine has",
        in_resume=True,
        help="GPUs for all trials together, including those that an autoscaler may add.",
    )
    kept_weights: int | None = KEPT_WEIGHTS
    confirm: int | None = option(
        int,
        None,
        group=Group.AFTER,
        in_resume=True,
        help="Retrain the best N configurations on new seeds and choose the best by its mean.",
    )
    seeds: int = option(
        int,
        5,
        group=Group.AFTER,
        in_resume=True,
        help="Number of new seeds for --confirm.",
    )
    audit: int | None = option(
        int,
        None,
        group=Group.AFTER,
        rule=at_least(1),
        in_resume=True,
        help="Train N stopped trials to their end, to measure what early stopping cost.",
    )
    log: Log | None = option(
        Log,
        None,
        group=Group.FILES,
        argument="log",
        in_resume=True,
        help="Also write the curves and values of the trials for this viewer.",
    )

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
        """Where trials are trained, unless a rule decides it for each."""
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
        """What is retrained on new seeds; None: nothing."""
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

    @classmethod
    def from_json(cls, row: Mapping[str, Any], problem: Problem, out: Path) -> "Plan":
        """Return the plan of JSON values, with its problem and the folder where it stands now.

        Raises:
            KeyError, TypeError, ValueError: These are no values of a plan.
        """
        tuner, log = row["tuner"], row.get("log")  # version 0.1.0 knew no log
        enumerations = {
            "engine": Engine(row["engine"]),
            "tuner": None if tuner is None else Tuner(tuner),
            "scheduler": Scheduler(row["scheduler"]),
            "log": None if log is None else Log(log),
        }
        values = {name: value for name, value in row.items() if name != "algorithm_name"}
        values |= enumerations | {"retrain_epochs": tuple(row["retrain_epochs"])}
        return cls(**values | {"problem": problem, "out": out})

    def problems(self, speaker: Speaker = Speaker.COMMAND) -> Iterator[str]:
        """Say everything that is wrong with the plan, a line each.

        Args:
            speaker: Who reads the lines: they name options as it writes them.
        """
        yield from problems_of(self.problem, speaker)
        yield from problems_of(self, speaker)
        yield from self._early_stopping_problems(speaker)
        yield from self._gpu_problems()
        yield from self._confirmation_problems()
        yield from self._audit_problems()

    def _early_stopping_problems(self, speaker: Speaker) -> Iterator[str]:
        if self.grace_period > self.problem.epochs >= 1:
            epochs = OPTIONS["epochs"].called(self.problem.epochs, speaker)
            yield (
                f"--grace-period {self.grace_period} is above {epochs}: expected at most as many."
            )
        if self.engine is Engine.KERAS_TUNER and 1 < self.reduction_factor <= 1.5:
            yield (
                f"--reduction-factor {self.reduction_factor:g}: expected more than 1.5 with "
                f"--engine {self.engine}, which rounds it."
            )

    def _gpu_problems(self) -> Iterator[str]:
        share = self.other_resources.get(GPU)
        if share is not None and (problem := OPTIONS["gpus_per_trial"].problem(share)):
            yield problem
        if self.device_rule is not None and not share:
            yield f"--resources {self.device_rule!r}: expected --gpus-per-trial above 0 with it."
        if self.gpus is None:
            return
        named = OPTIONS["gpus"].called(self.gpus)
        if share and 0 < self.gpus < share:
            yield f"{named}: expected {share:g} or more, what a trial takes."
        if self.address is None:
            yield f"{named}: expected --address too: it asks the autoscaler of a cluster for GPUs."
        if not share:
            yield f"{named} is for --gpus-per-trial or --resources: add one of them."

    def _confirmation_problems(self) -> Iterator[str]:
        if self.confirmation is not None:
            yield from self.confirmation.problems()
        if self.confirm and self.trials is not None and self.confirm > self.trials:
            yield (
                f"--confirm {self.confirm} is above --trials {self.trials}: expected at most as "
                "many."
            )

    def _audit_problems(self) -> Iterator[str]:
        if self.audit is None:
            return
        if self.engine is not Engine.RAY:
            yield (
                f"--audit {self.audit} is for --engine ray: --engine {self.engine} stops no trial "
                "that could be trained to its end."
            )
        elif self.scheduler is Scheduler.NONE:
            yield f"--audit {self.audit}: expected --scheduler asha, which stops trials."


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """Options that shape fields of the plan, and are no fields themselves."""

    direction: str | None = option(
        str,
        None,
        group=Group.PROBLEM,
        metavar="max|min",
        rule=Rule(lambda direction: direction in ("max", "min"), "max or min"),
        help="Whether more or less of the objective is better; needed where its name does not "
        "tell.",
    )
    gpus_per_trial: float | None = option(
        float,
        None,
        group=Group.RESOURCES,
        rule=Rule(
            lambda share: 0 <= share <= 1 or (1 < share < math.inf and share % 1 == 0),
            "a share of one, such as 0.25, or a whole number",
        ),
        default_text=f"0; {GPU_SHARE:g} with --resources",
        instead="keras-tuner runs one trial at a time, on all that the machine has",
        in_resume=True,
        help="GPUs per trial: a share such as 0.25, or a whole number.",
        resume_help="GPUs per trial from now on; 0: none.",
    )
    or_resume: bool = option(
        bool,
        False,
        group=Group.FILES,
        help="Resume the run in --out if there is one.",
    )


# By name, in the order of the help within a group.
OPTIONS: dict[str, Option] = {row.name: row for row in rows(Problem, Plan, Unrecorded)}
RETRAIN_EPOCHS = OPTIONS["retrain_epochs"]
CHECKPOINT_SECONDS: float = OPTIONS["checkpoint_seconds"].default
SEEDS: int = OPTIONS["seeds"].default


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
        f"--objective {name!r}: its name does not tell whether more or less of it is better. Add "
        "--direction max or --direction min."
    )
