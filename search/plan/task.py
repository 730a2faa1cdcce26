"""What every trial of a search shares, in a form that reaches a worker process.

Nothing here imports Keras: the command line names what a worker loads, a script's own objects
travel pickled and are opened by the worker alone.
"""

from dataclasses import dataclass, field
from typing import Any

from results.record.history import Objective
from search.errors import ProblemError, one_line
from search.plan.plan import CHECKPOINT_SECONDS, Problem


@dataclass(frozen=True)
class Named:
    """An object that any process can import, as ``module:attribute``."""

    reference: str


@dataclass(frozen=True)
class Carried:
    """A live object of the driver's process, on its way through Ray: never read from a file."""

    pickled: bytes

    @classmethod
    def of(cls, what: object, name: str) -> "Carried":
        """Pack an object; ``name`` says what it is where it cannot be sent."""
        from ray import cloudpickle  # here: Ray is told what we need before it is imported

        try:
            return cls(cloudpickle.dumps(what))
        except Exception as error:
            raise ProblemError(
                f"{name} cannot be sent to a worker process ({one_line(error)}): make what it "
                "needs (open files, locks, generators, datasets) inside build or fit."
            ) from error

    def open(self) -> Any:
        """Return the object, in the process that is to use it."""
        from ray import cloudpickle

        try:
            return cloudpickle.loads(self.pickled)
        except ImportError as error:
            raise ProblemError(
                f"a worker cannot open what the script sent ({one_line(error)}): expected the same "
                "packages everywhere. Install it there."
            ) from error


@dataclass(frozen=True)
class FitArguments:
    """What ``HyperModel.fit`` is called with, as a script handed it to ``search``."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every trial of a search shares; more of it is said in ``Problem`` and ``Plan``.

    Attributes:
        hypermodel: A hypermodel, or something that makes one.
        epochs: Most epochs of a trial; None: ``fit`` decides.
        trial_digits: Digits of a trial's name, in the folders that callbacks write.
        keras_settings: What the script set for all of Keras, by ``keras_settings``.
        seed: Seed of the run; with a trial's number it decides every random number.
        executions_per_trial: Trainings of each configuration, whose scores are averaged.
        max_retries_per_trial: How often a trial that failed is begun again.
        max_model_size: Most trainable weights of a model; None: any.
        compile_overrides: A dict of ``optimizer``, ``loss`` and ``metrics`` to compile with.
        registered: Config of the ``HyperParameters`` that were registered in advance.
        tune_new_entries: Whether parameters found later are searched; else they keep their
            defaults.
        allow_new_entries: Whether there may be any.
    """

    hypermodel: Named | Carried
    objective: Objective
    epochs: int | None
    patience: int
    seed: int
    executions_per_trial: int = 1
    max_retries_per_trial: int = 0
    max_model_size: int | None = None
    compile_overrides: Carried | None = None
    registered: dict[str, Any] | None = None
    tune_new_entries: bool = True
    allow_new_entries: bool = True
    fast_epoch: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    trial_digits: int = 4
    keras_settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem, *, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> "Task":
        """Return the task of a problem whose hypermodel is named."""
        assert problem.hypermodel is not None
        return cls(
            hypermodel=Named(problem.hypermodel),
            objective=problem.objective,
            epochs=problem.epochs,
            patience=problem.patience,
            seed=problem.seed,
            fast_epoch=problem.fast_epoch,
            checkpoint_seconds=checkpoint_seconds,
        )
