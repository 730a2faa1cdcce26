"""What keras-tuner says of a trial: results, failures, retries, callbacks; run in this process."""

import json

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import problems
from results.record.columns import State
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.plan.task import FitArguments, NamedObject, PickledObject, Task
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.arguments import pack, unpack
from search.worker.trial import run_trial

MINIMIZED = Objective(DEFAULT_OBJECTIVE, "min")
ACCURACY = Objective("val_accuracy", "max")
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


class Own(kt.HyperModel):
    """A hypermodel made of two functions."""

    def __init__(self, fit, build=compiled):
        super().__init__()
        self.build, self._fit = build, fit

    def fit(self, hp, model, *args, **kwargs):
        return self._fit(hp, model, *args, **kwargs)


def trained(hypermodel, *, objective=ACCURACY, epochs=2, callbacks=(), stop_at=None, folder=None,
            trial=0, values=None, **task):  # fmt: skip
    """Run a trial in what is as good as a fresh process; return its end and its reports."""
    process.load_hypermodel.cache_clear()
    reports = []

    def report(one):
        reports.append(dict(one))
        return stop_at is None or one.get("epoch", 0) < stop_at

    kwargs = {"epochs": epochs, "validation_data": VALIDATION, "verbose": 0}
    end = run_trial(
        Task(
            hypermodel=PickledObject.of(hypermodel, "hypermodel"),
            objective=objective, epochs=None, patience=0, seed=1, **task,
        ),
        FitArguments(TRAIN, kwargs | {"callbacks": list(callbacks)}),
        trial=trial, values=values or {}, report=report, folder=folder,
    )  # fmt: skip
    return end, reports


def kt_score(hypermodel, objective, tmp_path, **arguments):
    """Return what keras-tuner itself makes of the same: status and score."""
    tuner = kt.RandomSearch(
        hypermodel, objective, max_trials=1, directory=tmp_path, project_name="theirs",
        max_consecutive_failed_trials=9, **arguments,
    )  # fmt: skip
    tuner.search(*TRAIN, epochs=2, validation_data=VALIDATION, verbose=0)
    [trial] = tuner.oracle.trials.values()
    return trial.status, trial.score


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
def test_a_fit_may_return_its_score(tmp_path, returned, objective, score):
    hypermodel = Own(lambda hp, model, *args, **kwargs: hp.Int("n", 1, 3) and returned)
    end, reports = trained(hypermodel, objective=objective)
    assert end.state is State.COMPLETED
    assert end.result["score"] == pytest.approx(score)
    assert end.result["values"] == {"n": 1}
    assert [row["name"] for row in end.result["space"]] == ["n"]
    assert reports == []
    theirs = kt_score(hypermodel, None if objective is MINIMIZED else "val_accuracy", tmp_path)
    assert theirs == ("COMPLETED", pytest.approx(score))


def test_a_loop_of_its_own_reports_its_epochs_and_is_stopped(tmp_path):
    epochs_begun = []

    def fit(hp, model, x, y, validation_data, callbacks, epochs, **kwargs):
        for callback in callbacks:
            callback.set_model(model)
        best = float("inf")
        for epoch in range(epochs):
            epochs_begun.append(epoch)
            loss = float(model.train_on_batch(x, y)[0])
            best = min(best, loss)
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"my_metric": loss})
        return best

    hypermodel, objective = Own(fit), Objective("my_metric", "min")
    end, reports = trained(hypermodel, objective=objective, epochs=3)
    assert (end.state, len(reports)) == (State.COMPLETED, 3)
    assert end.result is None  # its score is the best that it reported
    assert reports[0]["epoch_seconds"] > 0
    # It knows nothing of stop_training: it is left at the next epoch that it reports.
    end, reports = trained(hypermodel, objective=objective, epochs=9, stop_at=2)
    assert (end.state, len(reports)) == (State.STOPPED, 2)


