"""RayTuner: what it is given, what it runs, what it shows. One Ray and few workers for all."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import optuna
import pytest
import tensorflow as tf
from rarely_validated import FailsOnceStopped

import problems
from results.record.journal import read
from search import ASHA, RayTuner
from search.errors import (
    AllTrialsFailedError,
    FailureLimitError,
    NewEntriesError,
    ObjectiveError,
    ProblemError,
    SearchError,
    UsageError,
)
from search.ray.environment import ON_LOOPBACK, prepare_environment

TRAIN, VALIDATION, _ = problems.blobs()
ASSET = Path(__file__).parents[2] / "assets" / "version-0.1.0" / "finished"
DATA = {"epochs": 2, "validation_data": VALIDATION, "verbose": 0}


def tuner_in(folder, hypermodel=problems.small, objective="val_accuracy", **arguments):
    """Return a tuner whose trials run one after the other, in the run folder ``run``."""
    return RayTuner(
        hypermodel, objective,
        **({"resources_per_trial": {"cpu": 2}, "directory": folder, "project_name": "run"} | arguments),
    )  # fmt: skip


@pytest.fixture
def tuner(running_ray, tmp_path):
    """Make a tuner in the folder of the test: ``tuner(hypermodel, objective, **arguments)``."""
    return partial(tuner_in, tmp_path)


def events(folder, kind):
    return [event for event in read(folder / "journal.jsonl").events if event["event"] == kind]


# --- What it is given ---------------------------------------------------------------------------


def test_the_oracle_of_the_script_stays_unchanged_and_the_tuner_counts_the_failures(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(
        "val_loss", max_trials=3, seed=5, max_retries_per_trial=2
    )
    tuner = RayTuner(
        problems.small, algorithm=oracle, max_consecutive_failed_trials=7, directory=tmp_path
    )
    assert oracle.hyperparameters.space == []
    assert {parameter.name for parameter in tuner.oracle.get_space().space} == {"units", "rate"}
    told = tuner.oracle
    assert (told.max_trials, told.seed) == (3, 5)
    assert (told.max_retries_per_trial, told.max_consecutive_failed_trials) == (2, 7)
    assert oracle.max_consecutive_failed_trials == 3


class Holding(kt.HyperModel):
    """Holds what cannot leave its process."""

    def __init__(self):
        super().__init__()
        self.output = sys.stdout.buffer

    def build(self, hp):
        return problems.small(hp)


def begun():
    generator = (part for part in TRAIN)
    next(generator)
    return generator


UNSENDABLE = {
    "endless": (lambda data: ((data.repeat(),), {}), r"argument 1: the dataset never ends, so fit needs steps_per_epoch"),
    "validation": (lambda data: ((data,), {"validation_data": data.repeat()}),
                   r"validation_data: the dataset never ends, so fit needs validation_steps"),
    "generator": (lambda data: ((begun(),), {}), r"argument 1: the generator <genexpr> has begun"),
    "callback": (lambda data: (TRAIN, {"callbacks": [keras.callbacks.LambdaCallback(
        on_epoch_end=sys.stdout.buffer.write)]}), r"callbacks\[0\] \(LambdaCallback\) cannot be sent"),
    "backup": (lambda data: (TRAIN, {"callbacks": [keras.callbacks.BackupAndRestore("b")]}),
               r"callbacks\[0\]: all trials would share the folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSENDABLE)
def test_an_argument_that_cannot_be_sent_to_a_worker_is_named_before_one_starts(name, tmp_path):
    give, said = UNSENDABLE[name]
    args, kwargs = give(tf.data.Dataset.from_tensor_slices(TRAIN).batch(32))
    tuner = RayTuner(problems.small, "val_loss", directory=tmp_path, project_name="run")
    with pytest.raises(SearchError, match=said):
        tuner.search(*args, **(DATA | kwargs))
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_a_hypermodel_that_cannot_be_sent_is_named(tmp_path):
    tuner = RayTuner(Holding(), "val_loss", directory=tmp_path)
    with pytest.raises(ProblemError, match=r"hypermodel cannot be sent .* inside build or fit"):
        tuner.search(*TRAIN, **DATA)


def test_a_metric_that_the_model_does_not_report_is_named_before_a_worker_starts(tmp_path):
    tuner = RayTuner(problems.small, kt.Objective("val_acc", "max"), directory=tmp_path)
    with pytest.raises(ObjectiveError, match=r"'val_acc' .* Did you mean 'val_accuracy'\?"):
        tuner.search(*TRAIN, **DATA)
    tuner = RayTuner(problems.small, "val_accuracy", directory=tmp_path)
    for data in (TRAIN, (tf.data.Dataset.from_tensor_slices(TRAIN).batch(16),)):
        with pytest.raises(ObjectiveError, match=r"needs validation data: pass"):
            tuner.search(*data, epochs=1, verbose=0)
    with pytest.raises(ObjectiveError, match=r"objective is missing: expected one of the metrics"):
        RayTuner(problems.small, directory=tmp_path).search(*TRAIN, **DATA)
    with pytest.raises(UsageError, match=r"search\(epoch=...\).* Did you mean 'epochs'\?"):
        tuner.search(*TRAIN, epoch=1, verbose=0)


def test_resources_that_are_not_there_are_named(tuner):
    asking = tuner(resources_per_trial={"gpu": 1})
    with pytest.raises(ProblemError, match=r"a trial needs gpu 1 \(the largest node has 0\)"):
        asking.search(*TRAIN, **DATA)


def test_an_address_without_ray_is_named(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    tuner = RayTuner(problems.small, "val_loss", address="127.0.0.1:1", directory=tmp_path)
    with pytest.raises(
        ProblemError, match=r"no Ray cluster can be joined at the address '127.0.0.1:1'"
    ):
        tuner.search(*TRAIN, **DATA)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    tuner = RayTuner(
        problems.small, "val_loss", directory=tmp_path, project_name="run", overwrite=True
    )
    with pytest.raises(UsageError, match=r"holds files other than a run of RayTuner"):
        tuner.search(*TRAIN, **DATA)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "years of work"


def test_the_project_folder_exists_once_the_tuner_is_made(tmp_path):
    made = RayTuner(problems.small, "val_loss", directory=tmp_path, project_name="run")
    assert Path(made.project_dir) == tmp_path / "run"
    assert (tmp_path / "run").is_dir()


def test_a_tuner_that_overwrites_moves_the_former_run_away_before_files_are_put_there(
    tmp_path, capsys
):
    shutil.copytree(ASSET, tmp_path / "run")
    made = RayTuner(
        problems.small, "val_loss", directory=tmp_path, project_name="run", overwrite=True
    )
    assert f"{tmp_path / 'run'}: the previous content is now in run.previous" in (
        capsys.readouterr().out
    )
    drawing = Path(made.get_trial_dir("0")) / "drawing.txt"
    drawing.write_text("mine")
    with pytest.raises(ObjectiveError):
        made.search(*TRAIN, epochs=1, verbose=0)
    assert drawing.read_text() == "mine"
    assert (tmp_path / "run.previous" / "journal.jsonl").exists()


# --- What it runs -------------------------------------------------------------------------------


def two_inputs(hp):
    """Two inputs, two outputs, built with the functional API."""
    inputs = {name: keras.Input((4,), name=name) for name in ("left", "right")}
    both = keras.layers.Concatenate()(list(inputs.values()))
    hidden = keras.layers.Dense(hp.Int("units", 2, 9), "relu")(both)
    outputs = {
        "label": keras.layers.Dense(3, "softmax", name="label")(hidden),
        "size": keras.layers.Dense(1, name="size")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        "adam", {"label": "sparse_categorical_crossentropy", "size": "mse"},
        metrics={"label": ["accuracy"], "size": ["mae"]},
    )  # fmt: skip
    return model


X = {"left": TRAIN[0], "right": TRAIN[0] * 2}
Y = {"label": TRAIN[1], "size": TRAIN[0].sum(axis=1, keepdims=True)}
BOTH = [kt.Objective("val_label_accuracy", "max"), kt.Objective("val_size_mae", "min")]


@pytest.fixture(scope="module")
def several(running_ray, tmp_path_factory):
    """A searched tuner of several inputs, outputs and objectives, its folder and its output."""
    folder = tmp_path_factory.mktemp("several")
    made = tuner_in(folder, two_inputs, BOTH, max_trials=3, seed=1, max_epochs=3)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        printing = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: print("an epoch"))
        made.search(X, Y, validation_split=0.25, epochs=50, callbacks=[printing], verbose=0)
    return made, folder, output.getvalue()


def test_verbose_0_silences_the_search(several):
    assert several[2] == ""


def test_the_score_of_several_objectives_is_their_sum_to_be_minimized(several):
    trials = several[0].oracle.get_best_trials(5)
    assert len(trials) == 3
    assert [trial.score for trial in trials] == sorted(trial.score for trial in trials)
    for trial in trials:
        accuracy = trial.metrics.get_best_value("val_label_accuracy")
        assert trial.score == pytest.approx(trial.metrics.get_best_value("val_size_mae") - accuracy)


def test_max_epochs_limits_the_epochs_of_fit(several):
    epochs = events(several[1] / "run", "epoch")
    assert max(epoch["epoch"] for epoch in epochs) == 3


def test_the_run_file_records_what_the_tuner_was_given(several):
    plan = json.loads((several[1] / "run" / "run.json").read_text())["plan"]
    assert plan["problem"]["hypermodel"] is None
    assert plan["problem"]["data"].startswith("search(240x4, 240x4)")
    assert (plan["workers"], plan["cpus_per_trial"], plan["problem"]["seed"]) == (1, 2, 1)


def test_the_best_model_of_a_search_predicts(several):
    [model] = several[0].get_best_models()
    assert model.predict(X, verbose=0)["label"].shape == (240, 3)


def rows(made):
    return [
        (trial.trial_id, trial.score, trial.hyperparameters.values)
        for trial in made.oracle.get_best_trials(5)
    ]


def test_a_tuner_that_is_made_again_reads_the_trials_and_the_weights(several):
    made, folder, _ = several
    again = tuner_in(folder, two_inputs, BOTH, max_trials=3)
    assert rows(again) == rows(made)
    assert again.remaining_trials == 0
    weights = [each.get_best_models()[0].get_weights() for each in (made, again)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_search_whose_trials_are_all_done_ends_at_once(several, capsys):
    again = tuner_in(several[1], two_inputs, BOTH, max_trials=3)
    again.search(X, Y, validation_split=0.25)
    assert "all 3 trials are done" in capsys.readouterr().out


def test_a_tuner_of_another_objective_is_refused_the_run_folder(several):
    with pytest.raises(UsageError, match="was searched for multi_objective"):
        tuner_in(several[1], two_inputs, "val_loss")


def test_a_search_is_not_continued_with_other_data(several):
    more = tuner_in(several[1], two_inputs, BOTH, max_trials=4, max_epochs=3)
    with pytest.raises(UsageError, match=r"was searched with other data \(.*Pass the same data"):
        more.search(X | {"left": TRAIN[0] + 100}, Y, validation_split=0.25)


def test_a_search_with_more_trials_continues_the_run(several, tmp_path):
    shutil.copytree(several[1] / "run", tmp_path / "run")
    more = tuner_in(tmp_path, two_inputs, BOTH, max_trials=4, max_epochs=3)
    more.search(X, Y, validation_split=0.25, verbose=0)
    assert more.remaining_trials == 0
    assert sorted(more.oracle.trials) == ["0", "1", "2", "3"]
    started = [event["trial"] for event in events(tmp_path / "run", "trial_started")]
    assert started == [0, 1, 2, 3]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["plan"]["trials"], run["plan"]["problem"]["seed"]) == (4, 1)
    assert len(run["resumed"]) == 1


class Subclassed(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(units, "relu")
        self.out = keras.layers.Dense(1)

    def call(self, inputs):
        return self.out(self.hidden(inputs))


class Regression(kt.HyperModel):
    def build(self, hp):
        model = Subclassed(hp.Int("units", 2, 64))
        model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-1, sampling="log")), "mse")
        return model

    def fit(self, hp, model, data, **kwargs):
        return model.fit(data.unbatch().batch(hp.Choice("batch_size", [10, 40])), **kwargs)


class Unsendable(tf.distribute.OneDeviceStrategy):
    def __reduce_ex__(self, protocol):
        raise AssertionError("a strategy was pickled")


@pytest.fixture(scope="module")
def beside_keras_tuner(running_ray, tmp_path_factory):
    """A searched tuner whose project folder holds a project of keras-tuner's own, and its output."""
    folder = tmp_path_factory.mktemp("beside")
    former = kt.RandomSearch(
        problems.small, "val_accuracy", max_trials=2, directory=folder, project_name="run"
    )
    former.search(*TRAIN, **DATA)
    made = tuner_in(folder, max_trials=1, distribution_strategy=Unsendable("/cpu:0"))
    drawing = Path(made.get_trial_dir("0")) / "drawing.txt"
    drawing.write_text("mine")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        made.search(*TRAIN, **(DATA | {"verbose": 2}))
    return made, folder, output.getvalue()


