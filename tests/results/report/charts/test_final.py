"""The final model: its retrainings, its confusion matrix and its mistakes."""

import base64
import io

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_memory import run_of, trial_of

from results.record import columns
from results.record.errors import RunFolderError
from results.report.charts.final import (
    Mistake,
    confusion_matrix,
    confusions,
    mistakes_of,
    per_class,
    retrained,
)

CLASSES = [
    {"name": "<red>", "precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 4},
    {"name": "green", "precision": 1.0, "recall": 0.25, "f1": 0.4, "support": 8},
]
EVALUATION = {"test_accuracy": 0.5, "confusion_matrix": [[4, 0], [6, 2]], "per_class": CLASSES}


def evaluated(**fields):
    return run_of([trial_of(0, 0.5)], evaluation=EVALUATION | fields)


def with_table(folder, name, rows, **options):
    """Write a table of the final model; return a run in that folder."""
    (folder / columns.FINAL_DIR).mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / columns.FINAL_DIR / name)
    return run_of([trial_of(0, 0.5)], path=folder, **options)


# --- Retrainings ------------------------------------------------------------------------------


def epoch(planned, number, accuracy, val_accuracy, loss, val_loss):
    return {
        "planned_epochs": planned, "epoch": number, "metric:accuracy": accuracy,
        "metric:val_accuracy": val_accuracy, "metric:loss": loss, "metric:val_loss": val_loss,
    }  # fmt: skip


HISTORY = [
    epoch(1, 1, 0.5, 0.4, 1.0, 1.1),
    epoch(3, 1, 0.6, 0.7, 0.9, 0.8),
    epoch(3, 2, 0.7, 0.8, 0.8, 0.6),
    epoch(3, 3, 0.9, 0.75, 0.5, 0.7),
]


def test_each_retraining_is_a_curve_of_training_and_one_of_validation(tmp_path):
    accuracy, loss = retrained(with_table(tmp_path, "history.parquet", HISTORY))
    assert (accuracy.name, loss.name) == ("retrained-accuracy", "retrained-loss")
    assert {line.name: (line.x, line.y) for line in accuracy.figure.data} == {
        "1 epoch, train": ((1,), (0.5,)),
        "1 epoch, validation": ((1,), (0.4,)),
        "3 epochs, train": ((1, 2, 3), (0.6, 0.7, 0.9)),
        "3 epochs, validation": ((1, 2, 3), (0.7, 0.8, 0.75)),
    }
    assert loss.figure.data[3].y == (0.8, 0.6, 0.7)


def test_the_table_of_retrainings_has_the_last_and_the_best_epoch(tmp_path):
    accuracy, loss = retrained(with_table(tmp_path, "history.parquet", HISTORY))
    assert accuracy.rows == [
        ["retrained for", "train accuracy", "validation accuracy", "best validation", "at"],
        ["1 epoch", "0.5000", "0.4000", "0.4000", "epoch 1"],
        ["3 epochs", "0.9000", "0.7500", "0.8000", "epoch 2"],
    ]
    assert loss.rows[2] == ["3 epochs", "0.5000", "0.7000", "0.6000", "epoch 2"]
    assert accuracy.text == (
        "After 1 epoch: train 0.5000, validation 0.4000; after 3 epochs: train 0.9000, validation "
        "0.7500. The model overfits where the curves diverge."
    )


def test_a_retraining_on_all_data_has_no_validation(tmp_path):
    rows = [{"planned_epochs": 1, "epoch": 1, "metric:accuracy": 0.5, "metric:loss": 1.0}]
    accuracy, _ = retrained(with_table(tmp_path, "history.parquet", rows))
    assert accuracy.rows[1] == ["1 epoch", "0.5000", "", "", ""]


def test_a_search_of_the_loss_has_one_chart_of_retrainings(tmp_path):
    loss = {"objective": {"name": "val_loss", "mode": "min"}}
    charts = retrained(with_table(tmp_path, "history.parquet", HISTORY, problem=loss))
    assert [chart.name for chart in charts] == ["retrained-loss"]


def test_a_run_without_retrainings_has_no_chart_of_them(tmp_path):
    assert retrained(run_of(path=tmp_path)) == []
    empty = pa.table({"planned_epochs": pa.array([], pa.int64())})
    (tmp_path / "final").mkdir()
    pq.write_table(empty, tmp_path / "final" / "history.parquet")
    assert retrained(run_of(path=tmp_path)) == []


# --- The confusion matrix ---------------------------------------------------------------------


def test_the_matrix_shows_counts_and_the_share_of_the_true_class():
    chart = confusion_matrix(evaluated())
    [heatmap] = chart.figure.data
    assert [list(row) for row in heatmap.text] == [[4, 0], [6, 2]]
    assert [list(row) for row in heatmap.z] == [[1.0, 0.0], [0.75, 0.25]]
    assert (heatmap.x, heatmap.y) == (("&lt;red&gt;", "green"),) * 2
    assert heatmap.texttemplate == "%{text}"
    assert chart.text == (
        "Test accuracy 0.5000. Most frequent confusion: green predicted as <red>, 6 times."
    )
    assert chart.rows == [["true, predicted →", "<red>", "green"], ["<red>", "4", "0"], ["green", "6", "2"]]  # fmt: skip


