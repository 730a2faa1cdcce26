"""The confirmation: its candidates, how they are compared, and the work of a whole one.

No training, no Ray: a stand-in of the trainer returns the scores that a test says.
"""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results.record.columns import Device, ScoreKind, State
from results.record.confirmation import AccuracyOnTest, Candidate, Confirmation, Verdict
from results.record.history import Objective
from results.record.intervals import estimate_mean
from search.errors import RunFolderError, TrainingError, UsageError
from search.final.confirm import (
    compare_candidates,
    confirm,
    confirmed_trials,
    distinct_trials,
    make_candidates,
)
from search.plan.plan import ConfirmationPlan
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
ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")


# --- The candidates -------------------------------------------------------------------------------


def test_of_equal_configurations_the_best_trial_counts(make_history, make_trial):
    same = {"units": 7}
    history = make_history(
        make_trial(0, 0.7),
        make_trial(1, 0.9, values=same),
        make_trial(2, 0.8, values=same),
        make_trial(3, 0.6, state=State.STOPPED),
    )
    assert [trial.trial for trial in distinct_trials(history)] == [1, 0, 3]


def test_a_trial_without_a_value_is_no_candidate(make_history, make_trial):
    history = make_history(make_trial(0, None), make_trial(1, 0.9))
    assert [trial.trial for trial in distinct_trials(history)] == [1]


def test_candidates_are_the_best_and_those_for_comparison_at_each_number_of_epochs(
    make_history, make_trial
):
    history = make_history(make_trial(0, 0.7), make_trial(1, 0.9), make_trial(2, 0.8))
    plan = ConfirmationPlan(2, 3, (9, 5, 9), {"mine": {"units": 1}, "yours": {"units": 4}})
    assert make_candidates(history, plan) == [
        Candidate("trial 1", 1, 5, {"units": 1}, 0.9),
        Candidate("trial 1", 1, 9, {"units": 1}, 0.9),
        Candidate("trial 2", 2, 5, {"units": 2}, 0.8),
        Candidate("trial 2", 2, 9, {"units": 2}, 0.8),
        Candidate("mine", None, 5, {"units": 1}, None),
        Candidate("mine", None, 9, {"units": 1}, None),
        Candidate("yours", None, 5, {"units": 4}, None),
        Candidate("yours", None, 9, {"units": 4}, None),
    ]


def test_a_score_that_fit_returned_is_not_compared_with_the_values_of_epochs(
    make_history, make_trial
):
    history = make_history(make_trial(0, 0.7))
    history.score_kind = ScoreKind.RETURNED
    [candidate] = make_candidates(history, ConfirmationPlan(1, 3, (5,)))
    assert candidate.search_value is None


def test_all_configurations_may_be_candidates(make_history, make_trial):
    history = make_history(make_trial(0, 0.7), make_trial(1, 0.9))
    assert len(make_candidates(history, ConfirmationPlan(2, 2, (5,)))) == 2


def test_more_candidates_than_configurations_are_refused(make_history, make_trial):
    history = make_history(make_trial(0, 0.7), make_trial(1, 0.9), make_trial(2, None))
    with pytest.raises(UsageError) as refused:
        make_candidates(history, ConfirmationPlan(3, 2, (5,)))
    assert str(refused.value) == (
        "--top 3: only 2 different configurations have reported a value: expected at most 2."
    )


# --- The comparison -------------------------------------------------------------------------------


def compare(scores, objective=ACCURACY, *, for_comparison=()):
    """Compare candidates by their scores on each seed; return the candidates by name."""
    candidates = [
        Candidate(name, None if name in for_comparison else place, 5, {"units": place}, 0.99)
        for place, name in enumerate(scores)
    ]
    seeds = range(11, 11 + len(next(iter(scores.values()))))
    made = compare_candidates(candidates, seeds, list(scores.values()), objective)
    return {candidate.name: candidate for candidate in made.candidates}


def verdicts(scores, objective=ACCURACY, **options):
    made = compare(scores, objective, **options)
    return {name: candidate.verdict for name, candidate in made.items()}


def test_the_best_mean_wins():
    assert verdicts({"a": [0.90, 0.91], "b": [0.91, 0.92], "c": [0.80, 0.99]}) == {
        "a": "worse",
        "b": "winner",
        "c": "tie",
    }


def test_the_least_mean_of_a_loss_wins():
    assert verdicts({"a": [0.5, 0.6], "b": [0.3, 0.4]}, LOSS) == {"a": "worse", "b": "winner"}