def test_a_script_of_keras_tuner_learns_from_its_former_project_and_leaves_it(beside_keras_tuner):
    made, folder, said = beside_keras_tuner
    assert Path(made.project_dir) == folder / "run-ray"
    assert len(events(folder / "run-ray", "earlier_trial")) == 2
    assert f"{folder / 'run'} is a project of keras-tuner and stays as it is" in said
    assert not (folder / "run" / "run.json").exists()


def test_a_distribution_strategy_of_one_replica_has_no_effect_and_that_is_said(beside_keras_tuner):
    assert "distribution_strategy has one replica and no effect" in beside_keras_tuner[2]


def test_files_in_a_folder_of_a_trial_from_before_the_search_are_kept(beside_keras_tuner):
    assert (beside_keras_tuner[1] / "run-ray" / "trial_0" / "drawing.txt").read_text() == "mine"


def test_the_next_tuner_continues_beside_the_project_of_keras_tuner(beside_keras_tuner):
    again = tuner_in(beside_keras_tuner[1], max_trials=1)
    assert again.remaining_trials == 0
    assert rows(again) == rows(beside_keras_tuner[0])


class Folds(kt.HyperModel):
    """Returns the mean over three folds, of which the first is by far the easiest."""

    def build(self, hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 9))])
        optimizer = keras.optimizers.SGD(hp.Choice("rate", [0.001, 0.01, 0.05]))
        model.compile(optimizer, "mse", run_eagerly=True)  # quick for so few batches
        return model

    def fit(self, hp, model, x, callbacks, **kwargs):
        y = x[:, :1] ** 2
        folds = [(model, 0.1), (self.build(hp), 3.0), (self.build(hp), 6.0)]
        histories = [
            one.fit(x, y * scale, validation_data=(x, y * scale), callbacks=callbacks, **kwargs)
            for one, scale in folds
        ]
        return float(np.mean([min(one.history["val_loss"]) for one in histories]))


