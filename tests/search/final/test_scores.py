"""The scores of a final model and its surest mistakes, of a stand-in that needs no Keras."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from search.final.mistakes import MAX_MISTAKES, Mistakes
from search.final.scores import Evaluated, classification_scores, evaluate


@dataclass
class Model:
    """A model with the outputs and metrics of a test; it notes how it was called."""

    outputs: object = None
    metrics: dict = field(default_factory=lambda: {"loss": 0.5})
    calls: list = field(default_factory=list)

    def evaluate(self, inputs, targets, **options):
        self.calls.append(("evaluate", inputs, targets, options))
        return self.metrics

    def predict(self, inputs, **options):
        self.calls.append(("predict", inputs, options))
        return self.outputs


INPUTS = np.arange(12.0).reshape(3, 4)
LABELS = np.array([0, 1, 1])
OUTPUTS = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])


# --- What a model is scored by --------------------------------------------------------------------


def test_a_classifier_has_the_metrics_of_keras_and_the_scores_of_its_labels():
    model = Model(OUTPUTS, {"loss": np.float32(0.5), "accuracy": 0.25})
    evaluated = evaluate(model, (INPUTS, LABELS), class_names=None)
    assert {name: value for name, value in evaluated.scores.items() if name != "per_class"} == {
        "test_loss": 0.5,
        "test_accuracy": 2 / 3,  # counted here, and not the one that Keras returned
        "precision_macro": 0.75,
        "recall_macro": 0.75,
        "confusion_matrix": [[1, 0], [1, 1]],
    }
    assert type(evaluated.scores["test_loss"]) is float
    assert [row["position"] for row in evaluated.mistakes] == [2]


def test_a_model_is_evaluated_and_asked_for_outputs_once_and_quietly():
    model = Model(OUTPUTS)
    evaluate(model, (INPUTS, LABELS), class_names=None)
    [evaluation, prediction] = model.calls
    assert evaluation[:3] == ("evaluate", INPUTS, LABELS)
    assert evaluation[3] == {"batch_size": 512, "verbose": 0, "return_dict": True}
    assert prediction[:2] == ("predict", INPUTS)
    assert prediction[2] == {"batch_size": 512, "verbose": 0}


def test_the_names_of_the_classes_are_those_of_the_data():
    evaluated = evaluate(Model(OUTPUTS), (INPUTS, LABELS), class_names=("red", "green"))
    assert [row["name"] for row in evaluated.scores["per_class"]] == ["red", "green"]
    assert [row["true_class"] for row in evaluated.mistakes] == ["green"]


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(np.array([0.0, 1.0, 1.0]), id="floats"),
        pytest.param(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), id="one-hot"),
        pytest.param(np.array([[0], [1], [1]]), id="column"),
        pytest.param(np.array([0, 1, 1], "uint8"), id="small-integers"),
    ],
)
def test_labels_may_have_the_form_that_a_loss_takes(targets):
    evaluated = evaluate(Model(OUTPUTS), (INPUTS, targets), class_names=None)
    assert evaluated == evaluate(Model(OUTPUTS), (INPUTS, LABELS), class_names=None)


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(np.array([0.5, 1.0, 1.0]), id="fractions"),
        pytest.param(np.array([np.nan, 1.0, 1.0]), id="no-number"),
        pytest.param(np.array([[1, 1], [1, 0], [1, 0]]), id="several-classes-of-one"),
        pytest.param(np.array([[0.5, 0.5], [1, 0], [1, 0]]), id="shares"),
        pytest.param(np.zeros((3, 2, 2), int), id="pictures"),
        pytest.param(np.array(["a", "b", "b"], object), id="texts"),
        pytest.param(np.zeros((3, 0)), id="empty"),
        pytest.param({"a": LABELS}, id="several-outputs"),
    ],
)
def test_targets_that_are_no_labels_leave_the_metrics_of_keras(targets):
    model = Model(OUTPUTS)
    evaluated = evaluate(model, (INPUTS, targets), class_names=None)
    assert evaluated == Evaluated({"test_loss": 0.5}, [])
    assert len(model.calls) == 1, "no outputs are needed"


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param(OUTPUTS[:, :1], id="one-column"),
        pytest.param(OUTPUTS[:, 0], id="one-number"),
        pytest.param(np.zeros((3, 2, 2)), id="pictures"),
    ],
)
def test_outputs_that_are_no_classes_leave_the_metrics_of_keras(outputs):
    evaluated = evaluate(Model(outputs), (INPUTS, LABELS), class_names=None)
    assert evaluated == Evaluated({"test_loss": 0.5}, [])


def test_outputs_may_be_anything_that_becomes_an_array():
    evaluated = evaluate(Model(OUTPUTS.tolist()), (INPUTS, LABELS), class_names=None)
    assert evaluated.scores["confusion_matrix"] == [[1, 0], [1, 1]]


# --- The scores of labels -------------------------------------------------------------------------


def test_the_scores_agree_with_a_table_that_was_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    scores = classification_scores(labels, predicted, classes=3)
    assert scores["test_accuracy"] == pytest.approx(4 / 6)
    assert scores["confusion_matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores["precision_macro"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["recall_macro"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    precision, recall = 2 / 3, 1.0
    assert scores["per_class"] == [
        {"name": "0", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3},
        {
            "name": "1", "precision": precision, "recall": recall,
            "f1": pytest.approx(2 * precision * recall / (precision + recall)), "support": 2,
        },
        {"name": "2", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]  # fmt: skip


def test_a_class_that_occurs_nowhere_has_its_row():
    scores = classification_scores(np.array([0, 1]), np.array([0, 1]), classes=3)
    assert len(scores["per_class"]) == 3
    assert scores["confusion_matrix"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_scores_are_plain_python_values():
    scores = classification_scores(np.array([0, 1]), np.array([1, 1]), classes=2)
    [row, _] = scores["per_class"]
    assert {type(scores[name]) for name in ("test_accuracy", "precision_macro")} == {float}
    assert [type(value) for value in row.values()] == [str, float, float, float, int]
    assert type(scores["confusion_matrix"][0][0]) is int


# --- The surest mistakes --------------------------------------------------------------------------


def mistakes(outputs, labels, inputs=None, names=None):
    outputs, labels = np.array(outputs), np.array(labels)
    inputs = np.ones((len(labels), 4)) if inputs is None else inputs
    found = Mistakes()
    found.add(inputs, labels, outputs)
    return found.rows(names)


def positions(outputs, labels):
    return [row["position"] for row in mistakes(outputs, labels)]


def test_the_surest_mistakes_come_first():
    outputs = [[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.2, 0.8, 0.0]]
    assert positions(outputs, [0, 1, 1, 2]) == [3, 1]


def test_of_equally_sure_mistakes_the_first_comes_first():
    assert positions([[0.7, 0.3], [0.7, 0.3], [0.7, 0.3]], [1, 0, 1]) == [0, 2]


def test_a_mistake_names_both_classes_and_the_probability_of_each():
    [row] = mistakes([[0.2, 0.7, 0.1]], [2], names=("red", "green", "blue"))
    assert (row["true_class"], row["predicted_class"]) == ("blue", "green")
    assert (row["confidence"], row["true_probability"]) == (0.7, 0.1)
    assert [type(row[name]) for name in ("position", "confidence", "true_probability")] == [
        int, float, float,
    ]  # fmt: skip


def test_classes_without_names_have_their_numbers():
    [row] = mistakes([[0.2, 0.7, 0.1]], [2])
    assert (row["true_class"], row["predicted_class"]) == ("2", "1")


@pytest.mark.parametrize(("count", "rows"), [(23, 23), (24, 24), (30, 24)])
def test_at_most_24_mistakes_are_returned(count, rows):
    assert MAX_MISTAKES == 24
    assert positions([[0.7, 0.3]] * count, [1] * count) == list(range(rows))


def test_labels_that_are_no_class_are_no_mistakes():
    assert positions([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0, -1, 2, 7]) == [0]


def test_a_model_without_a_mistake_has_no_row():
    assert mistakes([[0.7, 0.3]], [0]) == []


# --- Probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [[1.0, 0.0], [0.6, 0.4], [0.6, 0.4004], [0.6, 0.3996]],
    ids=["sure", "1", "above", "below"],
)
def test_outputs_that_sum_to_1_are_probabilities(row):
    [mistake] = mistakes([row], [1])
    assert [mistake["confidence"], mistake["true_probability"]] == row


@pytest.mark.parametrize(
    "row",
    [[4.0, 2.0], [0.6, 0.41], [0.6, 0.39], [1.2, -0.2], [1e4, 0.0]],
    ids=["far-from-1", "above-1", "below-1", "negative", "large"],
)
def test_other_outputs_are_logits(row):
    [mistake] = mistakes([row], [1])
    confidence = 1 / (1 + np.exp(row[1] - row[0]))
    assert mistake["confidence"] == pytest.approx(confidence, rel=1e-12)
    assert mistake["true_probability"] == pytest.approx(1 - confidence, rel=1e-9, abs=1e-300)


def test_an_output_that_is_no_number_is_zero():
    [mistake] = mistakes([[0.5, np.nan]], [1])
    assert mistake["confidence"] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_several_rows_of_probabilities_stay_as_they_are():
    rows = mistakes([[0.75, 0.25], [0.625, 0.375]], [1, 1])
    assert [row["confidence"] for row in rows] == [0.75, 0.625]


def test_each_row_of_logits_has_its_own_scale():
    first, second = mistakes([[1e4, 0.0], [1.0, 0.0]], [1, 1])
    assert first["confidence"] == 1.0
    assert second["confidence"] == pytest.approx(1 / (1 + np.exp(-1)))


def test_all_rows_are_logits_if_one_is():
    first, second = mistakes([[1.0, 0.0], [5.0, 0.0]], [1, 1])
    assert first["confidence"] == pytest.approx(1 / (1 + np.exp(-5)))
    assert second["confidence"] == pytest.approx(1 / (1 + np.exp(-1)))


# --- Pictures -------------------------------------------------------------------------------------


def picture(inputs, position=0):
    """Return the row of the mistake at a position; every output is one."""
    rows = mistakes([[0.7, 0.3]] * len(inputs), [1] * len(inputs), inputs)
    return rows[position]


def test_the_range_of_all_inputs_becomes_pixels():
    inputs = np.zeros((3, 8, 8), "float32")
    inputs[0, 0, 1], inputs[0, 0, 2], inputs[1, 7, 7], inputs[2, 0, 0] = 0.5, 0.25, 1.0, -1.0
    first, second = picture(inputs), picture(inputs, 1)
    assert list(first["pixels"][:4]) == [128, 191, 159, 128]
    assert list(second["pixels"][-2:]) == [128, 255]
    assert len(first["pixels"]) == 64


def test_the_range_includes_inputs_that_are_no_mistakes():
    inputs = np.zeros((2, 8, 8))
    inputs[0], inputs[1] = 1.0, 2.0
    [row] = mistakes([[0.7, 0.3], [0.7, 0.3]], [1, 0], inputs)
    assert set(row["pixels"]) == {0}
    [row] = mistakes([[0.7, 0.3], [0.7, 0.3]], [0, 1], inputs)
    assert set(row["pixels"]) == {255}


def test_bytes_of_their_whole_range_stay_as_they_are():
    inputs = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert picture(inputs)["pixels"] == bytes(range(256))


def test_pictures_of_one_value_are_black():
    assert set(picture(np.full((1, 8, 8), 0.5))["pixels"]) == {0}


def test_values_that_are_not_finite_are_the_least_or_the_greatest():
    inputs = np.ones((1, 8, 8))
    inputs[0, 0] = [np.nan, 2.0, 1.0, np.inf, -np.inf, 0.0, 0.0, 0.0]
    assert list(picture(inputs)["pixels"][:8]) == [0, 255, 128, 255, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((8, 8), (8, 8, 1)),
        ((8, 32), (8, 32, 1)),
        ((32, 8), (32, 8, 1)),
        ((128, 512), (128, 512, 1)),
        ((8, 9, 1), (8, 9, 1)),
        ((8, 9, 3), (8, 9, 3)),
    ],
)
def test_pictures_have_a_height_a_width_and_channels(shape, sizes):
    row = picture(np.zeros((1, *shape)))
    assert (row["height"], row["width"], row["channels"]) == sizes
    assert len(row["pixels"]) == np.prod(sizes)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(np.ones((1, 4)), id="rows"),
        pytest.param(np.ones((1, 7, 8)), id="too-low"),
        pytest.param(np.ones((1, 8, 7)), id="too-narrow"),
        pytest.param(np.ones((1, 130, 513)), id="too-wide"),
        pytest.param(np.ones((1, 8, 33)), id="too-long"),
        pytest.param(np.ones((1, 33, 8)), id="too-tall"),
        pytest.param(np.ones((1, 8, 8, 2)), id="two-channels"),
        pytest.param(np.ones((1, 8, 8, 4)), id="four-channels"),
        pytest.param(np.ones((1, 8, 8, 1, 1)), id="five-dimensions"),
        pytest.param(np.full((1, 8, 8), "a"), id="texts"),
        pytest.param(np.ones((1, 8, 8), bool), id="truths"),
        pytest.param(np.full((1, 8, 8), np.nan), id="nothing-finite"),
    ],
)
def test_inputs_that_are_no_pictures_have_no_pixels(inputs):
    row = picture(inputs)
    names = ("pixels", "height", "width", "channels")
    assert [row[name] for name in names] == [None] * 4
    assert row["position"] == 0
