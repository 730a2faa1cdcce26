"""The tuners of keras-tuner by their own names and arguments, on Ray. Imports Keras.

What proposes is keras-tuner's own oracle. Beside keras-tuner's arguments, each tuner takes the
options of ``search.RayTuner`` as keyword arguments, such as ``scheduler`` and
``resources_per_trial``. Unless ``scheduler=None``, ASHA stops weak trials early, except those of
Hyperband, which does so itself.
"""

import inspect
from typing import Any

import keras_tuner as kt

from search.errors import UsageError, raise_any
from search.tuner.ray_tuner import RayTuner
from search.tuner.recipe import OracleRecipe


class Tuner(RayTuner):
    """``keras_tuner.Tuner``, which runs the trials of any oracle on Ray.

    Args:
        oracle: An oracle, which proposes the configurations; the tuner works with a copy.
        hypermodel: A function ``build_model(hp)`` that returns a model, or a ``HyperModel``.
        max_model_size: Maximum number of trainable weights; a trial with a larger model fails.
        optimizer: Optimizer that replaces the one with which the builder compiles the model.
        loss: Loss that replaces the builder's.
        metrics: Metrics that replace the builder's.
        distribution_strategy: Accepted if it has one replica, without effect:
            ``resources_per_trial`` takes its place.
        directory: Parent folder of the run folder. Default: the current folder.
        project_name: Name of the run folder. Default: ``untitled_project``.
        logger: Ignored, as in keras-tuner.
        tuner_id: Ignored; accepted because keras-tuner has it.
        overwrite: Whether to start a new search if the run folder exists.
        executions_per_trial: Number of trainings per configuration; their scores are averaged.
        kwargs: The options of ``search.RayTuner``.

    Raises:
        UsageError: It lists every problem of the arguments, one per line.
    """

    def __init__(
        self,
        oracle: Any,
        hypermodel: Any = None,
        max_model_size: int | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        distribution_strategy: Any = None,
        directory: Any = None,
        project_name: str | None = None,
        logger: Any = None,
        tuner_id: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        **kwargs: Any,
    ) -> None:
        if "algorithm" in kwargs:
            raise_any(
                [
                    f"algorithm={kwargs['algorithm']!r}: {type(self).__name__} has its own oracle, "
                    "which proposes. Use search.RayTuner(algorithm=...) instead."
                ]
            )
        super().__init__(
            hypermodel,
            algorithm=oracle,
            max_model_size=max_model_size,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            distribution_strategy=distribution_strategy,
            directory=directory,
            project_name=project_name,
            logger=logger,
            tuner_id=tuner_id,
            overwrite=overwrite,
            executions_per_trial=executions_per_trial,
            **kwargs,
        )


class RandomSearch(Tuner):
    """``keras_tuner.RandomSearch`` on Ray; its arguments are explained there."""

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: kt.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        super().__init__(
            OracleRecipe(kt.oracles.RandomSearchOracle, {}),
            hypermodel,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


class BayesianOptimization(Tuner):
    """``keras_tuner.BayesianOptimization`` on Ray; its arguments are explained there."""

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        hyperparameters: kt.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        own = {"num_initial_points": num_initial_points, "alpha": alpha, "beta": beta}
        super().__init__(
            OracleRecipe(kt.oracles.BayesianOptimizationOracle, own),
            hypermodel,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


class Hyperband(Tuner):
    """``keras_tuner.Hyperband`` on Ray, without ASHA; its arguments are explained there."""

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        hyperparameters: kt.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        own = {
            "max_epochs": max_epochs,
            "factor": factor,
            "hyperband_iterations": hyperband_iterations,
        }
        super().__init__(
            OracleRecipe(kt.oracles.HyperbandOracle, own),
            hypermodel,
            objective=objective,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


class GridSearch(Tuner):
    """``keras_tuner.GridSearch`` on Ray, on all workers; its arguments are explained there."""

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: kt.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        super().__init__(
            OracleRecipe(kt.oracles.GridSearchOracle, {}),
            hypermodel,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )


class SklearnTuner(kt.SklearnTuner):
    """Refuses to be made: a model of scikit-learn needs no Ray.

    Raises:
        UsageError: Always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UsageError(
            "SklearnTuner trains scikit-learn models, which fit in one process: use "
            "keras_tuner.SklearnTuner instead."
        )

    __init__.__signature__ = inspect.signature(kt.SklearnTuner.__init__)  # type: ignore[attr-defined]


__all__ = [
    "BayesianOptimization",
    "GridSearch",
    "Hyperband",
    "RandomSearch",
    "SklearnTuner",
    "Tuner",
]
