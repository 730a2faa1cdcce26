"""The arguments of ``RayTuner``, and checks that report all problems at once."""

import inspect
import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import keras_tuner as kt

from results.record.history import Objective
from search.errors import nearest
from search.plan.options import Option, Speaker, rows
from search.plan.plan import ASHA, AUTO, GPU, GPU_SHARE, OPTIONS, Plan
from search.plan.registry import Algorithm, Scheduler

DEFAULT_TRIALS = 10
FAILURE_DEFAULTS = {"max_retries_per_trial": 0, "max_consecutive_failed_trials": 3}
# Methods that keras-tuner calls in the process of the tuner; here, workers train.
WORKER_HOOKS = ("run_trial", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")
# Arguments of single tuners of keras-tuner, and what to use instead.
ARGUMENTS_OF_OTHER_TUNERS = {
    "factor": "scheduler=search.ASHA(reduction_factor=...)",
    "hyperband_iterations": "algorithm=keras_tuner.oracles.HyperbandOracle(...)",
    "num_initial_points": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
    "alpha": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
    "beta": "algorithm=keras_tuner.oracles.BayesianOptimizationOracle(...)",
}
# The options of the table that are arguments of ``RayTuner``, by their names there.
ARGUMENTS = {row.argument: row for row in OPTIONS.values() if row.argument is not None}
# Arguments that accept more forms than their options do, and are checked here.
CHECKED_HERE = ("objective", "algorithm", "scheduler", "resources_per_trial", "warm_start")
# The least values of the integer arguments.
MINIMUMS = {
    "max_retries_per_trial": 0,
    "max_consecutive_failed_trials": 1,
    "executions_per_trial": 1,
}

DOCSTRING_COLUMNS = 96

Tuner = TypeVar("Tuner", bound=type)


def takes_options(tuner: Tuner) -> Tuner:
    """Add the options of the table to the signature and the docstring of a tuner."""
    signature = inspect.signature(tuner.__init__)  # type: ignore[misc]
    *parameters, _options = signature.parameters.values()
    options = {name: row for name, row in ARGUMENTS.items() if name not in signature.parameters}
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=row.argument_default)
        for name, row in options.items()
    ]
    tuner.__init__.__signature__ = signature.replace(parameters=parameters)  # type: ignore[misc]
    lines = [_option_lines(name, row) for name, row in options.items()]
    tuner.__doc__ = "\n".join([inspect.cleandoc(tuner.__doc__ or ""), "", "Options:", *lines, ""])
    return tuner


