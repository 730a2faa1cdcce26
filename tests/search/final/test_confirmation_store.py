"""The store of a confirmation: every training is found again, and none is done twice."""

import json
from dataclasses import replace

import pytest

from results.record.columns import Device
from results.record.confirmation import Candidate
from results.record.history import Objective
from search.errors import RunFolderError
from search.final.confirm import compare_candidates
from search.final.confirmation_store import ConfirmationStore
from search.final.training import Trained
from search.storage.folder import RunFolder
from search.worker.process import trial_seed

SEEDS = (1, 2, 3)
ACCURACY = Objective("val_accuracy", "max")
BEST = Candidate("trial 17", 17, 2, {"layers": 2, "rate": 0.003}, 0.9)
MINE = Candidate("mine", None, 2, {"layers": 5}, None)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def store(folder):
    return ConfirmationStore(folder, SEEDS, {17: Device.CPU, 4: None})


def trained(*accuracies, loss=0.5, model=b"a model"):
    return Trained([{"val_accuracy": accuracy, "loss": loss} for accuracy in accuracies], model)


# --- Which trainings there are --------------------------------------------------------------------


def test_a_candidate_is_trained_on_each_seed(store):
    assert store.pairs([BEST, MINE]) == [
        (BEST, 1), (BEST, 2), (BEST, 3), (MINE, 1), (MINE, 2), (MINE, 3),
    ]  # fmt: skip


def test_candidates_of_one_configuration_share_their_trainings(store):
    renamed = replace(BEST, name="mine", trial=None)
    assert store.pairs([BEST, renamed]) == [(BEST, seed) for seed in SEEDS]


@pytest.mark.parametrize("change", [{"epochs": 3}, {"values": {"layers": 3}}])
def test_other_epochs_or_values_are_other_trainings(store, change):
    assert len(store.pairs([BEST, replace(BEST, **change)])) == 6


def test_a_training_has_the_values_and_epochs_of_its_candidate(store):
    training = store.training(BEST, 2)
    assert training.name == "trial 17 at 2 epochs on seed 2"
    assert (training.values, training.epochs) == (BEST.values, 2)


def test_all_candidates_train_with_the_same_seed(store):
    longer = replace(BEST, epochs=50)
    seeds = {store.training(candidate, 2).seed for candidate in (BEST, longer, MINE)}
    assert seeds == {trial_seed(2, 0)}
    assert store.training(BEST, 3).seed != store.training(BEST, 2).seed


def test_each_training_has_a_state_of_its_own_which_is_removed_like_that_of_a_retraining(
    store, folder
):
    states = {
        store.training(candidate, seed).state
        for candidate in (BEST, replace(BEST, epochs=50), MINE)
        for seed in SEEDS
    }
    assert len(states) == 9
    for state in states:
        state.touch()
    store.remove_leftovers()
    assert list(folder.checkpoints.iterdir()) == []


@pytest.mark.parametrize(
    ("candidate", "device"),
    [(BEST, Device.CPU), (replace(BEST, trial=4), None), (replace(BEST, trial=9), None), (MINE, None)],
)  # fmt: skip
def test_a_training_is_done_on_the_device_of_its_trial(store, candidate, device):
    assert store.training(candidate, 1).device is device


# --- What is stored -------------------------------------------------------------------------------


def test_a_training_is_stored_with_its_history_and_its_model(store):
    assert not store.is_trained(BEST, 1)
    assert not store.has_model(BEST, 1)
    store.save(BEST, 1, trained(0.5, 0.7))
    assert store.is_trained(BEST, 1)
    assert store.has_model(BEST, 1)
    assert store.trained(BEST, 1) == trained(0.5, 0.7)
    assert not store.is_trained(BEST, 2)
    assert not store.is_trained(MINE, 1)


def test_the_files_of_a_training_have_names_that_later_versions_find(store, folder):
    store.save(BEST, 1, trained(0.7))
    record, model = sorted((folder.path / "confirm").iterdir())
    assert record.name == "aa1d1fa1d0e3-epochs-00002-seed-1.json"
    assert model.name == "aa1d1fa1d0e3-epochs-00002-seed-1.keras"
    assert json.loads(record.read_text()) == {
        "values": {"layers": 2, "rate": 0.003},
        "history": [{"val_accuracy": 0.7, "loss": 0.5}],
        "test": None,
    }


