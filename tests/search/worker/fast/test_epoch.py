"""The fast epoch against Keras's own: same weights, same losses, same metrics, same order of calls.

Float32 training is chaotic (one moved ulp grows to 0.3 in 1,000 steps), so equality is asked for
over few steps, or in float64; whole trainings are compared as distributions over seeds.
"""

import contextlib

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_model.mlp import Wide, published
from search.algorithms.drawing import RandomSearcher
from search.space import mirror
from search.worker import fast
from search.worker.fast import optimizers, randomness, reasons
from search.worker.fast.arrays import as_tensor

CLASSES = 3
OPTIMIZERS = {
    "sgd": lambda **given: keras.optimizers.SGD(0.05, **given),
    "sgd-momentum": lambda **given: keras.optimizers.SGD(0.05, momentum=0.9, **given),
    "sgd-nesterov": lambda **given: keras.optimizers.SGD(
        0.05, momentum=0.9, nesterov=True, **given
    ),
    "adam": lambda **given: keras.optimizers.Adam(0.01, **given),
    "adam-weight-decay": lambda **given: keras.optimizers.Adam(0.01, weight_decay=0.01, **given),
    "adamw": lambda **given: keras.optimizers.AdamW(0.01, weight_decay=0.05, **given),
    "nadam": lambda **given: keras.optimizers.Nadam(0.01, **given),
    "nadam-other-betas": lambda **given: keras.optimizers.Nadam(0.01, 0.8, 0.99, 1e-4, **given),
    "rmsprop": lambda **given: keras.optimizers.RMSprop(0.01, **given),
    "rmsprop-momentum": lambda **given: keras.optimizers.RMSprop(0.01, momentum=0.5, **given),
    "rmsprop-centered": lambda **given: keras.optimizers.RMSprop(0.01, centered=True, **given),
}
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


@contextlib.contextmanager
def in_float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@pytest.fixture
def float64():
    with in_float64():
        yield


def points(samples, seed=0, width=6):
    """Clouds of points that lie close enough to be worth learning."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, samples)
    x = np.eye(CLASSES, width)[labels] + draw.normal(size=(samples, width)) * 0.8
    return x.astype("float32"), labels


def small(optimizer, *, layers=(), seed=1, **compiled):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(
                16, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
            *layers,
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    given = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | compiled
    model.compile(optimizer=optimizer, **given)
    return model


def both(make, *args, **kwargs):
    """Fit a model on both paths; return the fast one, Keras's and both histories."""
    quick, plain = make(), make()
    taken = fast.install(quick, seed=5)
    histories = [model.fit(*args, verbose=0, **kwargs).history for model in (quick, plain)]
    assert taken.path == fast.PathTaken("fast")
    return quick, plain, *histories


def assert_equal(quick, plain, first, second, *, rtol=2e-5, atol=2e-6):
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=rtol, atol=atol, err_msg=name)
    variables = zip(
        [*quick.variables, *quick.optimizer.variables],
        [*plain.variables, *plain.optimizer.variables],
        strict=True,
    )
    for one, other in variables:
        if one.name != "seed_generator_state":
            np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=one.path)


@each_optimizer
def test_ten_steps_equal_kerass_to_float32_rounding(optimizer):
    x, y = points(75)  # two epochs of five steps, the last of which is short
    result = both(
        lambda: small(optimizer()), x, y,
        epochs=2, batch_size=16, shuffle=False, validation_data=points(40, 1),
    )  # fmt: skip
    assert_equal(*result)


@each_optimizer
def test_hundreds_of_steps_equal_kerass_in_float64(optimizer, float64):
    x, y = points(150)
    result = both(lambda: small(optimizer()), x, y, epochs=30, batch_size=16, shuffle=False)
    assert_equal(*result, rtol=1e-7, atol=1e-9)  # 300 steps


