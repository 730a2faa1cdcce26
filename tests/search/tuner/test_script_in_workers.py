"""One search of a script that sets, registers, prints and collects: what of it comes through."""

import contextlib
import io
import os
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest

import problems
from results.record.journal import read
from search import ASHA, RayTuner

TRAIN, VALIDATION, _ = problems.blobs()
EPSILON = 0.125


def make_script():
    """Return the hypermodel of a script, which no worker can import."""

    @keras.saving.register_keras_serializable("of_a_test")
    class Kept(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    base = keras.Sequential([keras.Input((4,)), Kept()])

    class Script(kt.HyperModel):
        """Scores 1 for each thing of the script that its worker knows."""

        returned_attributes = ("models",)

        def __init__(self):
            super().__init__()
            self.models = []
            self.limits = {"units": 64}

        def build(self, hp):
            print("builds", hp.Int("units", 2, 64) > 0)
            self.models.append(len(self.models))
            known = base.layers[0]
            model = keras.Sequential([keras.Input((4,)), known, keras.layers.Dense(3)])
            config = keras.saving.serialize_keras_object(model)
            model = keras.saving.deserialize_keras_object(config)
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            return model

        def fit(self, hp, model, *args, **kwargs):
            model.fit(*args, **(kwargs | {"verbose": 1}))
            print("fitted", end="")
            return {
                "val_accuracy": type(model.layers[0]).__name__ == "Kept",
                "environment": os.environ.get("OF_THE_SCRIPT") == "here",
                "epsilon": keras.config.epsilon(),
            }

    return Script()


class Telling(keras.callbacks.Callback):
    """Prints and collects something of each epoch."""

    returned_attributes = ("epochs", "weights")

    def __init__(self):
        super().__init__()
        self.epochs = []
        self.weights = None
        self.others = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({"epoch": epoch, "is_finite": np.isfinite(logs["loss"])})
        self.weights = self.model.get_weights()[0]
        self.others.append(self.model)
        print(f"epoch {epoch}", f"{'loss' in logs}")


@pytest.fixture(scope="module")
def search_output():
    return io.StringIO()


@pytest.fixture(scope="module")
def searched(running_ray, tmp_path_factory, search_output):
    """The tuner of such a script after its search."""
    custom_objects = dict(keras.saving.get_custom_objects())
    epsilon = keras.config.epsilon()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OF_THE_SCRIPT", "here")  # Ray runs already
        keras.config.set_epsilon(EPSILON)
        try:
            tuner = RayTuner(
                make_script(), "val_accuracy", max_trials=2, seed=1,
                resources_per_trial="auto", directory=tmp_path_factory.mktemp("script"),
            )  # fmt: skip
            with contextlib.redirect_stdout(search_output):
                tuner.search(*TRAIN, validation_data=VALIDATION, epochs=2, callbacks=[Telling()])
        finally:
            keras.config.set_epsilon(epsilon)
            keras.saving.get_custom_objects().clear()
            keras.saving.get_custom_objects().update(custom_objects)
    return tuner


@pytest.mark.parametrize(
    ("name", "value"), [("val_accuracy", 1), ("environment", 1), ("epsilon", EPSILON)]
)
def test_what_the_script_set_and_registered_is_known_where_its_trials_train(searched, name, value):
    trials = searched.oracle.get_best_trials(2)
    assert [trial.metrics.get_best_value(name) for trial in trials] == [value, value]


def test_the_rule_that_chooses_devices_builds_the_models_of_the_script(searched):
    events = read(Path(searched.project_dir) / "journal.jsonl").events
    placed = [event for event in events if event["event"] == "trial_placed"]
    assert [event["multiply_adds"] for event in placed] == [4 * 3, 4 * 3]


def test_what_build_fit_and_callbacks_print_is_shown_with_the_trial(searched, search_output):
    lines = search_output.getvalue().splitlines()
    for trial in ("trial 0: ", "trial 1: "):
        printed = [line.removeprefix(trial) for line in lines if line.startswith(trial)]
        assert printed == ["builds True", "epoch 0 True", "epoch 1 True", "fitted"]


def test_attributes_that_a_class_names_come_back_with_their_trial(searched):
    for trial in searched.oracle.get_best_trials(2):
        telling = trial.returned["Telling"]
        assert telling["epochs"] == [{"epoch": epoch, "is_finite": True} for epoch in range(2)]
        assert np.shape(telling["weights"]) == (4, 3)
        # It begins with what the script had after it explored the space, and adds its own build.
        assert trial.returned["Script"]["models"] == [*range(len(searched.hypermodel.models) + 1)]


def test_returned_attributes_are_read_from_the_run_folder(searched):
    again = kt_tuner_of(searched)
    returned = [trial.returned for trial in again.oracle.get_best_trials(2)]
    assert returned == [trial.returned for trial in searched.oracle.get_best_trials(2)]
    assert returned != [{}, {}]


def kt_tuner_of(tuner):
    """Return a tuner that reads the run folder of another."""
    folder = Path(tuner.project_dir)
    return RayTuner(
        problems.small, "val_accuracy", directory=folder.parent, project_name=folder.name
    )


def test_collections_that_stay_in_the_workers_are_named_once(searched, search_output):
    [line] = [
        line for line in search_output.getvalue().splitlines() if "each trial changes" in line
    ]
    assert line.startswith("Script.limits, Telling.others: each trial changes a copy")


class Stopping(kt.HyperModel):
    """Half of its trials are poor."""

    returned_attributes = ("epochs",)

    def build(self, hp):
        hp.Int("units", 1, 1000)
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, callbacks, **kwargs):
        self.epochs = []
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(4):
            self.epochs.append(epoch)
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"val_accuracy": hp.get("units") / 1000})
            if getattr(model, "stop_training", False):
                break
        return hp.get("units") / 1000


def test_a_trial_that_the_scheduler_stops_returns_its_attributes_too(running_ray, tmp_path):
    tuner = RayTuner(
        Stopping(), "val_accuracy", max_trials=6, seed=1, directory=tmp_path,
        scheduler=ASHA(reduction_factor=2), resources_per_trial={"cpu": 2},
    )  # fmt: skip
    tuner.search(verbose=0)
    trials = tuner.oracle.trials.values()
    stopped = [trial for trial in trials if trial.status == "STOPPED"]
    assert stopped
    assert {len(trial.returned["Stopping"]["epochs"]) for trial in stopped} <= {1, 2}
    assert all(trial.returned["Stopping"]["epochs"] for trial in trials)
