"""The mirror: a space means the same to keras-tuner and to us, over spaces that hypothesis makes up.

Every drawn configuration is one that keras-tuner could have drawn, its types included.
"""

import json

import keras
import keras_tuner as kt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up_spaces import (
    configs,
    configurations,
    declare,
    is_sound,
    nested,
    programs,
    ranges,
    samplings,
)

from search.errors import ProblemError
from search.space import mirror
from search.space.parameters import Condition, Kind, Parameter, Space


def mirrored(declare_parameters):
    hp = kt.HyperParameters()
    declare_parameters(hp)
    return mirror.mirror_space(hp.space)


def compiled_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


class HyperModelOf(kt.HyperModel):
    """A hypermodel that declares parameters and returns a model.

    Args:
        declare: Declares parameters in the build.
        make: Returns the model.
    """

    def __init__(self, declare=lambda hp: None, make=compiled_model):
        super().__init__()
        self._declare, self._make = declare, make

    def build(self, hp):
        self._declare(hp)
        return self._make()


class WithOwnFit(HyperModelOf):
    def fit(self, hp, model, *args, **kwargs):
        return 0.0


# --- Loading a hypermodel -------------------------------------------------------------------------


def test_a_hypermodel_is_loaded_as_it_is():
    hypermodel = HyperModelOf()
    assert mirror.load_hypermodel(hypermodel, "a:b") is hypermodel


def test_a_class_of_hypermodels_is_called():
    assert type(mirror.load_hypermodel(WithOwnFit, "a:b")) is WithOwnFit


def test_a_function_becomes_the_build_of_a_hypermodel():
    hypermodel = mirror.load_hypermodel(lambda hp: ["built with", hp], "a:b")
    assert isinstance(hypermodel, kt.HyperModel)
    assert hypermodel.tunable
    assert hypermodel.build("hp") == ["built with", "hp"]
    assert not mirror.has_own_fit(hypermodel)


def test_another_object_is_refused_by_its_type():
    with pytest.raises(ProblemError) as caught:
        mirror.load_hypermodel(3, "problems:CLASSES")
    assert str(caught.value) == (
        "--hypermodel 'problems:CLASSES' is of type int: expected a function build_model(hp) or a "
        "keras_tuner.HyperModel. Name one of these."
    )


def test_a_hypermodel_has_its_own_fit_if_it_defines_one():
    assert mirror.has_own_fit(WithOwnFit())
    assert not mirror.has_own_fit(HyperModelOf())


# --- Checking what a builder returns --------------------------------------------------------------


def test_a_compiled_model_is_accepted():
    mirror.check_model(compiled_model(), HyperModelOf())


@pytest.mark.parametrize(
    ("value", "words"), [(None, "None"), ({"a": 1}, "an object of type 'dict'")]
)
def test_another_object_than_a_model_is_refused_by_its_type(value, words):
    with pytest.raises(ProblemError) as caught:
        mirror.check_model(value, WithOwnFit())
    assert str(caught.value) == (
        f"The builder returned {words}: expected a compiled keras.Model. Return the model at the "
        "end of the builder."
    )


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(ProblemError, match=r"not compiled: .* Call model\.compile\("):
        mirror.check_model(keras.Sequential(), HyperModelOf())


def test_a_hypermodel_with_its_own_fit_need_not_compile():
    mirror.check_model(keras.Sequential(), WithOwnFit())


# --- Discovering a space --------------------------------------------------------------------------


def test_a_space_is_discovered_with_the_branches_that_a_first_build_does_not_take():
    def in_branches(hp):
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["b"]):
            if kind == "b":
                hp.Int("size", 1, 3)

    space = mirror.discover_space(HyperModelOf(in_branches))
    assert space == Space(
        (
            Parameter("kind", Kind.CHOICE, "a", choices=("a", "b"), ordered=False),
            Parameter(
                "size", Kind.INT, 1, (Condition("kind", ("b",)),), low=1, high=3, step=1
            ),
        )
    )  # fmt: skip


def test_a_space_is_discovered_with_what_is_declared_outside_the_builder():
    class Declaring(HyperModelOf):
        def declare_hyperparameters(self, hp):
            hp.Int("declared", 1, 3)

    space = mirror.discover_space(Declaring(lambda hp: hp.Int("built", 1, 3)))
    assert [parameter.name for parameter in space] == ["declared", "built"]


@pytest.mark.parametrize(
    ("declare_parameters", "names"),
    [
        (lambda hp: None, "none"),
        (lambda hp: [hp.Fixed("units", 3), hp.Int("n", 2, 2)], r"\['units', 'n'\]"),
    ],
)
def test_a_space_without_anything_to_tune_is_refused(declare_parameters, names):
    with pytest.raises(ProblemError, match=rf"no hyperparameter to tune \(found {names}\)"):
        mirror.discover_space(HyperModelOf(declare_parameters))


def test_a_builder_without_a_model_is_refused_before_the_space_is_explored():
    builds = []

    def make():
        builds.append(1)

    with pytest.raises(ProblemError, match="returned None"):
        mirror.discover_space(HyperModelOf(lambda hp: hp.Int("n", 1, 3), make))
    assert len(builds) == 1


