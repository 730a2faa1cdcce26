"""A search by an oracle of keras-tuner that was cut off continues as if it had not been.

Imports Keras.
"""

import shutil

import keras_tuner as kt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_runs import ACCURACY, EPOCHS, make_plan
from made_up_searches import SPACE, TRIALS, MadeUpSearch, objective_value, outcome

from results.record.files import write_json
from results.record.history import History
from results.record.journal import Journal, read
from search.algorithms.oracles import OracleSearcher
from search.session.origin import ResumedRun, read_previous_run, teach_searcher
from search.session.run_file import describe
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder


@pytest.fixture(scope="module")
def searcher_of(tmp_path_factory):
    """Make the searcher of an oracle."""

    def make(oracle, **size):
        space = kt.HyperParameters()
        space.Int("units", 2, 64, default=8)
        space.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
        space.Choice("activation", ["relu", "tanh"])
        objective = kt.Objective("val_accuracy", "max")
        scratch = str(tmp_path_factory.mktemp("oracle"))
        made = oracle(objective=objective, hyperparameters=space, seed=4, **size)
        return OracleSearcher(made, SPACE, objective=ACCURACY, scratch=scratch)

    return make


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bayesian_optimization_cut_off_at_any_event_continues_as_if_it_had_not_been(
    tmp_path_factory, whole_run, searcher_of, one_thread, data
):
    def searcher():
        return searcher_of(kt.oracles.BayesianOptimizationOracle, max_trials=TRIALS)

    folder, undisturbed = whole_run("bayesian", searcher())
    lines = folder.journal_file.read_bytes().splitlines(keepends=True)
    kept = data.draw(st.integers(1, len(lines) - 1))
    torn = data.draw(st.integers(0, len(lines[kept]) - 2))
    again = RunFolder.create(tmp_path_factory.mktemp("cut") / "run")
    shutil.copy(folder.run_file, again.run_file)
    again.journal_file.write_bytes(b"".join(lines[:kept]) + lines[kept][:torn])
    previous = read_previous_run(again.path)
    MadeUpSearch(again, searcher(), previous.history, previous=previous).run()
    events = read(again.journal_file).events
    assert outcome(History.replay(ACCURACY, events)) == outcome(undisturbed)


def test_a_resumed_hyperband_knows_the_rounds_that_it_trained(tmp_path, searcher_of):
    """Its second round trains on the best of its first."""

    def searcher():
        return searcher_of(kt.oracles.HyperbandOracle, max_epochs=EPOCHS)

    first, events, number = searcher(), [], 0
    while "tuner/trial_id" not in (values := first.propose(number)):
        for fields in (
            {"event": "trial_started", "values": values},
            {"event": "epoch", "epoch": 1, "epoch_seconds": 1.0, "decision": "continue", "worker": "w",
             "metrics": {"val_accuracy": objective_value(number, 1)}},
            {"event": "trial_ended", "state": "completed"},
        ):  # fmt: skip
            events.append({"trial": number, "at_seconds": 0.0, **fields})
            first.observe(events[-1])
        number += 1
    expected = [values, first.propose(number + 1)]
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(make_plan(folder.path), SPACE))
    journal = Journal(folder.journal_file)
    for event in events:
        journal.append(event)
    journal.close()
    resumed = searcher()
    assert list(teach_searcher(resumed, read_previous_run(folder.path))) == []
    assert [resumed.propose(number), resumed.propose(number + 1)] == expected


class Free(kt.Oracle):
    """Proposes what the space does not hold."""

    def populate_space(self, trial_id):
        return {"status": "RUNNING", "values": {"units": 1000 + int(trial_id), "mine": "x"}}


def test_a_search_whose_oracle_proposes_outside_of_the_space_goes_on_with_all_its_trials(
    tmp_path, searcher_of
):
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(make_plan(folder.path), SPACE))
    journal = Journal(folder.journal_file)
    first = searcher_of(Free, max_trials=9)
    for number in range(2):
        values = first.propose(number)
        journal.append(
            {"event": "trial_started", "trial": number, "at_seconds": 0.0, "values": values}
        )
    journal.append({"event": "trial_ended", "trial": 0, "at_seconds": 1.0, "state": "failed"})
    journal.close()
    previous, resumed = read_previous_run(folder.path), searcher_of(Free, max_trials=9)
    assert list(teach_searcher(resumed, previous)) == []
    told = [
        (trial.status, trial.hyperparameters.get("units"))
        for trial in resumed.oracle.trials.values()
    ]
    assert told == [("FAILED", 1000), ("RUNNING", 1001)]
    assert resumed.propose(2)["units"] == 1002
    recorder = Recorder(
        Journal(folder.journal_file), previous.history, [resumed.observe], clock=lambda: 2.0
    )
    ResumedRun(previous).record(recorder, {}, resumed, lambda line: None)
    assert [trial.trial for trial in previous.history.unfinished()] == [1]
