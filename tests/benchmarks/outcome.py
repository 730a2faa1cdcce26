"""What benchmarks share: the file that a benchmark keeps its outcome in, and Markdown tables."""

import csv
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meter import machine


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file of lines that have the same columns, beside what is there; then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    beside.replace(path)


def read_lines(path: Path) -> Iterator[dict[str, str]]:
    """Read what ``write_lines`` wrote; nothing where there is no file yet."""
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)


def measured(path: Path) -> Path:
    """Return the file that a benchmark wrote; end where there is none yet."""
    if not path.exists():
        raise SystemExit(
            f"{path} is not there: nothing has been measured yet, run it without --show."
        )
    return path


def sitting() -> dict[str, str]:
    """Return what each line says of where and when it was measured."""
    return {"machine": machine(), "date": time.strftime("%Y-%m-%d")}


def sittings(lines: Iterable[Mapping[str, Any]], what: str) -> str:
    """Return where and when lines were measured, in words."""
    counts = Counter(f"{line['machine']}, {line['date']}" for line in lines)
    return "; ".join(f"{count} {what} on {where}" for where, count in counts.items())


def markdown(heads: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