def test_a_class_without_samples_has_no_share():
    [heatmap] = confusion_matrix(evaluated(confusion_matrix=[[0, 0], [1, 2]])).figure.data
    assert list(heatmap.z[0]) == [0.0, 0.0]


def test_a_model_without_a_mistake_has_no_confusion():
    assert confusion_matrix(evaluated(confusion_matrix=[[4, 0], [0, 8]])).text == (
        "Test accuracy 0.5000."
    )


def test_confusions_stand_most_frequent_first_then_by_class():
    matrix = [[9, 1, 3], [1, 9, 0], [5, 1, 9]]
    assert confusions(matrix) == [(5, 2, 0), (3, 0, 2), (1, 0, 1), (1, 1, 0), (1, 2, 1)]


@pytest.mark.parametrize(("count", "has_numbers"), [(60, True), (61, False)])
def test_the_matrix_of_many_classes_has_no_numbers_and_lists_its_confusions(count, has_numbers):
    classes = [CLASSES[0] | {"name": str(n)} for n in range(count)]
    matrix = np.ones((count, count), int).tolist()
    chart = confusion_matrix(evaluated(per_class=classes, confusion_matrix=matrix))
    [heatmap] = chart.figure.data
    assert (heatmap.texttemplate is not None) is has_numbers
    assert len(chart.rows) == 1 + (count if has_numbers else 50)
    if not has_numbers:
        assert chart.rows[:2] == [["true", "predicted", "times"], ["0", "1", "1"]]


def test_without_an_evaluation_there_is_no_matrix():
    assert confusion_matrix(run_of()) is None
    assert confusion_matrix(run_of(evaluation={"test_loss": 0.5})) is None


# --- Each class -------------------------------------------------------------------------------


def test_precision_and_recall_of_each_class_are_points():
    chart = per_class(evaluated())
    assert {trace.name: (trace.x, trace.y) for trace in chart.figure.data} == {
        "precision": (("&lt;red&gt;", "green"), (0.5, 1.0)),
        "recall": (("&lt;red&gt;", "green"), (1.0, 0.25)),
    }
    assert chart.text == ("Class with the lowest F1 score: green, precision 1.0000, recall 0.2500.")
    assert chart.rows == [
        ["class", "precision", "recall", "F1", "samples"],
        ["<red>", "0.5000", "1.0000", "0.6667", "4"], ["green", "1.0000", "0.2500", "0.4000", "8"],
    ]  # fmt: skip


def test_without_classes_there_is_no_chart_of_them():
    assert per_class(run_of()) is None
    assert per_class(evaluated(per_class=[])) is None


# --- Mistakes ---------------------------------------------------------------------------------


def mistake(**fields):
    return {
        "position": 7, "true_class": "<red>", "predicted_class": "green", "confidence": 0.9,
        "true_probability": 0.05, "pixels": bytes(range(6)), "height": 2, "width": 3,
        "channels": 1,
    } | fields  # fmt: skip


def test_the_picture_of_a_mistake_is_grey_or_coloured(tmp_path):
    rows = [mistake(), mistake(pixels=bytes(range(18)), channels=3)]
    grey, coloured = mistakes_of(with_table(tmp_path, "mistakes.parquet", rows))
    assert (grey.position, grey.true, grey.predicted, grey.confidence) == (7, "<red>", "green", 0.9)
    assert grey.pixels.tolist() == [
        [[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[3, 3, 3], [4, 4, 4], [5, 5, 5]],
    ]  # fmt: skip
    assert coloured.pixels.ravel().tolist() == list(range(18))


def test_a_sample_that_is_no_picture_has_no_pixels(tmp_path):
    nothing = dict.fromkeys(("pixels", "height", "width", "channels"))
    [sample] = mistakes_of(with_table(tmp_path, "mistakes.parquet", [mistake(**nothing)]))
    assert (sample.pixels, sample.picture) == (None, None)


def test_a_picture_is_a_png_file_within_the_page():
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
    start, _, content = Mistake(0, "a", "b", 0.9, pixels).picture.partition(",")
    assert start == "data:image/png;base64"
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(content)))
    assert (shown[..., :3] * 255).round().astype(int).tolist() == pixels.tolist()


def test_a_run_without_mistakes_has_none(tmp_path):
    assert mistakes_of(run_of(path=tmp_path)) == []


@pytest.mark.parametrize(
    "rows", [[{"position": 7}], [mistake(height=5)], [mistake(height="two")], [mistake(channels=0)]]
)
def test_damaged_mistakes_say_how_to_write_them_again(tmp_path, rows):
    run = with_table(tmp_path, "mistakes.parquet", rows)
    with pytest.raises(
        RunFolderError, match=r"mistakes\.parquet is damaged .* `fmnist-search retrain .*`\.$"
    ):
        mistakes_of(run)
