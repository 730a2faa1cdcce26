"""What TPE is told, and what it learns from that."""

from results.record.history import Objective
from search.algorithms import tpe
from search.algorithms.tpe import TPESearcher
from search.space.parameters import Kind, Parameter, Space


def report(searcher, trial, value, *, decision="continue", state=None):
    metrics = {"v": value}
    epoch = {"event": "epoch", "trial": trial, "epoch": 1, "metrics": metrics}
    searcher.observe(epoch | {"decision": decision})
    if state:
        searcher.observe({"event": "trial_ended", "trial": trial, "state": state})


def test_tpe_is_told_the_truth_about_how_trials_ended():
    space = Space((Parameter("units", Kind.INT, 8, low=2, high=64, step=1),))
    searcher = TPESearcher(space, seed=0, objective=Objective("v", "max"))
    for trial in range(4):
        searcher.propose(trial)
    report(searcher, 0, 0.9, state="completed")
    report(searcher, 1, 0.5, decision="stop", state="stopped")
    searcher.observe({"event": "trial_ended", "trial": 2, "state": "failed"})
    states = [trial.state.name for trial in searcher._study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert searcher._study.trials[0].value == 0.9
    assert searcher._study.trials[1].intermediate_values == {1: 0.5}


def test_tpe_learns_where_the_good_values_are():
    space = Space((Parameter("x", Kind.FLOAT, 0.9, low=0.0, high=1.0),))
    searcher = TPESearcher(space, seed=1, objective=Objective("v", "min"))
    values = []
    for trial in range(60):
        values.append(searcher.propose(trial)["x"])
        report(searcher, trial, abs(values[-1] - 0.2), state="completed")
    # Uniform draws would come within 0.2 in 40 % of the cases: 24 or more of 30 with p < 1e-5.
    assert sum(abs(x - 0.2) < 0.2 for x in values[30:]) >= 24


def test_tpe_looks_at_the_best_and_the_newest_of_a_long_search():
    space = Space((Parameter("x", Kind.FLOAT, 0.9, low=0.0, high=1.0),))
    searcher, replayed = (
        TPESearcher(space, seed=1, objective=Objective("v", "max")) for _ in range(2)
    )
    last = tpe.MAX_SHOWN + tpe.KEPT_NEWEST
    looked_at = []
    for trial in range(last + 1):
        values = searcher.propose(trial)
        replayed.adopt(trial, values)
        looked_at.append(shown(searcher))
        for one in (searcher, replayed):
            if trial < 30:  # the best come early, and all but these are stopped
                report(one, trial, 1.0 - trial / 100, state="completed")
            else:
                report(one, trial, 0.1, decision="stop", state="stopped")
    assert max(len(numbers) for numbers in looked_at) == tpe.MAX_SHOWN + 1  # one runs
    assert shown(searcher) >= {*range(30), last}
    assert shown(searcher) == shown(replayed)


def shown(searcher):
    return {trial.number for trial in searcher._study.get_trials(deepcopy=False)}
