"""The final model: how it learnt at each number of epochs, what it confuses, its mistakes."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.reading import read_table
from results.record import columns
from results.record.errors import RunFolderError
from results.record.words import format_number
from results.report.charts.chart import COLORS, Cells, Chart, escaped, lay_out, quantity
from results.run import Run

LOSS = "loss"
# Of more classes the matrix is drawn without its numbers, and no larger; as a table its largest.
MAX_CLASSES = 60
MAX_PAIRS = 50


def retrained(run: Run) -> list[Chart]:
    """Draw train and validation curves at each number of epochs: the objective and the loss."""
    path = run.path / columns.FINAL_DIR / columns.HISTORY_FILE
    if not path.is_file():
        return []
    rows = read_table(path).to_pylist()
    modes = {LOSS: "min"} | {run.objective.removeprefix("val_"): run.mode}
    known = rows[0] if rows else {}
    return [
        _retrained(rows, metric, mode)
        for metric, mode in reversed(modes.items())
        if known.get(columns.METRIC_PREFIX + metric) is not None
    ]


def _retrained(rows: list[dict[str, Any]], metric: str, mode: str) -> Chart:
    figure, texts = go.Figure(), []
    table = [["retrained for", f"train {metric}", f"validation {metric}", "best validation", "at"]]
    plans = sorted({row[columns.PLANNED_EPOCHS] for row in rows})
    for place, plan in enumerate(plans):
        of_plan = [row for row in rows if row[columns.PLANNED_EPOCHS] == plan]
        epochs = [row[columns.EPOCH] for row in of_plan]
        for kind, prefix, dash in (("train", "", "dot"), ("validation", "val_", "solid")):
            figure.add_scatter(
                x=epochs, y=[row.get(columns.METRIC_PREFIX + prefix + metric) for row in of_plan],
                name=f"{quantity(plan, 'epoch')}, {kind}", mode="lines",
                line={"color": COLORS[place % len(COLORS)], "dash": dash},
            )  # fmt: skip
        table.append(_last_and_best(of_plan, metric, mode))
        texts.append(f"{table[-1][0]}: train {table[-1][1]}, validation {table[-1][2]}")
    lay_out(figure, x="epoch", y=metric, height=420)
    text = f"At the last epoch. {'; '.join(texts)}. Where train and validation part, it overfits."
    return Chart(f"retrained-{metric}", f"Retrained: {metric}", text, figure, table)


def _last_and_best(rows: list[dict[str, Any]], metric: str, mode: str) -> list[str]:
    train, validation = columns.METRIC_PREFIX + metric, f"{columns.METRIC_PREFIX}val_{metric}"
    known = [row for row in rows if row.get(validation) is not None]
    better = max if mode == "max" else min
    best = better(known, key=lambda row: row[validation], default={})
    last = rows[-1]
    return [
        quantity(last[columns.PLANNED_EPOCHS], "epoch"),
        format_number(last.get(train)),
        format_number(last.get(validation)),
        format_number(best.get(validation)),
        f"epoch {best[columns.EPOCH]}" if best else "",
    ]


def confusion_matrix(run: Run) -> Chart | None:
    """Draw the confusion matrix of the final model, by shares of the true class; rows are true."""
    evaluation = run.evaluation or {}
    if "confusion_matrix" not in evaluation:
        return None
    matrix = evaluation["confusion_matrix"]
    names = [one["name"] for one in evaluation["per_class"]]
    has_numbers = len(names) <= MAX_CLASSES
    shown = [escaped(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=[[count / max(sum(row), 1) for count in row] for row in matrix], x=shown, y=shown,
            text=matrix, texttemplate="%{text}" if has_numbers else None, colorscale="Blues",
            zmin=0.0, zmax=1.0, showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, x="predicted", y="true", height=220 + 34 * min(len(names), MAX_CLASSES // 2))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(tickangle=-45, type="category")
    pairs = confused(matrix)
    text = f"Test accuracy {format_number(evaluation['test_accuracy'])}."
    if pairs:
        count, true, predicted = pairs[0]
        text += f" Most often confused: {names[true]} taken for {names[predicted]}, "
        text += f"{quantity(count, 'time')}."
    rows = _whole(matrix, names) if has_numbers else _largest(pairs, names)
    return Chart("confusion-matrix", "Confusion matrix", text, figure, rows, is_wide=True)


def confused(matrix: list[list[int]]) -> list[tuple[int, int, int]]:
    """Return how often, which true class and what it was taken for, the most often first."""
    found = [
        (count, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return sorted(found, key=lambda one: (-one[0], one[1:]))


def _whole(matrix: list[list[int]], names: list[str]) -> Cells:
    heads = ["true, predicted →", *names]
    return [heads, *([name, *map(str, row)] for name, row in zip(names, matrix, strict=True))]


def _largest(pairs: list[tuple[int, int, int]], names: list[str]) -> Cells:
    rows = [["true", "taken for", "times"]]
    for count, true, predicted in pairs[:MAX_PAIRS]:
        rows.append([names[true], names[predicted], str(count)])
    return rows


def per_class(run: Run) -> Chart | None:
    """Draw precision and recall of each class."""
    classes = (run.evaluation or {}).get("per_class")
    if not classes:
        return None
    figure = go.Figure()
    names = [escaped(one["name"]) for one in classes]
    for score, color, symbol in (
        ("precision", COLORS[0], "circle"),
        ("recall", COLORS[1], "diamond"),
    ):
        # Points, as an axis that does not begin at 0 would make bars lie.
        figure.add_scatter(
            x=names, y=[one[score] for one in classes], name=score, mode="markers",
            marker={"color": color, "size": 11, "symbol": symbol},
            hovertemplate=f"%{{x}}: {score} %{{y:.4f}}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, y="share")
    figure.update_xaxes(type="category")
    weakest = min(classes, key=lambda one: one["f1"])
    text = (
        f"Hardest, by the mean of both (F1): {weakest['name']}, precision "
        f"{format_number(weakest['precision'])}, recall {format_number(weakest['recall'])}."
    )
    rows = [["class", "precision", "recall", "F1", "samples"]]
    for one in classes:
        scores = [format_number(one[key]) for key in ("precision", "recall", "f1")]
        rows.append([one["name"], *scores, str(one["support"])])
    return Chart("per-class", "Precision and recall of each class", text, figure, rows)


@dataclass(frozen=True)
class Mistake:
    """A test sample that the final model got wrong.

    Attributes:
        position: Its place in the test split, from 0.
        predicted: What the model took it for.
        confidence: The probability that the model gave that, in 0..1.
        pixels: Its picture, ``uint8`` of shape (height, width, 3); None where it is none.
    """

    position: int
    true: str
    predicted: str
    confidence: float
    pixels: np.ndarray | None

    @property
    def picture(self) -> str | None:
        """A ``data:`` URL of the picture as PNG; None where there is none."""
        if self.pixels is None:
            return None
        from matplotlib.image import imsave

        png = io.BytesIO()
        imsave(png, self.pixels, format="png")
        return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def mistakes_of(run: Run) -> list[Mistake]:
    """Return the mistakes that the run kept, the surest first.

    Raises:
        RunFolderError: Their file is damaged.
    """
    path = run.path / columns.FINAL_DIR / columns.MISTAKES_FILE
    if not path.is_file():
        return []
    try:
        return [_mistake(row) for row in read_table(path).to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}): `fmnist-search retrain {run.path}` makes it anew."
        ) from error


def _mistake(row: dict[str, Any]) -> Mistake:
    return Mistake(
        position=row[columns.POSITION],
        true=row[columns.TRUE_CLASS],
        predicted=row[columns.PREDICTED_CLASS],
        confidence=row[columns.CONFIDENCE],
        pixels=None if row[columns.PIXELS] is None else _pixels(row),
    )


def _pixels(row: dict[str, Any]) -> np.ndarray:
    shape = row[columns.HEIGHT], row[columns.WIDTH], row[columns.CHANNELS]
    pixels = np.frombuffer(row[columns.PIXELS], np.uint8).reshape(shape)
    # One channel is grey: three equal ones.
    return np.repeat(pixels, 3 // shape[2], axis=2)
