"""A timeline of the workers: which trial each process trained, and when it was idle."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from results.record import columns
from results.record.columns import Ending
from results.record.words import describe_epochs, format_number
from results.report.charts.chart import STATE_COLORS, Chart, escaped, lay_out
from results.run import Run, ending_of

# Activities of a report that belong to a trial: the epoch, and the preparation of the first epoch.
BUSY_LAPS = ("reset", "build", "compile", "train", "validate", "keep")
MAX_HEIGHT_PIXELS = 1600
# With more rows, only some have a label.
MAX_LABELS = 80


@dataclass
class Stay:
    """The time that a trial spent in a process, until its last report there.

    Attributes:
        worker: Name of the process.
        trial: Number of the trial.
        ending: How the trial ended, in this process or another.
        began_seconds: Start of its first epoch in the process, model building included.
        ended_seconds: Time of its last report from the process.
        best: Best objective of its epochs in the process; None without a value.
        executions: Number of epochs trained in the process, by execution.
    """

    worker: str
    trial: int
    ending: Ending
    began_seconds: float
    ended_seconds: float
    best: float | None = None
    executions: Counter[int] = field(default_factory=Counter)

    @property
    def epochs(self) -> int:
        """Number of epochs trained in the process."""
        return self.executions.total()


def stays(run: Run) -> list[Stay]:
    """Return the stays of all trials in processes, in order of their start."""
    endings = {row[columns.TRIAL]: ending_of(row) for row in run.trials.to_pylist()}
    better = max if run.mode == "max" else min
    stays_by_key: dict[tuple[Any, ...], Stay] = {}
    for row in sorted(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS]):
        trial, value = row[columns.TRIAL], row[columns.OBJECTIVE]
        at_seconds = row[columns.AT_SECONDS]
        key = row[columns.WORKER], trial, row[columns.ATTEMPT]
        if key not in stays_by_key:
            began = max(0.0, at_seconds - _busy_seconds(row))
            stays_by_key[key] = Stay(key[0], trial, endings[trial], began, at_seconds)
        stay = stays_by_key[key]
        stay.ended_seconds = at_seconds
        stay.executions[row.get(columns.EXECUTION) or 0] += 1
        if value is not None:
            stay.best = value if stay.best is None else better(stay.best, value)
    return list(stays_by_key.values())


def timeline(run: Run) -> Chart | None:
    """Draw a row for each process with a bar for each trial; None if nothing was trained."""
    bars = stays(run)
    if not bars:
        return None
    workers = list(dict.fromkeys(stay.worker for stay in bars))
    figure = go.Figure()
    index_of = {id(stay): index for index, stay in enumerate(bars)}
    for ending in dict.fromkeys(stay.ending for stay in bars):
        shown = [stay for stay in bars if stay.ending == ending]
        figure.add_bar(
            orientation="h", name=str(ending), showlegend=True,
            y=[escaped(stay.worker) for stay in shown],
            base=[stay.began_seconds for stay in shown],
            x=[stay.ended_seconds - stay.began_seconds for stay in shown],
            text=[_hover_text(stay) for stay in shown], textposition="none",
            hovertemplate="%{text}<extra></extra>",
            marker={
                # Shades separate neighbours; an outline would hide short bars.
                "color": STATE_COLORS[ending.state], "line": {"width": 0},
                "opacity": [
                    1.0 - 0.35 * (index_of[id(stay)] // len(workers) % 2) for stay in shown
                ],
            },
        )  # fmt: skip
    lay_out(
        figure, x="seconds since the start", height=min(MAX_HEIGHT_PIXELS, 150 + 34 * len(workers))
    )
    figure.update_layout(barmode="overlay", bargap=0.25)
    figure.update_yaxes(
        categoryorder="array", categoryarray=[escaped(worker) for worker in workers[::-1]],
        type="category", tickmode="linear" if len(workers) <= MAX_LABELS else "auto",
    )  # fmt: skip
    return Chart("timeline", "What each worker did", _describe(bars, workers), figure)


def _describe(bars: list[Stay], workers: list[str]) -> str:
    bars_by_worker = [[stay for stay in bars if stay.worker == worker] for worker in workers]
    gaps = [gap for worker_bars in bars_by_worker for gap in _gaps(worker_bars)]
    began = min(stay.began_seconds for stay in bars)
    busy = sum(stay.ended_seconds - stay.began_seconds for stay in bars)
    total = sum(
        max(stay.ended_seconds for stay in worker_bars) - worker_bars[0].began_seconds
        for worker_bars in bars_by_worker
    )
    processes = "1 process" if len(workers) == 1 else f"{len(workers)} processes"
    text = f"{processes}; training started after {began:.0f} s. From their first to their last "
    text += f"trial, the processes were busy {min(busy / (total or 1.0), 1.0):.0%} of the time"
    text += f"; the longest gap between two trials was {max(gaps):.1f} s." if gaps else "."
    return f"{text} The shades only separate neighbouring trials."


def _gaps(worker_bars: list[Stay]) -> list[float]:
    in_order = sorted(worker_bars, key=lambda stay: stay.began_seconds)
    return [
        max(0.0, after.began_seconds - before.ended_seconds) for before, after in pairwise(in_order)
    ]


def _busy_seconds(row: dict[str, Any]) -> float:
    """Return the seconds of work on an epoch before its report."""
    laps = sum(row.get(columns.LAP_PREFIX + name) or 0.0 for name in BUSY_LAPS)
    return max(float(laps), float(row[columns.EPOCH_SECONDS]))


def _hover_text(stay: Stay) -> str:
    return "<br>".join(
        [
            f"trial {stay.trial}, {stay.ending}",
            f"{describe_epochs(stay.executions)}, best {format_number(stay.best)}",
            f"{stay.began_seconds:.1f} to {stay.ended_seconds:.1f} s",
        ]
    )
