"""The mirror: drawn values, their types and their distribution are keras-tuner's own."""

import json
import random

import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp

from results.record.history import Objective
from search.algorithms.drawing import RandomSearcher
from search.algorithms.tpe import TPESearcher
from search.errors import ProblemError
from search.plan.task import NamedObject
from search.space import mirror
from search.space.parameters import Kind, Parameter, Space, fingerprint
from search.worker import process

DECLARED = [
    pytest.param(lambda hp: hp.Int("x", 1, 4), id="int"),
    pytest.param(lambda hp: hp.Int("x", 1, 8, step=3), id="int-step"),
    pytest.param(lambda hp: hp.Int("x", 1, 9, sampling="log"), id="int-log"),
    pytest.param(lambda hp: hp.Int("x", 2, 32, step=2, sampling="log"), id="int-log-step"),
    pytest.param(lambda hp: hp.Int("x", 1, 9, sampling="reverse_log"), id="int-reverse-log"),
    pytest.param(lambda hp: hp.Int("x", 3, 3), id="int-of-one-value"),
    pytest.param(lambda hp: hp.Float("x", 0, 0.5, step=0.1), id="float-step"),
    pytest.param(lambda hp: hp.Float("x", 0.001, 10, step=10, sampling="log"), id="float-log-step"),
    pytest.param(lambda hp: hp.Choice("x", ["a", "b", "c"]), id="choice"),
    pytest.param(lambda hp: hp.Choice("x", [True, False]), id="choice-of-booleans"),
    pytest.param(lambda hp: hp.Choice("x", [0.5, 0.25]), id="choice-of-floats"),
    pytest.param(lambda hp: hp.Boolean("x"), id="boolean"),
    pytest.param(lambda hp: hp.Fixed("x", "same"), id="fixed"),
]
CONTINUOUS = [
    pytest.param(lambda hp: hp.Float("x", 0, 0.5), id="linear"),
    pytest.param(lambda hp: hp.Float("x", 1e-4, 1e-1, sampling="log"), id="log"),
    pytest.param(lambda hp: hp.Float("x", 1e-2, 1, sampling="reverse_log"), id="reverse-log"),
    pytest.param(lambda hp: hp.Int("x", 16, 512), id="int"),
    pytest.param(lambda hp: hp.Int("x", 64, 1024, sampling="log"), id="int-log"),
    pytest.param(lambda hp: hp.Int("x", 64, 1024, sampling="reverse_log"), id="int-reverse-log"),
]


def mirrored(declare):
    hp = kt.HyperParameters()
    declare(hp)
    return hp.space[0], mirror.mirror_space(hp.space)


def kt_draws(parameter, count):
    generator = random.Random(0)
    return [parameter.prob_to_value(generator.random()) for _ in range(count)]


def own_draws(space, count, searcher=RandomSearcher, **kwargs):
    drawing = searcher(space, seed=0, **kwargs)
    return [drawing._draw(trial, 0)["x"] for trial in range(1, count + 1)]


@pytest.mark.parametrize("declare", DECLARED)
def test_random_search_draws_exactly_the_values_of_keras_tuner_as_often(declare):
    parameter, space = mirrored(declare)
    # At most 9 values, the rarest with probability 0.04: all are seen with p > 1 - 1e-15.
    expected, drawn = kt_draws(parameter, 4000), own_draws(space, 1000)
    assert {(type(v), v) for v in drawn} == {(type(v), v) for v in expected}
    values = sorted(set(expected))
    if len(values) > 1:
        # False failure: 1 in 10,000 for each of these, once for all since seeds are fixed.
        share = np.array([expected.count(v) for v in values]) / len(expected)
        assert chisquare([drawn.count(v) for v in values], share * len(drawn)).pvalue > 1e-4


@pytest.mark.parametrize("declare", CONTINUOUS)
def test_random_search_draws_ranges_with_the_distribution_of_keras_tuner(declare):
    parameter, space = mirrored(declare)
    expected, drawn = kt_draws(parameter, 4000), own_draws(space, 1000)
    assert {type(value) for value in drawn} == {type(expected[0])}
    assert ks_2samp(expected, drawn).pvalue > 1e-4
    assert min(drawn) >= parameter.min_value
    assert max(drawn) <= parameter.max_value


