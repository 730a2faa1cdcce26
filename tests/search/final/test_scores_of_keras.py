"""The scores of real models of Keras."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

import problems
from search.final.scores import evaluate


def hyperparameters(**values):
    hp = kt.HyperParameters()
    hp.values = values
    return hp


def test_a_regression_is_scored_by_the_metrics_of_keras():
    inputs, targets = problems.regression_data()[2]
    model = problems.regression(hyperparameters(rate=0.1))
    evaluated = evaluate(model, (inputs, targets), class_names=None)
    loss = model.evaluate(inputs, targets, verbose=0)
    assert evaluated.scores == {"test_loss": pytest.approx(loss, rel=1e-5)}
    assert evaluated.mistakes == []


def test_a_classifier_has_the_accuracy_of_keras():
    inputs, labels = problems.blobs()[2]
    model = problems.small(hyperparameters(units=8, rate=0.01))
    evaluated = evaluate(model, (inputs, labels), class_names=None)
    _, accuracy = model.evaluate(inputs, labels, verbose=0)
    assert evaluated.scores["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert len(evaluated.mistakes) == min(24, round((1 - accuracy) * len(labels)))


# --- Datasets -------------------------------------------------------------------------------------


class Pictures(keras.utils.PyDataset):
    """Pictures that come in another order in each pass, by two threads."""

    def __init__(self, pictures, labels):
        super().__init__(workers=2)
        self.pictures, self.labels = pictures, labels
        self.order = np.random.default_rng(0).permutation(len(labels))

    def __len__(self):
        return 6

    def __getitem__(self, batch):
        rows = self.order[batch::6]
        return self.pictures[rows], keras.utils.to_categorical(self.labels[rows], 3)


def pictures():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 50)
    return generator.random((50, 8, 8)).astype("float32") + labels[:, None, None] / 4, labels


def picture_model(**options):
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(3, "softmax")]
    )
    model.compile(
        loss="categorical_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")],
        weighted_metrics=[], **options,
    )  # fmt: skip
    return model


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"steps_per_execution": 4, "jit_compile": True}, id="several-compiled-steps"),
        pytest.param({}, id="one-step", marks=pytest.mark.long),
    ],
)
def test_a_dataset_is_scored_in_one_pass_whatever_its_order(options):
    images, labels = pictures()
    one_hot = keras.utils.to_categorical(labels, 3)
    model = picture_model(**options)
    expected = evaluate(model, (images, one_hot), class_names=("a", "b", "c"))
    shuffled = tf.data.Dataset.from_tensor_slices((images, one_hot)).shuffle(50).batch(8)
    for dataset in (shuffled, Pictures(images, labels)):
        evaluated = evaluate(model, (dataset,), class_names=("a", "b", "c"))
        assert evaluated.scores == {
            name: value if isinstance(value, list) else pytest.approx(value, rel=1e-5)
            for name, value in expected.scores.items()
        }
        assert len(evaluated.mistakes) == len(expected.mistakes) > 3
        for mistake, of_arrays in zip(evaluated.mistakes, expected.mistakes, strict=True):
            assert mistake["confidence"] == pytest.approx(of_arrays["confidence"], rel=1e-5)
            for name in ("pixels", "true_class", "predicted_class"):
                assert mistake[name] == of_arrays[name]


def test_a_dataset_of_several_outputs_has_the_metrics_of_keras():
    inputs, labels = problems.blobs()[2]
    x = keras.Input((4,))
    heads = {name: keras.layers.Dense(3, "softmax", name=name)(x) for name in ("a", "b")}
    model = keras.Model(x, heads)
    model.compile(loss=dict.fromkeys(heads, "sparse_categorical_crossentropy"))
    dataset = tf.data.Dataset.from_tensor_slices((inputs, dict.fromkeys(heads, labels))).batch(16)
    evaluated = evaluate(model, (dataset,), class_names=None)
    loss, *_ = model.evaluate(dataset, verbose=0)
    assert evaluated.scores["test_loss"] == pytest.approx(loss)
    assert "confusion_matrix" not in evaluated.scores
