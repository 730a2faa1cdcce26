"""Asks of a configuration which device suits it, which takes a process that can build models."""

import time
from collections.abc import Callable
from typing import Any

from results.record.values import Values
from search.engines.ray.placement.rule import Judgement, judged
from search.errors import ProblemError, one_line
from search.plan.plan import Plan
from search.plan.task import Task
from search.ray.nodes import here

# A process imports TensorFlow before its first answer.
ANSWER_SECONDS = 600.0
LOOK_SECONDS = 1.0
# A process that dies is started again, and asked again so often.
RETRIES = 3


def make_judge(
    plan: Plan, task: Task, *, is_interrupted: Callable[[], bool]
) -> Callable[[Values], Judgement]:
    """Return what tells where a configuration is to be trained. Ray is running already.

    Args:
        plan: Says by what rule.
        task: Says of what hypermodel.
        is_interrupted: Tells whether nobody waits for an answer any more.
    """
    if plan.device_rule is None:
        alike = Judgement(plan.device)
        return lambda _values: alike
    return _Judge(plan.device_rule, task, is_interrupted)


class _Judge:
    """Asks a process on this node, started at once and without a GPU.

    Args:
        rule: ``auto``, or the user's own.
        task: Says of what hypermodel.
        is_interrupted: Tells whether nobody waits for an answer any more.
    """

    def __init__(self, rule: str, task: Task, is_interrupted: Callable[[], bool]) -> None:
        import ray

        make = ray.remote(
            num_cpus=0, max_restarts=-1, max_task_retries=RETRIES, scheduling_strategy=here()
        )(_Judging)
        self._actor: Any = make.remote(rule, task)
        self._is_interrupted = is_interrupted

    def __call__(self, values: Values) -> Judgement:
        """Ask.

        Raises:
            ProblemError: The rule failed, or its process again and again.
            KeyboardInterrupt: The user ended the search meanwhile.
        """
        import ray

        answer = self._actor.judged.remote(values)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not ray.wait([answer], timeout=LOOK_SECONDS)[0]:
            if self._is_interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise ProblemError(f"--resources: no answer in {ANSWER_SECONDS:g} s for {values}")
        try:
            told = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise ProblemError(
                f"--resources: the process that judges sizes failed ({one_line(error)})"
            ) from error
        if isinstance(told, ProblemError):
            raise told
        judgement: Judgement = told
        return judgement


class _Judging:
    """In the process that builds."""

    def __init__(self, rule: str, task: Task) -> None:
        from search.worker import process

        process.set_up(threads=1, sees_gpus=False)
        process.set_keras(task.keras_settings)
        self._rule = rule
        self._task = task

    def judged(self, values: Values) -> "Judgement | ProblemError":
        try:
            return judged(self._rule, values, self._size(values))
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
