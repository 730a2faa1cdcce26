"""A trial, run in this process: what it reports and how it ends."""

import keras
import numpy as np
import pytest

import problems
from results.record.columns import State
from results.record.history import Objective, has_diverged
from search.errors import ProblemError, TrainingError
from search.final.retrain import choose
from search.final.scores import classification_scores, evaluate, most_confident
from search.final.training import Trained
from search.plan.plan import Problem
from search.plan.task import Task
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.data import load_data
from search.worker.trial import run_trial
from search.worker.weights import load_best_weights


def problem(hypermodel="problems:small", data="problems:blobs", **changes):
    fields = {
        "hypermodel": hypermodel,
        "data": data,
        "data_dir": None,
        "space": "small",
        "objective": Objective("val_accuracy", "max"),
        "epochs": 4,
        "patience": 5,
        "seed": 1,
    }
    return Problem(**(fields | changes))


def trained(values, *, asked=None, may_go_on=lambda report: True, trial=0, folder=None):
    """Run a trial; return how it ended and what it reported."""
    asked = asked or problem()
    reports = []

    def report(epoch):
        reports.append(dict(epoch))
        return may_go_on(epoch)

    end = run_trial(
        Task.of(asked), load_data(asked, needs_test=True), trial=trial, values=values,
        report=report, folder=folder,
    )  # fmt: skip
    return end, reports


