"""Why a training takes Keras's path: each reason, found without training."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from on_both_paths import points, small

from search.worker import fast
from search.worker.fast import reasons as reasons_module
from search.worker.fast.reasons import reasons

X, Y = points(40)


def reasons_of(model, y=Y, **options):
    """Return the reasons for a call of ``fit``."""
    call = inspect.signature(keras.Model.fit).bind(model, X, y, **options)
    call.apply_defaults()
    return list(reasons(model, dict(call.arguments)))


def made(model_class=keras.Sequential, **compiled):
    model = model_class([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile(**({"optimizer": "adam", "loss": "mse"} | compiled))
    return model


class OwnAdam(keras.optimizers.Adam):
    pass


class EveryBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def test_a_plain_model_has_no_reason():
    assert reasons_of(small("adam")) == []


def test_a_model_that_is_not_compiled_has_one():
    assert reasons_of(keras.Sequential([keras.Input((6,))])) == ["the model is not compiled"]


@pytest.mark.parametrize("method", reasons_module.METHODS)
def test_a_model_that_overrides_a_method_of_training_says_which(method):
    def own(self, *args, **kwargs):
        raise AssertionError("it is not called to find the reason")

    namespace = {method: property(lambda self: []) if method == "metrics" else own}
    model = made()
    model.__class__ = type("Own", (keras.Sequential,), namespace)
    assert f"the model overrides {method}" in reasons_of(model)


def test_a_method_that_was_set_on_the_model_is_overridden():
    model = made()
    model.train_step = model.train_step
    assert reasons_of(model) == ["the model overrides train_step"]


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        ("adagrad", "optimizer Adagrad"),
        (OwnAdam(), "optimizer OwnAdam"),
        (keras.optimizers.Adam(clipnorm=1.0), "optimizer with clipnorm=1.0"),
        (keras.optimizers.SGD(clipvalue=0.5), "optimizer with clipvalue=0.5"),
        (keras.optimizers.SGD(global_clipnorm=2.0), "optimizer with global_clipnorm=2.0"),
        (keras.optimizers.Nadam(use_ema=True), "optimizer with use_ema=True"),
        (keras.optimizers.Adam(amsgrad=True), "optimizer with amsgrad=True"),
        (
            keras.optimizers.Adam(gradient_accumulation_steps=2),
            "optimizer with gradient_accumulation_steps=2",
        ),
        (keras.optimizers.Adam(loss_scale_factor=8.0), "optimizer with loss_scale_factor=8.0"),
    ],
)
def test_an_optimizer_that_has_no_kernel_says_so(optimizer, reason):
    assert reasons_of(small(optimizer)) == [reason]


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        ({"run_eagerly": True}, "run_eagerly"),
        ({"jit_compile": True}, "jit_compile (Keras's default on a GPU)"),
    ],
)
def test_a_model_that_is_compiled_otherwise_says_how(compiled, reason):
    assert reasons_of(small("adam", **compiled)) == [reason]


def test_functions_that_run_eagerly_everywhere_are_a_reason():
    tf.config.run_functions_eagerly(True)
    try:
        assert reasons_of(small("adam")) == ["run_eagerly"]
    finally:
        tf.config.run_functions_eagerly(False)


def test_a_distribution_strategy_is_a_reason():
    model = small("adam")
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        assert reasons_of(model) == ["a distribution strategy"]


def test_a_constraint_is_a_reason():
    layer = keras.layers.Dense(4, kernel_constraint="max_norm", name="held")
    assert reasons_of(small("adam", layers=[layer])) == [
        f"{layer.kernel.path} has a constraint"
    ]  # fmt: skip


def test_a_variable_of_a_half_type_is_a_reason():
    layer = keras.layers.Dense(4, dtype="bfloat16", use_bias=False)
    assert reasons_of(small("adam", layers=[layer])) == [f"{layer.kernel.path} is bfloat16"]


def test_a_model_with_nothing_to_train_is_a_reason():
    model = small("adam")
    model.trainable = False
    assert reasons_of(model) == ["nothing is trainable"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps_per_epoch": 2}, "steps_per_epoch"),
        ({"validation_steps": 2}, "validation_steps"),
        ({"shuffle": "batch"}, "shuffle='batch'"),
        (
            {"class_weight": {0: 1.0}, "sample_weight": np.ones(40)},
            "class_weight and sample_weight at once",
        ),
        ({"y": [Y, Y], "class_weight": {0: 1.0}}, "class_weight for several outputs"),
        ({"y": [Y, Y], "sample_weight": np.ones(40)}, "sample_weight for several outputs"),
    ],
)
def test_an_argument_of_fit_can_be_a_reason(options, reason):
    assert reasons_of(small("adam"), **options) == [reason]


@pytest.mark.parametrize(
    "options", [{"class_weight": {0: 1.0}}, {"sample_weight": np.ones(40)}, {"shuffle": False}]
)
def test_other_arguments_of_fit_are_none(options):
    assert reasons_of(small("adam"), **options) == []


@pytest.mark.parametrize("limit", ["max_epochs", "max_steps_per_epoch"])
def test_a_global_limit_of_keras_is_a_reason(limit):
    getattr(keras.config, f"set_{limit}")(3)
    try:
        reason = "a global limit of Keras for epochs or steps"
        assert reasons_of(small("adam")) == [reason]
    finally:
        getattr(keras.config, f"set_{limit}")(None)


def board(**options):
    return keras.callbacks.TensorBoard("logs", **options)


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (lambda: EveryBatch(), "EveryBatch.on_train_batch_end"),
        (lambda: keras.callbacks.TerminateOnNaN(), "TerminateOnNaN.on_batch_end"),
        (lambda: board(update_freq="batch"), "TensorBoard.on_train_batch_begin"),
        (lambda: board(write_steps_per_second=True), "TensorBoard.on_train_batch_begin"),
        (lambda: board(profile_batch=2), "TensorBoard.on_train_batch_begin"),
        (
            lambda: keras.callbacks.ModelCheckpoint("a.keras", save_freq=10),
            "ModelCheckpoint.on_train_batch_end",
        ),
    ],
)
def test_a_callback_that_works_in_batches_is_a_reason(callback, reason):
    callback = callback()
    assert reasons_of(small("adam"), callbacks=[callback]) == [reason]
    assert reasons_of(small("adam"), callbacks=callback) == [reason]


@pytest.mark.parametrize(
    "callback",
    [
        lambda: keras.callbacks.EarlyStopping(),
        lambda: keras.callbacks.ModelCheckpoint("a.keras"),
        lambda: board(),
        lambda: keras.callbacks.CSVLogger("log.csv"),
        lambda: keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: None),
    ],
    ids=["EarlyStopping", "ModelCheckpoint", "TensorBoard", "CSVLogger", "LambdaCallback"],
)
def test_a_callback_that_is_idle_in_batches_is_no_reason(callback):
    assert reasons_of(small("adam"), callbacks=[callback()]) == []


def test_a_list_of_callbacks_that_keras_has_made_is_a_reason():
    callbacks = keras.callbacks.CallbackList([])
    assert reasons_of(small("adam"), callbacks=callbacks) == ["callbacks as a CallbackList"]


# --- Reasons that only the traced epoch shows -----------------------------------------------------


def reason_of_training(*layers):
    fit = fast.install(model := small("adam", layers=layers), seed=5)
    model.fit(X, Y, verbose=0)
    return fit.path.reason


def test_random_numbers_that_no_seed_reaches_are_a_reason():
    class Noise(keras.layers.Layer):
        def call(self, inputs):
            return inputs + tf.random.normal(tf.shape(inputs))

    assert (
        reason_of_training(Noise()) == "a layer uses RandomStandardNormal, which ignores the seed"
    )


def test_a_call_back_into_python_is_a_reason():
    class Calls(keras.layers.Layer):
        def call(self, inputs):
            outputs = tf.py_function(lambda x: x, [inputs], inputs.dtype)
            return tf.ensure_shape(outputs, inputs.shape)

    assert reason_of_training(Calls()) == "a layer uses EagerPyFunc, which ignores the seed"


def test_a_variable_that_no_checkpoint_would_hold_is_a_reason():
    class Counts(keras.layers.Layer):
        counter = tf.Variable(0.0, trainable=False)

        def call(self, inputs):
            self.counter.assign_add(1.0)
            return inputs

    assert "a variable that is not the model's" in reason_of_training(Counts())


def test_a_model_that_fit_builds_is_checked_once_it_is_built():
    model = keras.Sequential([keras.layers.Dense(3, kernel_constraint="max_norm")])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert reasons_of(model) == []
    fit = fast.install(model, seed=5)
    model.fit(X, Y, verbose=0)
    assert "has a constraint" in fit.path.reason
    assert model.input_shape == (None, 6)


# --- The names that are looked for ----------------------------------------------------------------


def test_keras_has_every_name_that_is_looked_for():
    # A name that Keras no longer has would let everything pass.
    assert all(hasattr(keras.Model, name) for name in reasons_module.METHODS)
    assert all(hasattr(keras.callbacks.Callback, name) for name in reasons_module.BATCH_HOOKS)
    assert set(reasons_module.SETTINGS) <= set(keras.optimizers.Adam().get_config())


def test_tensorflow_has_every_operation_that_is_looked_for():
    missing = {
        name for name in reasons_module.UNSUPPORTED_OPERATIONS if not hasattr(tf.raw_ops, name)
    }
    assert not missing
