"""The shipped models: their spaces, what is built, and how the wide space trains."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from fmnist_model import mlp


def built(values, builder=mlp.published):
    hp = kt.HyperParameters()
    hp.values = dict(values)
    return (builder if callable(builder) else builder.build)(hp)


def test_the_published_space_is_the_documented_one():
    hp = kt.HyperParameters()
    mlp.published(hp)
    space = {parameter.name: parameter for parameter in hp.space}
    assert (space["hidden_layers"].min_value, space["hidden_layers"].max_value) == (1, 10)
    assert (space["neurons"].min_value, space["neurons"].max_value) == (16, 512)
    assert space["activation"].values == ["relu", "tanh"]
    assert space["optimizer"].values == ["sgd", "adam", "nadam"]
    assert (space["dropout"].min_value, space["dropout"].max_value) == (0.0, 0.5)
    assert space["l2"].values == [0.0, 1e-5, 1e-4]
    assert len(space) == 6


def test_the_best_published_network_is_built_as_published():
    model = built(
        {"hidden_layers": 6, "neurons": 239, "activation": "relu", "optimizer": "nadam",
         "dropout": 0.0262, "l2": 0.0}
    )  # fmt: skip
    assert isinstance(model, keras.Sequential)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [239] * 6 + [10]
    assert model.count_params() == 784 * 239 + 239 + 5 * (239 * 239 + 239) + 239 * 10 + 10
    assert isinstance(model.optimizer, keras.optimizers.Nadam)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.001)
    assert model.loss == "sparse_categorical_crossentropy"
    outputs = model(np.zeros((2, 28, 28), "float32"))
    np.testing.assert_allclose(np.sum(outputs, axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "kind", "rate"),
    [
        ({"optimizer": "sgd", "sgd_learning_rate": 0.2}, keras.optimizers.SGD, 0.2),
        ({"optimizer": "adam", "learning_rate": 0.003}, keras.optimizers.Adam, 0.003),
        ({"optimizer": "nadam", "learning_rate": 0.003}, keras.optimizers.Nadam, 0.003),
    ],
)
def test_each_optimizer_of_the_wide_space_takes_its_learning_rate(values, kind, rate):
    optimizer = built(values, mlp.Wide().build).optimizer
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == pytest.approx(rate)
    if kind is keras.optimizers.SGD:
        assert optimizer.momentum == 0.9


def test_a_penalty_is_put_on_the_hidden_layers_only():
    model = built({"penalize_weights": True, "l2": 1e-4}, mlp.Wide().build)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.kernel_regularizer is not None for layer in dense] == [True, True, False]
    free = built({"penalize_weights": False}, mlp.Wide().build)
    assert all(getattr(layer, "kernel_regularizer", None) is None for layer in free.layers)


def fit_wide(values, epochs=4):
    """Fit on random images; return the batches of an epoch and each epoch's learning rate."""
    hypermodel, hp = mlp.Wide(), kt.HyperParameters()
    hp.values = dict(values)
    hypermodel.declare_hyperparameters(hp)
    model = hypermodel.build(hp)
    rates = []
    images, labels = np.random.rand(256, 28, 28).astype("float32"), np.zeros(256, "uint8")
    history = hypermodel.fit(
        hp, model, images, labels, epochs=epochs, verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: rates.append(float(model.optimizer.learning_rate)))],
    )  # fmt: skip
    return history.params["steps"], rates


def test_the_batch_size_is_tuned_in_fit():
    assert fit_wide({"batch_size": 32}, epochs=1)[0] == 8
    assert fit_wide({"batch_size": 512}, epochs=1)[0] == 1


def test_the_cosine_schedule_spans_all_epochs():
    _, rates = fit_wide({"schedule": "cosine", "learning_rate": 0.01}, epochs=4)
    assert rates == pytest.approx([0.01, 0.0085355, 0.005, 0.0014645], rel=1e-4)


def test_a_constant_schedule_leaves_the_learning_rate():
    _, rates = fit_wide({"schedule": "constant", "learning_rate": 0.01}, epochs=2)
    assert rates == pytest.approx([0.01, 0.01])
