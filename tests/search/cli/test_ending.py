"""What a command says at its end, and the status that it leaves."""

import pytest
import typer
from rich.console import Console

from results.record.history import History, Objective
from search.cli.ending import REPEAT_TO_CONTINUE, carry_out
from search.final.follow_up import Outcome
from search.session.stopping import INTERRUPTED, TRIALS_DONE
from search.storage.folder import RunFolder
from search.view.view import View


def interrupted():
    raise KeyboardInterrupt


def said(capsys, work, folder, **how):
    """Return what a command says, and its status."""
    status = 0
    try:
        carry_out(work, folder, View(Console()), **how)
    except typer.Exit as ended:
        status = ended.exit_code
    return capsys.readouterr().out.splitlines(), status


@pytest.mark.parametrize(
    ("is_recorded", "how", "line"),
    [
        (True, {}, "interrupted; to continue: fmnist-search resume 'a run'"),
        (False, {}, "interrupted before anything was recorded: nothing is saved"),
        (True, {"is_repeatable": True}, REPEAT_TO_CONTINUE),
    ],
)
def test_ctrl_c_says_what_is_kept(tmp_path, monkeypatch, capsys, is_recorded, how, line):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a run"
    folder.mkdir()
    if is_recorded:
        (folder / "journal.jsonl").touch()
    assert said(capsys, interrupted, folder, **how) == ([line], 130)


def test_the_end_of_a_run_shows_the_scores_of_its_final_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    evaluation = {"epochs": 20, "test_accuracy": 0.9, "test_loss": 0.25, "recall_macro": None}
    outcome = Outcome(
        RunFolder(tmp_path / "a run"),
        TRIALS_DONE,
        History(Objective("val_accuracy", "max")),
        evaluation,
    )
    assert said(capsys, lambda: outcome, tmp_path / "a run") == (
        [
            "final model (20 epochs): test_accuracy 0.9000, test_loss 0.2500",
            "saved in a run",
            "for a report: fmnist-results report 'a run'",
            "to compare runs: fmnist-results compare ./*",
        ],
        0,
    )


def test_the_end_of_an_interrupted_search_says_how_to_continue(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outcome = Outcome(
        RunFolder(tmp_path / "run"), INTERRUPTED, History(Objective("val_loss", "min"))
    )
    lines, status = said(capsys, lambda: outcome, tmp_path / "run")
    assert status == 130
    assert "to continue: fmnist-search resume run" in lines
    repeatable = said(capsys, lambda: outcome, tmp_path / "run", is_repeatable=True)
    assert repeatable == ([REPEAT_TO_CONTINUE], 130)
