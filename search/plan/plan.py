"""The plan of a run, as a frozen value that is checked completely before any work starts.

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
from search.plan.directions import infer_direction
from search.plan.importer import reference_problems
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

# Names of the problem that ships with this project; it is not imported here.
SHIPPED_SPACES = {"published": "fmnist_model.mlp:published", "wide": "fmnist_model.mlp:Wide"}
SHIPPED_DATA = "fmnist_model.data:load_data"
NO_RETRAINING = "none"
# The key of GPUs in the resources of a trial.
GPU = "gpu"
# Selects the rule of ``search.engines.ray.placement.rule`` instead of a user's function.
AUTO = "auto"
GPU_SHARE = 0.25
# The number of best trials whose weights are kept.
KEPT_WEIGHTS = 10
DEFAULT_TRIALS = 20
DEFAULT_OBJECTIVE = "val_accuracy"
DEFAULT_RETRAIN_EPOCHS = (20, 50, 100)
# Patience of EarlyStopping on val_loss. ``wide`` is as accurate without it: docs/settings.md.
PUBLISHED_PATIENCE_EPOCHS = 5


class Engine(StrEnum):
    """The program that runs the trials."""

    RAY = "ray"
    KERAS_TUNER = "keras-tuner"


@dataclass(frozen=True)
class ASHA:
    """Settings of asynchronous successive halving.

    Attributes:
        grace_period: Epochs that each trial trains before ASHA may stop it; 1 or more.
        reduction_factor: About one in this many trials continues past each rung; more than 1.
    """

    grace_period: int = 1
    reduction_factor: float = 3.0


class Tuner(StrEnum):
    """The tuners of the keras-tuner engine."""

    HYPERBAND = "hyperband"
    BAYESIAN = "bayesian"
    RANDOM = "random"
    GRID = "grid"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The problem of a search: hypermodel, data and objective.

    Attributes:
        hypermodel: ``module:attribute`` of a ``build_model(hp)`` or a ``HyperModel``; None for an
            object of a script, which has no such name.
        data: ``module:attribute`` of a function that returns the splits; for the data of a
            script, a description that is equal for equal data.
        space: Name of the space in tables.
    """

    space: str = option(
        str,
        "published",
        group=Group.PROBLEM,
        is_common=True,
        metavar="|".join(SHIPPED_SPACES),
        help="Search space of the Fashion-MNIST problem.",
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
        help="Function that returns the training, the validation and the test data.",
    )
    data_dir: str | None = option(
        str,
        None,
        group=Group.PROBLEM,
        metavar="FOLDER",
        rule=Rule(lambda folder: Path(os.path.expanduser(folder)).is_dir(), "an existing folder"),
        help="Folder to pass to the data function.",
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
        resume_help="Maximum epochs per new trial.",
    )
    patience: int = option(
        int,
        0,
        group=Group.EARLY_STOPPING,
        metavar="EPOCHS",
        rule=at_least(0),
        default_text=f"{PUBLISHED_PATIENCE_EPOCHS} for --space published, otherwise 0",
        help="Stop a trial after this many epochs without a better val_loss, whatever the "
        "objective; 0: never.",
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
        help="Compile each epoch into a single call, for models and data that allow it.",
    )


