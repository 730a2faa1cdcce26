"""Trainings side by side on Ray: their resources, their progress and their errors.

Three functions of Ray are stood in for, so that a test says what the tasks of a cluster return.
"""

import traceback

import pytest

from results.record.columns import Device
from results.record.history import Objective
from search.errors import TrainingError
from search.final.scores import Evaluated
from search.final.training import Failure, Share, Trained, Trainer, Training, translated_ray_errors
from search.plan.plan import Problem

ACCURACY = Objective("val_accuracy", "max")
PROBLEM = Problem(
    hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=ACCURACY, epochs=9,
    patience=0, seed=10,
)  # fmt: skip


class StandInRay:
    """Starts no task: each returns what the test says, in turns."""

    def __init__(self):
        self.returned = {}
        self.tasks = []

    def remote(self, function=None, **options):
        if function is None:
            return lambda function: StandInTask(self, options)
        return StandInTask(self, options)

    def wait(self, pending, *, num_returns):
        assert num_returns == 1
        return pending[-1:], pending[:-1]

    def get(self, item):
        return item


class StandInTask:
    def __init__(self, ray, options):
        self._ray, self._options = ray, options

    def options(self, **options):
        return StandInTask(self._ray, options)

    def remote(self, problem, data, *arguments):
        self._ray.tasks.append((self._options, problem, data, arguments))
        if isinstance(arguments[0], Training):
            return iter(self._ray.returned[arguments[0].name])
        return self._ray.returned[arguments[1]]


@pytest.fixture
def ray(monkeypatch):
    import ray as real_ray

    stand_in = StandInRay()
    for name in ("remote", "wait", "get"):
        monkeypatch.setattr(real_ray, name, getattr(stand_in, name))
    return stand_in


def training(name, tmp_path, device=None):
    return Training(name, {"units": 3}, 2, 7, tmp_path / "state.npz", device)


RESULT = Trained([{"val_accuracy": 0.5}, {"val_accuracy": 0.7}], b"a model")


@pytest.fixture
def train(ray, tmp_path):
    """Train by name what the tasks return; return the results by name and the progress."""

    def train(share=None, devices=None, **returned):
        ray.returned = returned
        trainings = [training(name, tmp_path, (devices or {}).get(name)) for name in returned]
        progress = []
        trainer = Trainer(PROBLEM, "the stored data", share or Share(2.0, 2))
        results = trainer.train(
            trainings, lambda training, epoch: progress.append((training.name, epoch))
        )
        return {training.name: result for training, result in results}, progress

    return train


# --- Trainings ------------------------------------------------------------------------------------


def test_each_training_is_yielded_with_its_result_as_soon_as_it_is_done(train):
    results, _ = train(a=[1, 2, RESULT], b=[1, RESULT])
    assert list(results) == ["b", "a"]
    assert results["a"] is RESULT


def test_the_progress_of_each_epoch_is_shown(train):
    _, progress = train(a=[1, 2, RESULT])
    assert progress == [("a", 1), ("a", 2)]


def test_epochs_that_an_earlier_process_has_trained_are_no_progress(train):
    _, progress = train(a=[None, None, 3, RESULT])
    assert progress == [("a", 3)]


def test_the_progress_need_not_be_shown(ray, tmp_path):
    ray.returned = {"a": [1, 2, RESULT]}
    trainer = Trainer(PROBLEM, "the stored data", Share(2.0, 2))
    assert len(list(trainer.train([training("a", tmp_path)]))) == 1


def test_no_training_is_a_result(train):
    assert train() == ({}, [])


def test_a_failure_is_an_error_with_the_traceback_of_the_training(train):
    with pytest.raises(TrainingError) as failed:
        train(a=[1, Failure("ValueError: no memory for it", "Traceback: of the training")])
    assert str(failed.value) == "a: ValueError: no memory for it"
    assert "Traceback: of the training" in "".join(traceback.format_exception(failed.value))


