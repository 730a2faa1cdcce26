"""What the tests of the work after a search share: a history, and a trainer that trains nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from results.record.columns import Decision, State
from results.record.history import EpochRecord, History, Objective, TrialRecord
from search.final.scores import Evaluated
from search.final.training import Share, Trained, Trainer
from search.plan.plan import Problem

ACCURACY = Objective("val_accuracy", "max")


def record(number, value, *, values=None, state=State.COMPLETED, epochs=1, objective=ACCURACY,
           device=None):  # fmt: skip
    """Return a trial that reported the same value in each of its epochs; None: no number."""
    reported = [
        EpochRecord(
            number, 1, epoch, float(epoch), 2.0, value, {objective.name: value, "loss": 0.5},
            Decision.CONTINUE, "host:1",
        )
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    values = {"units": number} if values is None else values
    return TrialRecord(
        number, values, 0.0, state=state, epochs=reported,
        best=reported[0] if reported and value is not None else None, proposed=values,
        device=device,
    )  # fmt: skip


def history_of(*trials, objective=ACCURACY):
    """Return the history of a search with these trials."""
    made = History(objective)
    made.trials = {trial.trial: trial for trial in trials}
    ranked = made.ranked()
    made.best = ranked[0].best if ranked else None
    return made


@dataclass(frozen=True)
class StandInTrainer(Trainer):
    """In the place of Ray and Keras: returns what a function says, and notes what it was to do.

    Attributes:
        train_one: Returns the result of a training, or raises its error.
        test: The scores of every model on the test split.
        trained: The trainings so far, in order.
        evaluated: The configurations and models that were evaluated so far.
    """

    train_one: Callable = field(default=lambda training: trained_to(0.5))
    test: dict = field(default_factory=lambda: {"test_accuracy": 0.75})
    trained: list = field(default_factory=list)
    evaluated: list = field(default_factory=list)

    def train(self, trainings, progress=lambda training, epoch: None):
        # As on Ray, the one that began last may be done first.
        for training in reversed(trainings):
            self.trained.append(training)
            result = self.train_one(training)
            for epoch in range(1, len(result.history) + 1):
                progress(training, epoch)
            yield training, result

    def evaluate(self, models):
        for values, model in models:
            self.evaluated.append((values, model, self.share))
            yield Evaluated(dict(self.test))


def trained_to(value, *, model=b"a model", name="val_accuracy", epochs=2):
    """Return a training with this value at its last epoch, and a tenth of the epoch before."""
    values = [0.1 * epoch for epoch in range(1, epochs)] + [value]
    return Trained([{"loss": 0.4, "val_loss": 0.3} | {name: value} for value in values], model)


@pytest.fixture
def make_trainer():
    """Return a stand-in for the trainer, of a problem with seed 10."""

    def make(train_one=None, *, objective=ACCURACY, share=None, **fields):
        problem = Problem(
            hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=objective, epochs=9,
            patience=0, seed=10,
        )  # fmt: skip
        if train_one is not None:
            fields["train_one"] = train_one
        return StandInTrainer(problem, None, share or Share(2.0, 2), **fields)

    return make


@pytest.fixture
def make_history():
    return history_of


@pytest.fixture
def make_trial():
    return record


@pytest.fixture
def make_trained():
    return trained_to
