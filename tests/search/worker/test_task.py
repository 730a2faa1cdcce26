"""The task of all trials, and the objects of a script that are sent with it. No Keras."""

import sys
import types
from dataclasses import replace

import pytest
from made_up_runs import make_plan

from search.carry.carried import PickledObject
from search.errors import ProblemError
from search.worker.task import NamedObject, Task


def test_a_pickled_object_is_the_same_in_another_process():
    factor = 3
    sent = PickledObject.of(lambda number: number * factor, "the hypermodel")
    assert isinstance(sent.pickled, bytes)
    assert sent.open()(2) == 6


def test_an_object_that_cannot_be_pickled_is_refused_with_a_remedy():
    with pytest.raises(ProblemError) as caught:
        PickledObject.of({"output": sys.stdout.buffer}, "the hypermodel")
    assert str(caught.value).startswith(
        "the hypermodel cannot be sent to a worker process (TypeError: cannot pickle"
    )
    assert str(caught.value).endswith("open files and connections inside build or fit.")


def test_an_object_whose_package_is_missing_says_so(monkeypatch):
    module = types.ModuleType("a_package_of_the_script")
    exec("class Model: pass", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    sent = PickledObject.of(module.Model, "the hypermodel")
    assert sent.open() is module.Model
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(
        ProblemError, match=r"a worker cannot load .*a_package_of_the_script.*Install the missing"
    ):
        sent.open()


def test_a_task_has_the_settings_of_the_problem(tmp_path):
    problem = make_plan(tmp_path, epochs=4, seed=5).problem
    assert Task.of(problem, checkpoint_seconds=2.0) == Task(
        hypermodel=NamedObject("problems:small"),
        objective=problem.objective,
        epochs=4,
        patience=0,
        seed=5,
        fast_epoch=True,
        checkpoint_seconds=2.0,
    )


def test_a_task_keeps_the_patience_and_the_way_of_training(tmp_path):
    problem = replace(make_plan(tmp_path).problem, patience=3, fast_epoch=False)
    task = Task.of(problem)
    assert (task.patience, task.fast_epoch, task.checkpoint_seconds) == (3, False, 10.0)


def test_a_task_of_a_command_trains_once_and_lets_builds_add_parameters(tmp_path):
    task = Task.of(make_plan(tmp_path).problem)
    assert (task.executions_per_trial, task.max_retries_per_trial) == (1, 0)
    assert (task.tune_new_entries, task.allow_new_entries) == (True, True)
    assert (task.max_model_size, task.compile_overrides, task.registered) == (None, None, None)
    assert task.script is None


def test_a_hypermodel_is_a_key_under_which_it_is_loaded_once():
    assert len({NamedObject("a:b"), NamedObject("a:b"), NamedObject("a:c")}) == 2
    assert len({PickledObject(b"1"), PickledObject(b"1"), PickledObject(b"2")}) == 2