@pytest.mark.parametrize(
    "options",
    [
        {"max_trials": 3},
        pytest.param({"max_trials": 9, "scheduler": "asha"}, marks=pytest.mark.long),
    ],
)
def test_a_mean_over_folds_wins_over_what_trials_reached_in_their_first_fold(tuner, options):
    folds = tuner(
        Folds(),
        kt.Objective("val_loss", "min"),
        algorithm="random",
        seed=1,
        **options,
    )
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2)).astype("float32")
    folds.search(x, epochs=2, verbose=0)
    trials = folds.oracle.get_best_trials(9)
    statuses = [trial.status for trial in trials]
    completed = [trial.score for trial in trials if trial.status == "COMPLETED"]
    assert statuses == sorted(statuses), "those that were stopped come last"
    assert completed == sorted(completed)
    assert min(completed) > 1.0, "no mean is as small as the loss of the first fold"
    assert ("STOPPED" in statuses) == ("scheduler" in options)
    assert all(trial.score is None for trial in trials[len(completed) :])


VALIDATION_OF_REGRESSION = problems.regression_data()[1]


@pytest.fixture(scope="module")
def executed_twice(running_ray, tmp_path_factory):
    """A tuner that has searched datasets, each trial twice, under ASHA; its run folder."""
    folder = tmp_path_factory.mktemp("datasets")
    train = problems.regression_data()[0]
    data = tf.data.Dataset.from_tensor_slices(train).shuffle(120).batch(30)
    held_out = tf.data.Dataset.from_tensor_slices(VALIDATION_OF_REGRESSION).batch(20)
    made = tuner_in(
        folder, Regression(), "val_loss", max_trials=5, seed=3, executions_per_trial=2,
        scheduler=ASHA(grace_period=1, reduction_factor=2), log="tensorboard",
    )  # fmt: skip
    made.search(data, validation_data=held_out, epochs=4, verbose=0)
    return made, folder / "run"


