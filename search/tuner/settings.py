"""The arguments of ``RayTuner``, and checks that report all problems at once."""

import inspect
import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import keras
import keras_tuner as kt

from results.record.history import Objective
from search.errors import nearest
from search.plan.options import Option, Speaker, rows
from search.plan.plan import ASHA, AUTO, GPU, GPU_SHARE, OPTIONS, Plan
from search.plan.registry import Algorithm, Scheduler
from search.tuner.recipe import OracleRecipe
from search.worker.tuner import overrides

DEFAULT_TRIALS = 10
FAILURE_DEFAULTS = {"max_retries_per_trial": 0, "max_consecutive_failed_trials": 3}
# Arguments of single tuners of keras-tuner, and the tuner to use instead.
ARGUMENTS_OF_OTHER_TUNERS = {
    "factor": "search.kt.Hyperband",
    "hyperband_iterations": "search.kt.Hyperband",
    "num_initial_points": "search.kt.BayesianOptimization",
    "alpha": "search.kt.BayesianOptimization",
    "beta": "search.kt.BayesianOptimization",
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
    distribution_strategy: Any = None
    options: Mapping[str, Any]

    def __getitem__(self, argument: str) -> Any:
        """Return the value of an option; its default if the script does not give it."""
        return self.options.get(argument, ARGUMENTS[argument].argument_default)

    @property
    def algorithm(self) -> Any:
        """The algorithm: a name, an oracle, or the recipe of one."""
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
    def recipe(self) -> OracleRecipe | None:
        """The recipe of the oracle, if the tuner makes the oracle itself."""
        return self.algorithm if isinstance(self.algorithm, OracleRecipe) else None

    @cached_property
    def oracle(self) -> kt.Oracle | None:
        """The oracle that proposes the configurations; None: our algorithm does.

        If it is made from a recipe, ``problems`` must have found none.
        """
        if self.recipe is not None:
            return self.recipe.make(self._given_to_oracle())
        return self.algorithm if isinstance(self.algorithm, kt.Oracle) else None

    def oracle_with(self, seed: int) -> kt.Oracle | None:
        """Return the oracle; one that the tuner makes itself gets the seed of the search."""
        if self.recipe is None or (self.oracle is not None and self.oracle.seed == seed):
            return self.oracle
        return self.recipe.make(self._given_to_oracle() | {"seed": seed})

    @property
    def hyperband(self) -> kt.oracles.HyperbandOracle | None:
        """The oracle if it is Hyperband's, which decides how long each trial trains."""
        oracle = self.oracle
        return oracle if isinstance(oracle, kt.oracles.HyperbandOracle) else None

    @property
    def is_hyperband(self) -> bool:
        """Whether the oracle is Hyperband's."""
        oracle_class = self.recipe.oracle_class if self.recipe else type(self.algorithm)
        return issubclass(oracle_class, kt.oracles.HyperbandOracle)

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
        name = type(oracle).__name__
        is_of_keras_tuner = type(oracle) is getattr(kt.oracles, name, None)
        return f"keras-tuner {name.removesuffix('Oracle')}" if is_of_keras_tuner else name

    @property
    def scheduler_name(self) -> Scheduler:
        """The scheduler; by default ASHA, or none with a Hyperband oracle, which stops trials."""
        if isinstance(self.scheduler, ASHA):
            return Scheduler.ASHA
        if self.scheduler == AUTO:
            return Scheduler.NONE if self.is_hyperband else Scheduler.ASHA
        return Scheduler(self.scheduler or Scheduler.NONE)

    @property
    def scheduler_asked(self) -> bool:
        """Whether the script names the scheduler."""
        return "scheduler" in self.options and self.scheduler != AUTO

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
        arguments = self._given_to_oracle()
        oracle = self.oracle
        if oracle is None:
            trials = DEFAULT_TRIALS if self.max_trials is None else self.max_trials
            return arguments | {"max_trials": trials}
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

    def _given_to_oracle(self) -> dict[str, Any]:
        """Return the arguments that every oracle takes, as the script gave them."""
        return {
            "objective": self.objective,
            "max_trials": self.max_trials,
            "hyperparameters": self.hyperparameters,
            "seed": self.seed,
            "tune_new_entries": self.tune_new_entries,
            "allow_new_entries": self.allow_new_entries,
            "max_retries_per_trial": self.max_retries_per_trial,
            "max_consecutive_failed_trials": self.max_consecutive_failed_trials,
        }

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
            tuner: The class of the tuner; one that overrides ``run_trial`` needs no hypermodel.
            hypermodel: The hypermodel to search.
        """
        return [
            *self._argument_problems(tuner),
            *_hypermodel_problems(hypermodel, tuner),
            *self._value_problems(),
            *_backend_problems(),
            *self._algorithm_problems(tuner),
            *self._scheduler_problems(),
            *self._resource_problems(),
            *_strategy_problems(self.distribution_strategy),
            *self._entry_problems(),
        ]

    def _argument_problems(self, tuner: type) -> Iterator[str]:
        own_class = _our_class(tuner)
        for name, value in self._unknown_arguments(own_class):
            if name in ARGUMENTS_OF_OTHER_TUNERS:
                yield (
                    f"{name}={value!r} is an argument of another tuner: use "
                    f"{ARGUMENTS_OF_OTHER_TUNERS[name]} instead."
                )
            else:
                known = {p for each in tuner.__mro__ for p in _arguments_of(each)}
                yield (
                    f"{name}={value!r} is not an argument of {own_class.__name__}: "
                    f"docs/keras-tuner.md lists them.{nearest(name, known - {name})}"
                )

    def _unknown_arguments(self, own_class: type) -> Iterator[tuple[str, Any]]:
        for name, value in self.options.items():
            if name not in ARGUMENTS:
                yield name, value
        if self.recipe and self.max_trials is not None and not self.recipe.takes("max_trials"):
            yield "max_trials", self.max_trials

    def _value_problems(self) -> Iterator[str]:
        if self.hyperparameters is not None and not isinstance(
            self.hyperparameters, kt.HyperParameters
        ):
            yield (
                f"hyperparameters={self.hyperparameters!r}: expected a "
                "keras_tuner.HyperParameters, with the entries registered in it."
            )
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
        if self.hyperparameters is not None or isinstance(self.algorithm, kt.Oracle):
            return
        for name in ("tune_new_entries", "allow_new_entries"):
            if not getattr(self, name):
                yield (
                    f"{name}=False without hyperparameters leaves nothing to tune. Register the "
                    "entries to tune in hyperparameters."
                )

    def _algorithm_problems(self, tuner: type) -> Iterator[str]:
        if self.recipe is not None:
            yield from _objective_problems(self.objective)
            yield from self.recipe.problems()
            return
        if self.oracle is None:
            yield from _objective_problems(self.objective)
            if self.algorithm not in list(Algorithm):
                takes_oracle = "oracle" in _arguments_of(_our_class(tuner))
                hint = nearest(str(self.algorithm), Algorithm)
                yield (
                    f"{'oracle' if takes_oracle else 'algorithm'}={self.algorithm!r}: expected one "
                    f"of {', '.join(Algorithm)}, or an oracle such as "
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
        if self.is_hyperband and self.scheduler_name is not Scheduler.NONE:
            yield (
                f"scheduler={self.scheduler!r} with a Hyperband oracle: the oracle itself "
                "stops trials early, and needs each trial of a round to finish its epochs. "
                "Leave scheduler out, or use another algorithm."
            )
        if isinstance(self.algorithm, kt.oracles.HyperbandOracle):
            oracle_epochs = self.algorithm.max_epochs
            if self.max_epochs not in (None, oracle_epochs):
                yield _conflict("max_epochs", self.max_epochs, oracle_epochs)
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
            if name.lower() in ("cpus", "gpus"):
                hint = nearest(name.lower(), ("cpu", "gpu"))
                yield f"resources_per_trial: Ray has no resource {name!r}.{hint}"
            if not isinstance(amount, (int, float)) or amount < 0 or (name == "cpu" and not amount):
                yield (
                    f"resources_per_trial: {name!r} is {amount!r}; expected a number above 0, such "
                    "as {'cpu': 1}."
                )


def _our_class(tuner: type) -> type:
    """Return the class of ours that a tuner is, or from which it is derived."""
    return next(each for each in tuner.__mro__ if each.__module__.startswith("search."))


def _arguments_of(tuner: type) -> set[str]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(tuner).parameters.values() if tuner is not object else ()
    return {each.name for each in parameters if each.kind not in variable}


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
        except (TypeError, ValueError):
            if not isinstance(part, str):
                yield (
                    f"objective={part!r}: expected the name of a metric, a keras_tuner.Objective "
                    "or a list of them."
                )
                continue
            yield (
                f"objective={part!r}: its name does not show whether to maximize or to minimize "
                f"it. Use keras_tuner.Objective({part!r}, direction='max') or 'min'."
            )
        else:
            if direction not in ("min", "max"):
                yield f"objective: direction={direction!r}: expected 'min' or 'max'."


def _hypermodel_problems(hypermodel: object, tuner: type) -> Iterator[str]:
    if hypermodel is None:
        if not overrides(tuner, "run_trial"):
            yield (
                "hypermodel is missing: expected a function build_model(hp), a HyperModel, or a "
                "tuner of your own that overrides run_trial."
            )
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


def _strategy_problems(strategy: Any) -> Iterator[str]:
    """Yield a problem unless the strategy trains on one device, as a trial does."""
    if strategy is None:
        return
    replicas = getattr(strategy, "num_replicas_in_sync", None)
    if replicas is None:
        yield f"distribution_strategy={strategy!r}: expected a tf.distribute.Strategy, or None."
    elif replicas > 1:
        is_on_gpus = any("GPU" in device for device in strategy.extended.worker_devices)
        resources = "{'gpu': 1}" if is_on_gpus else f"{{'cpu': {replicas}}}"
        yield (
            f"distribution_strategy has {replicas} replicas: expected one, since each trial trains "
            f"in its own process, on the resources that Ray assigns to it. Leave it out, and write "
            f"resources_per_trial={resources}."
        )
