"""What a search tells of its trials, the same under keras_tuner and search.kt."""

import numpy as np
import pytest
import scenarios
from differences import same

# Keras warns of optimizers that it does not load; a script does not make an error of it.
pytestmark = pytest.mark.filterwarnings("ignore")


def statuses(outcome):
    return [trial.status for trial in outcome.trials]


def last_lines(trials):
    return [(trial.message or "").strip().splitlines()[-1:] for trial in trials]


# --- Trials that end well -----------------------------------------------------------------------


@same(scenarios.scored)
def test_ids_have_as_many_digits_as_the_number_of_trials(outcome):
    return sorted(outcome.tuner.oracle.trials)


@same(scenarios.grid)
def test_ids_have_four_digits_if_there_is_no_number_of_trials(outcome):
    return sorted(outcome.tuner.oracle.trials)


@same(scenarios.scored)
def test_every_trial_is_completed(outcome):
    return statuses(outcome)


@same(scenarios.scored)
def test_scores_are_what_fit_returned(outcome):
    return [(trial.score, isinstance(trial.score, float)) for trial in outcome.trials]


@same(scenarios.scored)
def test_the_best_step_is_the_first_if_fit_returned_a_number(outcome):
    return [(trial.best_step, type(trial.best_step)) for trial in outcome.trials]


@same(scenarios.scored)
def test_a_trial_that_ended_well_has_no_message(outcome):
    return [trial.message for trial in outcome.trials]


@same(scenarios.scored)
def test_the_objective_is_a_metric_of_the_trial(outcome):
    return [
        {name: trial.metrics.get_best_value(name) for name in trial.metrics.metrics}
        for trial in outcome.trials
    ]


@same(scenarios.scored)
def test_a_metric_has_one_observation(outcome):
    [trial] = outcome.best[:1]
    return [each.get_config() for each in trial.metrics.get_history("default_objective")]


@same(scenarios.scored)
def test_the_best_trials_are_ordered_by_a_score_to_minimize(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.maximized)
def test_the_best_trials_are_ordered_by_a_score_to_maximize(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.scored)
def test_as_many_best_trials_are_returned_as_are_asked_for(outcome):
    oracle = outcome.tuner.oracle
    return [len(oracle.get_best_trials(number)) for number in (1, 2, 12, 50)]


@same(scenarios.grid)
def test_equal_trials_are_ordered_as_they_ran(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.scored)
def test_a_trial_is_found_by_its_id(outcome):
    trial = outcome.tuner.oracle.get_trial("07")
    return trial.trial_id, trial.score, trial.hyperparameters.values


@same(scenarios.scored)
def test_the_state_of_a_trial_is_the_same(outcome):
    return [trial.get_state() for trial in outcome.trials]


@same(scenarios.scored)
def test_trials_start_and_end_in_the_same_order(outcome):
    return outcome.tuner.oracle.start_order, outcome.tuner.oracle.end_order


@same(scenarios.maximized)
def test_a_dict_that_fit_returned_gives_all_its_metrics(outcome):
    return [
        {
            name: (trial.metrics.get_best_value(name), trial.metrics.get_direction(name))
            for name in sorted(trial.metrics.metrics)
        }
        for trial in outcome.trials
    ]


@same(scenarios.maximized)
def test_the_score_is_the_objective_of_the_dict(outcome):
    return [trial.score for trial in outcome.trials]


# --- Trials that Keras trains -------------------------------------------------------------------