def test_asha_stops_trials_of_several_executions(executed_twice):
    ends = events(executed_twice[1], "trial_ended")
    assert len(ends) == 5
    assert {end["state"] for end in ends} == {"completed", "stopped"}


def test_the_second_execution_runs_as_far_as_asha_let_the_first(executed_twice):
    made, run = executed_twice
    for end in events(run, "trial_ended"):
        epochs = [event for event in events(run, "epoch") if event["trial"] == end["trial"]]
        first = [event["metrics"]["val_loss"] for event in epochs if not event.get("execution")]
        second = [event["metrics"]["val_loss"] for event in epochs if event.get("execution")]
        assert len(first) == len(second)
        assert (epochs[len(first) - 1]["decision"] == "stop") == (end["state"] == "stopped")
        assert end["score"] == pytest.approx((min(first) + min(second)) / 2)
        assert made.oracle.get_trial(str(end["trial"])).score == end["score"]


def test_one_process_trains_one_trial_after_the_other(executed_twice):
    assert len({epoch["worker"] for epoch in events(executed_twice[1], "epoch")}) == 1


def test_a_log_for_tensorboard_is_written_beside_the_run(executed_twice):
    run = executed_twice[1]
    assert json.loads((run / "run.json").read_text())["plan"]["log"] == "tensorboard"
    assert len(list((run / "tensorboard").glob("trial-*/*tfevents*"))) == 5


