"""A search goes on with each kind of data: equal data, another split, other data."""

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

SCRIPT = Path(__file__).parent / "kinds_of_data.py"
TIMEOUT_SECONDS = 1800  # some 80 searches
# Kinds whose contents are texts or files: only that they are not equal can be known.
NOT_MEASURED = {"texts", "records", "photos", "folder"}
NOT_COMPARED = {"begun"}
SPLIT = "the data are not those of the earlier trials, perhaps another split of them; "
UNKNOWN = "argument 1 cannot be compared with the data of the earlier trials; "


def run_here(folder, *words):
    """Run the script in this process; return what it tells."""
    output = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(action="ignore"),  # errors in a test, not in a script
    ):
        patch.setattr(sys, "argv", [str(SCRIPT), *words])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return json.loads(output.getvalue().splitlines()[-1])


def run_alone(folder, *words):
    """Run the script as a process of its own; return what it tells."""
    environment = os.environ | {"COLUMNS": "400"}  # a line of the search is one line
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def continued(line=None):
    """Return a predicate: one trial was added, and this was said of the data, or nothing."""

    def holds(told):
        said = [line for line in told["said"] if "earlier trials" in line]
        is_said = len(said) == 1 and line in said[0] if line else said == []
        return told["added"] == 1 and told["error"] is None and is_said

    return holds


def refused(told):
    return told["added"] == 0 and "was searched with other data" in told["error"]


def expected(kind, step):
    """Return the predicate that holds for a step of the script with a kind of data."""
    if kind in NOT_COMPARED and step != "first":
        return continued(UNKNOWN)
    if step == "split" or (step == "other" and kind in NOT_MEASURED):
        return continued(SPLIT)
    return refused if step == "other" else continued()


def check(told):
    failed = {
        f"{kind}, {step}": outcome
        for kind, steps in told.items()
        for step, outcome in steps.items()
        if not expected(kind, step)(outcome)
    }
    assert failed == {}


def test_a_search_goes_on_with_equal_data_of_the_script_and_is_refused_others(
    running_ray, tmp_path
):
    told = run_here(tmp_path, "out", "first,again,other", "batches")
    again = run_here(tmp_path, "out", "equal", "batches")
    check(told)
    check(again)


@pytest.mark.long
def test_a_search_goes_on_in_another_process_with_each_kind_of_data(tmp_path):
    check(run_alone(tmp_path, "out", "first"))
    told = run_alone(tmp_path, "out", "other,equal,again,split")
    assert len(told) > 20
    check(told)
