"""What follows a search is decided before anything is started: no training, no Ray."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from results.record.columns import Device, State
from results.record.history import History
from results.record.journal import read
from search.errors import UsageError
from search.final.audit import stopped_trials
from search.final.follow_up import (
    FollowUp,
    Outcome,
    audit_run,
    confirm_run,
    retrain_run,
    run_follow_up,
    start_follow_up,
)
from search.final.training import Share
from search.plan.plan import ConfirmationPlan
from search.session.run_file import read_run
from search.session.stopping import INTERRUPTED, TRIALS_DONE
from search.storage.folder import RunFolder
from search.view.view import View

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
CONFIRMATION = Path(__file__).parent / "golden" / "confirmation.json"


class RayIsStartedError(Exception):
    """Raised in the place of a start of Ray."""


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    def start(*_words, **_how):
        raise RayIsStartedError

    monkeypatch.setattr("search.final.follow_up.RenewableRay", start)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ASSETS / "finished", tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


@pytest.fixture
def plan(folder):
    return read_run(folder).plan


@pytest.fixture
def outcome(folder, plan):
    history = History.replay(plan.problem.objective, read(folder.journal_file).events)
    return Outcome(folder, TRIALS_DONE, history)


def evaluated(folder, **evaluation):
    folder.final.mkdir()
    (folder.final / "evaluation.json").write_text(json.dumps(evaluation))


def start(plan, follow_up, outcome):
    return start_follow_up(plan, follow_up, outcome, View(Console()), description={})


def test_the_work_after_a_search_is_that_of_its_plan(plan):
    plan = replace(plan, retrain_epochs=(2, 4), confirm=3, seeds=5, audit=7)
    assert FollowUp.of(plan) == FollowUp((2, 4), ConfirmationPlan(3, 5, (2, 4)), 7)
    assert FollowUp.of(replace(plan, confirm=None, audit=None)) == FollowUp((2, 4))


@pytest.mark.parametrize(
    ("what", "makes_final_model", "only_retrains"),
    [
        (FollowUp(), False, False),
        (FollowUp((2,)), True, True),
        (FollowUp((2,), audit=1), True, False),
        (FollowUp(audit=1), False, False),
        (FollowUp(confirmation=ConfirmationPlan(1, 2, (2,))), True, False),
    ],
)
def test_a_final_model_comes_from_a_retraining_or_a_confirmation(
    what, makes_final_model, only_retrains
):
    assert what.makes_final_model is makes_final_model
    assert what.only_retrains is only_retrains


def test_without_work_ray_is_not_started(plan, outcome):
    assert start(plan, FollowUp(), outcome) is outcome


def test_an_interrupted_search_has_no_work_after_it(plan, outcome):
    outcome = replace(outcome, reason=INTERRUPTED)
    assert start(plan, FollowUp((2,), audit=1), outcome) is outcome


def test_a_search_without_a_value_has_no_work_after_it(plan, outcome):
    outcome = replace(outcome, history=History(plan.problem.objective))
    assert start(plan, FollowUp((2,)), outcome) is outcome


def test_a_final_model_of_the_best_trial_is_kept(folder, plan, outcome, capsys):
    best = outcome.history.best.trial
    evaluated(folder, trial=best, retrain_epochs=[2, 4])
    kept = start(plan, FollowUp((4, 2, 4)), outcome)
    assert kept.evaluation["trial"] == best
    assert f"keeping the final model: it is that of the best trial ({best})" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "what", [FollowUp((2,)), FollowUp((2, 4), always_retrains=True), FollowUp((2, 4), audit=1)]
)
def test_ray_is_started_for_other_epochs_a_forced_retraining_or_more_work(
    folder, plan, outcome, what
):
    evaluated(folder, trial=outcome.history.best.trial, retrain_epochs=[2, 4])
    with pytest.raises(RayIsStartedError):
        start(plan, what, outcome)


def test_a_final_model_of_another_trial_is_replaced(folder, plan, outcome):
    evaluated(folder, trial=outcome.history.best.trial + 1, retrain_epochs=[2, 4])
    with pytest.raises(RayIsStartedError):
        start(plan, FollowUp((2, 4)), outcome)


@pytest.fixture
def confirmed(folder):
    """Write a final model that won a confirmation, in which this trial took part."""

    def confirmed(trial):
        evaluated(folder, trial=17, retrain_epochs=[20], confirmed_seeds=[1, 2, 3])
        text = CONFIRMATION.read_text().replace('"trial": 4,', f'"trial": {trial},')
        folder.confirmation_file.parent.mkdir()
        folder.confirmation_file.write_text(text)

    return confirmed


def test_a_confirmed_model_is_kept_if_the_best_trial_was_confirmed_too(
    plan, outcome, confirmed, capsys
):
    best = outcome.history.best.trial
    confirmed(best)
    assert start(plan, FollowUp((2,)), outcome).evaluation["trial"] == 17
    assert f"it won the confirmation, which included trial {best}" in capsys.readouterr().out


def test_a_confirmed_model_is_replaced_if_the_best_trial_was_not_confirmed(
    plan, outcome, confirmed
):
    confirmed(outcome.history.best.trial + 100)
    with pytest.raises(RayIsStartedError):
        start(plan, FollowUp((2,)), outcome)


# --- On a running Ray -----------------------------------------------------------------------------


class Work:
    """In the place of retrain, confirm and audit: notes how each was called."""

    def __init__(self, monkeypatch, folder):
        self.calls = {}
        self.error = None
        for name in ("retrain", "confirm", "audit"):
            monkeypatch.setattr(f"search.final.follow_up.{name}", self._note(name))
        self._folder = folder
        self.cpus, self.gpus, self.slots = 8.0, 0.0, 1
        amounts = {"CPU": lambda: self.cpus, "GPU": lambda: self.gpus}
        monkeypatch.setattr("search.final.follow_up.local_amount", lambda kind: amounts[kind]())
        monkeypatch.setattr("search.final.follow_up.largest_node_amount", lambda kind: self.cpus)
        monkeypatch.setattr("search.final.follow_up.trial_slots", lambda amount: self.slots)

    def _note(self, name):
        def work(trainer, *arguments):
            if self.error is not None:
                raise self.error
            self.calls[name] = (trainer, *arguments)
            if name == "confirm":
                evaluated(self._folder, trial=9)
            return f"the result of {name}"

        return work

    def run(self, plan, follow_up, outcome):
        stored = SimpleNamespace(content="the stored data")
        return run_follow_up(plan, follow_up, stored, outcome, View(Console()))


@pytest.fixture
def work(monkeypatch, folder):
    return Work(monkeypatch, folder)


@pytest.fixture
def stopped(outcome):
    """The outcome of a search with two stopped trials."""
    for trial in list(outcome.history.trials.values())[:2]:
        trial.state = State.STOPPED
    assert len(stopped_trials(outcome.history)) == 2
    return outcome


def test_the_best_trial_is_retrained_on_the_cpus_of_this_node(work, plan, outcome, capsys):
    result = work.run(plan, FollowUp((2, 4)), outcome)
    trainer, best, epochs, *_ = work.calls["retrain"]
    assert best.trial == outcome.history.best.trial
    assert epochs == (2, 4)
    assert trainer.share == Share(4, 4, None, is_local=True)
    assert (trainer.problem, trainer.stored) == (plan.problem, "the stored data")
    assert result.evaluation == "the result of retrain"
    assert f"retraining trial {best.trial} at 2, 4 epochs, then one test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cpus", "epochs", "share"),
    [
        (8.0, (2, 4, 2), Share(4, 4, is_local=True)),
        (2.0, (2, 4, 6), Share(1, 1, is_local=True)),
        (0.0, (2, 4), Share(0, 1, is_local=True)),
    ],
)
def test_retrainings_share_the_cpus_of_this_node(work, plan, outcome, cpus, epochs, share):
    work.cpus = cpus
    work.run(plan, FollowUp(epochs), outcome)
    assert work.calls["retrain"][0].share == share


@pytest.mark.parametrize(
    ("gpus", "device", "share"),
    [(1.0, None, 0.5), (0.5, Device.GPU, 0.5), (1.0, Device.CPU, None), (0.4, None, None)],
)
def test_a_retraining_gets_a_gpu_if_its_trial_had_one_and_this_node_has(
    work, plan, outcome, capsys, gpus, device, share
):
    plan = replace(plan, other_resources={"gpu": 0.5})
    best = outcome.history.trials[outcome.history.best.trial]
    best.device, work.gpus = device, gpus
    work.run(plan, FollowUp((2,)), outcome)
    assert work.calls["retrain"][0].share.gpus == share
    assert ("has too few GPUs" in capsys.readouterr().out) is (gpus < 0.5)


def test_a_final_model_is_kept_on_a_running_ray_too(work, folder, plan, outcome):
    evaluated(folder, trial=outcome.history.best.trial, retrain_epochs=[2])
    result = work.run(plan, FollowUp((2,)), outcome)
    assert work.calls == {}
    assert result.evaluation["retrain_epochs"] == [2]


def test_a_confirmation_makes_the_final_model(work, plan, outcome):
    confirmation = ConfirmationPlan(2, 3, (2, 4))
    result = work.run(plan, FollowUp((2, 4), confirmation), outcome)
    trainer, history, confirmed, folder, _ = work.calls["confirm"]
    assert (history, confirmed, folder) == (outcome.history, confirmation, outcome.folder)
    assert not trainer.share.is_local
    assert result.confirmation == "the result of confirm"
    assert result.evaluation == {"trial": 9}
    assert "retrain" not in work.calls


def test_a_confirmation_takes_as_many_configurations_as_there_are(work, plan, outcome, capsys):
    work.run(plan, FollowUp(confirmation=ConfirmationPlan(99, 3, (2,))), outcome)
    assert work.calls["confirm"][2].top == 4
    note = "--confirm 99: only 4 configurations have reported a value"
    assert note in capsys.readouterr().out


def test_an_audit_trains_stopped_trials(work, plan, stopped):
    result = work.run(plan, FollowUp(audit=1), stopped)
    _, history, count, folder, _ = work.calls["audit"]
    assert (history, count, folder) == (stopped.history, 1, stopped.folder)
    assert result.audit == "the result of audit"


def test_an_audit_takes_as_many_trials_as_were_stopped(work, plan, stopped, capsys):
    work.run(plan, FollowUp(audit=5), stopped)
    assert work.calls["audit"][2] == 2
    assert "--audit 5: only 2 trials were stopped" in capsys.readouterr().out


def test_a_search_without_a_stopped_trial_is_not_audited(work, plan, outcome, capsys):
    for trial in outcome.history.trials.values():
        trial.state = State.COMPLETED
    assert work.run(plan, FollowUp(audit=2), outcome) == outcome
    assert work.calls == {}
    assert "--audit 2: only 0 trials were stopped" in capsys.readouterr().out


def test_an_audit_comes_after_the_final_model(work, plan, stopped):
    work.run(plan, FollowUp((2,), audit=1), stopped)
    assert list(work.calls) == ["retrain", "audit"]


@pytest.mark.parametrize(
    ("changes", "slots", "share"),
    [
        ({"cpus_per_trial": 2.0}, 1, Share(2.0, 2)),
        ({"cpus_per_trial": 0.5}, 1, Share(0.5, 1)),
        ({"cpus_per_trial": 99.0}, 1, Share(8.0, 8)),
        ({"cpus_per_trial": 1.0, "other_resources": {"gpu": 0.5}}, 1, Share(1.0, 1, 0.5)),
        ({"cpus_per_trial": 1.0, "other_resources": {"gpu": 0.5}}, 0, Share(1.0, 1)),
    ],
)
def test_a_confirmation_trains_with_the_resources_of_a_trial_as_far_as_a_node_has_them(
    work, plan, outcome, changes, slots, share
):
    work.slots = slots
    work.run(replace(plan, **changes), FollowUp(confirmation=ConfirmationPlan(1, 2, (2,))), outcome)
    assert work.calls["confirm"][0].share == share


def test_an_interruption_ends_the_work(work, plan, outcome):
    work.error = KeyboardInterrupt()
    assert work.run(plan, FollowUp((2,)), outcome) == replace(outcome, reason=INTERRUPTED)


# --- Requests that cannot be met ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path, view: retrain_run(path, (), view), r"--retrain-epochs none: expected numbers"),
        (lambda path, view: audit_run(path, 0, view, address=None), "--trials 0: expected 1 or more"),
        (
            lambda path, view: audit_run(path, 99, view, address=None),
            r"--trials 99: only \d trials of this run were stopped|this run has no stopped trial",
        ),
        (
            lambda path, view: confirm_run(path, ConfirmationPlan(0, 1, ()), view, address=None),
            r"--top 0: .*\n--seeds 1: .*\n--retrain-epochs none: ",
        ),
        (
            lambda path, view: confirm_run(path, ConfirmationPlan(99, 2, (1,)), view, address=None),
            "--top 99: only 4 different configurations",
        ),
    ],
)  # fmt: skip
def test_a_callthat_cannot_be_met_leaves_the_run_as_it_was(folder, call, message):
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=message):
        call(folder.path, View(Console()))
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert after == before
