"""The final model: how it learnt at each number of epochs, and what it confuses."""

from typing import Any

from results.reading import read_table
from results.record import columns
from results.record.words import number
from results.report.charts.chart import COLORS, Cells, Chart, counted, laid_out, plain
from results.run import Run

LOSS = "loss"
# Of more classes the matrix is drawn without its numbers, and no larger; as a table its largest.
MOST_CLASSES = 60
MOST_PAIRS = 50


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
    for place, plan in enumerate(plans):
        of_plan = [row for row in rows if row[columns.PLANNED_EPOCHS] == plan]
        epochs = [row[columns.EPOCH] for row in of_plan]
        for kind, prefix, dash in (("train", "", "dot"), ("validation", "val_", "solid")):
            figure.add_scatter(
                x=epochs, y=[row.get(columns.METRIC_PREFIX + prefix + metric) for row in of_plan],
                name=f"{counted(plan, 'epoch')}, {kind}", mode="lines",
                line={"color": COLORS[place % len(COLORS)], "dash": dash},
            )  # fmt: skip
        table.append(_last_and_best(of_plan, metric, mode))
        texts.append(f"{table[-1][0]}: train {table[-1][1]}, validation {table[-1][2]}")
    laid_out(figure, x="epoch", y=metric, height=420)
    text = f"At the last epoch. {'; '.join(texts)}. Where train and validation part, it overfits."
    return Chart(f"retrained-{metric}", f"Retrained: {metric}", text, figure, table)


def _last_and_best(rows: list[dict[str, Any]], metric: str, mode: str) -> list[str]:
    train, validation = columns.METRIC_PREFIX + metric, f"{columns.METRIC_PREFIX}val_{metric}"
    known = [row for row in rows if row.get(validation) is not None]
    better = max if mode == "max" else min
    best = better(known, key=lambda row: row[validation], default={})
    last = rows[-1]
    return [
        counted(last[columns.PLANNED_EPOCHS], "epoch"),
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
    has_numbers = len(names) <= MOST_CLASSES
    shown = [plain(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=[[count / max(sum(row), 1) for count in row] for row in matrix], x=shown, y=shown,
            text=matrix, texttemplate="%{text}" if has_numbers else None, colorscale="Blues",
            zmin=0.0, zmax=1.0, showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    )  # fmt: skip
    laid_out(figure, x="predicted", y="true", height=220 + 34 * min(len(names), MOST_CLASSES // 2))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(tickangle=-45, type="category")
    pairs = confused(matrix)
    text = f"Test accuracy {number(evaluation['test_accuracy'])}."
    if pairs:
        count, true, predicted = pairs[0]
        text += f" Most often confused: {names[true]} taken for {names[predicted]}, "
        text += f"{counted(count, 'time')}."
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
    heads = ["true", "taken for", "times"]
    return [
        heads,
        *(
            [names[true], names[predicted], str(count)]
            for count, true, predicted in pairs[:MOST_PAIRS]
        ),
    ]


def per_class(run: Run) -> Chart | None:
    """Draw precision and recall of each class."""
    import plotly.graph_objects as go

    classes = (run.evaluation or {}).get("per_class")
    if not classes:
        return None
    figure = go.Figure()
    names = [plain(one["name"]) for one in classes]
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
    laid_out(figure, y="share")
    figure.update_xaxes(type="category")
    weakest = min(classes, key=lambda one: one["f1"])
    text = (
        f"Hardest, by the mean of both (F1): {weakest['name']}, precision "
        f"{number(weakest['precision'])}, recall {number(weakest['recall'])}."
    )
    rows = [["class", "precision", "recall", "F1", "samples"], *map(_scores, classes)]
    return Chart("per-class", "Precision and recall of each class", text, figure, rows)


def _scores(one: dict[str, Any]) -> list[str]:
    return [
        one["name"],
        *(number(one[key]) for key in ("precision", "recall", "f1")),
        str(one["support"]),
    ]
