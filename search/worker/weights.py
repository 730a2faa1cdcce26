"""Saves the weights of a trial's best epoch in the run folder, and loads them.

Imports Keras: for workers, and for a script that loads its models.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import keras

from results.record.errors import RunFolderError
from results.record.files import read_json, replacing, write_json
from results.record.history import Objective
from search.storage.folder import RunFolder


class BestWeights:
    """Saves the weights of a trial's best epoch, over all its executions.

    Args:
        objective: Decides which epoch is better.
        folder: The run folder; None: save nothing.
        trial: Number of the trial.
    """

    def __init__(self, objective: Objective, folder: RunFolder | None, trial: int) -> None:
        self._objective = objective
        self._folder = folder
        self._trial = trial
        self._best: float | None = None

    def resume_from(self, best: float | None) -> None:
        """Take over the best objective so far of a continued training."""
        if self._objective.is_better(best, self._best):
            self._best = best

    def offer(self, model: keras.Model | None, metrics: Mapping[str, float | None]) -> None:
        """Save a model's weights if its epoch is the best so far.

        If no epoch so far reports the objective, save always, as keras-tuner 1.4.8 does.
        """
        value = metrics.get(self._objective.name)
        is_first = self._objective.name not in metrics and self._best is None
        if is_first or self._objective.is_better(value, self._best):
            self._best = value
            self.keep(model)

    def keep(self, model: keras.Model | None) -> None:
        """Save a model's weights, and once its build config, which loading needs without a shape.

        A model that was never built, because ``fit`` trains something else, has no weights.
        """
        if model is None or self._folder is None or not model.built:
            return
        path = self._folder.best_weights_file(self._trial)
        build_config = self._folder.build_config_file(self._trial)
        if not build_config.exists():
            write_json(build_config, model.get_build_config())
            self._folder.checkpoint_changed(build_config)
        with replacing(path) as fresh:
            model.save_weights(fresh, overwrite=True)
        self._folder.checkpoint_changed(path)


def load_best_weights(model: keras.Model, folder: RunFolder, trial: int) -> None:
    """Load the weights of a trial's best epoch into a newly built model."""
    if not model.built:
        _build(model, read_json(folder.build_config_file(trial)) or {})
    if not model.built:
        raise RunFolderError(
            f"trial {trial}: its weights cannot be loaded, as the input shape of its model is "
            "unknown. Add a keras.Input to the builder, or use a model that Keras can build."
        )
    with warnings.catch_warnings():
        # The file contains the optimizer's state too, which a new model does not need.
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        model.load_weights(folder.best_weights_file(trial))


def _build(model: keras.Model, config: dict[str, Any]) -> None:
    """Build a model by its build config, as keras-tuner does; the model stays unbuilt if it fails.

    Keras 3 makes the layers of a subclassed model without ``build``, but leaves the model itself
    unbuilt: a call does the rest.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model .* had a build config")
        model.build_from_config(config)
    if not model.built and "input_shape" in config:
        model(_zeros(config["input_shape"]))


def _zeros(shape: Any) -> Any:
    """Return a sample of zeros for an input shape from JSON, which may be nested."""
    if isinstance(shape, dict):
        return {name: _zeros(part) for name, part in shape.items()}
    if any(isinstance(part, (dict, list)) for part in shape):
        return [_zeros(part) for part in shape]
    return keras.ops.zeros([1 if length is None else length for length in shape])
