"""Which searcher a plan gets. No Keras."""

from pathlib import Path

import pytest
from made_up_runs import UNITS, make_plan

from results.record.history import Objective
from search.algorithms.base import Searcher, make_searcher
from search.algorithms.drawing import RandomSearcher
from search.algorithms.tpe import TPESearcher
from search.plan.plan import Engine, Tuner
from search.space.parameters import Kind, Parameter, Space

NOWHERE = Path("nowhere")


@pytest.mark.parametrize(("name", "expected"), [("tpe", TPESearcher), ("random", RandomSearcher)])
def test_a_plan_gets_the_searcher_of_its_algorithm(name, expected):
    searcher = make_searcher(make_plan(NOWHERE, algorithm=name), UNITS)
    assert type(searcher) is expected
    assert searcher.space is UNITS


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_searcher_takes_the_seed_of_its_plan(name):
    proposals = [
        make_searcher(make_plan(NOWHERE, algorithm=name, seed=seed), UNITS).propose(1)
        for seed in (1, 1, 2)
    ]
    assert proposals[0] == proposals[1] != proposals[2]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_searcher_begins_with_the_defaults_if_its_plan_wants_them(name):
    plans = [make_plan(NOWHERE, algorithm=name, defaults_first=first) for first in (True, False)]
    proposals = [make_searcher(plan, UNITS).propose(0) for plan in plans]
    assert proposals[0] == {"units": 8} != proposals[1]


def test_tpe_takes_the_objective_of_its_plan():
    plan = make_plan(NOWHERE, objective=Objective("val_loss", "min"))
    assert make_searcher(plan, UNITS).study.direction.name == "MINIMIZE"


def test_the_keras_tuner_engine_gets_a_searcher_that_is_never_asked():
    plan = make_plan(NOWHERE, engine=Engine.KERAS_TUNER, tuner=Tuner.GRID)
    assert isinstance(make_searcher(plan, UNITS), Searcher)
    plan = make_plan(NOWHERE, engine=Engine.KERAS_TUNER, algorithm="hyperband")
    assert isinstance(make_searcher(plan, UNITS), Searcher)


def test_an_algorithm_of_the_registry_must_define_from_plan():
    with pytest.raises(NotImplementedError, match="Searcher defines no from_plan"):
        Searcher.from_plan(make_plan(NOWHERE), UNITS)


class Learning(Searcher):
    """A searcher that keeps what it learns."""

    def __init__(self, space):
        super().__init__(space)
        self.learnt = []

    def propose(self, trial):
        return None

    def adopt(self, trial, values):
        return

    def learn(self, values, score):
        self.learnt.append((values, score))


def test_a_searcher_learns_from_the_trials_of_an_earlier_search_alone():
    searcher = Learning(UNITS)
    searcher.observe({"event": "earlier_trial", "values": {"units": 3}, "score": 0.5})
    searcher.observe({"event": "trial_started", "trial": 0, "values": {"units": 4}, "score": 0.5})
    assert searcher.learnt == [({"units": 3}, 0.5)]


def test_the_space_of_a_searcher_grows():
    depth = Parameter("depth", Kind.INT, 2, low=1, high=4, step=1)
    searcher = Learning(UNITS)
    searcher.grow(Space((depth,)))
    assert searcher.space == Space((*UNITS, depth))
