"""Retraining: which number of epochs is chosen, and what final/ holds. No training, no Ray."""

import json

import pyarrow.parquet as pq
import pytest

from results.record.history import Objective
from search.errors import TrainingError
from search.final.retrain import FinalModel, choose, retrain, write_final
from search.final.scores import Evaluated
from search.final.training import Share, Trained
from search.storage.folder import RunFolder
from search.worker.process import trial_seed

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")


# --- The number of epochs -------------------------------------------------------------------------


def ended_at(*values, loss=0.5, name="val_accuracy"):
    return Trained([{name: value, "loss": loss} for value in values], b"")


@pytest.mark.parametrize(
    ("trained", "epochs"),
    [
        pytest.param({20: ended_at(0.5), 50: ended_at(0.7)}, 50, id="the-best"),
        pytest.param({20: ended_at(0.7), 50: ended_at(0.5)}, 20, id="the-best-first"),
        pytest.param({20: ended_at(0.5), 50: ended_at(0.9, 0.4)}, 20, id="at-the-last-epoch"),
        pytest.param({50: ended_at(0.7), 20: ended_at(0.7)}, 20, id="of-equals-the-fewest"),
        pytest.param({20: ended_at(None), 50: ended_at(0.4)}, 50, id="not-finite"),
        pytest.param({20: ended_at(0.9, loss=None), 50: ended_at(0.4)}, 50, id="loss-not-finite"),
        pytest.param({20: ended_at(0.4), 50: ended_at(None)}, 20, id="last-not-finite"),
    ],
)
def test_the_number_of_epochs_with_the_best_last_value_is_chosen(trained, epochs):
    assert choose(trained, ACCURACY) == epochs


def test_the_number_of_epochs_with_the_least_loss_is_chosen():
    trained = {n: ended_at(value, name="val_loss") for n, value in ((20, 0.4), (50, 0.3))}
    assert choose(trained, LOSS) == 50


def test_a_configuration_that_diverges_at_any_number_of_epochs_is_an_error():
    with pytest.raises(TrainingError) as refused:
        choose({50: ended_at(None), 20: ended_at(0.5, None)}, ACCURACY)
    assert str(refused.value) == (
        "Retraining gave no finite val_accuracy at [20, 50] epochs: the configuration diverges. "
        "Try other --retrain-epochs, or extend the search."
    )


# --- A whole retraining ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def best(make_trial):
    return make_trial(7, 0.9)


def by_epochs(make_trained, scores):
    def train_one(training):
        model = f"a model of {training.epochs} epochs".encode()
        return make_trained(scores[training.epochs], epochs=training.epochs, model=model)

    return train_one


@pytest.fixture
def retraining(folder, best, make_trainer, make_trained):
    """Retrain the best trial; return the trainer and the content of evaluation.json."""

    def run(epochs, scores, progress=lambda epochs_done: None, **options):
        trainer = make_trainer(by_epochs(make_trained, scores), **options)
        return trainer, retrain(trainer, best, epochs, folder, progress)

    return run


def test_each_number_of_epochs_is_trained_once_with_a_seed_of_its_own(retraining, folder):
    trainer, _ = retraining((4, 2, 4), {2: 0.5, 4: 0.6})
    assert [(one.name, one.values, one.epochs, one.seed, one.state, one.device)
            for one in reversed(trainer.trained)] == [
        (f"Retraining at {epochs} epochs", {"units": 7}, epochs, trial_seed(10, epochs),
         folder.retraining_state_file(7, epochs), None)
        for epochs in (2, 4)
    ]  # fmt: skip


def test_only_the_chosen_model_is_evaluated_on_this_node_and_a_cpu(retraining):
    trainer, _ = retraining((2, 4), {2: 0.7, 4: 0.6}, share=Share(8.0, 8, 1.0))
    assert trainer.evaluated == [({"units": 7}, b"a model of 2 epochs", Share(1, 1, is_local=True))]


def test_a_node_that_offers_no_cpu_evaluates_without_one(retraining):
    trainer, _ = retraining((2,), {2: 0.7}, share=Share(0, 1))
    assert trainer.evaluated[0][2] == Share(0, 1, is_local=True)