def test_the_weights_of_a_subclassed_model_come_back(executed_twice):
    # It says what its layers were built with.
    [model] = executed_twice[0].get_best_models()
    assert model.predict(VALIDATION_OF_REGRESSION[0], verbose=0).shape == (40, 1)


@pytest.mark.long
# keras-tuner's own regressor.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bayesian_optimization_proposes_while_asha_stops(tuner, tmp_path):
    oracle = kt.oracles.BayesianOptimizationOracle(
        kt.Objective("val_accuracy", "max"), max_trials=6, num_initial_points=2, seed=5
    )
    made = tuner(objective=None, algorithm=oracle, scheduler=ASHA(1, 3))
    made.search(*TRAIN, **(DATA | {"epochs": 3}))
    ends = [event["state"] for event in events(tmp_path / "run", "trial_ended")]
    assert len(ends) == 6
    assert "stopped" in ends
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["algorithm"] == (
        "keras-tuner BayesianOptimization"
    )
    assert made.get_best_hyperparameters()[0].values.keys() == {"units", "rate"}


@pytest.mark.long
def test_hyperband_continues_the_weights_of_an_earlier_round(tuner, tmp_path):
    oracle = kt.oracles.HyperbandOracle("val_accuracy", max_epochs=3, factor=3, seed=2)
    made = tuner(objective=None, algorithm=oracle)
    made.search(*TRAIN, **DATA)
    run = tmp_path / "run"
    started = {event["trial"]: event["values"] for event in events(run, "trial_started")}
    continued = {n: int(v["tuner/trial_id"]) for n, v in started.items() if "tuner/trial_id" in v}
    assert continued
    epochs = events(run, "epoch")
    for trial, former in continued.items():
        last = [e for e in epochs if e["trial"] == former][-1]["metrics"]["loss"]
        first = next(e for e in epochs if e["trial"] == trial)
        assert first["epoch"] == started[trial]["tuner/initial_epoch"] + 1
        assert first["metrics"]["loss"] < last * 1.2  # trained on, not begun again
    assert {event["decision"] for event in epochs} == {"continue"}


