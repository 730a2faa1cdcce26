"""A trial means what it means to keras-tuner: its score, failures, retries, executions, callbacks."""

from dataclasses import replace

import keras
import keras_tuner as kt
import numpy as np
import pytest

import problems
from results.record.columns import State
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.carry.carried import FitArguments, PickledObject
from search.storage.folder import RunFolder
from search.worker import script

MINIMIZED = Objective(DEFAULT_OBJECTIVE, "min")
ACCURACY = Objective("val_accuracy", "max")
PARTS = (Objective("val_accuracy", "max"), Objective("val_loss", "min"))
SUMMED = Objective("multi_objective", "min", PARTS)
TRAIN, VALIDATION, _ = problems.blobs()


def compiled(hp=None, **changes):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    arguments = {
        "optimizer": "sgd",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    model.compile(**(arguments | changes))
    return model


def uncompiled(hp=None):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])


class Own(kt.HyperModel):
    """A hypermodel made of two functions."""

    def __init__(self, fit, build=compiled):
        super().__init__()
        self.build, self._fit = build, fit

    def fit(self, hp, model, *args, **kwargs):
        return self._fit(hp, model, *args, **kwargs)


@pytest.fixture
def kt_trial(keras_is_imported, tmp_path):
    """Run the same trial by keras-tuner itself; return its status and its score."""

    def run(hypermodel, objective, **arguments):
        tuner = kt.RandomSearch(
            hypermodel, objective, max_trials=1, directory=tmp_path, project_name="theirs",
            max_consecutive_failed_trials=9, **arguments,
        )  # fmt: skip
        tuner.search(*TRAIN, epochs=2, validation_data=VALIDATION, verbose=0)
        [trial] = tuner.oracle.trials.values()
        return trial.status, trial.score

    return run


# --- The score ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "objective", "score"),
    [
        pytest.param(0.25, MINIMIZED, 0.25, id="float"),
        pytest.param(np.float32(0.5), MINIMIZED, 0.5, id="numpy-float"),
        pytest.param({"val_accuracy": 0.75, "other": 1.0}, ACCURACY, 0.75, id="dict"),
        pytest.param([0.2, 0.4], MINIMIZED, 0.3, id="list"),
        pytest.param([{"val_accuracy": 0.5}, {"val_accuracy": 1.0}], ACCURACY, 0.75, id="dicts"),
    ],
)
def test_a_fit_may_return_its_score(train, kt_trial, returned, objective, score):
    hypermodel = Own(lambda hp, model, *args, **kwargs: hp.Int("n", 1, 3) and returned)
    end, reports = train(hypermodel, objective=objective)
    assert end.state is State.COMPLETED
    assert end.result["score"] == pytest.approx(score)
    assert end.result["values"] == {"n": 1}
    assert [row["name"] for row in end.result["space"]] == ["n"]
    assert reports == []
    by_keras_tuner = kt_trial(hypermodel, None if objective is MINIMIZED else "val_accuracy")
    assert by_keras_tuner == ("COMPLETED", pytest.approx(score))