def test_nadam_goes_over_to_one_kernel_without_a_trace(float64):
    steps = optimizers.warm_up_steps("float64", 0.9)
    assert 800 < steps < 1000
    x, y = points(1600)
    result = both(
        lambda: small(keras.optimizers.Nadam(0.002)), x, y,
        epochs=steps // 100 + 2, batch_size=16, shuffle=False,
    )  # fmt: skip
    assert_equal(*result, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("beta_1", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nadam_is_settled_where_its_factors_no_longer_change(dtype, beta_1):
    step = optimizers.warm_up_steps(dtype, beta_1)
    kind = np.dtype(dtype).type
    assert kind(1) - kind(0.5) * kind(0.96) ** kind(step) == kind(1)
    assert kind(1) - kind(beta_1) ** kind(step) == kind(1)


def test_weights_regularization_metrics_and_schedules_are_kerass():
    x, y = points(75)
    weights = np.random.default_rng(3).random(75).astype("float32")

    def make():
        schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.7)
        return small(
            keras.optimizers.Adam(schedule),
            layers=[keras.layers.BatchNormalization(), keras.layers.ActivityRegularization(0.01)],
            metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")],
            weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(name="entropy")],
        )

    given = {"epochs": 2, "batch_size": 16, "shuffle": False}
    assert_equal(*both(make, x, y, sample_weight=weights, validation_split=0.2, **given))
    assert_equal(*both(make, x, y, class_weight={0: 0.5, 2: 3.0}, **given))
    validation = (*points(40, 1), weights[:40])
    assert_equal(*both(make, x, y, validation_data=validation, validation_batch_size=64, **given))


def test_several_inputs_and_outputs_are_kerass():
    x, y = points(50)

    def make():
        keras.utils.set_random_seed(2)
        inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
        hidden = keras.layers.concatenate(list(inputs.values()))
        outputs = [
            keras.layers.Dense(CLASSES, activation="softmax", name="kind")(hidden),
            keras.layers.Dense(1, name="height")(hidden),
        ]
        model = keras.Model(inputs, outputs)
        model.compile("adam", loss=["sparse_categorical_crossentropy", "mse"])
        return model

    given = {"epochs": 2, "batch_size": 16, "shuffle": False, "validation_split": 0.3}
    assert_equal(*both(make, {"a": x, "b": x[:, ::-1].copy()}, [y, x[:, :1]], **given))


def test_a_model_without_a_declared_shape_is_built():
    def make():
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(CLASSES)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    assert_equal(*both(make, *points(40), epochs=2, batch_size=16, shuffle=False))


def test_a_batch_larger_than_the_data_is_one_short_step():
    assert_equal(*both(lambda: small("adam"), *points(20), epochs=3, batch_size=64, shuffle=False))


def test_callbacks_are_told_as_keras_tells_them():
    class Diary(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.told = []

        def note(self, *what):
            self.told.append((*what, sorted(self.params.items()), self.model.stop_training))

        def on_train_begin(self, logs=None):
            self.note("train begins", logs)

        def on_epoch_begin(self, epoch, logs=None):
            self.note("epoch begins", epoch, logs)

        def on_test_begin(self, logs=None):
            self.note("test begins", logs)

        def on_test_end(self, logs=None):
            self.note("test ends", sorted(logs))

        def on_epoch_end(self, epoch, logs=None):
            self.note("epoch ends", epoch, sorted(logs), [type(one) for one in logs.values()])
            self.model.optimizer.learning_rate = 0.01 / (epoch + 1)
            self.model.stop_training = epoch == 3

        def on_train_end(self, logs=None):
            self.note("train ends", sorted(logs))

    x, y = points(75)
    quick, plain = small("adam"), small("adam")
    taken = fast.install(quick, seed=5)
    diaries = []
    for model in (quick, plain):
        diary = Diary()
        model.fit(
            x, y, epochs=9, initial_epoch=1, batch_size=16, shuffle=False, verbose=0,
            validation_data=points(40, 1), validation_freq=2, callbacks=diary,
        )  # fmt: skip
        diaries.append(diary.told)
    assert taken.path.name == "fast"
    assert diaries[0] == diaries[1]
    assert len(diaries[0]) > 8


def test_callbacks_that_set_the_learning_rate_and_stop_keep_working():
    x, y = points(75)
    given = {"epochs": 12, "batch_size": 16, "shuffle": False, "validation_data": points(40, 1)}

    def callbacks():
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.05 * 0.8**epoch),
            keras.callbacks.EarlyStopping(
                "val_loss", patience=1, restore_best_weights=True, min_delta=0.03
            ),
        ]

    quick, plain = small("adam"), small("adam")
    fast.install(quick, seed=5)
    histories = [
        model.fit(x, y, verbose=0, callbacks=callbacks(), **given).history
        for model in (quick, plain)
    ]
    assert_equal(quick, plain, *histories)
    assert len(histories[0]["loss"]) < 12


