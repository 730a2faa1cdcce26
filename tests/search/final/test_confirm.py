"""How candidates are compared on new seeds, and what is written of it: no training, no Ray."""

from dataclasses import replace
from pathlib import Path

import pytest

from results.record.columns import Device
from results.record.confirmation import AccuracyOnTest, Candidate, Confirmation, Verdict
from results.record.history import Objective
from results.record.intervals import estimate_mean
from search.errors import RunFolderError
from search.final.confirm import compare_candidates, confirmed_trials
from search.final.confirmation_store import ConfirmationStore
from search.final.training import Trained
from search.storage.folder import RunFolder

# As version 0.1.0 wrote it of the scores below.
GOLDEN = Path(__file__).parent / "golden" / "confirmation.json"
VALUES = {"layers": 2, "rate": 0.003, "kind": "relu", "deep": True}
SCORES = (
    ("trial 17", 20, 0.9112, (0.9070, 0.9062, 0.9081)),
    ("trial 17", 50, 0.9112, (0.9071, 0.9058, 0.9079)),
    ("trial 4", 20, 0.9101, (0.9041, 0.9038, 0.9052)),
    ("trial 9", 50, 0.9098, (0.9060, None, 0.9050)),
    ("mine", 20, None, (0.9103, 0.9090, 0.9121)),
    ("mine", 50, None, (0.8993, 0.8980, 0.9011)),
)
SEEDS = (1, 2, 3)
ACCURACY = Objective("val_accuracy", "max")


def candidate(name, epochs, search_value):
    trial = int(name.split()[1]) if name.startswith("trial") else None
    return Candidate(name, trial, epochs, VALUES, search_value)


@pytest.fixture
def confirmation():
    chosen = [candidate(name, epochs, value) for name, epochs, value, _ in SCORES]
    made = compare_candidates(chosen, SEEDS, [scores for *_, scores in SCORES], ACCURACY)
    candidates = list(made.candidates)
    for one in made.tested_candidates:
        place = candidates.index(one)
        accuracies = tuple(0.9 + seed / 1000 - place / 100 for seed in SEEDS)
        test = AccuracyOnTest(accuracies, **estimate_mean(accuracies).to_json())
        candidates[place] = replace(one, test=test)
    return replace(made, candidates=tuple(candidates))


def test_the_file_is_byte_for_byte_that_of_version_0_1_0(confirmation, tmp_path):
    confirmation.write(tmp_path / "confirmation.json")
    assert (tmp_path / "confirmation.json").read_bytes() == GOLDEN.read_bytes()


def test_the_file_is_read_as_what_was_written(confirmation):
    read = Confirmation.read(GOLDEN)
    assert read == confirmation
    assert {name: type(value) for name, value in read.candidates[0].values.items()} == {
        name: type(value) for name, value in VALUES.items()
    }


def test_the_winner_and_each_configuration_to_compare_at_its_best_have_final_models(confirmation):
    assert [(one.name, one.epochs) for one in confirmation.tested_candidates] == [
        ("trial 17", 20),
        ("mine", 20),
    ]
    assert confirmation.winning_candidate.verdict is Verdict.WINNER
    assert confirmation.comparisons[0].verdict is Verdict.BETTER


def test_the_trials_that_were_confirmed_are_those_of_the_file(tmp_path):
    folder = RunFolder(tmp_path)
    assert confirmed_trials(folder) == set()
    folder.confirmation_file.parent.mkdir()
    folder.confirmation_file.write_bytes(GOLDEN.read_bytes())
    assert confirmed_trials(folder) == {17, 4, 9}
    folder.confirmation_file.write_text("{}")
    with pytest.raises(RunFolderError, match=r"confirmation\.json is damaged or incomplete"):
        confirmed_trials(folder)


# --- The store -----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    return ConfirmationStore(folder, SEEDS, {17: Device.CPU, 4: None})


def trained(*accuracies):
    history = [{"val_accuracy": accuracy, "loss": 0.5} for accuracy in accuracies]
    return Trained(history, b"a model")


def test_candidates_of_one_configuration_share_their_trainings(store):
    one, same = candidate("trial 17", 20, 0.9), candidate("mine", 20, None)
    longer = replace(one, epochs=50)
    assert store.pairs([one, same, longer]) == [
        (candidate, seed) for candidate in (one, longer) for seed in SEEDS
    ]


def test_each_training_draws_by_its_seed_alone_where_its_trial_was(store):
    one, other = candidate("trial 17", 20, 0.9), replace(candidate("mine", 50, None), values={})
    first, second, third = store.training(one, 1), store.training(other, 1), store.training(one, 2)
    assert first.seed == second.seed != third.seed
    assert len({training.state for training in (first, second, third)}) == 3
    assert (first.device, second.device) == (Device.CPU, None)
    assert first.name == "trial 17 at 20 epochs on seed 1"


def test_what_is_kept_is_found_by_a_later_confirmation_and_only_the_models_are_removed(
    store, tmp_path
):
    one = candidate("trial 17", 2, 0.9)
    assert not store.is_trained(one, 1)
    for seed, last in zip(SEEDS, (0.7, None, 0.8), strict=True):
        store.save(one, seed, trained(0.5, last))
    store.save_test(one, 1, {"test_accuracy": 0.6})
    store.remove_leftovers()
    later = ConfirmationStore(RunFolder(tmp_path / "run"), SEEDS, {})
    renamed = replace(one, name="mine", trial=None)
    assert later.scores(renamed, ACCURACY) == [0.7, None, 0.8]
    assert [later.is_evaluated(one, seed) for seed in SEEDS] == [True, False, False]
    assert not later.has_model(one, 1)
    later.save(one, 1, trained(0.1, 0.1))  # its model alone is made again
    assert later.trained(one, 1).model == b"a model"
    assert later.scores(one, ACCURACY)[0] == 0.7
    assert later.is_evaluated(one, 1)


@pytest.mark.parametrize(
    ("scores", "accuracies"),
    [({"test_accuracy": 0.5}, (0.5, 0.5, 0.5)), ({"test_loss": 0.5}, None)],
)
def test_final_models_of_a_classifier_have_their_accuracy_on_the_test_set(
    store, scores, accuracies
):
    winner, other = candidate("trial 17", 2, 0.9), replace(candidate("trial 4", 2, 0.8), values={})
    for seed in SEEDS:
        store.save(winner, seed, trained(0.9))
        store.save(other, seed, trained(0.8))
        store.save_test(winner, seed, scores)
    chosen = [winner, other]
    made = compare_candidates(
        chosen, SEEDS, [store.scores(one, ACCURACY) for one in chosen], ACCURACY
    )
    first, second = store.with_tests(made).candidates
    assert (first.test and first.test.accuracies, second.test) == (accuracies, None)
