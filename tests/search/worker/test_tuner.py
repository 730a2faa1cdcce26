"""A script's own tuner in a worker: which of its methods are called, with what, and in what order."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

import problems
from results.record.columns import State
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.carry.carried import PickledObject
from search.storage.folder import RunFolder
from search.worker.tuner import TrialTuner, TunerCopy

LOSS = Objective("val_loss", "min")
RETURNED = Objective(DEFAULT_OBJECTIVE, "min")
CALLS = "calls"


class Noting(TrialTuner):
    """Notes its calls in a file, since it trains as a copy."""

    def note(self, *words):
        with open(self.file, "a") as file:
            file.write(" ".join(map(str, words)) + "\n")


@pytest.fixture
def run(train, tmp_path):
    """Run a trial of a tuner's class; return its end, its reports and what it noted."""

    def run(tuner_class, hypermodel=problems.small, *, attributes=None, **arguments):
        file = tmp_path / CALLS
        file.write_text("")
        copy = TunerCopy(
            tuner_class,
            {
                "file": str(file), "executions_per_trial": 1, "max_model_size": None,
                "optimizer": None, "loss": None, "metrics": None, "directory": str(tmp_path),
                "project_name": "project",
            } | (attributes or {}),
        )  # fmt: skip
        end, reports = train(
            hypermodel, tuner=PickledObject.of(copy, "tuner"), **{"objective": LOSS} | arguments
        )
        assert end.state in (State.COMPLETED, State.STOPPED), end.traceback
        return end, reports, file.read_text().splitlines()

    return run


def numbers(reports):
    return [(report.get("execution", 0), report["epoch"]) for report in reports]


# --- run_trial ------------------------------------------------------------------------------------


def test_a_copy_of_the_tuner_trains_with_its_attributes(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            self.note(trial.trial_id, self.mood, kwargs["epochs"], len(args))
            return super().run_trial(trial, *args, **kwargs)

    end, reports, notes = run(Mine, attributes={"mood": "good"}, trial=7)
    assert notes == ["0007 good 2 2"]
    assert numbers(reports) == [(0, 1), (0, 2)]
    assert end.result["score"] == min(report["objective"] for report in reports)
    assert end.result["score_kind"] == "epochs"


def test_run_trial_may_change_what_fit_gets(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            kwargs["epochs"] = trial.hyperparameters.Int("epochs", 1, 5, default=3)
            kwargs["callbacks"] = [keras.callbacks.EarlyStopping("val_loss")]
            return super().run_trial(trial, *args, **kwargs)

    _, reports, _ = run(Mine)
    assert numbers(reports) == [(0, 1), (0, 2), (0, 3)]
    assert reports[0]["values"]["epochs"] == 3


def test_only_callbacks_of_search_write_into_other_folders_than_run_trial_says(run, tmp_path):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            log = keras.callbacks.CSVLogger(f"{self.get_trial_dir(trial.trial_id)}/log.csv")
            kwargs["callbacks"] = [*kwargs["callbacks"], log]
            return super().run_trial(trial, *args, **kwargs)

    run(Mine, callbacks=[keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))], trial=7)
    logs = [tmp_path / "0007" / "execution0", tmp_path / "project" / "trial_0007"]
    assert [log / "log.csv" for log in logs] == sorted(tmp_path.rglob("*.csv"))


