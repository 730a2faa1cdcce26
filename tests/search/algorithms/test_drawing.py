"""What random search and TPE draw first, and when they end. No Keras."""

import pytest

from results.record.history import Objective
from search.algorithms.drawing import DrawingSearcher, RandomSearcher, choose_values
from search.algorithms.tpe import TPESearcher
from search.space.parameters import Condition, Kind, Parameter, Space

RATES = Space((Parameter("rate", Kind.CHOICE, 0.01, choices=(0.01, 0.001)),))
X = Space((Parameter("x", Kind.FLOAT, 0.9, low=0.0, high=1.0),))


@pytest.fixture(params=[RandomSearcher, TPESearcher])
def make(request):
    """Make a searcher that draws."""
    fields = {"objective": Objective("v", "max")} if request.param is TPESearcher else {}
    return lambda space, seed=0, **others: request.param(space, seed=seed, **fields, **others)


def earlier_trial(values):
    return {
        "event": "earlier_trial",
        "at_seconds": 0,
        "values": values,
        "score": 0.5,
        "source": "x",
    }


def test_the_first_configuration_is_the_default_and_the_last_is_the_end(make):
    searcher = make(RATES)
    proposals = [searcher.propose(trial) for trial in range(4)]
    assert proposals == [{"rate": 0.01}, {"rate": 0.001}, None, None]


def test_the_first_configuration_is_drawn_if_defaults_are_not_wanted_first(make):
    first = {make(RATES, seed, defaults_first=False).propose(0)["rate"] for seed in range(40)}
    assert first == {0.01, 0.001}  # one of them alone with p < 1e-11


def test_the_default_is_the_first_configuration_even_if_it_is_known(make):
    searcher = make(RATES)
    searcher.observe(earlier_trial({"rate": 0.01}))
    assert [searcher.propose(trial) for trial in range(3)] == [
        {"rate": 0.01},
        {"rate": 0.001},
        None,
    ]


def test_known_configurations_are_not_drawn(make):
    space = Space((Parameter("units", Kind.INT, 1, low=1, high=4, step=1),))
    searcher = make(space)
    for units in (2, 3):
        searcher.observe(earlier_trial({"units": units}))
    proposals = [searcher.propose(trial) for trial in range(3)]
    assert proposals == [{"units": 1}, {"units": 4}, None]


def test_an_adopted_configuration_is_known(make):
    searcher = make(RATES)
    searcher.adopt(0, {"rate": 0.001})
    assert [searcher.propose(trial) for trial in (1, 2)] == [{"rate": 0.01}, None]


class OneConfiguration(DrawingSearcher):
    """A searcher that draws the same configuration again and again."""

    def __init__(self, space):
        super().__init__(space, seed=0)
        self.draws = []

    def _draw(self, trial, collision):
        self.draws.append((trial, collision))
        return {"rate": 0.001}


def test_a_searcher_gives_up_after_twenty_draws_of_known_configurations():
    searcher = OneConfiguration(RATES)
    assert searcher.propose(1) == {"rate": 0.001}
    assert searcher.propose(2) is None
    assert searcher.draws == [(1, 0), *((2, collision) for collision in range(21))]


def test_random_search_draws_from_the_whole_of_a_range_and_not_beyond():
    drawn = [RandomSearcher(X, seed=5).propose(trial)["x"] for trial in range(1, 101)]
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1


def test_random_search_draws_by_seed_and_number_of_the_trial():
    one, two, other = (RandomSearcher(X, seed=seed) for seed in (5, 5, 6))
    assert [one.propose(trial) for trial in range(5)] == [two.propose(trial) for trial in range(5)]
    assert one.propose(7) == two.propose(7) != other.propose(7)


def test_random_search_draws_a_trial_whatever_was_drawn_before():
    searcher = RandomSearcher(X, seed=5)
    in_order = [searcher.propose(trial) for trial in range(1, 5)]
    alone = [RandomSearcher(X, seed=5).propose(trial) for trial in range(1, 5)]
    assert in_order == alone


def test_a_value_is_chosen_for_each_active_parameter_once():
    kind = Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"))
    of_a, of_b, again = (
        Parameter(
            "size", Kind.INT, low, (Condition("kind", values),), low=low, high=low + 9, step=1
        )
        for low, values in ((10, ("a",)), (20, ("b",)), (30, ("a", "b")))
    )
    positions = {"kind": 1, "size [kind in ['b']]": 4}
    values = choose_values(Space((kind, of_a, of_b, again)), lambda one: positions[one.key])
    assert values == {"kind": "b", "size": 24}
