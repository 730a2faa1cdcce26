"""keras-tuner's oracles as searchers. Imports Keras; no process is started."""

import keras_tuner as kt
import pytest

from results.record.history import Objective
from search.algorithms.base import Pause
from search.algorithms.oracles import OracleSearcher, scoring_oracle
from search.carry.carried import PickledObject
from search.errors import ProblemError
from search.space import mirror

OBJECTIVE = Objective("v", "max")
KT_OBJECTIVE = kt.Objective("v", "max")

# keras-tuner's own regressor.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def in_two_parameters(hp):
    hp.Int("n", 1, 3)
    hp.Choice("kind", ["a", "b"])


def in_one_range(hp):
    hp.Float("x", 0, 1)


def space(declare):
    hp = kt.HyperParameters()
    declare(hp)
    return mirror.mirror_space(hp.space)


def in_large_numbers(hp):
    hp.Int("n", 0, 2**64)
    hp.Int("log", 1, 2**100, sampling="log")
    hp.Choice("kind", [2**64, 2**65])
    hp.Fixed("fixed", 2**80)


class Search:
    """A searcher on an oracle, and the events that a search gives it."""

    def __init__(self, oracle, scratch, declare=in_two_parameters, objective=OBJECTIVE):
        self.searcher = OracleSearcher(
            oracle, space(declare), objective=objective, scratch=str(scratch)
        )
        self._seconds = 0

    def start(self, trial):
        """Start a trial if the searcher proposes one; return its answer."""
        values = self.searcher.propose(trial)
        if isinstance(values, dict):
            self.observe("trial_started", trial, values=values)
        return values

    def end(self, trial, value, state="completed"):
        """End a trial after one epoch; ``value`` None: after none."""
        if value is not None:
            self.epoch(trial, value, "stop" if state == "stopped" else "continue")
        self.observe("trial_ended", trial, state=state)

    def epoch(self, trial, value, decision="continue", **fields):
        self.observe(
            "epoch", trial, epoch=1, epoch_seconds=1.0, metrics={"v": value}, worker="w",
            decision=decision, **fields,
        )  # fmt: skip

    def observe(self, kind, trial, **fields):
        self._seconds += 1
        self.searcher.observe(
            {"event": kind, "trial": trial, "at_seconds": self._seconds, **fields}
        )

    def outcomes(self):
        """Return the state and the score of each trial, as the oracle has them."""
        trials = self.searcher.oracle.trials.values()
        return [(trial.status, trial.score) for trial in trials]


# --- How trials end -------------------------------------------------------------------------------


@pytest.fixture
def search(tmp_path):
    """Random search over six configurations."""
    oracle = kt.oracles.RandomSearchOracle(KT_OBJECTIVE, max_trials=9, seed=1)
    return Search(oracle, tmp_path)


def test_a_trial_that_ended_by_itself_has_its_own_score(search):
    for trial in range(2):
        search.start(trial)
    search.end(0, 0.8)
    search.end(1, 0.6, "early-stopped")
    assert search.outcomes() == [("COMPLETED", 0.8), ("COMPLETED", 0.6)]


def test_a_stopped_trial_counts_as_the_worst_one_that_ended_by_itself(search):
    for trial in range(4):
        search.start(trial)
    search.end(0, 0.8)
    search.end(1, 0.6)
    search.end(2, 0.75, "stopped")  # better than one that finished, at an early epoch
    search.end(3, 0.2, "stopped")
    assert search.outcomes()[2:] == [("COMPLETED", 0.6), ("COMPLETED", 0.6)]


