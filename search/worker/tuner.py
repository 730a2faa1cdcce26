"""The tuner whose trials are trained by workers: keras-tuner's, with each step of a trial guided.

Imports Keras.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import keras_tuner as kt

# Methods that decide how a trial trains; where a class overrides none of them, its score is the
# best of its epochs.
TRAINING_METHODS = ("run_trial", "_build_and_fit_model", "_run_and_update_trial")
# All methods that keras-tuner calls in the process that trains.
WORKER_METHODS = (
    *TRAINING_METHODS,
    "on_epoch_begin",
    "on_epoch_end",
    "on_batch_begin",
    "on_batch_end",
    "save_model",
    "load_model",
    "get_trial_dir",
    "_build_hypermodel",
    "_try_build",
    "_override_compile_args",
    "_deepcopy_callbacks",
    "_configure_tensorboard_dir",
)
EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")
BATCH_HOOKS = ("on_batch_begin", "on_batch_end")


class Guide(Protocol):
    """Guides a tuner through a trial, in a worker."""

    def build(self, build: Callable[[], Any], hp: kt.HyperParameters) -> Any:
        """Build a model by calling ``build``, and prepare it for training."""

    def load_model(self, build: Callable[[], Any], trial_id: str) -> Any:
        """Build a model by calling ``build``, with the weights of a trial's best epoch."""

    def train(self, trial: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Train all executions of the trial; return what each ``fit`` returned."""

    def begin_epoch(self, model: Any, epoch: int) -> None:
        """Note the beginning of an epoch that a training loop of the user's own announces."""

    def end_epoch(self, model: Any, epoch: int, logs: dict[str, Any] | None) -> None:
        """Report an epoch that a training loop of the user's own announces."""

    def note_error(self, error: Exception) -> None:
        """Keep the error of a failed attempt."""


class TrialTuner(kt.Tuner):
    """keras-tuner's tuner, whose trials a worker trains under the guidance of a ``Guide``.

    It stands where keras-tuner's own class stands among the base classes of a user's tuner, so
    that ``super()`` means the same. Without a guide it is keras-tuner's tuner, without a bug of
    version 1.4.8.
    """

    _guide: Guide | None = None

    def run_trial(self, trial: kt.engine.trial.Trial, *args: Any, **kwargs: Any) -> Any:
        """Train the model of a trial ``executions_per_trial`` times.

        Returns:
            What each call of ``fit`` returned, in a list.
        """
        if self._guide is None:
            return super().run_trial(trial, *args, **kwargs)
        return self._guide.train(trial, args, kwargs)

    def load_model(self, trial: kt.engine.trial.Trial) -> Any:
        """Build the model of a trial, with the weights of its best epoch."""
        if self._guide is None:
            return super().load_model(trial)
        hp = trial.hyperparameters
        return self._guide.load_model(lambda: self._build_hypermodel(hp), trial.trial_id)

    def on_epoch_begin(
        self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Note the beginning of an epoch; a training loop of one's own calls it."""
        if self._guide is not None:
            self._guide.begin_epoch(model, epoch)

    def on_epoch_end(
        self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Report an epoch; a training loop of one's own calls it with the epoch's metrics."""
        if self._guide is not None:
            self._guide.end_epoch(model, epoch, logs)

    def _run_and_update_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        try:
            super()._run_and_update_trial(trial, *args, **kwargs)
        except Exception as error:
            if self._guide is not None:
                self._guide.note_error(error)
            raise

    def _build_hypermodel(self, hp: kt.HyperParameters) -> keras.Model:
        build = super()._build_hypermodel
        if self._guide is None:
            return build(hp)
        return self._guide.build(lambda: build(hp), hp)

    def _override_compile_args(self, model: keras.Model) -> None:
        # keras-tuner reads the optimizer of a model that is not compiled and has none.
        if isinstance(model, keras.Model) and not model.compiled:
            overrides = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
            overrides = {name: value for name, value in overrides.items() if value}
            if isinstance(self.optimizer, keras.optimizers.Optimizer):
                # A copy, since an optimizer belongs to the first model that it trains.
                config = keras.optimizers.serialize(self.optimizer)
                overrides["optimizer"] = keras.optimizers.deserialize(config)
            if overrides:
                model.compile(**overrides)
            return
        super()._override_compile_args(model)


@dataclass(frozen=True)
class TunerCopy:
    """A user's tuner for the workers, without what belongs to the search.

    Attributes:
        tuner_class: Its class.
        attributes: Its attributes, by name.
    """

    tuner_class: type[TrialTuner]
    attributes: dict[str, Any]

    def restore(self, hypermodel: kt.HyperModel | None) -> TrialTuner:
        """Return a tuner with the attributes; its ``__init__`` is not called."""
        tuner = self.tuner_class.__new__(self.tuner_class)
        others = {"hypermodel": hypermodel, "distribution_strategy": None}
        tuner.__dict__.update(self.attributes | others)
        return tuner


def overrides(tuner: type, *methods: str) -> bool:
    """Tell whether a class of tuners overrides one of the methods of ``TrialTuner``."""
    return any(getattr(tuner, name) is not getattr(TrialTuner, name) for name in methods)


class EpochHooks(keras.callbacks.Callback):
    """Calls the epoch hooks of a tuner, as keras-tuner's ``TunerCallback`` does."""

    def __init__(self, tuner: kt.Tuner, trial: kt.engine.trial.Trial) -> None:
        super().__init__()
        self._tuner = tuner
        self._trial = trial

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_epoch_begin(self._trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_epoch_end(self._trial, self.model, epoch, logs=logs)


class BatchHooks(EpochHooks):
    """Calls the batch hooks of a tuner too, which the fast epoch does not offer."""

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_batch_begin(self._trial, self.model, batch, logs)

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_batch_end(self._trial, self.model, batch, logs)


def hook_callbacks(tuner: kt.Tuner, trial: kt.engine.trial.Trial) -> list[Any]:
    """Return the callback that calls the hooks of a tuner; none if its class overrides none."""
    if overrides(type(tuner), *BATCH_HOOKS):
        return [BatchHooks(tuner, trial)]
    if overrides(type(tuner), *EPOCH_HOOKS):
        return [EpochHooks(tuner, trial)]
    return []
