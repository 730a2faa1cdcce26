"""What random search and TPE draw first."""

import pytest

from results.record.history import Objective
from search.algorithms.drawing import RandomSearcher
from search.algorithms.tpe import TPESearcher
from search.space.parameters import Kind, Parameter, Space

RATES = Space((Parameter("rate", Kind.CHOICE, 0.01, choices=(0.01, 0.001)),))
SEARCHERS = [(RandomSearcher, {}), (TPESearcher, {"objective": Objective("v", "max")})]


@pytest.mark.parametrize(("searcher", "more"), SEARCHERS)
def test_the_first_configuration_is_the_default(searcher, more):
    searching = searcher(RATES, seed=0, **more)
    proposed = [searching.propose(trial) for trial in range(4)]
    assert proposed == [{"rate": 0.01}, {"rate": 0.001}, None, None]


@pytest.mark.parametrize(("searcher", "more"), SEARCHERS)
def test_the_first_configuration_is_drawn_where_the_defaults_are_not_asked_for(searcher, more):
    first = {
        searcher(RATES, seed=seed, defaults_first=False, **more).propose(0)["rate"]
        for seed in range(40)
    }
    assert first == {0.01, 0.001}  # one of them alone with p < 1e-11


def test_what_random_search_draws_follows_from_seed_and_number():
    space = Space((Parameter("x", Kind.FLOAT, 0.9, low=0.0, high=1.0),))
    one, two, other = (RandomSearcher(space, seed=seed) for seed in (5, 5, 6))
    assert [one.propose(n) for n in range(5)] == [two.propose(n) for n in range(5)]
    assert one.propose(7) == two.propose(7) != other.propose(7)
