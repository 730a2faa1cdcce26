"""How a search came to its best, and how its trials learnt."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from results import columns
from results.charts.chart import COLORS, STATE_COLORS, Chart, laid_out, number, plain
from results.columns import State
from results.reading import Run
from results.rows import Row

# More curves than this are drawn thinner.
MANY_TRIALS = 100


def best_over_time(runs: Sequence[Run], published: Sequence[Row] = ()) -> Chart:
    """Draw the best so far over the seconds since each process began."""
    return _best_so_far(
        runs, published, "best-over-time", "Best so far over time", "seconds since the start"
    )


def best_over_epochs(runs: Sequence[Run], published: Sequence[Row] = ()) -> Chart:
    """Draw the best so far over the epochs trained by all trials."""
    return _best_so_far(
        runs, published, "best-over-epochs", "Best so far over epochs trained", "epochs trained"
    )


def _best_so_far(
    runs: Sequence[Run], published: Sequence[Row], name: str, title: str, axis: str
) -> Chart:
    import plotly.graph_objects as go

    figure, texts = go.Figure(), []
    for run, color in zip(runs, _colors(len(runs)), strict=True):
        reports = reported(run)
        if not reports:
            continue
        best = list(accumulate((row[columns.OBJECTIVE] for row in reports), _better(run.mode)))
        over_time = name == "best-over-time"
        x = [row[columns.AT_SECONDS] if over_time else row["nth"] for row in reports]
        figure.add_scatter(
            x=x, y=best, name=plain(run.name), mode="lines", line={"shape": "hv", "color": color}
        )
        reached = x[best.index(best[-1])]
        unit = f"{reached:.0f} s" if over_time else f"{reached} epochs"
        texts.append(f"{run.name}: {number(best[-1])} after {unit}")
    if len(runs) > 1:
        figure.update_traces(showlegend=True)
    for row in published:
        figure.add_hline(
            y=row.best, line={"dash": "dot", "width": 1, "color": "#8a8f98"},
            annotation={"text": plain(f"{row.name} {number(row.best)}"), "font": {"size": 10}},
            annotation_position="bottom right",
        )  # fmt: skip
    objective = runs[0].objective
    laid_out(figure, x=axis, y=f"best {objective}")
    figure.update_yaxes(range=_upper_part(runs, published))
    text = f"Best {objective}. {'; '.join(texts)}." if texts else "No epoch gave a value."
    return Chart(name, title, text, figure)


def learning_curves(run: Run) -> Chart:
    """Draw the objective of every trial over its epochs, by how it ended, with ASHA's rungs."""
    import plotly.graph_objects as go

    figure = go.Figure()
    states = dict(_column(run.trials, columns.TRIAL, columns.STATE))
    epochs: dict[int, list[dict[str, Any]]] = {}
    for row in run.epochs.to_pylist():
        epochs.setdefault(row[columns.TRIAL], []).append(row)
    width = 1.0 if len(epochs) > MANY_TRIALS else 1.6
    present = [state for state in State if state in states.values()]
    for state in sorted(present, key=lambda one: one is not State.STOPPED):
        x, y, texts = _one_line([rows for trial, rows in epochs.items() if states[trial] == state])
        figure.add_scatter(
            x=x, y=y, text=texts, name=str(state), mode="lines+markers", connectgaps=False,
            line={"color": STATE_COLORS[state], "width": width}, marker={"size": 3},
            hovertemplate="%{text}, epoch %{x}: %{y:.4f}<extra></extra>", showlegend=True,
        )  # fmt: skip
    found = rungs(run)
    for rung in found:
        figure.add_vline(
            x=rung, line={"dash": "dash", "width": 1, "color": "#8a8f98"},
            annotation={"text": f"rung {rung:g}", "font": {"size": 10}},
            annotation_position="bottom right",
        )  # fmt: skip
    laid_out(figure, x="epoch", y=run.objective, height=460)
    figure.update_yaxes(range=_curves_range(run))
    counts = ", ".join(f"{list(states.values()).count(state)} {state}" for state in present)
    text = f"{len(states)} trials: {counts}."
    if found:
        text += " ASHA decides after epoch " + ", ".join(f"{rung:g}" for rung in found) + "."
    return Chart("learning-curves", "Learning curves of all trials", text, figure)


def reported(run: Run) -> list[dict[str, Any]]:
    """Return the epochs that gave a value, in the order in which they were reported.

    Each has its place among all epochs trained, from 1, as ``nth``.
    """
    rows = sorted(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS])
    counted = [row | {"nth": nth} for nth, row in enumerate(rows, start=1)]
    return [row for row in counted if row[columns.OBJECTIVE] is not None]


def rungs(run: Run) -> list[float]:
    """Return the epochs at which ASHA decided; none where nothing stopped trials early.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020; a trial
    at its last epoch ends by itself.
    """
    plan = run.asked["plan"]
    if plan.get("scheduler") != "asha" or plan["engine"] != "ray":
        return []
    most, factor = plan["problem"]["epochs"], plan["reduction_factor"]
    found, rung = [], float(plan["grace_period"])
    while most and rung < most:
        found.append(rung)
        rung *= factor
    return found


def _one_line(trials: list[list[dict[str, Any]]]) -> tuple[list[Any], list[Any], list[str]]:
    """Return many curves as one line with gaps: a trace for each would be slow to draw."""
    x: list[Any] = []
    y: list[Any] = []
    texts: list[str] = []
    for rows in trials:
        x += [*(row[columns.EPOCH] for row in rows), None]
        y += [*(row[columns.OBJECTIVE] for row in rows), None]
        texts += [*(f"trial {row[columns.TRIAL]}" for row in rows), ""]
    return x, y, texts


def _curves_range(run: Run) -> list[float] | None:
    """Return a range that the worst tenth of the values, mostly first epochs, does not stretch."""
    values = sorted(row[columns.OBJECTIVE] for row in reported(run))
    if not values:
        return None
    low, high = values[0], values[-1]
    if run.mode == "max":
        low = values[len(values) // 10]
    else:
        high = values[-1 - len(values) // 10]
    margin = 0.05 * (high - low) or 0.01
    return [low - margin, high + margin]


def _upper_part(runs: Sequence[Run], published: Sequence[Row]) -> list[float] | None:
    """Return the range in which searches differ: from their medians to the best of all."""
    ends = [row.best for row in published if row.best is not None]
    middles: list[float] = []
    for run in runs:
        values = [row[columns.OBJECTIVE] for row in reported(run)]
        best = list(accumulate(values, _better(run.mode)))
        ends += best[-1:]
        middles += best[: len(best) // 10 + 1][-1:]
    if not middles:
        return None
    low, high = min(*middles, *ends), max(*middles, *ends)
    margin = 0.06 * (high - low) or 0.01
    return [low - margin, high + margin]


def _better(mode: str) -> Any:
    return max if mode == "max" else min


def _colors(count: int) -> list[str]:
    return [COLORS[place % len(COLORS)] for place in range(count)]


def _column(table: Any, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))