def test_a_hyperparameter_that_a_later_build_registers_is_refused_where_new_ones_are_not_allowed(
    tuner, tmp_path
):
    registered = kt.HyperParameters()
    registered.Int("layers", 2, 3)
    registered.Int("units_0", 2, 8)
    registered.Float("rate", 1e-3, 1e-1, sampling="log")
    registered.Int("units_1", 2, 3)
    made = tuner(
        problems.growing, max_trials=9, seed=1, hyperparameters=registered, allow_new_entries=False
    )
    with pytest.raises(NewEntriesError, match=r"a build registered units_2: expected") as caught:
        made.search(*TRAIN, **(DATA | {"epochs": 1}))
    assert isinstance(caught.value, RuntimeError)  # what keras-tuner raises
    names = {parameter.name for parameter in made.oracle.get_space().space}
    assert names == {"layers", "units_0", "units_1", "rate"}


class Mean(kt.HyperModel):
    """Ends the search, fails or returns its score, by the configuration."""

    def build(self, hp):
        self.kind = hp.Choice("kind", ["good", "fatal"], default=problems.CLASSES and "good")
        hp.Int("number", 1, 10**6)
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        if hp.get("kind") == "fatal":
            raise kt.errors.FatalValueError("the licence has expired")
        return 0.5


def test_a_fatal_error_reaches_the_script_as_what_it_was(tuner, tmp_path):
    made = tuner(Mean(), None, max_trials=40, algorithm="random", seed=1)
    with pytest.raises(kt.errors.FatalValueError, match="the licence has expired"):
        made.search(*TRAIN)
    good = [trial for trial in made.oracle.trials.values() if trial.score is not None]
    assert good  # what was found is kept
    assert all(trial.score == 0.5 for trial in good)


def study_in(folder):
    """Write a study of Optuna with a value of units inside 1 to 9, and two outside."""
    study = optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", direction="maximize")
    for units, momentum in ((2, 0.5), (16, 0.9), (99, 0.1)):
        distributions = {
            "units": optuna.distributions.IntDistribution(1, 100),
            "momentum": optuna.distributions.FloatDistribution(0, 1),
        }
        study.add_trial(
            optuna.create_trial(
                params={"units": units, "momentum": momentum},
                distributions=distributions,
                value=0.5,
            )
        )
    return folder / "study.db"


@pytest.fixture(scope="module")
def failed(running_ray, tmp_path_factory):
    """A tuner that has learnt from a study and whose trials have all failed; its folder."""
    folder = tmp_path_factory.mktemp("failed")
    made = tuner_in(
        folder, problems.failing_in_fit, max_trials=20, max_consecutive_failed_trials=2,
        warm_start=study_in(folder), seed=0,
    )  # fmt: skip
    # keras-tuner counts those that end, whatever failed them.
    with pytest.raises(FailureLimitError, match="2 consecutive trials failed"):
        made.search(*TRAIN, **DATA)
    return made, folder


def test_failures_in_a_row_end_the_search(failed):
    assert [trial.status for trial in failed[0].oracle.trials.values()] == ["FAILED", "FAILED"]


def test_an_earlier_search_is_learnt_from_where_the_space_holds_it(failed):
    known = [event["values"] for event in events(failed[1] / "run", "earlier_trial")]
    assert known == [{"units": 2}]


def test_a_search_without_a_result_leaves_its_name_to_the_next(failed, tmp_path):
    shutil.copytree(failed[1] / "run", tmp_path / "run")
    again = tuner_in(tmp_path, problems.small, max_trials=1)
    again.search(*TRAIN, **(DATA | {"epochs": 1}))
    assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"]
    assert len(events(tmp_path / "run.previous", "trial_ended")) == 2


