"""How many trials are given out at once: tables to be checked by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from results.record.columns import Device
from results.record.history import Objective
from search.engines.ray.placement.capacity import (
    RECOUNT_SECONDS,
    SPARE_TRIALS,
    Capacity,
    Load,
    Slots,
    count_slots,
    free_devices_by_rule,
)
from search.plan.plan import AUTO, Engine, Plan, Problem

CPU, GPU = Device.CPU, Device.GPU


def plan(**changes):
    problem = Problem(
        hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=Objective("val_accuracy", "max"),
        epochs=1, patience=0, seed=0,
    )  # fmt: skip
    made = Plan(
        problem=problem, engine=Engine.RAY, algorithm="tpe", trials=1, workers=4, grace_period=1, reduction_factor=3,
        time_budget_seconds=None, target=None, retrain_epochs=(), out=Path("nowhere"),
    )  # fmt: skip
    return replace(made, **changes)


def nodes(*, cpu=0.0, gpu=0.0):
    """Count the slots of one node, as Ray's are counted."""

    def count(resources):
        there = {"cpu": cpu, "gpu": gpu}
        return min(int(there[name] / amount) for name, amount in resources.items())

    return count


TENTH, HALF = {"gpu": 0.1}, {"gpu": 0.5}


@pytest.mark.parametrize(
    ("changes", "count", "slots"),
    [
        # All trials take the same.
        pytest.param({}, nodes(cpu=99), Slots(4), id="as-many-as-workers"),
        pytest.param({"elastic": True}, nodes(cpu=9), Slots(9), id="elastic-grows"),
        pytest.param({"elastic": True}, nodes(cpu=2), Slots(2), id="elastic-shrinks"),
        pytest.param({"elastic": True}, nodes(), Slots(1), id="no-node-left-one-trial-asks-for-one"),
        pytest.param({"elastic": True, "cpus_per_trial": 2}, nodes(cpu=9), Slots(4), id="two-cpus-each"),
        pytest.param({"elastic": True, "other_resources": HALF}, nodes(cpu=9, gpu=2), Slots(4), id="elastic-on-shares"),
        pytest.param({"gpus": 1, "other_resources": HALF}, nodes(), Slots(2), id="shares-of-gpus-to-come"),
        pytest.param({"gpus": 9, "other_resources": HALF}, nodes(), Slots(4), id="no-more-than-workers"),
        pytest.param({"gpus": 0.3, "other_resources": TENTH}, nodes(), Slots(3), id="0.3-is-three-tenths"),
        pytest.param({"gpus": 0.39, "other_resources": TENTH}, nodes(), Slots(3), id="no-share-is-cut"),
        # A rule chooses the device.
        pytest.param({"device_rule": AUTO, "other_resources": HALF}, nodes(cpu=9, gpu=1), Slots(4, 2, 2), id="rule"),
        pytest.param(
            {"device_rule": AUTO, "other_resources": HALF, "elastic": True}, nodes(cpu=9, gpu=1), Slots(9, 2, 2),
            id="rule-elastic",
        ),
        pytest.param(
            {"device_rule": AUTO, "other_resources": HALF, "elastic": True}, nodes(), Slots(1, 0, 0),
            id="rule-no-node-left",
        ),
        pytest.param(
            {"device_rule": AUTO, "other_resources": HALF, "gpus": 3}, nodes(cpu=9, gpu=1), Slots(4, 6, 2),
            id="rule-gpus-to-come",
        ),
        pytest.param(
            {"device_rule": AUTO, "other_resources": TENTH, "gpus": 0.3}, nodes(cpu=9, gpu=1), Slots(4, 3, 9),
            id="rule-some-of-the-gpus-and-a-cpu-for-each-share",
        ),
    ],
)  # fmt: skip
def test_the_slots_of_a_cluster_are_counted(changes, count, slots):
    assert count_slots(plan(**changes), count) == slots


BOTH, NONE = [GPU, CPU], []