def test_callbacks_of_keras_that_are_idle_in_batches_do_not_slow_the_fit(tmp_path):
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    fit = fast.install(model := small("adam"), seed=5)
    model.fit(*points(40), epochs=2, validation_split=0.2, callbacks=callbacks, verbose=0)
    assert fit.path == fast.PathTaken("fast")
    busy = keras.callbacks.TensorBoard(tmp_path / "more", update_freq="batch")
    model.fit(*points(40), callbacks=[busy], verbose=0)
    assert fit.path.reason == "TensorBoard.on_train_batch_begin"


def test_after_the_fit_the_model_evaluates_predicts_and_trains_as_ever():
    x, y = points(75)
    model = small("adam")
    fit = fast.install(model, seed=5)

    class Evaluates(keras.callbacks.Callback):
        values = []

        def on_epoch_end(self, epoch, logs=None):
            self.values.append((self.model.evaluate(x[:20], y[:20], verbose=0)[1], logs))

    model.fit(x, y, epochs=2, validation_data=(x[:20], y[:20]), callbacks=[Evaluates()], verbose=0)
    for accuracy, logs in Evaluates.values:  # its evaluation is not fed from the validation's
        assert accuracy == pytest.approx(logs["val_accuracy"], abs=1e-6)
    before = model.evaluate(x, y, verbose=0)
    assert np.argmax(model.predict(x, verbose=0), 1).shape == (75,)
    model.train_on_batch(x, y)
    assert model.evaluate(x, y, verbose=0) != before
    model.fit(x, y, epochs=1, verbose=0)
    assert fit.path.name == "fast"


def mistreated(**compiled):
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((6,)), keras.layers.Dense(CLASSES)])
    model.compile("adam", "mse", **compiled)
    return model


class OwnAdam(keras.optimizers.Adam):
    pass


class EveryBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("make", "given", "reason"),
    [
        (mistreated, {}, "the model overrides train_step"),
        (lambda: small("adam", run_eagerly=True), {}, "run_eagerly"),
        (lambda: small("adam", jit_compile=True), {}, "jit_compile"),
        (lambda: small("adagrad"), {}, "optimizer Adagrad"),
        (lambda: small(OwnAdam()), {}, "optimizer OwnAdam"),
        (lambda: small(keras.optimizers.Adam(clipnorm=1.0)), {}, "optimizer with clipnorm=1.0"),
        (lambda: small(keras.optimizers.SGD(clipvalue=0.5)), {}, "clipvalue=0.5"),
        (lambda: small(keras.optimizers.SGD(global_clipnorm=2.0)), {}, "global_clipnorm=2.0"),
        (lambda: small(keras.optimizers.Nadam(use_ema=True)), {}, "use_ema=True"),
        (lambda: small(keras.optimizers.Adam(amsgrad=True)), {}, "amsgrad=True"),
        (
            lambda: small(keras.optimizers.Adam(gradient_accumulation_steps=2)),
            {},
            "gradient_accumulation_steps=2",
        ),
        (lambda: small(keras.optimizers.Adam(loss_scale_factor=8.0)), {}, "loss_scale_factor=8"),
        (
            lambda: small("adam", layers=[keras.layers.Dense(4, kernel_constraint="max_norm")]),
            {},
            "kernel has a constraint",
        ),
        (lambda: small("adam"), {"callbacks": [EveryBatch()]}, "EveryBatch.on_train_batch_end"),
        (
            lambda: small("adam"),
            {"callbacks": [keras.callbacks.TerminateOnNaN()]},
            "TerminateOnNaN.on_batch_end",
        ),
        (lambda: small("adam"), {"steps_per_epoch": 2}, "steps_per_epoch"),
        (lambda: small("adam"), {"shuffle": "batch"}, "shuffle='batch'"),
    ],
)
def test_anything_else_takes_kerass_path_and_says_why(make, given, reason):
    model = make()
    fit = fast.install(model, seed=5)
    x, y = points(40)
    if isinstance(model, keras.Sequential) and model.loss == "mse":
        y = np.eye(CLASSES)[y]
    history = model.fit(x, y, epochs=1, batch_size=16, verbose=0, **given)
    assert "loss" in history.history
    assert fit.path.name == "keras"
    assert reason in fit.path.reason