def test_a_trial_reports_every_epoch_and_what_it_asked_for():
    end, reports = trained({"units": 8, "rate": 0.01, "unused": 3})
    assert end.state is State.COMPLETED
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    assert reports[0]["values"] == {"units": 8, "rate": 0.01}
    assert [row["name"] for row in reports[0]["space"]] == ["units", "rate"]
    assert "values" not in reports[1]
    assert set(reports[0]["metrics"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert reports[-1]["objective"] == reports[-1]["metrics"]["val_accuracy"]


def test_a_trial_repeats_to_the_bit_whatever_its_process_trained_before():
    values = {"units": 8, "rate": 0.01}
    _, first = trained(values, trial=3)
    trained({"units": 5, "rate": 0.1}, trial=4)
    _, again = trained(values, trial=3)
    _, other = trained(values, trial=5)
    metrics = [[report["metrics"] for report in reports] for reports in (first, again, other)]
    assert metrics[0] == metrics[1]
    assert metrics[0] != metrics[2]


def test_a_stopped_trial_lets_fit_return():
    ended = []

    class Model(keras.Sequential):
        def fit(self, *args, **kwargs):
            history = super().fit(*args, **kwargs)
            ended.append(len(history.epoch))
            return history

    problems.watched = lambda hp: _compiled(Model, hp)
    end, reports = trained(
        {"units": 8},
        asked=problem("problems:watched"),
        may_go_on=lambda report: report["epoch"] < 2,
    )
    assert end.state is State.STOPPED
    assert len(reports) == 2
    assert ended == [2]


def _compiled(kind, hp, rate=0.01):
    model = kind([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 3, 9), "softmax")])
    model.compile(
        keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def test_a_trial_ends_early_when_val_loss_gets_no_better():
    problems.stuck = lambda hp: _compiled(keras.Sequential, hp, rate=0.0)
    end, reports = trained({"units": 3}, asked=problem("problems:stuck", patience=2, epochs=9))
    assert end.state is State.EARLY_STOPPED
    assert len(reports) == 3


@pytest.mark.filterwarnings("ignore:All-NaN axis encountered:RuntimeWarning")  # keras-tuner's
def test_a_trial_with_nan_has_diverged():
    end, reports = trained({"end": "nan"}, asked=problem("problems:mixed_ends"))
    assert end.state is State.DIVERGED
    assert len(reports) == 1
    assert reports[0]["metrics"]["loss"] is None


def test_an_error_of_the_users_code_is_a_result_with_its_traceback():
    end, reports = trained({"end": "bad"}, asked=problem("problems:mixed_ends"))
    assert end.state is State.FAILED
    assert end.error == "RuntimeError: this configuration cannot be built"
    assert "problems.py" in end.traceback
    assert end.fatal is None
    assert reports == []


def test_a_trial_whose_loss_is_nan_has_diverged_whatever_its_accuracy():
    def report_of(loss, accuracy):
        return has_diverged({"loss": loss, "val_accuracy": accuracy}, problem().objective)

    assert report_of(None, 0.1)
    assert report_of(0.5, None)
    assert not report_of(0.5, 0.1)


def test_memory_that_ran_out_is_named_as_such():
    def greedy(hp):
        raise MemoryError("no room")

    problems.greedy = greedy
    end, _ = trained({}, asked=problem("problems:greedy"))
    assert end.state is State.OUT_OF_MEMORY


def test_an_objective_that_no_epoch_reports_is_fatal_and_the_near_one_is_named():
    asked = problem(objective=Objective("val_acuracy", "max"))
    end, reports = trained({"units": 8, "rate": 0.01}, asked=asked)
    assert end.fatal == "ObjectiveMissing"
    assert "'val_acuracy' is not reported by any epoch" in end.error
    assert "Did you mean 'val_accuracy'?" in end.error
    assert reports == []


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    _, reports = trained({"units": 8, "rate": 0.05}, folder=folder)
    best = max(report["objective"] for report in reports)
    model = problems.small(keras_tuner_values({"units": 8, "rate": 0.05}))
    load_best_weights(model, folder, 0)
    inputs, labels = problems.blobs(1)[1]
    assert model.evaluate(inputs, labels, verbose=0, return_dict=True)["accuracy"] == (
        pytest.approx(best)
    )
    assert {path.name for path in folder.checkpoints.iterdir()} == {
        "trial-00000-best.weights.h5", "trial-00000-build.json",
    }  # fmt: skip


def keras_tuner_values(values):
    import keras_tuner as kt

    hp = kt.HyperParameters()
    hp.values = dict(values)
    return hp


def test_seeds_of_trials_differ_and_follow_from_the_run():
    seeds = {process.trial_seed(run, trial) for run in range(5) for trial in range(100)}
    assert len(seeds) == 500
    assert process.trial_seed(1, 2) == process.trial_seed(1, 2)
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken_data", "the disk with the data is not mounted"),
        ("strange_data", "expected .*as NumPy arrays; got dict"),
        ("blobs_without_test", "no test split"),
        ("CLASSES", "is not a function"),
    ],
)
def test_data_that_cannot_be_used_is_refused(function, said):
    with pytest.raises(ProblemError, match=said):
        load_data(problem(data=f"problems:{function}"), needs_test=True)


def test_class_names_are_kept_and_the_seed_is_handed_on():
    one, two = (
        load_data(problem(data="problems:named_blobs", seed=s), needs_test=True) for s in (1, 2)
    )
    assert one.class_names == ("red", "green", "blue")
    assert not np.array_equal(one.train[0], two.train[0])


def test_scores_agree_with_a_hand_counted_table():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    scores = classification_scores(labels, predicted, classes=3)
    assert scores["test_accuracy"] == pytest.approx(4 / 6)
    assert scores["confusion_matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores["precision_macro"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["recall_macro"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores["per_class"][2] == {
        "name": "2", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1,
    }  # fmt: skip


def test_the_surest_mistakes_come_first_with_their_pictures():
    pictures = np.zeros((4, 8, 8, 1), "float32")
    pictures[1, 0, 1] = 0.5
    pictures[3, 7, 7] = 1.0
    labels = np.array([0, 1, 1, 2])
    outputs = np.array([[0.9, 0.1, 0], [0.6, 0.3, 0.1], [0, 1, 0], [0.2, 0.8, 0.0]])
    first, second = most_confident(pictures, labels, outputs, ("red", "green", "blue"))
    assert (first["position"], first["true_class"], first["predicted_class"]) == (
        3,
        "blue",
        "green",
    )
    assert (first["confidence"], first["true_probability"]) == (0.8, 0.0)
    assert (first["height"], first["width"], first["channels"]) == (8, 8, 1)
    assert list(first["pixels"]) == [*[0] * 63, 255]
    assert (second["position"], list(second["pixels"])) == (1, [0, 128, *[0] * 62])


