"""Tries each point of a grid with conditions, and prints what came of it."""

import contextlib
import io
import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(9)
x = rng.normal(size=(64, 4)).astype("float32")
y = rng.integers(0, 2, size=64)


class Classifier(kt.HyperModel):
    def build(self, hp):
        model = keras.Sequential([keras.Input((4,))])
        kind = hp.Choice("kind", ["linear", "deep"])
        with hp.conditional_scope("kind", ["deep"]):
            if kind == "deep":
                units = hp.Int("units", 4, 8, step=4)
                model.add(keras.layers.Dense(units, activation="relu"))
                if hp.Boolean("dropout"):
                    model.add(keras.layers.Dropout(hp.Fixed("rate", 0.25)))
        model.add(keras.layers.Dense(1, activation="sigmoid"))
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Fixed("batch_size", 16), **kwargs)


tuner = kt.GridSearch(Classifier(), "val_loss", directory="my_dir", project_name="grid")
with contextlib.redirect_stdout(io.StringIO()) as space:
    tuner.search_space_summary()
tuner.search(x, y, epochs=1, validation_split=0.25, verbose=0)
with contextlib.redirect_stdout(io.StringIO()) as summary:
    tuner.results_summary(num_trials=3)

names = ("kind", "units", "dropout", "rate", "batch_size")
trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
best = tuner.oracle.get_best_trials(len(trials))
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in trials],
            "points": [[trial.hyperparameters.values.get(n) for n in names] for trial in trials],
            "sorted": [t.score for t in best] == sorted(trial.score for trial in trials),
            "space": space.getvalue().splitlines(),
            "summary": summary.getvalue().splitlines()[0],
            "shown": sum(line.startswith("Score: ") for line in summary.getvalue().splitlines()),
            "heads": sum(line.startswith("Trial ") for line in summary.getvalue().splitlines()),
            "remaining": tuner.remaining_trials,
        }
    )
)