def test_sparse_gradients_take_kerass_path():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), keras.layers.Embedding(9, 4), keras.layers.Flatten(),
         keras.layers.Dense(CLASSES, activation="softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    fit = fast.install(model, seed=5)
    model.fit(np.arange(30).reshape(10, 3) % 9, np.arange(10) % 3, verbose=0)
    assert fit.path.reason.endswith("embedding/embeddings is sparse")


def test_random_numbers_that_no_seed_reaches_take_kerass_path():
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, inputs):
            return inputs + tf.random.normal(tf.shape(inputs))

    fit = fast.install(model := small("adam", layers=[Noise()]), seed=5)
    model.fit(*points(40), verbose=0)
    assert fit.path.reason == "a layer uses RandomStandardNormal, which ignores the seed"


def test_datasets_generators_and_frames_take_kerass_path():
    import tensorflow as tf

    x, y = points(40)
    fit = fast.install(model := small("adam"), seed=5)
    model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(8), shuffle=False, verbose=0)
    assert "not arrays of numbers" in fit.path.reason
    model.fit(x, y, validation_data=tf.data.Dataset.from_tensors((x, y)), verbose=0)
    assert "the validation data are a" in fit.path.reason


def test_switched_off_it_is_keras():
    fit = fast.install(model := small("adam"), seed=5, fast=False)
    model.fit(*points(40), verbose=0)
    assert fit.path == fast.PathTaken("keras", "switched off")


def test_an_error_of_the_users_reaches_the_user():
    fast.install(model := small("adam"), seed=5)
    with pytest.raises(ValueError, match=r"incompatible with the layer|expected shape"):
        model.fit(np.zeros((10, 5), "float32"), np.zeros(10), verbose=0)


def test_a_model_with_a_fit_of_its_own_keeps_it():
    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return "own"

    model = Own([keras.Input((2,)), keras.layers.Dense(1)])
    assert fast.install(model, seed=5).path == fast.OWN_LOOP
    assert model.fit() == "own"


def test_chance_follows_from_the_seed_the_call_and_the_epoch():
    def drawn(*numbers):
        return randomness.EpochRandomness.of(*numbers, samples=1000, shuffles=True, layers=2)

    first, again = drawn(1, 0, 3), drawn(1, 0, 3)
    assert (first.order == again.order).all()
    assert first.key == again.key
    assert sorted(first.order) == list(range(1000))
    for other in (drawn(2, 0, 3), drawn(1, 1, 3), drawn(1, 0, 4)):
        assert (first.order != other.order).any()
        assert first.key != other.key
        assert (first.layer_seeds != other.layer_seeds).all()


