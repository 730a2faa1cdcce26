"""What a script set and defined: one process pickles it, as a script does, another takes it over.

Both processes import TensorFlow, so each runs once, and every test reads one of their answers.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.worker import script

SCRIPT = """
import os
import pickle
import sys

import keras
import keras_tuner as kt
import tensorflow as tf

from search.carry.carried import PickledObject
from search.worker import script

os.environ["OF_THE_SCRIPT"] = "set by the script"
os.environ["UNCHANGED"] = os.environ["UNCHANGED"]
keras.config.set_epsilon(1e-3)
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("mixed_bfloat16")
tf.config.run_functions_eagerly(True)
tf.data.experimental.enable_debug_mode()
tf.config.experimental.enable_op_determinism()
tf.config.experimental.enable_tensor_float_32_execution(False)


@keras.saving.register_keras_serializable("script", "Twice")
class Double(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@keras.saving.register_keras_serializable("script")
def halve(inputs):
    return inputs / 2


@keras.saving.register_keras_serializable("script")
class Locked(keras.layers.Layer):
    output = sys.stdout.buffer


def triple(inputs):
    return 3 * inputs


def by_four(inputs):
    return 4 * inputs


class Plain(keras.layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


class Small(keras.regularizers.Regularizer):
    def __call__(self, weights):
        return 0.001 * keras.ops.sum(weights)

    def get_config(self):
        return {}


class Whole(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Plain(7.0)

    def call(self, inputs):
        return self.inner(inputs)


def distance(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


class Distance(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.abs(y_true - y_pred)


class Count(keras.metrics.Mean):
    pass


class Slower(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5

    def get_config(self):
        return {}


FACTOR = 11.0


def make_base():
    class Local(Plain):
        pass

    nested = keras.Sequential([keras.Input((2,)), Local(5.0)])
    base = keras.Sequential(
        [
            keras.Input((2,)),
            Plain(3.0),
            nested,
            keras.layers.Dense(
                1, activation=by_four, kernel_initializer="ones", kernel_regularizer=Small()
            ),
        ]
    )
    base.compile("sgd", loss=distance)
    return base


keras.saving.get_custom_objects()["thrice"] = triple
base = keras.Sequential([keras.Input((2,)), Plain(3.0)])
shift = lambda inputs: inputs + FACTOR
with_lambdas = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Lambda(lambda inputs: inputs * FACTOR),
        keras.layers.Lambda(shift),
        keras.layers.Lambda(shift),
    ]
)
whole = Whole()


class Cloning(kt.HyperModel):
    def __init__(self):
        super().__init__()
        self.base = make_base()

    def build(self, hp):
        return self.base


def halve_by_global(hp):
    return keras.layers.Dense(1, activation=halve), Double(), keras.saving.get_registered_object("thrice")


def build_on_global(hp):
    return keras.models.clone_model(base), whole


with keras.saving.custom_object_scope({"scoped": triple}):
    settings = script.read_settings()
objects = {
    name: PickledObject.of(value, name)
    for name, value in {
        "cloning": Cloning(), "on_global": build_on_global, "registered": halve_by_global,
        "lambdas": with_lambdas,
        "overrides": (Distance(), Count(), keras.optimizers.SGD(Slower())),
    }.items()
}
assert shift.__name__ == "<lambda>"
try:
    PickledObject.of(Locked(), "a locked layer")
except Exception as error:
    refusal = str(error)
with open(sys.argv[1], "wb") as file:
    pickle.dump((settings, objects, refusal), file)
"""

WORKER = """
import json
import os
import pickle
import sys

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.data.ops import debug_mode
from tensorflow.python.framework import config as framework_config

from search.worker import script

with open(sys.argv[1], "rb") as file:
    settings, objects, refusal = pickle.load(file)
script.take_over(settings)
answers = {
    "environment": settings.environment,
    "policy": keras.config.dtype_policy().name,
    "floatx": keras.config.floatx(),
    "epsilon": keras.config.epsilon(),
    "eager": tf.config.functions_run_eagerly(),
    "debug": debug_mode.DEBUG_MODE,
    "deterministic": framework_config.is_op_determinism_enabled(),
    "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    "custom objects": sorted(keras.saving.get_custom_objects()),
    "refusal": refusal,
}
keras.config.set_dtype_policy("float32")
keras.config.set_floatx("float32")
ones = np.ones((1, 2), "float32")


def output(model):
    return float(np.asarray(model(ones)).ravel()[0])


base = objects["cloning"].open().build(None)
clone, whole = objects["on_global"].open()(None)
dense, double, thrice = objects["registered"].open()(None)
config = keras.saving.serialize_keras_object(keras.Sequential([keras.Input((2,)), double, dense]))
copied = keras.saving.deserialize_keras_object(config)
answers |= {
    "attribute": output(base),
    "its loss": base.loss.__name__,
    "its regularizer": type(base.layers[-1].kernel_regularizer).__name__,
    "nested class": type(base.layers[1].layers[0]).__name__,
    "clone": output(clone),
    "subclass": output(whole),
    "lambdas": output(objects["lambdas"].open()),
    "overrides": [type(part).__name__ for part in objects["overrides"].open()],
    "rate": float(objects["overrides"].open()[2].learning_rate),
    "names": [layer["registered_name"] for layer in config["config"]["layers"][1:2]]
    + [config["config"]["layers"][2]["config"]["activation"]["config"]],
    "class found": type(copied.layers[0]) is type(double) is keras.saving.get_registered_object("script>Twice"),
    "function found": copied.layers[1].activation is dense.activation,
    "thrice": thrice(2),
}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the worker finds after it has taken over what the script left."""
    folder = tmp_path_factory.mktemp("script")
    pickled = folder / "pickled"
    for name, source in {"script": SCRIPT, "worker": WORKER}.items():
        program = folder / f"{name}.py"
        program.write_text(source)
        done = subprocess.run(
            [sys.executable, program, pickled], env=os.environ | {"UNCHANGED": "as it was"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# --- Custom objects -------------------------------------------------------------------------------


def test_registered_objects_and_those_of_the_active_scope_are_known_by_their_names(answers):
    ours = set(answers["custom objects"]) - {"keras_tuner>RandAugment"}
    assert ours == {"script>Twice", "script>halve", "thrice", "scoped"}
    assert answers["thrice"] == 6


def test_a_registered_class_or_function_keeps_its_name_and_is_the_same_object(answers):
    assert answers["names"] == ["script>Twice", "script>halve"]
    assert answers["class found"]
    assert answers["function found"]


def test_a_registered_object_that_cannot_be_pickled_is_refused_only_where_it_is_needed(answers):
    assert "script>Locked" not in answers["custom objects"]
    assert answers["refusal"].startswith("a locked layer cannot be sent to a worker process")


def test_a_model_made_outside_build_brings_what_its_config_names(answers):
    assert answers["attribute"] == pytest.approx(4 * 2 * 15)
    assert answers["its loss"] == "distance"
    assert answers["its regularizer"] == "Small"
    assert answers["nested class"] == "Local"
    assert answers["clone"] == 3
    assert answers["subclass"] == 7
    assert answers["lambdas"] == 33


def test_a_loss_a_metric_and_an_optimizer_bring_their_classes(answers):
    assert answers["overrides"] == ["Distance", "Count", "SGD"]
    assert answers["rate"] == 0.5


# --- Settings -------------------------------------------------------------------------------------


def test_settings_of_keras_and_tensorflow_are_taken_over(answers):
    assert (answers["policy"], answers["floatx"]) == ("mixed_bfloat16", "float64")
    assert answers["epsilon"] == 1e-3
    assert (answers["eager"], answers["debug"], answers["deterministic"]) == (True, True, True)
    assert answers["tensor_float_32"] is False


@pytest.fixture
def settings(keras_is_imported):
    """The settings of this process, which a test may change."""
    before = script.read_settings()
    yield before
    script.apply_settings(before)


def test_settings_that_a_process_takes_over_are_then_its_own(settings):
    changed = replace(
        settings, dtype_policy="mixed_bfloat16", floatx="float64", epsilon=0.5,
        image_data_format="channels_first", runs_functions_eagerly=True,
    )  # fmt: skip
    script.apply_settings(changed)
    assert script.read_settings() == changed


def test_a_process_without_a_script_keeps_its_settings(settings):
    script.take_over(None)
    assert script.read_settings() == settings


def test_of_the_environment_the_script_hands_on_only_what_it_set_itself(answers):
    assert answers["environment"] == {"OF_THE_SCRIPT": "set by the script"}


def test_where_the_system_does_not_tell_the_first_environment_nothing_is_handed_on(tmp_path):
    assert script.read_environment(tmp_path / "absent") == {}


def test_a_variable_is_set_by_the_script_if_it_is_new_or_has_another_value(tmp_path, monkeypatch):
    started = Path(tmp_path / "environ")
    started.write_bytes(b"\0".join(os.fsencode(f"{k}={v}") for k, v in os.environ.items()))
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("NEW", "a=b")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("RAY_ANYTHING", "1")
    assert script.read_environment(started) == {"HOME": "/elsewhere", "NEW": "a=b"}