def test_of_equal_means_the_first_wins_and_the_other_ties():
    assert verdicts({"a": [0.5, 0.6], "b": [0.5, 0.6]}) == {"a": "winner", "b": "tie"}


def test_a_configuration_for_comparison_never_wins():
    scores = {"mine": [0.94, 0.95], "a": [0.91, 0.92], "yours": [0.8, 0.8]}
    made = compare(scores, for_comparison=("mine", "yours"))
    assert {name: (one.verdict, one.is_for_comparison) for name, one in made.items()} == {
        "mine": ("better", True),
        "a": ("winner", False),
        "yours": ("worse", True),
    }


def test_a_lower_loss_for_comparison_is_better():
    scores = {"a": [0.5, 0.6], "mine": [0.3, 0.4], "yours": [0.7, 0.8]}
    assert verdicts(scores, LOSS, for_comparison=("mine", "yours")) == {
        "a": "winner",
        "mine": "better",
        "yours": "worse",
    }


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.25, 0.25, 0.25], "better"),
        ([0.0, 0.0, 0.25], "tie"),
        ([-0.25, 0.25, 0.0], "tie"),
        ([0.0, 0.0, -0.25], "tie"),
        ([-0.25, -0.25, -0.25], "worse"),
    ],
)
def test_an_interval_of_the_difference_that_includes_zero_is_a_tie(differences, verdict):
    scores = {"a": [0.5, 0.5, 0.5], "mine": [0.5 + difference for difference in differences]}
    assert verdicts(scores, for_comparison=("mine",))["mine"] == verdict


def test_differences_are_paired_by_seed():
    made = compare({"a": [0.125, 0.75], "b": [0.25, 0.875]})
    assert made["a"].difference.to_json() == {"mean": -0.125, "low": -0.125, "high": -0.125}
    assert made["b"].difference is None


def test_each_candidate_has_the_mean_of_its_scores_with_its_interval():
    made = compare({"a": [0.25, 0.5, 0.75]})["a"]
    assert made.scores == (0.25, 0.5, 0.75)
    assert (made.mean, made.low, made.high) == (0.5, 0.25, 0.75)
    assert (made.name, made.trial, made.epochs, made.values) == ("a", 0, 5, {"units": 0})
    assert (made.search_value, made.test) == (0.99, None)


def test_a_configuration_that_diverges_on_a_seed_is_worse_and_has_no_mean():
    made = compare({"a": [0.99, None], "b": [0.5, 0.6]})
    assert (made["a"].verdict, made["a"].scores) == ("worse", (0.99, None))
    assert (made["a"].mean, made["a"].low, made["a"].high, made["a"].difference) == (None,) * 4
    assert made["b"].verdict == "winner"


def test_a_comparison_that_diverges_is_worse():
    scores = {"a": [0.5, 0.6], "mine": [0.99, None]}
    assert verdicts(scores, for_comparison=("mine",)) == {"a": "winner", "mine": "worse"}


@pytest.mark.parametrize(
    "scores", [{"a": [0.99, None], "b": [None, None]}, {"a": [0.99, None], "mine": [0.5, 0.5]}]
)
def test_without_a_configuration_that_never_diverges_nothing_wins(scores):
    with pytest.raises(TrainingError) as refused:
        compare(scores, for_comparison=("mine",))
    assert str(refused.value) == (
        "Confirming gave no finite val_accuracy: every configuration diverged on some seed. "
        "Confirm more configurations, or extend the search."
    )


def test_a_comparison_names_its_objective_and_seeds():
    candidates = [Candidate("a", 0, 5, {}, None)]
    made = compare_candidates(candidates, [3, 4], [[0.5, 0.6]], LOSS)
    assert (made.objective, made.mode, made.seeds, made.winner) == ("val_loss", "min", (3, 4), 0)


# --- The file, as version 0.1.0 wrote it ----------------------------------------------------------


@pytest.fixture
def confirmation():
    candidates = [
        Candidate(
            name, int(name.split()[1]) if name.startswith("trial") else None, epochs, VALUES, value
        )
        for name, epochs, value, _ in SCORES
    ]
    made = compare_candidates(candidates, (1, 2, 3), [scores for *_, scores in SCORES], ACCURACY)
    tested = list(made.candidates)
    for candidate in made.tested_candidates:
        place = tested.index(candidate)
        accuracies = tuple(0.9 + seed / 1000 - place / 100 for seed in (1, 2, 3))
        test = AccuracyOnTest(accuracies, **estimate_mean(accuracies).to_json())
        tested[place] = replace(candidate, test=test)
    return replace(made, candidates=tuple(tested))