@same(scenarios.trained)
def test_the_metrics_of_a_training_have_the_same_names_and_directions(outcome):
    return [
        {name: trial.metrics.get_direction(name) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


@same(scenarios.trained)
def test_the_score_of_a_training_is_that_of_its_best_epoch(outcome):
    return [
        trial.score == trial.metrics.get_best_value("val_accuracy")
        and trial.best_step == trial.metrics.get_best_step("val_accuracy")
        for trial in outcome.trials
    ]


@same(scenarios.trained)
def test_the_best_step_of_a_training_is_an_epoch_from_zero(outcome):
    return [(trial.best_step in range(3), type(trial.best_step)) for trial in outcome.trials]


@same(scenarios.trained)
def test_each_metric_of_a_training_has_the_value_of_the_best_epoch_alone(outcome):
    return [
        {name: len(trial.metrics.get_history(name)) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


@same(scenarios.trained)
def test_the_best_models_predict(outcome):
    models = outcome.tuner.get_best_models(2)
    return [model.predict(scenarios.VALIDATION[0], verbose=0).shape for model in models]


@same(scenarios.trained)
def test_the_best_model_has_the_weights_of_the_best_epoch(outcome):
    [model], [trial] = outcome.tuner.get_best_models(), outcome.best[:1]
    accuracy = model.evaluate(*scenarios.VALIDATION, verbose=0)[1]
    return bool(np.isclose(accuracy, trial.score, atol=1e-6))


@same(scenarios.trained)
def test_a_model_is_loaded_for_each_trial(outcome):
    models = [outcome.tuner.load_model(trial) for trial in outcome.trials]
    return [model.layers[0].units for model in models]


@same(scenarios.trained)
def test_each_trial_gets_a_copy_of_the_callbacks(outcome):
    return outcome.notes, [callback.epochs for callback in outcome.script.said]


@same(scenarios.several_objectives)
def test_the_score_of_several_objectives_is_their_sum(outcome):
    def value(trial, name):
        return trial.metrics.get_best_value(name)

    return [
        bool(np.isclose(trial.score, value(trial, "val_loss") - value(trial, "val_accuracy")))
        for trial in outcome.trials
    ]


@same(scenarios.several_objectives)
def test_several_objectives_are_metrics_of_the_trial(outcome):
    return [
        {name: trial.metrics.get_direction(name) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


@same(scenarios.several_objectives)
def test_several_objectives_are_shown_alike(outcome):
    objective = outcome.tuner.oracle.objective
    return str(objective), objective.name, objective.direction


@same(scenarios.hyperband)
def test_the_trials_of_hyperband_are_completed(outcome):
    return statuses(outcome), sorted(outcome.tuner.oracle.trials)


@same(scenarios.repeated)
def test_each_configuration_is_executed_as_often_as_asked(outcome):
    return outcome.notes


@same(scenarios.repeated)
def test_the_score_of_several_executions_is_their_mean(outcome):
    return [trial.score for trial in outcome.trials]


# --- Trials that fail ---------------------------------------------------------------------------


@same(scenarios.failing)
def test_trials_fail_in_the_same_ways(outcome):
    return statuses(outcome)


@same(scenarios.failing)
def test_scores_of_failed_trials_are_the_same(outcome):
    # NaN is not equal to itself.
    return [str(trial.score) for trial in outcome.trials if trial.status == "COMPLETED"]


@same(scenarios.failing)
def test_the_message_of_a_failed_trial_ends_with_the_error(outcome):
    return last_lines(outcome.trials)


@same(scenarios.failing)
def test_trials_that_failed_come_last_among_the_best(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.failing)
def test_trials_that_failed_are_only_returned_where_there_are_too_few_others(outcome):
    oracle = outcome.tuner.oracle
    return [[t.trial_id for t in oracle.get_best_trials(number)] for number in (1, 2, 3)]


@same(scenarios.failing)
def test_a_failed_trial_is_not_tried_again_by_default(outcome):
    return outcome.notes


@same(scenarios.retried)
def test_a_failed_trial_is_tried_again_as_often_as_asked(outcome):
    return sorted(outcome.notes)


@same(scenarios.retried)
def test_retries_that_fail_leave_the_trials_failed(outcome):
    return statuses(outcome)


@same(scenarios.recovering)
def test_a_retry_that_succeeds_completes_the_trial(outcome):
    return statuses(outcome), [trial.score for trial in outcome.trials]


@same(scenarios.recovering)
def test_a_retry_follows_its_trial_at_once(outcome):
    return outcome.notes


@same(scenarios.oversized)
def test_a_model_that_is_too_large_fails_its_trial(outcome):
    return statuses(outcome)


@same(scenarios.oversized)
def test_a_model_that_is_too_large_is_told_with_its_size(outcome):
    return last_lines(outcome.trials)


# --- Trainings with other arguments -------------------------------------------------------------


@same(scenarios.trained_twice)
def test_the_score_of_two_trainings_is_the_mean_of_their_best_epochs(outcome):
    return [
        (trial.status, trial.score == trial.metrics.get_best_value("val_loss"))
        for trial in outcome.trials
    ]


@same(scenarios.trained_twice)
def test_two_trainings_have_the_metrics_of_one(outcome):
    return [
        {name: trial.metrics.get_direction(name) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


@same(scenarios.trained_twice)
def test_the_step_of_two_trainings_is_a_whole_number(outcome):
    return [type(trial.best_step) for trial in outcome.trials]


@same(scenarios.compiled_anew)
def test_the_optimizer_and_the_loss_of_the_tuner_replace_those_of_the_builder(outcome):
    [model] = outcome.tuner.get_best_models()
    return (
        type(model.optimizer).__name__,
        float(model.optimizer.learning_rate),
        type(model.loss).__name__,
    )


@same(scenarios.compiled_anew)
def test_the_metrics_of_the_tuner_replace_those_of_the_builder(outcome):
    return [sorted(trial.metrics.metrics) for trial in outcome.trials]


@same(scenarios.early_stopping)
def test_a_callback_of_keras_may_end_a_training(outcome):
    return outcome.notes, statuses(outcome)


@same(scenarios.with_datasets)
def test_datasets_are_trained_on(outcome):
    return outcome.notes, [sorted(trial.metrics.metrics) for trial in outcome.trials]


# --- What run_trial keeps, and what it tells the oracle -----------------------------------------


@pytest.mark.long
def test_what_run_trial_keeps_comes_back_with_its_trial(searched):
    theirs, ours = searched(scenarios.keeping)
    returned = [trial.returned["Keeping"]["kept"] for trial in ours.trials]
    assert returned == [{number: value} for number, value in sorted(theirs.tuner.kept.items())]


@same(scenarios.stepwise)
def test_the_best_step_that_run_trial_told_is_the_score(outcome):
    return [(trial.score, trial.best_step) for trial in outcome.trials]