def _option_lines(name: str, row: Option) -> str:
    text = f"{row.argument_type}. {row.argument_text}" if row.argument_type else row.argument_text
    return textwrap.fill(
        f"{name}: {text}",
        width=DOCSTRING_COLUMNS,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``RayTuner``, without those that only keras-tuner's tuner uses.

    Attributes:
        options: The arguments that are options of the table, if the script gives them.
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
        """Return the value of an option; its default if the script does not give it."""
        return self.options.get(argument, ARGUMENTS[argument].argument_default)

    @property
    def algorithm(self) -> Any:
        """The algorithm: a name or an oracle."""
        return self["algorithm"]

    @property
    def scheduler(self) -> Any:
        """The scheduler: a name, an ``ASHA`` or None."""
        return self["scheduler"]

    @property
    def max_epochs(self) -> int | None:
        """Maximum epochs per trial; None: the arguments of ``search`` decide."""
        epochs: int | None = self["max_epochs"]
        return epochs

    @property
    def oracle(self) -> kt.Oracle | None:
        """The oracle that proposes the configurations; None: our algorithm does."""
        return self.algorithm if isinstance(self.algorithm, kt.Oracle) else None

    @property
    def hyperband(self) -> kt.oracles.HyperbandOracle | None:
        """The oracle if it is Hyperband's, which decides how long each trial trains."""
        oracle = self.oracle
        return oracle if isinstance(oracle, kt.oracles.HyperbandOracle) else None

    @property
    def warm_start(self) -> str | None:
        """The path of the earlier search to learn from; None: none."""
        return None if self["warm_start"] is None else os.fspath(self["warm_start"])

    @property
    def algorithm_name(self) -> str:
        """The name of the algorithm, for tables."""
        oracle = self.oracle
        if oracle is None:
            return str(self.algorithm)
        return f"keras-tuner {type(oracle).__name__.removesuffix('Oracle')}"

    @property
    def scheduler_name(self) -> Scheduler:
        """The scheduler; by default ASHA, or none with a Hyperband oracle, which stops trials."""
        if isinstance(self.scheduler, ASHA):
            return Scheduler.ASHA
        if self.scheduler == AUTO:
            return Scheduler.NONE if self.hyperband is not None else Scheduler.ASHA
        return Scheduler(self.scheduler or Scheduler.NONE)

    @property
    def asha(self) -> ASHA:
        """The settings of ASHA."""
        return self.scheduler if isinstance(self.scheduler, ASHA) else ASHA()

    @property
    def resources(self) -> dict[str, float]:
        """Ray resources per trial, including ``cpu``; with a rule, those of a trial on a GPU."""
        amounts = {GPU: GPU_SHARE} if self.device_rule else self["resources_per_trial"] or {}
        names = {"CPU": "cpu", "GPU": "gpu"}
        return {"cpu": 1.0} | {names.get(name, name): amount for name, amount in amounts.items()}

    @property
    def device_rule(self) -> str | None:
        """The rule that chooses the device of each trial; None: all trials use the same."""
        rule = self["resources_per_trial"]
        return rule if isinstance(rule, str) else None

    def plan_fields(self) -> dict[str, Any]:
        """Return the options that are fields of the plan, by field."""
        return {
            row.name: self[name] if self[name] is None or not row.names else row.type(self[name])
            for row in rows(Plan)
            if (name := row.argument) is not None and name not in (*CHECKED_HERE, "max_trials")
        }

    def oracle_arguments(self) -> dict[str, Any]:
        """Return the arguments of the oracle that shows the trials."""
        arguments = {
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
            return arguments
        arguments |= {
            "objective": oracle.objective,
            "max_trials": oracle.max_trials,
            "seed": oracle.seed,
            "hyperparameters": oracle.hyperparameters.copy(),  # the script keeps the original
            "tune_new_entries": oracle.tune_new_entries,
            "allow_new_entries": oracle.allow_new_entries,
        }
        for name, default in FAILURE_DEFAULTS.items():
            if arguments[name] == default:
                arguments[name] = getattr(oracle, name)
        return arguments

    def registered(self) -> dict[str, Any] | None:
        """Return the config of the hyperparameters registered in advance; None: none are."""
        hyperparameters = self.oracle_arguments()["hyperparameters"]
        if hyperparameters is None or not hyperparameters.space:
            return None
        config: dict[str, Any] = hyperparameters.get_config()
        return config

    def problems(self, tuner: type, hypermodel: object) -> list[str]:
        """Return every problem, one per line.

        Args:
            tuner: The class of the tuner, which may override methods that are never called.
            hypermodel: The hypermodel to search.
        """
        return [
            *self._argument_problems(tuner),
            *_hypermodel_problems(hypermodel),
            *_hook_problems(tuner),
            *self._value_problems(),
            *_backend_problems(),
            *self._algorithm_problems(),
            *self._scheduler_problems(),
            *self._resource_problems(),
            *self._entry_problems(),
        ]

    def _argument_problems(self, tuner: type) -> Iterator[str]:
        known = inspect.signature(tuner).parameters
        for name, value in self.options.items():
            if name in ARGUMENTS or (name == "distribution_strategy" and value is None):
                continue
            if name == "distribution_strategy":
                yield (
                    "distribution_strategy is not supported: each trial trains in its own process, "
                    "on the resources that Ray assigns to it. Use resources_per_trial={'cpu': 2} "
                    "or {'gpu': 1} instead."
                )
            elif name in ARGUMENTS_OF_OTHER_TUNERS:
                yield (
                    f"{name}={value!r} is an argument of another tuner of keras-tuner: use "
                    f"{ARGUMENTS_OF_OTHER_TUNERS[name]} instead."
                )
            else:
                hint = nearest(name, known)
                yield (
                    f"{name}={value!r} is not an argument of RayTuner: docs/keras-tuner.md lists "
                    f"them.{hint}"
                )

    def _value_problems(self) -> Iterator[str]:
        for name, minimum in MINIMUMS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < minimum:
                yield f"{name}={value!r}: expected a whole number, {minimum} or more."
        for name, row in ARGUMENTS.items():
            value = getattr(self, name) if hasattr(self, name) else self[name]
            if value is not None and name not in CHECKED_HERE:
                problem = row.problem(value, Speaker.SCRIPT)
                if problem is not None:
                    yield problem

    def _entry_problems(self) -> Iterator[str]:
        if self.hyperparameters is not None or self.oracle is not None:
            return
        for name in ("tune_new_entries", "allow_new_entries"):
            if not getattr(self, name):
                yield (
                    f"{name}=False without hyperparameters leaves nothing to tune. Register the "
                    "entries to tune in hyperparameters."
                )

    def _algorithm_problems(self) -> Iterator[str]:
        if self.oracle is None:
            yield from _objective_problems(self.objective)
            if self.algorithm not in list(Algorithm):
                hint = nearest(str(self.algorithm), Algorithm)
                yield (
                    f"algorithm={self.algorithm!r}: expected one of {', '.join(Algorithm)}, or an "
                    "oracle such as "
                    f"keras_tuner.oracles.BayesianOptimizationOracle(...).{hint}"
                )
            return
        if self.objective is not None:
            objective = _as_objective(self.objective)
            oracle_value = self.oracle.objective
            if type(objective) is not type(oracle_value) or objective != oracle_value:
                yield _conflict("objective", self.objective, oracle_value)
        names = ["max_trials", "hyperparameters", "seed"]
        # True is the default, so only False can contradict the oracle.
        names += [n for n in ("tune_new_entries", "allow_new_entries") if not getattr(self, n)]
        for name in names:
            value, oracle_value = getattr(self, name), getattr(self.oracle, name)
            if value is not None and value is not oracle_value and value != oracle_value:
                yield _conflict(name, value, oracle_value)

    def _scheduler_problems(self) -> Iterator[str]:
        names = [AUTO, *Scheduler]
        if not (isinstance(self.scheduler, ASHA) or self.scheduler in [None, *names]):
            yield (
                f"scheduler={self.scheduler!r}: expected search.ASHA(...), 'asha', 'none' or None."
                f"{nearest(str(self.scheduler), names)}"
            )
            return
        if self.hyperband is not None:
            if self.scheduler_name is not Scheduler.NONE:
                yield (
                    f"scheduler={self.scheduler!r} with a Hyperband oracle: the oracle itself "
                    "stops trials early, and needs each trial of a round to finish its epochs. "
                    "Leave scheduler out, or use another algorithm."
                )
            if self.max_epochs not in (None, self.hyperband.max_epochs):
                yield _conflict("max_epochs", self.max_epochs, self.hyperband.max_epochs)
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
                "{'cpu': 1, 'gpu': 0.5}, 'auto', or 'module:function' of your own function."
            )
            return
        for name, amount in self.resources.items():
            if not isinstance(amount, (int, float)) or amount < 0 or (name == "cpu" and not amount):
                yield (
                    f"resources_per_trial: {name!r} is {amount!r}; expected a number above 0, such "
                    "as {'cpu': 1}."
                )


def plain_objective(objective: kt.Objective) -> Objective:
    """Convert an objective of keras-tuner to ours."""
    parts = tuple(plain_objective(part) for part in getattr(objective, "objectives", ()))
    return Objective(objective.name, objective.direction, parts)


def _conflict(name: str, value: Any, oracle_value: Any) -> str:
    return (
        f"{name}={value!r} contradicts the oracle, which has {name}={oracle_value}. Set it only in "
        "the oracle."
    )


def _as_objective(objective: Any) -> Any:
    """Return an objective as keras-tuner would; None if it is invalid."""
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
                f"objective={part!r}: its name does not show whether to maximize or to minimize "
                f"it. Use keras_tuner.Objective({part!r}, direction='max') or 'min'."
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
            f"the backend of Keras is {backend!r}: expected 'tensorflow', which the workers use. "
            "Set KERAS_BACKEND=tensorflow."
        )


def _hook_problems(tuner: type) -> Iterator[str]:
    overridden = [
        name for name in WORKER_HOOKS if getattr(tuner, name) is not getattr(kt.Tuner, name)
    ]
    if overridden:
        yield (
            f"{tuner.__name__} overrides {', '.join(overridden)}, which workers do not call: "
            "override HyperModel.fit instead, or pass a callback to search."
        )