@pytest.mark.parametrize("declare", DECLARED)
def test_tpe_draws_no_other_values_than_keras_tuner(declare):
    parameter, space = mirrored(declare)
    expected = {(type(v), v) for v in kt_draws(parameter, 4000)}
    drawn = own_draws(space, 60, TPESearcher, objective=Objective("v", "max"))
    assert {(type(v), v) for v in drawn} <= expected


bounds = st.tuples(st.integers(1, 50), st.integers(0, 200)).map(lambda b: (b[0], b[0] + b[1]))
samplings = st.sampled_from(["linear", "log", "reverse_log"])


@given(bounds, samplings, st.none() | st.integers(2, 9), st.booleans(), st.floats(0, 0.999999))
@settings(max_examples=300, deadline=None)
def test_a_position_gives_the_value_keras_tuner_gives(bounds, sampling, step, is_int, fraction):
    hp = kt.HyperParameters()
    (hp.Int if is_int else hp.Float)("x", *bounds, step=step, sampling=sampling)
    theirs, ours = hp.space[0], mirror.mirror_space(hp.space).parameters[0]
    if ours.size is None:
        position = fraction
    else:
        position = int(fraction * ours.size)
        fraction = (position + 0.5) / ours.size
    value = ours.value_at(position)
    assert (type(value), value) == (
        type(theirs.prob_to_value(fraction)),
        theirs.prob_to_value(fraction),
    )
    assert ours.value_at(ours.position_of(value)) == pytest.approx(value)


def test_a_space_survives_a_trip_through_json():
    hp = kt.HyperParameters()
    process.load_hypermodel(NamedObject("problems:in_scopes")).build(hp)
    space = mirror.mirror_space(hp.space)
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_conditions_decide_what_is_drawn():
    space = process.discover("problems:in_scopes")
    assert [parameter.name for parameter in space] == ["head/units", "kind", "scale", "rate"]
    searcher = RandomSearcher(space, seed=0)
    for trial in range(1, 30):
        values = searcher.propose(trial)
        assert ("scale" in values) == (values["kind"] == "scaled")


def test_the_wide_space_is_discovered_with_its_branches_and_what_fit_tunes():
    space = process.discover("fmnist_model.mlp:Wide")
    parameters = {parameter.name: parameter for parameter in space}
    assert set(parameters) == {
        "hidden_layers", "neurons", "activation", "optimizer", "dropout", "learning_rate",
        "sgd_learning_rate", "penalize_weights", "l2", "batch_size", "schedule",
    }  # fmt: skip
    assert parameters["batch_size"].choices == (32, 64, 96, 128, 192, 256, 384, 512)
    assert parameters["l2"].conditions[0].parent == "penalize_weights"
    defaults = space.defaults()
    assert defaults["optimizer"] == "adam"
    assert "sgd_learning_rate" not in defaults


def test_parameters_that_only_some_builds_register_extend_the_space():
    space = process.discover("problems:growing")
    known = [parameter.name for parameter in space]
    assert known == ["layers", "units_0", "rate"]
    grown = space.extended(
        Space((*space, Parameter("units_1", Kind.INT, 2, low=2, high=8, step=1)))
    )
    assert [parameter.name for parameter in grown] == [*known, "units_1"]
    assert grown.extended(space) is grown


def test_fingerprints_tell_values_apart_by_type():
    assert fingerprint({"x": True}) != fingerprint({"x": 1}) != fingerprint({"x": 1.0})
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raising", r"builder raised ValueError: units may not be 1 here"),
        ("not_compiled", r"not compiled: expected a compiled"),
        ("no_model", r"returned None: expected a compiled keras.Model"),
        ("nothing_to_tune", r"no hyperparameter to tune"),
        ("smal", r"has no 'smal'. Did you mean 'small'\?"),
        ("CLASSES", r"is of type int: expected a function"),
    ],
)
def test_what_is_no_tunable_builder_is_refused_in_one_line(name, said):
    with pytest.raises(ProblemError, match=said) as caught:
        process.discover(f"problems:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("problems", "expected MODULE:NAME"),
        ("no_such_module:build", "there is no module 'no_such_module'"),
    ],
)
def test_a_malformed_reference_is_refused(reference, said):
    with pytest.raises(ProblemError, match=said):
        process.discover(reference)
