"""The tables of README.md and docs/ are those that the benchmarks print of what they have measured."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from results.compare.formats import as_markdown, shown_columns
from results.compare.rows import type_of_field
from results.run import Row

HOME = Path(__file__).parents[1]
ACCURACY = (HOME / "docs" / "accuracy.md").read_text()
PERFORMANCE = (HOME / "docs" / "performance.md").read_text()
README = (HOME / "README.md").read_text()
REPORT = (HOME / "docs" / "report.md").read_text()
SETTINGS = (HOME / "docs" / "settings.md").read_text()


def section(page: str, heading: str) -> str:
    [found] = [part for part in page.split("\n## ") if part.startswith(f"{heading}\n")]
    return found


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("settings.py", SETTINGS),
        ("race.py", section(PERFORMANCE, "Compared with keras-tuner, Ray Tune and Optuna")),
        ("race.py --short", section(README, "How fast, and how accurate")),
        ("scale.py", section(PERFORMANCE, "How many workers one driver serves")),
        ("start.py", section(PERFORMANCE, "Short scripts beside keras-tuner")),
        ("accuracy.py", ACCURACY),
    ],
    ids=["settings", "race", "summary", "scale", "start", "accuracy"],
)
def test_the_page_shows_what_was_measured(command, text):
    script, *options = command.split()
    shown = printed(script, *options)
    assert rows(text) == rows(shown)
    assert len(rows(text)) > 3


def test_the_page_of_accuracy_says_in_words_what_was_measured():
    said = [line for line in printed("accuracy.py").splitlines() if line and line[0] != "|"]
    page = " ".join(ACCURACY.split())
    assert len(said) > 5
    assert [line for line in said if line not in page] == []


def test_the_accuracy_in_a_sentence_is_that_of_its_tables():
    rows = json.loads((HOME / "docs" / "accuracy.json").read_text())["confirmation"]["candidates"]
    tested = [row["test"] for row in rows if row["test"]]
    assert len(tested) == 2
    for one in tested:
        assert f"{one['mean']:.4f}" in section(README, "How fast, and how accurate")
        said = f"({one['low']:.4f} to {one['high']:.4f})"
        assert f"{one['mean']:.4f}" in ACCURACY.partition("## The run")[0]
        assert said in ACCURACY.partition("## The run")[0]


def test_the_page_of_the_report_shows_the_run_of_which_the_pictures_are():
    kinds = {name: type_of_field(Row, name) for name in Row.__dataclass_fields__}
    with (HOME / "docs" / "report.csv").open(newline="") as file:
        found = [
            Row(**{name: kinds[name](value) if value else None for name, value in line.items()})
            for line in csv.DictReader(file)
        ]
    assert rows(section(REPORT, "The run of the pictures")) == rows(
        as_markdown(found, shown_columns(found))
    )


def printed(script: str, *options: str) -> str:
    """Return what a benchmark shows of what it has measured, running nothing."""
    words = [sys.executable, HOME / "tests" / "benchmarks" / script, *options]
    words += ["--show", "--report", HOME / "docs"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]
