"""What is trained after a search: what it survives, and how often the test split is read."""

import json

import pyarrow.parquet as pq
import pytest
from in_process import fmnist_search


def search(model, retrain):
    return (
        "run", "--hypermodel", model, "--data", "problems:blobs", "--workers", 1, "--out", "run",
        "--trials", 2, "--epochs", 1, "--retrain-epochs", retrain,
    )  # fmt: skip


@pytest.mark.long
def test_a_training_whose_process_dies_after_a_state_comes_out_whole(here, notes, tmp_path):
    done = here(*search("dying:DyingLate", "7"))
    assert done.status == 0, done
    assert (notes / "died").read_text().split() == ["4", "5", "6"]  # trained after its death
    rows = pq.read_table(tmp_path / "run" / "final" / "history.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]


class CountedRun:
    """A run whose model writes down how often it is evaluated on the test split.

    Args:
        folder: Holds ``run``.
        notes: Where the model writes.
    """

    def __init__(self, folder, notes):
        self.folder, self.notes = folder, notes
        self.final = folder / "run" / "final" / "evaluation.json"

    def reads_of(self, *words):
        """Run a command; return how often it has read the test split, and what it printed."""
        reads = self.notes / "reads"
        reads.write_text("")
        done = fmnist_search(self.folder, *words)
        assert done.status == 0, done
        return len(reads.read_text().splitlines()), done.output

    def evaluation(self):
        return json.loads(self.final.read_text())

    def plan(self):
        return json.loads((self.folder / "run" / "run.json").read_text())["plan"]


CONFIRM = ("confirm", "run", "--top", "2", "--seeds", "3", "--retrain-epochs", "2,3")


@pytest.fixture(scope="module")
def run(running_ray, notes_folder, tmp_path_factory):
    """A run that was retrained, then confirmed; its tests go on with it in turn."""
    run = CountedRun(tmp_path_factory.mktemp("counted"), notes_folder)
    run.read_by_retraining, _ = run.reads_of(*search("problems:counted", "2"))
    run.read_by_confirmation, _ = run.reads_of(*CONFIRM)
    return run


def test_a_retraining_reads_the_test_split_once(run):
    assert run.read_by_retraining == 1


def test_a_confirmation_reads_the_test_split_once_for_each_final_model(run):
    assert run.read_by_confirmation == 3
    assert run.evaluation()["confirmed_seeds"] == [1, 2, 3]


def test_resume_keeps_a_confirmed_model_and_does_not_evaluate_it_again(run):
    confirmed = run.evaluation()
    reads, output = run.reads_of("resume", "run")
    assert (reads, run.evaluation()) == (0, confirmed)
    assert "keeping the final model: it won the confirmation" in output


def test_a_kill_between_two_evaluations_costs_the_missing_one_alone(run):
    records = (run.folder / "run" / "confirm").glob("*-seed-*.json")
    record = next(one for one in records if json.loads(one.read_text())["test"])
    record.write_text(json.dumps(json.loads(record.read_text()) | {"test": None}))
    # The same configuration once more, from a file, is no other one.
    same = run.folder / "same.json"
    same.write_text(json.dumps({"values": run.evaluation()["values"]}))
    reads, output = run.reads_of(*CONFIRM, "--also", "same.json")
    assert (reads, "1 of 1: " in output, "2 of " in output) == (1, True, False)


def test_a_resume_of_a_finished_search_follows_up_as_the_new_plan_says(run):
    confirmed = run.evaluation()
    options = ("--confirm", "2", "--seeds", "2", "--retrain-epochs", "2,3")
    reads, _ = run.reads_of("resume", "run", *options)
    winner = run.evaluation()  # on fewer seeds another may win
    is_same = (winner["values"], winner["epochs"]) == (confirmed["values"], confirmed["epochs"])
    assert reads == (0 if is_same else 2)
    assert winner["confirmed_seeds"] == [1, 2]
    plan = run.plan()
    assert (plan["confirm"], plan["seeds"], plan["retrain_epochs"]) == (2, 2, [2, 3])
