"""``import search.kt as kt`` in the place of ``import keras_tuner as kt``: names and signatures."""

import importlib
import inspect
import subprocess
import sys
import types

import keras_tuner
import pytest

import search
from search import RayTuner, kt
from search.errors import UsageError

OURS = ("Tuner", "RandomSearch", "BayesianOptimization", "Hyperband", "GridSearch", "SklearnTuner")
MODULES = (
    "", "applications", "engine", "engine.base_tuner", "engine.hypermodel", "engine.hyperparameters",
    "engine.metrics_tracking", "engine.oracle", "engine.trial", "engine.tuner", "errors", "oracles",
    "tuners",
)  # fmt: skip


def module_of(package, name):
    return importlib.import_module(f"{package}.{name}" if name else package)


def public_names(module):
    """Return the names that keras-tuner's page of a module lists; ``src`` is its source."""
    return {name for name in dir(module) if not name.startswith("_") and name != "src"}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_of_keras_tuner_is_there(name):
    theirs, ours = module_of("keras_tuner", name), module_of("search.kt", name)
    for public in public_names(theirs):
        here, there = getattr(ours, public), getattr(theirs, public)
        if isinstance(there, types.ModuleType):
            assert f"{name}.{public}".strip(".") in MODULES
        else:
            assert (here is there) is (public not in OURS), public


@pytest.mark.parametrize("name", ["", "engine", "engine.tuner", "tuners"])
def test_no_other_name_is_offered(name):
    listed = set(module_of("search.kt", name).__all__) - {"__version__"}
    assert listed == public_names(module_of("keras_tuner", name))


def test_the_version_is_that_of_keras_tuner():
    assert kt.__version__ == keras_tuner.__version__


def test_the_list_of_modules_is_complete():
    found = {""}
    pending = [("", keras_tuner)]
    while pending:
        name, module = pending.pop()
        for public in public_names(module):
            inner = getattr(module, public)
            if isinstance(inner, types.ModuleType):
                path = f"{name}.{public}".strip(".")
                found.add(path)
                pending.append((path, inner))
    assert found == set(MODULES)


def parameters_of(tuner):
    """Return name, kind and default of each parameter; only ours have annotations."""
    parameters = inspect.signature(tuner).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize("name", OURS)
def test_a_tuner_has_the_signature_of_its_namesake(name):
    assert parameters_of(getattr(kt, name)) == parameters_of(getattr(keras_tuner, name))


@pytest.mark.parametrize("name", OURS)
def test_a_tuner_is_derived_from_what_its_namesake_is_derived_from(name):
    ours, theirs = getattr(kt, name), getattr(keras_tuner, name)
    assert issubclass(ours, kt.Tuner) is issubclass(theirs, keras_tuner.Tuner)
    assert issubclass(ours, keras_tuner.engine.base_tuner.BaseTuner)
    assert issubclass(ours, RayTuner) is (name != "SklearnTuner")


@pytest.mark.parametrize(
    "name", ["RandomSearch", "BayesianOptimization", "Hyperband", "GridSearch"]
)
def test_a_tuner_is_offered_by_the_package_too(name):
    assert getattr(search, name) is getattr(kt, name)


def test_a_tuner_for_scikit_learn_is_refused_when_it_is_made():
    with pytest.raises(UsageError, match=r"use keras_tuner\.SklearnTuner instead\.$") as caught:
        kt.SklearnTuner(kt.oracles.RandomSearchOracle("val_loss"), lambda hp: None)
    assert "\n" not in str(caught.value)


def test_importing_the_package_imports_no_keras():
    code = "import search, sys; sys.exit('keras' in sys.modules or 'keras_tuner' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
