"""The trials of a search as keras-tuner's tuners show them."""

import keras_tuner as kt
import pytest
from made_up_runs import RunWriter, make_plan

import problems
from results.record.files import read_json
from results.record.history import History, Objective
from search import RayTuner
from search.errors import UsageError
from search.tuner.recorded_tuner import ReportingOracle

OBJECTIVE = Objective("v", "max")
KT_OBJECTIVE = kt.Objective("v", "max")


def test_trials_are_shown_in_keras_tuners_words():
    history = History(OBJECTIVE)
    oracle = ReportingOracle(KT_OBJECTIVE, max_trials=20)
    ends = [
        (0.7, "completed"), (0.9, "stopped"), (None, "failed"), (0.5, "diverged"),
        (None, "diverged"), (0.6, "interrupted"),
    ]  # fmt: skip
    for trial, (value, state) in enumerate(ends):
        history.apply(
            {"event": "trial_started", "trial": trial, "at_seconds": 1, "values": {"n": trial}}
        )
        assert oracle.update_trial_from(history.trials[trial]).status == "RUNNING"
        if value is not None:
            history.apply({
                "event": "epoch", "trial": trial, "at_seconds": 2, "epoch": 3, "epoch_seconds": 1.0,
                "metrics": {"v": value, "loss": 0.25, "note": "x"}, "decision": "continue", "worker": "w",
            })  # fmt: skip
        error = (
            {"error": "ValueError: no", "traceback": "Traceback ..."} if state == "failed" else {}
        )
        more = error | ({"scheduler": "asha"} if state == "stopped" else {})
        history.apply(
            {"event": "trial_ended", "trial": trial, "at_seconds": 3, "state": state, **more}
        )
        oracle.update_trial_from(history.trials[trial])
    best = oracle.get_best_trials(10)
    assert [(t.trial_id, t.status, t.score) for t in best] == [
        ("01", "STOPPED", 0.9), ("00", "COMPLETED", 0.7), ("03", "COMPLETED", 0.5),
        ("02", "FAILED", None), ("04", "FAILED", None), ("05", "INVALID", 0.6),
    ]  # fmt: skip
    assert best[0].hyperparameters.values == {"n": 1}
    assert best[0].best_step == 2
    assert best[0].metrics.get_best_value("loss") == 0.25
    assert best[3].message == "Traceback ..."
    assert best[0].message == "stopped by ASHA after 1 epoch"
    assert oracle.start_order == ["00", "01", "02", "03", "04", "05"]
    assert oracle.remaining_trials() == 14
    with pytest.raises(UsageError, match=r"call RayTuner\.search"):
        oracle.create_trial("tuner0")


def test_of_equal_trials_the_first_to_reach_the_score_leads():
    history = History(OBJECTIVE)
    oracle = ReportingOracle(KT_OBJECTIVE, max_trials=2)
    for trial in (0, 1):
        history.apply({"event": "trial_started", "trial": trial, "at_seconds": 1, "values": {}})
    for trial in (1, 0):
        history.apply({
            "event": "epoch", "trial": trial, "at_seconds": 3 - trial, "epoch": 1,
            "epoch_seconds": 1.0, "metrics": {"v": 0.5}, "decision": "continue", "worker": "w",
        })  # fmt: skip
        history.apply(
            {"event": "trial_ended", "trial": trial, "at_seconds": 4, "state": "completed"}
        )
    for record in history.trials.values():
        oracle.update_trial_from(record)
    assert [int(trial.trial_id) for trial in oracle.get_best_trials(2)] == [1, 0]
    assert [trial.trial for trial in history.ranked()] == [1, 0]


