"""What a user changes on resuming a run, and whether two plans are one search."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import make_plan

from search.errors import UsageError
from search.machine.machine import this_machine
from search.plan.registry import Log
from search.session.changes import CHANGEABLE, Changes, changes_between

PLAN = make_plan(Path("run"))
ON_GPUS = replace(
    PLAN, other_resources={"gpu": 0.5, "disk": 1}, device_rule="auto", gpus=2.0, address="auto",
    elastic=True, workers=9,
)  # fmt: skip


def test_no_change_leaves_the_plan_as_it_is():
    assert Changes().applied(PLAN) == PLAN


def test_changes_set_fields_of_the_plan_and_of_its_problem():
    after = Changes(
        {"trials": 200, "epochs": 40, "time_budget_seconds": 60.0, "workers": 4}
    ).applied(PLAN)
    assert after == replace(
        PLAN, trials=200, time_budget_seconds=60.0, workers=4,
        problem=replace(PLAN.problem, epochs=40),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("begun", "typed", "workers", "is_elastic"),
    [
        # address, workers, elastic of the run; address, workers of the resumption
        ((None, 3, False), (None, None), 3, False),
        ((None, 3, False), ("auto", None), 3, True),
        ((None, 3, False), (None, 5), 5, False),
        (("auto", 9, True), ("10.0.0.1:6379", None), 9, True),
        (("auto", 4, False), ("10.0.0.1:6379", None), 4, False),  # it was limited on purpose
        (("auto", 9, True), ("auto", 2), 2, False),
        (("auto", 9, True), (None, None), this_machine().workers(1), False),
        (("auto", 9, True), (None, 2), 2, False),
    ],
)
def test_the_number_of_trials_at_once_follows_the_machines(begun, typed, workers, is_elastic):
    address, before, was_elastic = begun
    previous = replace(PLAN, address=address, workers=before, elastic=was_elastic)
    values = {"address": typed[0], "workers": typed[1]}
    values = {name: value for name, value in values.items() if value is not None}
    after = Changes(values).applied(previous)
    assert (after.address, after.workers, after.elastic) == (typed[0], workers, is_elastic)


@pytest.mark.parametrize("changes", [{}, {"workers_asked": False}])
def test_a_number_that_nobody_gave_is_that_of_the_machine_on_which_the_run_goes_on(changes):
    previous = replace(PLAN, workers=99, workers_asked=False)
    assert Changes(changes).applied(previous).workers == this_machine().workers(1)


def test_a_number_that_is_given_now_stays_from_then_on():
    after = Changes({"workers": 5}).applied(replace(PLAN, workers=99, workers_asked=False))
    assert (after.workers, after.workers_asked) == (5, True)
    assert Changes().applied(after).workers == 5


def test_the_same_command_without_a_number_goes_on_with_that_of_this_machine():
    plan = replace(PLAN, workers=this_machine().workers(1), workers_asked=False)
    assert changes_between(replace(plan, workers=99), plan).applied(plan) == plan


def test_on_this_machine_no_autoscaler_adds_gpus():
    after = Changes().applied(ON_GPUS)
    assert (after.address, after.gpus) == (None, None)
    assert after.other_resources == {"gpu": 0.5, "disk": 1}
    assert after.device_rule == "auto"


def test_another_share_of_a_gpu_leaves_the_other_resources():
    after = Changes({"gpus_per_trial": 0.25, "address": "auto"}).applied(ON_GPUS)
    assert after.other_resources == {"gpu": 0.25, "disk": 1}
    assert (after.device_rule, after.gpus) == ("auto", 2.0)


def test_without_a_gpu_no_rule_places_trials_on_one():
    after = Changes({"gpus_per_trial": 0, "address": "auto"}).applied(ON_GPUS)
    assert after.other_resources == {"disk": 1}
    assert (after.device_rule, after.gpus) == (None, None)
    assert list(after.problems()) == []


# --- Two plans ------------------------------------------------------------------------------------


def test_a_run_that_waited_for_others_waits_on_resuming_only_if_it_is_told_to():
    assert not Changes().applied(replace(PLAN, wait=True)).wait
    assert Changes({"wait": True}).applied(PLAN).wait


def test_equal_plans_are_one_search():
    assert changes_between(PLAN, PLAN).applied(PLAN) == PLAN


def test_plans_may_differ_in_the_options_of_resume():
    plan = replace(
        PLAN, trials=99, time_budget_seconds=60.0, target=0.9, retrain_epochs=(2,), log=Log.TENSORBOARD,
        workers=3, confirm=2, seeds=3, audit=2, problem=replace(PLAN.problem, epochs=40),
    )  # fmt: skip
    assert changes_between(PLAN, plan).applied(PLAN) == plan


def test_plans_may_differ_in_the_machines_that_run_them():
    plan = replace(PLAN, address="auto", elastic=True, workers=50, out=Path("elsewhere"))
    changes = changes_between(PLAN, plan)
    assert changes.values["address"] == "auto"
    assert "workers" not in changes.values  # an elastic run follows the cluster
    assert changes_between(plan, PLAN).applied(plan).workers == PLAN.workers


def test_plans_with_other_settings_of_the_search_are_refused():
    plan = replace(PLAN, algorithm="random", grace_period=2, problem=replace(PLAN.problem, seed=4))
    with pytest.raises(UsageError) as caught:
        changes_between(PLAN, plan)
    assert str(caught.value) == (
        "--out 'run' holds a different search (algorithm 'tpe', now 'random'; grace period 1, "
        "now 2; seed 3, now 4). Name another folder, or continue that search with "
        "`fmnist-search resume run`."
    )


def test_a_limit_cannot_be_taken_away_without_saying_so():
    with pytest.raises(UsageError, match=r"\(target 0\.9, now None\)"):
        changes_between(replace(PLAN, target=0.9), PLAN)


def test_the_options_of_resume_are_those_that_change_no_search():
    assert set(CHANGEABLE) == {
        "epochs", "trials", "time_budget_seconds", "workers", "retrain_epochs", "target", "address",
        "gpus", "confirm", "seeds", "audit", "log", "gpus_per_trial", "wait",
    }  # fmt: skip
