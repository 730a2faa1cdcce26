"""Make the task and the plan of a search from the arguments of ``RayTuner``. Imports Keras."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import keras_tuner as kt

from results.record.history import Objective
from search.algorithms.oracles import scoring_oracle
from search.carry.arguments import PackedArguments
from search.carry.carried import FitArguments, PickledObject
from search.carry.pickling import holds_symbolic_tensors
from search.errors import ProblemError, one_line
from search.plan.plan import KEPT_WEIGHTS, Plan, Problem
from search.ray.nodes import trials_at_once
from search.ray.runtime import has_other_nodes
from search.session.warm_start import EarlierSearch
from search.storage.folder import RunFolder
from search.tuner.fit_arguments import decides_itself, requested_epochs
from search.tuner.settings import Settings
from search.worker import process, script
from search.worker.task import Task
from search.worker.tuner import WORKER_METHODS, TunerCopy, overrides

# Attributes of a tuner that belong to the driver, or are sent to the workers on their own.
NOT_COPIED = (
    "oracle",
    "hypermodel",
    "distribution_strategy",
    "_settings",
    "_registered",
    "_history",
    "_objective",
    "_shown_kind",
)
# The maximum epochs for which ASHA makes rungs if ``fit`` decides on the epochs itself.
ASSUMED_EPOCHS = 100


def make_task(
    tuner: kt.Tuner, settings: Settings, objective: Objective, registered: dict[str, Any] | None
) -> Task:
    """Return the task that all trials of a tuner share.

    Args:
        tuner: The tuner, with the hypermodel, optimizer, loss and metrics.
        settings: The other arguments of the tuner.
        objective: The objective of the search.
        registered: Config of the hyperparameters that were registered in advance; None: none.

    Raises:
        ProblemError: The hypermodel, optimizer, loss or metrics cannot be sent to a worker.
    """
    overrides = {"optimizer": tuner.optimizer, "loss": tuner.loss, "metrics": tuner.metrics}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    oracle = tuner.oracle
    seed = settings.oracle_arguments()["seed"]
    scorer = scoring_oracle(settings.oracle)
    return Task(
        hypermodel=tuner.hypermodel and PickledObject.of(tuner.hypermodel, "hypermodel"),
        objective=objective,
        epochs=settings.max_epochs,
        patience=0,
        seed=random.randrange(2**31) if seed is None else seed,
        trial_digits=len(str(oracle.max_trials)),
        script=script.read_settings(),
        executions_per_trial=tuner.executions_per_trial,
        max_retries_per_trial=oracle.max_retries_per_trial,
        max_model_size=tuner.max_model_size,
        tuner=copy_tuner(tuner),
        scoring_oracle=scorer and PickledObject.of(scorer, "the oracle, which scores the trials"),
        compile_overrides=PickledObject.of(overrides, "optimizer, loss or metrics"),
        registered=registered,
        tune_new_entries=oracle.tune_new_entries,
        allow_new_entries=oracle.allow_new_entries,
        fast_epoch=settings["fast_epoch"],
    )


def check_copy(task: Task, build: Callable[[], Any], hyperparameters: kt.HyperParameters) -> None:
    """Check that the hypermodel that workers get builds a model, if the script's own does.

    Only a builder that uses symbolic tensors of its own script may differ.

    Args:
        task: The task that all trials share.
        build: Builds a model by the script's own hypermodel.
        hyperparameters: Values for the build.

    Raises:
        ProblemError: Only the script's own hypermodel builds a model.
    """
    source = task.hypermodel
    if not isinstance(source, PickledObject) or not holds_symbolic_tensors(source.pickled):
        return
    try:
        build()
    except Exception:  # the trials will report the error
        return
    try:
        process.load_hypermodel(source).build(hyperparameters.copy())
    except Exception as error:
        raise ProblemError(
            f"hypermodel: a worker cannot build its model ({one_line(error)}), since it uses "
            "tensors of a model that was made outside build. Make keras.Input, the layers that "
            "follow it, and the model whose tensors you take inside build."
        ) from error


def copy_tuner(tuner: kt.Tuner) -> PickledObject | None:
    """Return the copy of a user's tuner for the workers; None if they need none.

    Raises:
        ProblemError: It names the attributes that cannot be sent to a worker.
    """
    tuner_class = type(tuner)
    if tuner_class.__module__.startswith("search."):
        return None
    attributes = {name: value for name, value in vars(tuner).items() if name not in NOT_COPIED}
    try:
        return PickledObject.of(TunerCopy(tuner_class, attributes), tuner_class.__name__)
    except ProblemError:
        if not overrides(tuner_class, *WORKER_METHODS):
            return None
        raise ProblemError(_unsendable(tuner_class, attributes)) from None


def _unsendable(tuner_class: type, attributes: dict[str, Any]) -> str:
    """Describe which parts of a tuner cannot be sent to a worker."""
    problems = []
    for name, part in {"class": tuner_class, **attributes}.items():
        try:
            PickledObject.of(part, f"{tuner_class.__name__}.{name}")
        except ProblemError as error:
            problems.append(str(error))
    return "\n".join(problems)


def make_plan(
    tuner: kt.Tuner, settings: Settings, packed: PackedArguments, task: Task, folder: RunFolder
) -> Plan:
    """Return the plan of a search, with as many workers as fit on the running Ray.

    Args:
        tuner: The tuner.
        settings: Its arguments.
        packed: The packed arguments of ``fit``.
        task: The task that all trials share.
        folder: The run folder.

    Raises:
        ProblemError: Not even one worker fits.
    """
    epochs = max_epochs_per_trial(tuner, settings, packed.arguments)
    asha = settings.asha
    resources = dict(settings.resources)
    cpus = resources.pop("cpu")
    return Plan(
        problem=Problem(
            hypermodel=None,
            data=str(packed.data),
            space=folder.path.name,
            objective=task.objective,
            epochs=epochs,
            patience=0,
            seed=task.seed,
            fast_epoch=task.fast_epoch,
        ),
        algorithm=settings.algorithm_name,
        trials=tuner.oracle.max_trials,
        workers=trials_at_once({"cpu": cpus} if settings.device_rule else settings.resources),
        workers_asked=False,
        elastic=has_other_nodes(),
        cpus_per_trial=cpus,
        other_resources=resources,
        device_rule=settings.device_rule,
        scheduler=settings.scheduler_name,
        scheduler_asked=settings.scheduler_asked,
        grace_period=min(asha.grace_period, epochs),
        reduction_factor=asha.reduction_factor,
        out=folder.path,
        retrain_epochs=(),
        warm_start=settings.warm_start,
        # Hyperband may continue any trial of a round from its weights.
        kept_weights=None if settings.hyperband else KEPT_WEIGHTS,
        **settings.plan_fields(),
    )


def max_epochs_per_trial(tuner: kt.Tuner, settings: Settings, arguments: FitArguments) -> int:
    """Return the maximum epochs per trial."""
    if settings.hyperband is not None:
        return int(settings.hyperband.max_epochs)
    epochs = requested_epochs(tuner, arguments)
    if epochs is not None:
        return epochs
    return settings.max_epochs or (ASSUMED_EPOCHS if decides_itself(tuner) else 1)


def extend_space(tuner: kt.Tuner, earlier_search: EarlierSearch | None) -> None:
    """Build each earlier configuration that has hyperparameters which the space lacks.

    keras-tuner explores conditional scopes. It does not find hyperparameters that a builder uses
    only for some values, such as those of the layers in a loop; earlier configurations do.

    Args:
        tuner: The tuner, whose oracle knows the space; it learns what the builds register.
        earlier_search: A search to learn from; None: there is none.
    """
    for trial in earlier_search.trials if earlier_search else ():
        hp = tuner.oracle.get_space()
        if set(trial.values) <= {parameter.name for parameter in hp.space}:
            continue
        hp.values = hp.values | trial.values
        # A configuration that fails here is reported later, when it is fitted to the space.
        with contextlib.suppress(Exception):
            tuner.hypermodel.build(hp)
            tuner.oracle.update_space(hp)
