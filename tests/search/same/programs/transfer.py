"""Trains a head on a base model, some of whose tensors are made outside ``build``."""

import json

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(1)
x = np.random.default_rng(3).normal(2, 3, size=(64, 8, 8, 3)).astype("float32")
y = (x.mean(axis=(1, 2, 3)) > 2).astype("int32")
dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
train, validation = dataset.take(3), dataset.skip(3)

normalize = keras.layers.Normalization()
normalize.adapt(train.map(lambda images, labels: images))
base = keras.Sequential(
    [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.GlobalAveragePooling2D(),
    ],
    name="base",
)
base.trainable = False
inputs = keras.Input((8, 8, 3))
features = base(normalize(inputs), training=False)
middle = keras.Model(inputs, features).layers[-1].output


def build_model(hp):
    outputs = features
    if hp.Boolean("hidden"):
        initializer = keras.initializers.GlorotUniform(seed=4)
        outputs = keras.layers.Dense(8, "relu", kernel_initializer=initializer)(outputs)
    outputs = keras.layers.Dense(2, "softmax", kernel_initializer="zeros")(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(hp.Choice("lr", [0.5, 0.05])), "sparse_categorical_crossentropy"
    )
    return model


class Head(kt.HyperModel):
    """Adds a head to tensors that it holds."""

    def __init__(self, inputs, features):
        super().__init__()
        self.inputs = inputs
        self.features = features

    def build(self, hp):
        rate = hp.Choice("lr", [0.5, 0.05])
        head = keras.layers.Dense(2, kernel_initializer="zeros", name="head")(self.features)
        model = keras.Model(self.inputs, head)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
        return model


def search(name, hypermodel):
    tuner = kt.RandomSearch(
        hypermodel, "val_loss", max_trials=2, seed=3, directory="my_dir", project_name=name
    )
    tuner.search(train, validation_data=validation, epochs=2, verbose=0)
    trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
    model = tuner.get_best_models()[0]
    evaluated = model.evaluate(validation, verbose=0)
    return {
        "values": [dict(trial.hyperparameters.values) for trial in trials],
        "scores": [round(trial.score, 3) for trial in trials],
        "evaluated": round(evaluated if isinstance(evaluated, float) else evaluated[0], 3),
        "parameters": sorted({m.count_params() for m in tuner.get_best_models(2)}),
    }


before = [weight.copy() for weight in base.get_weights()]
told = {
    "function": search("function", build_model),
    "held": search("held", Head(inputs, middle)),
}
told["frozen"] = all(map(np.array_equal, before, base.get_weights()))
print(json.dumps(told))
