"""Conventions, held by a test: who imports whom, and what may stand in a tracked file."""

import ast
import functools
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
from in_process import help_of

ROOT = Path(__file__).parents[1]
ROOMS = ("search", "fmnist_model", "cluster", "results")
# Room: what of ours and of the large libraries it may not import.
FORBIDDEN = {
    "fmnist_model": {"ray", "search", "cluster", "results"},
    "search": {"fmnist_model", "cluster"},
    "cluster": {"search", "fmnist_model", "keras", "tensorflow"},
    "results": {"search", "fmnist_model", "cluster", "ray", "keras", "tensorflow"},
}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        for module in imported_modules(path):
            assert module.split(".")[0] not in FORBIDDEN[room], f"{path} imports {module}"


@pytest.mark.parametrize(
    ("room", "gate"),
    [
        ("search", "results.record."),
        ("cluster", ("results.record.console", "results.record.screen")),
    ],
)
def test_a_room_takes_from_results_only_what_the_gate_lets_through(room, gate):
    for path in (ROOT / room).rglob("*.py"):
        for module in imported_modules(path):
            if module.split(".")[0] == "results":
                assert module.startswith(gate), (path, module)


@pytest.mark.parametrize("room", ROOMS)
def test_the_tests_of_a_room_stand_in_folders_like_its_own(room):
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests" / room).rglob("test_*.py")}
    folders -= {Path("tests/search/same")}  # compares whole searches with keras-tuner's
    assert folders
    for folder in folders:
        of_the_program = ROOT.joinpath(*folder.parts[1:])
        assert list(of_the_program.glob("*.py")), f"{folder}: there is no {of_the_program}"


@pytest.mark.parametrize("module", mutants.DECIDING)
def test_a_module_that_decides_has_test_files_of_its_name(module):
    assert (ROOT / module).exists()
    assert mutants.tests_of(module)


# The folders and modules of a room, from the top: one imports only what stands below it.
FLOORS = {
    "search": [
        "cli", "kt", "tuner", "run", "replay", "doctor", "engines", "final", "exchange", "session", "ray",
        "worker", "view", "loggers", "algorithms", "plan", "carry", "space", "storage", "machine", "signals",
        "errors",
        "packages",
    ],
    "results": ["cli", "report", "text follow", "compare", "reading", "run", "record"],
}  # fmt: skip


@functools.cache
def our_imports():
    """Return for each module of ours which others it imports, inside functions and for types too.

    What a registry names by a string is not counted: it is imported when a user asks for it.
    """
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }
    return {
        name: {
            module if module in modules else module.rpartition(".")[0]
            for module in imported_modules(path)
        }
        & modules.keys() - {name}
        for name, path in modules.items()
    }


@pytest.mark.parametrize("room", FLOORS)
def test_imports_run_downwards_between_the_folders_of_a_room(room):
    floors = {name: floor for floor, row in enumerate(FLOORS[room]) for name in row.split()}
    upwards = []
    for importer, imported in our_imports().items():
        for module in imported:
            upper, lower = importer.split("."), module.split(".")
            if len(upper) == 1 or upper[0] != room or lower[0] != room or upper[1] == lower[1]:
                continue
            if floors[upper[1]] >= floors[lower[1]]:
                upwards.append(f"{importer} imports {module}")
    assert not upwards


def test_no_modules_import_each_other_in_a_circle():
    list(graphlib.TopologicalSorter(our_imports()).static_order())  # CycleError names the circle


def test_the_engines_do_not_import_each_other():
    engines = ROOT / "search" / "engines"
    for path in (engines / "ray").rglob("*.py"):
        assert not any("engines.keras_tuner" in module for module in imported_modules(path))
    assert not any(
        "engines.ray" in module for module in imported_modules(engines / "keras_tuner.py")
    )


def test_the_driver_and_the_results_never_import_tensorflow():
    code = (
        "import search.cli, search.engines.ray.engine, results.cli, sys;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'keras_tuner')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["fmnist-search", "fmnist-results", "fmnist-cluster"])
def test_every_command_has_help_and_stands_on_the_page_of_commands(commands, command):
    page = (ROOT / "docs" / "commands.md").read_text()
    told = subprocess.run(
        [commands / command, "--help"], capture_output=True, text=True, check=True
    )
    subcommands = [
        line.split()[0]
        for line in told.stdout.partition("Commands:")[2].splitlines()
        if line.startswith("  ") and not line.startswith("   ")
    ]
    assert subcommands
    for subcommand in subcommands:
        assert f"### {command} {subcommand}\n" in page
        assert len(help_of(command, subcommand).splitlines()) > 3


def test_the_lock_names_versions_and_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "tensorflow==" in lock
    assert "://" not in lock
    assert "--index-url" not in lock


def test_the_fixtures_of_a_folder_are_found_in_any_order_of_files():
    order = ["results/record/test_files.py", "test_pages.py", "results/test_reading.py"]
    planned = subprocess.run(
        [sys.executable, "-m", "pytest", "--setup-plan", *(f"tests/{name}" for name in order)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert planned.returncode == 0, planned.stdout


def test_what_the_page_for_contributors_names_exists():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:search|results|cluster|tests)/[\w/.]*)`", page))
    assert len(named) > 30
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing, f"CONTRIBUTING.md names what is not there: {missing}"


@pytest.mark.parametrize("script", ["reliability/storm", "results/screenshots", "benchmarks/race"])
def test_a_script_beside_the_tests_imports_the_program_and_not_the_tests_of_its_name(
    script, tmp_path
):
    command = [sys.executable, ROOT / "tests" / f"{script}.py", "--help"]
    # As a user starts it: without the path that these tests have.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(
        command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