def test_the_file_is_byte_for_byte_that_of_version_0_1_0(confirmation, tmp_path):
    confirmation.write(tmp_path / "confirmation.json")
    assert (tmp_path / "confirmation.json").read_bytes() == GOLDEN.read_bytes()


def test_a_file_of_version_0_1_0_is_read(confirmation):
    read = Confirmation.read(GOLDEN)
    assert read == confirmation
    assert {name: type(value) for name, value in read.candidates[0].values.items()} == {
        "layers": int, "rate": float, "kind": str, "deep": bool,
    }  # fmt: skip


def test_the_winner_and_the_best_of_each_comparison_have_final_models(confirmation):
    assert [(one.name, one.epochs) for one in confirmation.tested_candidates] == [
        ("trial 17", 20),
        ("mine", 20),
    ]
    assert confirmation.winning_candidate.verdict is Verdict.WINNER
    assert confirmation.comparisons[0].verdict is Verdict.BETTER


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


def test_the_confirmed_trials_are_those_of_the_file(folder):
    folder.confirmation_file.parent.mkdir()
    folder.confirmation_file.write_bytes(GOLDEN.read_bytes())
    assert confirmed_trials(folder) == {17, 4, 9}


def test_a_run_without_confirmation_has_no_confirmed_trials(folder):
    assert confirmed_trials(folder) == set()


def test_a_damaged_confirmation_is_refused(folder):
    folder.confirmation_file.parent.mkdir()
    folder.confirmation_file.write_text("{}")
    with pytest.raises(RunFolderError, match=r"confirmation\.json is damaged or incomplete"):
        confirmed_trials(folder)


# --- A whole confirmation -------------------------------------------------------------------------

# By units and seed: the second configuration of the search is the better one on new seeds.
NEW_SCORES = {
    (1, 11): 0.60, (1, 12): 0.62, (1, 13): 0.61,
    (2, 11): 0.80, (2, 12): 0.82, (2, 13): 0.81,
    (5, 11): 0.90, (5, 12): 0.92, (5, 13): 0.91,
    (1, 14): 0.63, (2, 14): 0.79, (5, 14): 0.89,
}  # fmt: skip
MINE = {"mine": {"units": 5}}


class Confirming:
    """A run of two trials, and its confirmations."""

    def __init__(self, folder, history, make_trainer, make_trained):
        self.folder, self.history = folder, history
        self.lines = []
        self.scores = dict(NEW_SCORES)
        self._make_trainer, self._make_trained = make_trainer, make_trained

    def train_one(self, training):
        seed = int(training.name.rpartition(" ")[2])
        score = self.scores[training.values["units"], seed]
        if isinstance(score, Exception):
            raise score
        model = f"units {training.values['units']} on seed {seed}".encode()
        return self._make_trained(score, model=model, epochs=training.epochs)

    def run(self, top=2, seeds=3, epochs=(4,), also=MINE, **trainer):
        """Confirm with a new trainer; return the confirmation."""
        self.lines.clear()
        self.trainer = self._make_trainer(self.train_one, **trainer)
        plan = ConfirmationPlan(top, seeds, epochs, also)
        return confirm(self.trainer, self.history, plan, self.folder, self.lines.append)

    @property
    def trained(self):
        return [training.name for training in self.trainer.trained]

    @property
    def evaluated(self):
        return [model.decode() for _, model, _ in self.trainer.evaluated]

    def evaluation(self):
        return json.loads((self.folder.final / "evaluation.json").read_text())

    def files(self, pattern):
        return sorted(path.name for path in self.folder.path.glob(pattern))


@pytest.fixture
def confirming(folder, make_history, make_trial, make_trainer, make_trained):
    history = make_history(make_trial(1, 0.9, device=Device.CPU), make_trial(2, 0.7))
    return Confirming(folder, history, make_trainer, make_trained)


def test_each_candidate_is_trained_on_each_new_seed(confirming):
    confirming.run()
    assert sorted(confirming.trained) == [
        f"{name} at 4 epochs on seed {seed}"
        for name in ("mine", "trial 1", "trial 2")
        for seed in (11, 12, 13)
    ]
    assert {(training.epochs, training.values["units"]) for training in confirming.trainer.trained} == {
        (4, 1), (4, 2), (4, 5),
    }  # fmt: skip


def test_a_candidate_trains_on_the_device_of_its_trial(confirming):
    confirming.run()
    devices = {training.name[:7]: training.device for training in confirming.trainer.trained}
    assert devices == {"trial 1": Device.CPU, "trial 2": None, "mine at": None}


