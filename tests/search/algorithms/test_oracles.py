"""keras-tuner's oracles as searchers; no process is started."""

import keras_tuner as kt
import pytest

from results.record.history import Objective
from search.algorithms.base import Pause
from search.algorithms.oracles import OracleSearcher
from search.space import mirror

OBJECTIVE = Objective("v", "max")
KT_OBJECTIVE = kt.Objective("v", "max")


def space(declare=lambda hp: (hp.Int("n", 1, 3), hp.Choice("kind", ["a", "b"]))):
    hp = kt.HyperParameters()
    declare(hp)
    return mirror.mirror_space(hp.space)


class Told:
    """A searcher and the events that a search would tell it."""

    def __init__(self, oracle, tmp_path, **kwargs):
        self.searcher = OracleSearcher(
            oracle, space(**kwargs), objective=OBJECTIVE, scratch=str(tmp_path)
        )
        self.seconds = 0

    def start(self, trial):
        values = self.searcher.propose(trial)
        if isinstance(values, dict):
            self.tell("trial_started", trial, values=values)
        return values

    def end(self, trial, value, state="completed", **more):
        if value is not None:
            self.tell(
                "epoch", trial, epoch=1, epoch_seconds=1.0, metrics={"v": value}, worker="w",
                decision="stop" if state == "stopped" else "continue",
            )  # fmt: skip
        self.tell("trial_ended", trial, state=state, **more)

    def tell(self, kind, trial, **fields):
        self.seconds += 1
        self.searcher.observe({"event": kind, "trial": trial, "at_seconds": self.seconds, **fields})

    def trials(self):
        return [(t.status, t.score) for t in self.searcher._oracle.trials.values()]


def test_a_stopped_trial_counts_as_the_worst_that_has_finished(tmp_path):
    told = Told(kt.oracles.RandomSearchOracle(KT_OBJECTIVE, max_trials=9, seed=1), tmp_path)
    for trial in range(5):
        told.start(trial)
    told.end(0, 0.1, "stopped")  # none has finished: nothing is known of its worth
    told.end(1, 0.8)
    told.end(2, 0.6, "early-stopped")
    told.end(3, 0.75, "stopped")  # better than one that finished, at an early epoch
    told.end(4, 0.2, "stopped")
    assert told.trials() == [
        ("FAILED", None), ("COMPLETED", 0.8), ("COMPLETED", 0.6), ("COMPLETED", 0.6), ("COMPLETED", 0.6),
    ]  # fmt: skip


def test_failures_are_told_and_retried_by_nobody_twice(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(
        KT_OBJECTIVE, max_trials=9, seed=1, max_retries_per_trial=5, max_consecutive_failed_trials=1
    )
    told = Told(oracle, tmp_path)
    for trial, state in enumerate(["failed", "lost", "out of memory", "diverged"]):
        told.start(trial)
        told.end(trial, None, state)
    assert told.trials() == [("FAILED", None)] * 4
    assert told.start(4) is not None
    assert oracle.max_retries_per_trial == 5  # the script's own oracle is left as it is
    assert oracle.trials == {}


def test_each_running_trial_is_a_tuner_of_its_own(tmp_path):
    told = Told(kt.oracles.RandomSearchOracle(KT_OBJECTIVE, max_trials=3, seed=1), tmp_path)
    drawn = [told.start(trial) for trial in range(4)]
    assert drawn[3] is None  # STOPPED: there are no more
    assert len({tuple(values.items()) for values in drawn[:3]}) == 3
    assert len(told.searcher._oracle.ongoing_trials) == 3


def test_grid_search_waits_and_then_tries_every_configuration_once(tmp_path):
    told = Told(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path)
    tried, running, trial = [], [], 0
    while True:
        values = told.start(trial)
        if values is None:
            break
        if values is Pause.WAIT:
            stopped = len(tried) % 2
            told.end(running.pop(0), 0.5, "stopped" if stopped else "completed")
            continue
        tried.append(tuple(values.items()))
        running.append(trial)
        trial += 1
    assert len(tried) == len(set(tried)) == 6


def test_hyperband_trains_on_the_best_of_a_round_by_our_numbers(tmp_path):
    told = Told(kt.oracles.HyperbandOracle(KT_OBJECTIVE, max_epochs=4, factor=2, seed=1), tmp_path,
                declare=lambda hp: hp.Float("x", 0, 1))  # fmt: skip
    trial, continued, worth = 0, [], {}
    while (values := told.start(trial)) is not None:
        assert isinstance(values, dict)
        worth[trial] = values["x"]
        if "tuner/trial_id" in values:
            former = int(values["tuner/trial_id"])
            assert values["x"] == worth[former]
            assert values["tuner/initial_epoch"] > 0
            continued.append(former)
        told.end(trial, values["x"])
        trial += 1
    assert len(continued) >= 3
    first_round = [number for number in range(continued[0] + 5) if number not in continued]
    assert worth[continued[0]] == max(
        worth[n] for n in worth if n < trial and n <= max(first_round[:4])
    )


# keras-tuner's own regressor.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bayesian_optimization_learns_where_the_good_values_are(tmp_path):
    oracle = kt.oracles.BayesianOptimizationOracle(
        KT_OBJECTIVE, max_trials=25, num_initial_points=6, seed=3
    )
    told = Told(oracle, tmp_path, declare=lambda hp: hp.Float("x", 0, 1))
    drawn = []
    for trial in range(25):
        drawn.append(told.start(trial)["x"])
        told.end(trial, -abs(drawn[-1] - 0.7))
    # Uniform draws come within 0.1 in 20 % of the cases: 8 or more of 12 with p < 1e-3.
    assert sum(abs(x - 0.7) < 0.1 for x in drawn[13:]) >= 8


def test_what_a_trial_is_the_first_to_register_is_known_to_the_oracle(tmp_path):
    told = Told(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path,
                declare=lambda hp: hp.Choice("kind", ["a", "b"]))  # fmt: skip
    values = told.start(0)
    told.searcher.grow(space(lambda hp: hp.Choice("late", [1, 2])))
    told.tell("epoch", 0, epoch=1, epoch_seconds=1.0, metrics={"v": 0.5}, worker="w",
              decision="continue", values=values | {"late": 1})  # fmt: skip
    told.tell("trial_ended", 0, state="completed")
    assert told.start(1) == {"kind": "a", "late": 2}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_oracle_learns_from_an_earlier_search(tmp_path):
    oracle = kt.oracles.BayesianOptimizationOracle(
        KT_OBJECTIVE, max_trials=2, num_initial_points=3, seed=3
    )
    told = Told(oracle, tmp_path, declare=lambda hp: hp.Float("x", 0, 1))
    for x in (0.1, 0.3, 0.5, 0.68, 0.72, 0.9):
        told.searcher.observe(
            {"event": "earlier_trial", "values": {"x": x}, "score": -abs(x - 0.7)}
        )
    drawn = [told.start(trial) for trial in range(3)]
    assert drawn[2] is None  # those of the earlier search do not count
    assert abs(drawn[0]["x"] - 0.7) < 0.15
