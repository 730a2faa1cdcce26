"""Real trainings and evaluations of models, in this process: Ray's functions are stood in for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import problems
from results.record.history import Objective
from search.errors import TrainingError
from search.final.training import Share, Trainer, Training
from search.plan.plan import Problem
from search.worker.data import load_data

PROBLEM = Problem(
    hypermodel="problems:small", data="problems:named_blobs", data_dir=None, space="s",
    objective=Objective("val_accuracy", "max"), epochs=9, patience=0, seed=10,
)  # fmt: skip
VALUES = {"units": 8, "rate": 0.05}
# Keras's warning, as the file of a model holds its optimizer too.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")


@pytest.fixture(autouse=True)
def tasks_run_here(monkeypatch):
    """Run the tasks of Ray in this process, each when its result is asked for."""
    import ray

    def remote(function=None, **_options):
        if function is None:
            return remote
        return SimpleNamespace(remote=function, options=lambda **_options: remote(function))

    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "wait", lambda pending, num_returns: (pending[:1], pending[1:]))
    monkeypatch.setattr(ray, "get", lambda item: item)


@pytest.fixture(scope="module")
def data():
    return load_data(PROBLEM, needs_test=True)


@pytest.fixture
def train(data, tmp_path):
    def train(*, epochs=2, seed=1, values=VALUES, hypermodel="problems:small", progress=None):
        trainer = Trainer(replace(PROBLEM, hypermodel=hypermodel), data, Share(1, 1))
        training = Training("a training", values, epochs, seed, tmp_path / "state.npz")
        [(_, trained)] = trainer.train([training], progress or (lambda training, epoch: None))
        return trained

    return train


def test_a_training_has_all_its_epochs_with_their_metrics(train):
    shown = []
    trained = train(epochs=3, progress=lambda training, epoch: shown.append(epoch))
    assert shown == [1, 2, 3]
    assert [sorted(epoch) for epoch in trained.history] == [
        ["accuracy", "loss", "val_accuracy", "val_loss"]
    ] * 3


def test_the_last_epoch_is_validated_though_fit_validates_every_second_one(train):
    trained = train(epochs=3, hypermodel="rarely_validated:EverySecond")
    reported = ["val_accuracy" in epoch for epoch in trained.history]
    assert reported == [False, True, True]
    assert 0.0 <= trained.score(PROBLEM.objective) <= 1.0


def test_a_training_follows_from_its_seed(train):
    first, again, other = train(seed=1), train(seed=1), train(seed=2)
    assert first.history == again.history
    assert first.history != other.history


def test_the_model_has_the_weights_of_the_last_epoch(train, data, tmp_path):
    trained = train()
    hp = SimpleNamespace(Int=lambda *_a, **_k: 8, Float=lambda *_a, **_k: 0.05)
    model = problems.small(hp)
    (tmp_path / "model.keras").write_bytes(trained.model)
    model.load_weights(tmp_path / "model.keras")
    accuracy = model.evaluate(*data.validation, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(trained.history[-1]["val_accuracy"])


def test_a_failed_training_names_its_error_and_its_line(train):
    with pytest.raises(TrainingError) as failed:
        train(hypermodel="problems:raising", values={"units": 5})
    assert str(failed.value) == "a training: ValueError: units may not be 5 here"
    assert any("problems.py" in note for note in failed.value.__notes__)


def test_a_model_is_evaluated_on_the_test_split(train, data):
    trained = train(epochs=5)
    trainer = Trainer(PROBLEM, data, Share(1, 1))
    [evaluated] = trainer.evaluate([(VALUES, trained.model)])
    _, labels = data.test
    assert evaluated.scores["test_accuracy"] > 0.8
    assert np.sum(evaluated.scores["confusion_matrix"]) == len(labels)
    assert [row["name"] for row in evaluated.scores["per_class"]] == ["red", "green", "blue"]
    wrong = round((1 - evaluated.scores["test_accuracy"]) * len(labels))
    assert len(evaluated.mistakes) == min(wrong, 24)


def test_a_model_that_declares_no_shape_is_evaluated(tmp_path):
    problem = replace(
        PROBLEM, hypermodel="problems:regression", data="problems:regression_data",
        objective=Objective("val_loss", "min"),
    )  # fmt: skip
    data = load_data(problem, needs_test=True)
    trainer = Trainer(problem, data, Share(1, 1))
    training = Training("a regression", {"rate": 0.1}, 1, 1, tmp_path / "state.npz")
    [(_, trained)] = trainer.train([training])
    [evaluated] = trainer.evaluate([({"rate": 0.1}, trained.model)])
    assert set(evaluated.scores) == {"test_loss"}
