"""Cross-validates each configuration, and saves the models by itself."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np
from sklearn.model_selection import KFold

rng = np.random.default_rng(3)
x = rng.normal(size=(90, 4)).astype("float32")
y = x @ np.array([1.0, -2.0, 0.5, 0.0], "float32")


def build_model(hp):
    model = keras.Sequential([keras.Input((4,))])
    if hp.Boolean("hidden"):
        model.add(keras.layers.Dense(hp.Int("units", 2, 8), activation="tanh"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")), "mse")
    return model


class CVTuner(kt.engine.tuner.Tuner):
    def __init__(self, *args, splits=3, **kwargs):
        super().__init__(*args, **kwargs)
        self.splits = splits

    def run_trial(self, trial, x, y, batch_size=32, epochs=1):
        losses = []
        for fold, (train, test) in enumerate(KFold(self.splits).split(x)):
            model = self.hypermodel.build(trial.hyperparameters)
            model.fit(x[train], y[train], batch_size=batch_size, epochs=epochs, verbose=0)
            losses.append(model.evaluate(x[test], y[test], verbose=0))
            self.save_model(trial.trial_id, model, fold)
        return {"val_loss": np.mean(losses), "spread": float(np.std(losses))}

    def save_model(self, trial_id, model, step=0):
        model.save(os.path.join(self.get_trial_dir(trial_id), f"fold_{step}.keras"))

    def load_model(self, trial):
        folder = self.get_trial_dir(trial.trial_id)
        return keras.models.load_model(os.path.join(folder, f"fold_{self.splits - 1}.keras"))


oracle = kt.oracles.BayesianOptimizationOracle("val_loss", max_trials=2, seed=1)
tuner = CVTuner(oracle, build_model, splits=3, directory="my_dir", project_name="folds")
tuner.search(x, y, batch_size=16, epochs=2)

best = tuner.oracle.get_best_trials(1)[0]
folder = tuner.get_trial_dir(best.trial_id)
models = tuner.get_best_models(2)
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in tuner.oracle.trials.values()],
            "metrics": sorted(best.metrics.metrics),
            "score": bool(best.score == best.metrics.get_best_value("val_loss")),
            "step": best.best_step,
            "files": sorted(name for name in os.listdir(folder) if name.startswith("fold_")),
            "predictions": [model.predict(x, verbose=0).shape for model in models],
            "hidden": {len(model.layers) for model in models} <= {1, 2},
        }
    )
)