def test_epochs_may_lack_an_objective_that_fit_returns(train):
    def fit(hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        return {"margin": 0.125}

    end, reports = train(Own(fit), objective=Objective("margin", "max"))
    assert end.result["score"] == 0.125
    assert [report["objective"] for report in reports] == [None, None]


@pytest.mark.parametrize("returned", [0, 1])
def test_the_score_is_that_of_the_history_that_fit_returns(train, returned):
    def fit_twice(hp, model, *args, **kwargs):
        return [model.fit(*args, **kwargs), model.fit(*args, **kwargs)][returned]

    end, reports = train(Own(fit_twice), objective=Objective("loss", "min"))
    trainings = [report.get("execution", 0) for report in reports]
    losses = [report["metrics"]["loss"] for report in reports]
    assert trainings == [0, 0, 1, 1]
    if returned == 0:
        assert end.result["score"] == min(losses[:2])
        assert end.result["score_kind"] == "epochs", "the best epoch of the first training"
    else:
        assert end.result["score"] == min(losses[2:])
        assert end.result["score_kind"] == "returned"


def test_a_hyperparameter_that_fit_registers_late_is_reported_with_the_next_epoch(train):
    def fit(hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        model.optimizer.learning_rate = hp.Float("fine_rate", 0.01, 0.1)
        return model.fit(*args, **kwargs)

    _, reports = train(Own(fit), values={"fine_rate": 0.05})
    assert ["values" in report for report in reports] == [True, False, True, False]
    assert reports[2]["values"] == {"fine_rate": 0.05}
    assert [row["name"] for row in reports[2]["space"]] == ["fine_rate"]


def test_several_objectives_are_summed_as_keras_tuner_does(train):
    _, reports = train(compiled, objective=SUMMED)
    assert len(reports) == 2
    for report in reports:
        metrics = report["metrics"]
        assert report["objective"] == metrics["val_loss"] - metrics["val_accuracy"]


# --- The kind of the score ------------------------------------------------------------------------


def fit_of(score):
    """Return a hypermodel whose ``fit`` returns what ``score`` makes of its validation losses."""

    def fit(hp, model, *args, **kwargs):
        return score(model.fit(*args, **kwargs).history["val_loss"])

    return Own(fit)


@pytest.mark.parametrize(
    ("hypermodel", "options", "kind"),
    [
        (Own(lambda hp, model, *args, **kwargs: model.fit(*args, **kwargs)), {}, "epochs"),
        (fit_of(lambda losses: losses[0] + 1.0), {}, "returned"),
        (fit_of(lambda losses: {"val_loss": sum(losses) / 2}), {}, "returned"),
        (Own(lambda hp, model, *args, **kwargs: model.fit(*args, **kwargs)),
         {"executions_per_trial": 2}, "executions"),
        (fit_of(lambda losses: -losses[0]), {"executions_per_trial": 2}, "returned"),
    ],
)  # fmt: skip
def test_a_fit_of_the_user_shows_what_it_returns(train, hypermodel, options, kind):
    end, reports = train(hypermodel, objective=Objective("val_loss", "min"), **options)
    assert reports[0]["score_kind"] == "unknown"
    assert end.result["score_kind"] == kind


def test_a_fit_that_returns_its_last_epoch_shows_it_once_that_is_not_the_best(train):
    last = fit_of(lambda losses: losses[-1])
    best_last, _ = train(last, objective=Objective("val_loss", "min"), epochs=1)
    # Maximized, the loss of the first epoch is the best.
    best_first, _ = train(last, objective=Objective("val_loss", "max"), epochs=3)
    assert best_last.result["score_kind"] == "unknown"
    assert best_first.result["score_kind"] == "returned"


def test_a_mean_that_is_the_best_epoch_by_chance_shows_nothing(train):
    def cross_validate(hp, model, *args, callbacks, **kwargs):
        losses = []
        for one in [model, compiled()]:
            losses += one.fit(*args, callbacks=callbacks, **kwargs).history["val_loss"]
        return max(losses[:2])  # as a mean that the first fold happens to reach

    end, _ = train(Own(cross_validate), objective=Objective("val_loss", "max"))
    assert end.result["score_kind"] == "unknown"


@pytest.mark.parametrize(("executions", "kind"), [(1, "epochs"), (3, "executions")])
def test_the_score_of_keras_fit_is_known_before_its_end(train, executions, kind):
    end, reports = train(compiled, executions_per_trial=executions)
    kinds = [report.get("score_kind") for report in reports]
    assert kinds == [kind] + [None] * (len(reports) - 1)
    assert (end.result or {}).get("score_kind") == (None if executions == 1 else "executions")


def test_the_trainings_of_a_cross_validation_are_told_apart(train):
    def cross_validate(hp, model, *args, callbacks, **kwargs):
        models = [model, compiled(), compiled()]
        histories = [one.fit(*args, callbacks=callbacks, **kwargs).history for one in models]
        return float(np.mean([min(history["val_loss"]) for history in histories]))

    end, reports = train(Own(cross_validate), objective=Objective("val_loss", "min"), epochs=2)
    assert executed(reports) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert end.result["score_kind"] == "returned"


def test_a_cross_validation_that_is_stopped_has_no_score(train):
    def cross_validate(hp, model, *args, callbacks, **kwargs):
        for one in [model, compiled(), compiled()]:
            one.fit(*args, callbacks=callbacks, **kwargs)
        return 1.0

    options = {"objective": Objective("val_loss", "min"), "epochs": 4}
    end, reports = train(Own(cross_validate), report=stop_at(2), **options)
    assert end.state is State.STOPPED
    assert executed(reports) == [(0, 1), (0, 2)]
    assert end.result is None


def test_the_most_epochs_hold_for_each_training_of_a_cross_validation(train):
    def cross_validate(hp, model, *args, callbacks, **kwargs):
        for one in [model, compiled()]:
            one.fit(*args, callbacks=callbacks, **kwargs)
        return 1.0

    options = {"objective": Objective("val_loss", "min"), "epochs": 9, "max_epochs": 2}
    end, reports = train(Own(cross_validate), **options)
    assert executed(reports) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert end.result["score"] == 1.0


@pytest.mark.parametrize("score", [float("inf"), float("-inf")])
def test_an_infinite_score_is_no_score(train, score):
    infinite = Own(lambda hp, model, *args, **kwargs: score)
    end, _ = train(infinite, objective=MINIMIZED)
    assert (end.state, end.result["score"]) == (State.DIVERGED, None)


# --- Training loops of the user -------------------------------------------------------------------


def loop(hp, model, x, y, validation_data, callbacks, epochs, **kwargs):
    """Train without Keras's ``fit``, and know nothing of ``stop_training``."""
    for callback in callbacks:
        callback.set_model(model)
    losses = []
    for epoch in range(epochs):
        losses.append(float(model.train_on_batch(x, y)[0]))
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs={"my_metric": losses[-1]})
    return min(losses)


MY_METRIC = Objective("my_metric", "min")


def test_a_loop_of_the_user_reports_its_epochs(train):
    end, reports = train(Own(loop), objective=MY_METRIC, epochs=3)
    assert (end.state, len(reports)) == (State.COMPLETED, 3)
    assert end.result["score"] == min(report["objective"] for report in reports)
    assert reports[0]["epoch_seconds"] > 0
    assert reports[0]["path"]["name"] == "own"


def stop_at(epoch):
    return lambda report: report.get("epoch", 0) < epoch


def test_a_loop_of_the_user_is_left_at_the_epoch_after_its_stop(train):
    end, reports = train(Own(loop), objective=MY_METRIC, epochs=9, report=stop_at(2))
    assert (end.state, len(reports)) == (State.STOPPED, 2)


def test_a_loop_that_was_stopped_is_executed_again_as_far(train):
    end, reports = train(
        Own(loop), objective=MY_METRIC, epochs=9, report=stop_at(2), executions_per_trial=2
    )
    assert end.state is State.STOPPED
    assert executed(reports) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert end.result is None, "the loop returned nothing, so that its worth is unknown"


def executed(reports):
    return [(report.get("execution", 0), report["epoch"]) for report in reports]


# --- Epochs without the objective -----------------------------------------------------------------


class Sometimes(keras.callbacks.Callback):
    """Reports a metric of its own in every third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 3 == 2:
            logs["val_mine"] = logs["accuracy"]


def fit_arguments(**changes):
    arguments = {"epochs": 6, "validation_data": VALIDATION, "verbose": 0} | changes
    return FitArguments(TRAIN, arguments)


@pytest.mark.parametrize(
    ("frequency", "validated"), [(2, [2, 4, 6]), (4, [4]), ([2, 5], [2, 5]), ([5], [5])]
)
@pytest.mark.parametrize("fast_epoch", [True, False])
def test_a_trial_is_worth_its_best_validated_epoch(train, frequency, validated, fast_epoch):
    end, reports = train(
        compiled, stored=fit_arguments(validation_freq=frequency), fast_epoch=fast_epoch
    )
    assert end.state is State.COMPLETED
    values = {report["epoch"]: report["objective"] for report in reports}
    assert list(values) == [1, 2, 3, 4, 5, 6]
    assert [epoch for epoch, value in values.items() if value is not None] == validated
    assert end.result is None, "the score is the best of its epochs"


def test_a_sum_of_objectives_is_that_of_the_validated_epochs(train):
    end, reports = train(compiled, stored=fit_arguments(validation_freq=3), objective=SUMMED)
    assert end.state is State.COMPLETED
    assert [report["epoch"] for report in reports if report["objective"] is not None] == [3, 6]


def test_several_executions_are_scored_by_their_validated_epochs(train):
    end, reports = train(compiled, stored=fit_arguments(validation_freq=2), executions_per_trial=2)
    values = [[r["objective"] for r in reports if r.get("execution", 0) == n] for n in (0, 1)]
    best = [max(value for value in each if value is not None) for each in values]
    assert end.result["score"] == pytest.approx(sum(best) / 2)


def test_a_callback_may_report_the_objective_in_some_epochs(train):
    callbacks = PickledObject.of([Sometimes()], "callbacks")
    end, reports = train(
        compiled, stored=fit_arguments(callbacks=callbacks), objective=Objective("val_mine", "max")
    )
    assert end.state is State.COMPLETED
    assert [report["epoch"] for report in reports if report["objective"] is not None] == [3, 6]


@pytest.mark.parametrize(
    ("changes", "objective", "epochs"),
    [
        ({"validation_freq": 9}, ACCURACY, 5),  # the last epoch of six would have to report it
        ({"validation_freq": 2}, Objective("val_acuracy", "max"), 1),
        ({"validation_freq": 2, "validation_data": None}, ACCURACY, 0),
        ({"validation_freq": 2}, Objective("acuracy", "max"), 0),
    ],
)
def test_an_objective_that_no_validated_epoch_reports_ends_the_search_at_once(
    train, changes, objective, epochs
):
    end, reports = train(compiled, stored=fit_arguments(**changes), objective=objective)
    assert (end.fatal, len(reports)) == ("ObjectiveMissing", epochs)
    assert f"objective {objective.name!r} is not reported by any epoch" in end.error


# --- Errors that end the search -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "fit", "fatal"),
    [
        pytest.param(ACCURACY, lambda hp, m, *a, **k: None, "FatalTypeError", id="none"),
        pytest.param(ACCURACY, lambda hp, m, *a, **k: {"loss": 1.0}, "FatalValueError", id="dict"),
        pytest.param(ACCURACY, lambda hp, m, *a, **k: "good", "FatalTypeError", id="string"),
        pytest.param(MINIMIZED, lambda hp, m, *a, **k: {"loss": 1.0}, "FatalTypeError", id="default"),
        pytest.param(
            Objective("val_auc", "max"), lambda hp, m, *a, **k: m.fit(*a, **k), "ObjectiveMissing",
            id="history",
        ),
    ],
)  # fmt: skip
def test_a_result_without_the_objective_ends_the_search(train, objective, fit, fatal):
    end, _ = train(Own(fit), objective=objective)
    assert end.fatal == fatal
    assert end.error


def test_a_fatal_error_of_the_builder_ends_the_search(train):
    def build(hp):
        raise kt.errors.FatalRuntimeError("no licence")

    end, _ = train(build)
    assert (end.fatal, end.error) == ("FatalRuntimeError", "no licence")


def test_a_builder_that_returns_no_model_ends_the_search(train):
    end, _ = train(lambda hp: 7)
    assert end.fatal == "FatalTypeError"
    assert "valid Keras Model" in end.error


# --- Errors that fail one trial -------------------------------------------------------------------


def test_a_model_that_is_too_large_fails_its_trial(train):
    end, _ = train(compiled, max_model_size=10)
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert end.error == "FailedTrialError: Oversized model: 15 parameters. Skip model."


def test_a_model_that_is_not_compiled_fails_its_trial(train):
    end, _ = train(uncompiled)
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert "compile" in end.error


def test_a_result_that_keras_tuner_cannot_use_fails_its_trial_with_the_reason(train):
    end, _ = train(Own(lambda hp, model, *args, **kwargs: 0.5), objective=SUMMED)
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert "Objective value missing" in end.traceback
    assert end.error in end.traceback


# --- Retries --------------------------------------------------------------------------------------


def failing(times, error):
    """Return a hypermodel that fails so often before it returns a score."""
    calls = []

    def fit(hp, model, *args, **kwargs):
        calls.append(1)
        if len(calls) <= times:
            raise error
        return {"val_accuracy": 0.5}

    return Own(fit)


def test_a_retry_prints_nothing(train, capsys):
    train(failing(1, ValueError("once")), max_retries_per_trial=1)
    assert capsys.readouterr().out == ""


def test_a_failed_trial_is_tried_again_as_often_as_the_script_says(train):
    end, reports = train(failing(2, ValueError("once")), max_retries_per_trial=2)
    assert end.state is State.COMPLETED
    assert reports == [{"retry": "ValueError: once"}] * 2


def test_a_trial_fails_after_its_last_retry(train, kt_trial):
    end, reports = train(failing(2, ValueError("once")), max_retries_per_trial=1)
    assert (end.state, end.error) == (State.FAILED, "ValueError: once")
    assert reports == [{"retry": "ValueError: once"}]
    status, _ = kt_trial(failing(2, ValueError("once")), "val_accuracy", max_retries_per_trial=1)
    assert status == "FAILED"


@pytest.mark.parametrize(("retries", "state"), [(1, State.COMPLETED), (2, State.FAILED)])
def test_retries_of_an_earlier_process_count(train, retries, state):
    end, _ = train(failing(1, ValueError("once")), max_retries_per_trial=2, retries=retries)
    assert end.state is state


def test_a_retry_has_random_numbers_of_its_own(train):
    first_weights = []

    def fit(hp, model, *args, **kwargs):
        weight = float(model.get_weights()[0][0, 0])
        if not first_weights:
            first_weights.append(weight)
            raise ValueError("once")
        return {"val_accuracy": weight - first_weights[0]}

    end, _ = train(Own(fit), max_retries_per_trial=1)
    assert end.result["score"] != 0.0


def test_a_trial_that_the_user_fails_is_not_tried_again(train):
    error = kt.errors.FailedTrialError("slow")
    end, reports = train(failing(1, error), max_retries_per_trial=3)
    assert (end.state, end.error, reports) == (State.FAILED, "FailedTrialError: slow", [])


@pytest.mark.filterwarnings("ignore:All-NaN axis encountered:RuntimeWarning")  # keras-tuner's
def test_a_score_that_is_not_finite_is_tried_again_and_then_diverged(train, kt_trial):
    nan = Own(lambda hp, model, *args, **kwargs: float("nan"))
    end, reports = train(nan, objective=MINIMIZED, max_retries_per_trial=1)
    assert end.state is State.DIVERGED
    assert end.result["score"] is None
    assert reports == [{"retry": "its score is not finite"}]
    assert kt_trial(nan, None)[0] == "FAILED"


# --- Executions -----------------------------------------------------------------------------------


def test_the_scores_of_several_executions_are_averaged(train):
    end, reports = train(compiled, executions_per_trial=3, epochs=2)
    assert executed(reports) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    best = [max(r["objective"] for r in reports if r.get("execution", 0) == n) for n in range(3)]
    assert end.result["score"] == pytest.approx(np.mean(best))
    assert len(set(best)) > 1, "each execution begins with weights of its own"


def test_a_trial_that_was_stopped_executes_the_others_as_far(train):
    end, reports = train(compiled, executions_per_trial=2, epochs=9, report=stop_at(3))
    assert end.state is State.STOPPED
    assert executed(reports) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert end.result["score"] is not None


# --- Compiling ------------------------------------------------------------------------------------


def test_a_model_is_compiled_as_the_tuner_says(train):
    overrides = PickledObject.of({"loss": "mse", "metrics": ["mae"]}, "overrides")
    _, reports = train(
        lambda hp: compiled(loss="mae", metrics=["accuracy"]),
        stored=FitArguments((TRAIN[0], np.eye(3)[TRAIN[1]]), {"verbose": 0}),
        objective=Objective("mae", "min"),
        compile_overrides=overrides,
    )
    assert set(reports[0]["metrics"]) == {"loss", "mae"}


def test_a_model_that_is_not_compiled_is_compiled_by_the_tuner(train):
    """Version 1.4.8 of keras-tuner documents this, but cannot do it with Keras 3."""
    overrides = PickledObject.of(
        {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        "overrides",
    )
    end, reports = train(uncompiled, compile_overrides=overrides, epochs=1)
    assert (end.state, len(reports)) == (State.COMPLETED, 1)


def test_an_optimizer_of_the_tuner_serves_every_execution(train):
    optimizer = keras.optimizers.Adam(0.01)
    overrides = {"optimizer": optimizer, "loss": "sparse_categorical_crossentropy"}
    end, reports = train(
        uncompiled,
        objective=Objective("val_loss", "min"),
        compile_overrides=PickledObject.of(overrides, "overrides"),
        executions_per_trial=2,
        epochs=1,
    )
    assert (end.state, len(reports)) == (State.COMPLETED, 2)


# --- Callbacks ------------------------------------------------------------------------------------


class Counting(keras.callbacks.Callback):
    """Makes a file for each epoch that this copy has seen."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.epochs = folder, 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        (self.folder / f"seen-{self.epochs}").touch()


def test_each_trial_gets_its_own_copies_of_the_callbacks(train, tmp_path):
    callback = Counting(tmp_path)
    for trial in (3, 4):
        train(compiled, callbacks=[callback], trial=trial)
    assert {path.name for path in tmp_path.iterdir()} == {"seen-1", "seen-2"}
    assert callback.epochs == 0


def test_callbacks_write_into_folders_of_their_trial(train, tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(tmp_path / "models" / "best.keras")),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.TensorBoard(tmp_path / "board"),
    ]
    for trial in (3, 4):
        end, _ = train(compiled, callbacks=callbacks, trial=trial, epochs=1)
        assert end.state is State.COMPLETED, end.traceback
    for name in ("0003", "0004"):
        assert (tmp_path / "models" / name / "execution0" / "best.keras").is_file()
        assert (tmp_path / name / "execution0" / "log.csv").read_text().count("\n") == 2
        assert list((tmp_path / "board" / name / "execution0").rglob("events*"))


