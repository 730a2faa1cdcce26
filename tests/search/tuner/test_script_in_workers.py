"""One search of a script that sets, registers, prints and collects: what of it comes through."""

import contextlib
import io
import os

import keras
import keras_tuner as kt
import pytest

import problems
from search import RayTuner

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

        def build(self, hp):
            print("builds", hp.Int("units", 2, 64) > 0)
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
    """Prints the loss of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
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
                resources_per_trial={"cpu": 2}, directory=tmp_path_factory.mktemp("script"),
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


def test_what_build_fit_and_callbacks_print_is_shown_with_the_trial(searched, search_output):
    lines = search_output.getvalue().splitlines()
    for trial in ("trial 0: ", "trial 1: "):
        printed = [line.removeprefix(trial) for line in lines if line.startswith(trial)]
        assert printed == ["builds True", "epoch 0 True", "epoch 1 True", "fitted"]
