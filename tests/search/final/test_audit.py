"""What an audit makes of trials that were trained to their end: no training, no Ray."""

from pathlib import Path

from results.record.audit import Audit
from results.record.columns import Decision, State
from results.record.history import EpochRecord, History, Objective, TrialRecord
from search.final.audit import (
    FullTraining,
    audit_trial,
    read_training,
    stopped_trials,
    summarize,
    write_training,
)
from search.storage.folder import RunFolder

# As version 0.1.0 wrote it of the trials below.
GOLDEN = Path(__file__).parent / "golden" / "audit.json"
LOSS = Objective("val_loss", "min")
# By trial, the losses in the search and those of the whole training, and how that ended.
TRIALS = (
    ([0.5, 0.4], [0.5, 0.4, 0.1], State.COMPLETED),
    ([0.6], [0.6, 0.55], State.EARLY_STOPPED),
    ([0.7], [0.71, None], State.DIVERGED),
)


def record(number, losses, state):
    epochs = [
        EpochRecord(
            number, 1, epoch, 0.0, 0.5, loss, {"val_loss": loss, "loss": loss}, Decision.CONTINUE, "w"
        )
        for epoch, loss in enumerate(losses, start=1)
    ]  # fmt: skip
    best = min(epochs, key=lambda epoch: epoch.objective)
    return TrialRecord(number, {"units": number}, 0.0, state=state, epochs=epochs, best=best)


def searched():
    history = History(LOSS)
    for number, (losses, _, _) in enumerate(TRIALS):
        history.trials[number] = record(number, losses, State.STOPPED)
    history.trials[3] = record(3, [0.3, 0.25, 0.2], State.COMPLETED)
    history.best = history.trials[3].best
    return history


def whole(losses, state):
    epochs = [
        {"epoch": epoch, "epoch_seconds": 0.25 * epoch, "metrics": {"val_loss": loss, "loss": loss}}
        for epoch, loss in enumerate(losses, start=1)
    ]
    return FullTraining(epochs, state, None)


def made():
    history = searched()
    trainings = [whole(losses, state) for _, losses, state in TRIALS]
    pairs = zip(stopped_trials(history), trainings, strict=True)
    return summarize([audit_trial(trial, training, history) for trial, training in pairs], history)


def test_the_file_is_byte_for_byte_that_of_version_0_1_0_and_is_read_as_it_was_written(tmp_path):
    made().write(tmp_path / "audit.json")
    assert (tmp_path / "audit.json").read_bytes() == GOLDEN.read_bytes()
    assert Audit.read(GOLDEN) == made()


def test_a_whole_training_is_kept_and_one_that_failed_is_to_be_done_again(tmp_path):
    folder, history = RunFolder(tmp_path), searched()
    (tmp_path / "audit").mkdir()
    first, second, third = stopped_trials(history)
    done = whole([0.5, 0.4], State.DIVERGED)
    write_training(folder, first, done)
    write_training(folder, second, FullTraining([], State.FAILED, "ValueError: no memory for it"))
    assert [read_training(folder, trial) for trial in (first, second, third)] == [done, None, None]
