"""Objects that a user names: what is wrong with a name, loading one, and its source files."""

import importlib
import sys
import types
from pathlib import Path

import pytest

import search
from search.errors import ProblemError
from search.plan.importer import (
    add_current_folder_to_path,
    load,
    reference_problem,
    reference_problems,
    source_paths,
)

ROOT = Path(search.__file__).resolve().parents[1]
OWN = [str(ROOT / name) for name in ("search", "results", "fmnist_model")]
MODULE = """
class Models:
    @staticmethod
    def build(hp):
        return "built"

_hidden = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder from which nothing was imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(file, text=""):
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    importlib.invalidate_caches()


# --- What is wrong with a name --------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["problems", "problems:", ":small", ":"])
def test_a_reference_names_a_module_and_an_attribute(reference):
    assert reference_problem(reference, "hypermodel") == (
        f"--hypermodel {reference!r}: expected MODULE:NAME, such as fmnist_model.mlp:published."
    )


@pytest.mark.parametrize("reference", ["nowhere_at_all:build", "nowhere_at_all.inner:build", ".:a"])
def test_a_module_that_is_not_there_is_named_by_its_package(folder, reference):
    package = reference.partition(":")[0].partition(".")[0] or "."
    assert reference_problem(reference, "data") == (
        f"--data {reference!r}: there is no module {package!r}. Run from the folder that holds the "
        "module, or install it."
    )


def test_a_module_of_the_current_folder_is_found_without_importing_it(folder):
    write(folder / "my_models.py", f"{MODULE}raise RuntimeError('imported')")
    assert reference_problem("my_models:Models.build", "hypermodel") is None


def test_a_module_that_was_imported_is_found_wherever_it_came_from(folder, monkeypatch):
    made = types.ModuleType("made_by_hand")
    made.build = print
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    assert reference_problem("made_by_hand:build", "hypermodel") is None


def test_a_module_that_only_other_machines_need_is_not_looked_for(folder):
    assert reference_problem("nowhere_at_all:build", "data", is_here=False) is None
    assert "expected MODULE:NAME" in reference_problem("nowhere_at_all", "data", is_here=False)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("my_models.build", "expected MODULE:NAME, such as fmnist_model.mlp:published. Did you mean 'my_models:build'?"),
        ("my_models.py:build", "there is no module 'my_models.py'. Run from the folder that holds the module, or install it. Did you mean 'my_models:build'?"),
        ("./my_models.py:build", "there is no module './my_models.py'. Run from the folder that holds the module, or install it. Did you mean 'my_models:build'?"),
        ("my_models:biuld", "'my_models' has no 'biuld'. Did you mean 'build'?"),
        ("my_models:RATE", "'RATE' is of type float: expected a function or a class."),
        ("broken:build", "importing 'broken' raised SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("needy:build", "cannot import 'needy' (No module named 'not_installed'). Run from the folder that holds the module, or install it."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_name_is_said_without_importing_the_module(folder, reference, said):
    write(
        folder / "my_models.py", "RATE = 0.1\ndef build(hp): pass\nraise RuntimeError('imported')"
    )
    write(folder / "broken.py", "def build(hp:\n")
    write(folder / "needy.py", "import not_installed\ndef build(hp): pass")
    problem = reference_problem(reference, "hypermodel")
    assert problem == f"--hypermodel {reference!r}: {said}"


@pytest.mark.parametrize("name", ["build", "inner", "__name__"])
def test_a_name_that_a_package_may_have_is_left_to_the_import(folder, name):
    write(folder / "my_package" / "__init__.py", "from .inner import build")
    write(folder / "my_package" / "inner.py", "def build(hp): pass")
    assert reference_problem(f"my_package:{name}", "hypermodel") is None


def test_all_references_are_checked_and_those_that_are_not_given_left_out(folder):
    problems = reference_problems(hypermodel="nowhere_at_all:a", data="b", resources=None)
    assert [line.partition(":")[0] for line in problems] == [
        "--hypermodel 'nowhere_at_all",
        "--data 'b'",
    ]


# --- Loading --------------------------------------------------------------------------------------


def test_an_attribute_is_loaded_from_the_current_folder(folder):
    write(folder / "my_models.py", MODULE)
    assert load("my_models:Models.build", "hypermodel")("hp") == "built"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("my_models", r"^--hypermodel 'my_models': expected MODULE:NAME"),
        (
            "my_models.inner:build",
            r"^--hypermodel 'my_models\.inner:build': there is no module 'my_models\.inner'\. Run "
            r"from the folder that holds the module, or install it\.$",
        ),
        (
            "my_models:Model",
            r"^--hypermodel 'my_models:Model': 'my_models' has no 'Model'\. Did you mean 'Models'\?$",
        ),
        ("my_models:Models.biuld", r"has no 'biuld'\. Did you mean 'build'\?$"),
        ("my_models:hidden", r"'my_models' has no 'hidden'\.$"),  # no private name is proposed
    ],
)
def test_an_attribute_that_cannot_be_loaded_is_named(folder, reference, message):
    write(folder / "my_models.py", MODULE)
    with pytest.raises(ProblemError, match=message):
        load(reference, "hypermodel")


def test_the_error_of_a_module_is_said_in_one_line(folder):
    write(folder / "my_models.py", f"{MODULE}raise RuntimeError('no licence\\nfor it')")
    with pytest.raises(ProblemError) as caught:
        load("my_models:Models", "data")
    assert str(caught.value) == (
        "--data 'my_models:Models': importing 'my_models' raised RuntimeError: no licence for it"
    )


# --- Source files ---------------------------------------------------------------------------------


def test_other_machines_need_our_packages_and_the_modules_of_the_user(folder):
    write(folder / "my_models.py")
    write(folder / "my_package" / "__init__.py")
    paths = source_paths("my_models:build", "my_package.inner:load", "my_models")
    assert paths == [*OWN, str(folder / "my_models.py"), str(folder / "my_package")]


def test_a_module_is_taken_rather_than_a_folder_of_files_of_its_name(folder):
    (folder / "my_data").mkdir()
    write(folder / "my_data.py")
    assert source_paths("my_data:load") == [*OWN, str(folder / "my_data.py")]


@pytest.mark.parametrize(
    "reference",
    [
        "keras_tuner.applications:HyperResNet",
        "json:loads",
        "sys:path",
        "nowhere_at_all:build",
        ".:build",
        "__main__",
        None,
        "fmnist_model.mlp:Wide",
    ],
)
def test_installed_and_missing_modules_are_left_out(reference):
    assert source_paths(reference) == OWN


def test_a_folder_without_an_init_is_left_out(folder):
    (folder / "my_folder").mkdir()
    (folder / "my_folder" / "inner.py").write_text("")
    assert source_paths("my_folder.inner:build") == OWN


# --- The current folder ---------------------------------------------------------------------------


def test_the_current_folder_comes_first_on_the_path_and_once(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", ["/usr/lib/a", "/usr/lib/b"])
    for _ in range(2):
        add_current_folder_to_path()
        assert sys.path == [str(folder), "/usr/lib/a", "/usr/lib/b"]


def test_the_current_folder_comes_after_the_code_that_ray_brought_to_a_node(folder, monkeypatch):
    brought = [f"/tmp/ray/runtime_resources/py_modules_files/{name}" for name in "ab"]
    monkeypatch.setattr(sys, "path", [brought[0], "/usr/lib/a", brought[1], "/usr/lib/b"])
    add_current_folder_to_path()
    assert sys.path == [brought[0], "/usr/lib/a", brought[1], str(folder), "/usr/lib/b"]
