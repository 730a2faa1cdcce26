"""Programs written for keras-tuner, run as they are and with the class of the tuner replaced."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
IMPORT = "from keras_tuner import RandomSearch\n"
REPLACED = "from search.kt import RandomSearch\n"
TIMEOUT_SECONDS = 300
ALL = sorted(path.stem for path in PROGRAMS.glob("*.py"))


def write(program, folder, line):
    """Write a program into a folder of its own, with its import replaced."""
    folder.mkdir()
    source = (PROGRAMS / f"{program}.py").read_text()
    assert source.count(IMPORT) == 1
    script = folder / "program.py"
    script.write_text(source.replace(IMPORT, line))
    return script


def run_here(script):
    """Run a program in this process; return what it prints."""
    output = io.StringIO()
    with (
        contextlib.chdir(script.parent),
        contextlib.redirect_stdout(output),
        warnings.catch_warnings(action="ignore"),  # errors in a test, not in a program
    ):
        runpy.run_path(str(script), run_name="__main__")
    return output.getvalue()


def run_alone(script):
    """Run a program as a process of its own; return what it prints."""
    # Not the path on which the tests' own small problems lie: a folder `search` is there too.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, env=environment,
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def compare(program, tmp_path, run):
    """Run both forms of a program; compare what they print last; return what ours has printed."""
    expected = run(write(program, tmp_path / "theirs", IMPORT))
    output = run(write(program, tmp_path / "ours", REPLACED))
    assert json.loads(output.splitlines()[-1]) == json.loads(expected.splitlines()[-1])
    runs = list((tmp_path / "ours" / "my_dir").iterdir())
    assert all((run / "journal.jsonl").is_file() for run in runs)
    assert "\x1b" not in output
    return output


@pytest.mark.long  # in the short tier, tests/search/same compares programs
@pytest.mark.parametrize("program", ["getting_started", "visualized"])
def test_a_program_gives_the_same_kinds_of_results_with_one_import_changed(
    program, running_ray, tmp_path
):
    compare(program, tmp_path, run_here)


@pytest.mark.long
@pytest.mark.parametrize("program", ALL)
def test_a_program_of_its_own_process_gives_the_same_kinds_of_results(program, tmp_path):
    compare(program, tmp_path, run_alone)


@pytest.mark.long
def test_a_program_that_starts_ray_itself_shows_its_space_and_its_results(tmp_path):
    output = run_alone(write("getting_started", tmp_path / "ours", REPLACED))
    assert "Search space summary" in output
    assert "search ended (trials done): 4 trials" in output
    assert "Results summary" in output
