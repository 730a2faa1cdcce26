"""What the tests of the tuner share."""

import pytest

from search.tuner.settings import Settings


@pytest.fixture
def settings():
    """Make settings as RayTuner does, by its defaults: ``settings("val_loss", seed=3)``."""

    def make(objective="val_accuracy", **arguments):
        defaults = {
            "max_trials": None, "seed": None, "hyperparameters": None, "tune_new_entries": True,
            "allow_new_entries": True, "max_retries_per_trial": 0,
            "max_consecutive_failed_trials": 3, "executions_per_trial": 1,
            "distribution_strategy": None,
        }  # fmt: skip
        shared = {name: arguments.pop(name, default) for name, default in defaults.items()}
        return Settings(objective=objective, **shared, options=arguments)

    return make
