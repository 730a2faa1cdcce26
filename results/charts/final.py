"""The final model: how it learnt at each number of epochs, and what it confuses."""

from typing import Any

from results import columns
from results.charts.chart import COLORS, Chart, laid_out, number, plain
from results.reading import Run, read_table

LOSS = "loss"


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
    import plotly.graph_objects as go

    figure, texts = go.Figure(), []
    table = [["retrained for", f"train {metric}", f"validation {metric}", "best validation", "at"]]
    plans = sorted({row[columns.PLANNED_EPOCHS] for row in rows})
    for plan, color in zip(plans, COLORS, strict=False):
        of_plan = [row for row in rows if row[columns.PLANNED_EPOCHS] == plan]
        epochs = [row[columns.EPOCH] for row in of_plan]
        for kind, prefix, dash in (("train", "", "dot"), ("validation", "val_", "solid")):
            figure.add_scatter(
                x=epochs, y=[row.get(columns.METRIC_PREFIX + prefix + metric) for row in of_plan],
                name=f"{plan} epochs, {kind}", mode="lines", line={"color": color, "dash": dash},
            )  # fmt: skip
        table.append(_last_and_best(of_plan, metric, mode))
        texts.append(f"{plan} epochs: train {table[-1][1]}, validation {table[-1][2]}")
    laid_out(figure, x="epoch", y=metric, height=420)
    text = f"At the last epoch. {'; '.join(texts)}. Where train and validation part, it overfits."
    return Chart(f"retrained-{metric}", f"Retrained: {metric}", text, figure, table)


def _last_and_best(rows: list[dict[str, Any]], metric: str, mode: str) -> list[str]:
    train, validation = columns.METRIC_PREFIX + metric, f"{columns.METRIC_PREFIX}val_{metric}"
    known = [row for row in rows if row.get(validation) is not None]
    best = (max if mode == "max" else min)(known, key=lambda row: row[validation], default={})
    last = rows[-1]
    return [
        f"{last[columns.PLANNED_EPOCHS]} epochs",
        number(last.get(train)),
        number(last.get(validation)),
        number(best.get(validation)),
        f"epoch {best[columns.EPOCH]}" if best else "",
    ]


def confusion_matrix(run: Run) -> Chart | None:
    """Draw the confusion matrix of the final model, by shares of the true class; rows are true."""
    import plotly.graph_objects as go

    evaluation = run.evaluation or {}
    if "confusion_matrix" not in evaluation:
        return None
    matrix = evaluation["confusion_matrix"]
    names = [one["name"] for one in evaluation["per_class"]]
    shown = [plain(name) for name in names]
    shares = [[count / max(sum(row), 1) for count in row] for row in matrix]
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=shown, y=shown, text=matrix, texttemplate="%{text}", colorscale="Blues",
            zmin=0.0, zmax=1.0, showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    )  # fmt: skip
    laid_out(figure, x="predicted", y="true", height=220 + 34 * len(names))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(tickangle=-45, type="category")
    count, true, predicted = _most_confused(matrix)
    text = (
        f"Test accuracy {number(evaluation['test_accuracy'])}. Most often confused: {names[true]} "
        f"taken for {names[predicted]}, {count} times."
    )
    heads = ["true, predicted →", *names]
    rows = [heads, *([name, *map(str, row)] for name, row in zip(names, matrix, strict=True))]
    return Chart("confusion-matrix", "Confusion matrix", text, figure, rows, is_wide=True)


def per_class(run: Run) -> Chart | None:
    """Draw precision and recall of each class."""
    import plotly.graph_objects as go

    classes = (run.evaluation or {}).get("per_class")
    if not classes:
        return None
    figure = go.Figure()
    names = [plain(one["name"]) for one in classes]
    for score, color in (("precision", COLORS[0]), ("recall", COLORS[1])):
        figure.add_bar(
            x=names, y=[one[score] for one in classes], name=score, marker={"color": color},
            hovertemplate=f"%{{x}}: {score} %{{y:.4f}}<extra></extra>",
        )  # fmt: skip
    laid_out(figure, y="share")
    lowest = min(one[score] for one in classes for score in ("precision", "recall"))
    figure.update_yaxes(range=[max(0.0, lowest - 0.1), 1.0])
    figure.update_xaxes(type="category")
    weakest = min(classes, key=lambda one: one["f1"])
    text = (
        f"Hardest: {weakest['name']}, precision {number(weakest['precision'])}, recall "
        f"{number(weakest['recall'])}. Bars begin above 0."
    )
    heads = ["class", "precision", "recall", "F1", "pictures"]
    rows = [
        [
            one["name"],
            *(number(one[key]) for key in ("precision", "recall", "f1")),
            str(one["support"]),
        ]
        for one in classes
    ]
    return Chart("per-class", "Precision and recall of each class", text, figure, [heads, *rows])


def _most_confused(matrix: list[list[int]]) -> tuple[int, int, int]:
    return max(
        (count, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if true != predicted
    )