def test_a_stopped_trial_of_unknown_worth_comes_after_those_with_a_score():
    history = History(OBJECTIVE)
    oracle = ReportingOracle(KT_OBJECTIVE, max_trials=2)
    for trial, value in enumerate((0.9, 0.4)):
        history.apply({"event": "trial_started", "trial": trial, "at_seconds": 1, "values": {}})
        history.apply({
            "event": "epoch", "trial": trial, "at_seconds": 2, "epoch": 1, "epoch_seconds": 1.0,
            "metrics": {"v": value}, "decision": "continue", "worker": "w", "score_kind": "unknown",
        })  # fmt: skip
    score = {"score": 0.1, "best_step": 0, "metrics": {"v": 0.1}, "score_kind": "returned"}
    end = {"event": "trial_ended", "at_seconds": 3}
    history.apply(end | {"trial": 0, "state": "stopped", "scheduler": "asha"})
    history.apply(end | {"trial": 1, "state": "completed"} | score)
    for record in history.trials.values():
        oracle.update_trial_from(record)
    best = [(trial.trial_id, trial.status, trial.score) for trial in oracle.get_best_trials(2)]
    assert best == [("1", "COMPLETED", 0.1), ("0", "STOPPED", None)]


def test_a_score_that_is_the_best_epoch_keeps_what_was_returned_beside_it():
    history = History(OBJECTIVE)
    oracle = ReportingOracle(KT_OBJECTIVE, max_trials=1)
    for event in (
        {"event": "trial_started", "trial": 0, "at_seconds": 1, "values": {}},
        {"event": "epoch", "trial": 0, "at_seconds": 2, "epoch": 1, "epoch_seconds": 1.0,
         "metrics": {"v": 0.4, "loss": 2.0}, "decision": "continue", "worker": "w"},
        {"event": "trial_ended", "trial": 0, "at_seconds": 3, "state": "completed", "score": 0.4,
         "best_step": 0, "metrics": {"v": 0.4, "images": 24.0}, "score_kind": "returned"},
    ):  # fmt: skip
        history.apply(event)
    metrics = oracle.update_trial_from(history.trials[0]).metrics
    values = {name: metrics.get_best_value(name) for name in ("v", "loss", "images")}
    assert values == {"v": 0.4, "loss": 2.0, "images": 24.0}


def test_a_trial_keeps_the_values_that_its_build_did_not_ask_for():
    history = History(OBJECTIVE)
    oracle = ReportingOracle(KT_OBJECTIVE, max_trials=2)
    proposed = {"layers": 1, "units_1": 8, "units_2": 16, "tuner/trial_id": "0"}
    history.apply({"event": "trial_started", "trial": 0, "at_seconds": 1, "values": proposed})
    used = {"layers": 1, "units_1": 8, "late": 3}
    history.apply({
        "event": "trial_ended", "trial": 0, "at_seconds": 3, "state": "completed", "values": used,
    })  # fmt: skip
    trial = oracle.update_trial_from(history.trials[0])
    assert trial.hyperparameters.values == proposed | {"late": 3}


class Stateful(RayTuner):
    """A tuner with a state of its own."""

    state = None

    def get_state(self):
        return {"state": self.state}

    def set_state(self, state):
        self.state = state["state"]


def test_the_state_of_a_tuner_is_saved_beside_the_run_and_given_back(tmp_path):
    run = tmp_path / "run"
    RunWriter(run, plan=make_plan(run, objective=Objective("val_loss", "min"))).close()
    arguments = {"objective": "val_loss", "directory": tmp_path, "project_name": "run"}
    tuner = Stateful(problems.small, **arguments)
    tuner.state = [1, "two"]
    tuner.save()
    assert read_json(run / "tuner.json") == {"state": [1, "two"]}
    assert Stateful(problems.small, **arguments).state == [1, "two"]


def test_a_state_that_json_cannot_hold_is_named(tmp_path):
    tuner = Stateful(problems.small, objective="val_loss", directory=tmp_path)
    tuner.state = {1, 2}
    with pytest.raises(UsageError, match=r"Stateful\.get_state\(\) returned a value that cannot"):
        tuner.save()
    assert not (tmp_path / "untitled_project" / "tuner.json").exists()