def test_a_trial_has_as_many_digits_as_the_script_says(train, tmp_path):
    callbacks = [keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))]
    train(compiled, callbacks=callbacks, trial=3, trial_digits=2, epochs=1)
    assert (tmp_path / "03" / "execution0" / "log.csv").is_file()


# --- Hyperparameters and settings -----------------------------------------------------------------


def test_a_hyperparameter_that_was_registered_in_advance_overrides_the_builder(train):
    registered = kt.HyperParameters()
    registered.Int("units", 30, 40)
    registered.Float("never_asked", 0, 1)
    values = {"units": 33, "never_asked": 0.5}
    end, [report] = train(
        "problems:small", registered=registered.get_config(), values=values, epochs=1
    )
    assert end.state is State.COMPLETED
    assert report["values"] == {"units": 33, "never_asked": 0.5, "rate": 0.01}
    units = next(row for row in report["space"] if row["name"] == "units")
    assert (units["low"], units["high"]) == (30, 40)


def test_the_search_bounds_the_epochs_of_a_script(train):
    _, reports = train(compiled, epochs=9, max_epochs=3)
    assert len(reports) == 3


def test_the_settings_of_keras_are_those_of_the_script(train):
    settings = script.read_settings()

    def fit(hp, model, *args, **kwargs):
        policy = model.layers[-1].dtype_policy.name
        return {"val_accuracy": float(policy == "mixed_bfloat16")}

    try:
        end, _ = train(Own(fit), script=replace(settings, dtype_policy="mixed_bfloat16"))
    finally:
        script.apply_settings(settings)
    assert end.result["score"] == 1.0


def test_a_model_that_is_never_built_has_no_weights_to_keep(train, tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    hypermodel = Own(
        lambda *args, **kwargs: 0.5, lambda hp: keras.Sequential([keras.layers.Dense(3)])
    )
    end, _ = train(hypermodel, objective=MINIMIZED, folder=folder)
    assert end.state is State.COMPLETED
    assert list(folder.checkpoints.iterdir()) == []


def test_a_fit_without_an_epoch_keeps_the_weights_of_its_model(train, tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    train(Own(lambda *args, **kwargs: 0.5), objective=MINIMIZED, folder=folder)
    assert folder.best_weights_file(0).exists()
