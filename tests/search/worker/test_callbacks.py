"""The callbacks of a trial and of a retraining, called as Keras calls them; nothing is trained."""

from types import SimpleNamespace

import keras
import keras_tuner as kt
import pytest

from results.record.columns import ScoreKind
from results.record.history import Objective
from search.worker.callbacks import (
    HyperparameterTracker,
    ObjectiveMissing,
    Reporter,
    Rows,
    TrialStops,
    may_report,
    missing_objectives,
    sum_parts,
    use_trial_paths,
)
from search.worker.fast import PathTaken
from search.worker.laps import LAPS

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")
SUMMED = Objective("multi_objective", "min", (ACCURACY, LOSS))


class Weights:
    """In the place of the best weights: notes what it is offered."""

    def __init__(self):
        self.resumed, self.offered = [], []

    def resume_from(self, best):
        self.resumed.append(best)

    def offer(self, model, metrics):
        self.offered.append((model, dict(metrics)))


class Reporting:
    """A reporter, and what it reports."""

    def __init__(self, objective=ACCURACY, *, goes_on=lambda report: True, **options):
        self.reports = []
        self.goes_on = goes_on
        self.weights = Weights()
        self.path = PathTaken("fast")
        self.hp = kt.HyperParameters()
        self.reporter = Reporter(
            objective, self.hp, self.report, self.weights, HyperparameterTracker(),
            **{"execution": 0, "last_epoch": None, "may_lack_objective": False,
               "path": lambda: self.path} | options,
        )  # fmt: skip
        self.model = SimpleNamespace(stop_training=False)
        self.reporter.set_model(self.model)

    def report(self, report):
        self.reports.append(report)
        return self.goes_on(report)

    def epoch(self, epoch, accuracy=0.5, *, begins=True, is_validated=True, **logs):
        """Pass an epoch, from 0."""
        if begins:
            self.reporter.on_epoch_begin(epoch)
        if is_validated:
            self.reporter.on_test_begin()
        self.reporter.on_epoch_end(epoch, {"val_accuracy": accuracy, "loss": 1.0} | logs)
        return self.reports[-1]


@pytest.fixture
def reporting():
    return Reporting()


# --- Reports --------------------------------------------------------------------------------------


def test_an_epoch_is_reported_with_its_number_objective_and_metrics(reporting):
    report = reporting.epoch(0, 0.75)
    assert (report["epoch"], report["objective"]) == (1, 0.75)
    assert report["metrics"] == {"val_accuracy": 0.75, "loss": 1.0}
    assert report["epoch_seconds"] >= 0
    assert "execution" not in report


def test_an_epoch_without_logs_lacks_the_objective():
    reporting = Reporting(may_lack_objective=True)
    reporting.reporter.on_epoch_end(0, None)
    assert reporting.reports[0]["metrics"] == {}
    assert reporting.reports[0]["objective"] is None


def test_a_later_execution_has_its_number():
    assert Reporting(execution=2).epoch(0)["execution"] == 2


def test_hyperparameters_are_reported_when_they_are_new(reporting):
    reporting.hp.Int("units", 1, 9, default=3)
    first, second = reporting.epoch(0), reporting.epoch(1)
    reporting.hp.Float("rate", 0.0, 1.0, default=0.5)
    third = reporting.epoch(2)
    assert first["values"] == {"units": 3}
    assert [row["name"] for row in first["space"]] == ["units"]
    assert "values" not in second
    assert third["values"] == {"units": 3, "rate": 0.5}


def test_the_way_of_training_is_reported_when_it_changes(reporting):
    reports = [reporting.epoch(0), reporting.epoch(1)]
    reporting.path = PathTaken("keras", "a reason", 3)
    reports.append(reporting.epoch(2))
    assert [report.get("path") for report in reports] == [
        {"name": "fast", "reason": None, "continued_from": 0},
        None,
        {"name": "keras", "reason": "a reason", "continued_from": 3},
    ]


def test_the_seconds_of_each_activity_are_reported_once(reporting):
    LAPS.take()
    assert set(reporting.epoch(0)["laps"]) == {"train", "validate", "keep"}
    assert set(reporting.epoch(1, is_validated=False)["laps"]) == {"report", "train", "keep"}


# --- Ends of a training ---------------------------------------------------------------------------


def test_a_training_goes_on_until_the_search_stops_it():
    reporting = Reporting(goes_on=lambda report: report["epoch"] < 2)
    reporting.epoch(0)
    assert not reporting.model.stop_training
    assert not reporting.reporter.was_stopped
    reporting.epoch(1)
    assert reporting.model.stop_training
    assert reporting.reporter.was_stopped


def test_a_training_ends_after_its_last_epoch():
    reporting = Reporting(last_epoch=2)
    reporting.epoch(0)
    assert not reporting.model.stop_training
    reporting.epoch(1)
    assert reporting.model.stop_training
    assert not reporting.reporter.was_stopped
    assert reporting.reporter.epochs == 2