def test_run_trial_finds_the_trial_from_which_its_own_continues(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            hp = trial.hyperparameters
            former = self.oracle.get_trial(hp.get("tuner/trial_id"))
            self.note(former.trial_id, former.status, former.hyperparameters.values)
            self.note(self.oracle.get_trial(trial.trial_id) is trial)
            return super().run_trial(trial, *args, **kwargs)

    values = {"units": 3, "tuner/trial_id": "0002", "tuner/epochs": 2, "tuner/initial_epoch": 1}
    _, reports, notes = run(Mine, trial=7, values=values)
    assert notes == ["0002 COMPLETED {'units': 3}", "True"]
    assert numbers(reports) == [(0, 2)]


def test_a_tuner_returns_the_attributes_that_its_class_names(run):
    class Mine(Noting):
        returned_attributes = ("losses",)

        def run_trial(self, trial, *args, **kwargs):
            self.losses.append(0.25)
            self.note(self.losses)
            with open(self.file) as file:
                if len(file.readlines()) == 1:
                    raise ValueError("try again")
            return super().run_trial(trial, *args, **kwargs)

    end, _, notes = run(Mine, attributes={"losses": [0.5]}, max_retries_per_trial=1)
    assert notes == ["[0.5, 0.25]"] * 2
    assert end.returned == {"Mine": {"losses": [0.5, 0.25]}}


def test_run_trial_may_load_the_model_of_the_best_epoch(run, tmp_path):
    class Mine(Noting):
        def run_trial(self, trial, x, y, validation_data, **kwargs):
            results = super().run_trial(trial, x, y, validation_data=validation_data, **kwargs)
            model = self.load_model(trial)
            loss = model.evaluate(*validation_data, verbose=0)[0]
            self.note(np.isclose(loss, min(results[0].history["val_loss"])))
            return results

    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    end, reports, notes = run(Mine, folder=folder, epochs=4)
    assert notes == ["True"]
    assert numbers(reports) == [(0, epoch) for epoch in (1, 2, 3, 4)]
    assert end.result["score"] == min(report["objective"] for report in reports)
    assert end.result["score_kind"] == "epochs"


def test_executions_stand_below_run_trial(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            results = super().run_trial(trial, *args, **kwargs)
            self.note("results", len(results))
            return results

    end, reports, notes = run(Mine, attributes={"executions_per_trial": 2})
    assert notes == ["results 2"]
    assert numbers(reports) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert end.result["score_kind"] == "executions"


def test_a_mean_of_two_trainings_is_no_best_epoch(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            first = super().run_trial(trial, *args, **kwargs)
            return [*first, *super().run_trial(trial, *args, **kwargs)]

    end, reports, _ = run(Mine)
    assert numbers(reports) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert end.result["score_kind"] == "executions"


class CrossValidates(Noting):
    """Trains three models without ``super()``, and returns their mean."""

    def run_trial(self, trial, x, y, validation_data, epochs, callbacks, verbose):
        losses = []
        for part in range(3):
            model = self.hypermodel.build(trial.hyperparameters)
            model.fit(x[part::3], y[part::3], epochs=epochs, validation_data=validation_data)
            losses.append(float(model.evaluate(*validation_data, verbose=0)[0]))
        self.note(len(losses))
        return {"val_loss": float(np.mean(losses))}


def test_fits_that_run_trial_calls_itself_are_reported(run, capfd):
    end, reports, notes = run(CrossValidates)
    assert numbers(reports) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(report["objective"] > 0 for report in reports)
    assert notes == ["3"]
    assert end.result["score_kind"] == "returned"
    assert [report["path"]["name"] for report in reports if "path" in report] == ["fast"]
    assert "Epoch" not in capfd.readouterr().out, "Keras shows no progress"


def test_a_model_with_a_fit_of_its_own_is_reported_on_its_own_way(run):
    class Loud(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    class Mine(Noting):
        def run_trial(self, trial, x, y, validation_data, **kwargs):
            model = Loud([keras.layers.Dense(3, "softmax")])
            model.compile("sgd", "sparse_categorical_crossentropy")
            return model.fit(x, y, validation_data=validation_data, epochs=2)

    _, reports, _ = run(Mine)
    assert numbers(reports) == [(0, 1), (0, 2)]
    assert reports[0]["path"]["name"] == "own"


def test_a_run_trial_that_is_stopped_in_its_first_fit_trains_no_other(run):
    end, reports, notes = run(CrossValidates, report=lambda report: False)
    assert (end.state, numbers(reports), notes) == (State.STOPPED, [(0, 1)], [])
    assert end.result is None


def test_fit_is_keras_own_again_after_the_trial(run):
    before = keras.Model.fit
    run(CrossValidates)
    assert keras.Model.fit is before


def test_a_function_without_a_model_returns_a_score(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            x = trial.hyperparameters.Float("x", -1.0, 1.0, default=0.5)
            return x * x + 1

    end, reports, _ = run(Mine, objective=RETURNED, values={"x": 0.25})
    assert (end.result["score"], end.result["score_kind"], reports) == (1.0625, "returned", [])
    assert end.result["values"] == {"x": 0.25}


@pytest.mark.filterwarnings("ignore:The use case of calling:DeprecationWarning")  # keras-tuner's
def test_metrics_may_be_told_to_the_oracle_instead_of_returned(run):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            self.oracle.update_trial(trial.trial_id, {"val_loss": 0.5, "other": 3.0})

    end, _, _ = run(Mine)
    assert end.result["score"] == 0.5
    assert end.result["metrics"] == {"val_loss": 0.5, "other": 3.0}


# --- Hooks ----------------------------------------------------------------------------------------


class Hooked(Noting):
    def on_epoch_begin(self, trial, model, epoch, logs=None):
        super().on_epoch_begin(trial, model, epoch, logs)
        self.note("begin", epoch, type(model).__name__)

    def on_epoch_end(self, trial, model, epoch, logs=None):
        super().on_epoch_end(trial, model, epoch, logs)
        self.note("end", epoch, *sorted(logs))


def test_hooks_of_epochs_are_called_on_the_fast_path(run):
    _, reports, notes = run(Hooked)
    metrics = "accuracy loss val_accuracy val_loss"
    assert notes == [
        "begin 0 Sequential", f"end 0 {metrics}", "begin 1 Sequential", f"end 1 {metrics}",
    ]  # fmt: skip
    assert numbers(reports) == [(0, 1), (0, 2)], "each epoch is reported once"
    assert reports[0]["path"]["name"] == "fast"


def test_hooks_of_batches_are_called_by_the_loop_of_keras(run):
    class Mine(Hooked):
        def on_batch_begin(self, trial, model, batch, logs):
            self.note("batch", batch)

        def on_batch_end(self, trial, model, batch, logs=None):
            self.note("after", batch, "loss" in logs)

    _, reports, notes = run(Mine, epochs=1)
    assert notes[:3] == ["begin 0 Sequential", "batch 0", "after 0 True"]
    assert notes[-1].startswith("end 0")
    assert reports[0]["path"] == {
        "name": "keras", "reason": "BatchHooks.on_batch_begin", "continued_from": 0,
    }  # fmt: skip


class OwnLoop(Noting):
    """Trains without ``fit``, and calls the hooks itself."""

    def run_trial(self, trial, x, y, epochs, **kwargs):
        model = self.hypermodel.build(trial.hyperparameters)
        losses = []
        for epoch in range(epochs):
            self.on_epoch_begin(trial, model, epoch, logs={})
            losses.append(float(model.train_on_batch(x, y)[0]))
            self.on_epoch_end(trial, model, epoch, logs={"val_loss": losses[-1]})
        self.note("left")
        return min(losses)


def test_a_loop_that_calls_the_hooks_reports_its_epochs(run):
    end, reports, notes = run(OwnLoop, epochs=3)
    assert [report["objective"] for report in reports] == pytest.approx(
        [report["metrics"]["val_loss"] for report in reports]
    )
    assert numbers(reports) == [(0, 1), (0, 2), (0, 3)]
    assert notes == ["left"]
    assert end.result["score"] == min(report["objective"] for report in reports)


def test_a_loop_that_calls_the_hooks_is_left_when_it_is_stopped(run):
    end, reports, notes = run(OwnLoop, epochs=5, report=lambda report: report["epoch"] < 2)
    assert (end.state, len(reports), notes) == (State.STOPPED, 2, [])


def test_the_methods_that_build_and_fit_are_those_of_the_tuner(run):
    class Mine(Noting):
        def _build_hypermodel(self, hp):
            self.note("build", hp.values["units"])
            return super()._build_hypermodel(hp)

        def _build_and_fit_model(self, trial, *args, **kwargs):
            self.note("fit", trial.hyperparameters.values["units"])
            kwargs["epochs"] = 1
            return super()._build_and_fit_model(trial, *args, **kwargs)

    _, reports, notes = run(Mine, values={"units": 8})
    assert notes == ["fit 8", "build 8"]
    assert numbers(reports) == [(0, 1)]


def test_a_second_model_does_not_continue_from_the_state_of_the_first(run, tmp_path):
    class Mine(Noting):
        def run_trial(self, trial, *args, **kwargs):
            first = super().run_trial(trial, *args, **kwargs)
            self.note("states", len(list(self.states.glob("*state.npz"))))
            second = super().run_trial(trial, *args, **kwargs)
            self.note("states", len(list(self.states.glob("*state.npz"))))
            return [*first, *second]

    folder = RunFolder.create(tmp_path / "run")
    _, reports, notes = run(
        Mine, attributes={"states": folder.checkpoints}, folder=folder, checkpoint_seconds=0.0
    )
    assert numbers(reports) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert notes == ["states 1", "states 0"]


def test_an_oracle_of_the_user_scores_the_trial(train):
    class Penalizes(kt.oracles.RandomSearchOracle):
        def score_trial(self, trial):
            super().score_trial(trial)
            trial.score += 100.0

    oracle = PickledObject.of(Penalizes("val_loss"), "oracle")
    end, reports = train(problems.small, objective=LOSS, scoring_oracle=oracle)
    best = min(report["objective"] for report in reports)
    assert end.result["score"] == pytest.approx(best + 100.0)
    assert end.result["score_kind"] == "returned"
