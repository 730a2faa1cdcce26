"""An MLP on a table of scikit-learn: 20 configurations, the best saved as a Keras file."""

import search.kt as kt
import keras
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def build_model(hp):
    model = keras.Sequential([keras.Input((30,))])
    for _ in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int("units", 8, 64, step=8), activation="relu"))
        if hp.Boolean("dropout"):
            model.add(keras.layers.Dropout(hp.Float("rate", 0.1, 0.5)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def main():
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x_train)
    tuner = kt.BayesianOptimization(
        build_model, "val_accuracy", max_trials=20, seed=0, project_name="tabular"
    )
    tuner.search(scaler.transform(x_train), y_train, epochs=27, validation_split=0.25)
    model = tuner.get_best_models()[0]
    loss, accuracy = model.evaluate(scaler.transform(x_test), y_test, verbose=0)
    model.save("tabular.keras")
    print(f"test accuracy {accuracy:.3f}, test loss {loss:.3f}; saved: tabular.keras")


if __name__ == "__main__":
    main()
