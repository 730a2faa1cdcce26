"""A model whose ``fit`` takes the fast path behaves as ever: callbacks, changes, later calls."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from on_both_paths import CLASSES, assert_equal, both, points, small

from search.worker import fast
from search.worker.checkpoint import Checkpoints
from search.worker.fast.fit import first_validation

IN_ORDER = {"epochs": 2, "batch_size": 16, "shuffle": False}


# --- The path that is taken -----------------------------------------------------------------------


def test_a_training_that_is_not_fast_takes_the_path_of_keras_and_says_why():
    quick, plain = (small(keras.optimizers.Adam(clipnorm=1.0)) for _ in range(2))
    fit = fast.install(quick, seed=5)
    histories = [model.fit(*points(75), **IN_ORDER, verbose=0).history for model in (quick, plain)]
    assert fit.path == fast.PathTaken("keras", "optimizer with clipnorm=1.0")
    assert_equal(quick, plain, *histories, rtol=0, atol=0)


def test_a_training_that_is_switched_off_takes_the_path_of_keras():
    fit = fast.install(model := small("adam"), seed=5, fast=False)
    model.fit(*points(40), verbose=0)
    assert fit.path == fast.PathTaken("keras", "switched off")


def test_a_model_with_a_fit_of_its_own_keeps_it():
    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return "own"

    model = Own([keras.Input((2,)), keras.layers.Dense(1)])
    assert fast.install(model, seed=5).path == fast.OWN_LOOP
    assert model.fit() == "own"


def test_a_model_with_a_step_of_its_own_trains_with_it():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data) | {"own": 1.0}

    model = Own([keras.Input((6,)), keras.layers.Dense(CLASSES)])
    model.compile("adam", "mse")
    fit = fast.install(model, seed=5)
    x, y = points(40)
    history = model.fit(x, np.eye(CLASSES)[y], verbose=0).history
    assert history["own"] == [1.0]
    assert fit.path.reason == "the model overrides train_step"


def test_sparse_gradients_take_the_path_of_keras():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), keras.layers.Embedding(9, 4), keras.layers.Flatten(),
         keras.layers.Dense(CLASSES, activation="softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    fit = fast.install(model, seed=5)
    model.fit(np.arange(30).reshape(10, 3) % 9, np.arange(10) % 3, verbose=0)
    assert fit.path.reason.endswith("embedding/embeddings is sparse")


def test_a_dataset_takes_the_path_of_keras():
    fit = fast.install(model := small("adam"), seed=5)
    model.fit(tf.data.Dataset.from_tensor_slices(points(40)).batch(8), shuffle=False, verbose=0)
    assert "not arrays of numbers" in fit.path.reason


def test_a_dataset_for_validation_takes_the_path_of_keras():
    fit = fast.install(model := small("adam"), seed=5)
    model.fit(*points(40), validation_data=tf.data.Dataset.from_tensors(points(40)), verbose=0)
    assert fit.path.reason == "the validation data are not arrays of numbers"


def test_an_error_of_the_user_reaches_the_user():
    fit = fast.install(model := small("adam"), seed=5)
    with pytest.raises(ValueError, match=r"incompatible with the layer|expected shape"):
        model.fit(np.zeros((10, 5), "float32"), np.zeros(10), verbose=0)
    assert fit.path.reason.startswith("it could not be compiled: ValueError: ")


# --- Callbacks ------------------------------------------------------------------------------------


class Diary(keras.callbacks.Callback):
    """Notes each call with its arguments and the state of the training."""

    def __init__(self):
        super().__init__()
        self.entries = []

    def note(self, *what):
        self.entries.append((*what, sorted(self.params.items()), self.model.stop_training))

    def on_train_begin(self, logs=None):
        self.note("train begins", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.note("epoch begins", epoch, logs)

    def on_test_begin(self, logs=None):
        self.note("test begins", logs)

    def on_test_end(self, logs=None):
        self.note("test ends", sorted(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.note("epoch ends", epoch, sorted(logs), [type(value) for value in logs.values()])
        self.model.optimizer.learning_rate = 0.01 / (epoch + 1)
        self.model.stop_training = epoch == 3

    def on_train_end(self, logs=None):
        self.note("train ends", sorted(logs))


def test_callbacks_are_called_as_keras_calls_them():
    quick, plain = small("adam"), small("adam")
    fit = fast.install(quick, seed=5)
    diaries = []
    for model in (quick, plain):
        diary = Diary()
        model.fit(
            *points(75), epochs=9, initial_epoch=1, batch_size=16, shuffle=False, verbose=0,
            validation_data=points(40, 1), validation_freq=2, callbacks=diary,
        )  # fmt: skip
        diaries.append(diary.entries)
    assert fit.path.name == "fast"
    assert diaries[0] == diaries[1]
    assert [entry[:2] for entry in diaries[0] if entry[0] == "epoch ends"] == [
        ("epoch ends", 1), ("epoch ends", 2), ("epoch ends", 3),
    ]  # fmt: skip


def test_callbacks_that_set_the_learning_rate_and_stop_keep_working():
    options = IN_ORDER | {"epochs": 12, "validation_data": points(40, 1)}

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
        model.fit(*points(75), verbose=0, callbacks=callbacks(), **options).history
        for model in (quick, plain)
    ]
    assert_equal(quick, plain, *histories)
    assert len(histories[0]["loss"]) < 12


def test_callbacks_of_keras_that_are_idle_in_batches_write_as_ever(tmp_path):
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    fit = fast.install(model := small("adam"), seed=5)
    model.fit(*points(40), epochs=2, validation_split=0.2, callbacks=callbacks, verbose=0)
    assert fit.path == fast.PathTaken("fast")
    assert list((tmp_path / "logs").rglob("events*"))
    assert (tmp_path / "best.keras").is_file()
    assert (tmp_path / "log.csv").read_text().count("\n") == 3


def test_a_callback_may_change_the_model_as_the_training_begins():
    class Changes(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
            self.model.optimizer.learning_rate = schedule
            self.model.layers[0].trainable = False

    quick, plain, first, second = both(
        lambda: small("adam"), *points(75), **IN_ORDER, callbacks=[Changes()]
    )
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

    options = IN_ORDER | {"epochs": 3, "callbacks": [Thaws()]}
    assert_equal(*both(make, *points(75), **options))


def test_a_callback_may_evaluate_other_data():
    x, y = points(75)
    model = small("adam")
    fit = fast.install(model, seed=5)
    values = []

    def evaluate(epoch, logs=None):
        values.append((model.evaluate(x[:20], y[:20], verbose=0)[1], logs["val_accuracy"]))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=evaluate)
    model.fit(x, y, epochs=2, validation_data=(x[:20], y[:20]), callbacks=[callback], verbose=0)
    assert fit.path.name == "fast"
    assert len(values) == 2
    for accuracy, val_accuracy in values:  # its evaluation is not fed from the validation's
        assert accuracy == pytest.approx(val_accuracy, abs=1e-6)


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


# --- After the training ---------------------------------------------------------------------------


def test_after_the_fit_the_model_evaluates_predicts_and_trains_as_ever():
    x, y = points(75)
    model = small("adam")
    fit = fast.install(model, seed=5)
    model.fit(x, y, epochs=2, verbose=0)
    before = model.evaluate(x, y, verbose=0)
    assert np.argmax(model.predict(x, verbose=0), 1).shape == (75,)
    model.train_on_batch(x, y)
    assert model.evaluate(x, y, verbose=0) != before
    model.fit(x, y, epochs=1, verbose=0)
    assert fit.path.name == "fast"


def test_later_fits_continue_where_the_one_before_ended():
    x, y = points(75)
    quick, plain = small("adam"), small("adam")
    fast.install(quick, seed=5)
    histories = []
    for model in (quick, plain):
        for _ in range(3):
            history = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
        histories.append(history)
        model.layers[0].trainable = False
        model.compile(model.optimizer, model.loss)
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert_equal(quick, plain, *histories)


def test_a_second_fit_keeps_no_state(tmp_path):
    model = small("nadam")
    checkpoints = Checkpoints(tmp_path / "state.npz", every_seconds=0)
    fast.install(model, seed=1, checkpoints=checkpoints)
    x, y = points(75)
    model.fit(x, y, epochs=2, verbose=0)
    assert checkpoints.newest().epochs == 2
    model.fit(x, y, epochs=2, verbose=0)
    assert checkpoints.newest() is None


@pytest.mark.parametrize(
    ("changes", "epoch"),
    [
        ({}, 1),
        ({"validation_freq": 3}, 3),
        ({"validation_freq": 3, "initial_epoch": 3}, 6),
        ({"validation_freq": 3, "initial_epoch": 4}, 6),
        ({"validation_freq": [2, 5], "initial_epoch": 2}, 5),
        ({"validation_freq": [2], "initial_epoch": 2}, 3),
        ({"validation_freq": 30}, 9),
        ({"validation_freq": 3, "validation_data": None}, 1),
        ({"validation_freq": 3, "validation_data": None, "validation_split": 0.5}, 3),
        ({"validation_freq": "often"}, 1),
    ],
)
def test_the_first_epoch_that_is_validated_is_known_before_the_training(changes, epoch):
    arguments = {
        "validation_freq": 1, "validation_data": ([0], [0]), "validation_split": 0.0, "epochs": 9,
        "initial_epoch": 0,
    }  # fmt: skip
    assert first_validation(arguments | changes) == epoch
