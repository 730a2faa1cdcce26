"""The audit: which stopped trials are trained to their end, and what is concluded from them.

No training, no Ray: a function of the test returns the trainings.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from results.record.audit import Audit
from results.record.columns import Decision, State
from results.record.history import EpochRecord, History, Objective, TrialRecord
from search.errors import TrainingError, UsageError
from search.final.audit import (
    FullTraining,
    audit,
    audit_trial,
    read_training,
    sample_stopped,
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


@pytest.fixture
def history():
    """A search that stopped three trials and completed the fourth, its best."""
    made = History(LOSS)
    for number, (losses, _, _) in enumerate(TRIALS):
        made.trials[number] = record(number, losses, State.STOPPED)
    made.trials[3] = record(3, [0.3, 0.25, 0.2], State.COMPLETED)
    made.best = made.trials[3].best
    return made


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path / "run")
    (made.path / "audit").mkdir()
    return made


def whole(losses, state):
    """Return a whole training; its n-th epoch takes n quarters of a second."""
    epochs = [
        {"epoch": epoch, "epoch_seconds": 0.25 * epoch, "metrics": {"val_loss": loss, "loss": loss}}
        for epoch, loss in enumerate(losses, start=1)
    ]
    return FullTraining(epochs, state, None)


TRAININGS = {number: whole(losses, state) for number, (_, losses, state) in enumerate(TRIALS)}


def audited(history):
    trials = stopped_trials(history)
    return [audit_trial(trial, TRAININGS[trial.trial], history) for trial in trials]


# --- Which trials are audited ---------------------------------------------------------------------


def test_only_stopped_trials_with_a_value_can_be_audited(make_history, make_trial):
    history = make_history(
        make_trial(0, 0.5, state=State.STOPPED),
        make_trial(1, 0.5, state=State.COMPLETED),
        make_trial(2, None, state=State.STOPPED),
        make_trial(3, 0.5, state=State.STOPPED),
        make_trial(4, 0.5, state=State.EARLY_STOPPED),
    )
    assert [trial.trial for trial in stopped_trials(history)] == [0, 3]


@pytest.fixture
def thirty(make_history, make_trial):
    return make_history(*(make_trial(n, n / 100, state=State.STOPPED) for n in range(30)))


def drawn(history, count, seed):
    return [trial.trial for trial in sample_stopped(history, count, seed)]


def test_the_same_seed_draws_the_same_trials_and_another_seed_others(thirty):
    assert drawn(thirty, 10, seed=0) == drawn(thirty, 10, seed=0)
    assert drawn(thirty, 10, seed=0) != drawn(thirty, 10, seed=1)


def test_a_draw_does_not_depend_on_the_order_in_which_trials_began(thirty, make_history):
    turned = make_history(*reversed(thirty.trials.values()))
    assert drawn(turned, 10, seed=0) == drawn(thirty, 10, seed=0)


def test_the_trials_that_are_drawn_differ(thirty):
    numbers = drawn(thirty, 10, seed=0)
    assert len(set(numbers)) == 10
    assert set(numbers) <= set(range(30))


def test_all_stopped_trials_may_be_drawn(thirty):
    assert sorted(drawn(thirty, 30, seed=0)) == list(range(30))


def test_more_trials_than_were_stopped_are_refused(thirty):
    with pytest.raises(UsageError) as refused:
        sample_stopped(thirty, 31, seed=0)
    assert str(refused.value) == (
        "--trials 31: only 30 trials of this run were stopped: expected at most 30."
    )


def test_a_run_without_a_stopped_trial_is_refused(make_history, make_trial):
    with pytest.raises(UsageError) as refused:
        sample_stopped(make_history(make_trial(0, 0.5)), 1, seed=0)
    assert str(refused.value) == (
        "this run has no stopped trial to audit: expected a run of which --scheduler asha has "
        "stopped trials."
    )


# --- One trial ------------------------------------------------------------------------------------


def test_a_stopped_trial_is_compared_with_its_full_training(history):
    [trial, *_] = audited(history)
    assert (trial.trial, trial.stopped_epoch, trial.stopped_value) == (0, 2, 0.4)
    assert (trial.epochs, trial.value, trial.state) == (3, 0.1, "completed")
    assert (trial.seconds_to_stop, trial.seconds_after_stop) == (0.75, 0.75)
    assert trial.is_same


def test_a_stop_was_wrong_if_the_trial_would_have_beaten_the_best(history):
    assert [trial.is_wrong for trial in audited(history)] == [True, False, False]


def test_a_trial_that_would_only_have_reached_the_best_was_rightly_stopped(history):
    trial = audit_trial(history.trials[0], whole([0.5, 0.4, 0.2], State.COMPLETED), history)
    assert (trial.is_wrong, trial.excess) == (False, 0.0)


def test_the_excess_of_a_loss_is_positive_if_it_is_lower(history):
    excess = [trial.excess for trial in audited(history)]
    assert excess == pytest.approx([0.1, -0.35, -0.51])


def test_the_excess_of_an_accuracy_is_positive_if_it_is_higher(make_history, make_trial):
    stopped = make_trial(0, 0.5, state=State.STOPPED)
    history = make_history(stopped, make_trial(1, 0.75))
    epochs = [{"epoch": 1, "epoch_seconds": 1.0, "metrics": {"val_accuracy": 0.875}}]
    trial = audit_trial(stopped, FullTraining(epochs, State.COMPLETED, None), history)
    assert (trial.excess, trial.is_wrong) == (0.125, True)


def test_the_value_of_a_full_training_is_its_best(history):
    trial = audit_trial(history.trials[0], whole([0.5, 0.1, 0.4], State.COMPLETED), history)
    assert trial.value == 0.1


def test_a_full_training_without_a_number_has_no_value(history):
    trial = audit_trial(history.trials[0], whole([None], State.DIVERGED), history)
    assert (trial.value, trial.excess, trial.is_wrong) == (None, None, False)


def test_other_metrics_before_the_stop_are_not_the_same_training(history):
    assert [trial.is_same for trial in audited(history)] == [True, True, False]


# --- The result -----------------------------------------------------------------------------------


def test_the_file_is_byte_for_byte_that_of_version_0_1_0(history, tmp_path):
    summarize(audited(history), history).write(tmp_path / "audit.json")
    assert (tmp_path / "audit.json").read_bytes() == GOLDEN.read_bytes()


def test_a_file_of_version_0_1_0_is_read(history):
    assert Audit.read(GOLDEN) == summarize(audited(history), history)


def test_the_share_of_wrong_stops_is_estimated_from_the_audited_trials(history):
    result = summarize(audited(history)[:2], history)
    assert (result.stopped, result.audited, result.wrong, result.wrong_share) == (3, 2, 1, 0.5)
    assert result.search_best == 0.2
    # One of three stops was wrong, and one was not: the share is a third or two thirds.
    assert (result.wrong_low, result.wrong_high) == (1 / 3, 2 / 3)


def test_the_seconds_saved_are_those_after_the_stop_for_all_stopped_trials(history):
    result = summarize(audited(history)[:2], history)
    assert result.seconds_saved == pytest.approx((0.75 + 0.5) / 2 * 3)
    assert result.seconds_searched == pytest.approx(0.5 * 7)


# --- Stored trainings -----------------------------------------------------------------------------


def test_a_training_is_stored_under_the_number_of_its_trial(history, folder):
    write_training(folder, history.trials[1], TRAININGS[1])
    assert [path.name for path in (folder.path / "audit").iterdir()] == ["trial-00001.json"]
    assert read_training(folder, history.trials[1]) == TRAININGS[1]
    assert read_training(folder, history.trials[2]) is None


@pytest.mark.parametrize("state", list(State))
def test_only_a_trial_that_trained_as_far_as_it_can_is_complete(history, folder, state):
    training = replace(TRAININGS[0], state=state)
    write_training(folder, history.trials[0], training)
    is_complete = state in (State.COMPLETED, State.EARLY_STOPPED, State.DIVERGED)
    assert training.is_complete is is_complete
    assert read_training(folder, history.trials[0]) == (training if is_complete else None)


# --- A whole audit --------------------------------------------------------------------------------


class Auditing:
    """A run, and its audits with trainings of the test."""

    def __init__(self, trainer, history, folder):
        self.trainer, self.history, self.folder = trainer, history, folder
        self.trainings = dict(TRAININGS)
        self.trained, self.lines = [], []

    def train(self, trainer, trials):
        for trial in trials:
            self.trained.append(trial.trial)
            training = self.trainings[trial.trial]
            if isinstance(training, Exception):
                raise training
            yield trial, training

    def run(self, count=3):
        self.trained.clear()
        self.lines.clear()
        return audit(
            self.trainer, self.history, count, self.folder, self.lines.append, train=self.train
        )


@pytest.fixture
def auditing(make_trainer, history, tmp_path):
    return Auditing(make_trainer(objective=LOSS), history, RunFolder.create(tmp_path / "run"))


def test_an_audit_trains_the_drawn_trials_and_writes_its_result(auditing):
    result = auditing.run(2)
    assert auditing.trained == drawn(auditing.history, 2, seed=10)  # the seed of the problem
    assert Audit.read(auditing.folder.path / "audit" / "audit.json") == result
    assert [trial.trial for trial in result.trials] == auditing.trained


def test_an_audit_says_what_it_trains_and_each_result(auditing):
    auditing.run()
    first, *lines = auditing.lines
    assert first == "auditing 3 of 3 stopped trials: 3 to train"
    assert sorted(lines) == [
        "trial 0: 0.4000 when stopped after epoch 2, 0.1000 at its end; best of the search 0.2000",
        "trial 1: 0.6000 when stopped after epoch 1, 0.5500 at its end; best of the search 0.2000",
        "trial 2: 0.7000 when stopped after epoch 1, 0.7100 at its end; best of the search 0.2000",
    ]


def test_a_training_without_a_number_says_so(auditing):
    auditing.trainings[2] = whole([None], State.DIVERGED)
    auditing.run()
    [line] = [line for line in auditing.lines if line.startswith("trial 2")]
    assert ", no number at its end; " in line


def test_an_audit_that_is_repeated_trains_nothing(auditing):
    first = auditing.run()
    assert auditing.run() == first
    assert auditing.trained == []
    assert auditing.lines == ["auditing 3 of 3 stopped trials: 0 to train"]


def test_a_larger_audit_trains_only_what_is_missing(auditing):
    auditing.run(1)
    before = list(auditing.trained)
    auditing.run(3)
    assert sorted(auditing.trained + before) == [0, 1, 2]
    assert auditing.lines[0] == "auditing 3 of 3 stopped trials: 2 to train"


def test_a_failed_training_ends_the_audit_after_the_others_and_is_trained_again(auditing):
    auditing.trainings[1] = FullTraining([], State.FAILED, "ValueError: no memory for it")
    with pytest.raises(TrainingError) as failed:
        auditing.run()
    assert str(failed.value) == (
        "These audited trials failed: trial 1 (failed: ValueError: no memory for it). The others "
        "are saved: fix the cause, then rerun the audit to continue."
    )
    assert not (auditing.folder.path / "audit" / "audit.json").exists()
    auditing.trainings = dict(TRAININGS)
    assert auditing.run().audited == 3
    assert auditing.trained == [1]


def test_an_audit_that_was_cut_off_keeps_the_trainings_so_far(auditing):
    order = drawn(auditing.history, 3, seed=10)
    auditing.trainings[order[2]] = RuntimeError("cut off")
    with pytest.raises(RuntimeError, match="cut off"):
        auditing.run()
    auditing.trainings = dict(TRAININGS)
    auditing.run()
    assert auditing.trained == order[2:]


def test_an_error_of_ray_is_an_audit_that_failed(auditing):
    import ray

    auditing.trainings[1] = ray.exceptions.WorkerCrashedError()
    with pytest.raises(TrainingError, match=r"^Auditing failed: WorkerCrashedError: "):
        auditing.run()


def test_too_few_stopped_trials_are_refused_before_anything_is_written(auditing):
    with pytest.raises(UsageError, match="--trials 4: only 3 trials"):
        auditing.run(4)
    assert auditing.lines == []
    assert not (auditing.folder.path / "audit").exists()
