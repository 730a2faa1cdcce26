"""Each example runs to its end in an empty folder, as a reader starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# By example: the beginning of the last line that it prints, and its run.
LAST_LINES = {
    "tabular": ("test accuracy 0.9", "tabular"),
    "cnn": ("best: {", "cnn"),
    "time_series": ("best val_loss 0.0", "series"),
    "own_fit": ("best mean absolute error over three folds: ", "own_fit"),
    "own_tuner": ("best: {", "own_tuner"),
    "on_a_cluster": ("best three: 0.9", "on_a_cluster"),
}


def test_each_example_is_tried():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LAST_LINES)


@pytest.mark.long
@pytest.mark.parametrize("name", LAST_LINES)
def test_an_example_runs_to_its_end(name, tmp_path):
    # Not the path on which the tests' own small problems lie: a folder `search` is there too.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    last_line, run = LAST_LINES[name]
    assert done.stdout.splitlines()[-1].startswith(last_line)
    assert (tmp_path / run / "journal.jsonl").is_file()
