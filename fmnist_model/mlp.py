"""The project's Sequential builder, and its two search spaces: ``published`` and ``wide``."""

import math
from typing import Any

import keras
import keras_tuner as kt

IMAGE_SHAPE = (28, 28)
CLASSES = 10
BATCH_SIZES = (32, 64, 96, 128, 192, 256, 384, 512)
# Batches that one call of TensorFlow trains: the same arithmetic with less overhead per batch.
STEPS_PER_EXECUTION = 32


def build_mlp(
    *,
    hidden_layers: int,
    neurons: int,
    activation: str,
    optimizer: keras.optimizers.Optimizer,
    dropout: float,
    l2: float,
) -> keras.Sequential:
    """Build and compile a multilayer perceptron for 28 x 28 images.

    Args:
        hidden_layers: Number of hidden layers, 1 or more.
        neurons: Neurons in each hidden layer, 1 or more.
        activation: Activation of the hidden layers.
        optimizer: Optimizer to compile with.
        dropout: Rate of the dropout after each hidden layer, in [0, 1); 0 leaves it out.
        l2: Factor of the L2 penalty on the hidden layers' kernels; 0 leaves it out.

    Returns:
        A model from ``float32`` images of shape (batch, 28, 28) to class probabilities of
        shape (batch, 10), compiled with sparse categorical cross-entropy and accuracy.
    """
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.Flatten()])
    for _ in range(hidden_layers):
        penalty = keras.regularizers.L2(l2) if l2 else None
        model.add(keras.layers.Dense(neurons, activation=activation, kernel_regularizer=penalty))
        if dropout:
            model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(CLASSES, activation="softmax"))
    model.compile(
        optimizer=optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def published(hp: kt.HyperParameters) -> keras.Sequential:
    """Build a model of the ``published`` space.

    Hidden layers 1-10, neurons 16-512 (the same in each layer), relu or tanh, sgd, adam or
    nadam with Keras's default learning rates, dropout 0-0.5, L2 none, 1e-5 or 1e-4, and
    Keras's default batch size (32). All bounds are included.
    """
    return build_mlp(
        hidden_layers=hp.Int("hidden_layers", 1, 10, default=2),
        neurons=hp.Int("neurons", 16, 512, default=256),
        activation=hp.Choice("activation", ["relu", "tanh"]),
        optimizer=keras.optimizers.get(
            hp.Choice("optimizer", ["sgd", "adam", "nadam"], default="adam")
        ),
        dropout=hp.Float("dropout", 0.0, 0.5),
        l2=hp.Choice("l2", [0.0, 1e-5, 1e-4]),
    )


class Wide(kt.HyperModel):
    """The ``wide`` space, which adds the learning rate, its schedule and the batch size.

    Hidden layers 1-6, neurons 64-1024 (log), relu or tanh, sgd with momentum 0.9, adam or
    nadam, dropout 0-0.5, learning rate (log; 0.01-0.3 for sgd, 0.0001-0.01 for the others),
    L2 none or 1e-6-1e-3 (log), batch size 32-512, constant or cosine schedule. All bounds are
    included. The default configuration works well on Fashion-MNIST.
    """

    def declare_hyperparameters(self, hp: kt.HyperParameters) -> None:
        """Declare the hyperparameters that only ``fit`` reads, so that the space is known early."""
        hp.Choice("batch_size", list(BATCH_SIZES), default=96)
        hp.Choice("schedule", ["constant", "cosine"], default="cosine")

    def build(self, hp: kt.HyperParameters) -> keras.Sequential:
        """Build a model of the ``wide`` space."""
        optimizer = self._optimizer(hp)
        hidden_layers = hp.Int("hidden_layers", 1, 6, default=2)
        penalized = hp.Boolean("penalize_weights")
        with hp.conditional_scope("penalize_weights", [True]):
            l2 = hp.Float("l2", 1e-6, 1e-3, sampling="log", default=1e-5)
        return build_mlp(
            hidden_layers=hidden_layers,
            neurons=hp.Int("neurons", 64, 1024, sampling="log", default=192),
            activation=hp.Choice("activation", ["relu", "tanh"]),
            optimizer=optimizer,
            dropout=hp.Float("dropout", 0.0, 0.5, default=0.1),
            l2=l2 if penalized else 0.0,
        )

    def fit(self, hp: kt.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train with the configuration's batch size and learning-rate schedule.

        A cosine schedule spans all ``epochs``. Source of the cosine: Loshchilov and Hutter,
        "SGDR", arXiv 1608.03983, eq. 5 without restarts.
        """
        callbacks = list(kwargs.pop("callbacks", None) or [])
        if hp.get("schedule") == "cosine":
            peak, epochs = float(model.optimizer.learning_rate), kwargs["epochs"]
            callbacks.insert(0, keras.callbacks.LearningRateScheduler(_cosine(peak, epochs)))
        return model.fit(*args, batch_size=hp.get("batch_size"), callbacks=callbacks, **kwargs)

    def _optimizer(self, hp: kt.HyperParameters) -> keras.optimizers.Optimizer:
        name = hp.Choice("optimizer", ["sgd", "adam", "nadam"], default="adam")
        # Two names: keras-tuner 1.4.8 drops the value of a name that stands in two scopes.
        with hp.conditional_scope("optimizer", ["sgd"]):
            sgd_rate = hp.Float("sgd_learning_rate", 0.01, 0.3, sampling="log", default=0.1)
        with hp.conditional_scope("optimizer", ["adam", "nadam"]):
            rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1.5e-3)
        if name == "sgd":
            return keras.optimizers.SGD(sgd_rate, momentum=0.9)
        return keras.optimizers.get({"class_name": name, "config": {"learning_rate": rate}})


class _cosine:  # noqa: N801 - used like a function
    """The learning rate of each epoch: half a cosine from ``peak`` towards zero over ``epochs``.

    It is a class because keras-tuner makes deep copies of callbacks.
    """

    def __init__(self, peak: float, epochs: int) -> None:
        self.peak = peak
        self.epochs = epochs

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * epoch / self.epochs))