def test_an_epoch_may_lack_what_fit_returns():
    def fit(hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        return {"margin": 0.125}

    end, reports = trained(Own(fit), objective=Objective("margin", "max"))
    assert end.result["score"] == 0.125
    assert [report["objective"] for report in reports] == [None, None]


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
def test_a_result_that_is_none_ends_the_search(objective, fit, fatal):
    end, _ = trained(Own(fit), objective=objective)
    assert end.fatal == fatal
    assert end.error


def test_a_fatal_error_and_no_model_end_the_search():
    def build(hp):
        raise kt.errors.FatalRuntimeError("no licence")

    end, _ = trained(build)
    assert (end.fatal, end.error) == ("FatalRuntimeError", "no licence")
    end, _ = trained(lambda hp: 7)
    assert end.fatal == "FatalTypeError"
    assert "valid Keras Model" in end.error


def test_what_concerns_one_configuration_fails_one_trial():
    end, _ = trained(compiled, max_model_size=10)
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert end.error == "FailedTrialError: Oversized model: 15 parameters. Skip model."
    uncompiled = lambda hp: keras.Sequential([keras.layers.Dense(3)])  # noqa: E731
    end, _ = trained(uncompiled)
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert "compile" in end.error


def failing(times, error):
    """Return a hypermodel that fails so often before it trains, counting in a file of its own."""
    calls = []

    def fit(hp, model, *args, **kwargs):
        calls.append(1)
        if len(calls) <= times:
            raise error
        return model.fit(*args, **kwargs)

    return Own(fit)


def test_a_trial_that_crashed_is_begun_again_as_often_as_asked(tmp_path):
    end, reports = trained(failing(2, ValueError("once")), max_retries_per_trial=2)
    assert end.state is State.COMPLETED
    assert [report.get("retry") for report in reports] == ["ValueError: once"] * 2 + [None] * 2
    end, reports = trained(failing(2, ValueError("once")), max_retries_per_trial=1)
    assert (end.state, end.error) == (State.FAILED, "ValueError: once")
    assert kt_score(failing(2, ValueError("once")), "val_accuracy", tmp_path,
                    max_retries_per_trial=1)[0] == "FAILED"  # fmt: skip


def test_a_failed_trial_error_is_not_retried():
    end, reports = trained(failing(1, kt.errors.FailedTrialError("slow")), max_retries_per_trial=3)
    assert (end.state, end.error, reports) == (State.FAILED, "FailedTrialError: slow", [])


@pytest.mark.filterwarnings("ignore:All-NaN axis encountered:RuntimeWarning")  # keras-tuner's
def test_a_score_of_nan_is_retried_and_then_diverged(tmp_path):
    nan = Own(lambda hp, model, *args, **kwargs: float("nan"))
    end, reports = trained(nan, objective=MINIMIZED, max_retries_per_trial=1)
    assert end.state is State.DIVERGED
    assert end.result["score"] is None
    assert [list(report) for report in reports] == [["retry"]]
    assert kt_score(nan, None, tmp_path)[0] == "FAILED"


def test_executions_are_averaged_and_run_as_far_as_the_first():
    end, reports = trained(compiled, executions_per_trial=3, epochs=2)
    assert [(report.get("execution", 0), report["epoch"]) for report in reports] == [
        (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2),
    ]  # fmt: skip
    best = [max(r["objective"] for r in reports if r.get("execution", 0) == n) for n in range(3)]
    assert end.result["score"] == pytest.approx(np.mean(best))
    assert len(set(best)) > 1  # each begins with weights of its own
    end, reports = trained(compiled, executions_per_trial=2, epochs=9, stop_at=3)
    assert end.state is State.STOPPED
    assert [report["epoch"] for report in reports] == [1, 2, 3, 1, 2, 3]
    assert end.result["score"] is not None


def test_several_objectives_are_summed_as_keras_tuner_does(tmp_path):
    parts = (Objective("val_accuracy", "max"), Objective("val_loss", "min"))
    objective = Objective("multi_objective", "min", parts)
    _, reports = trained(compiled, objective=objective)
    for report in reports:
        metrics = report["metrics"]
        assert report["objective"] == metrics["val_loss"] - metrics["val_accuracy"]


def test_a_model_is_compiled_as_the_tuner_was_told():
    overrides = PickledObject.of({"loss": "mse", "metrics": ["mae"]}, "overrides")
    one_hot = lambda hp: compiled(loss="mae", metrics=["accuracy"])  # noqa: E731
    train = (TRAIN[0], np.eye(3)[TRAIN[1]])
    reports = []
    run_trial(
        Task(
            hypermodel=PickledObject.of(one_hot, "hypermodel"), objective=Objective("mae", "min"),
            epochs=None, patience=0, seed=1, compile_overrides=overrides,
        ),
        FitArguments(train, {"verbose": 0}),
        trial=0, values={}, report=lambda r: reports.append(r) or True, folder=None,
    )  # fmt: skip
    assert set(reports[0]["metrics"]) == {"loss", "mae"}
    # keras-tuner 1.4.8 cannot do this with Keras 3, though it documents it.
    overrides = PickledObject.of(
        {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        "overrides",
    )
    bare = lambda hp: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])  # noqa: E731
    end, _ = trained(bare, compile_overrides=overrides)
    assert end.state is State.COMPLETED