def test_masks_have_the_rate_the_scale_and_no_pattern():
    import tensorflow as tf

    masks, rate, size = randomness.Masks(), 0.2, 200_000
    drawn = []
    for step in range(2):
        masks.begin(tf.constant(7, tf.uint64), tf.constant(step))
        drawn += [masks.drop(tf.ones((1000, 200)), rate).numpy() for _ in range(2)]
    for mask in drawn:
        assert set(np.unique(mask)) == {0.0, np.float32(1 / (1 - 13107 / 65536))}
        # Five standard deviations: a false failure in 1.7 million.
        assert abs((mask == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / size)
    for one in range(4):
        for other in range(one):
            together = ((drawn[one] == 0) & (drawn[other] == 0)).mean()
            assert abs(together - rate**2) < 5 * np.sqrt(rate**2 * (1 - rate**2) / size)


@pytest.mark.parametrize("kind", ["Dropout", "GaussianDropout"])
def test_two_calls_of_a_random_layer_in_a_step_differ(kind):
    def share_of_equal(y_true, y_pred):
        first, second = keras.ops.split(y_pred, 2, axis=-1)
        return keras.ops.mean(keras.ops.cast(first == second, "float32"), axis=-1)

    drop = getattr(keras.layers, kind)(0.5)
    inputs = keras.Input((200,))
    hidden = keras.layers.Dense(200)(inputs)
    model = keras.Model(inputs, keras.layers.concatenate([drop(hidden), drop(hidden)]))
    model.compile("sgd", "mse", metrics=[share_of_equal])
    fit = fast.install(model, seed=5)
    x = np.random.default_rng(0).normal(size=(64, 200)).astype("float32")
    history = model.fit(x, np.zeros((64, 400), "float32"), epochs=2, verbose=0).history
    assert fit.path.name == "fast"
    # Equal where both are dropped or, by Dropout, both are kept: half of the places or none.
    expected = 0.5 if kind == "Dropout" else 0.0
    assert history["share_of_equal"] == pytest.approx([expected] * 2, abs=0.03)


def test_arrays_in_aligned_memory_are_shared_and_others_copied():
    memory = np.zeros(4096 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + 4096].view("float32")
    aligned.flags.writeable = False
    shared, copied = as_tensor(aligned), as_tensor(aligned[1:])
    memory[:] = 1
    assert shared.numpy()[0] != 0
    assert copied.numpy()[0] == 0
    assert as_tensor(np.zeros(3, "float64")).dtype == "float32"
    assert as_tensor(np.zeros(3, "uint8")).dtype == "uint8"


def test_the_reasons_name_what_keras_has():
    # A name that Keras no longer has would let everything pass.
    assert all(hasattr(keras.Model, name) for name in reasons.METHODS)
    assert all(hasattr(keras.callbacks.Callback, name) for name in reasons.BATCH_HOOKS)
    settings_of = keras.optimizers.Adam().get_config()
    assert set(reasons.SETTINGS) <= set(settings_of)


@pytest.fixture(scope="module")
def shipped_spaces():
    known = {"published": published, "wide": Wide()}
    hypermodels = [mirror.load_hypermodel(build, name) for name, build in known.items()]
    return [(hypermodel, mirror.discover_space(hypermodel)) for hypermodel in hypermodels]


@settings(max_examples=10, deadline=None)
@given(which=st.integers(0, 1), number=st.integers(0, 10_000))
def test_models_drawn_from_both_shipped_spaces_train_as_keras_trains_them(
    shipped_spaces, which, number
):
    hypermodel, space = shipped_spaces[which]
    # Without dropout, whose chance is drawn otherwise; in float64, as Adam makes a step of the
    # rounding error of a gradient that is nearly 0.
    values = RandomSearcher(space, seed=number).propose(number) | {"dropout": 0.0}
    draw = np.random.default_rng(number)
    x, y = draw.random((60, 28, 28)), draw.integers(0, 10, 60)

    def make():
        keras.utils.set_random_seed(3)
        return hypermodel.build(mirror.prepare_hyperparameters(hypermodel, values))

    given = {"epochs": 1, "batch_size": 16, "shuffle": False, "validation_data": (x[:30], y[:30])}
    with in_float64():
        result = both(make, x, y, **given)
    assert_equal(*result, rtol=1e-6, atol=1e-8)


def curves(*, rate, fast_epoch, seeds=10):
    """Return the losses of some trainings, of shape (seeds, epochs), on both splits."""
    x, y = points(600)
    held_out = points(400, 1)
    found = []
    for seed in range(seeds):
        layers = [keras.layers.Dropout(rate)] if rate else []
        model = small(keras.optimizers.Nadam(0.01), layers=layers, seed=100 + seed)
        fast.install(model, seed=seed, fast=fast_epoch)
        model.fit(x, y, epochs=5, batch_size=32, validation_data=held_out, verbose=0)
        history = model.history.history
        found.append(history["loss"] + history["val_loss"])
    return np.array(found)


def agree(one, other):
    """Tell whether the means lie within five standard errors of their difference, everywhere."""
    error = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / len(one))
    return bool((abs(one.mean(0) - other.mean(0)) < 5 * error).all())


