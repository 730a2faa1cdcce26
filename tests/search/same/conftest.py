"""Runs each scenario once under ``keras_tuner`` and once under ``search.kt``, for all its cases."""

import functools
import importlib
from dataclasses import replace

import pytest

pytest.register_assert_rewrite("differences")  # so that a failing test shows both

import scenarios  # noqa: E402

from search.tuner import settings  # noqa: E402

# One trial after the other, and none is stopped early: as in keras-tuner.
ONE_BY_ONE = {"resources_per_trial": {"cpu": 2}, "scheduler": None}


@pytest.fixture(scope="session")
def searched(running_ray, tmp_path_factory):
    """Return both outcomes of a scenario, keras-tuner's first: ``searched(scenarios.grid)``."""

    @functools.cache
    def both(scenario):
        return tuple(
            scenarios.run(
                scenario,
                scenarios.Script(
                    importlib.import_module(module), tmp_path_factory.mktemp(name), options
                ),
            )
            for module, name, options in (
                ("keras_tuner", "theirs", {}),
                ("search.kt", "ours", ONE_BY_ONE),
            )
        )

    return both


@pytest.fixture
def one_by_one(monkeypatch):
    """Give a script of ``search.kt`` that says nothing of it one trial after the other."""
    for name, value in ONE_BY_ONE.items():
        row = replace(settings.ARGUMENTS[name], argument_default=value)
        monkeypatch.setitem(settings.ARGUMENTS, name, row)
