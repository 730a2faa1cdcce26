"""How far the ``wide`` space goes: a search, what early stopping cost it, and its best on new seeds.

Run by ``make accuracy``; goes on where it was ended. Each step is a command of this project, as a
user gives it. The best configurations, and beside them the published one (docs/published.json),
are trained on five new seeds; validation data choose, and each final model reads the test set once.
Asserts nothing: it writes ``accuracy.json`` and prints what docs/accuracy.md shows
(``--show --report docs``).
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from outcome import markdown, measured, sitting, sittings
from record import COMMAND

from results.compare.formats import as_markdown, shown_columns
from results.compare.rows import published_rows, ranked
from results.reading import read_run
from results.record.audit import Audit
from results.record.confirmation import Confirmation
from results.record.files import write_json
from results.run import Row, row_of
from results.text import audited, confirmed

HOME = Path(__file__).resolve().parents[2]
FOLDER = "runs/accuracy"
COMMANDS = (
    ("run", "--space", "wide", "--epochs", "40", "--grace-period", "5", "--trials", "120",
     "--time-budget", "2100", "--retrain-epochs", "none", "--out", FOLDER, "--or-resume"),
    ("audit", FOLDER, "--trials", "10"),
    ("confirm", FOLDER, "--top", "3", "--seeds", "5", "--retrain-epochs", "20,50",
     "--also", "docs/published.json"),
)  # fmt: skip


def main() -> None:
    """Do what is missing; then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("runs"), help="folder of accuracy.json")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    asked = parser.parse_args()
    report = asked.report / "accuracy.json"
    if not asked.show:
        for words in COMMANDS:
            subprocess.run([COMMAND, *words], cwd=HOME, check=True)
        keep(report, outcome(HOME / FOLDER))
    print("\n\n".join(shown(json.loads(measured(report).read_text()))))


def outcome(folder: Path) -> dict[str, Any]:
    """Return what the committed file holds of a run: all that its tables are made of."""
    run = read_run(folder)
    assert run.confirmation
    assert run.audit
    return {
        "run": asdict(row_of(run)),
        "confirmation": asdict(run.confirmation),
        "audit": asdict(run.audit),
    }


def keep(report: Path, found: dict[str, Any]) -> None:
    """Write the outcome with where and when, unless it is the one that is there."""
    found = json.loads(json.dumps(found))
    known = json.loads(report.read_text()) if report.exists() else {}
    if known != known | found:
        write_json(report, found | sitting())


def shown(found: dict[str, Any]) -> Iterator[str]:
    """Return the parts of the page: the run, its confirmation, its audit."""
    row = Row(**found["run"])
    confirmation = Confirmation.from_json(json.dumps(found["confirmation"]))
    audit = Audit.from_json(json.dumps(found["audit"]))
    yield "\n".join(f"fmnist-search {' '.join(words)}" for words in COMMANDS)
    yield sittings([found], "run")
    rows = ranked([row, *published_rows()])
    yield as_markdown(rows, shown_columns(rows))
    heads, *rows = confirmed.cells(confirmation)
    yield markdown(heads, rows)
    yield "\n".join(confirmed.sentences(confirmation))
    yield _configurations(confirmation)
    heads, *rows = audited.cells(audit)
    yield markdown(heads, rows)
    yield "\n".join(audited.sentences(audit))


def _configurations(found: Confirmation) -> str:
    """Return the table of what was confirmed, in the order of the other one."""
    known = {one.name: one.values for one in found.best_first}
    names = sorted(set().union(*known.values()))
    rows = ([name, *(_cell(values.get(one)) for one in names)] for name, values in known.items())
    return markdown(["configuration", *names], rows)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
