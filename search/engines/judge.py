"""Asks of a configuration which device suits it, which takes a process that can build models."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from search.devices import Judgement, judged
from search.errors import ProblemError
from search.plan import Plan
from search.ray_nodes import here
from search.space import Values
from search.task import Task

if TYPE_CHECKING:
    pass

# A process imports TensorFlow before its first answer.
ANSWER_SECONDS = 600.0


def make_judge(plan: Plan, task: Task) -> Callable[[Values], Judgement]:
    """Return what tells where a configuration is to be trained. Ray is running already."""
    if plan.device_rule is None:
        alike = Judgement(plan.device)
        return lambda _values: alike
    return _Judge(plan.device_rule, task)


class _Judge:
    """Asks a process on this node, started at once and without a GPU.

    Args:
        rule: ``auto``, or the user's own.
        task: Says of what hypermodel.
    """

    def __init__(self, rule: str, task: Task) -> None:
        import ray

        make = ray.remote(num_cpus=0, max_restarts=1, scheduling_strategy=here())(_Judging)
        self._actor: Any = make.remote(rule, task)

    def __call__(self, values: Values) -> Judgement:
        """Ask.

        Raises:
            ProblemError: The rule failed, or its process.
        """
        import ray

        try:
            told = ray.get(self._actor.judged.remote(values), timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            raise ProblemError(
                f"--resources: the process that judges sizes failed ({error})"
            ) from error
        if isinstance(told, ProblemError):
            raise told
        answer: Judgement = told
        return answer


class _Judging:
    """In the process that builds."""

    def __init__(self, rule: str, task: Task) -> None:
        from search import worker

        worker.set_up(threads=1, sees_gpus=False)
        worker.set_keras(task.keras_settings)
        self._rule = rule
        self._task = task

    def judged(self, values: Values) -> "Judgement | ProblemError":
        try:
            return judged(self._rule, values, self._size(values))
        except ProblemError as error:
            return error

    def _size(self, values: Values) -> int | None:
        import keras

        from search import mirror, sizes, worker

        keras.backend.clear_session()
        hypermodel = worker.hypermodel(self._task.hypermodel)
        try:
            model = hypermodel.build(mirror.prepared(hypermodel, values, self._task.registered))
        except Exception:
            return None  # the trial will meet it, and report it
        return sizes.multiply_adds(model) if isinstance(model, keras.Model) else None