def test_a_line_is_said_at_the_start_and_after_each_training(confirming):
    confirming.scores[1, 12] = None
    confirming.run()
    first, *lines = confirming.lines
    assert first == "confirming 3 candidates on 3 new seeds"
    assert lines[0] == "1 of 9: mine at 4 epochs on seed 13: val_accuracy 0.9100"
    assert lines[7] == "8 of 9: trial 1 at 4 epochs on seed 12: val_accuracy no number"
    assert len(lines) == 9


def test_the_confirmation_has_the_scores_at_the_last_epochs(confirming):
    confirmation = confirming.run()
    assert [(one.name, one.scores) for one in confirmation.candidates] == [
        ("trial 1", (0.60, 0.62, 0.61)),
        ("trial 2", (0.80, 0.82, 0.81)),
        ("mine", (0.90, 0.92, 0.91)),
    ]
    assert confirmation.winning_candidate.name == "trial 2"
    assert confirmation.seeds == (11, 12, 13)


def test_the_final_models_are_evaluated_once_on_each_seed(confirming):
    confirmation = confirming.run()
    assert sorted(confirming.evaluated) == [
        f"units {units} on seed {seed}" for units in (2, 5) for seed in (11, 12, 13)
    ]
    loser, winner, mine = confirmation.candidates
    assert loser.test is None
    assert winner.test.accuracies == mine.test.accuracies == (0.75, 0.75, 0.75)


def test_the_final_model_is_the_winner_on_the_first_seed(confirming):
    confirming.run()
    assert (confirming.folder.final / "model.keras").read_bytes() == b"units 2 on seed 11"
    evaluation = confirming.evaluation()
    assert {
        name: evaluation[name]
        for name in ("trial", "values", "epochs", "seed", "objective", "retrain_epochs",
                     "confirmed_seeds", "test_accuracy", "validation_loss")
    } == {
        "trial": 2, "values": {"units": 2}, "epochs": 4, "seed": 11, "objective": "val_accuracy",
        "retrain_epochs": [4], "confirmed_seeds": [11, 12, 13], "test_accuracy": 0.75,
        "validation_loss": 0.3,
    }  # fmt: skip
    rows = pq.read_table(confirming.folder.final / "history.parquet").to_pylist()
    assert [row["metric:val_accuracy"] for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.80])


def test_the_confirmation_is_written_and_its_models_are_removed(confirming):
    state = confirming.folder.retraining_state_file(1, 4)
    state.touch()
    confirmation = confirming.run()
    assert Confirmation.read(confirming.folder.confirmation_file) == confirmation
    assert confirming.files("confirm/*.keras") == []
    assert not state.exists()
    assert len(confirming.files("confirm/*-seed-*.json")) == 9


def test_the_same_confirmation_again_trains_and_evaluates_nothing(confirming):
    first = confirming.run()
    evaluation = confirming.evaluation()
    assert confirming.run() == first
    assert (confirming.trained, confirming.evaluated) == ([], [])
    assert confirming.lines == ["confirming 3 candidates on 3 new seeds"]
    assert confirming.evaluation() == evaluation
    assert not confirming.files("final.previous")


def test_a_confirmation_that_was_cut_off_trains_only_what_is_missing(confirming):
    confirming.scores[2, 12] = TrainingError("cut off")
    with pytest.raises(TrainingError, match="cut off"):
        confirming.run()
    assert len(confirming.files("confirm/*-seed-*.json")) == 4  # three of mine, one of trial 2
    assert not confirming.folder.confirmation_file.exists()
    confirming.scores = dict(NEW_SCORES)
    confirming.run()
    assert sorted(confirming.trained) == [
        *(f"trial 1 at 4 epochs on seed {seed}" for seed in (11, 12, 13)),
        *(f"trial 2 at 4 epochs on seed {seed}" for seed in (11, 12)),
    ]
    assert confirming.lines[1].startswith("1 of 5: ")


def test_a_confirmation_that_was_cut_off_between_evaluations_evaluates_only_the_rest(confirming):
    confirming.run()
    records = sorted((confirming.folder.path / "confirm").glob("*-seed-*.json"))
    [one] = [
        record
        for record in records
        if record.stem.endswith("seed-12") and '"units": 5' in record.read_text()
    ]
    one.write_text(json.dumps(json.loads(one.read_text()) | {"test": None}))
    confirming.run()
    assert confirming.trained == ["mine at 4 epochs on seed 12"]  # whose model was removed
    assert confirming.evaluated == ["units 5 on seed 12"]
    assert not confirming.files("final.previous"), "the final model was written again"


