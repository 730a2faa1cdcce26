"""The tables of docs/performance.md are those that the benchmarks print of what they have measured."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs" / "performance.md").read_text()


@pytest.mark.parametrize(
    ("benchmark", "heading"),
    [
        ("settings", "How the settings were chosen"),
        ("race", "The race"),
        ("scale", "How many workers one driver serves"),
    ],
)
def test_the_page_shows_what_was_measured(benchmark, heading):
    script = HOME / "tests" / "benchmarks" / f"{benchmark}.py"
    shown = subprocess.run(
        [sys.executable, script, "--show", "--report", HOME / "docs"],
        capture_output=True,
        text=True,
        check=True,
    )
    [section] = [part for part in PAGE.split("\n## ") if part.startswith(f"{heading}\n")]
    assert rows(section) == rows(shown.stdout)
    assert len(rows(section)) > 5


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]
