"""The trials of a search as keras-tuner's tuners show them."""

import keras_tuner as kt
import pytest

from results.record.history import History, Objective
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
