"""A real search, not a made-up one, is read, compared, shown, drawn and followed."""

import json
import subprocess
import time

import matplotlib.image
import pytest

from results.compare.rows import published_rows
from results.reading import read_run
from results.record import columns
from results.record.words import quantity
from results.report import charts
from results.report.pictures import draw_final
from results.run import ending_of, row_of


@pytest.fixture(scope="module")
def run(real_run):
    return read_run(real_run[0])


def test_the_row_has_what_the_search_recorded(run):
    row = row_of(run)
    best = json.loads((run.path / "best.json").read_text())
    evaluation = json.loads((run.path / "final" / "evaluation.json").read_text())
    assert (row.best, row.reached_seconds) == (best["value"], best["at_seconds"])
    assert row.test_accuracy == evaluation["test_accuracy"]
    assert (row.engine, row.space, row.algorithm, row.workers) == ("ray", "wide", "tpe", 2)
    assert row.ended == "trials done"
    assert row.trials == 6
    assert row.epochs < 6 * 3, "no trial was stopped"
    assert row.reached_seconds < row.wall_seconds


def test_it_is_ranked_among_the_published_results(results, run):
    status, out, _ = results("compare", run.path, "--format", "json")
    assert status == 0
    rows = json.loads(out)
    assert len(rows) == 1 + len(published_rows())
    assert "a real run" in [row["name"] for row in rows]
    values = [row["best"] for row in rows if row["best"] is not None]
    assert values == sorted(values, reverse=True)


def test_its_trials_are_shown_with_their_endings(results, run):
    _, out, _ = results("show", run.path)
    _heading, *trials, data = out.splitlines()
    assert len(trials) == 6
    assert data.startswith("data: train[0] (array 54000x28x28, shared arrays); train[1] (array")
    assert "stopped by ASHA" in out
    trials = json.loads(results("show", run.path, "--format", "json")[1])
    assert trials[0]["hyperparameters"]["batch_size"] == 96


def test_its_confusion_matrix_and_its_mistakes_are_drawn(run, tmp_path):
    paths = list(draw_final(run, tmp_path))
    assert [path.name for path in paths] == ["confusion_matrix.png", "mistakes.png"]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 600, path
        assert picture.std() > 0.05, f"{path} is nearly empty"


def test_its_retrainings_and_its_confusion_matrix_are_those_of_the_files(run):
    accuracy, loss = charts.retrained(run)
    assert [line.name for line in accuracy.figure.data] == [
        "1 epoch, train", "1 epoch, validation", "2 epochs, train", "2 epochs, validation",
    ]  # fmt: skip
    assert len(accuracy.figure.data[3].y) == 2
    assert loss.rows[0][0] == "retrained for"
    matrix = charts.confusion_matrix(run)
    assert [list(row) for row in matrix.figure.data[0].text] == run.evaluation["confusion_matrix"]
    assert matrix.rows[1][0] == "T-shirt/top"
    assert len(charts.per_class(run).rows) == 11


def follower(commands, run, *options):
    return subprocess.Popen(
        [commands / "fmnist-results", "show", run, "--follow", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.long
def test_a_real_search_is_followed_to_its_end(commands, tmp_path):
    run = tmp_path / "followed"
    search = subprocess.Popen(
        [
            commands / "fmnist-search", "run", "--hypermodel", "problems:small", "--data",
            "problems:blobs", "--trials", "4", "--epochs", "3", "--grace-period", "1",
            "--workers", "2", "--retrain-epochs", "none", "--out", run,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not run.is_dir():
        assert search.poll() is None, "the search ended without a run folder"
        time.sleep(0.1)
    followers = [follower(commands, run), follower(commands, run, "--format", "json")]
    (text, notes), (events, _) = (one.communicate(timeout=300) for one in followers)
    assert search.wait(timeout=60) == 0
    assert [one.returncode for one in followers] == [0, 0]
    assert notes == f"waiting: nothing is recorded in {run} yet\n"
    assert events == (run / columns.JOURNAL_FILE).read_text()
    kinds = [json.loads(line)["event"] for line in events.splitlines()]
    assert (kinds[0], kinds[-1]) == ("search_started", "search_ended")
    rows = read_run(run).trials.to_pylist()
    lines = text.splitlines()
    assert len(rows) == 4
    for row in rows:
        trial = f"trial {row[columns.TRIAL]}"
        assert any(f"  {trial} started: " in line for line in lines)
        end = (
            f"{trial} {ending_of(row)} after {quantity(row['epochs'], 'epoch')}, best val_accuracy "
        )
        assert any(f"{end}{row['best_objective']:.4f}" in line for line in lines)
    best = max(row["best_objective"] for row in rows)
    assert lines[-1].startswith(
        f"search ended (trials done): 4 trials, {kinds.count('epoch')} epochs, best val_accuracy "
        f"{best:.4f} in trial "
    )
