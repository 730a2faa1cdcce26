"""Layers of its own, tuned preprocessing, two inputs and two outputs, and two objectives."""

import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(12)
numbers = rng.normal(4.0, 2.0, size=(96, 5)).astype("float32")
flags = rng.integers(0, 2, size=(96, 3)).astype("float32")
targets = {"amount": numbers.sum(axis=1), "label": flags[:, 0]}
inputs = {"numbers": numbers, "flags": flags}


@keras.saving.register_keras_serializable(package="my_package")
class Scale(keras.layers.Layer):
    """Multiplies each feature by a learnt number."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        super().build(shape)

    def call(self, inputs):
        return inputs * self.scale * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="my_package")
def scaled_relu(x):
    return keras.ops.relu(x) / 2


class TwoTasks(kt.HyperModel):
    def build(self, hp):
        numbers_in = keras.Input((5,), name="numbers")
        flags_in = keras.Input((3,), name="flags")
        hidden = numbers_in
        if hp.Boolean("normalize", default=True):
            normalization = keras.layers.Normalization()
            normalization.adapt(numbers)
            hidden = normalization(hidden)
        hidden = Scale(hp.Choice("factor", [0.5, 1.0, 2.0]))(hidden)
        hidden = keras.layers.Concatenate()([hidden, flags_in])
        hidden = keras.layers.Dense(hp.Int("units", 4, 12, step=4), activation=scaled_relu)(hidden)
        amount = keras.layers.Dense(1, name="amount")(hidden)
        label = keras.layers.Dense(1, activation="sigmoid", name="label")(hidden)
        model = keras.Model([numbers_in, flags_in], {"amount": amount, "label": label})
        model.compile(
            keras.optimizers.Adam(0.01),
            {"amount": "mse", "label": "binary_crossentropy"},
            metrics={"amount": ["mae"], "label": ["accuracy"]},
        )
        return model


tuner = kt.RandomSearch(
    TwoTasks(name="two_tasks"),
    objective=[kt.Objective("val_amount_mae", "min"), kt.Objective("val_label_accuracy", "max")],
    max_trials=2,
    seed=6,
    directory="my_dir",
    project_name="two_tasks",
)
tuner.search(inputs, targets, validation_split=0.25, epochs=2, batch_size=24, verbose=0)

best = tuner.oracle.get_best_trials(1)[0]
model = tuner.get_best_models()[0]
predictions = model.predict(inputs, verbose=0)
model.save("best.keras")
again = keras.models.load_model("best.keras").predict(inputs, verbose=0)
values = [best.metrics.get_best_value(f"val_{name}") for name in ("amount_mae", "label_accuracy")]
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in tuner.oracle.trials.values()],
            "metrics": sorted(best.metrics.metrics),
            "score": bool(np.isclose(best.score, values[0] - values[1])),
            "objective": tuner.oracle.objective.name,
            "tuned": sorted(best.hyperparameters.values),
            "types": [type(best.hyperparameters.get(n)).__name__ for n in ("factor", "normalize")],
            "shapes": {name: value.shape for name, value in predictions.items()},
            "saved": all(bool(np.allclose(again[name], predictions[name])) for name in predictions),
        }
    )
)