def test_another_final_model_is_replaced_by_that_of_the_winner(confirming):
    confirming.run()
    file = confirming.folder.final / "evaluation.json"
    file.write_text(json.dumps(confirming.evaluation() | {"seed": 10}))  # by a retraining
    confirming.run()
    assert confirming.trained == ["trial 2 at 4 epochs on seed 11"]
    assert confirming.evaluated == ["units 2 on seed 11"]
    assert confirming.evaluation()["seed"] == 11


@pytest.mark.parametrize("change", [{"values": {"units": 9}}, {"epochs": 5}, {"seed": None}])
def test_a_final_model_of_anything_else_is_another(confirming, change):
    confirming.run()
    file = confirming.folder.final / "evaluation.json"
    file.write_text(json.dumps(confirming.evaluation() | change))
    confirming.run()
    assert confirming.evaluated == ["units 2 on seed 11"]


def test_a_removed_final_model_is_made_again(confirming):
    confirming.run()
    (confirming.folder.final / "evaluation.json").unlink()
    confirming.run()
    assert confirming.evaluated == ["units 2 on seed 11"]
    assert confirming.evaluation()["seed"] == 11


def test_more_seeds_continue_from_the_trainings_so_far(confirming):
    confirming.run()
    confirmation = confirming.run(seeds=4)
    assert sorted(confirming.trained) == [
        f"{name} at 4 epochs on seed 14" for name in ("mine", "trial 1", "trial 2")
    ]
    assert sorted(confirming.evaluated) == ["units 2 on seed 14", "units 5 on seed 14"]
    assert confirmation.winning_candidate.scores == (0.80, 0.82, 0.81, 0.79)
    assert len(confirmation.winning_candidate.test.accuracies) == 4
    assert confirming.evaluation()["confirmed_seeds"] == [11, 12, 13, 14]
    assert not confirming.files("final.previous"), "the final model is the same"


@pytest.mark.parametrize(
    "change", [{"seeds": 4}, {"also": {}}, {"top": 1}, {"epochs": (4, 6)}, {"epochs": (6,)}]
)
def test_another_confirmation_says_that_it_replaces_the_one_before(confirming, change):
    confirming.run()
    confirming.run(**change)
    assert confirming.lines[1] == (
        "this replaces the confirmation of 3 candidates on 3 seeds; its trainings are kept in "
        "confirm/"
    )


def test_a_confirmation_of_the_same_trainings_under_other_names_replaces_none(confirming):
    confirming.run()
    confirming.run(also={"yours": {"units": 5}})
    assert confirming.lines == ["confirming 3 candidates on 3 new seeds"]


def test_a_damaged_confirmation_is_replaced_with_a_line(confirming):
    confirming.run()
    confirming.folder.confirmation_file.write_text("{}")
    confirmation = confirming.run()
    assert "is damaged or incomplete" in confirming.lines[1]
    assert confirming.lines[1].endswith(" It is replaced.")
    assert Confirmation.read(confirming.folder.confirmation_file) == confirmation


def test_an_objective_to_minimize_is_confirmed_by_its_least_mean(
    folder, make_history, make_trial, make_trainer, make_trained
):
    def train_one(training):
        value = 0.25 if training.values["units"] == 2 else 0.5
        return make_trained(value, name="val_loss")

    trials = (make_trial(n, 0.1 * n, objective=LOSS) for n in (1, 2))
    trainer = make_trainer(train_one, objective=LOSS)
    plan = ConfirmationPlan(2, 2, (2,))
    history = make_history(*trials, objective=LOSS)
    confirmation = confirm(trainer, history, plan, folder, lambda _line: None)
    assert confirmation.winning_candidate.name == "trial 2"


def test_models_without_an_accuracy_are_tested_without_one(confirming):
    confirmation = confirming.run(test={"test_loss": 0.5})
    assert confirmation.winning_candidate.test is None
    assert confirming.evaluation()["test_loss"] == 0.5


def test_an_error_of_ray_is_a_training_that_failed(confirming):
    import ray

    confirming.scores[5, 13] = ray.exceptions.WorkerCrashedError()
    with pytest.raises(TrainingError, match=r"^Confirming failed: WorkerCrashedError: "):
        confirming.run()


def test_too_few_configurations_are_refused_before_anything_is_written(confirming):
    with pytest.raises(UsageError, match="--top 3: only 2 different configurations"):
        confirming.run(top=3)
    assert confirming.lines == []
    assert not (confirming.folder.path / "confirm").exists()
