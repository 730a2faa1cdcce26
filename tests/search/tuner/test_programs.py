"""Programs written for keras-tuner, run as they are and with the class of the tuner replaced."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
IMPORT = "from keras_tuner import RandomSearch\n"
REPLACED = "from search import RayTuner as RandomSearch\n"
TIMEOUT_SECONDS = 300


def run(program, folder, line):
    """Run a program in a folder of its own; return what it prints last."""
    folder.mkdir()
    source = (PROGRAMS / f"{program}.py").read_text()
    assert source.count(IMPORT) == 1
    (folder / "program.py").write_text(source.replace(IMPORT, line))
    # Not the path on which the tests' own small problems lie: a folder `search` is there too.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


# What these show, tests of single trials show in the short tier.
LONG = {"custom_loop", "failed_trials", "tailored_space"}
ALL = sorted(path.stem for path in PROGRAMS.glob("*.py"))


@pytest.mark.parametrize(
    "program",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in ALL],
)
def test_a_program_gives_the_same_kinds_of_results_with_one_import_changed(program, tmp_path):
    with ThreadPoolExecutor() as both:
        theirs = both.submit(run, program, tmp_path / "theirs", IMPORT)
        ours = both.submit(run, program, tmp_path / "ours", REPLACED)
        (expected, _), (found, output) = theirs.result(), ours.result()
    assert found == expected
    runs = list((tmp_path / "ours" / "my_dir").iterdir())
    assert all((run / "journal.jsonl").is_file() for run in runs)
    assert "\x1b" not in output
    if program == "getting_started":
        assert "Search space summary" in output
        assert "search ended (trials done): 4 trials" in output
        assert "Results summary" in output
