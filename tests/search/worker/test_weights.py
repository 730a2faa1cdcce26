"""The weights of a trial's best epoch: when they are saved, and how they are loaded."""

import json

import keras
import numpy as np
import pytest

from results.record.errors import RunFolderError
from results.record.history import Objective
from search.storage.folder import RunFolder
from search.worker.weights import BestWeights, load_best_weights

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")


class Model:
    """A model whose weights are a text."""

    def __init__(self, weights="", *, built=True):
        self.weights, self.built = weights, built
        self.is_saved = False

    def get_build_config(self):
        return {"input_shape": [None, 4]}

    def save_weights(self, path, overwrite):
        assert overwrite
        self.is_saved = True
        path.write_text(self.weights)


class Folder(RunFolder):
    """A run folder that notes which checkpoint files changed."""

    def checkpoint_changed(self, path):
        changed.append(path.name)


changed = []


@pytest.fixture
def folder(tmp_path):
    changed.clear()
    return Folder.create(tmp_path / "run")


def saved(folder):
    file = folder.best_weights_file(3)
    return file.read_text() if file.exists() else None


def offer(weights, *values, name="val_accuracy"):
    for number, value in enumerate(values, start=1):
        weights.offer(Model(f"of epoch {number}"), {name: value})


# --- Saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "values", "best"),
    [
        (ACCURACY, [0.5, 0.75, 0.6], 2),
        (ACCURACY, [0.5, 0.5], 1),
        (LOSS, [0.5, 0.75, 0.25], 3),
        (ACCURACY, [None, 0.5, None], 2),
    ],
)
def test_the_weights_of_the_best_epoch_are_saved(folder, objective, values, best):
    offer(BestWeights(objective, folder, 3), *values, name=objective.name)
    assert saved(folder) == f"of epoch {best}"


def test_an_epoch_that_is_not_finite_saves_nothing(folder):
    offer(BestWeights(ACCURACY, folder, 3), None)
    assert saved(folder) is None


def test_epochs_without_the_objective_are_always_saved(folder):
    weights = BestWeights(ACCURACY, folder, 3)
    offer(weights, 0.5, 0.25, name="loss")
    assert saved(folder) == "of epoch 2"


def test_an_epoch_without_the_objective_does_not_replace_the_best_one(folder):
    weights = BestWeights(ACCURACY, folder, 3)
    offer(weights, 0.5)
    offer(weights, 0.25, 0.2, name="loss")
    assert saved(folder) == "of epoch 1"


def test_a_continued_training_saves_only_what_is_better_than_before(folder):
    weights = BestWeights(ACCURACY, folder, 3)
    weights.resume_from(0.6)
    weights.resume_from(None)
    weights.resume_from(0.4)
    offer(weights, 0.5, 0.6)
    assert saved(folder) is None
    offer(weights, 0.5, 0.7)
    assert saved(folder) == "of epoch 2"


def test_a_model_may_be_saved_without_an_epoch(folder):
    BestWeights(ACCURACY, folder, 3).keep(Model("of no epoch"))
    assert saved(folder) == "of no epoch"


def test_the_shape_of_the_inputs_is_saved_once(folder):
    weights = BestWeights(ACCURACY, folder, 3)
    offer(weights, 0.5, 0.6)
    assert json.loads(folder.build_config_file(3).read_text()) == {"input_shape": [None, 4]}
    assert changed == [
        "trial-00003-build.json", "trial-00003-best.weights.h5", "trial-00003-best.weights.h5",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "trial-00003-best.weights.h5", "trial-00003-build.json",
    ]  # fmt: skip


@pytest.mark.parametrize("model", [None, Model(built=False)], ids=["none", "never-built"])
def test_a_training_without_a_built_model_saves_nothing(folder, model):
    BestWeights(ACCURACY, folder, 3).offer(model, {"val_accuracy": 0.5})
    assert list(folder.checkpoints.iterdir()) == []


