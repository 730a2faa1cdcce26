"""The names of algorithms, schedulers and loggers, and what stands behind them."""

import pytest

from search.algorithms.base import Searcher
from search.engines.ray.schedulers import BaseScheduler
from search.loggers.base import Logger
from search.plan.registry import Algorithm, Log, Scheduler

NAMES = [*Algorithm, *Scheduler, *Log]
BASES = {Algorithm: Searcher, Scheduler: BaseScheduler, Log: Logger}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_loads_a_class_of_its_seam(name):
    assert issubclass(name.load(), BASES[type(name)])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_from_its_text(name):
    assert type(name)(str(name)) is name
    assert name == name.value == str(name)


def test_two_names_stand_for_two_classes():
    assert len({name.load() for name in NAMES}) == len(NAMES)