def test_the_error_of_a_builder_passes():
    def broken(hp):
        raise ValueError("units may not be 1 here")

    with pytest.raises(ValueError, match="units may not be 1 here"):
        mirror.discover_space(HyperModelOf(broken))


# --- The hp of one configuration ------------------------------------------------------------------


def test_prepared_hyperparameters_hold_all_values_and_no_parameter():
    values = {"units": 5, "tuner/epochs": 3}
    hp = mirror.prepare_hyperparameters(HyperModelOf(), values)
    assert hp.space == []
    assert hp.values == {"units": 5, "tuner/epochs": 3}
    assert hp.values is not values
    assert hp.Int("units", 1, 9) == 5


def test_prepared_hyperparameters_hold_what_was_registered_in_advance():
    registered = kt.HyperParameters()
    registered.Int("units", 1, 9)
    hp = mirror.prepare_hyperparameters(HyperModelOf(), {"units": 5}, registered.get_config())
    assert [parameter.name for parameter in hp.space] == ["units"]
    assert hp.values == {"units": 5}


def test_prepared_hyperparameters_hold_what_the_hypermodel_declares():
    class Declaring(HyperModelOf):
        def declare_hyperparameters(self, hp):
            hp.Int("units", 1, 9)

    hp = mirror.prepare_hyperparameters(Declaring(), {"units": 5})
    assert [parameter.name for parameter in hp.space] == ["units"]
    assert hp.values == {"units": 5}


def test_used_values_are_those_of_the_active_parameters_and_of_oracles():
    hp = kt.HyperParameters()
    hp.values = {"kind": "a", "size": 2, "never registered": 1, "tuner/epochs": 3}
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Int("size", 1, 3)
    assert mirror.used_values(hp) == {"kind": "a", "tuner/epochs": 3}


def test_an_active_parameter_without_a_value_is_not_used():
    hp = kt.HyperParameters()
    hp.Int("units", 1, 9)
    hp.values = {}
    assert mirror.used_values(hp) == {}


def test_a_space_becomes_hyperparameters_with_its_defaults_or_a_configuration():
    space = mirrored(nested)
    assert mirror.to_hyperparameters(space).values == {"kind": "a", "head/size": 2}
    values = {"kind": "b", "deep": False, "head/size": 4}
    assert mirror.to_hyperparameters(space, values).values == values
    assert mirror.to_hyperparameters(space, {}).values == {}


# --- One parameter --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare_parameter", "expected"),
    [
        (
            lambda hp: hp.Int("x", 2, 20, step=3, default=5),
            Parameter("x", Kind.INT, 5, low=2, high=20, step=3),
        ),
        (
            lambda hp: hp.Int("x", 2, 20, sampling="log"),
            Parameter("x", Kind.INT, 2, low=2, high=20, sampling="log"),
        ),
        (
            lambda hp: hp.Float("x", 0.5, 2, step=2, sampling="reverse_log"),
            Parameter("x", Kind.FLOAT, 0.5, low=0.5, high=2.0, step=2.0, sampling="reverse_log"),
        ),
        (
            lambda hp: hp.Choice("x", [3, 1], default=1, ordered=True),
            Parameter("x", Kind.CHOICE, 1, choices=(3, 1), ordered=True),
        ),
        (
            lambda hp: hp.Choice("x", ["a", "b"]),
            Parameter("x", Kind.CHOICE, "a", choices=("a", "b"), ordered=False),
        ),
        (  # keras-tuner turns them into numbers
            lambda hp: hp.Choice("x", [True, False]),
            Parameter("x", Kind.CHOICE, 1, choices=(1, 0), ordered=True),
        ),
        (
            lambda hp: hp.Boolean("x", default=True),
            Parameter("x", Kind.BOOLEAN, True, choices=(False, True), ordered=False),
        ),
        (lambda hp: hp.Fixed("x", 7), Parameter("x", Kind.FIXED, 7, choices=(7,))),
    ],
    ids=lambda one: str(one.kind) if isinstance(one, Parameter) else "",
)
def test_a_parameter_is_mirrored_field_by_field(declare_parameter, expected):
    [parameter] = mirrored(declare_parameter)
    assert parameter == expected
    assert [type(value) for value in parameter.choices] == [type(v) for v in expected.choices]


def test_a_parameter_in_scopes_is_mirrored_with_its_conditions():
    def in_scopes(hp):
        hp.Choice("kind", ["a", "b", "c"])
        with hp.conditional_scope("kind", ["b", "c"]):
            hp.Boolean("deep")
            with hp.conditional_scope("deep", [True]):
                hp.Fixed("size", 1)

    size = mirrored(in_scopes).parameters[-1]
    assert size.conditions == (Condition("kind", ("b", "c")), Condition("deep", (True,)))


def test_a_parameter_of_an_unknown_kind_is_refused_by_name():
    class Ordinal(kt.engine.hyperparameters.Fixed):
        pass

    with pytest.raises(ProblemError, match=r"'rank' of kind 'Ordinal'.*Declare it as one of these"):
        mirror.mirror_space([Ordinal("rank", 1)])


