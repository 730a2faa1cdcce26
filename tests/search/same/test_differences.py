"""What differs from keras-tuner on purpose: each entry of ``differences.toml`` has its case."""

import ast
import math
from pathlib import Path

import differences
import keras
import keras_tuner
import pytest
import scenarios
from differences import different
from keras_tuner.src.engine import tuner_utils

from search import kt
from search.algorithms.drawing import RandomSearcher
from search.space import mirror
from search.worker.single_trial import with_gaps


def test_every_difference_has_its_case_in_this_folder():
    cases = {
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    listed = [each["case"] for each in differences.read().values()]
    assert set(listed) <= cases
    assert len(listed) == len(set(listed)) > 10


def test_every_case_of_this_module_stands_in_the_list():
    cases = {
        node.name
        for node in ast.parse(Path(__file__).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    about_the_list = {name for name in cases if "every" in name or "page" in name}
    assert cases - about_the_list == {each["case"] for each in differences.read().values()}


def test_the_page_has_the_list_as_a_table():
    assert differences.PAGE.read_text() == differences.page(), "run make docs"


@different(scenarios.shown)
def test_asha_stops_weak_trials_unless_the_script_says_no(outcome):
    return "ASHA stops weak trials early (scheduler=None turns it off)" in outcome.printed


@different(scenarios.shown)
def test_the_screen_shows_lines(outcome):
    return "Search: Running Trial #1" in outcome.printed


@different(scenarios.scored)
def test_a_project_is_a_run_folder(outcome):
    names = ("oracle.json", "tuner0.json", "trial_00", "run.json", "journal.jsonl")
    return [(Path(outcome.tuner.project_dir) / name).exists() for name in names]


@different(scenarios.overwritten)
def test_an_overwritten_project_is_renamed(outcome):
    return (outcome.script.folder / "run.previous").exists()


@different(scenarios.own_oracle)
def test_the_oracle_of_the_script_is_left_as_it_is(outcome):
    return outcome.tuner.oracle is outcome.script.oracle, len(outcome.script.oracle.trials)


@different(scenarios.own_oracle_with_retries)
def test_an_oracle_hears_of_a_retried_trial_once(outcome):
    return [call[1:] for call in outcome.script.said if call[0] == "end_trial"]


@different(scenarios.watched)
def test_the_hook_before_a_trial_is_created_is_called_for_trials_alone(outcome):
    return [said for said in outcome.script.said if said[0] == "next"]


@different(scenarios.failing)
def test_the_message_of_a_failed_trial_begins_with_the_lines_of_the_script(outcome):
    return [trial.message.split("\n")[0] for trial in outcome.trials if trial.message]


@different(scenarios.not_finite)
def test_an_infinite_score_is_no_score(outcome):
    return [trial.score for trial in outcome.trials if trial.status == "COMPLETED"]


@different(scenarios.not_finite)
def test_a_score_that_is_nan_is_no_score(outcome):
    return [trial.score is None for trial in outcome.trials if trial.status == "FAILED"]


@different(scenarios.failing_once)
def test_a_search_of_failed_trials_alone_raises_an_error(outcome):
    return isinstance(outcome.error, RuntimeError)


@different(scenarios.diverging)
def test_a_diverged_trial_trains_no_further_epoch(outcome):
    return outcome.notes


@different(scenarios.misspelt)
def test_an_argument_that_fit_does_not_have_is_refused(outcome):
    return len(outcome.trials), str(outcome.error)


@different(scenarios.not_reported)
def test_an_objective_that_is_not_reported_is_refused(outcome):
    return len(outcome.trials), str(outcome.error)


@different(scenarios.keeping)
def test_what_run_trial_keeps_in_an_attribute_stays_in_the_worker(outcome):
    return outcome.tuner.kept


@different(scenarios.stepwise)
def test_only_the_best_step_of_a_trial_is_among_its_metrics(outcome):
    [trial] = outcome.trials
    return [each.step for each in trial.metrics.get_history("points")]


WRONG = {
    "objective": (TypeError, {"objective": 3}),
    "unknown": (ValueError, {"overwite": True}),
    "direction": (ValueError, {"objective": "val_foo"}),
    "entries": (ValueError, {"tune_new_entries": False}),
    "trials": (None, {"max_trials": 0}),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_cannot_be_right_are_listed_in_a_usage_error(name, tmp_path):
    raised, arguments = WRONG[name]
    arguments = {"objective": "val_loss", "directory": tmp_path, **arguments}
    if raised is not None:
        with pytest.raises(raised):
            keras_tuner.RandomSearch(scenarios.classifier, **arguments)
    with pytest.raises(ValueError, match=next(iter(WRONG[name][1]))) as caught:
        kt.RandomSearch(scenarios.classifier, **arguments)
    assert type(caught.value).__name__ == "UsageError"


def test_a_tuner_for_scikit_learn_is_refused(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(kt.Objective("score", "max"))
    keras_tuner.SklearnTuner(oracle, scenarios.declare, directory=tmp_path)
    with pytest.raises(ValueError, match=r"use keras_tuner\.SklearnTuner instead"):
        kt.SklearnTuner(oracle, scenarios.declare, directory=tmp_path)


def test_a_range_of_the_largest_numbers_is_drawn_from():
    hp = kt.HyperParameters()
    hp.Float("x", -1e308, 1e308)
    assert hp.space[0].prob_to_value(0.9) == math.inf
    searcher = RandomSearcher(mirror.mirror_space(hp.space), seed=1)
    drawn = [searcher.propose(trial)["x"] for trial in range(1, 20)]
    assert all(-1e308 <= value < 1e308 for value in drawn)
    assert min(drawn) < -5e307 < 5e307 < max(drawn)


def test_a_trial_is_scored_by_the_epochs_that_report_the_objective():
    history = keras.callbacks.History()
    history.history = {"loss": [4.0, 3.0, 2.0, 1.0], "val_accuracy": [0.5, 0.75]}
    objective = kt.Objective("val_accuracy", "max")
    with pytest.raises(KeyError):
        tuner_utils.convert_to_metrics_dict(history, objective)
    metrics = tuner_utils.convert_to_metrics_dict(history, with_gaps(objective))
    assert metrics["val_accuracy"] == 0.75