def test_a_continued_training_counts_its_epochs_from_the_state():
    reporting = Reporting(last_epoch=3)
    reporting.reporter.epochs = 2  # as a checkpoint restores it
    reporting.epoch(2)
    assert reporting.model.stop_training


def test_a_training_that_goes_on_after_its_stop_is_left_without_a_report():
    reporting = Reporting(goes_on=lambda report: False)
    reporting.epoch(0)
    with pytest.raises(TrialStops):
        reporting.epoch(1)
    assert len(reporting.reports) == 1


def test_a_training_without_a_model_is_stopped_too():
    reporting = Reporting(goes_on=lambda report: False)
    reporting.reporter.set_model(None)
    reporting.epoch(0)
    with pytest.raises(TrialStops):
        reporting.epoch(1)


@pytest.mark.parametrize(
    ("logs", "divergence"),
    [
        ({"loss": float("nan")}, "loss not finite in epoch 3"),
        ({"val_accuracy": float("inf")}, "val_accuracy not finite in epoch 3"),
        ({"loss": float("nan"), "val_accuracy": float("nan")},
         "loss and val_accuracy not finite in epoch 3"),
    ],
)  # fmt: skip
def test_a_training_that_is_not_finite_diverges_and_is_not_judged(reporting, logs, divergence):
    report = reporting.epoch(2, **logs)
    assert report["objective"] is None
    assert reporting.reporter.has_diverged
    assert reporting.reporter.divergence == divergence
    assert reporting.model.stop_training
    assert not reporting.reporter.was_stopped


def test_another_metric_that_is_not_finite_is_no_divergence(reporting):
    report = reporting.epoch(0, 0.75, val_loss=float("nan"))
    assert (report["objective"], report["metrics"]["val_loss"]) == (0.75, None)
    assert not reporting.reporter.has_diverged


def test_a_fit_of_another_model_is_a_training_of_its_own():
    reporting = Reporting(execution=2, last_epoch=2)
    reports = [reporting.epoch(epoch, accuracy) for epoch, accuracy in ((0, 0.5), (1, 0.6))]
    reports += [reporting.epoch(epoch, 0.9) for epoch in (0, 1)]
    assert [report["execution"] for report in reports] == [2, 2, 3, 3]
    assert reporting.reporter.best["val_accuracy"] == 0.6, "of its first training"


def test_a_stopped_trial_trains_no_other_model():
    reporting = Reporting(goes_on=lambda report: False)
    reporting.epoch(0)
    with pytest.raises(TrialStops):
        reporting.reporter.on_epoch_begin(0)
    assert len(reporting.reports) == 1


def test_a_last_epoch_that_equals_the_best_is_told(reporting):
    newest = []
    for epoch, accuracy in enumerate([0.5, 0.9, 0.8, 0.9]):
        reporting.epoch(epoch, accuracy)
        newest.append(reporting.reporter.best_is_newest)
    assert newest == [True, True, False, True]


def test_the_kind_of_the_score_is_in_the_first_report():
    reporting = Reporting(score_kind=ScoreKind.UNKNOWN)
    assert [reporting.epoch(epoch).get("score_kind") for epoch in (0, 1)] == ["unknown", None]


# --- The best epoch -------------------------------------------------------------------------------


def test_the_metrics_of_the_best_epoch_are_kept(reporting):
    for epoch, accuracy in enumerate([0.5, 0.75, 0.6, 0.75]):
        reporting.epoch(epoch, accuracy, number=epoch)
    assert reporting.reporter.best == {"val_accuracy": 0.75, "loss": 1.0, "number": 1.0}


def test_the_weights_of_each_epoch_are_offered(reporting):
    reporting.epoch(0, 0.5)
    reporting.epoch(1, 0.25)
    assert [metrics["val_accuracy"] for _, metrics in reporting.weights.offered] == [0.5, 0.25]
    assert all(model is reporting.model for model, _ in reporting.weights.offered)


def test_the_best_so_far_is_known_before_each_epoch(reporting):
    for epoch, accuracy in enumerate([0.5, 0.25, 0.75]):
        reporting.epoch(epoch, accuracy)
    assert reporting.weights.resumed == [None, 0.5, 0.5]


# --- The objective --------------------------------------------------------------------------------


def test_an_objective_that_is_not_reported_is_an_error():
    reporting = Reporting(Objective("val_auc", "max"))
    with pytest.raises(ObjectiveMissing, match="'val_auc' is not reported by any epoch"):
        reporting.epoch(0)
    assert reporting.reports == []


def test_an_epoch_before_the_first_validation_may_lack_the_objective_and_is_not_judged():
    reporting = Reporting(first_validation=lambda: 3)
    for epoch in (0, 1):
        reporting.reporter.on_epoch_end(epoch, {"loss": 1.0})
    assert [report["objective"] for report in reporting.reports] == [None, None]
    assert not reporting.reporter.has_diverged
    with pytest.raises(ObjectiveMissing, match="'val_accuracy' is not reported by any epoch"):
        reporting.reporter.on_epoch_end(2, {"loss": 1.0})