def test_without_a_folder_nothing_is_saved():
    model = Model("of epoch 1")
    BestWeights(ACCURACY, None, 3).offer(model, {"val_accuracy": 0.5})
    assert not model.is_saved


# --- Loading --------------------------------------------------------------------------------------


def dense(*, has_input):
    layers = [keras.Input((4,))] if has_input else []
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


@pytest.fixture
def trained(folder, keras_is_imported):
    """A model with saved weights, and an optimizer that has trained."""
    model = dense(has_input=True)
    model.optimizer.build(model.trainable_variables)
    BestWeights(ACCURACY, folder, 3).keep(model)
    return model


@pytest.mark.parametrize("has_input", [True, False])
def test_saved_weights_are_loaded_into_a_new_model(folder, trained, has_input):
    model = dense(has_input=has_input)
    load_best_weights(model, folder, 3)
    for array, expected in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(2)

    def call(self, inputs):
        return self.out(inputs)


class BuildingItself(keras.Model):
    """A model of two arguments, which says how it is built."""

    def build(self, left_shape, right_shape):
        self.kernel = self.add_weight(shape=(left_shape[-1], right_shape[-1]), name="kernel")

    def call(self, left, right):
        return keras.ops.matmul(left, self.kernel) + right


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: keras.Sequential([keras.layers.Dense(2)]), [np.ones((3, 4))]),
        (Subclassed, [np.ones((3, 4))]),
        (BuildingItself, [np.ones((3, 4)), np.ones((3, 2))]),
    ],
    ids=["sequential", "subclassed", "two-arguments"],
)
def test_a_model_without_an_input_is_built_by_its_build_config(folder, make, inputs):
    trained = make()
    expected = trained(*inputs)
    BestWeights(ACCURACY, folder, 3).keep(trained)
    model = make()
    load_best_weights(model, folder, 3)
    np.testing.assert_array_equal(model(*inputs), expected)


def test_a_sequential_model_without_an_input_takes_batches_of_any_size(folder, trained):
    model = dense(has_input=False)
    load_best_weights(model, folder, 3)
    assert model.input_shape == (None, 4)


@pytest.mark.parametrize("config", [None, {}, {"shapes_dict": {"left_shape": [None, 4]}}])
def test_a_model_of_unknown_shape_is_refused_with_a_way_out(folder, trained, config):
    folder.build_config_file(3).write_text(json.dumps(config))
    with pytest.raises(RunFolderError) as refused:
        load_best_weights(dense(has_input=False), folder, 3)
    assert str(refused.value) == (
        "trial 3: its weights cannot be loaded, as the input shape of its model is unknown. Add a "
        "keras.Input to the builder, or use a model that Keras can build."
    )


@pytest.mark.parametrize(
    ("shape", "inputs"),
    [
        ([None, 4], (1, 4)),
        ([2, None, 3], (2, 1, 3)),
        ([[None, 4], [None, 2]], [(1, 4), (1, 2)]),
        ({"a": [None, 4], "b": [[None, 1]]}, {"a": (1, 4), "b": [(1, 1)]}),
    ],
    ids=["one", "lengths", "list", "nested"],
)
def test_a_model_is_built_with_a_sample_of_zeros(folder, shape, inputs):
    folder.build_config_file(3).write_text(json.dumps({"input_shape": shape}))
    calls = []

    class Unbuilt:
        built = False

        def build_from_config(self, config):
            calls.append(config)

        def __call__(self, sample):
            calls.append(sample)
            self.built = True

        def load_weights(self, path):
            calls.append(path)

    load_best_weights(Unbuilt(), folder, 3)
    config, sample, path = calls
    assert config == {"input_shape": shape}
    assert keras.tree.map_structure(lambda array: tuple(array.shape), sample) == inputs
    assert all((np.asarray(array) == 0).all() for array in keras.tree.flatten(sample))
    assert path == folder.best_weights_file(3)
