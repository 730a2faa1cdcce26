"""Which weights a search keeps while it goes on."""

from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import Journal
from search.session.session import Tidier
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder


def test_the_best_and_the_unfinished_trials_keep_their_weights(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    journal = Journal(folder.journal_file)
    recorder = Recorder(journal, History(Objective("val_accuracy", "max")), scheduler="asha")
    recorder.listen(Tidier(folder, recorder.history, kept_trials=2))

    def train(trial, value):
        recorder.trial_started(trial, {"units": trial})
        folder.best_weights_file(trial).write_bytes(b"weights")
        report = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": value}}
        recorder.epoch(trial, report, decision=Decision.CONTINUE, worker="w")

    def with_weights():
        return {trial for trial in range(9) if folder.best_weights_file(trial).exists()}

    for trial, value in enumerate([0.5, 0.9, 0.4, 0.8, 0.7, 0.95, 0.6]):
        train(trial, value)
    for trial in (2, 0, 3, 1, 6, 5):
        recorder.trial_ended(trial, State.COMPLETED)
    assert with_weights() == {1, 5, 4}
    train(4, 0.1)  # again, after its process died
    recorder.trial_ended(4, State.STOPPED)
    assert with_weights() == {1, 5}
    train(7, 0.99)
    recorder.trial_ended(7, State.INTERRUPTED)  # it may go on
    train(8, 0.3)
    # As a search that goes on begins: with all trials that there are.
    recorder.listen(Tidier(folder, recorder.history, kept_trials=1))
    recorder.trial_ended(8, State.COMPLETED)
    assert with_weights() == {7}
    journal.close()