def test_a_metric_of_the_training_is_not_waited_for():
    reporting = Reporting(Objective("acc", "max"), first_validation=lambda: 3)
    with pytest.raises(ObjectiveMissing):
        reporting.reporter.on_epoch_end(0, {"loss": 1.0})


def test_an_epoch_after_one_that_reports_the_objective_may_lack_it(reporting):
    reporting.epoch(0, 0.5)
    reporting.reporter.on_epoch_end(1, {"loss": 1.0})
    assert reporting.reports[1]["objective"] is None
    assert reporting.reporter.best["val_accuracy"] == 0.5
    assert not reporting.reporter.best_is_newest


class Writes(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["mine"] = 1.0


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda: keras.callbacks.EarlyStopping("loss"), False),
        (lambda: keras.callbacks.History(), False),
        (lambda: keras.callbacks.LambdaCallback(), False),
        (lambda: keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None), True),
        (Writes, True),
    ],
)
def test_a_callback_of_the_user_may_report_metrics_and_one_of_keras_does_not(make, answer):
    assert may_report(make()) is answer


def test_an_objective_that_fit_may_return_can_be_missing():
    reporting = Reporting(Objective("val_auc", "max"), may_lack_objective=True)
    assert reporting.epoch(0)["objective"] is None
    assert not reporting.reporter.has_diverged


def test_several_objectives_are_reported_as_their_sum():
    report = Reporting(SUMMED).epoch(0, 0.75, val_loss=0.25)
    assert report["objective"] == -0.5
    assert report["metrics"]["multi_objective"] == -0.5


def test_a_part_that_is_missing_is_an_error():
    with pytest.raises(ObjectiveMissing, match="'val_loss' is not reported"):
        Reporting(SUMMED).epoch(0)


def test_a_sum_with_a_missing_part_is_missing():
    reporting = Reporting(SUMMED, may_lack_objective=True)
    assert "multi_objective" not in reporting.epoch(0)["metrics"]


def test_a_part_that_is_not_finite_diverges():
    reporting = Reporting(SUMMED)
    report = reporting.epoch(0, 0.75, val_loss=float("nan"))
    assert report["metrics"]["multi_objective"] is None
    assert reporting.reporter.has_diverged


@pytest.mark.parametrize(
    ("objective", "reported", "missing"),
    [
        (ACCURACY, ["loss", "val_accuracy"], []),
        (ACCURACY, ["loss"], ["val_accuracy"]),
        (SUMMED, ["multi_objective"], ["val_accuracy", "val_loss"]),
        (SUMMED, ["val_accuracy"], ["val_loss"]),
        (SUMMED, ["val_loss", "val_accuracy"], []),
    ],
)
def test_the_missing_objectives_are_named(objective, reported, missing):
    assert missing_objectives(objective, iter(reported)) == missing


@pytest.mark.parametrize(
    ("metrics", "total"),
    [
        ({"val_accuracy": 0.75, "val_loss": 0.5}, -0.25),
        ({"val_accuracy": None, "val_loss": 0.5}, None),
        ({"val_accuracy": 0.75, "val_loss": None}, None),
    ],
)
def test_parts_to_maximize_are_subtracted(metrics, total):
    assert sum_parts(SUMMED, metrics) == total


# --- Other callbacks ------------------------------------------------------------------------------


def test_hyperparameters_are_new_until_they_were_reported():
    tracker, hp = HyperparameterTracker(), kt.HyperParameters()
    hp.Int("units", 1, 9, default=3)
    changes = tracker.changes(hp)
    assert changes["values"] == {"units": 3}
    assert changes["space"][0]["name"] == "units"
    assert tracker.changes(hp) == {}
    hp.values["units"] = 4
    assert tracker.changes(hp)["values"] == {"units": 4}


def test_callbacks_that_write_files_write_into_a_folder_of_their_trial(tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(tmp_path / "models" / "best.keras")),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.EarlyStopping(),
    ]
    use_trial_paths(callbacks, "0003", 1)
    model, log, _ = callbacks
    assert model.filepath == str(tmp_path / "models" / "0003" / "execution1" / "best.keras")
    assert log.filename == str(tmp_path / "0003" / "execution1" / "log.csv")
    assert (tmp_path / "models" / "0003" / "execution1").is_dir()
    use_trial_paths([keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))], "0003", 1)


def test_a_retraining_records_each_epoch():
    epochs = []
    rows = Rows(epochs.append)
    rows.on_epoch_end(0, {"loss": 0.5})
    rows.on_epoch_end(1, {"loss": float("nan")})
    rows.on_epoch_end(2)
    assert rows.rows == [{"loss": 0.5}, {"loss": None}, {}]
    assert epochs == [1, 2, 3]
