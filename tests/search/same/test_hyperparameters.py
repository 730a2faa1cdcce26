"""What a search tells of hyperparameters, the same under keras_tuner and search.kt."""

import scenarios
from differences import same


def values_of(trials):
    return [trial.hyperparameters.values for trial in trials]


def types_of(trials):
    return [{name: type(value) for name, value in each.items()} for each in values_of(trials)]


def order_of(trials):
    return [list(each) for each in values_of(trials)]


@same(scenarios.scored)
def test_random_search_of_a_seed_proposes_the_same_configurations_in_the_same_order(outcome):
    return values_of(outcome.trials)


@same(scenarios.scored)
def test_values_have_the_same_types(outcome):
    return types_of(outcome.trials)


@same(scenarios.scored)
def test_values_are_listed_in_the_same_order(outcome):
    return order_of(outcome.trials)


@same(scenarios.scored)
def test_the_best_hyperparameters_are_the_same(outcome):
    return [hp.values for hp in outcome.tuner.get_best_hyperparameters(3)]


@same(scenarios.scored)
def test_the_best_hyperparameters_can_be_read_by_name(outcome):
    [hp] = outcome.tuner.get_best_hyperparameters()
    return [hp.get(name) for name in hp.values], "units" in hp, hp["head/units"]


@same(scenarios.scored)
def test_the_best_hyperparameters_build_a_model_again(outcome):
    [hp] = outcome.tuner.get_best_hyperparameters()
    before = dict(hp.values)
    model = outcome.tuner.hypermodel.build(hp)
    return type(model).__name__, hp.values == before


@same(scenarios.scored)
def test_the_hyperparameters_of_a_trial_know_its_space(outcome):
    return [[each.name for each in trial.hyperparameters.space] for trial in outcome.trials]


@same(scenarios.scored)
def test_inactive_hyperparameters_have_no_value(outcome):
    return [("scale" in each, each["kind"]) for each in values_of(outcome.trials)]


@same(scenarios.scored)
def test_the_space_has_the_same_hyperparameters(outcome):
    space = outcome.tuner.oracle.get_space()
    return [(type(each).__name__, each.get_config()) for each in space.space]


@same(scenarios.scored)
def test_the_space_has_the_same_values(outcome):
    return outcome.tuner.oracle.get_space().values


@same(scenarios.registered_in_fit)
def test_a_hyperparameter_that_fit_registers_joins_the_space(outcome):
    return [each.name for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.registered_in_fit)
def test_a_hyperparameter_that_fit_registers_has_its_default_first_and_is_then_searched(outcome):
    return values_of(outcome.trials)


@same(scenarios.growing)
def test_a_hyperparameter_that_a_later_build_registers_joins_the_space(outcome):
    return [each.name for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.growing)
def test_the_scores_of_a_growing_space_are_the_same(outcome):
    return [trial.score for trial in outcome.trials]


@same(scenarios.overridden)
def test_registered_hyperparameters_override_those_of_the_builder(outcome):
    return values_of(outcome.trials)


@same(scenarios.overridden)
def test_the_space_begins_with_what_is_registered(outcome):
    return [each.name for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.untuned)
def test_only_what_is_registered_is_tuned_if_new_entries_are_not(outcome):
    return values_of(outcome.trials)


@same(scenarios.untuned)
def test_entries_that_are_not_tuned_do_not_join_the_space(outcome):
    return [each.name for each in outcome.tuner.oracle.get_space().space]


@same(scenarios.not_allowed)
def test_a_new_entry_that_is_not_allowed_raises_the_same_kind_of_error(outcome):
    return isinstance(outcome.error, RuntimeError), outcome.tuner is None


@same(scenarios.grid)
def test_a_grid_is_searched_in_the_same_order_to_its_end(outcome):
    return values_of(outcome.trials)


@same(scenarios.bayesian)
def test_bayesian_optimization_of_a_seed_proposes_the_same_configurations(outcome):
    return [round(each["x"], 4) for each in values_of(outcome.trials)]


@same(scenarios.exhausted)
def test_a_search_ends_when_no_configuration_is_new(outcome):
    return [each["number"] for each in values_of(outcome.trials)]


@same(scenarios.only_fixed)
def test_a_space_of_one_configuration_has_one_trial(outcome):
    return values_of(outcome.trials)


BOOKKEEPING = ("tuner/bracket", "tuner/round", "tuner/epochs", "tuner/initial_epoch")


@same(scenarios.hyperband)
def test_hyperband_has_the_same_trials_in_each_bracket_and_round(outcome):
    return [[each[name] for name in BOOKKEEPING] for each in values_of(outcome.trials)]


@same(scenarios.hyperband)
def test_hyperband_draws_the_same_configurations(outcome):
    return [
        (each["units"], each["rate"])
        for each in values_of(outcome.trials)
        if not each["tuner/round"]
    ]


@same(scenarios.hyperband)
def test_hyperband_continues_a_trial_of_the_round_before(outcome):
    values = values_of(outcome.trials)
    parents = [int(each["tuner/trial_id"]) for each in values if "tuner/trial_id" in each]
    return len(parents), all(values[parent]["tuner/round"] == 0 for parent in parents)
