"""The spaces that ship with this project and with keras-tuner: both sides build the same model."""

import keras
import keras_tuner as kt
import pytest
from made_up_spaces import configs

from search.algorithms.drawing import RandomSearcher
from search.errors import ProblemError
from search.space import mirror
from search.worker import process
from search.worker.task import NamedObject


def named(reference):
    return lambda: process.load_hypermodel(NamedObject(reference))


def resnet():
    return kt.applications.HyperResNet(input_shape=(32, 32, 3), classes=3)


def xception():
    return kt.applications.HyperXception(input_shape=(72, 72, 3), classes=3)


@pytest.mark.parametrize(
    ("make", "draws"),
    [
        pytest.param(named("fmnist_model.mlp:published"), 4, id="published"),
        pytest.param(named("fmnist_model.mlp:Wide"), 4, id="wide"),
        pytest.param(named("problems:in_scopes"), 4, id="nested-scopes"),
        pytest.param(named("problems:growing"), 4, id="growing"),
        # Large networks: long to build, and no other kinds of hyperparameters.
        pytest.param(resnet, 1, id="HyperResNet", marks=pytest.mark.long),
        pytest.param(xception, 2, id="HyperXception", marks=pytest.mark.long),
    ],
)
def test_both_sides_build_models_of_equal_config(make, draws):
    hypermodel = make()
    space = mirror.discover_space(hypermodel)
    oracle = kt.oracles.RandomSearchOracle("val_loss")
    oracle.update_space(mirror.to_hyperparameters(space))
    for trial in range(1, draws + 1):
        values = RandomSearcher(space, seed=2).propose(trial)
        ours = built(hypermodel, mirror.prepare_hyperparameters(hypermodel, values))
        hp = oracle.get_space()
        hp.values = dict(values)
        assert ours == built(hypermodel, hp)
        back = mirror.to_hyperparameters(space, values)
        assert mirror.used_values(back) == values
        assert built(hypermodel, back) == ours


def built(hypermodel, hp):
    keras.utils.clear_session(free_memory=False)  # layers are numbered anew
    model = hypermodel.build(hp)
    return model.get_config(), model.get_compile_config()


def test_the_wide_space_is_discovered_with_its_branches_and_the_parameters_of_fit():
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


def test_names_in_scopes_and_conditions_are_discovered():
    space = process.discover("problems:in_scopes")
    assert [parameter.name for parameter in space] == ["head/units", "kind", "scale", "rate"]
    [condition] = space.parameters[2].conditions
    assert (condition.parent, condition.values) == ("kind", ("scaled",))


def test_only_the_parameters_of_the_first_builds_are_discovered():
    """Others are added when a trial registers them."""
    space = process.discover("problems:growing")
    assert [parameter.name for parameter in space] == ["layers", "units_0", "rate"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", r"builder raised ValueError: units may not be 1 here"),
        ("not_compiled", r"not compiled: expected a compiled"),
        ("nothing_to_tune", r"no hyperparameter to tune"),
        ("smal", r"has no 'smal'. Did you mean 'small'\?"),
        ("CLASSES", r"is of type int: expected a function"),
    ],
)
def test_a_problem_that_cannot_be_searched_is_refused_in_one_line(name, message):
    with pytest.raises(ProblemError, match=message) as caught:
        process.discover(f"problems:{name}")
    assert "\n" not in str(caught.value)


def test_the_augmentation_that_keras_tuner_ships_is_mirrored_whole():
    hypermodel = kt.applications.HyperImageAugment(input_shape=(32, 32, 3))
    hp = kt.HyperParameters()
    hypermodel.build(hp)
    space = mirror.mirror_space(hp.space)
    assert {parameter.name for parameter in space} >= {"augment_layers", "factor_rotate"}
    assert configs(mirror.to_hyperparameters(space)) == configs(hp)
