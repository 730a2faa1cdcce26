"""Which weights and states a search keeps while it runs."""

import pytest

from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import Journal
from search.session.session import Tidier
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder


class Trials:
    """A run whose trials write weights and states, and a tidier that removes them."""

    def __init__(self, path, kept_trials):
        self.folder = RunFolder.create(path)
        self._journal = Journal(self.folder.journal_file)
        history = History(Objective("val_accuracy", "max"))
        self.recorder = Recorder(self._journal, history, scheduler="asha")
        self.recorder.listen(Tidier(self.folder, history, kept_trials))

    def train(self, trial, value, **fields):
        """Start a trial, or start it again, and report one epoch."""
        self.recorder.trial_started(trial, {"units": trial})
        self.folder.best_weights_file(trial).write_bytes(b"weights")
        self.folder.state_file(trial).write_bytes(b"state")
        report = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": value}}
        report |= fields
        self.recorder.epoch(trial, report, decision=Decision.CONTINUE, worker="w")

    def end(self, trial, state=State.COMPLETED, **fields):
        self.recorder.trial_ended(trial, state, **fields)

    def with_weights(self):
        return {trial for trial in range(9) if self.folder.best_weights_file(trial).exists()}

    def with_state(self):
        return {trial for trial in range(9) if self.folder.state_file(trial).exists()}

    def close(self):
        self._journal.close()


@pytest.fixture
def trials(tmp_path):
    """A run that keeps the weights of the best two trials."""
    trials = Trials(tmp_path / "run", kept_trials=2)
    yield trials
    trials.close()


def test_the_best_trials_keep_their_weights(trials):
    for trial, value in enumerate([0.5, 0.9, 0.4, 0.8]):
        trials.train(trial, value)
        trials.end(trial)
    assert trials.with_weights() == {1, 3}


def test_a_running_trial_keeps_its_weights_whatever_its_rank(trials):
    for trial, value in enumerate([0.5, 0.9, 0.1, 0.95]):
        trials.train(trial, value)
    for trial in (0, 1, 3):
        trials.end(trial)
    assert trials.with_weights() == {1, 2, 3}
    trials.end(2)
    assert trials.with_weights() == {1, 3}


def test_an_interrupted_trial_keeps_weights_and_state_because_it_may_continue(trials):
    for trial, value in enumerate([0.5, 0.9, 0.1]):
        trials.train(trial, value)
    trials.end(2, State.INTERRUPTED)
    for trial in (0, 1):
        trials.end(trial)
    assert trials.with_weights() == {0, 1, 2}
    assert trials.with_state() == {2}


def test_a_trial_that_is_trained_again_to_a_worse_end_loses_its_weights(trials):
    for trial, value in enumerate([0.5, 0.9, 0.8]):
        trials.train(trial, value)
        trials.end(trial)
    trials.train(2, 0.1)
    trials.end(2, State.STOPPED)
    trials.train(3, 0.7)
    trials.end(3)
    assert trials.with_weights() == {1, 3}


def test_the_state_of_an_ended_trial_is_removed_and_no_other(trials):
    for trial in range(3):
        trials.train(trial, 0.5)
    trials.end(1)
    assert trials.with_state() == {0, 2}


def test_a_trial_of_unknown_worth_gives_way_to_those_with_a_score(trials):
    for trial in range(4):
        trials.train(trial, 0.9, score_kind="unknown")
    trials.end(0, State.STOPPED)
    assert 0 in trials.with_weights(), "there is nothing better yet"
    for trial, score in ((1, 0.2), (2, 0.1), (3, 0.3)):
        metrics = {"val_accuracy": score}
        fields = {"score": score, "best_step": 0, "metrics": metrics, "score_kind": "returned"}
        trials.end(trial, **fields)
    assert trials.with_weights() == {1, 3}


def test_a_resumed_search_removes_the_weights_of_trials_before_it(trials):
    for trial, value in enumerate([0.5, 0.9, 0.4]):
        trials.train(trial, value)
    for trial in range(2):
        trials.end(trial)
    history = trials.recorder.history
    trials.recorder.listen(Tidier(trials.folder, history, kept_trials=1))
    trials.end(2)
    assert trials.with_weights() == {1}


def test_all_weights_are_kept_if_no_number_is_given(tmp_path):
    trials = Trials(tmp_path / "run", kept_trials=None)
    for trial in range(4):
        trials.train(trial, 0.5)
        trials.end(trial)
    assert trials.with_weights() == {0, 1, 2, 3}
    assert trials.with_state() == set()
    trials.close()
