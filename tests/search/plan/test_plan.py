"""A plan as a value: what is wrong with it, what it derives, and its trip through run.json."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from made_up_runs import make_plan

from results.record.columns import Device
from results.record.history import Objective
from search.errors import UsageError
from search.plan.options import Speaker
from search.plan.plan import (
    OPTIONS,
    ConfirmationPlan,
    Engine,
    Plan,
    Tuner,
    gpu_resources,
    infer_objective,
)
from search.plan.registry import Log, Scheduler

PLAN = make_plan(Path("nowhere"))
# Half a GPU of a cluster for each trial that a rule places on one.
ON_GPUS = replace(
    PLAN, other_resources={"gpu": 0.5}, device_rule="auto", gpus=1.0, address="auto"
)  # fmt: skip


def changed(plan, **changes):
    """Return a plan with other values; some are fields of its problem."""
    names = {field.name for field in fields(plan.problem)}
    of_problem = {name: changes.pop(name) for name in names & changes.keys()}
    return replace(plan, **changes, problem=replace(plan.problem, **of_problem))


# --- What is wrong with a plan --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"trials": 0}, "--trials 0: expected 1 or more."),
        ({"workers": 0}, "--workers 0: expected 1 or more."),
        ({"epochs": 0, "grace_period": 1}, "--epochs 0: expected 1 or more."),
        ({"patience": -1}, "--patience -1: expected 0 or more."),
        ({"seed": -1}, "--seed -1: expected 0 or more."),
        ({"data_dir": "nowhere"}, "--data-dir 'nowhere': expected an existing folder."),
        ({"time_budget_seconds": 0.0}, "--time-budget 0: expected more than 0 seconds."),
        ({"retrain_epochs": (3, 0)}, "--retrain-epochs 3,0: expected numbers of 1 or more."),
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial 0: expected more than 0, such as 1."),
        ({"checkpoint_seconds": -1.0}, "--checkpoint-seconds -1: expected 0 seconds or more."),
        ({"hung_after_seconds": 0.0}, "--hung-after 0: expected more than 0 seconds."),
        ({"reduction_factor": 1.0}, "--reduction-factor 1: expected more than 1, such as 3."),
        ({"grace_period": 0}, "--grace-period 0: expected 1 or more."),
        (
            {"grace_period": 5, "epochs": 4},
            "--grace-period 5: expected at most 4, because of --epochs 4.",
        ),
        (
            {"engine": Engine.KERAS_TUNER, "tuner": Tuner.HYPERBAND, "reduction_factor": 1.5},
            "--reduction-factor 1.5: expected more than 1.5 with --engine keras-tuner, which "
            "rounds it.",
        ),
        (
            {"engine": Engine.KERAS_TUNER, "tuner": Tuner.HYPERBAND, "reduction_factor": 1.0},
            "--reduction-factor 1: expected more than 1, such as 3.",
        ),
        (
            {"grace_period": 2, "epochs": 1},
            "--grace-period 2: expected at most 1, because of --epochs 1.",
        ),
        ({"confirm": 0, "retrain_epochs": (2,)}, "--confirm 0: expected 1 or more."),
        (
            {"confirm": 2, "seeds": 1, "retrain_epochs": (2,)},
            "--seeds 1: expected 2 or more, because one seed shows no spread.",
        ),
        (
            {"confirm": 2},
            "--retrain-epochs none: a confirmation needs numbers of epochs, such as 20,50.",
        ),
        (
            {"confirm": 8, "trials": 7, "retrain_epochs": (2,)},
            "--confirm 8: expected at most 7, because of --trials 7.",
        ),
        ({"audit": 0}, "--audit 0: expected 1 or more."),
        (
            {"audit": 2, "scheduler": Scheduler.NONE},
            "--audit 2 needs --scheduler asha: it audits stopped trials.",
        ),
        (
            {"audit": 2, "engine": Engine.KERAS_TUNER},
            "--audit 2 needs --engine ray: --engine keras-tuner has no stopped trials to audit.",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_a_problem(changes, line):
    assert list(changed(PLAN, **changes).problems()) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"other_resources": {"gpu": 1.5}},
            "--gpus-per-trial 1.5: expected a share of a GPU, such as 0.25, or a whole number.",
        ),
        ({"gpus": 0.0}, "--gpus 0: expected more than 0."),
        ({"gpus": 0.25}, "--gpus 0.25: expected 0.5 or more, the GPUs of one trial."),
        ({"address": None}, "--gpus 1 needs --address: it counts the GPUs of a cluster."),
        (
            {"other_resources": {}, "device_rule": None},
            "--gpus 1 needs --gpus-per-trial or --resources: add one of them.",
        ),
        (
            {"other_resources": {}, "gpus": None},
            "--resources 'auto' needs --gpus-per-trial above 0, such as 0.25.",
        ),
        (
            {"device_rule": "fancy"},
            "--resources 'fancy': expected auto, or MODULE:NAME of your own function.",
        ),
    ],
)
def test_gpus_that_no_trial_can_get_are_a_problem(changes, line):
    lines = list(changed(ON_GPUS, **changes).problems())
    assert line in lines
    assert len(lines) == (2 if changes == {"other_resources": {"gpu": 1.5}} else 1)


@pytest.mark.parametrize("share", [-1, math.inf, math.nan, 1.5])
def test_a_share_of_a_gpu_is_at_most_one_or_a_whole_number(share):
    lines = changed(ON_GPUS, other_resources={"gpu": share}).problems()
    assert any(line.startswith(f"--gpus-per-trial {share:g}: expected a share") for line in lines)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        ON_GPUS,
        changed(ON_GPUS, gpus=0.5),
        changed(ON_GPUS, other_resources={"gpu": 3}, gpus=3.0),
        changed(PLAN, other_resources={"gpu": 0}),
        changed(ON_GPUS, other_resources={"gpu": 1}, device_rule="my_rules:choose"),
        changed(PLAN, grace_period=4, epochs=4),
        changed(PLAN, engine=Engine.KERAS_TUNER, tuner=Tuner.HYPERBAND, reduction_factor=1.6),
        changed(PLAN, reduction_factor=1.2),
        changed(PLAN, confirm=7, trials=7, retrain_epochs=(2,)),
        changed(PLAN, confirm=9, trials=None, retrain_epochs=(2,)),
        changed(PLAN, confirm=1, seeds=2, retrain_epochs=(1,)),
        changed(PLAN, audit=1),
        changed(PLAN, checkpoint_seconds=0.0, patience=0, seed=0),
    ],
)
def test_a_sound_plan_has_no_problem(plan):
    assert list(plan.problems()) == []


def test_a_direction_is_one_of_two():
    row = OPTIONS["direction"]
    assert row.problem("up") == "--direction 'up': expected max or min."
    assert row.problem("max") is row.problem("min") is None


def test_every_problem_is_said_at_once():
    lines = list(changed(PLAN, trials=0, workers=0, grace_period=99).problems())
    assert [line.partition(":")[0] for line in lines] == [
        "--trials 0",
        "--workers 0",
        "--grace-period 99",
    ]


def test_a_script_reads_of_its_own_arguments():
    lines = list(changed(PLAN, trials=0, epochs=4, grace_period=5).problems(Speaker.SCRIPT))
    assert lines == [
        "max_trials=0: expected a whole number, 1 or more.",
        "--grace-period 5: expected at most 4, because of max_epochs=4.",
    ]


def test_a_confirmation_names_the_option_that_sets_its_number():
    lines = ConfirmationPlan(top=0, seeds=2, epochs=(0, 3)).problems(top_option="--top")
    assert list(lines) == [
        "--top 0: expected 1 or more.",
        "--retrain-epochs 0,3: expected numbers of 1 or more.",
    ]


# --- What a plan derives --------------------------------------------------------------------------


def test_a_trial_takes_its_cpus_and_a_share_of_a_gpu():
    plan = changed(ON_GPUS, cpus_per_trial=2.0, other_resources={"gpu": 0.5, "fast_disk": 1})
    assert plan.resources == {"cpu": 2.0, "gpu": 0.5, "fast_disk": 1}
    assert plan.resources_on(Device.GPU) == plan.resources
    assert plan.resources_on(Device.CPU) == plan.cpu_resources == {"cpu": 2.0, "fast_disk": 1}


@pytest.mark.parametrize(
    ("resources", "device", "share"),
    [({}, Device.CPU, None), ({"gpu": 0}, Device.CPU, None), ({"gpu": 0.5}, Device.GPU, 0.5)],
)
def test_trials_run_on_a_gpu_if_they_get_a_share_of_one(resources, device, share):
    plan = changed(PLAN, other_resources=resources)
    assert (plan.device, plan.gpu_share) == (device, share)


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1.0, 1), (2.5, 2), (4.0, 4)])
def test_a_trial_has_a_thread_for_each_whole_cpu(cpus, threads):
    assert changed(PLAN, cpus_per_trial=cpus).threads == threads


def test_a_confirmation_follows_only_if_it_is_planned():
    assert PLAN.confirmation is None
    plan = changed(PLAN, confirm=3, seeds=4, retrain_epochs=(2, 5))
    assert plan.confirmation == ConfirmationPlan(top=3, seeds=4, epochs=(2, 5))


def test_the_engine_names_its_algorithm():
    assert PLAN.algorithm_name == "tpe"
    plan = changed(PLAN, engine=Engine.KERAS_TUNER, tuner=Tuner.BAYESIAN)
    assert plan.algorithm_name == "bayesian"


def test_a_share_of_no_gpu_is_no_resource():
    assert gpu_resources(0.25) == {"gpu": 0.25}
    assert gpu_resources(0) == {}


# --- Objectives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"), [("val_loss", "min"), ("val_accuracy", "max"), ("val_recall_1", "max")]
)
def test_the_direction_of_a_known_metric_is_inferred(name, mode):
    assert infer_objective(name, None) == Objective(name, mode)


def test_a_given_direction_holds_for_any_metric():
    assert infer_objective("val_accuracy", "min") == Objective("val_accuracy", "min")
    assert infer_objective("quality", "max") == Objective("quality", "max")


def test_a_metric_without_a_known_direction_is_refused():
    with pytest.raises(UsageError, match=r"--objective 'quality': .* add --direction max or"):
        infer_objective("quality", None)


# --- The trip through run.json --------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        changed(
            ON_GPUS, scheduler=Scheduler.NONE, log=Log.TENSORBOARD, retrain_epochs=(2, 5), trials=None,
            confirm=3, audit=2, target=0.9, warm_start="old", kept_weights=None, elastic=True,
        ),
    ],
)  # fmt: skip
def test_a_plan_is_read_back_as_it_was_written(plan):
    row = json.loads(json.dumps(plan.to_json()))
    again = Plan.from_json(row, plan.problem, Path("elsewhere"))
    assert again == replace(plan, out=Path("elsewhere"))
    assert isinstance(again.scheduler, Scheduler)
    assert isinstance(again.engine, Engine)
    assert isinstance(again.retrain_epochs, tuple)


def test_a_plan_of_the_keras_tuner_engine_is_written_with_its_tuner_as_algorithm():
    plan = changed(PLAN, engine=Engine.KERAS_TUNER, tuner=Tuner.GRID)
    row = json.loads(json.dumps(plan.to_json()))
    assert (row["engine"], row["tuner"], row["algorithm"]) == ("keras-tuner", "grid", "grid")
    assert Plan.from_json(row, plan.problem, plan.out).tuner is Tuner.GRID


def test_a_plan_of_version_0_1_0_has_no_log_and_an_algorithm_name():
    row = json.loads(json.dumps(PLAN.to_json())) | {"algorithm_name": "tpe"}
    del row["log"]
    assert Plan.from_json(row, PLAN.problem, PLAN.out) == PLAN


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"engine": "steam"}, ValueError),
        ({"scheduler": "median"}, ValueError),
        ({"tuner": "forest"}, ValueError),
        ({"log": "paper"}, ValueError),
        ({"unknown": 1}, TypeError),
    ],
)
def test_a_plan_with_an_unknown_name_is_not_read(change, error):
    with pytest.raises(error):
        Plan.from_json(PLAN.to_json() | change, PLAN.problem, PLAN.out)


@pytest.mark.parametrize("name", ["tuner", "engine", "scheduler", "retrain_epochs"])
def test_a_plan_without_a_value_is_not_read(name):
    row = PLAN.to_json()
    del row[name]
    with pytest.raises(KeyError, match=name):
        Plan.from_json(row, PLAN.problem, PLAN.out)
