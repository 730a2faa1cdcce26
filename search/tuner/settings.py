"""What ``RayTuner`` was given, checked whole: every problem at once, before any work."""

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import keras_tuner as kt

from results.record.history import Objective
from search.errors import nearest
from search.plan.options import Speaker, rows
from search.plan.plan import ASHA, AUTO, GPU, GPU_SHARE, OPTIONS, Plan
from search.plan.registry import Algorithm, Scheduler

DEFAULT_TRIALS = 10
FAILURE_DEFAULTS = {"max_retries_per_trial": 0, "max_consecutive_failed_trials": 3}
# Hooks that keras-tuner calls in the process that trains; ours train elsewhere.
WORKER_HOOKS = ("run_trial", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")
# Arguments of single tuners of keras-tuner, and what to say instead.
ARGUMENTS_OF_OTHERS = {
    "factor": "scheduler=search.ASHA(reduction_factor=...)",
    "hyperband_iterations": "algorithm=keras_tuner.oracles.HyperbandOracle(...)",
    "num_initial_points": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
    "alpha": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
    "beta": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
}


# The options of the table that ``RayTuner`` takes, by its names for them.
ARGUMENTS = {row.argument: row for row in OPTIONS.values() if row.argument is not None}
# Those that ``RayTuner`` takes in more forms than a command line does: checked here.
OWN_CHECKS = ("objective", "algorithm", "scheduler", "resources_per_trial", "warm_start")
LOWEST = {"max_retries_per_trial": 0, "max_consecutive_failed_trials": 1, "executions_per_trial": 1}

Tuner = TypeVar("Tuner", bound=type)


def takes_options(tuner: Tuner) -> Tuner:
    """Add the options of the table to the signature and the docstring of a tuner's class."""
    signature = inspect.signature(tuner.__init__)  # type: ignore[misc]
    *parameters, _options = signature.parameters.values()
    rows = {name: row for name, row in ARGUMENTS.items() if name not in signature.parameters}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters += [
        inspect.Parameter(name, keyword, default=row.argument_default) for name, row in rows.items()
    ]
    tuner.__init__.__signature__ = signature.replace(parameters=parameters)  # type: ignore[misc]
    lines = [
        f"    {name}: {f'{row.argument_type}. ' if row.argument_type else ''}{row.argument_text}"
        for name, row in rows.items()
    ]
    tuner.__doc__ = "\n".join([inspect.cleandoc(tuner.__doc__ or ""), "", "Options:", *lines, ""])
    return tuner


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``RayTuner`` that are not handed on to keras-tuner as they are.

    Attributes:
        options: Arguments that are options of the table, as far as the script gives them.
    """

    objective: Any
    max_trials: int | None
    seed: int | None
    hyperparameters: kt.HyperParameters | None
    tune_new_entries: bool
    allow_new_entries: bool
    max_retries_per_trial: int
    max_consecutive_failed_trials: int
    executions_per_trial: int
    options: Mapping[str, Any]

    def __getitem__(self, argument: str) -> Any:
        """Return the value of an option, by default that of the table."""
        return self.options.get(argument, ARGUMENTS[argument].argument_default)

    @property
    def algorithm(self) -> Any:
        """What proposes configurations: a name or an oracle."""
        return self["algorithm"]

    @property
    def scheduler(self) -> Any:
        """What stops trials early: a name, an ``ASHA`` or None."""
        return self["scheduler"]

    @property
    def max_epochs(self) -> int | None:
        """Maximum epochs per trial; None: ``search`` says it."""
        epochs: int | None = self["max_epochs"]
        return epochs

    @property
    def oracle(self) -> kt.Oracle | None:
        """The oracle that proposes, where keras-tuner's is to."""
        return self.algorithm if isinstance(self.algorithm, kt.Oracle) else None

    @property
    def hyperband(self) -> kt.oracles.HyperbandOracle | None:
        """Hyperband's oracle, where it proposes: it decides by itself how long a trial trains."""
        oracle = self.oracle
        return oracle if isinstance(oracle, kt.oracles.HyperbandOracle) else None

    @property
    def earlier_search(self) -> str | None:
        """Where the earlier search is that the algorithm learns from."""
        return None if self["warm_start"] is None else os.fspath(self["warm_start"])

    @property
    def algorithm_name(self) -> str:
        """The algorithm as a table shows it."""
        oracle = self.oracle
        if oracle is None:
            return str(self.algorithm)
        return f"keras-tuner {type(oracle).__name__.removesuffix('Oracle')}"

    @property
    def scheduler_name(self) -> Scheduler:
        """What stops trials early; by default ASHA, but nothing where Hyperband's oracle does."""
        if isinstance(self.scheduler, ASHA):
            return Scheduler.ASHA
        if self.scheduler == AUTO:
            return Scheduler.NONE if self.hyperband is not None else Scheduler.ASHA
        return Scheduler(self.scheduler or Scheduler.NONE)

    @property
    def asha(self) -> ASHA:
        """The settings of ASHA, those by default where the script gives none."""
        return self.scheduler if isinstance(self.scheduler, ASHA) else ASHA()

    @property
    def resources(self) -> dict[str, float]:
        """What a trial takes of Ray's resources, ``cpu`` among them; with a rule, on a GPU."""
        amounts = {GPU: GPU_SHARE} if self.device_rule else self["resources_per_trial"] or {}
        ours = {"CPU": "cpu", "GPU": "gpu"}
        return {"cpu": 1.0} | {ours.get(name, name): n for name, n in amounts.items()}

    @property
    def device_rule(self) -> str | None:
        """What decides for each trial whether it gets a GPU; None: all take the same."""
        rule = self["resources_per_trial"]
        return rule if isinstance(rule, str) else None

    def plan_fields(self) -> dict[str, Any]:
        """Return the options that are fields of the plan, and mean the same there."""
        return {
            row.name: self[name] if self[name] is None or not row.names else row.type(self[name])
            for row in rows(Plan)
            if (name := row.argument) is not None and name not in (*OWN_CHECKS, "max_trials")
        }

    def oracle_arguments(self) -> dict[str, Any]:
        """Return the arguments of the oracle that reports the trials."""
        own = {
            "objective": self.objective,
            "max_trials": DEFAULT_TRIALS if self.max_trials is None else self.max_trials,
            "hyperparameters": self.hyperparameters,
            "seed": self.seed,
            "tune_new_entries": self.tune_new_entries,
            "allow_new_entries": self.allow_new_entries,
            "max_retries_per_trial": self.max_retries_per_trial,
            "max_consecutive_failed_trials": self.max_consecutive_failed_trials,
        }
        oracle = self.oracle
        if oracle is None:
            return own
        theirs = {
            "objective": oracle.objective,
            "max_trials": oracle.max_trials,
            "seed": oracle.seed,
            "hyperparameters": oracle.hyperparameters.copy(),  # it stays the script's own
            "tune_new_entries": oracle.tune_new_entries,
            "allow_new_entries": oracle.allow_new_entries,
        }
        for name, default in FAILURE_DEFAULTS.items():
            if own[name] == default:  # said to the oracle, if at all
                theirs[name] = getattr(oracle, name)
        return own | theirs

    def registered(self) -> dict[str, Any] | None:
        """Return the config of the entries that are registered by now; None: none are."""
        hyperparameters = self.oracle_arguments()["hyperparameters"]
        if hyperparameters is None or not hyperparameters.space:
            return None
        config: dict[str, Any] = hyperparameters.get_config()
        return config

    def problems(self, tuner: type, hypermodel: object) -> list[str]:
        """Return everything that is wrong, a line each.

        Args:
            tuner: The class of the tuner: a subclass may hook in where nothing is called.
            hypermodel: What is to be searched.
        """
        return [
            *self._unknown_arguments(),
            *_hypermodel_problems(hypermodel),
            *_hook_problems(tuner),
            *self._value_problems(),
            *_backend_problems(),
            *self._algorithm_problems(),
            *self._scheduler_problems(),
            *self._resource_problems(),
            *self._entry_problems(),
        ]

    def _unknown_arguments(self) -> Iterator[str]:
        for name, value in self.options.items():
            if name in ARGUMENTS or (name == "distribution_strategy" and value is None):
                continue
            if name == "distribution_strategy":
                yield (
                    "distribution_strategy: each trial runs in a process of its own, on the "
                    "resources that Ray gives it, and a strategy cannot be sent there. Leave it "
                    "out, and write resources_per_trial={'cpu': 2} or {'gpu': 1}."
                )
            elif name in ARGUMENTS_OF_OTHERS:
                yield (
                    f"{name}={value!r} is for one tuner of keras-tuner: give it as "
                    f"{ARGUMENTS_OF_OTHERS[name]}."
                )
            else:
                hint = nearest(name, ARGUMENTS)
                yield (
                    f"{name}={value!r} is no argument of RayTuner (docs/keras-tuner.md lists "
                    f"them).{hint}"
                )

    def _value_problems(self) -> Iterator[str]:
        for name, lowest in LOWEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < lowest:
                yield f"{name}={value!r}: expected a whole number, {lowest} or more."
        for name, row in ARGUMENTS.items():
            value = getattr(self, name) if hasattr(self, name) else self[name]
            if value is not None and name not in OWN_CHECKS:
                problem = row.problem(value, Speaker.SCRIPT)
                if problem is not None:
                    yield problem

    def _entry_problems(self) -> Iterator[str]:
        if self.hyperparameters is not None or self.oracle is not None:
            return
        for name in ("tune_new_entries", "allow_new_entries"):
            if not getattr(self, name):
                yield (
                    f"{name}=False without hyperparameters: nothing would be tuned. Give the "
                    "entries to tune as hyperparameters."
                )

    def _algorithm_problems(self) -> Iterator[str]:
        if self.oracle is None:
            yield from _objective_problems(self.objective)
            if self.algorithm not in list(Algorithm):
                known = ", ".join(Algorithm)
                hint = nearest(str(self.algorithm), Algorithm)
                yield (
                    f"algorithm={self.algorithm!r}: expected one of {known}, or an oracle such as "
                    f"keras_tuner.oracles.BayesianOptimizationOracle(...).{hint}"
                )
            return
        if self.objective is not None:
            objective = _as_objective(self.objective)
            theirs = self.oracle.objective
            if type(objective) is not type(theirs) or objective != theirs:
                yield (
                    f"objective={self.objective!r} and algorithm with {theirs}: "
                    "they contradict each other. Give the objective to the oracle alone."
                )
        own = {"max_trials": self.max_trials, "hyperparameters": self.hyperparameters}
        own |= {"seed": self.seed}
        # The oracle's defaults are True: what is False here must be so there.
        own |= {
            name: value
            for name in ("tune_new_entries", "allow_new_entries")
            if not (value := getattr(self, name))
        }
        for name, value in own.items():
            theirs = getattr(self.oracle, name)
            if value is not None and value is not theirs and value != theirs:
                yield (
                    f"{name}={value!r} and algorithm with {name}={theirs!r}: they contradict each "
                    "other. Give it to the oracle alone."
                )

    def _scheduler_problems(self) -> Iterator[str]:
        known = [AUTO, *Scheduler]
        if not (isinstance(self.scheduler, ASHA) or self.scheduler in [None, *known]):
            yield (
                f"scheduler={self.scheduler!r}: expected search.ASHA(...), 'asha', 'none' or None."
                f"{nearest(str(self.scheduler), known)}"
            )
            return
        if self.hyperband is not None:
            if self.scheduler_name is not Scheduler.NONE:
                yield (
                    "scheduler: Hyperband's oracle stops trials early by itself, and counts on "
                    "each trial of a round to train its epochs. Leave scheduler out, or use "
                    "another algorithm with ASHA."
                )
            if self.max_epochs not in (None, self.hyperband.max_epochs):
                yield (
                    f"max_epochs={self.max_epochs} and algorithm with max_epochs="
                    f"{self.hyperband.max_epochs}: they contradict each other. Give it to the "
                    "oracle alone."
                )
        asha = self.asha
        if asha.grace_period < 1 or asha.reduction_factor <= 1:
            yield (
                f"scheduler={asha!r}: expected a grace_period of 1 or more and a reduction_factor "
                "above 1."
            )

    def _resource_problems(self) -> Iterator[str]:
        rule = self.device_rule
        is_rule = rule is not None and (rule == AUTO or ":" in rule)
        if not is_rule and not isinstance(self["resources_per_trial"], (dict, type(None))):
            yield (
                f"resources_per_trial={self['resources_per_trial']!r}: expected a dict such as "
                "{'cpu': 1, 'gpu': 0.5}, 'auto', or 'module:function' of a rule of your own."
            )
            return
        for name, amount in self.resources.items():
            if not isinstance(amount, (int, float)) or amount < 0 or (name == "cpu" and not amount):
                yield (
                    f"resources_per_trial: {name!r} is {amount!r}; expected a number above 0, such "
                    "as {'cpu': 1}."
                )


def plain_objective(objective: kt.Objective) -> Objective:
    """Return our own form of keras-tuner's objective."""
    parts = tuple(plain_objective(part) for part in getattr(objective, "objectives", ()))
    return Objective(objective.name, objective.direction, parts)


def _as_objective(objective: Any) -> Any:
    try:
        return kt.Oracle(objective).objective
    except (TypeError, ValueError):
        return None


def _objective_problems(objective: Any) -> Iterator[str]:
    parts = objective if isinstance(objective, list) else [objective]
    for part in parts:
        try:
            direction = kt.Oracle(part).objective.direction
        except ValueError:
            yield (
                f"objective={part!r}: its name does not tell whether more or less of it is "
                f"better. Give keras_tuner.Objective({part!r}, direction='max') or 'min'."
            )
        except TypeError:
            yield (
                f"objective={part!r}: expected the name of a metric, a keras_tuner.Objective or a "
                "list of them."
            )
        else:
            if direction not in ("min", "max"):
                yield f"objective: direction={direction!r}: expected 'min' or 'max'."


def _hypermodel_problems(hypermodel: object) -> Iterator[str]:
    if hypermodel is None:
        yield "hypermodel is missing: expected a function build_model(hp) or a HyperModel."
    elif not isinstance(hypermodel, kt.HyperModel) and not callable(hypermodel):
        yield (
            f"hypermodel={hypermodel!r}: expected a function build_model(hp) or a "
            "keras_tuner.HyperModel."
        )


def _backend_problems() -> Iterator[str]:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        yield (
            f"Keras runs on {backend} here: expected TensorFlow, on which the workers train. Set "
            "KERAS_BACKEND=tensorflow."
        )


def _hook_problems(tuner: type) -> Iterator[str]:
    overridden = [
        name for name in WORKER_HOOKS if getattr(tuner, name) is not getattr(kt.Tuner, name)
    ]
    if overridden:
        yield (
            f"{tuner.__name__} overrides {', '.join(overridden)}, which no worker would call: "
            "override HyperModel.fit instead, or give search a callback."
        )
