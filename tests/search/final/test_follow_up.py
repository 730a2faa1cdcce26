"""What follows a search is decided before anything is started: no training, no Ray."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from results.record.history import History
from results.record.journal import read
from search.errors import UsageError
from search.final.follow_up import (
    FollowUp,
    Outcome,
    audit_run,
    confirm_run,
    retrain_run,
    start_follow_up,
)
from search.plan.plan import ConfirmationPlan
from search.session.run_file import read_run
from search.session.stopping import INTERRUPTED, TRIALS_DONE
from search.storage.folder import RunFolder
from search.view.view import View

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
CONFIRMATION = Path(__file__).parent / "golden" / "confirmation.json"


class RayIsStartedError(Exception):
    """In the place of Ray: so far it came."""


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


def followed(plan, what, outcome):
    return start_follow_up(plan, what, outcome, View(Console()), description={})


def test_a_plan_says_what_follows_its_search(plan):
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
def test_the_test_split_is_needed_where_a_final_model_is_made(
    what, makes_final_model, only_retrains
):
    assert what.makes_final_model is makes_final_model
    assert what.only_retrains is only_retrains


def test_nothing_is_started_where_nothing_follows(plan, outcome):
    assert followed(plan, FollowUp(), outcome) is outcome
    cut_off = replace(outcome, reason=INTERRUPTED)
    assert followed(plan, FollowUp((2,), audit=1), cut_off) is cut_off
    empty = replace(outcome, history=History(plan.problem.objective))
    assert followed(plan, FollowUp((2,)), empty) is empty


def test_a_final_model_of_the_best_trial_stands(folder, plan, outcome, capsys):
    best = outcome.history.best.trial
    evaluated(folder, trial=best, retrain_epochs=[2, 4])
    stood = followed(plan, FollowUp((4, 2, 4)), outcome)
    assert stood.evaluation["trial"] == best
    assert f"keeping the final model: it is that of the best trial ({best})" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "what", [FollowUp((2,)), FollowUp((2, 4), always_retrains=True), FollowUp((2, 4), audit=1)]
)
def test_another_final_model_is_made_where_the_epochs_differ_or_it_is_asked_for_anew(
    folder, plan, outcome, what
):
    evaluated(folder, trial=outcome.history.best.trial, retrain_epochs=[2, 4])
    with pytest.raises(RayIsStartedError):
        followed(plan, what, outcome)


@pytest.mark.parametrize("is_among_them", [True, False])
def test_a_confirmed_model_stands_while_the_best_was_among_those_confirmed(
    folder, plan, outcome, capsys, is_among_them
):
    best = outcome.history.best.trial
    evaluated(folder, trial=17, retrain_epochs=[20], confirmed_seeds=[1, 2, 3])
    text = CONFIRMATION.read_text()
    folder.confirmation_file.parent.mkdir()
    folder.confirmation_file.write_text(
        text.replace('"trial": 4,', f'"trial": {best},') if is_among_them else text
    )
    if is_among_them:
        assert followed(plan, FollowUp((2,)), outcome).evaluation["trial"] == 17
        assert f"it won the confirmation, which included trial {best}" in capsys.readouterr().out
    else:
        with pytest.raises(RayIsStartedError):
            followed(plan, FollowUp((2,)), outcome)


@pytest.mark.parametrize(
    ("ask", "said"),
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
def test_what_cannot_be_done_is_refused_and_leaves_the_run_as_it_was(folder, ask, said):
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=said):
        ask(folder.path, View(Console()))
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert after == before