@dataclass(frozen=True)
class ConfirmationPlan:
    """A confirmation: the best configurations of a search are retrained on new seeds.

    Attributes:
        top: Number of configurations; 1 or more.
        seeds: Number of seeds; 2 or more.
        epochs: Numbers of epochs to train; each is a candidate of its own.
        also: Further configurations to train for comparison, by name.
    """

    top: int
    seeds: int
    epochs: tuple[int, ...]
    also: Mapping[str, Values] = field(default_factory=dict)

    def problems(self, *, top_option: str = "--confirm") -> Iterator[str]:
        """Yield each problem, one per line; ``top_option`` is the option that sets ``top``."""
        if self.top < 1:
            yield f"{top_option} {self.top}: expected 1 or more."
        if self.seeds < 2:
            yield f"--seeds {self.seeds}: expected 2 or more, because one seed shows no spread."
        if not self.epochs:
            yield (
                f"--retrain-epochs {NO_RETRAINING}: a confirmation needs numbers of epochs, such "
                "as 20,50."
            )
        elif min(self.epochs) < 1:
            yield RETRAIN_EPOCHS.problem(self.epochs) or ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run: the problem, how to search it, and what to do after the search.

    Attributes:
        trials: Maximum number of trials; None: no limit, or the tuner decides.
        time_budget_seconds: Counted from the start of the process; None: no limit.
        workers: Number of trials at once; for an elastic run, the capacity at its start.
        workers_asked: Whether the user gave that number. Otherwise it is that of the machine on
            which the run is, also when it is resumed on another one.
        algorithm: Name of an ``Algorithm``, or of the keras-tuner oracle that chooses the
            configurations of a script.
        tuner: Tuner of the keras-tuner engine; None for the Ray engine.
        scheduler_asked: Whether the user named the scheduler. Otherwise it stops no trial if the
            trials return another score than the best of their epochs.
        elastic: Whether the number of trials at once follows the capacity of the cluster.
        address: The Ray cluster to join; None: start Ray on this machine, for this run.
        other_resources: Ray resources per trial beside CPUs, such as ``{"gpu": 0.5}``.
        hung_after_seconds: None: hung trials are not ended.
        kept_weights: Number of best trials whose weights are kept; None: all.
        confirm: Number of best configurations to retrain on new seeds; the one with the best mean
            becomes the final model. None: the best configuration of the search does.
        audit: Number of stopped trials to train to the end; None: none.
        log: The logger that writes during the search; None: none.
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
        resume_help="Maximum number of trials, including the trials so far.",
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
        resume_help="End the search after this many seconds, including the time so far.",
    )
    workers: int = option(
        int,
        group=Group.RESOURCES,
        is_common=True,
        rule=at_least(1),
        default_text="as many as the cores and the memory allow",
        in_resume=True,
        help="Number of trials that run at once.",
    )
    workers_asked: bool = True
    wait: bool = option(
        bool,
        False,
        group=Group.RESOURCES,
        argument="wait",
        in_resume=True,
        help="Wait until other searches on the same machine or cluster leave room for all trials "
        "at once. Otherwise, the search takes what they leave.",
    )
    retrain_epochs: tuple[int, ...] = option(
        tuple,
        (),
        group=Group.AFTER,
        is_common=True,
        metavar=f"N,N,..|{NO_RETRAINING}",
        rule=Rule(lambda numbers: all(number >= 1 for number in numbers), "numbers of 1 or more"),
        default_text=",".join(map(str, DEFAULT_RETRAIN_EPOCHS)),
        in_resume=True,
        help="Numbers of epochs for which to retrain the best configuration; the best of these "
        "models is evaluated on the test set.",
        resume_help="Numbers of epochs for which to retrain the best configuration.",
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
        help="Program that runs the trials; keras-tuner runs one at a time.",
    )
    algorithm: str = option(
        Algorithm,
        Algorithm.TPE,
        group=Group.SEARCH,
        argument="algorithm",
        argument_type='`"tpe"`, `"random"` or a keras-tuner oracle',
        instead="use --tuner instead",
        help="Algorithm that chooses the configurations.",
    )
    tuner: Tuner | None = option(
        Tuner,
        None,
        group=Group.SEARCH,
        default_text="hyperband",
        help="Tuner for --engine keras-tuner.",
    )
    warm_start: str | None = option(
        str,
        None,
        group=Group.SEARCH,
        metavar="PATH",
        argument="warm_start",
        instead="keras-tuner's tuners cannot learn from another search",
        help="Earlier search to learn from: a keras-tuner project, an Optuna study or a run "
        "folder.",
    )
    defaults_first: bool = option(
        bool,
        True,
        group=Group.SEARCH,
        instead="keras-tuner chooses the first trial itself",
        help="Train the default hyperparameter values in the first trial.",
    )
    scheduler: Scheduler = option(
        Scheduler,
        Scheduler.ASHA,
        group=Group.EARLY_STOPPING,
        argument="scheduler",
        argument_type='`"asha"`, `search.ASHA(grace_period=1, reduction_factor=3)` or None',
        argument_default=AUTO,
        help="Scheduler that stops weak trials early.",
        argument_help="Scheduler that stops weak trials early. Default: ASHA; None with a "
        "Hyperband oracle.",
    )
    scheduler_asked: bool = True
    grace_period: int = option(
        int,
        ASHA.grace_period,
        group=Group.EARLY_STOPPING,
        metavar="EPOCHS",
        rule=at_least(1),
        help="Epochs that each trial trains before ASHA may stop it.",
    )
    reduction_factor: float = option(
        float,
        ASHA.reduction_factor,
        group=Group.EARLY_STOPPING,
        rule=more_than(1, ", such as 3"),
        help="ASHA compares trials at certain epochs, the rungs; about one in this many continues.",
    )
    elastic: bool = False
    address: str | None = option(
        str,
        None,
        group=Group.RESOURCES,
        metavar="HOST:PORT|auto|local",
        environment_variable="RAY_ADDRESS",
        argument="address",
        default_text="start Ray on this machine",
        in_resume=True,
        help="Ray cluster to join; auto: the one that runs on this machine; local: start one here.",
        resume_help="Ray cluster to continue on; auto: the one that runs on this machine. Default: "
        "start Ray on this machine.",
        argument_help='Ray cluster to join, such as `"head:6379"`; `"auto"`: the one that runs on '
        "this machine. Default: start Ray on this machine.",
    )
    cpus_per_trial: float = option(
        float,
        1.0,
        group=Group.RESOURCES,
        rule=more_than(0, ", such as 1"),
        instead="keras-tuner runs one trial at a time, on all CPUs",
        help="CPUs per trial; also its number of threads.",
    )
    other_resources: dict[str, float] = field(default_factory=dict)
    reuse_workers: bool = option(
        bool,
        True,
        group=Group.RESOURCES,
        argument="reuse_workers",
        help="Reuse each worker process for many trials.",
    )
    checkpoint_seconds: float = option(
        float,
        10.0,
        group=Group.RESOURCES,
        metavar="SECONDS",
        rule=at_least(0, "seconds"),
        help="Seconds of training that the loss of a worker process may cost, or one epoch if "
        "that is longer; 0: save every epoch.",
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
            f"{AUTO}, or MODULE:NAME of your own function",
        ),
        instead="keras-tuner runs one trial at a time, on the whole machine",
        argument="resources_per_trial",
        argument_type='a dict such as `{"cpu": 1, "gpu": 0.5}`, `"auto"` or `"module:function"`',
        help="Decide for each trial whether it gets a GPU. auto: if its model is large; "
        "MODULE:NAME: your function decides.",
        argument_help='Ray resources per trial. `"auto"`: one CPU, and a quarter of a GPU if the '
        'model is large; `"module:function"`: your function decides on the GPU. Default: '
        '`{"cpu": 1}`.',
    )
    gpus: float | None = option(
        float,
        None,
        group=Group.RESOURCES,
        rule=more_than(0),
        default_text="all GPUs of the cluster",
        instead="keras-tuner runs one trial at a time, on the whole machine",
        in_resume=True,
        help="Maximum number of GPUs of all trials, including those that an autoscaler may add.",
    )
    kept_weights: int | None = KEPT_WEIGHTS
    confirm: int | None = option(
        int,
        None,
        group=Group.AFTER,
        in_resume=True,
        help="Retrain the best N configurations on new seeds; choose the one with the best mean.",
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
        help="Train N stopped trials to the end, to measure the cost of early stopping.",
    )
    log: Log | None = option(
        Log,
        None,
        group=Group.FILES,
        argument="log",
        argument_type='`"tensorboard"` or None',
        in_resume=True,
        help="Also write the metrics and hyperparameters of the trials for TensorBoard.",
    )

    @property
    def resources(self) -> dict[str, float]:
        """Ray resources per trial."""
        return {"cpu": self.cpus_per_trial, **self.other_resources}

    @property
    def threads(self) -> int:
        """Number of threads per trial: one for each of its CPUs."""
        return max(1, int(self.cpus_per_trial))

    @property
    def cpu_resources(self) -> dict[str, float]:
        """Ray resources of a trial that trains on CPUs only."""
        return {name: n for name, n in self.resources.items() if name != GPU}

    @property
    def device(self) -> Device:
        """The device of all trials, unless a rule chooses it for each trial."""
        return Device.GPU if self.gpu_share else Device.CPU

    @property
    def gpu_share(self) -> float | None:
        """GPUs per trial; None: none."""
        return self.other_resources.get(GPU) or None

    def resources_on(self, device: Device) -> dict[str, float]:
        """Return the Ray resources of a trial on a device."""
        return self.resources if device is Device.GPU else self.cpu_resources

    @property
    def confirmation(self) -> ConfirmationPlan | None:
        """The confirmation that follows the search; None: none."""
        if self.confirm is None:
            return None
        return ConfirmationPlan(self.confirm, self.seeds, self.retrain_epochs)

    @property
    def algorithm_name(self) -> str:
        """The algorithm as its engine calls it."""
        return str(self.tuner if self.engine is Engine.KERAS_TUNER else self.algorithm)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self) | {"algorithm": self.algorithm_name, "out": str(self.out)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], problem: Problem, out: Path) -> "Plan":
        """Return the plan that ``to_json`` wrote.

        Args:
            row: The JSON values.
            problem: The problem of the run.
            out: The folder where the run is now.

        Raises:
            KeyError, TypeError, ValueError: A value is missing or invalid.
        """
        tuner, log = row["tuner"], row.get("log")  # version 0.1.0 has no log
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
        """Yield each problem of the plan, one per line.

        Args:
            speaker: Who gave the options; the lines call them by their names there.
        """
        yield from problems_of(self.problem, speaker)
        yield from problems_of(self, speaker)
        yield from self._early_stopping_problems(speaker)
        yield from self._gpu_problems()
        yield from self._confirmation_problems()
        yield from self._audit_problems()

    def reference_problems(self) -> Iterator[str]:
        """Yield what is wrong with the names of hypermodel, data and rule, one per line.

        It shows without importing their modules; see ``search.plan.importer``.
        """
        is_named = self.problem.hypermodel is not None
        yield from reference_problems(
            is_here=self.address is None,
            hypermodel=self.problem.hypermodel,
            data=self.problem.data if is_named else None,
            resources=None if self.device_rule == AUTO else self.device_rule,
        )

    def _early_stopping_problems(self, speaker: Speaker) -> Iterator[str]:
        if self.grace_period > self.problem.epochs >= 1:
            epochs = OPTIONS["epochs"].called(self.problem.epochs, speaker)
            yield (
                f"--grace-period {self.grace_period}: expected at most {self.problem.epochs}, "
                f"because of {epochs}."
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
            yield f"--resources {self.device_rule!r} needs --gpus-per-trial above 0, such as 0.25."
        if self.gpus is None:
            return
        gpus = OPTIONS["gpus"].called(self.gpus)
        if share and 0 < self.gpus < share:
            yield f"{gpus}: expected {share:g} or more, the GPUs of one trial."
        if self.address is None:
            yield f"{gpus} needs --address: it counts the GPUs of a cluster."
        if not share:
            yield f"{gpus} needs --gpus-per-trial or --resources: add one of them."

    def _confirmation_problems(self) -> Iterator[str]:
        if self.confirmation is not None:
            yield from self.confirmation.problems()
        if self.confirm and self.trials is not None and self.confirm > self.trials:
            yield (
                f"--confirm {self.confirm}: expected at most {self.trials}, because of --trials "
                f"{self.trials}."
            )

    def _audit_problems(self) -> Iterator[str]:
        if self.audit is None:
            return
        if self.engine is not Engine.RAY:
            yield (
                f"--audit {self.audit} needs --engine ray: --engine {self.engine} has no stopped "
                "trials to audit."
            )
        elif self.scheduler is Scheduler.NONE:
            yield f"--audit {self.audit} needs --scheduler asha: it audits stopped trials."


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """Options from which fields of the plan are derived."""

    direction: str | None = option(
        str,
        None,
        group=Group.PROBLEM,
        metavar="max|min",
        rule=Rule(lambda direction: direction in ("max", "min"), "max or min"),
        default_text="the one that keras-tuner has for the metric",
        help="Whether to maximize or to minimize the objective.",
    )
    gpus_per_trial: float | None = option(
        float,
        None,
        group=Group.RESOURCES,
        rule=Rule(
            lambda share: 0 <= share <= 1 or (1 < share < math.inf and share % 1 == 0),
            "a share of a GPU, such as 0.25, or a whole number",
        ),
        default_text=f"0; {GPU_SHARE:g} with --resources",
        instead="keras-tuner runs one trial at a time, on the whole machine",
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


# All options by name, in their order within a group of the help.
OPTIONS: dict[str, Option] = {row.name: row for row in rows(Problem, Plan, Unrecorded)}
RETRAIN_EPOCHS = OPTIONS["retrain_epochs"]
CHECKPOINT_SECONDS: float = OPTIONS["checkpoint_seconds"].default
SEEDS: int = OPTIONS["seeds"].default


def gpu_resources(share: float) -> dict[str, float]:
    """Return a number of GPUs per trial as Ray resources; empty for 0."""
    return {GPU: share} if share else {}


def infer_objective(name: str, direction: str | None) -> Objective:
    """Return the objective of a metric; without a direction, take keras-tuner's for its name.

    Raises:
        UsageError: keras-tuner knows no direction for the name.
    """
    mode = direction or infer_direction(name)
    if mode is None:
        raise UsageError(
            f"--objective {name!r}: its name does not show whether to maximize or to minimize it. "
            "If the model reports it, add --direction max or --direction min."
        )
    return Objective(name, mode)