@pytest.mark.parametrize(
    "declare_parameter",
    [
        lambda hp: hp.Float("x", 0, float("inf")),
        lambda hp: hp.Float("x", 0, 1e308, step=1e-10),
        lambda hp: hp.Int("x", 0, 10**400),
        lambda hp: hp.Int("x", 1, 10**400, sampling="log"),
    ],
)
def test_a_range_beyond_all_numbers_is_refused(declare_parameter):
    with pytest.raises(
        ProblemError, match=r"^Hyperparameter 'x' has the range .* Narrow the range\.$"
    ):
        mirrored(declare_parameter)


def test_a_grid_search_refuses_a_space_whose_values_it_cannot_list():
    mirror.check_grid(mirrored(lambda hp: hp.Int("x", 1, 1_000_000)))
    with pytest.raises(ProblemError, match="'x' has 1000001 values: a grid search lists them all"):
        mirror.check_grid(mirrored(lambda hp: hp.Int("x", 0, 1_000_000)))


def test_a_name_that_is_registered_again_keeps_its_first_declaration():
    hp = kt.HyperParameters()
    first, again = hp.Int("units", 1, 4), hp.Int("units", 10, 40)
    assert first == again
    [parameter] = mirror.mirror_space(hp.space)
    assert (parameter.low, parameter.high) == (1, 4)


# --- The law, over spaces that hypothesis makes up ------------------------------------------------


@given(ranges, samplings, st.none() | st.integers(2, 9), st.booleans(), st.floats(0, 0.999999))
@settings(max_examples=300, deadline=None)
def test_a_position_gives_the_value_that_keras_tuner_gives(
    bounds, sampling, step, is_int, fraction
):
    hp = kt.HyperParameters()
    (hp.Int if is_int else hp.Float)("x", *bounds, step=step, sampling=sampling)
    [theirs], [ours] = hp.space, mirror.mirror_space(hp.space)
    if ours.size is None:
        position = fraction
    else:
        position = int(fraction * ours.size)
        fraction = (position + 0.5) / ours.size
    expected = theirs.prob_to_value(fraction)
    value = ours.value_at(position)
    assert (type(value), value) == (type(expected), expected)


@given(programs())
@settings(max_examples=150, deadline=None)
def test_a_space_comes_back_from_keras_tuner_as_it_was_declared(program):
    hp = kt.HyperParameters()
    declare(program, hp)
    space = mirror.mirror_space(hp.space)
    back = mirror.to_hyperparameters(space)
    assert configs(back) == configs(hp)
    assert [type(parameter) for parameter in back.space] == [type(one) for one in hp.space]
    assert mirror.mirror_space(back.space) == space


@given(programs())
@settings(max_examples=50, deadline=None)
def test_a_mirrored_space_is_the_same_after_a_trip_through_run_json(program):
    hp = kt.HyperParameters()
    declare(program, hp)
    space = mirror.mirror_space(hp.space)
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space


def could_draw(parameter, value):
    """Tell whether keras-tuner could have drawn a value of a parameter, its type included."""
    if isinstance(parameter, kt.engine.hyperparameters.Fixed):
        return (type(value), value) == (type(parameter.value), parameter.value)
    nearest = parameter.prob_to_value(parameter.value_to_prob(value))
    is_equal = value == (pytest.approx(nearest, rel=1e-9) if type(value) is float else nearest)
    return type(value) is type(nearest) and is_equal


@given(programs(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_configuration_is_one_that_keras_tuner_could_have_drawn(program, data):
    hp = kt.HyperParameters()
    declare(program, hp)
    assume(is_sound(hp))
    space = mirror.mirror_space(hp.space)
    values = data.draw(configurations(space))
    theirs = mirror.to_hyperparameters(space, values)
    active = {p.name: p for p in theirs.space if theirs.is_active(p)}
    assert set(values) == set(active)
    for name, parameter in active.items():
        assert could_draw(parameter, values[name]), f"not drawn: {name}={values[name]!r}"


@given(programs(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_builder_gets_the_values_of_a_configuration_and_uses_no_others(program, data):
    hp = kt.HyperParameters()
    declare(program, hp)
    assume(is_sound(hp))
    values = data.draw(configurations(mirror.mirror_space(hp.space)))
    in_build = kt.HyperParameters()
    in_build.values = dict(values)
    for name, value in declare(program, in_build):
        assert value is None or (type(value), value) == (type(values[name]), values[name])
    assert mirror.used_values(in_build) == values


def test_one_name_in_two_scopes_has_two_domains():
    def twice(hp):
        hp.Choice("kind", ["a", "b"])
        for kind, low in (("a", 3), ("b", 30)):
            with hp.conditional_scope("kind", [kind]):
                hp.Int("size", low, low + 1)

    space = mirrored(twice)
    _, of_a, of_b = space
    assert (of_a.low, of_b.low) == (3, 30)
    assert len({parameter.key for parameter in space}) == 3
    hp = mirror.to_hyperparameters(space, {"kind": "b", "size": 31})
    assert [hp.is_active(parameter) for parameter in hp.space] == [True, False, True]