@pytest.mark.parametrize(
    # Load: CPU running, CPU waiting, GPU running, GPU waiting.
    ("slots", "load", "free"),
    [
        # 4 slots on CPUs, 2 shares of a GPU.
        pytest.param(Slots(4, 2, 2), Load(0, 0, 0, 0), BOTH, id="nothing-runs"),
        pytest.param(Slots(4, 2, 2), Load(3, 0, 0, 0), BOTH, id="a-slot-is-empty"),
        pytest.param(Slots(4, 2, 2), Load(4, 0, 0, 0), BOTH, id="all-cpus-run-one-more-may-wait"),
        pytest.param(Slots(4, 2, 2), Load(4, 1, 0, 0), [GPU], id="the-spare-one-waits"),
        pytest.param(Slots(4, 2, 2), Load(3, 1, 0, 0), [GPU], id="no-second-waits-for-the-last-slot"),
        pytest.param(Slots(4, 2, 2), Load(2, 1, 0, 0), BOTH, id="a-second-waits-where-two-are-empty"),
        # A trial on a GPU takes CPUs too.
        pytest.param(Slots(4, 2, 2), Load(2, 0, 2, 0), BOTH, id="all-run-one-more-of-each-may-wait"),
        pytest.param(Slots(4, 2, 2), Load(2, 1, 2, 1), NONE, id="one-of-each-waits"),
        pytest.param(Slots(4, 2, 2), Load(3, 0, 0, 1), [GPU], id="the-last-cpu-is-for-the-share-that-is-empty"),
        pytest.param(Slots(4, 2, 2), Load(2, 0, 0, 1), BOTH, id="a-cpu-beside-it-is-empty"),
        pytest.param(Slots(4, 2, 2), Load(3, 0, 0, 2), NONE, id="as-many-wait-as-shares-are-empty"),
        pytest.param(Slots(4, 2, 2), Load(3, 0, 1, 0), BOTH, id="one-of-two-shares-is-empty"),
        pytest.param(Slots(4, 2, 2), Load(2, 0, 2, 1), [CPU], id="who-waits-for-a-full-gpu-takes-no-cpu-yet"),
        # GPUs that are to come, gone, or in part not ours.
        pytest.param(Slots(4, 2, 0), Load(3, 0, 0, 1), BOTH, id="who-waits-for-a-gpu-to-come-keeps-no-cpu-idle"),
        pytest.param(Slots(4, 2, 0), Load(3, 0, 0, 2), [CPU], id="as-many-wait-as-are-to-come"),
        pytest.param(Slots(4, 0, 0), Load(3, 0, 0, 0), [CPU], id="no-gpu"),
        pytest.param(Slots(4, 0, 0), Load(3, 0, 0, 2), [CPU], id="the-gpu-is-gone-that-two-wait-for"),
        pytest.param(Slots(4, 0, 0), Load(3, 0, 2, 0), NONE, id="the-gpu-is-gone-on-which-two-were-seen-last"),
        pytest.param(Slots(4, 1, 2), Load(2, 0, 0, 0), BOTH, id="one-of-two-shares-may-be-taken"),
        pytest.param(Slots(4, 1, 2), Load(2, 0, 1, 0), [CPU], id="none-waits-where-ray-would-give-it-the-other"),
        # The cluster has shrunk under what runs.
        pytest.param(Slots(1, 0, 0), Load(0, 0, 0, 0), [CPU], id="no-node-left"),
        pytest.param(Slots(1, 0, 0), Load(3, 0, 0, 0), NONE, id="more-run-than-there-are-slots"),
    ],
)  # fmt: skip
def test_a_device_rule_hands_out_one_more_trial_than_there_are_slots(slots, load, free):
    assert SPARE_TRIALS == 1
    assert free_devices_by_rule(slots, load) == free


@pytest.mark.parametrize(
    ("changes", "load", "free"),
    [
        pytest.param({}, Load(cpu_running=3), [CPU], id="a-slot-is-empty"),
        pytest.param({}, Load(cpu_running=3, cpu_waiting=1), NONE, id="who-waits-has-a-slot-too"),
        pytest.param({}, Load(cpu_running=4), NONE, id="none-waits-beyond-the-slots"),
        pytest.param({"other_resources": HALF}, Load(gpu_running=3), [GPU], id="all-take-a-share"),
        pytest.param({"other_resources": HALF, "gpus": 1}, Load(gpu_running=2), NONE, id="all-shares-taken"),
    ],
)  # fmt: skip
def test_without_a_device_rule_one_trial_is_handed_out_for_each_slot(changes, load, free):
    assert Capacity(plan(**changes), count_fitting=nodes(cpu=9, gpu=9)).free_devices(load) == free


def test_a_load_counts_trials_by_device_and_by_whether_they_run():
    trials = [(CPU, True), (CPU, True), (CPU, False), (GPU, True), (GPU, False), (GPU, False)]
    assert Load.of(trials) == Load(cpu_running=2, cpu_waiting=1, gpu_running=1, gpu_waiting=2)
    assert Load.of(trials).trials == 6
    assert Load.of([]) == Load()


def test_the_cluster_is_counted_again_when_the_last_count_is_old():
    now, gpus = 0.0, 1.0
    by_rule = plan(device_rule=AUTO, other_resources=HALF)
    capacity = Capacity(
        by_rule, count_fitting=lambda r: nodes(cpu=4, gpu=gpus)(r), clock=lambda: now
    )
    assert capacity.free_devices(Load()) == BOTH
    gpus = 0.0  # its node is lost
    now = RECOUNT_SECONDS
    assert capacity.free_devices(Load()) == BOTH
    assert capacity.has_gpus
    now += 0.001
    assert capacity.free_devices(Load()) == [CPU]
    assert not capacity.has_gpus


@pytest.mark.parametrize("started_at", [-1000.0, 1000.0])
def test_a_recent_count_holds_whatever_the_clock_shows(started_at):
    now, gpus = started_at, 1.0
    by_rule = plan(device_rule=AUTO, other_resources=HALF)
    capacity = Capacity(
        by_rule, count_fitting=lambda r: nodes(cpu=4, gpu=gpus)(r), clock=lambda: now
    )
    gpus = 0.0  # its node is lost
    now += RECOUNT_SECONDS
    assert capacity.free_devices(Load()) == BOTH


def test_without_a_device_rule_a_lost_gpu_is_waited_for():
    assert Capacity(plan(elastic=True, other_resources=HALF), count_fitting=nodes()).has_gpus