def test_the_worst_one_is_the_highest_if_the_objective_is_minimized(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(kt.Objective("v", "min"), max_trials=9, seed=1)
    search = Search(oracle, tmp_path, objective=Objective("v", "min"))
    for trial in range(3):
        search.start(trial)
    search.end(0, 0.6)
    search.end(1, 0.8)
    search.end(2, 0.2, "stopped")
    assert search.outcomes()[2] == ("COMPLETED", 0.8)


def test_a_stopped_trial_has_failed_if_none_ended_by_itself_before(search):
    search.start(0)
    search.end(0, 0.1, "stopped")
    assert search.outcomes() == [("FAILED", None)]


def test_a_trial_that_ended_without_a_score_has_failed(search):
    for trial, state in enumerate(["failed", "lost", "out of memory", "hung", "diverged"]):
        search.start(trial)
        search.end(trial, None, state)
    assert search.outcomes() == [("FAILED", None)] * 5


def test_a_failed_trial_has_failed_even_after_an_epoch(search):
    search.start(0)
    search.end(0, 0.9, "failed")
    assert search.outcomes() == [("FAILED", None)]


def test_a_diverged_trial_keeps_the_score_that_it_had_before(search):
    search.start(0)
    search.end(0, 0.4, "diverged")
    assert search.outcomes() == [("COMPLETED", 0.4)]


# --- The oracle -----------------------------------------------------------------------------------


def test_the_oracle_neither_retries_trials_nor_gives_up(tmp_path):
    """The search itself does both."""
    oracle = kt.oracles.RandomSearchOracle(
        KT_OBJECTIVE, max_trials=9, seed=1, max_retries_per_trial=5, max_consecutive_failed_trials=1
    )
    search = Search(oracle, tmp_path)
    for trial in range(3):
        search.start(trial)
        search.end(trial, None, "failed")
    assert search.outcomes() == [("FAILED", None)] * 3
    assert search.start(3) is not None


def test_the_oracle_of_the_script_is_left_as_it_is(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(
        KT_OBJECTIVE, max_trials=9, seed=1, max_retries_per_trial=5
    )
    search = Search(oracle, tmp_path)
    search.start(0)
    search.end(0, 0.5)
    assert oracle.max_retries_per_trial == 5
    assert oracle.trials == {}


def test_each_running_trial_is_a_tuner_of_its_own(tmp_path):
    search = Search(kt.oracles.RandomSearchOracle(KT_OBJECTIVE, max_trials=3, seed=1), tmp_path)
    drawn = [search.start(trial) for trial in range(3)]
    assert len({tuple(values.items()) for values in drawn}) == 3
    assert list(search.searcher.oracle.ongoing_trials) == ["0", "1", "2"]


def test_nothing_is_proposed_once_the_oracle_has_its_trials(tmp_path):
    search = Search(kt.oracles.RandomSearchOracle(KT_OBJECTIVE, max_trials=2, seed=1), tmp_path)
    assert [search.start(trial) is None for trial in range(3)] == [False, False, True]


def in_twelve_configurations(hp):
    in_two_parameters(hp)
    with hp.conditional_scope("kind", ["b"]):
        hp.Choice("late", [1, 2, 3])


def grid_of(search, at_once):
    """Return the configurations that are tried, so many at once, the oldest ending first."""
    tried, running = [], []
    while (values := search.start(len(tried))) is not None:
        if values is not Pause.WAIT:
            running.append(len(tried))
            tried.append(dict(values))
        if values is Pause.WAIT or len(running) == at_once:
            search.end(running.pop(0), 0.5, "stopped" if len(tried) % 2 else "completed")
    return tried


@pytest.mark.parametrize("at_once", [1, 2, 5, 20])
def test_grid_search_tries_its_twelve_configurations_in_keras_tuners_order(tmp_path, at_once):
    search = Search(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path, in_twelve_configurations)
    expected = [
        {"n": n, "kind": kind} | ({"late": late} if kind == "b" else {})
        for n in (1, 2, 3)
        for kind, late in (("a", None), ("b", 1), ("b", 2), ("b", 3))
    ]
    assert grid_of(search, at_once) == expected


def test_grid_search_fills_all_workers_at_once(tmp_path):
    search = Search(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path)
    started = [search.start(trial) for trial in range(6)]
    assert len({tuple(values.items()) for values in started}) == 6
    assert search.start(6) is Pause.WAIT  # a trial that runs may register another parameter
    for trial in range(6):
        search.end(trial, 0.5)
    assert search.start(6) is None


def test_hyperband_continues_a_trial_by_its_id_in_the_search(tmp_path):
    oracle = kt.oracles.HyperbandOracle(KT_OBJECTIVE, max_epochs=4, factor=2, seed=1)
    search = Search(oracle, tmp_path, in_one_range)
    drawn, parents = [], []
    while (values := search.start(len(drawn))) is not None:
        if "tuner/trial_id" in values:
            parent = int(values["tuner/trial_id"])
            assert values["tuner/trial_id"] == f"{parent:0{len(str(oracle.max_trials))}d}"
            assert values["x"] == drawn[parent]["x"]
            assert values["tuner/initial_epoch"] > 0
            parents.append(parent)
        search.end(len(drawn), values["x"])
        drawn.append(values)
    assert len(parents) >= 3
    # The best of the first round continues first.
    rounds = ["tuner/trial_id" in values for values in drawn]
    first_round = drawn[: rounds.index(True)]
    assert drawn[parents[0]]["x"] == max(values["x"] for values in first_round)


@pytest.mark.usefixtures("one_thread")
def test_bayesian_optimization_learns_where_the_good_values_are(tmp_path):
    oracle = kt.oracles.BayesianOptimizationOracle(
        KT_OBJECTIVE, max_trials=20, num_initial_points=6, seed=3
    )
    search = Search(oracle, tmp_path, in_one_range)
    drawn = []
    for trial in range(20):
        drawn.append(search.start(trial)["x"])
        search.end(trial, -abs(drawn[-1] - 0.7))
    # Uniform draws come within 0.1 in 20 % of the cases: 7 or more of 8 with p < 1e-4.
    assert sum(abs(x - 0.7) < 0.1 for x in drawn[12:]) >= 7


def test_the_oracle_takes_parameters_that_a_trial_was_the_first_to_register(tmp_path):
    oracle = kt.oracles.GridSearchOracle(KT_OBJECTIVE)
    search = Search(oracle, tmp_path, lambda hp: hp.Choice("kind", ["a", "b"]))
    values = search.start(0)
    search.searcher.grow(space(lambda hp: hp.Choice("late", [1, 2])))
    search.epoch(0, 0.5, values=values | {"late": 1})
    search.observe("trial_ended", 0, state="completed")
    assert search.start(1) == {"kind": "a", "late": 2}


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_grid_continues_after_trials_without_a_parameter_that_another_one_registered(
    tmp_path, at_once
):
    search = Search(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path)
    grown = space(lambda hp: (hp.Choice("late", [1, 2]), hp.Fixed("rate", 0.5)))
    started, ended, tried = {}, 0, []
    while True:
        while len(started) < ended + at_once:
            values = search.start(len(started))
            if not isinstance(values, dict):
                break
            started[len(started)] = values
        if ended == len(started):
            break
        values = {name: started[ended][name] for name in ("n", "kind")}
        if values["kind"] == "b":
            search.searcher.grow(grown)
            values |= {"late": started[ended].get("late", 1), "rate": 0.5}
        search.epoch(ended, 0.5, values=values)
        search.observe("trial_ended", ended, state="completed")
        tried.append(tuple(values.values()))
        ended += 1
    used = {(n, "a") for n in (1, 2, 3)} | {
        (n, "b", late, 0.5) for n in (1, 2, 3) for late in (1, 2)
    }
    assert set(tried) == used


def test_an_oracle_that_allows_no_new_entries_refuses_them(tmp_path):
    known = kt.HyperParameters()
    in_two_parameters(known)
    oracle = kt.oracles.RandomSearchOracle(
        KT_OBJECTIVE, max_trials=9, hyperparameters=known, allow_new_entries=False
    )
    search = Search(oracle, tmp_path)
    with pytest.raises(RuntimeError, match="`allow_new_entries` is `False`"):
        search.searcher.grow(space(lambda hp: hp.Choice("late", [1, 2])))


@pytest.mark.usefixtures("one_thread")
def test_an_oracle_learns_from_an_earlier_search_that_takes_none_of_its_trials(tmp_path):
    oracle = kt.oracles.BayesianOptimizationOracle(
        KT_OBJECTIVE, max_trials=2, num_initial_points=3, seed=3
    )
    search = Search(oracle, tmp_path, in_one_range)
    for x in (0.1, 0.3, 0.5, 0.68, 0.72, 0.9):
        search.searcher.observe(
            {"event": "earlier_trial", "values": {"x": x}, "score": -abs(x - 0.7)}
        )
    drawn = [search.start(trial) for trial in range(3)]
    assert drawn[2] is None
    assert abs(drawn[0]["x"] - 0.7) < 0.15


# --- Oracles of a user ----------------------------------------------------------------------------


class Counting(kt.oracles.RandomSearchOracle):
    """Writes down the calls of its methods."""

    def __init__(self, **arguments):
        self.calls = []
        super().__init__(KT_OBJECTIVE, max_trials=9, seed=1, **arguments)

    def populate_space(self, trial_id):
        self.calls.append(("populate_space", trial_id))
        return super().populate_space(trial_id)

    @kt.synchronized
    def create_trial(self, tuner_id):
        self.calls.append(("create_trial", tuner_id))
        return super().create_trial(tuner_id)

    @kt.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        self.calls.append(("update_trial", trial_id, dict(metrics), step))
        return super().update_trial(trial_id, metrics, step)

    @kt.synchronized
    def end_trial(self, trial):
        self.calls.append(("end_trial", trial.trial_id, trial.status))
        super().end_trial(trial)

    def score_trial(self, trial):
        self.calls.append(("score_trial", trial.trial_id))
        super().score_trial(trial)

    def get_state(self):
        self.calls.append(("get_state",))
        return super().get_state()


def test_the_methods_of_an_oracle_are_called_as_keras_tuner_calls_them(tmp_path):
    search = Search(Counting(), tmp_path)
    search.start(0)
    search.observe("epoch", 0, epoch=1, epoch_seconds=1.0, metrics={"v": 0.5, "loss": 2.0},
                   worker="w", decision="continue")  # fmt: skip
    search.observe("epoch", 0, epoch=2, epoch_seconds=1.0, metrics={"v": 0.8, "loss": 1.0},
                   worker="w", decision="continue")  # fmt: skip
    search.observe("trial_ended", 0, state="completed")
    calls = search.searcher.oracle.calls
    assert [call for call in calls if call != ("get_state",)] == [
        ("create_trial", "0"),
        ("populate_space", "0"),
        ("update_trial", "0", {"v": 0.8, "loss": 1.0}, 1),
        ("end_trial", "0", "COMPLETED"),
        ("score_trial", "0"),
    ]
    assert calls.count(("get_state",)) == 2  # after it was created, and after it ended
    trial = search.searcher.oracle.get_trial("0")
    assert (trial.score, trial.best_step) == (0.8, 1)
    assert trial.metrics.get_best_value("loss") == 1.0


def test_a_failed_trial_is_neither_updated_nor_scored(tmp_path):
    search = Search(Counting(), tmp_path)
    search.start(0)
    search.end(0, 0.4, "failed")
    names = [call[0] for call in search.searcher.oracle.calls]
    assert [name for name in names if name != "get_state"] == [
        "create_trial", "populate_space", "end_trial",
    ]  # fmt: skip


class Penalising(kt.oracles.RandomSearchOracle):
    def score_trial(self, trial):
        super().score_trial(trial)
        trial.score -= trial.hyperparameters.get("n")


def test_the_score_of_a_trial_is_what_the_oracle_makes_of_its_metrics(tmp_path):
    search = Search(Penalising(KT_OBJECTIVE, max_trials=9, seed=1), tmp_path)
    values = [search.start(trial) for trial in range(2)]
    search.end(0, 0.5)
    search.end(1, 0.9, "stopped")  # as bad as the worst, and then penalised for its own values
    assert search.outcomes() == [("COMPLETED", 0.5 - each["n"]) for each in values]


def test_only_an_oracle_of_its_own_score_is_given_to_workers():
    oracle = Penalising(KT_OBJECTIVE)
    assert scoring_oracle(oracle) is oracle
    assert scoring_oracle(kt.oracles.HyperbandOracle(KT_OBJECTIVE)) is None
    assert scoring_oracle(None) is None


class Scripted(kt.Oracle):
    """Answers as it is told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        super().__init__(KT_OBJECTIVE, max_trials=9)

    def populate_space(self, trial_id):
        return self.answers.pop(0)


IDLE, STOPPED = {"status": "IDLE"}, {"status": "STOPPED"}


def test_an_oracle_that_is_idle_for_a_while_is_asked_again(tmp_path):
    values = {"n": 2, "kind": "b"}
    search = Search(Scripted(IDLE, IDLE, {"status": "RUNNING", "values": values}), tmp_path)
    assert [search.start(0) for _ in range(3)] == [Pause.WAIT, Pause.WAIT, values]


def test_an_oracle_that_stops_early_ends_the_search(tmp_path):
    search = Search(Scripted({"status": "RUNNING", "values": {"n": 2}}, STOPPED), tmp_path)
    search.start(0)
    assert search.start(1) is None


def test_an_oracle_may_propose_values_outside_of_the_space(tmp_path):
    own = {"n": 77, "kind": "z", "other": "mine"}
    search = Search(Scripted({"status": "RUNNING", "values": own}), tmp_path)
    assert search.start(0) == own
    search.end(0, 0.5)
    assert search.outcomes() == [("COMPLETED", 0.5)]


def test_an_oracle_with_synchronized_methods_is_sent_to_a_worker(tmp_path):
    """The function that keras-tuner makes of such a method refers to its locks."""

    class Own(kt.oracles.RandomSearchOracle):
        @kt.synchronized
        def end_trial(self, trial):
            super().end_trial(trial)

        def score_trial(self, trial):
            trial.score = 7.0

    copied = PickledObject.of(Own(KT_OBJECTIVE), "the oracle").open()
    copied._set_project_dir(tmp_path, "oracle")
    trial = copied.create_trial("0")
    trial.status = "COMPLETED"
    copied.end_trial(trial)
    assert copied.get_trial(trial.trial_id).score == 7.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.oracles.RandomSearchOracle(KT_OBJECTIVE, 9, seed=1),
        lambda: kt.oracles.BayesianOptimizationOracle(KT_OBJECTIVE, 9, 2, seed=1),
        lambda: kt.oracles.HyperbandOracle(KT_OBJECTIVE, 9, seed=1),
    ],
)
def test_an_oracle_proposes_numbers_of_any_size(tmp_path, make):
    search = Search(make(), tmp_path, in_large_numbers)
    for trial in range(4):
        values = search.start(trial)
        assert 0 <= values["n"] <= 2**64
        assert values["kind"] in (2**64, 2**65)
        search.end(trial, trial / 10)


def test_a_grid_of_too_many_values_is_refused(tmp_path):
    with pytest.raises(ProblemError, match="'n' has 18446744073709551617 values"):
        Search(kt.oracles.GridSearchOracle(KT_OBJECTIVE), tmp_path, in_large_numbers)