def test_callbacks_are_copied_and_write_into_folders_of_their_trial(tmp_path):
    class Counting(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            (tmp_path / f"seen-{self.epochs}").touch()

    callbacks = [
        Counting(),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "models" / "best.keras")),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.TensorBoard(tmp_path / "board"),
    ]
    for trial in (3, 4):
        end, _ = trained(compiled, callbacks=callbacks, trial=trial)
        assert end.state is State.COMPLETED, end.traceback
    assert {path.name for path in tmp_path.glob("seen-*")} == {"seen-1", "seen-2"}
    for name in ("0003", "0004"):
        assert (tmp_path / "models" / name / "execution0" / "best.keras").is_file()
        assert (tmp_path / name / "execution0" / "log.csv").read_text().count("\n") == 3
        assert list((tmp_path / "board" / name / "execution0").rglob("events*"))


def test_what_was_registered_in_advance_is_kept_and_overrides_the_builder():
    registered = kt.HyperParameters()
    registered.Int("units", 30, 40)
    registered.Float("never_asked", 0, 1)
    hypermodel = problems.small
    end, reports = trained(
        hypermodel, registered=registered.get_config(), values={"units": 33, "never_asked": 0.5}
    )
    assert end.state is State.COMPLETED
    assert reports[0]["values"] == {"units": 33, "never_asked": 0.5, "rate": 0.01}
    units = next(row for row in reports[0]["space"] if row["name"] == "units")
    assert (units["low"], units["high"]) == (30, 40)


