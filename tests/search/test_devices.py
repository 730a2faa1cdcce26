"""Which trials go to a GPU: the size of a model, the rule, who is given out when, its memory."""

import os
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import keras
import pytest
from hypothesis import given

from results.record.columns import Device
from results.record.history import Objective
from search.engines.ray.placement import capacity, model_size
from search.engines.ray.placement.capacity import SPARE, Room
from search.engines.ray.placement.queue import DRAWN_AHEAD, Line, Waiting
from search.engines.ray.placement.rule import GPU_FROM_MULTIPLY_ADDS, Judgement, judged
from search.errors import ProblemError
from search.plan.plan import Engine, Plan, Problem
from search.worker import gpus

CPU, GPU = Device.CPU, Device.GPU
DENSE, CONV = keras.layers.Dense, keras.layers.Conv2D


def made(*layers):
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(lambda: made(keras.Input((4,)), DENSE(8), DENSE(3)), 4 * 8 + 8 * 3, id="dense"),
        pytest.param(
            lambda: made(keras.Input((28, 28, 1)), CONV(16, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(), DENSE(10)),
            26 * 26 * (3 * 3 * 1 * 16) + 26 * 26 * 16 * 10,
            id="a-convolution-counts-for-every-pixel-of-its-output",
        ),
        pytest.param(
            lambda: made(keras.Input((5, 7)), keras.layers.LSTM(3), DENSE(2)),
            5 * (7 * 12 + 3 * 12) + 3 * 2,
            id="a-recurrent-layer-counts-for-every-step",
        ),
        pytest.param(
            lambda: made(keras.Input((9,)), keras.layers.Embedding(1000, 6), keras.layers.Flatten(), DENSE(2)),
            9 * 6 * 2,
            id="an-embedding-only-looks-up",
        ),
        pytest.param(
            lambda: made(keras.Input((6, 4)), DENSE(8)), 6 * 4 * 8, id="a-dense-layer-along-a-sequence"
        ),
        pytest.param(
            lambda: made(keras.Input((4,)), made(keras.Input((4,)), DENSE(5)), DENSE(2)),
            4 * 5 + 5 * 2,
            id="a-model-in-a-model",
        ),
        pytest.param(lambda: made(DENSE(8)), None, id="no-shapes-before-data"),
    ],
)  # fmt: skip
def test_the_multiply_adds_of_a_model_are_counted(model, expected):
    assert model_size.multiply_adds(model()) == expected


def test_small_models_suit_a_cpu_and_large_ones_a_gpu():
    assert judged("auto", {}, GPU_FROM_MULTIPLY_ADDS - 1) == Judgement(
        CPU, GPU_FROM_MULTIPLY_ADDS - 1
    )
    assert judged("auto", {}, GPU_FROM_MULTIPLY_ADDS).device is GPU
    assert judged("auto", {}, None) == Judgement(CPU)