def test_the_result_is_written_and_returned(retraining, folder):
    _, evaluation = retraining((2, 4), {2: 0.5, 4: 0.6})
    assert json.loads((folder.final / "evaluation.json").read_text()) == evaluation
    assert (evaluation["epochs"], evaluation["retrain_epochs"]) == (4, [2, 4])
    assert (evaluation["trial"], evaluation["seed"]) == (7, 10)
    assert evaluation["objective"] == "val_accuracy"
    assert evaluation["test_accuracy"] == 0.75
    assert (folder.final / "model.keras").read_bytes() == b"a model of 4 epochs"


def test_the_progress_of_all_retrainings_is_shown_after_each_epoch(retraining):
    shown = []
    retraining((2, 1), {1: 0.5, 2: 0.6}, lambda epochs_done: shown.append(dict(epochs_done)))
    assert shown == [{1: 0, 2: 1}, {1: 0, 2: 2}, {1: 1, 2: 2}]


def test_the_states_of_the_retrainings_are_removed(retraining, folder):
    folder.retraining_state_file(7, 2).touch()
    retraining((2,), {2: 0.5})
    assert list(folder.checkpoints.iterdir()) == []


def test_a_retraining_that_diverges_leaves_the_former_final_model(retraining, folder):
    retraining((2,), {2: 0.5})
    with pytest.raises(TrainingError, match="no finite val_accuracy"):
        retraining((4,), {4: None})
    assert (folder.final / "model.keras").read_bytes() == b"a model of 2 epochs"


def test_an_error_of_ray_is_a_training_that_failed(best, folder, make_trainer):
    import ray

    def train_one(training):
        raise ray.exceptions.WorkerCrashedError

    with pytest.raises(TrainingError, match=r"^Retraining or evaluating failed: WorkerCrashed"):
        retrain(make_trainer(train_one), best, (2,), folder, lambda epochs_done: None)


# --- final/ ---------------------------------------------------------------------------------------


def trained(epochs):
    history = [
        {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": epoch / 10}
        for epoch in range(1, epochs + 1)
    ]
    return Trained(history, f"a model of {epochs} epochs".encode())


def final_model(epochs, confirmed_seeds=None, mistakes=()):
    trainings = {number: trained(number) for number in (2, 4)}
    evaluated = Evaluated({"test_loss": 0.3, "test_accuracy": 0.8}, list(mistakes))
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


def test_the_history_holds_every_training(tmp_path):
    write_final(RunFolder(tmp_path), final_model(4))
    rows = pq.read_table(tmp_path / "final" / "history.parquet").to_pylist()
    assert [(row["planned_epochs"], row["epoch"]) for row in rows] == [
        (planned, epoch) for planned in (2, 4) for epoch in range(1, planned + 1)
    ]
    assert [row["metric:val_accuracy"] for row in rows[2:]] == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("epochs", [2, 4])
def test_the_model_is_that_of_the_chosen_training(tmp_path, epochs):
    write_final(RunFolder(tmp_path), final_model(epochs))
    model = (tmp_path / "final" / "model.keras").read_bytes()
    assert model == f"a model of {epochs} epochs".encode()


def test_the_mistakes_of_a_classifier_are_written(tmp_path):
    rows = [{"position": 3, "true_class": "1"}, {"position": 1, "true_class": "2"}]
    write_final(RunFolder(tmp_path), final_model(4, mistakes=rows))
    assert pq.read_table(tmp_path / "final" / "mistakes.parquet").to_pylist() == rows


def test_a_model_without_mistakes_has_no_table_of_them(tmp_path):
    write_final(RunFolder(tmp_path), final_model(4))
    assert {path.name for path in (tmp_path / "final").iterdir()} == {
        "evaluation.json", "history.parquet", "model.keras",
    }  # fmt: skip


def test_the_former_final_model_is_kept_beside_the_new_one(tmp_path):
    for epochs in (2, 4):
        write_final(RunFolder(tmp_path), final_model(epochs))
    assert (tmp_path / "final" / "model.keras").read_bytes() == b"a model of 4 epochs"
    assert (tmp_path / "final.previous" / "model.keras").read_bytes() == b"a model of 2 epochs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "final.previous"]


def test_what_a_killed_process_left_half_written_is_replaced(tmp_path):
    (tmp_path / "final.fresh").mkdir()
    (tmp_path / "final.fresh" / "half").touch()
    write_final(RunFolder(tmp_path), final_model(4))
    assert not (tmp_path / "final" / "half").exists()
