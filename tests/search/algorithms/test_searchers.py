"""What every algorithm does: those of the registry, and keras-tuner's oracles."""

from pathlib import Path

import pytest
from made_up_runs import ACCURACY, make_plan

from results.record.columns import Decision, State
from search.algorithms.base import Pause, Searcher, make_searcher
from search.plan.registry import Algorithm
from search.session.origin import teach_searcher
from search.session.run_file import RecordedRun, describe
from search.session.warm_start import user_values
from search.space.parameters import Condition, Kind, Parameter, Space, fingerprint
from search.storage.folder import RunFolder

UNITS = Parameter("units", Kind.INT, 8, low=2, high=64, step=1)
IS_DEEP = Parameter("is_deep", Kind.BOOLEAN, False, choices=(False, True), ordered=False)
SPACE = Space(
    (
        UNITS,
        Parameter("rate", Kind.FLOAT, 1e-3, low=1e-4, high=1e-1, sampling="log"),
        Parameter("dropout", Kind.FLOAT, 0.0, low=0.0, high=0.5, step=0.125),
        Parameter("activation", Kind.CHOICE, "relu", choices=("relu", "tanh"), ordered=False),
        IS_DEEP,
        Parameter("depth", Kind.INT, 2, (Condition("is_deep", (True,)),), low=2, high=5, step=1),
        Parameter("optimizer", Kind.FIXED, "adam", choices=("adam",)),
    )
)
# Four configurations.
SMALL = Space((Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"), ordered=False), IS_DEEP))
ORACLES = ("RandomSearch", "BayesianOptimization", "Hyperband", "GridSearch")
AT_ONCE, TRIALS = 3, 7
ENDINGS = (
    State.COMPLETED, State.STOPPED, State.FAILED, State.EARLY_STOPPED, State.DIVERGED,
    State.COMPLETED, State.OUT_OF_MEMORY, State.LOST, State.HUNG,
)  # fmt: skip

# keras-tuner's own regressor.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def oracle(name, seed):
    """An oracle of keras-tuner, which is imported only for these."""
    import keras_tuner as kt

    sizes = {
        "Hyperband": {"max_epochs": 4, "factor": 2},
        "BayesianOptimization": {"max_trials": 30, "num_initial_points": 4},
    }
    size = sizes.get(name, {"max_trials": 30})
    objective = kt.Objective(ACCURACY.name, ACCURACY.mode)
    return getattr(kt.oracles, f"{name}Oracle")(objective, seed=seed, **size)


@pytest.fixture(
    params=[
        *Algorithm,
        *(pytest.param(name, marks=pytest.mark.xdist_group("keras-tuner")) for name in ORACLES),
    ]
)
def make(request, tmp_path_factory):
    """Make a searcher of one algorithm."""
    name = request.param
    if name == "BayesianOptimization":
        request.getfixturevalue("one_thread")

    def made(space=SPACE, seed=3):
        if name in list(Algorithm):
            return make_searcher(make_plan(Path("nowhere"), algorithm=name, seed=seed), space)
        from search.algorithms.oracles import OracleSearcher

        scratch = str(tmp_path_factory.mktemp("oracle"))
        return OracleSearcher(oracle(name, seed), space, objective=ACCURACY, scratch=scratch)

    return made


class Search:
    """The events that a search gives a searcher, a few trials at a time; nothing is trained."""

    def __init__(self, searcher):
        self.searcher = searcher
        self.events = []
        self.proposals = []
        self._running = []

    def run(self, trials):
        """Start a number of trials; end the oldest when too many run, or the searcher waits."""
        while len(self.proposals) < trials:
            if len(self._running) == AT_ONCE:
                self.end()
            values = self.searcher.propose(len(self.proposals))
            if values is None:
                break
            if values is Pause.WAIT:
                self.end()
            else:
                self.start(values)
        return self.proposals

    def start(self, values):
        trial = len(self.proposals)
        self.proposals.append(values)
        self._running.append(trial)
        self.observe("trial_started", trial, values=values)

    def end(self, **registered):
        """End the oldest trial; ``registered``: values that it was the first to register."""
        trial = self._running.pop(0)
        values = {"values": self.proposals[trial] | registered} if registered else {}
        state = ENDINGS[trial % len(ENDINGS)]
        if state not in (State.FAILED, State.LOST):
            for epoch in (1, 2):
                is_stopped = state is State.STOPPED and epoch == 2
                decision = Decision.STOP if is_stopped else Decision.CONTINUE
                metrics = {ACCURACY.name: (trial * 37 % 11 + epoch) / 20}
                self.observe("epoch", trial, epoch=epoch, epoch_seconds=1.0, metrics=metrics,
                          decision=decision, worker="w", **values)  # fmt: skip
        self.observe("trial_ended", trial, state=state)

    def observe(self, kind, trial, **fields):
        seconds = float(len(self.events))
        self.events.append({"event": kind, "trial": trial, "at_seconds": seconds, **fields})
        self.searcher.observe(self.events[-1])

    def previous(self):
        """Return the run as it is read when it is resumed."""
        description = describe(make_plan(Path("nowhere")), self.searcher.space)
        return RecordedRun(RunFolder(Path("nowhere")), description, tuple(self.events), ())


def assert_within(values, space):
    active = [parameter for parameter in space if parameter.is_active(values)]
    assert set(values) == {parameter.name for parameter in active}
    for parameter in active:
        value = values[parameter.name]
        held = parameter.value_at(parameter.position_of(value))
        assert type(value) is type(held)
        assert value == pytest.approx(held) if isinstance(value, float) else value == held


class TestSearcher:
    """What a search expects of every algorithm."""

    def test_an_algorithm_is_a_searcher(self, make):
        assert isinstance(make(), Searcher)

    def test_proposals_lie_in_the_space_with_its_types(self, make):
        proposals = Search(make()).run(TRIALS)
        assert len(proposals) == TRIALS
        for values in proposals:
            assert_within(user_values(values), SPACE)

    def test_the_same_seed_gives_the_same_proposals(self, make):
        assert Search(make()).run(TRIALS) == Search(make()).run(TRIALS)

    def test_another_seed_gives_other_proposals(self, make, request):
        is_same = Search(make(seed=3)).run(TRIALS) == Search(make(seed=4)).run(TRIALS)
        assert is_same is ("GridSearch" in request.node.callspec.id)  # a grid has one order

    def test_each_configuration_is_proposed_once_until_none_is_left(self, make):
        search = Search(make(SMALL))
        proposals = [fingerprint(values) for values in search.run(60)]
        assert len(set(proposals)) == len(proposals) < 60
        assert search.searcher.propose(len(proposals)) is None
        assert search.searcher.propose(len(proposals) + 1) is None

    def test_an_adopted_configuration_is_not_proposed_again(self, make):
        begun = Search(make())
        begun.run(6)
        searcher = make()
        for trial, values in enumerate(begun.proposals):
            searcher.adopt(trial, values)
        resumed = searcher.propose(len(begun.proposals))
        assert resumed is not None
        assert resumed not in begun.proposals

    def test_a_replayed_journal_leads_to_the_next_proposal_of_the_search(self, make):
        search = Search(make())
        search.run(TRIALS + 1)
        resumed = make()
        assert list(teach_searcher(resumed, search.previous())) == []
        number = len(search.proposals)
        assert resumed.propose(number) == search.searcher.propose(number)

    def test_a_parameter_that_a_build_was_the_first_to_register_is_searched(self, make):
        search = Search(make(SMALL))
        search.run(1)
        late = Space((Parameter("late", Kind.CHOICE, 1, choices=(1, 2)),))
        search.searcher.grow(late)
        search.end(late=1)
        assert search.searcher.space == SMALL.extended(late)
        values = search.searcher.propose(len(search.proposals))
        assert_within(user_values(values), SMALL.extended(late))

    def test_a_trial_of_an_earlier_search_is_known_and_takes_no_number(self, make):
        searcher = make()
        earlier = {**SPACE.defaults(), "units": 30}
        searcher.observe(
            {"event": "earlier_trial", "values": earlier, "score": 0.9, "at_seconds": 0.0}
        )
        proposals = Search(searcher).run(6)
        assert len(proposals) == 6
        assert earlier not in [user_values(values) for values in proposals]
        for values in proposals:
            assert_within(user_values(values), SPACE)

    def test_events_without_a_trial_or_of_unknown_kinds_change_nothing(self, make):
        search, undisturbed = Search(make()), Search(make())
        search.run(3)
        undisturbed.run(3)
        search.observe("of_a_newer_version", 0, content=1)
        search.searcher.observe({"event": "search_resumed", "at_seconds": 1.0, "run": {}})
        search.searcher.observe(
            {"event": "search_ended", "at_seconds": 1.0, "reason": "interrupted"}
        )
        assert search.run(6) == undisturbed.run(6)
