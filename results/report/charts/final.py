"""Charts of the final model: its retrainings, its confusion matrix and its mistakes."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.reading import read_table
from results.record import columns
from results.record.errors import RunFolderError
from results.record.words import format_number, quantity
from results.report.charts.chart import COLORS, Cells, Chart, escaped, lay_out
from results.run import Run

LOSS = "loss"
# With more classes, the matrix has no numbers and grows no further, and its table lists the largest
# confusions only.
MAX_CLASSES = 60
MAX_PAIRS = 50


def retrained(run: Run) -> list[Chart]:
    """Draw the objective and the loss of each retraining, on training and validation data."""
    path = run.path / columns.FINAL_DIR / columns.HISTORY_FILE
    if not path.is_file():
        return []
    rows = read_table(path).to_pylist()
    modes = {LOSS: "min"} | {run.objective.removeprefix("val_"): run.mode}
    first_row = rows[0] if rows else {}
    return [
        _retraining_chart(rows, metric, mode)
        for metric, mode in reversed(modes.items())
        if first_row.get(columns.METRIC_PREFIX + metric) is not None
    ]


def _retraining_chart(rows: list[dict[str, Any]], metric: str, mode: str) -> Chart:
    figure, texts = go.Figure(), []
    table = [["retrained for", f"train {metric}", f"validation {metric}", "best validation", "at"]]
    planned = sorted({row[columns.PLANNED_EPOCHS] for row in rows})
    for index, planned_epochs in enumerate(planned):
        retraining = [row for row in rows if row[columns.PLANNED_EPOCHS] == planned_epochs]
        epochs = [row[columns.EPOCH] for row in retraining]
        for kind, prefix, dash in (("train", "", "dot"), ("validation", "val_", "solid")):
            figure.add_scatter(
                x=epochs,
                y=[row.get(columns.METRIC_PREFIX + prefix + metric) for row in retraining],
                name=f"{quantity(planned_epochs, 'epoch')}, {kind}", mode="lines",
                line={"color": COLORS[index % len(COLORS)], "dash": dash},
            )  # fmt: skip
        table.append(_last_and_best(retraining, metric, mode))
        texts.append(f"after {table[-1][0]}: train {table[-1][1]}, validation {table[-1][2]}")
    lay_out(figure, x="epoch", y=metric, height=420)
    text = "; ".join(texts)
    text = f"{text[0].upper()}{text[1:]}. The model overfits where the curves diverge."
    return Chart(f"retrained-{metric}", f"Retrained: {metric}", text, figure, table)


def _last_and_best(rows: list[dict[str, Any]], metric: str, mode: str) -> list[str]:
    train, validation = columns.METRIC_PREFIX + metric, f"{columns.METRIC_PREFIX}val_{metric}"
    with_value = [row for row in rows if row.get(validation) is not None]
    better = max if mode == "max" else min
    best = better(with_value, key=lambda row: row[validation], default={})
    last = rows[-1]
    return [
        quantity(last[columns.PLANNED_EPOCHS], "epoch"),
        format_number(last.get(train)),
        format_number(last.get(validation)),
        format_number(best.get(validation)),
        f"epoch {best[columns.EPOCH]}" if best else "",
    ]


def confusion_matrix(run: Run) -> Chart | None:
    """Draw the confusion matrix of the final model; rows are true classes, colours their shares."""
    evaluation = run.evaluation or {}
    if "confusion_matrix" not in evaluation:
        return None
    matrix = evaluation["confusion_matrix"]
    names = [entry["name"] for entry in evaluation["per_class"]]
    has_numbers = len(names) <= MAX_CLASSES
    labels = [escaped(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=[[count / max(sum(row), 1) for count in row] for row in matrix], x=labels, y=labels,
            text=matrix, texttemplate="%{text}" if has_numbers else None, colorscale="Blues",
            zmin=0.0, zmax=1.0, showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, x="predicted", y="true", height=220 + 34 * min(len(names), MAX_CLASSES // 2))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(tickangle=-45, type="category")
    pairs = confusions(matrix)
    text = f"Test accuracy {format_number(evaluation['test_accuracy'])}."
    if pairs:
        count, true, predicted = pairs[0]
        text += f" Most frequent confusion: {names[true]} predicted as {names[predicted]}, "
        text += f"{quantity(count, 'time')}."
    rows = _matrix_table(matrix, names) if has_numbers else _pairs_table(pairs, names)
    return Chart("confusion-matrix", "Confusion matrix", text, figure, rows, is_wide=True)


def confusions(matrix: list[list[int]]) -> list[tuple[int, int, int]]:
    """Return count, true class and predicted class of each confusion, the most frequent first."""
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _matrix_table(matrix: list[list[int]], names: list[str]) -> Cells:
    headings = ["true, predicted →", *names]
    return [headings, *([name, *map(str, row)] for name, row in zip(names, matrix, strict=True))]


def _pairs_table(pairs: list[tuple[int, int, int]], names: list[str]) -> Cells:
    rows = [["true", "predicted", "times"]]
    for count, true, predicted in pairs[:MAX_PAIRS]:
        rows.append([names[true], names[predicted], str(count)])
    return rows


def per_class(run: Run) -> Chart | None:
    """Draw the precision and the recall of each class; None without classes."""
    classes = (run.evaluation or {}).get("per_class")
    if not classes:
        return None
    figure = go.Figure()
    names = [escaped(entry["name"]) for entry in classes]
    for score, color, symbol in (
        ("precision", COLORS[0], "circle"),
        ("recall", COLORS[1], "diamond"),
    ):
        # Points, because bars would mislead on an axis that does not start at 0.
        figure.add_scatter(
            x=names, y=[entry[score] for entry in classes], name=score, mode="markers",
            marker={"color": color, "size": 11, "symbol": symbol},
            hovertemplate=f"%{{x}}: {score} %{{y:.4f}}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, y="share")
    figure.update_xaxes(type="category")
    weakest = min(classes, key=lambda entry: entry["f1"])
    text = (
        f"Class with the lowest F1 score: {weakest['name']}, precision "
        f"{format_number(weakest['precision'])}, recall {format_number(weakest['recall'])}."
    )
    rows = [["class", "precision", "recall", "F1", "samples"]]
    for entry in classes:
        scores = [format_number(entry[key]) for key in ("precision", "recall", "f1")]
        rows.append([entry["name"], *scores, str(entry["support"])])
    return Chart("per-class", "Precision and recall of each class", text, figure, rows)


@dataclass(frozen=True)
class Mistake:
    """A test sample that the final model classified wrongly.

    Attributes:
        position: Index of the sample in the test set.
        true: Name of its class.
        predicted: Name of the predicted class.
        confidence: Probability that the model gave to the predicted class, in 0..1.
        pixels: Its picture, ``uint8`` of shape (height, width, 3); None if it is no picture.
    """

    position: int
    true: str
    predicted: str
    confidence: float
    pixels: np.ndarray | None

    @property
    def picture(self) -> str | None:
        """The picture as a ``data:`` URL of a PNG file; None if there is none."""
        if self.pixels is None:
            return None
        from matplotlib.image import imsave

        png = io.BytesIO()
        imsave(png, self.pixels, format="png")
        return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def mistakes_of(run: Run) -> list[Mistake]:
    """Return the saved mistakes of the final model, the most confident first.

    Raises:
        RunFolderError: The file with the mistakes is damaged.
    """
    path = run.path / columns.FINAL_DIR / columns.MISTAKES_FILE
    if not path.is_file():
        return []
    try:
        return [_mistake(row) for row in read_table(path).to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}). Write it again with `fmnist-search retrain {run.path}`."
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
    # A picture with one channel is grey: repeat the channel for red, green and blue.
    return np.repeat(pixels, 3 // shape[2], axis=2)
