"""What a tuner does in and after a search, the same under keras_tuner and search.kt."""

import json

import pytest
import scenarios
from differences import same


def family_of(error):
    """Return which of Python's and keras-tuner's classes an error is of."""
    import keras_tuner

    errors = keras_tuner.errors
    kinds = (
        ValueError, TypeError, RuntimeError, errors.FatalError, errors.FatalTypeError,
        errors.FatalValueError, errors.FatalRuntimeError, errors.FailedTrialError,
    )  # fmt: skip
    return [kind.__name__ for kind in kinds if isinstance(error, kind)]


# --- Errors -------------------------------------------------------------------------------------


@same(scenarios.giving_up)
def test_failures_in_a_row_end_the_search_with_the_same_kind_of_error(outcome):
    return family_of(outcome.error)


@same(scenarios.giving_up)
def test_failures_in_a_row_end_the_search_after_as_many_trials(outcome):
    assert outcome.error is not None
    return [trial.status for trial in outcome.trials]


@same(scenarios.giving_up_by_default)
def test_three_failures_in_a_row_end_the_search_by_default(outcome):
    assert outcome.error is not None
    return len(outcome.trials)


@same(scenarios.fatal)
def test_a_fatal_error_reaches_the_script_in_its_own_class(outcome):
    return type(outcome.error).__name__, str(outcome.error), family_of(outcome.error)


@same(scenarios.fatal)
def test_a_fatal_error_ends_the_search_at_its_first_trial(outcome):
    assert outcome.error is not None
    return len(outcome.trials), outcome.notes


@same(scenarios.without_a_model)
def test_a_builder_without_a_model_ends_the_search(outcome):
    return family_of(outcome.error)


@same(scenarios.returned)
def test_what_fit_returns_becomes_the_same_score(outcome):
    return [(trial.status, trial.score) for trial in outcome.trials]


