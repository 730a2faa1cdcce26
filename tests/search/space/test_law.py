"""The law of the mirror, over spaces that hypothesis makes up and over those that ship.

What is drawn is what keras-tuner could have drawn, and both sides build the same model.
"""

import random
from collections import Counter
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from results.record.history import Objective
from search.algorithms.drawing import RandomSearcher
from search.algorithms.tpe import TPESearcher
from search.errors import ProblemError
from search.plan.task import NamedObject
from search.space import mirror
from search.space.parameters import Space
from search.worker import process

# --- Made-up spaces: a program of declarations, run on keras-tuner's own HyperParameters --------

ranges = st.tuples(st.integers(1, 40), st.integers(0, 60)).map(lambda r: (r[0], r[0] + r[1]))
samplings = st.sampled_from(["linear", "log", "reverse_log"])
steps = st.none() | st.integers(2, 7)
declarations = st.one_of(
    st.tuples(st.just("Int"), ranges, steps, samplings),
    st.tuples(st.just("Float"), ranges, steps, samplings),
    st.tuples(st.just("Choice"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("Choice"), st.sampled_from([["a", "b"], [True, False], [0.5, 0.25, 1.0]])),
    st.tuples(st.just("Boolean"), st.booleans()),
    st.tuples(st.just("Fixed"), st.sampled_from([1, 2.5, "same", True])),
)


@st.composite
def programs(draw, depth=2, parents=()):
    """Steps: ("declare", name, declaration), ("scope", name, steps) or ("when", parent, values, steps)."""
    found, parents = [], list(parents)
    for _ in range(draw(st.integers(1, 4))):
        what = (
            draw(st.sampled_from(["declare", "declare", "scope", "when"])) if depth else "declare"
        )
        name = draw(st.sampled_from("pqrstuvw"))
        if what == "scope":
            found.append(("scope", name, draw(programs(depth=depth - 1))))
        elif what == "when" and parents:
            parent, values = draw(st.sampled_from(parents))
            wanted = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
            found.append(("when", parent, wanted, draw(programs(depth=depth - 1, parents=parents))))
        else:
            declaration = draw(declarations)
            found.append(("declare", name, declaration))
            if declaration[0] == "Choice" and name not in {parent for parent, _ in parents}:
                parents.append(
                    (name, [int(v) if v in (True, False) else v for v in declaration[1]])
                )
    return found


def run(program, hp, answers=None, parents=()):
    """Declare a program's parameters; collect what hp answers, by name."""
    answers = [] if answers is None else answers
    for step in program:
        name = hp._get_name(step[1])
        if step[0] == "scope":
            with hp.name_scope(step[1]):
                run(step[2], hp, answers, parents)
        elif step[0] == "when" and hp._exists(name):
            with hp.conditional_scope(step[1], step[2]):
                run(step[3], hp, answers, (*parents, name))
        elif step[0] == "declare" and name not in parents:  # keras-tuner forbids a parent's name
            answers.append((name, declare(hp, step[1], step[2])))
    return answers


def declare(hp, name, declaration):
    kind, *arguments = declaration
    if kind in ("Int", "Float"):
        (low, high), step, sampling = arguments
        return getattr(hp, kind)(name, low, high, step=step, sampling=sampling)
    return getattr(hp, kind)(name, *arguments)


def is_sound(hp):
    """keras-tuner needs one value for a name, so no name may stand for two active parameters."""
    return len({parameter.name for parameter in hp.space}) == len(hp.space)


def in_domain(parameter, value):
    """Tell whether keras-tuner could have drawn the value, its type included."""
    if isinstance(parameter, kt.engine.hyperparameters.Fixed):
        return (type(value), value) == (type(parameter.value), parameter.value)
    again = parameter.prob_to_value(parameter.value_to_prob(value))
    if isinstance(value, float):
        again = pytest.approx(again, rel=1e-9) if type(again) is float else None
        return value == again
    return (type(value), value) == (type(again), again)


def configs(hp):
    """Return what keras-tuner knows of each parameter, its default as it works out."""
    return [parameter.get_config() | {"default": parameter.default} for parameter in hp.space]


@given(programs())
@settings(max_examples=150, deadline=None)
def test_a_space_comes_back_from_keras_tuners_side_as_it_was(program):
    hp = kt.HyperParameters()
    run(program, hp)
    space = mirror.mirror_space(hp.space)
    back = mirror.to_hyperparameters(space)
    assert configs(back) == configs(hp)
    assert [type(parameter) for parameter in back.space] == [type(one) for one in hp.space]
    assert mirror.mirror_space(back.space) == space


@given(programs(), st.integers(0, 2**20), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_draw_is_one_that_keras_tuner_could_have_drawn(program, seed, by_tpe):
    hp = kt.HyperParameters()
    run(program, hp)
    if not is_sound(hp):
        return
    space = mirror.mirror_space(hp.space)
    if by_tpe:
        searcher = TPESearcher(space, seed=seed, objective=Objective("v", "max"))
    else:
        searcher = RandomSearcher(space, seed=seed)
    for trial in (1, 2):
        values = searcher._draw(trial, 0)
        theirs = mirror.to_hyperparameters(space, values)
        active = {
            parameter.name: parameter for parameter in theirs.space if theirs.is_active(parameter)
        }
        assert set(values) == set(active)
        for name, parameter in active.items():
            assert in_domain(parameter, values[name]), (name, values[name])
        # keras-tuner hands the builder these values, and knows of no other.
        built = kt.HyperParameters()
        built.values = dict(values)
        for name, answer in run(program, built):
            assert answer is None or (type(answer), answer) == (type(values[name]), values[name])
        assert mirror.used_values(built) == values


def nested(hp):
    kind = hp.Choice("kind", ["a", "b", "c"])
    with hp.conditional_scope("kind", ["b", "c"]):
        hp.Boolean("deep")
        with hp.conditional_scope("deep", [True]):
            hp.Int("size", 1, 3)
    if kind == "c":
        with hp.conditional_scope("kind", ["c"]):
            hp.Float("rate", 1, 4, step=2, sampling="log")
    with hp.name_scope("head"):
        hp.Int("size", 2, 6, step=2)


def theirs(parameters, count):
    """Draw as keras-tuner's RandomSearchOracle does, without leaving out what was drawn before."""
    generator = random.Random(1)
    drawn = []
    for _ in range(count):
        hp = kt.HyperParameters()
        for parameter in parameters:
            hp.merge([parameter])
            if hp.is_active(parameter):
                hp.values[parameter.name] = parameter.random_sample(generator.randrange(2**30))
        drawn.append(hp.values)
    return drawn


def test_random_search_draws_every_configuration_of_nested_scopes_as_often_as_keras_tuner():
    hp = kt.HyperParameters()
    hp.values = {"kind": "c"}
    nested(hp)
    searcher = RandomSearcher(mirror.mirror_space(hp.space), seed=3)
    keys = lambda drawn: Counter(tuple(sorted(values.items())) for values in drawn)  # noqa: E731
    ours = keys(searcher._draw(trial, 0) for trial in range(1, 3001))
    expected = keys(theirs(hp.space, 12000))
    # 3 + 12 + 36 configurations, the rarest with p = 1/162: each is drawn with p > 1 - 1e-8.
    assert set(ours) == set(expected)
    assert len(ours) == 3 + 12 + 36
    order = sorted(expected)
    share = [expected[key] * 3000 / 12000 for key in order]
    # False failure: 1 in 10,000, once for all since seeds are fixed.
    assert chisquare([ours[key] for key in order], share).pvalue > 1e-4


def test_a_name_that_is_registered_again_keeps_its_first_declaration():
    hp = kt.HyperParameters()
    first, again = hp.Int("units", 1, 4), hp.Int("units", 10, 40)
    assert first == again
    [parameter] = mirror.mirror_space(hp.space)
    assert (parameter.low, parameter.high) == (1, 4)


def test_one_name_in_two_scopes_has_two_domains():
    hp = kt.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    for kind, high in (("a", 3), ("b", 30)):
        with hp.conditional_scope("kind", [kind]):
            hp.Int("size", high, high + 1)
    space = mirror.mirror_space(hp.space)
    assert len({parameter.key for parameter in space}) == 3
    for trial in range(1, 30):
        values = RandomSearcher(space, seed=0)._draw(trial, 0)
        assert values["size"] in ((3, 4) if values["kind"] == "a" else (30, 31))


def test_a_kind_that_is_not_known_is_named():
    class Ordinal(kt.engine.hyperparameters.Fixed):
        pass

    with pytest.raises(ProblemError, match=r"'rank' of kind 'Ordinal'.*Declare it as one of these"):
        mirror.mirror_space([Ordinal("rank", 1)])


# --- Spaces that ship: both sides build the same model ------------------------------------------


SHIPPED = {
    "published": (lambda: process.load_hypermodel(NamedObject("fmnist_model.mlp:published")), 4),
    "wide": (lambda: process.load_hypermodel(NamedObject("fmnist_model.mlp:Wide")), 4),
    "nested scopes": (lambda: process.load_hypermodel(NamedObject("problems:in_scopes")), 4),
    "growing": (lambda: process.load_hypermodel(NamedObject("problems:growing")), 4),
    "HyperResNet": (lambda: kt.applications.HyperResNet(input_shape=(32, 32, 3), classes=3), 1),
    "HyperXception": (lambda: kt.applications.HyperXception(input_shape=(72, 72, 3), classes=3), 2),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_both_sides_build_models_of_equal_config(name):
    make, draws = SHIPPED[name]
    hypermodel = make()
    space = mirror.discover_space(hypermodel)
    oracle = kt.oracles.RandomSearchOracle("val_loss")
    oracle.update_space(mirror.to_hyperparameters(space))
    for trial in range(1, draws + 1):
        values = RandomSearcher(space, seed=2)._draw(trial, 0)
        ours = built(hypermodel, mirror.prepare_hyperparameters(hypermodel, values))
        hp = oracle.get_space()
        hp.values = dict(values)
        assert ours == built(hypermodel, hp)
        back = mirror.to_hyperparameters(space, values)
        assert mirror.used_values(back) == values
        assert built(hypermodel, back) == ours


def built(hypermodel, hp):
    keras.backend.clear_session()
    model = hypermodel.build(hp)
    return model.get_config(), model.get_compile_config()


def test_the_augmentation_that_keras_tuner_ships_is_mirrored_whole():
    hypermodel = kt.applications.HyperImageAugment(input_shape=(32, 32, 3))
    hp = kt.HyperParameters()
    hypermodel.build(hp)
    space = mirror.mirror_space(hp.space)
    assert {parameter.name for parameter in space} >= {"augment_layers", "factor_rotate"}
    assert configs(mirror.to_hyperparameters(space)) == configs(hp)


def test_weights_that_must_be_downloaded_are_asked_for_plainly():
    """Where they are in Keras's cache the space is found; here there is no network."""
    hypermodel = kt.applications.HyperEfficientNet(input_shape=(32, 32, 3), classes=3)
    cached = list((Path.home() / ".keras" / "models").glob("efficientnet*"))
    if cached:
        assert isinstance(mirror.discover_space(hypermodel), Space)
        return
    with pytest.raises(Exception, match="URL fetch failure"):
        mirror.discover_space(hypermodel)