@pytest.mark.parametrize("max_trials", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_search_whose_few_trials_all_failed_raises_and_the_next_one_begins_anew(
    tuner, tmp_path, max_trials
):
    for _ in range(2):
        made = tuner(problems.failing_in_fit, max_trials=max_trials)
        with pytest.raises(AllTrialsFailedError, match=r"failed: ValueError: .*Input 0") as caught:
            made.search(*TRAIN, **DATA)
        assert "Traceback" in "".join(caught.value.__notes__)
        with pytest.raises(
            UsageError, match=r"trial 0 has no model, .*: failed \(ValueError: .*Inp"
        ):
            made.get_best_models()
    assert (tmp_path / "run.previous").is_dir()


def test_another_algorithm_continues_a_run_and_that_is_said(several, tmp_path, capsys):
    shutil.copytree(several[1] / "run", tmp_path / "run")
    more = tuner_in(
        tmp_path, two_inputs, BOTH, max_trials=4, max_epochs=3, algorithm="random"
    )  # fmt: skip
    more.search(X, Y, validation_split=0.25)
    assert f"{tmp_path / 'run'}: searched with tpe so far, continues with random\n" in (
        capsys.readouterr().out
    )
    assert len(more.oracle.trials) == 4


START = (
    "import sys; from search.ray.runtime import local_cluster; import ray\n"
    "with local_cluster(1):\n"
    "    print(ray.get_runtime_context().gcs_address, flush=True); sys.stdin.read()\n"
)
JOIN = """
import sys
from search import RayTuner
sys.path.append(sys.argv[2])
import problems
class Hooked(RayTuner):
    def on_search_begin(self): print("begins", flush=True)
    def on_trial_end(self, trial): print("ended", trial.trial_id, trial.status, flush=True)
    def on_search_end(self): print("ends", flush=True)
train, validation, _ = problems.blobs()
tuner = Hooked(problems.small, "val_accuracy", max_trials=2, address=sys.argv[1], directory="here")
tuner.search(*train, epochs=1, validation_data=validation, verbose=0)
"""


@pytest.mark.long
def test_a_cluster_is_joined_by_its_address_and_hooks_are_called(tmp_path):
    prepare_environment()  # a token that both processes inherit
    head = subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        address = head.stdout.readline().strip()

        def join(mode):
            return subprocess.run(
                [sys.executable, "-c", JOIN, address, str(Path(problems.__file__).parent)],
                cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
                | {"RAY_AUTH_MODE": mode}
                | ON_LOOPBACK,
            )  # fmt: skip

        refused = join("disabled")
        done = join("token")
        assert head.poll() is None  # it was joined, not ended
    finally:
        head.communicate("", timeout=60)
    assert refused.returncode != 0
    assert "The cluster requires a token" in refused.stderr
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["begins", "ended 0 COMPLETED", "ended 1 COMPLETED", "ends"]
    assert len(events(tmp_path / "here" / "untitled_project", "trial_ended")) == 2


@pytest.mark.long
def test_a_trial_that_fails_after_its_stop_does_not_hold_up_the_search(running_ray, tmp_path):
    tuner = RayTuner(
        FailsOnceStopped(), kt.Objective("val_accuracy", "max"), max_trials=6, seed=1,
        scheduler=ASHA(grace_period=1, reduction_factor=2), max_retries_per_trial=1,
        directory=tmp_path, project_name="run",
    )  # fmt: skip
    tuner.search(*TRAIN, epochs=4, validation_data=VALIDATION, verbose=0)
    statuses = {trial.status for trial in tuner.oracle.trials.values()}
    assert "STOPPED" in statuses
    assert len(tuner.oracle.trials) == 6


@pytest.mark.long
def test_a_search_that_validates_every_second_epoch_ends_and_its_best_model_is_loaded(
    running_ray, tmp_path
):
    tuner = RayTuner(
        problems.small, "val_accuracy", max_trials=5, seed=1, directory=tmp_path, project_name="run"
    )
    tuner.search(*TRAIN, epochs=5, validation_data=VALIDATION, validation_freq=2, verbose=0)
    best = tuner.oracle.get_best_trials(1)[0]
    assert best.best_step in (1, 3)
    [model] = tuner.get_best_models(1)
    scores = model.evaluate(*VALIDATION, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(best.score)