def test_a_training_that_ends_without_a_result_is_an_error(train):
    with pytest.raises(TrainingError) as failed:
        train(a=[1])
    assert str(failed.value) == "a ended without a result: rerun the command."


def test_a_training_gets_the_problem_the_data_and_its_share(train, ray, tmp_path):
    train(Share(2.0, 2, 0.5), a=[RESULT])
    [(options, problem, stored, arguments)] = ray.tasks
    assert options == {"num_returns": "streaming", "num_cpus": 2.0, "num_gpus": 0.5}
    assert (problem, stored) == (PROBLEM, ["the stored data"])
    assert arguments == (training("a", tmp_path), Share(2.0, 2, 0.5))


def test_a_training_of_a_cpu_gets_no_gpu(train, ray):
    train(Share(2.0, 2, 0.5), {"a": Device.CPU, "b": Device.GPU}, a=[RESULT], b=[RESULT])
    assert [options["num_gpus"] for options, *_ in ray.tasks] == [0, 0.5]
    assert [arguments[1].gpus for *_, arguments in ray.tasks] == [None, 0.5]


# --- Evaluations ----------------------------------------------------------------------------------


def test_models_are_evaluated_in_order_and_without_a_gpu(ray):
    ray.returned = {b"one": Evaluated({"test_loss": 1.0}), b"two": Evaluated({"test_loss": 2.0})}
    trainer = Trainer(PROBLEM, "the stored data", Share(2.0, 2, 0.5))
    evaluated = trainer.evaluate([({"units": 1}, b"one"), ({"units": 2}, b"two")])
    assert [one.scores["test_loss"] for one in evaluated] == [1.0, 2.0]
    assert [task[0] for task in ray.tasks] == [{"num_cpus": 2.0, "num_gpus": 0}] * 2
    assert [task[3] for task in ray.tasks] == [({"units": 1}, b"one"), ({"units": 2}, b"two")]


# --- Shares, scores and errors --------------------------------------------------------------------


@pytest.mark.parametrize(("device", "gpus"), [(None, 0.5), (Device.GPU, 0.5), (Device.CPU, None)])
def test_a_share_on_a_cpu_has_no_gpu(device, gpus):
    assert Share(2.0, 2, 0.5).on(device) == Share(2.0, 2, gpus)


@pytest.mark.parametrize(("gpus", "count"), [(None, 0), (0.5, 0.5)])
def test_a_share_says_ray_what_a_task_takes(gpus, count):
    assert Share(2.0, 2, gpus).options() == {"num_cpus": 2.0, "num_gpus": count}


def test_a_local_share_stays_on_this_node(monkeypatch):
    monkeypatch.setattr("search.final.training.this_node_affinity", lambda: "this node")
    options = Share(2.0, 2, is_local=True).options()
    assert options == {"num_cpus": 2.0, "num_gpus": 0, "scheduling_strategy": "this node"}


def test_the_score_of_a_training_is_that_of_its_last_epoch():
    assert RESULT.score(ACCURACY) == 0.7
    assert RESULT.score(Objective("val_loss", "min")) is None


def test_the_score_of_a_training_whose_last_epoch_reports_none_is_the_last_that_was_reported():
    history = [{"val_accuracy": 0.5}, {"val_accuracy": 0.6}, {"loss": 1.0}]
    assert Trained(history, b"").score(ACCURACY) == 0.6


def test_an_error_of_ray_becomes_one_of_the_training():
    import ray

    with pytest.raises(TrainingError) as failed, translated_ray_errors("Auditing"):
        raise ray.exceptions.OutOfMemoryError("the node ran\nout of memory")
    assert str(failed.value).startswith("Auditing failed: OutOfMemoryError: ")
    assert "\n" not in str(failed.value)


def test_another_error_stays_as_it_is():
    with pytest.raises(ValueError, match="of the user"), translated_ray_errors("Auditing"):
        raise ValueError("of the user")
