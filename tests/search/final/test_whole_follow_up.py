"""A search that is audited and confirmed by one command, and what is asked of it afterwards."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from in_process import fmnist_search

from results.record.history import History, Objective
from results.record.journal import Journal
from search.cli.ending import REPEAT_TO_CONTINUE
from search.session.stopping import INTERRUPTED
from search.storage.recorder import Recorder

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
PROBLEM = ("--hypermodel", "problems:small", "--data", "problems:blobs", "--workers", 1)


@pytest.fixture(scope="module")
def followed_run(running_ray, notes_folder, tmp_path_factory):
    """The folder of a run that was searched, audited and confirmed by one command; its output."""
    folder = tmp_path_factory.mktemp("followed")
    done = fmnist_search(
        folder, "run", *PROBLEM, "--trials", 8, "--epochs", 6, "--retrain-epochs", "2,4",
        "--confirm", 2, "--seeds", 3, "--audit", 2, "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    return folder, done.output


@pytest.fixture
def run(followed_run, tmp_path):
    """A copy of that run."""
    return shutil.copytree(followed_run[0] / "run", tmp_path / "run")


def read(folder, *parts):
    return json.loads(folder.joinpath("run", *parts).read_text())


def test_a_confirmation_trains_each_candidate_on_new_seeds_and_the_best_mean_wins(followed_run):
    confirmation = read(followed_run[0], "confirm", "confirmation.json")
    assert confirmation["seeds"] == [1, 2, 3]
    assert len(confirmation["candidates"]) == 4
    winner = confirmation["candidates"][confirmation["winner"]]
    assert winner["mean"] == max(row["mean"] for row in confirmation["candidates"])
    assert "in the search it had" in followed_run[1]


def test_only_the_winner_is_evaluated_on_the_test_split(followed_run):
    confirmation = read(followed_run[0], "confirm", "confirmation.json")
    winner = confirmation["candidates"][confirmation["winner"]]
    tested = [row["name"] for row in confirmation["candidates"] if row["test"]]
    assert tested == [winner["name"]]
    assert len(winner["test"]["accuracies"]) == 3


def test_the_final_model_is_that_of_the_winner_on_its_first_seed(followed_run):
    folder = followed_run[0]
    confirmation = read(folder, "confirm", "confirmation.json")
    winner = confirmation["candidates"][confirmation["winner"]]
    evaluation = read(folder, "final", "evaluation.json")
    assert (evaluation["trial"], evaluation["epochs"]) == (winner["trial"], winner["epochs"])
    assert evaluation["test_accuracy"] == winner["test"]["accuracies"][0]
    assert evaluation["confirmed_seeds"] == [1, 2, 3]
    rows = pq.read_table(folder / "run" / "final" / "history.parquet").to_pylist()
    assert rows[-1]["metric:val_accuracy"] == winner["scores"][0]


def test_a_confirmation_leaves_no_other_model_and_no_state(followed_run):
    run = followed_run[0] / "run"
    assert not list((run / "confirm").glob("*.keras"))
    assert not list((run / "checkpoints").glob("retraining-*"))


def test_audited_trials_repeat_their_epochs_to_the_bit_and_go_on(followed_run):
    folder, output = followed_run
    audit = read(folder, "audit", "audit.json")
    assert audit["audited"] == 2
    assert all(row["is_same"] for row in audit["trials"])
    assert all(row["value"] >= row["stopped_value"] for row in audit["trials"])
    assert "audited trials would have beaten the best of the search" in output


def test_a_stopped_trial_that_cannot_be_trained_again_is_not_counted_as_rightly_stopped(
    run, here, notes
):
    shutil.rmtree(run / "audit")
    (notes / "fails").touch()
    failed = here("audit", "run", "--trials", 1)
    assert failed.status == 1, failed
    assert "(failed: ValueError: no memory for it)" in failed.errors
    assert not list((run / "audit").iterdir())
    (notes / "fails").unlink()
    done = here("audit", "run", "--trials", 1)
    assert done.status == 0, done
    assert "of 1 audited trials would have" in done.output


def test_more_seeds_and_another_configuration_train_only_what_is_missing(run, here, tmp_path):
    (tmp_path / "mine.json").write_text('{"units": 2, "rate": 0.001}')
    done = here(
        "confirm", "run", "--top", 1, "--seeds", 4, "--retrain-epochs", 4, "--also", "mine.json"
    )
    assert done.status == 0, done
    assert "5 of 5: " in done.output  # one more seed of its own, and four of the other
    assert "this replaces the confirmation of 4 candidates on 3 seeds" in done.output
    candidates = read(tmp_path, "confirm", "confirmation.json")["candidates"]
    mine = next(row for row in candidates if row["name"] == "mine")
    assert mine["is_for_comparison"]
    assert len(mine["test"]["accuracies"]) == 4


# What it trains again, tests of the confirmation show with a stand-in for the trainer.
@pytest.mark.long
def test_a_killed_confirmation_continues_with_the_missing_trainings(tmp_path, here, commands):
    search = here(
        "run", "--hypermodel", "problems:slow", "--data", "problems:blobs", "--workers", 2,
        "--trials", 2, "--epochs", 1, "--retrain-epochs", "none", "--out", "run",
    )  # fmt: skip
    assert search.status == 0, search
    confirm = ["confirm", "run", "--top", "2", "--seeds", "2", "--retrain-epochs", "2"]
    first = subprocess.Popen(
        [commands / "fmnist-search", *confirm], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    records = tmp_path / "run" / "confirm"
    deadline = time.monotonic() + 200
    while not list(records.glob("*-seed-*.json")):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    trained = {path: path.stat().st_mtime_ns for path in records.glob("*-seed-*.json")}
    done = here(*confirm)
    assert done.status == 0, done
    left = 4 - len(trained)
    assert f"{left} of {left}: " in done.output
    for path, written in trained.items():  # the winner's have been evaluated since
        if json.loads(path.read_text())["test"] is None:
            assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--confirm", "9", "--trials", "5"], ["--confirm 9: expected at most 5, because of --trials 5."]),
        (["run", "--confirm", "2", "--seeds", "1"], ["--seeds 1: expected 2 or more, because one seed shows no spread."]),
        (["run", "--seeds", "3"], ["--seeds 3 needs --confirm: add it."]),
        (["run", "--confirm", "2", "--retrain-epochs", "none"], ["--retrain-epochs none: a confirmation needs numbers of epochs, such as 20,50."]),
        (["run", "--audit", "3", "--scheduler", "none"], ["--audit 3 needs --scheduler asha: it audits stopped trials."]),
        (["run", "--audit", "0", "--confirm", "0"], ["--audit 0: expected 1 or more.", "--confirm 0: expected 1 or more."]),
        (["confirm", "{run}", "--top", "99"], ["--top 99: only 8 different configurations have reported a value: expected at most 8."]),
        (["confirm", "{run}", "--seeds", "1"], ["--seeds 1: expected 2 or more, because one seed shows no spread."]),
        (["confirm", "{run}", "--top", "0", "--retrain-epochs", "2;4"], ["--retrain-epochs '2;4': expected whole numbers such as 20,50,100, or none.", "--top 0: expected 1 or more."]),
        (["audit", "{run}", "--trials", "0"], ["--trials 0: expected 1 or more."]),
        (["run", "--engine", "keras-tuner", "--audit", "3"], ["--audit 3 needs --engine ray: --engine keras-tuner has no stopped trials to audit."]),
        (["resume", "plain", "--seeds", "7"], ["--seeds 7 needs --confirm: add it."]),
        (
            ["confirm", "{run}", "--seeds", "1", "--also", "misspelt.json", "--also", "nothing.json"],
            [
                "--also 'nothing.json': expected a JSON file of names and values, such as the best.json of a run.",
                "--seeds 1: expected 2 or more, because one seed shows no spread.",
                "--also 'misspelt.json': 'unitz' is not a hyperparameter of this run: expected one of units, rate. Did you mean 'units'?",
                "--also 'misspelt.json': 'depth' is not a hyperparameter of this run: expected one of units, rate.",
            ],
        ),
        (
            ["confirm", "nowhere", "--top", "0", "--also", "misspelt.json"],
            ["--top 0: expected 1 or more.", "'nowhere' does not exist: expected a folder with run.json, as `fmnist-search run` makes it."],
        ),
        (["confirm", "{run}", "--also", "nothing.json"], ["--also 'nothing.json': expected a JSON file of names and values, such as the best.json of a run."]),
    ],
)  # fmt: skip
def test_each_mistake_of_a_follow_up_is_one_line(followed_run, here, tmp_path, words, said):
    (tmp_path / "misspelt.json").write_text('{"unitz": 3, "depth": 1, "tuner/epochs": 2}')
    shutil.copytree(ASSETS / "finished", tmp_path / "plain")  # its plan has no confirmation
    run = str(followed_run[0] / "run")
    done = here(*(word.format(run=run) for word in words))
    assert done.status == 2
    assert done.errors.splitlines() == [f"error: {line}" for line in said]


@pytest.mark.long
def test_files_to_compare_are_named_by_what_differs_and_their_defaults_are_said(
    followed_run, here, tmp_path
):
    files = {"x/a/best.json": 2, "y/a/best.json": 3, "x/b/best.json": 4, "mine.json": 5}
    for name, units in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"values": {"units": units, "rate": 0.1}}))
    (tmp_path / "some.json").write_text('{"units": 6}')
    shutil.copytree(followed_run[0] / "run", tmp_path / "run")
    also = [word for file in [*files, "some.json", "x/../mine.json"] for word in ("--also", file)]
    done = here("confirm", "run", "--top", 1, "--seeds", 2, "--retrain-epochs", 1, *also)
    assert done.status == 0, done
    candidates = read(tmp_path, "confirm", "confirmation.json")["candidates"]
    compared = {
        row["name"]: row["values"]["units"] for row in candidates if row["is_for_comparison"]
    }
    assert compared == {"x/a/best": 2, "y/a/best": 3, "b/best": 4, "mine": 5, "some": 6}
    defaults = [line for line in done.output.splitlines() if "defaults" in line]
    assert len(defaults) == 1
    assert "some.json leaves these hyperparameters at their defaults: rate=0.01" in defaults[0]


@pytest.fixture
def cut_off_run(run):
    """A run whose search was interrupted after all."""
    journal = Journal(run / "journal.jsonl")
    history = History(Objective("val_accuracy", "max"))
    Recorder(journal, history, clock=lambda: 99.0).search_ended(INTERRUPTED)
    journal.close()
    return run


FOLLOWING = {
    "audit": ("--trials", 2),
    "confirm": ("--top", 2, "--seeds", 3, "--retrain-epochs", "2,4"),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_follow_up_of_an_interrupted_search_ends_like_any_other(cut_off_run, here, name):
    done = here(name, "run", *FOLLOWING[name])
    assert done.status == 0, done
    assert "for a report: fmnist-results report" in done.output
    assert REPEAT_TO_CONTINUE not in done.output
    assert "fmnist-search resume" not in done.output


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_follow_up_that_is_interrupted_says_how_to_continue(cut_off_run, here, monkeypatch, name):
    def interrupted(*_words, **_how):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"search.final.follow_up.{name}", interrupted)
    done = here(name, "run", *FOLLOWING[name])
    assert done.status == 130, done
    assert REPEAT_TO_CONTINUE in done.output
    assert "for a report" not in done.output
    assert "fmnist-search resume" not in done.output


def test_the_card_of_a_confirmed_model_names_the_confirmation(run, here, tmp_path):
    done = here("export", "run", "--only", "model", "--out", "taken")
    assert done.status == 0, done
    card = (tmp_path / "taken" / "MODEL_CARD.md").read_text()
    again = "`fmnist-search confirm RUN --top 2 --seeds 3 --retrain-epochs 2,4`"
    assert f"It won a confirmation on 3 new seeds: {again}" in card
    assert "| epochs to choose from | 2, 4 |" in card
    assert "fmnist-search retrain" not in card + done.output


def test_a_run_without_stopped_trials_has_nothing_to_audit(here, tmp_path):
    done = here(
        "run", *PROBLEM, "--trials", 2, "--epochs", 1, "--retrain-epochs", "none", "--audit", 2,
        "--out", "run",
    )  # fmt: skip
    assert done.status == 0, done
    assert "--audit 2: only 0 trials were stopped" in done.output
    refused = here("audit", "run", "--trials", 1)
    assert refused.status == 2
    assert refused.errors == (
        "error: this run has no stopped trial to audit: expected a run of which --scheduler asha has stopped trials.\n"
    )
    assert not (tmp_path / "run" / "audit").exists()