@same(scenarios.returned)
def test_what_fit_returns_becomes_the_same_metrics(outcome):
    return [
        {name: trial.metrics.get_best_value(name) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


USELESS = {
    "none": scenarios.returning(None),
    "text": scenarios.returning("0.5"),
    "a-dict-without-the-objective": scenarios.returning({"cost": 1.0}),
    "a-list-with-none": scenarios.returning([1.0, None]),
}


@pytest.mark.long
@pytest.mark.parametrize("returned", USELESS)
def test_a_result_of_no_use_ends_the_search_with_the_same_error(searched, returned):
    theirs, ours = searched(USELESS[returned])
    assert type(ours.error) is type(theirs.error)
    assert "FatalError" in family_of(theirs.error)
    assert len(ours.trials) == len(theirs.trials) == 1


# --- Hooks --------------------------------------------------------------------------------------


@same(scenarios.hooked)
def test_hooks_are_called_in_the_same_order_with_the_same_trials(outcome):
    return outcome.script.said


@same(scenarios.scored)
def test_verbose_0_prints_nothing(outcome):
    return outcome.printed


# --- Projects -----------------------------------------------------------------------------------


@same(scenarios.scored)
def test_no_trials_remain_after_a_search(outcome):
    return outcome.tuner.remaining_trials


@same(scenarios.grid)
def test_no_number_of_trials_remains_where_none_was_given(outcome):
    return outcome.tuner.remaining_trials


@same(scenarios.exhausted)
def test_trials_remain_where_a_space_was_exhausted(outcome):
    return outcome.tuner.remaining_trials


@same(scenarios.scored)
def test_the_project_folder_is_there(outcome):
    from pathlib import Path

    folder = Path(outcome.tuner.project_dir)
    return folder == outcome.script.folder / "run", folder.is_dir(), outcome.tuner.project_name


@same(scenarios.scored)
def test_a_trial_has_its_folder(outcome):
    from pathlib import Path

    folder = Path(outcome.tuner.get_trial_dir("03"))
    return folder.relative_to(outcome.script.folder).as_posix()


@same(scenarios.reloaded)
def test_a_tuner_that_is_made_again_has_the_trials(outcome):
    first, again, remaining = outcome.script.said
    assert first == again
    return first, again, remaining


@same(scenarios.reloaded)
def test_a_search_goes_on_where_more_trials_are_asked_for(outcome):
    return scenarios.rows_of(outcome.tuner)


@same(scenarios.overwritten)
def test_an_overwritten_project_begins_anew(outcome):
    return outcome.script.said, scenarios.rows_of(outcome.tuner)


@same(scenarios.scored)
def test_the_seed_is_kept(outcome):
    return outcome.tuner.seed, outcome.tuner.oracle.seed


@same(scenarios.scored)
def test_arguments_are_attributes(outcome):
    tuner = outcome.tuner
    return (
        tuner.executions_per_trial, tuner.max_model_size, tuner.optimizer, tuner.loss, tuner.metrics,
        tuner.distribution_strategy, tuner.tuner_id, tuner.logger, type(tuner.hypermodel).__name__,
    )  # fmt: skip


@same(scenarios.scored)
def test_arguments_of_the_oracle_are_attributes_of_it(outcome):
    oracle = outcome.tuner.oracle
    return (
        oracle.max_trials, oracle.allow_new_entries, oracle.tune_new_entries,
        oracle.max_retries_per_trial, oracle.max_consecutive_failed_trials, str(oracle.objective),
    )  # fmt: skip


@same(scenarios.scored)
def test_the_state_of_a_tuner_is_empty(outcome):
    return outcome.tuner.get_state(), json.dumps(outcome.tuner.get_state())


# --- Summaries ----------------------------------------------------------------------------------


def printed(capsys, show):
    capsys.readouterr()
    show()
    return capsys.readouterr().out


@pytest.mark.parametrize("extended", [False, True])
def test_the_summary_of_the_space_is_the_same(searched, capsys, extended):
    theirs, ours = searched(scenarios.scored)
    expected = printed(capsys, lambda: theirs.tuner.search_space_summary(extended))
    assert "units (Int)" in expected
    assert printed(capsys, lambda: ours.tuner.search_space_summary(extended)) == expected


@pytest.mark.parametrize(
    "scenario",
    [
        "scored",
        "grid",
        pytest.param("maximized", marks=pytest.mark.long),
        pytest.param("repeated", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("number", [1, 10])
def test_the_summary_of_the_results_is_the_same(searched, capsys, scenario, number):
    theirs, ours = searched(getattr(scenarios, scenario))
    texts = [
        printed(capsys, lambda each=each: each.tuner.results_summary(number)).replace(
            str(each.script.folder), "FOLDER"
        )
        for each in (theirs, ours)
    ]
    assert "Results summary" in texts[0]
    assert texts[1] == texts[0]


# --- Oracles of the user ------------------------------------------------------------------------


@same(scenarios.own_oracle)
def test_the_methods_of_an_own_oracle_are_called_alike(outcome):
    return outcome.script.said


@same(scenarios.own_oracle)
def test_an_own_oracle_proposes_its_own_values(outcome):
    return [trial.hyperparameters.values for trial in outcome.trials]


@same(scenarios.own_oracle)
def test_the_trials_of_an_own_oracle_end_alike(outcome):
    return [(trial.trial_id, trial.status, str(trial.score)) for trial in outcome.trials]


@same(scenarios.own_score)
def test_an_own_oracle_scores_its_trials(outcome):
    return [(trial.status, trial.score) for trial in outcome.trials]


@same(scenarios.own_score)
def test_an_own_score_orders_the_trials(outcome):
    return [trial.trial_id for trial in outcome.best]


@same(scenarios.own_score)
def test_an_own_score_leaves_the_metrics_as_they_are(outcome):
    return [
        {name: trial.metrics.get_best_value(name) for name in sorted(trial.metrics.metrics)}
        for trial in outcome.trials
    ]


@same(scenarios.own_score)
def test_an_oracle_that_scores_is_told_the_metrics_before_they_are_scored(outcome):
    return outcome.script.said


# --- Hooks and hypermodels of the user ----------------------------------------------------------


@same(scenarios.hook_that_raises)
def test_an_error_of_a_hook_ends_the_search_as_it_is(outcome):
    return type(outcome.error).__name__, str(outcome.error)


@same(scenarios.hook_that_raises)
def test_an_error_of_a_hook_leaves_the_trials_so_far(outcome):
    assert outcome.error is not None
    return scenarios.rows_of(outcome.tuner)


@same(scenarios.watched)
def test_hooks_see_the_same_trials(outcome):
    return [said for said in outcome.script.said if said[0] == "known"]


@same(scenarios.watched)
def test_hooks_see_the_configuration_of_their_trial(outcome):
    return [said for said in outcome.script.said if said[0] == "begin"]


@same(scenarios.watched)
def test_hooks_see_the_best_trial_so_far(outcome):
    return [said for said in outcome.script.said if said[0] == "best"]


@same(scenarios.watched)
def test_the_hook_before_a_trial_is_created_sees_how_many_remain(outcome):
    return [said for said in outcome.script.said if said[0] == "next" and said[2] > 0]


@same(scenarios.searched_twice)
def test_a_second_search_of_a_tuner_has_nothing_left_to_do(outcome):
    assert outcome.script.said == [scenarios.rows_of(outcome.tuner)]
    return scenarios.rows_of(outcome.tuner)


@same(scenarios.declared)
def test_declared_hyperparameters_come_first(outcome):
    return [each.name for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.declared)
def test_declared_hyperparameters_are_searched(outcome):
    return scenarios.rows_of(outcome.tuner)


@same(scenarios.not_tunable)
def test_a_hypermodel_that_is_not_tunable_keeps_its_defaults(outcome):
    return scenarios.rows_of(outcome.tuner), outcome.script.said


@same(scenarios.giving_up)
def test_the_summary_of_failed_trials_ends_with_their_error(outcome):
    import contextlib
    import io

    assert outcome.error is not None
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome.tuner.results_summary()
    return output.getvalue().splitlines()[-1]
