"""Rules that choose the device of each trial: the default rule, or one of the user's own.

A separate process applies the rule, because it builds the model of each configuration.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from results.record.columns import Device, Values
from search.errors import ProblemError, one_line
from search.plan import importer
from search.plan.plan import AUTO, Plan
from search.ray.nodes import this_node_affinity
from search.worker.task import Task

# A model of this size or more goes to a GPU. Training one sample takes six floating-point
# operations per multiply-add (forward two, backward four). A batch of 128 samples then takes about
# 15 ms on a CPU core with 50 GFLOP/s; on a GPU, the few dozen kernel starts of a step take 1-2 ms.
GPU_FROM_MULTIPLY_ADDS = 1_000_000
# The process imports TensorFlow before its first answer.
ANSWER_SECONDS = 600.0
POLL_SECONDS = 1.0
# A process that dies is restarted, and its call is retried this often.
RETRIES = 3

# Takes a configuration and the multiply-adds of its model; returns "cpu" or "gpu".
Rule = Callable[[Values, int | None], Any]


@dataclass(frozen=True)
class Placement:
    """Where a configuration trains.

    Attributes:
        device: The device.
        multiply_adds: Multiply-adds of its model per sample; None if unknown.
    """

    device: Device
    multiply_adds: int | None = None


def by_size(_values: Values, multiply_adds: int | None) -> Device:
    """Return the device that suits a model: the CPUs if its size is unknown."""
    is_large = multiply_adds is not None and multiply_adds >= GPU_FROM_MULTIPLY_ADDS
    return Device.GPU if is_large else Device.CPU


def custom_rule(rule: str | None) -> str | None:
    """Return the reference of the user's own rule; None if the default rule applies."""
    return None if rule == AUTO else rule


def apply_rule(rule: str, values: Values, multiply_adds: int | None) -> Placement:
    """Return where a rule places a configuration.

    Args:
        rule: ``auto``, or ``module:function`` of the user's own rule.
        values: The configuration.
        multiply_adds: Multiply-adds of its model per sample; None if unknown.

    Raises:
        ProblemError: The function cannot be loaded, raised an error, or returned no device.
    """
    choose: Rule = by_size if rule == AUTO else importer.load(rule, "resources")
    try:
        device = choose(values, multiply_adds)
    except Exception as error:
        raise ProblemError(
            f"--resources {rule!r} raised {one_line(error)} for {values}: expected 'cpu' or 'gpu'. "
            "Correct the function."
        ) from error
    if device not in tuple(Device):
        raise ProblemError(
            f"--resources {rule!r} returned {device!r} for {values}: expected 'cpu' or 'gpu'. "
            "Correct the function."
        )
    return Placement(Device(device), multiply_adds)


def make_placer(
    plan: Plan, task: Task, *, is_interrupted: Callable[[], bool]
) -> Callable[[Values], Placement]:
    """Return a function that chooses the device of a configuration, on the running Ray.

    Args:
        plan: The run.
        task: What each trial trains.
        is_interrupted: Tells whether the user has interrupted the search; the function then
            raises KeyboardInterrupt instead of waiting.
    """
    if plan.device_rule is None:
        placement = Placement(plan.device)
        return lambda _values: placement
    return _RemotePlacer(plan.device_rule, task, is_interrupted)


class _RemotePlacer:
    """A function that chooses devices by a rule, in a process without a GPU on this node."""

    def __init__(self, rule: str, task: Task, is_interrupted: Callable[[], bool]) -> None:
        import ray

        actor = ray.remote(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=RETRIES,
            scheduling_strategy=this_node_affinity(),
        )(_PlacerActor)
        self._actor: Any = actor.remote(rule, task)
        self._is_interrupted = is_interrupted

    def __call__(self, values: Values) -> Placement:
        """Return where a configuration trains.

        Raises:
            ProblemError: The rule failed, its process kept dying, or it gave no answer in time.
            KeyboardInterrupt: The user has interrupted the search.
        """
        import ray

        answer = self._actor.place.remote(values)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not ray.wait([answer], timeout=POLL_SECONDS)[0]:
            if self._is_interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise ProblemError(
                    f"--resources: the rule gave no answer in {ANSWER_SECONDS:g} s for {values}: "
                    "expected 'cpu' or 'gpu'. Make the function or the build of the model faster."
                )
        try:
            placement: Placement | ProblemError = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise ProblemError(
                f"--resources: the process that applies the rule died ({one_line(error)}): "
                "expected 'cpu' or 'gpu'. Check that this machine has enough memory to build the "
                "model."
            ) from error
        if isinstance(placement, ProblemError):
            raise placement
        return placement


class _PlacerActor:
    """An actor that builds the model of a configuration and applies the rule to it."""

    def __init__(self, rule: str, task: Task) -> None:
        from search.worker import process

        if task.script is not None:
            os.environ |= task.script.environment
        process.set_up(threads=1, sees_gpus=False)
        from search.worker import script

        script.take_over(task.script)
        self._rule = rule
        self._task = task

    def place(self, values: Values) -> Placement | ProblemError:
        try:
            return apply_rule(self._rule, values, self._multiply_adds(values))
        except ProblemError as error:
            return error

    def _multiply_adds(self, values: Values) -> int | None:
        import keras

        from search.engines.ray.placement import model_size
        from search.space import mirror
        from search.worker import process

        keras.backend.clear_session()
        hypermodel = process.load_hypermodel(self._task.hypermodel)
        try:
            hp = mirror.prepare_hyperparameters(hypermodel, values, self._task.registered)
            model = hypermodel.build(hp)
        except Exception:
            return None  # the trial will raise and report the same error
        return model_size.count_multiply_adds(model) if isinstance(model, keras.Model) else None
