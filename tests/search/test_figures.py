"""The figures of docs/performance.md are those of the files that the benchmarks wrote."""

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs" / "performance.md").read_text()


def test_the_page_shows_what_was_measured():
    script = HOME / "tests" / "benchmarks" / "settings.py"
    shown = subprocess.run(
        [sys.executable, script, "--show", "--report", HOME / "docs"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in shown.stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert [row for row in rows if row not in PAGE] == []
