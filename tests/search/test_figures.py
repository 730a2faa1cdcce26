"""The tables of docs/ are those that the benchmarks print of what they have measured."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PERFORMANCE = (HOME / "docs" / "performance.md").read_text()
SETTINGS = (HOME / "docs" / "settings.md").read_text()
SECTIONS = {part.splitlines()[0]: part for part in PERFORMANCE.split("\n## ")}


@pytest.mark.parametrize(
    ("benchmark", "text"),
    [
        ("settings", SETTINGS),
        ("race", SECTIONS["The race"]),
        ("scale", SECTIONS["How many workers one driver serves"]),
    ],
    ids=["settings", "race", "scale"],
)
def test_the_page_shows_what_was_measured(benchmark, text):
    script = HOME / "tests" / "benchmarks" / f"{benchmark}.py"
    shown = subprocess.run(
        [sys.executable, script, "--show", "--report", HOME / "docs"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert rows(text) == rows(shown.stdout)
    assert len(rows(text)) > 5


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]
