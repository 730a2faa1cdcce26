"""A HyperModel with a fit of its own: it tunes the batch size and scores by three folds."""

import search.kt as kt
import keras
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold


class Regression(kt.HyperModel):
    def build(self, hp):
        units = hp.Int("units", 8, 64, step=8)
        model = keras.Sequential(
            [
                keras.Input((10,)),
                keras.layers.Normalization(),
                keras.layers.Dense(units, activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "mae")
        return model

    def fit(self, hp, model, x, y, callbacks=(), **kwargs):
        batch_size = hp.Choice("batch_size", [16, 32, 64])
        losses = []
        for train, validation in KFold(3, shuffle=True, random_state=0).split(x):
            fold = self.build(hp)
            history = fold.fit(
                x[train], y[train], batch_size=batch_size,
                validation_data=(x[validation], y[validation]),
                callbacks=[*callbacks], **kwargs,
            )  # fmt: skip
            losses.append(min(history.history["val_loss"]))
        return float(np.mean(losses))  # a mean over folds: ASHA stops no trial then


def main():
    x, y = load_diabetes(return_X_y=True)
    tuner = kt.RandomSearch(Regression(), max_trials=6, seed=0, project_name="own_fit")
    tuner.search(x, y, epochs=20, verbose=0)
    best = tuner.oracle.get_best_trials()[0]
    print(f"best mean absolute error over three folds: {best.score:.1f}")


if __name__ == "__main__":
    main()
