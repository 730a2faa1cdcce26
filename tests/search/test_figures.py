"""The tables of README.md and docs/ are those that the benchmarks print of what they have measured."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from results.compare import as_markdown
from results.rows import Row, kind_of

HOME = Path(__file__).parents[2]
PERFORMANCE = (HOME / "docs" / "performance.md").read_text()
README = (HOME / "README.md").read_text()
SETTINGS = (HOME / "docs" / "settings.md").read_text()


def section(page: str, heading: str) -> str:
    [found] = [part for part in page.split("\n## ") if part.startswith(f"{heading}\n")]
    return found


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("settings.py", SETTINGS),
        ("race.py", section(PERFORMANCE, "The race")),
        ("race.py --short", section(README, "How fast it is")),
        ("scale.py", section(PERFORMANCE, "How many workers one driver serves")),
    ],
    ids=["settings", "race", "summary", "scale"],
)
def test_the_page_shows_what_was_measured(command, text):
    script, *options = command.split()
    words = [sys.executable, HOME / "tests" / "benchmarks" / script, *options]
    words += ["--show", "--report", HOME / "docs"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True)
    assert rows(text) == rows(shown.stdout)
    assert len(rows(text)) > 5


def test_the_readme_shows_the_run_of_which_the_pictures_are():
    kinds = {name: kind_of(Row, name) for name in Row.__dataclass_fields__}
    with (HOME / "docs" / "report.csv").open(newline="") as file:
        found = [
            Row(**{name: kinds[name](value) if value else None for name, value in line.items()})
            for line in csv.DictReader(file)
        ]
    assert rows(section(README, "A run")) == rows(as_markdown(found))


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]
