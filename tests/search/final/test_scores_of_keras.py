"""The scores of real models of Keras."""

import keras_tuner as kt
import pytest

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