@pytest.mark.long  # with dropout they are compared in the short tier
def test_learning_curves_of_ten_seeds_agree():
    assert agree(curves(rate=0.0, fast_epoch=True), curves(rate=0.0, fast_epoch=False))


def test_learning_curves_with_dropout_agree_and_another_rate_is_told_apart():
    kerass = curves(rate=0.3, fast_epoch=False)
    assert agree(curves(rate=0.3, fast_epoch=True), kerass)
    assert not agree(curves(rate=0.5, fast_epoch=True), kerass)


def test_what_callbacks_change_as_the_training_begins_is_traced():
    class Changes(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
            self.model.optimizer.learning_rate = schedule
            self.model.layers[0].trainable = False

    given = {"epochs": 2, "batch_size": 16, "shuffle": False, "callbacks": [Changes()]}
    quick, plain, first, second = both(lambda: small("adam"), *points(75), **given)
    assert first["loss"] == pytest.approx(second["loss"], rel=2e-5)
    for one, other in zip(quick.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_a_callback_may_have_the_step_made_anew():
    class Thaws(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = True
                self.model.make_train_function(force=True)

    def make():
        model = small("sgd")
        model.optimizer.build(model.trainable_variables)
        model.layers[0].trainable = False
        return model

    given = {"epochs": 3, "batch_size": 16, "shuffle": False, "callbacks": [Thaws()]}
    assert_equal(*both(make, *points(75), **given))


def test_a_second_fit_of_the_same_data_goes_on_where_the_first_ended():
    x, y = points(75)
    quick, plain = small("adam"), small("adam")
    fast.install(quick, seed=5)
    for model in (quick, plain):
        for _ in range(3):
            history = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
        model.layers[0].trainable = False
        model.compile(model.optimizer, model.loss)
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert_equal(quick, plain, history, history)


def test_a_model_that_is_built_by_fit_is_checked_once_it_is():
    model = keras.Sequential([keras.layers.Dense(CLASSES, kernel_constraint="max_norm")])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit = fast.install(model, seed=5)
    model.fit(*points(40), verbose=0)
    assert "has a constraint" in fit.path.reason
    assert model.input_shape == (None, 6)


def test_dropout_in_a_loop_within_the_step_draws_anew_in_each_turn():
    import tensorflow as tf

    class Sums(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = keras.layers.Dense(50, kernel_initializer="identity")
            self.drop = keras.layers.Dropout(0.5)

        def call(self, x, training=False):
            x = self.scale(x)

            def turn(number, total):
                return number + 1, total + self.drop(x, training=training)

            loop = (tf.constant(0), tf.zeros_like(x))
            return tf.while_loop(lambda number, _: number < 8, turn, loop)[1]

    fit = fast.install(model := Sums(), seed=5)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((256, 50), "float32")
    loss = model.fit(x, 8 * x, verbose=0).history["loss"][0]
    assert fit.path.name == "fast"
    # A sum of eight independent masks of 0 or 2 has the variance 8; of one mask, eight times, 64.
    assert loss == pytest.approx(8.0, rel=0.1)


def test_variables_that_no_checkpoint_would_hold_take_kerass_path():
    import tensorflow as tf

    class Counts(keras.layers.Layer):
        counter = tf.Variable(0.0, trainable=False)

        def call(self, inputs):
            self.counter.assign_add(1.0)
            return inputs

    fit = fast.install(model := small("adam", layers=[Counts()]), seed=5)
    model.fit(*points(40), verbose=0)
    assert "a variable that is not the model's" in fit.path.reason


def test_a_callback_may_evaluate_a_model_that_has_no_targets():
    def make():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        model = keras.Model(inputs, keras.layers.Dense(2, activity_regularizer="l2")(inputs))
        model.compile("sgd")
        return model

    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(x, verbose=0)

    x, _ = points(40)
    assert_equal(*both(make, x, epochs=2, shuffle=False, callbacks=[Evaluates()]))
