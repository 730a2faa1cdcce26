"""Tuners that a script derives, the same under keras_tuner and search.kt."""

import pytest
import scenarios
from differences import same

# Keras warns of optimizers that it does not load; a script does not make an error of it.
pytestmark = pytest.mark.filterwarnings("ignore")


def values_of(outcome):
    return [trial.hyperparameters.values for trial in outcome.trials]


def scores_of(outcome):
    return [(trial.status, trial.score) for trial in outcome.trials]


@same(scenarios.black_box)
def test_a_tuner_without_a_hypermodel_knows_no_space_before_its_search(outcome):
    return outcome.script.said


@same(scenarios.black_box)
def test_a_tuner_without_a_hypermodel_registers_its_space_in_its_first_trial(outcome):
    return [each.get_config() for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.black_box)
def test_a_tuner_without_a_hypermodel_proposes_the_same_values(outcome):
    return values_of(outcome)


@same(scenarios.black_box)
def test_run_trial_gets_the_arguments_of_search(outcome):
    return scores_of(outcome)


@same(scenarios.black_box_grid)
def test_a_grid_that_run_trial_registers_is_searched_to_its_end(outcome):
    return sorted(map(sorted, (each.items() for each in values_of(outcome))))


@same(scenarios.black_box_grid)
def test_a_grid_that_run_trial_registers_is_searched_in_the_same_order(outcome):
    return values_of(outcome)


@same(scenarios.black_box_grid)
def test_run_trial_may_return_a_dict(outcome):
    return [
        (trial.score, {name: trial.metrics.get_best_value(name) for name in trial.metrics.metrics})
        for trial in outcome.trials
    ]


@same(scenarios.black_box_grid)
def test_trials_of_run_trial_are_ordered_by_their_score(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.around_fit)
def test_run_trial_adds_a_hyperparameter_to_those_of_the_builder(outcome):
    return [list(each) for each in values_of(outcome)], values_of(outcome)


@same(scenarios.around_fit)
def test_hooks_of_trials_epochs_and_batches_are_called_in_the_same_order(outcome):
    assert any(note.startswith("batch") for note in outcome.notes)
    return outcome.notes


@same(scenarios.around_fit)
def test_the_models_of_an_own_tuner_are_loaded(outcome):
    models = outcome.tuner.get_best_models(2)
    return [model.predict(scenarios.VALIDATION[0], verbose=0).shape for model in models]


@same(scenarios.failing_tuner)
def test_run_trial_fails_in_the_same_ways(outcome):
    return scores_of(outcome)


@same(scenarios.failing_tuner)
def test_the_message_of_run_trial_that_failed_ends_with_the_error(outcome):
    return [(trial.message or "").strip().splitlines()[-1:] for trial in outcome.trials]


@same(scenarios.useless_tuner)
def test_run_trial_that_returns_nothing_ends_the_search(outcome):
    return type(outcome.error).__name__, len(outcome.trials)
