"""The weights of a trial's best epoch: kept in its run folder, and loaded from there.

Imports Keras: for workers, and a script that asks for its models.
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
    """Keeps the weights of a trial's best epoch, over all its executions.

    Args:
        objective: Says what is better.
        folder: The run whose checkpoints they are; None keeps none.
        trial: Its number.
    """

    def __init__(self, objective: Objective, folder: RunFolder | None, trial: int) -> None:
        self._objective = objective
        self._folder = folder
        self._trial = trial
        self._best: float | None = None

    def resume_from(self, best: float | None) -> None:
        """Take in the best value of a training that is continued here."""
        if self._objective.is_better(best, self._best):
            self._best = best

    def offer(self, model: keras.Model | None, metrics: Mapping[str, float | None]) -> None:
        """Keep a model's weights if its epoch is the best so far.

        Without a value to go by the newest are kept, as keras-tuner 1.4.8 does.
        """
        value = metrics.get(self._objective.name)
        if self._objective.name in metrics:
            if not self._objective.is_better(value, self._best):
                return
            self._best = value
        self.keep(model)

    def keep(self, model: keras.Model | None) -> None:
        """Write the weights, and once what a model that declares no shape needs to take them.

        A model that was never built, since ``fit`` trains something else, has none.
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
    """Load the weights of a trial's best epoch into a model that its builder made."""
    if not model.built:
        config = read_json(folder.build_config_file(trial))
        if not config or "input_shape" not in config:
            raise RunFolderError(
                f"trial {trial}: its model does not say what shape it takes, so its weights cannot "
                "be loaded: expected a keras.Input in the builder, or a model that Keras can build."
            )
        model(_zeros(config["input_shape"]))
    with warnings.catch_warnings():
        # The optimizer's state stands in the file too; a fresh model has no use for it.
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        model.load_weights(folder.best_weights_file(trial))


def _zeros(shape: Any) -> Any:
    """Return a sample of zeros for an input shape as JSON keeps it, structures included."""
    if isinstance(shape, dict):
        return {name: _zeros(part) for name, part in shape.items()}
    if any(isinstance(part, (dict, list)) for part in shape):
        return [_zeros(part) for part in shape]
    return keras.ops.zeros([1 if length is None else length for length in shape])
