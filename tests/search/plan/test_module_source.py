"""What the source of a module shows, without an import of the module."""

import importlib
import sys
import textwrap

import pytest

from search.plan.module_source import UnknownModuleError, find_module, read_source

PLAIN = """
    import os.path, json as texts
    from math import pi as circle
    from .beside import helper

    units: int = 8
    rate, (low, *others) = 0.1, (1, 2, 3)
    RATES = [0.1, 0.2]
    NAME = "first"
    NAME = str(NAME)

    if units:
        is_large = True
    else:
        is_small = True
    for step in range(3):
        pass
    with open(os.devnull) as file:
        text = file.read()
    try:
        import missing_package
    except ImportError as error:
        missing = None
    while (chunk := 0):
        pass

    def build(hp):
        global counted
        counted = local = 1

    async def fetch(): ...

    class Models:
        attribute = 1
"""
BOUND = {
    "os", "texts", "circle", "helper", "units", "rate", "low", "others", "RATES", "NAME",
    "is_large", "is_small", "step", "file", "text", "missing_package", "missing", "chunk", "build",
    "counted", "fetch", "Models",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    importlib.invalidate_caches()


def source_of(folder, text, name="written"):
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()
    return read_source(find_module(name))


def test_the_names_of_a_module_are_those_that_its_top_level_binds(folder):
    assert source_of(folder, PLAIN).names == BOUND


def test_a_literal_is_known_by_its_type_unless_the_name_is_bound_again(folder):
    assert source_of(folder, PLAIN).literals == {"RATES": "list"}


def test_the_packages_that_a_module_needs_are_those_outside_of_any_block(folder):
    assert source_of(folder, PLAIN).imports == ("os", "json", "math")


@pytest.mark.parametrize(
    "line",
    [
        "from json import *",
        "def __getattr__(name): return name",
        "globals()['made'] = 1",
        "exec('made = 1')",
        "import sys; setattr(sys.modules[__name__], 'made', 1)",
        "import sys; sys.modules[__name__].__dict__['made'] = 1",
        "if True:\n    from json import *",
    ],
)
def test_of_a_module_that_may_make_names_the_names_are_unknown(folder, line):
    assert source_of(folder, line).names is None


def test_of_a_module_that_changes_the_path_the_needed_packages_are_unknown(folder):
    assert source_of(folder, "import sys\nsys.path.insert(0, 'lib')\nimport other").imports == ()


def test_a_module_that_is_no_python_raises_its_error(folder):
    with pytest.raises(SyntaxError):
        source_of(folder, "def build(hp:\n")


@pytest.mark.parametrize("name", ["math", "sys", "pyarrow.lib"])
def test_a_compiled_module_shows_nothing(name):
    assert read_source(find_module(name)) is None


def test_a_module_in_a_package_is_found_without_an_import(folder):
    inner = folder / "outer" / "inner"
    inner.mkdir(parents=True)
    for file in (folder / "outer" / "__init__.py", inner / "__init__.py", inner / "deep.py"):
        file.write_text("raise RuntimeError('imported')")
    assert find_module("outer.inner.deep").origin == str(inner / "deep.py")
    assert find_module("outer.inner.shallow") is None
    assert find_module("outer.inner.deep.deeper") is None
    assert "outer" not in sys.modules


@pytest.mark.parametrize("name", [".", "a b", "", "no-module", "a..b"])
def test_what_is_no_name_of_a_module_is_not_found(name):
    assert find_module(name) is None


def test_what_a_package_may_find_by_code_of_its_own_is_unknown(folder):
    (folder / "outer").mkdir()
    (folder / "outer" / "__init__.py").write_text("__path__.append('elsewhere')")
    with pytest.raises(UnknownModuleError):
        find_module("outer.inner")


def test_a_folder_in_a_folder_without_init_files_is_found_or_unknown(folder):
    (folder / "bare" / "inner").mkdir(parents=True)
    (folder / "bare" / "inner" / "deep.py").write_text("")
    assert find_module("bare") is not None
    with pytest.raises(UnknownModuleError):
        find_module("bare.inner.deep")
