"""A first search: what to build, how to train and how to prepare the data are all tuned."""

import json

import keras
import keras_tuner
import numpy as np
from keras_tuner import RandomSearch

CLASSES = 3


def make_data(seed=0, size=360):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, size)
    images = generator.normal(size=(size, 4, 4)) + labels[:, None, None]
    return images.astype("float32"), labels


class Classifier(keras_tuner.HyperModel):
    def build(self, hp):
        inputs = keras.Input((4, 4))
        outputs = keras.layers.Flatten()(inputs)
        for number in range(hp.Int("layers", 1, 2)):
            outputs = keras.layers.Dense(
                hp.Int(f"units_{number}", 8, 32, step=8),
                activation=hp.Choice("activation", ["relu", "tanh"]),
            )(outputs)
        if hp.Boolean("dropout"):
            outputs = keras.layers.Dropout(0.25)(outputs)
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(outputs))
        rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
        model.compile(
            keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        if hp.Boolean("centre"):
            x = x - x.mean()
        return model.fit(
            x,
            y,
            validation_data=validation_data,
            shuffle=hp.Boolean("shuffle"),
            batch_size=hp.Choice("batch_size", [16, 32]),
            **kwargs,
        )


hypermodel = Classifier()
assert isinstance(hypermodel.build(keras_tuner.HyperParameters()), keras.Model)

images, labels = make_data()
tuner = RandomSearch(
    hypermodel,
    objective="val_accuracy",
    max_trials=4,
    seed=7,
    overwrite=True,
    directory="my_dir",
    project_name="getting_started",
)
tuner.search_space_summary()
tuner.search(
    images[:300],
    labels[:300],
    epochs=3,
    validation_data=(images[300:], labels[300:]),
    callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=2)],
)
tuner.results_summary(num_trials=2)

[model] = tuner.get_best_models()
first, second = tuner.get_best_hyperparameters(2)
retrained = hypermodel.build(first)
history = hypermodel.fit(first, retrained, images, labels, epochs=1, verbose=0)
best, *others = tuner.oracle.get_best_trials(4)
assert best.score >= others[0].score
assert model.evaluate(images[300:], labels[300:], verbose=0)[1] == np.float32(best.score)
print(
    json.dumps(
        {
            "trials": len(tuner.oracle.trials),
            "named": sorted(set(first.values) - {"units_1"}),
            "predicted": list(model.predict(images[:2], verbose=0).shape),
            "retrained": sorted(history.history),
            "different": first.values != second.values,
            "scored": bool(0.0 <= best.score <= 1.0),
        }
    )
)
