"""The arguments of ``RayTuner`` as what every trial shares, and as a plan. Imports Keras."""

import random
from typing import Any

import keras_tuner as kt

from results.record.history import Objective
from search.plan.plan import KEPT_WEIGHTS, Plan, Problem
from search.plan.task import FitArguments, PickledObject, Task
from search.ray.nodes import trials_at_once
from search.ray.runtime import has_other_nodes
from search.space.mirror import has_own_fit
from search.storage.folder import RunFolder
from search.tuner.fit_arguments import epochs_of
from search.tuner.settings import Settings
from search.worker import process
from search.worker.arguments import describe_data

# Where fit itself decides on the epochs: ASHA's rungs up to here.
UNKNOWN_EPOCHS = 100


def make_task(
    tuner: kt.Tuner, settings: Settings, objective: Objective, registered: dict[str, Any] | None
) -> Task:
    """Return what every trial of a tuner shares.

    Args:
        tuner: Has the hypermodel, and what it is compiled with.
        settings: The other arguments.
        objective: What is searched for.
        registered: Config of the entries that were registered in advance; None: none were.

    Raises:
        ProblemError: The hypermodel, or what it is compiled with, cannot be sent to a worker.
    """
    overrides = {"optimizer": tuner.optimizer, "loss": tuner.loss, "metrics": tuner.metrics}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    oracle = tuner.oracle
    seed = settings.oracle_arguments()["seed"]
    return Task(
        hypermodel=PickledObject.of(tuner.hypermodel, "hypermodel"),
        objective=objective,
        epochs=settings.max_epochs,
        patience=0,
        seed=random.randrange(2**31) if seed is None else seed,
        trial_digits=len(str(oracle.max_trials)),
        keras_settings=process.keras_settings(),
        executions_per_trial=tuner.executions_per_trial,
        max_retries_per_trial=oracle.max_retries_per_trial,
        max_model_size=tuner.max_model_size,
        compile_overrides=PickledObject.of(overrides, "optimizer, loss or metrics"),
        registered=registered,
        tune_new_entries=oracle.tune_new_entries,
        allow_new_entries=oracle.allow_new_entries,
        fast_epoch=settings["fast_epoch"],
    )


def make_plan(
    tuner: kt.Tuner, settings: Settings, arguments: FitArguments, task: Task, folder: RunFolder
) -> Plan:
    """Return the plan of a tuner's search, for as many workers as Ray has room for.

    Raises:
        ProblemError: There is no room for one.
    """
    epochs = most_epochs(tuner.hypermodel, settings, arguments)
    rungs = settings.asha
    resources = dict(settings.resources)
    cpus = resources.pop("cpu")
    return Plan(
        problem=Problem(
            hypermodel=None,
            data=describe_data(arguments),
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
        elastic=has_other_nodes(),
        cpus_per_trial=cpus,
        other_resources=resources,
        device_rule=settings.device_rule,
        scheduler=settings.scheduler_name,
        grace_period=min(rungs.grace_period, epochs),
        reduction_factor=rungs.reduction_factor,
        out=folder.path,
        retrain_epochs=(),
        warm_start=settings.earlier_search,
        # Hyperband trains on from the weights of any trial of a round.
        kept_weights=None if settings.hyperband else KEPT_WEIGHTS,
        **settings.plan_fields(),
    )


def most_epochs(hypermodel: kt.HyperModel, settings: Settings, arguments: FitArguments) -> int:
    """Return the most epochs of a trial."""
    if settings.hyperband is not None:
        return int(settings.hyperband.max_epochs)
    epochs = epochs_of(hypermodel, arguments)
    if epochs is not None:
        return epochs
    return settings.max_epochs or (UNKNOWN_EPOCHS if has_own_fit(hypermodel) else 1)