def test_a_rule_of_ones_own_is_asked_and_must_name_a_device():
    assert judged("on_devices:small_to_gpu", {"units": 8}, 56).device is GPU
    with pytest.raises(
        ProblemError, match=r"'on_devices:nowhere' returned 'tpu' .* expected 'cpu' or 'gpu'"
    ):
        judged("on_devices:nowhere", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'on_devices:lost' raised KeyError"):
        judged("on_devices:lost", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'no_such:rule': cannot import"):
        judged("no_such:rule", {}, 1)


def line(devices, *, has_gpus=lambda: True):
    """A line that draws trials which suit these devices, and those it has drawn."""
    left = deque(enumerate(devices))
    drawn = []

    def draw():
        if not left:
            return None
        trial, device = left.popleft()
        drawn.append(trial)
        return Waiting(trial, {}, 1, Judgement(device))

    return Line(draw, has_gpus=has_gpus), drawn


DEVICES = st.lists(st.sampled_from([CPU, GPU]), max_size=40)
FREE = st.lists(st.lists(st.sampled_from([CPU, GPU]), unique=True, max_size=2), max_size=60)


@given(DEVICES, FREE)
def test_each_is_given_out_once_where_it_suits_and_the_longest_waiting_first(devices, asked):
    trials, drawn = line(devices)
    given_out = {CPU: [], GPU: []}
    for free in asked:
        taken = trials.take(free)
        if taken is None:
            # None is kept waiting for a device that is free, unless enough wait for the other.
            waiting = [n for n in drawn if n not in given_out[CPU] + given_out[GPU]]
            assert not any(devices[n] in free for n in waiting)
            assert not free or len(waiting) == DRAWN_AHEAD or len(drawn) == len(devices)
            continue
        one, device = taken
        assert device in free
        assert devices[one.trial] is device
        given_out[device].append(one.trial)
    for numbers in given_out.values():
        assert numbers == sorted(numbers)
    assert len(drawn) - sum(map(len, given_out.values())) == len(trials) <= DRAWN_AHEAD


def test_without_a_gpu_every_trial_suits_the_cpus_those_that_wait_included():
    there = True
    trials, _ = line([GPU, GPU, CPU], has_gpus=lambda: there)
    assert trials.take([CPU])[0].trial == 2
    there = False
    assert [trials.take([CPU])[0].trial for _ in range(2)] == [0, 1]
    assert trials.take([CPU]) is None


def plan(**changes):
    problem = Problem(
        hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=Objective("val_accuracy", "max"),
        epochs=1, patience=0, seed=0,
    )  # fmt: skip
    asked = Plan(
        problem=problem, engine=Engine.RAY, algorithm="tpe", trials=1, workers=4, grace_period=1, reduction_factor=3,
        time_budget_seconds=None, target=None, retrain_epochs=(), out=Path("nowhere"), other_resources={"gpu": 0.5},
        device_rule="auto", gpus=1, address="auto",
    )  # fmt: skip
    return replace(asked, **changes)


@pytest.fixture
def four_cpus_and_a_gpu(monkeypatch):
    """What Ray would count of them, without starting one."""
    monkeypatch.setattr(capacity, "slots", lambda resources: 2 if "gpu" in resources else 4)


def free(places, cpu=0, gpu=0, *, cpu_begun=None, gpu_begun=None):
    begun = {
        CPU: cpu if cpu_begun is None else cpu_begun,
        GPU: gpu if gpu_begun is None else gpu_begun,
    }
    return places.free(Counter({CPU: cpu, GPU: gpu}), Counter(begun))


def test_as_many_are_given_out_as_there_are_cpus_and_shares_of_gpus_and_one_more_of_each(
    four_cpus_and_a_gpu,
):
    places = Room(plan())
    assert free(places) == [GPU, CPU]
    assert free(places, cpu=4) == [GPU, CPU]
    assert free(places, cpu=4 + SPARE, cpu_begun=4) == [GPU]
    assert free(places, cpu=2, gpu=2) == [GPU, CPU]
    assert free(places, cpu=2 + SPARE, gpu=2 + SPARE, cpu_begun=2, gpu_begun=2) == []


def test_while_one_waits_for_a_cpu_no_other_takes_it(four_cpus_and_a_gpu):
    places = Room(plan())
    assert free(places, cpu=4, cpu_begun=3) == [GPU]
    assert free(places, cpu=3, gpu=1, gpu_begun=0) == [GPU]
    assert free(places, cpu=2, gpu=1, gpu_begun=0) == [GPU, CPU]
    assert free(places, cpu=3, gpu=2, gpu_begun=0) == []


def test_gpus_that_have_still_to_come_keep_no_cpu_idle(monkeypatch):
    monkeypatch.setattr(capacity, "slots", lambda resources: 0 if "gpu" in resources else 4)
    places = Room(plan())
    assert free(places, cpu=3, gpu=2, gpu_begun=0) == [CPU]


def test_of_gpus_in_all_no_more_are_taken_also_where_all_trials_take_one(four_cpus_and_a_gpu):
    places = Room(plan(device_rule=None, gpus=0.3, other_resources={"gpu": 0.1}))
    assert places.is_free(2)
    assert not places.is_free(3)


def test_where_all_take_the_same_as_many_are_given_out_as_there_are_workers():
    places = Room(plan(device_rule=None, other_resources={}, gpus=None))
    assert places.is_free(3)
    assert not places.is_free(4)


def test_all_shares_of_a_gpu_fit_into_it_with_what_their_processes_take_besides():
    total = 16_000
    for parts in (2, 4, 8):
        limit = gpus.memory_limit_mib(1 / parts, total)
        assert limit > 0
        assert parts * (limit + gpus.CONTEXT_MIB) <= total
    assert gpus.memory_limit_mib(0.01, total) == gpus.LEAST_MIB


def test_the_memory_of_the_gpu_is_asked_of_its_driver(tmp_path, monkeypatch):
    """Of a stand-in for nvidia-smi: what a real one says of a real GPU is in test_gpu.py."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --id=1 ] && echo 81559 || echo "No devices were found"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert gpus.visible_memory_mib() == 81559
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpus.visible_memory_mib() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert gpus.visible_memory_mib() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial 0: expected more than 0"),
        ({"other_resources": {"gpu": 1.5}}, "--gpus-per-trial 1.5: expected a share of one"),
        ({"other_resources": {"gpu": -1}}, "--gpus-per-trial -1: expected a share of one"),
        ({"gpus": 0}, "--gpus 0: expected more than 0"),
        ({"gpus": 2, "other_resources": {}, "device_rule": None}, "--gpus 2 is for --gpus-per-trial or --resources"),
        ({"other_resources": {}, "gpus": None}, "--resources 'auto': expected --gpus-per-trial above 0"),
        ({"other_resources": {"gpu": float("inf")}}, "--gpus-per-trial inf: expected a share of one"),
        ({"gpus": 0.2}, "--gpus 0.2: expected 0.5 or more"),
        ({"address": None}, "--gpus 1: expected --address with it"),
        ({"device_rule": "fancy"}, "--resources 'fancy': expected auto, or module:function"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_resources_is_said_before_anything_starts(changes, said):
    assert [line for line in plan(**changes).problems() if line.startswith(said)]
    assert not list(plan().problems())
