"""final/: what is written of a final model, and what is kept of the one before."""

import json

import pyarrow.parquet as pq
import pytest

from search.final.retrain import FinalModel, write_final
from search.final.scores import Evaluated
from search.final.training import Trained
from search.storage.folder import RunFolder


def trained(epochs):
    history = [
        {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": epoch / 10}
        for epoch in range(1, epochs + 1)
    ]
    return Trained(history, f"a model of {epochs} epochs".encode())


def final_model(epochs, confirmed_seeds=None):
    trainings = {number: trained(number) for number in (2, 4)}
    evaluated = Evaluated({"test_loss": 0.3, "test_accuracy": 0.8})
    return FinalModel(
        7, {"units": 3}, "val_accuracy", 0, trainings, epochs, evaluated, confirmed_seeds
    )  # fmt: skip


# As version 0.1.0 wrote it.
EVALUATION = {
    "test_loss": 0.3, "test_accuracy": 0.8, "validation_loss": 1.0, "validation_accuracy": 0.2,
    "train_loss": 0.5, "train_accuracy": 0.5, "epochs": 2, "seed": 0, "objective": "val_accuracy",
    "trial": 7, "values": {"units": 3}, "retrain_epochs": [2, 4],
}  # fmt: skip


@pytest.mark.parametrize("seeds", [None, (1, 2)])
def test_the_evaluation_has_the_names_and_the_order_of_version_0_1_0(tmp_path, seeds):
    write_final(RunFolder(tmp_path), final_model(2, seeds))
    confirmed = {"confirmed_seeds": [1, 2]} if seeds else {}
    text = (tmp_path / "final" / "evaluation.json").read_text()
    assert text == json.dumps(EVALUATION | confirmed, indent=2) + "\n"


def test_every_training_is_in_the_history_and_the_model_is_that_of_the_chosen_one(tmp_path):
    write_final(RunFolder(tmp_path), final_model(4))
    rows = pq.read_table(tmp_path / "final" / "history.parquet").to_pylist()
    assert [(row["planned_epochs"], row["epoch"]) for row in rows] == [
        (planned, epoch) for planned in (2, 4) for epoch in range(1, planned + 1)
    ]
    assert [row["metric:val_accuracy"] for row in rows[2:]] == [0.1, 0.2, 0.3, 0.4]
    assert (tmp_path / "final" / "model.keras").read_bytes() == b"a model of 4 epochs"


def test_the_final_model_before_is_kept_beside_it(tmp_path):
    for epochs in (2, 4):
        write_final(RunFolder(tmp_path), final_model(epochs))
    assert (tmp_path / "final" / "model.keras").read_bytes() == b"a model of 4 epochs"
    assert (tmp_path / "final.previous" / "model.keras").read_bytes() == b"a model of 2 epochs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "final.previous"]
