"""The tables of docs/performance.md are what the race and the scale have left, to the character."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("benchmark", ["race", "scale"])
def test_the_page_shows_what_was_measured(benchmark):
    shown = subprocess.run(
        [sys.executable, PROJECT / "tests" / "benchmarks" / f"{benchmark}.py", "--show"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.count("\n") > 5
    assert shown in (PROJECT / "docs" / "performance.md").read_text()
