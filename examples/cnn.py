"""A small CNN on Fashion-MNIST, found by TPE with ASHA: 8 configurations of up to 4 epochs."""

from search import RayTuner
import keras

from fmnist_model.data import load_data


def build_model(hp):
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Reshape((28, 28, 1))])
    filters = hp.Choice("filters", [8, 16, 32])
    for _ in range(hp.Int("blocks", 1, 2)):
        model.add(keras.layers.Conv2D(filters, 3, activation="relu", padding="same"))
        model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(hp.Int("units", 32, 128, step=32), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def main():
    train, validation, _test = load_data()
    x, y = train.images[:12_000], train.labels[:12_000]  # a part, to end within minutes
    tuner = RayTuner(build_model, "val_accuracy", max_trials=8, project_name="cnn")
    tuner.search(x, y, epochs=4, batch_size=64, validation_data=tuple(validation))
    best = tuner.get_best_hyperparameters()[0].values
    print(f"best: {best}, val_accuracy {tuner.oracle.get_best_trials()[0].score:.4f}")


if __name__ == "__main__":
    main()