def test_a_model_that_declares_no_shape_gets_its_weights_back(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    trained(
        lambda hp: _shapeless(),
        folder=folder, objective=Objective("val_accuracy", "max"),
    )  # fmt: skip
    from search.worker.weights import load_best_weights

    model = _shapeless()
    assert not model.built
    load_best_weights(model, folder, 0)
    assert model.predict(TRAIN[0][:2], verbose=0).shape == (2, 3)
    assert json.loads(folder.build_config_file(0).read_text())["input_shape"] == [None, 4]


def _shapeless():
    model = keras.Sequential([keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_what_is_asked_for_late_is_known_and_what_fit_returns_is_the_score(tmp_path):
    def two_phases(hp, model, *args, **kwargs):
        first = model.fit(*args, **kwargs)
        model.optimizer.learning_rate = hp.Float("fine_rate", 0.01, 0.1)
        model.fit(*args, **kwargs)
        return first

    hypermodel, objective = Own(two_phases), Objective("loss", "min")
    end, reports = trained(hypermodel, objective=objective, values={"fine_rate": 0.05})
    assert ["values" in report for report in reports] == [True, False, True, False]
    assert reports[2]["values"] == {"fine_rate": 0.05}
    assert [row["name"] for row in reports[2]["space"]] == ["fine_rate"]
    losses = [report["metrics"]["loss"] for report in reports]
    assert end.result["score"] == min(losses[:2]) != min(losses)


def test_a_loop_that_is_stopped_is_executed_again_as_far():
    def loop(hp, model, x, y, callbacks, epochs, **kwargs):
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(epochs):
            logs = {"my_metric": float(model.train_on_batch(x, y)[0])}
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs)
        return logs["my_metric"]

    end, reports = trained(
        Own(loop),
        objective=Objective("my_metric", "min"),
        epochs=9,
        stop_at=2,
        executions_per_trial=2,
    )
    assert end.state is State.STOPPED
    assert [(r.get("execution", 0), r["epoch"]) for r in reports] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
    ]
    best = [min(r["objective"] for r in reports if r.get("execution", 0) == n) for n in (0, 1)]
    assert end.result["score"] == pytest.approx(np.mean(best))


def test_max_epochs_bounds_a_fit_of_ones_own():
    reports = []
    run_trial(
        Task(hypermodel=PickledObject.of(compiled, "h"), objective=ACCURACY, epochs=3, patience=0, seed=1),
        FitArguments(TRAIN, {"epochs": 9, "validation_data": VALIDATION, "verbose": 0}),
        trial=0, values={}, report=lambda r: reports.append(r) or True, folder=None,
    )  # fmt: skip
    assert len(reports) == 3


def test_what_keras_tuner_cannot_use_fails_with_its_reason():
    parts = (Objective("val_accuracy", "max"), Objective("val_loss", "min"))
    end, _ = trained(
        Own(lambda hp, model, *args, **kwargs: 0.5),
        objective=Objective("multi_objective", "min", parts),
    )
    assert (end.state, end.fatal) == (State.FAILED, None)
    assert "Objective value missing" in end.traceback


def test_a_model_that_is_never_built_has_no_weights_to_keep(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    build = lambda hp: keras.Sequential([keras.layers.Dense(3)])  # noqa: E731
    end, _ = trained(Own(lambda *args, **kwargs: 0.5, build), objective=MINIMIZED, folder=folder)
    assert end.state is State.COMPLETED
    assert list(folder.checkpoints.iterdir()) == []


def test_an_optimizer_serves_every_execution_of_a_model_that_is_not_compiled():
    overrides = PickledObject.of(
        {"optimizer": keras.optimizers.Adam(0.01), "loss": "mse"}, "overrides"
    )
    bare = lambda hp: keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])  # noqa: E731
    end, reports = trained(
        bare,
        objective=Objective("loss", "min"),
        compile_overrides=overrides,
        executions_per_trial=2,
    )
    assert (end.state, len(reports)) == (State.COMPLETED, 4)


class Shuffling(keras.utils.PyDataset):
    """Shuffles its indices in place, as many do."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(len(TRAIN[0]))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = self.order[index * 60 : index * 60 + 60]
        return TRAIN[0][rows], TRAIN[1][rows]

    def on_epoch_end(self):
        np.random.default_rng(0).shuffle(self.order)


def test_each_trial_opens_its_own_copy_of_what_is_no_array(tmp_path):
    data = tf.data.Dataset.from_tensor_slices(TRAIN).shuffle(240).batch(40)
    sent = pack(FitArguments((Shuffling(),), {"validation_data": data, "epochs": 2}), tmp_path)
    assert isinstance(sent.args[0], PickledObject)
    orders = []
    for seed in (5, 5, 6):
        keras.utils.set_random_seed(seed)
        dataset = unpack(sent).kwargs["validation_data"]
        orders.append([labels.numpy().tolist() for _, labels in dataset])
    assert orders[0] == orders[1] != orders[2]  # the order follows from the seed
    assert sorted(map(sorted, orders[0])) == sorted(map(sorted, orders[2]))  # of the same batches
    fresh = unpack(sent).args[0]
    fresh.on_epoch_end()
    assert (unpack(sent).args[0].order == np.arange(240)).all()


def test_settings_of_all_of_keras_are_those_of_the_script():
    told = process.keras_settings()
    assert told == {
        "dtype_policy": "float32", "floatx": "float32", "image_data_format": "channels_last",
    }  # fmt: skip
    seen = []
    problems.noting = lambda hp: seen.append(keras.config.dtype_policy().name) or compiled()
    try:
        run_trial(
            Task(
                hypermodel=NamedObject("problems:noting"), objective=ACCURACY, epochs=None, patience=0, seed=1,
                keras_settings=told | {"dtype_policy": "mixed_bfloat16"},
            ),
            FitArguments(TRAIN, {"validation_data": VALIDATION, "verbose": 0}),
            trial=0, values={}, report=lambda r: True, folder=None,
        )  # fmt: skip
    finally:
        process.apply_keras_settings(told)
    assert seen == ["mixed_bfloat16"]
