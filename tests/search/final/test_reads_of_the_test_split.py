"""What is trained after a search: what it survives, and how often the test split is read."""

import json
import os
import subprocess

import pyarrow.parquet as pq
import pytest


def search(model, retrain):
    return (
        "run", "--hypermodel", model, "--data", "problems:blobs", "--out", "run",
        "--trials", "2", "--epochs", "1", "--retrain-epochs", retrain,
    )  # fmt: skip


@pytest.fixture
def command(commands, tmp_path):
    """Runs a command in a folder of the test, which holds ``run``; returns what it said."""

    def run(*words, **variables):
        done = subprocess.run(
            [commands / "fmnist-search", *words], cwd=tmp_path, env=os.environ | variables,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_training_whose_process_dies_after_a_state_comes_out_whole(command, tmp_path):
    marker = tmp_path / "marker"
    command(*search("dying:DyingLate", "7"), DYING_MARKER=str(marker))
    assert marker.read_text().split() == ["4", "5", "6"]  # what was trained after its death
    rows = pq.read_table(tmp_path / "run" / "final" / "history.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]


def test_each_final_model_reads_the_test_split_once_whatever_is_asked_after_it(command, tmp_path):
    reads = tmp_path / "reads"
    final = tmp_path / "run" / "final" / "evaluation.json"

    def count(*words):
        before = len(reads.read_text()) if reads.exists() else 0
        said = command(*words, READS=str(reads))
        return (len(reads.read_text()) - before) // len("read\n"), said

    confirm = ("confirm", "run", "--top", "2", "--seeds", "3", "--retrain-epochs", "2,3")
    assert count(*search("problems:counted", "2"))[0] == 1
    assert count(*confirm)[0] == 3
    confirmed = json.loads(final.read_text())
    assert confirmed["confirmed_seeds"] == [1, 2, 3]

    read, said = count("resume", "run")
    assert (read, json.loads(final.read_text())) == (0, confirmed)
    assert "keeping the final model: it won the confirmation" in said

    # As a kill between two evaluations leaves it; the same configuration once more changes nothing.
    records = (tmp_path / "run" / "confirm").glob("*-seed-*.json")
    record = next(one for one in records if json.loads(one.read_text())["test"])
    record.write_text(json.dumps(json.loads(record.read_text()) | {"test": None}))
    (tmp_path / "same.json").write_text(json.dumps({"values": confirmed["values"]}))
    read, said = count(*confirm, "--also", "same.json")
    assert (read, "1 of 1: " in said, "2 of " in said) == (1, True, False)

    # What follows the search is what was asked last, also where nothing is left to search.
    fewer = ("--confirm", "2", "--seeds", "2", "--retrain-epochs", "2,3")
    read, _ = count("resume", "run", *fewer)
    won = json.loads(final.read_text())  # on fewer seeds another may win
    is_same = (won["values"], won["epochs"]) == (confirmed["values"], confirmed["epochs"])
    assert read == (0 if is_same else 2)
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert (plan["confirm"], plan["seeds"], plan["retrain_epochs"]) == (2, 2, [2, 3])
    assert json.loads(final.read_text())["confirmed_seeds"] == [1, 2]