def test_a_training_whose_model_cannot_be_written_is_not_stored(store, folder):
    # A folder in the place of the model, which cannot be replaced by a file.
    (folder.path / "confirm" / "aa1d1fa1d0e3-epochs-00002-seed-1.keras").mkdir()
    with pytest.raises(RunFolderError, match="cannot be written"):
        store.save(BEST, 1, trained(0.7))
    assert not store.is_trained(BEST, 1)


def test_scores_on_the_test_split_are_stored_with_the_training(store):
    store.save(BEST, 1, trained(0.7))
    assert not store.is_evaluated(BEST, 1)
    store.save_test(BEST, 1, {"test_accuracy": 0.6})
    assert store.is_evaluated(BEST, 1)
    assert store.trained(BEST, 1) == trained(0.7)


def test_only_the_models_are_removed_in_the_end(store, folder):
    store.save(BEST, 1, trained(0.7))
    store.remove_leftovers()
    assert store.is_trained(BEST, 1)
    assert not store.has_model(BEST, 1)


def test_a_later_confirmation_finds_a_training_under_another_name(store, folder):
    for seed, last in zip(SEEDS, (0.7, 0.6, 0.8), strict=True):
        store.save(BEST, seed, trained(0.5, last))
    later = ConfirmationStore(folder, (2, 3, 4), {})
    renamed = replace(BEST, name="mine", trial=None)
    assert [later.is_trained(renamed, seed) for seed in later.seeds] == [True, True, False]
    assert later.trained(renamed, 2) == trained(0.5, 0.6)


def test_a_model_that_is_made_again_leaves_the_stored_metrics_and_scores(store):
    store.save(BEST, 1, trained(0.7))
    store.save_test(BEST, 1, {"test_accuracy": 0.6})
    store.remove_leftovers()
    store.save(BEST, 1, trained(0.1, model=b"made again"))
    assert store.trained(BEST, 1) == trained(0.7, model=b"made again")
    assert store.is_evaluated(BEST, 1)


# --- Scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "score"),
    [
        pytest.param(trained(0.5, 0.7), 0.7, id="last-epoch"),
        pytest.param(trained(0.9, 0.7), 0.7, id="not-the-best-epoch"),
        pytest.param(trained(0.5, None), None, id="objective-not-finite"),
        pytest.param(trained(0.5, 0.7, loss=None), None, id="loss-not-finite"),
    ],
)
def test_the_score_of_a_training_is_the_objective_at_its_last_epoch(store, training, score):
    store.save(BEST, 1, trained(0.25))
    store.save(BEST, 2, training)
    store.save(BEST, 3, trained(0.75))
    assert store.scores(BEST, ACCURACY) == [0.25, score, 0.75]


@pytest.mark.parametrize(
    ("scores", "accuracies"),
    [
        ([{"test_accuracy": 0.5}, {"test_accuracy": 0.6}, {"test_accuracy": 0.7}], (0.5, 0.6, 0.7)),
        ([{"test_loss": 0.5}] * 3, None),
    ],
)
def test_final_models_of_a_classifier_have_their_accuracies_on_the_test_split(
    store, scores, accuracies
):
    for seed, of_seed in zip(SEEDS, scores, strict=True):
        store.save(BEST, seed, trained(0.9))
        store.save(MINE, seed, trained(0.8))
        store.save(replace(BEST, epochs=9), seed, trained(0.7))
        store.save_test(BEST, seed, of_seed)
        store.save_test(MINE, seed, {"test_accuracy": 0.1})
    candidates = [BEST, MINE, replace(BEST, epochs=9)]
    confirmation = store.with_tests(
        compare_candidates(
            candidates, SEEDS, [store.scores(one, ACCURACY) for one in candidates], ACCURACY
        )
    )
    winner, mine, other = confirmation.candidates
    assert (winner.test and winner.test.accuracies) == accuracies
    assert mine.test.accuracies == (0.1, 0.1, 0.1)
    assert other.test is None, "only the final models are evaluated"


def test_a_test_accuracy_has_its_mean_and_interval(store):
    for seed, accuracy in zip(SEEDS, (0.25, 0.5, 0.75), strict=True):
        store.save(BEST, seed, trained(0.9))
        store.save_test(BEST, seed, {"test_accuracy": accuracy})
    confirmation = compare_candidates([BEST], SEEDS, [[0.9] * 3], ACCURACY)
    test = store.with_tests(confirmation).winning_candidate.test
    assert (test.mean, test.low, test.high) == (0.5, 0.25, 0.75)
