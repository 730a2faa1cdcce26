"""The task that all trials of a search share, in a form that can be sent to a worker process.

A command names objects, which a worker imports; a script passes its own objects, which are sent
pickled. Nothing here imports Keras.
"""

from dataclasses import dataclass, field
from typing import Any

from results.record.history import Objective
from search.carry.carried import PickledObject
from search.plan.plan import CHECKPOINT_SECONDS, Problem


@dataclass(frozen=True)
class NamedObject:
    """An object that any process can import.

    Attributes:
        reference: Its name, as ``module:attribute``.
    """

    reference: str


@dataclass(frozen=True, kw_only=True)
class ScriptSettings:
    """What a script set for its process, and the worker processes take over.

    Attributes:
        dtype_policy: Name of the dtype policy of Keras.
        floatx: Default float type of Keras.
        image_data_format: ``channels_last`` or ``channels_first``.
        epsilon: Fuzz factor of Keras.
        runs_functions_eagerly: Whether TensorFlow runs functions eagerly.
        debugs_datasets: Whether the debug mode of ``tf.data`` is on.
        is_deterministic: Whether TensorFlow uses only deterministic operations.
        uses_tensor_float_32: Whether TensorFlow may use TensorFloat-32 on a GPU.
        custom_objects: The custom objects that the script made known to Keras, as
            ``pickling.dumps_registered`` returns them; None if there are none.
        environment: The environment variables that the script set.
    """

    dtype_policy: str
    floatx: str
    image_data_format: str
    epsilon: float
    runs_functions_eagerly: bool
    debugs_datasets: bool
    is_deterministic: bool
    uses_tensor_float_32: bool
    custom_objects: PickledObject | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """The settings that all trials of a search share.

    ``Problem`` and ``Plan`` describe the attributes that are not listed here.

    Attributes:
        hypermodel: A ``HyperModel``, or a function or class that makes one; None: the tuner needs
            none.
        epochs: Maximum epochs per trial; None: ``fit`` decides.
        seed: Seed of the run. It and the number of a trial determine all random numbers.
        executions_per_trial: Number of trainings per configuration; their scores are averaged.
        max_retries_per_trial: How often a failed trial is retried.
        max_model_size: Maximum number of trainable weights of a model; None: no limit.
        tuner: The ``TunerCopy`` of a tuner of the user's own class; None: keras-tuner's own trains.
        scoring_oracle: The oracle whose ``score_trial`` scores each trial; None: keras-tuner's own
            score counts.
        compile_overrides: The dict of ``optimizer``, ``loss`` and ``metrics`` that replace those
            of the builder.
        registered: Config of the ``HyperParameters`` that were registered in advance.
        tune_new_entries: Whether hyperparameters that a build adds are searched; otherwise they
            keep their defaults.
        allow_new_entries: Whether a build may add hyperparameters.
        trial_digits: Number of digits in the names of the trials' folders that callbacks write.
        script: What the script set for its process; None for a command, which has no script.
    """

    hypermodel: NamedObject | PickledObject | None
    objective: Objective
    epochs: int | None
    patience: int
    seed: int
    executions_per_trial: int = 1
    max_retries_per_trial: int = 0
    max_model_size: int | None = None
    tuner: PickledObject | None = None
    scoring_oracle: PickledObject | None = None
    compile_overrides: PickledObject | None = None
    registered: dict[str, Any] | None = None
    tune_new_entries: bool = True
    allow_new_entries: bool = True
    fast_epoch: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    trial_digits: int = 4
    script: ScriptSettings | None = None

    @classmethod
    def of(cls, problem: Problem, *, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> "Task":
        """Return the task of a problem whose hypermodel has a name."""
        assert problem.hypermodel is not None
        return cls(
            hypermodel=NamedObject(problem.hypermodel),
            objective=problem.objective,
            epochs=problem.epochs,
            patience=problem.patience,
            seed=problem.seed,
            fast_epoch=problem.fast_epoch,
            checkpoint_seconds=checkpoint_seconds,
        )
