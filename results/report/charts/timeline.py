"""Which worker did what when: idle gaps are seen as gaps."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from results.record import columns
from results.record.columns import Ending
from results.record.words import format_number
from results.report.charts.chart import STATE_COLORS, Chart, escaped, lay_out, quantity
from results.run import Run, ending_of

# What of a report was not waiting: the epoch, and what the trial needed before its first one.
BUSY_LAPS = ("reset", "build", "compile", "train", "validate", "keep")
MAX_HEIGHT_PIXELS = 1600
# So many rows have room for their names.
MAX_LABELS = 80


@dataclass
class Stay:
    """A trial in a process, from its begin to its last report there.

    Attributes:
        ending: How the trial ended, there or elsewhere.
        began_seconds: When its first epoch began there, its model's building included.
        ended_seconds: When its last epoch was reported.
        epochs: How many were trained there.
        best: Their best objective; None where none gave one.
    """

    worker: str
    trial: int
    ending: Ending
    began_seconds: float
    ended_seconds: float
    epochs: int
    best: float | None


def stays(run: Run) -> list[Stay]:
    """Return what each process trained, in the order in which it began."""
    endings = {row[columns.TRIAL]: ending_of(row) for row in run.trials.to_pylist()}
    better = max if run.mode == "max" else min
    found: dict[tuple[Any, ...], Stay] = {}
    for row in sorted(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS]):
        trial, at, value = row[columns.TRIAL], row[columns.AT_SECONDS], row[columns.OBJECTIVE]
        key = row[columns.WORKER], trial, row[columns.ATTEMPT]
        if key not in found:
            began = max(0.0, at - _busy_seconds(row))
            found[key] = Stay(key[0], trial, endings[trial], began, at, 0, None)
        stay = found[key]
        stay.ended_seconds, stay.epochs = at, stay.epochs + 1
        if value is not None:
            stay.best = value if stay.best is None else better(stay.best, value)
    return list(found.values())


def timeline(run: Run) -> Chart | None:
    """Draw a bar for each trial in the row of its process; None where nothing was trained."""
    found = stays(run)
    if not found:
        return None
    workers = list(dict.fromkeys(stay.worker for stay in found))
    figure = go.Figure()
    nth = {id(stay): place for place, stay in enumerate(found)}
    for ending in dict.fromkeys(stay.ending for stay in found):
        shown = [stay for stay in found if stay.ending == ending]
        figure.add_bar(
            orientation="h", name=str(ending), showlegend=True,
            y=[escaped(stay.worker) for stay in shown],
            base=[stay.began_seconds for stay in shown],
            x=[stay.ended_seconds - stay.began_seconds for stay in shown],
            text=[_words(stay) for stay in shown], textposition="none",
            hovertemplate="%{text}<extra></extra>",
            marker={
                # Neighbours are told apart without a line, which would hide what is short.
                "color": STATE_COLORS[ending.state], "line": {"width": 0},
                "opacity": [1.0 - 0.35 * (nth[id(stay)] // len(workers) % 2) for stay in shown],
            },
        )  # fmt: skip
    lay_out(
        figure, x="seconds since the start", height=min(MAX_HEIGHT_PIXELS, 150 + 34 * len(workers))
    )
    figure.update_layout(barmode="overlay", bargap=0.25)
    figure.update_yaxes(
        categoryorder="array", categoryarray=[escaped(one) for one in workers[::-1]],
        type="category", tickmode="linear" if len(workers) <= MAX_LABELS else "auto",
    )  # fmt: skip
    return Chart("timeline", "What each worker did", _summary(found, workers), figure)


def _summary(found: list[Stay], workers: list[str]) -> str:
    of_workers = [[stay for stay in found if stay.worker == worker] for worker in workers]
    gaps = [gap for of_worker in of_workers for gap in _gaps(of_worker)]
    began = min(stay.began_seconds for stay in found)
    busy = sum(stay.ended_seconds - stay.began_seconds for stay in found)
    there = sum(
        max(stay.ended_seconds for stay in of_worker) - of_worker[0].began_seconds
        for of_worker in of_workers
    )
    processes = "1 process" if len(workers) == 1 else f"{len(workers)} processes"
    text = f"{processes}; the first began to train "
    text += f"after {began:.0f} s. Between its first and its last trial each was at work for "
    text += f"{min(busy / (there or 1.0), 1.0):.0%} of the time"
    text += f"; the longest gap between two trials was {max(gaps):.1f} s." if gaps else "."
    return f"{text} Shades tell neighbours apart, and mean nothing."


def _gaps(of_a_worker: list[Stay]) -> list[float]:
    rows = sorted(of_a_worker, key=lambda stay: stay.began_seconds)
    return [
        max(0.0, after.began_seconds - before.ended_seconds) for before, after in pairwise(rows)
    ]


def _busy_seconds(row: dict[str, Any]) -> float:
    """Return how long before its report the work on an epoch began."""
    laps = sum(row.get(columns.LAP_PREFIX + name) or 0.0 for name in BUSY_LAPS)
    return max(float(laps), float(row[columns.EPOCH_SECONDS]))


def _words(stay: Stay) -> str:
    return "<br>".join(
        [
            f"trial {stay.trial}, {stay.ending}",
            f"{quantity(stay.epochs, 'epoch')}, best {format_number(stay.best)}",
            f"{stay.began_seconds:.1f} to {stay.ended_seconds:.1f} s",
        ]
    )
