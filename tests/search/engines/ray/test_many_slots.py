"""A process that starts is used, however short the trials of the others are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCALE = Path(__file__).parents[3] / "benchmarks" / "scale.py"


@pytest.mark.long
def test_every_slot_is_used_even_if_trials_are_shorter_than_the_start_of_a_process():
    """With Tune's own choice of the trial to run, one process of four ever came up.

    The 400 trials last some two times as long as the start of four processes.
    """
    case = {"slots": 4, "epoch_seconds": 0.0, "trials": 400, "algorithm": "random"}
    done = subprocess.run(
        [sys.executable, SCALE, "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["processes"] == 4
    assert found["reports"] >= 400  # the first epoch of each
