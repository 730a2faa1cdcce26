"""The next value of a noisy wave from windows of a tf.data pipeline; the width is fixed."""

import search.kt as kt
import keras
import numpy as np


WIDTH = 24


def windows(series, shuffle):
    return keras.utils.timeseries_dataset_from_array(
        series[:-WIDTH, None], series[WIDTH:], sequence_length=WIDTH, batch_size=32, shuffle=shuffle
    )


def build_model(hp):
    model = keras.Sequential([keras.Input((WIDTH, 1))])
    if hp.Choice("kind", ["recurrent", "convolution"]) == "recurrent":
        model.add(keras.layers.GRU(hp.Int("units", 4, 16)))
    else:
        model.add(keras.layers.Conv1D(hp.Int("filters", 4, 16), 5, activation="relu"))
        model.add(keras.layers.GlobalAveragePooling1D())
    model.add(keras.layers.Dense(1))
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def main():
    hours = np.arange(1500)
    noise = np.random.default_rng(0).normal(0, 0.1, len(hours))
    series = (np.sin(hours * 2 * np.pi / 24) + noise).astype("float32")
    tuner = kt.RandomSearch(build_model, "val_loss", max_trials=8, seed=0, project_name="series")
    tuner.search(
        windows(series[:1200], shuffle=True),
        validation_data=windows(series[1200:], shuffle=False),
        epochs=9,
    )
    print(f"best val_loss {tuner.oracle.get_best_trials()[0].score:.4f}")


if __name__ == "__main__":
    main()