def test_a_mistake_on_what_is_no_picture_has_no_pixels():
    [one] = most_confident(np.ones((1, 4)), np.array([1]), np.array([[0.7, 0.3]]), None)
    assert (one["true_class"], one["predicted_class"], one["pixels"]) == ("1", "0", None)


def test_mistakes_of_logits_and_of_foreign_labels_are_no_nonsense():
    logits = np.array([[4.0, 2.0], [1.0, 3.0], [2.0, 1.0], [5.0, 0.0]])
    labels = np.array([1, 0, 7, -1])
    pictures = np.zeros((4, 8, 8))
    pictures[0, 0] = [np.nan, 2.0, 1.0, np.inf, -np.inf, 0.0, 0.0, 0.0]
    rows = most_confident(pictures, labels, logits, ("a", "b"))
    assert [row["position"] for row in rows] == [0, 1]
    assert list(rows[0]["pixels"][:8]) == [0, 255, 128, 255, 0, 0, 0, 0]
    [nothing, _] = most_confident(np.full((4, 8, 8), np.nan), labels, logits, ("a", "b"))
    assert nothing["pixels"] is None
    assert rows[0]["confidence"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert rows[0]["confidence"] + rows[0]["true_probability"] == pytest.approx(1)


def test_a_regression_is_scored_by_kerass_own_metrics():
    inputs, targets = problems.regression_data()[2]
    model = problems.regression(keras_tuner_values({"rate": 0.1}))
    assert set(evaluate(model, inputs, targets, class_names=None).scores) == {"test_loss"}


def test_the_number_of_epochs_is_chosen_on_the_last_epochs_value():
    objective = Objective("val_accuracy", "max")

    def run(*values):
        return Trained([{"val_accuracy": value} for value in values], b"")

    tried = {100: run(0.9, 0.6), 20: run(0.5, 0.8), 50: run(0.7, 0.8), 30: run(None)}
    assert choose(tried, objective) == 20
    with pytest.raises(TrainingError, match=r"no finite val_accuracy at \[30\] epochs"):
        choose({30: tried[30]}, objective)


def builds_badly(hp):
    return _helper_of_the_users(hp.Int("units", 1, 9))


def _helper_of_the_users(units):
    raise ValueError(f"{units} units are too few")


def lacks_a_package(hp):
    hp.Int("units", 1, 9)
    import a_package_that_is_nowhere  # noqa: F401


def ended(hypermodel):
    end, _ = trained({"units": 3}, asked=problem(f"test_trial:{hypermodel}"))
    return end


def test_the_lines_of_the_users_own_code_come_first(monkeypatch, capsys):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    end = ended("builds_badly")
    assert (end.state, end.error) == (State.FAILED, "ValueError: 3 units are too few")
    first, _, whole = end.traceback.partition("\n\nFull traceback:\n")
    lines = first.splitlines()
    assert lines[0] == "In your code:"
    assert [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")] == [
        "builds_badly", "_helper_of_the_users",
    ]  # fmt: skip
    assert lines[-1] == "ValueError: 3 units are too few"
    assert whole.startswith("Traceback (most recent call last):")
    assert "keras_tuner" in whole


def test_a_missing_package_is_named_with_its_node(monkeypatch, capsys):
    import socket

    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    end = ended("lacks_a_package")
    assert end.state is State.FAILED
    assert end.error == (
        "ModuleNotFoundError: No module named 'a_package_that_is_nowhere' "
        f"(on {socket.gethostname()})"
    )
