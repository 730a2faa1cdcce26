"""Which trials go to a GPU: by the rule that ships, or by one of the user's own.

A rule is applied in a process that can build the model of a configuration.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from results.record.columns import Device, Values
from search.errors import ProblemError, one_line
from search.plan import importer
from search.plan.plan import AUTO, Plan
from search.plan.task import Task
from search.ray.nodes import this_node_affinity

# From so many on a trial goes to a GPU. Six times as many floating-point operations train a
# sample (forward, and twice as much back): of 128 samples some 15 ms on a CPU core that does
# 50 thousand million a second, where starting the few dozen kernels of a step takes a GPU 1 or 2.
GPU_FROM_MULTIPLY_ADDS = 1_000_000
# A process imports TensorFlow before its first answer.
ANSWER_SECONDS = 600.0
LOOK_SECONDS = 1.0
# A process that dies is started again, and asked again so often.
RETRIES = 3

# Given a configuration and the multiply-adds of its model: "cpu" or "gpu".
Rule = Callable[[Values, int | None], Any]


@dataclass(frozen=True)
class Judgement:
    """Where a configuration is to be trained.

    Attributes:
        multiply_adds: What its model takes for a sample; None: not known.
    """

    device: Device
    multiply_adds: int | None = None


def by_size(_values: Values, multiply_adds: int | None) -> Device:
    """Return the device that suits a model; the CPUs if its size is not known."""
    is_large = multiply_adds is not None and multiply_adds >= GPU_FROM_MULTIPLY_ADDS
    return Device.GPU if is_large else Device.CPU


def own_rule(rule: str | None) -> str | None:
    """Return the reference of the user's own rule; None for the rule that ships."""
    return None if rule == AUTO else rule


def judge(rule: str, values: Values, multiply_adds: int | None) -> Judgement:
    """Apply the rule that a user named: ``auto``, or ``module:function`` of the user's own.

    Raises:
        ProblemError: The function cannot be loaded, raised, or returned no device.
    """
    choose: Rule = by_size if rule == AUTO else importer.load(rule, "resources")
    try:
        device = choose(values, multiply_adds)
    except Exception as error:
        raise ProblemError(f"--resources {rule!r} raised {one_line(error)} for {values}") from error
    if device not in tuple(Device):
        raise ProblemError(
            f"--resources {rule!r} returned {device!r} for {values}: expected 'cpu' or 'gpu'."
        )
    return Judgement(Device(device), multiply_adds)


def make_judge(
    plan: Plan, task: Task, *, is_interrupted: Callable[[], bool]
) -> Callable[[Values], Judgement]:
    """Return a function that chooses the device of a configuration. Ray is running already.

    It gives up once ``is_interrupted`` tells that nobody waits for an answer any more.
    """
    if plan.device_rule is None:
        same_for_all = Judgement(plan.device)
        return lambda _values: same_for_all
    return _RemoteJudge(plan.device_rule, task, is_interrupted)


class _RemoteJudge:
    """Asks a process on this node, which is started at once and has no GPU."""

    def __init__(self, rule: str, task: Task, is_interrupted: Callable[[], bool]) -> None:
        import ray

        actor = ray.remote(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=RETRIES,
            scheduling_strategy=this_node_affinity(),
        )(_JudgeActor)
        self._actor: Any = actor.remote(rule, task)
        self._is_interrupted = is_interrupted

    def __call__(self, values: Values) -> Judgement:
        """Return the device for a configuration.

        Raises:
            ProblemError: The rule failed, or its process again and again.
            KeyboardInterrupt: The user ended the search meanwhile.
        """
        import ray

        answer = self._actor.judge.remote(values)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not ray.wait([answer], timeout=LOOK_SECONDS)[0]:
            if self._is_interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise ProblemError(f"--resources: no answer in {ANSWER_SECONDS:g} s for {values}")
        try:
            judgement: Judgement | ProblemError = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise ProblemError(
                f"--resources: the process that judges sizes failed ({one_line(error)})"
            ) from error
        if isinstance(judgement, ProblemError):
            raise judgement
        return judgement


class _JudgeActor:
    """Builds the model of a configuration and applies the rule, in a process of its own."""

    def __init__(self, rule: str, task: Task) -> None:
        from search.worker import process

        process.set_up(threads=1, sees_gpus=False)
        process.set_keras(task.keras_settings)
        self._rule = rule
        self._task = task

    def judge(self, values: Values) -> Judgement | ProblemError:
        try:
            return judge(self._rule, values, self._size(values))
        except ProblemError as error:
            return error

    def _size(self, values: Values) -> int | None:
        import keras

        from search.engines.ray.placement import model_size
        from search.space import mirror
        from search.worker import process

        keras.backend.clear_session()
        hypermodel = process.hypermodel(self._task.hypermodel)
        try:
            model = hypermodel.build(mirror.prepared(hypermodel, values, self._task.registered))
        except Exception:
            return None  # the trial will meet it, and report it
        return model_size.multiply_adds(model) if isinstance(model, keras.Model) else None
