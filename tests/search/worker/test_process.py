"""What trials take of CPUs and GPUs: the memory of a share, and what is wrong with a request."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from results.record.history import Objective
from search.plan.plan import Engine, Plan, Problem
from search.worker import process


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


def test_all_shares_of_a_gpu_fit_into_it_with_what_their_processes_take_besides():
    total = 16_000
    for parts in (2, 4, 8):
        limit = process.memory_limit_mib(1 / parts, total)
        assert limit > 0
        assert parts * (limit + process.CONTEXT_MIB) <= total
    assert process.memory_limit_mib(0.01, total) == process.LEAST_MIB


def test_the_memory_of_the_gpu_is_asked_of_its_driver(tmp_path, monkeypatch):
    """Of a stand-in for nvidia-smi: what a real one says of a real GPU is in test_gpu.py."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --id=1 ] && echo 81559 || echo "No devices were found"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert process.visible_memory_mib() == 81559
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert process.visible_memory_mib() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert process.visible_memory_mib() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial 0: expected more than 0"),
        ({"other_resources": {"gpu": 1.5}}, "--gpus-per-trial 1.5: expected a share of a GPU"),
        ({"other_resources": {"gpu": -1}}, "--gpus-per-trial -1: expected a share of a GPU"),
        ({"gpus": 0}, "--gpus 0: expected more than 0"),
        ({"gpus": 2, "other_resources": {}, "device_rule": None}, "--gpus 2 needs --gpus-per-trial or --resources"),
        ({"other_resources": {}, "gpus": None}, "--resources 'auto' needs --gpus-per-trial above 0"),
        ({"other_resources": {"gpu": float("inf")}}, "--gpus-per-trial inf: expected a share of a GPU"),
        ({"gpus": 0.2}, "--gpus 0.2: expected 0.5 or more"),
        ({"address": None}, "--gpus 1 needs --address"),
        ({"device_rule": "fancy"}, "--resources 'fancy': expected auto, or MODULE:NAME"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_resources_is_said_before_anything_starts(changes, said):
    assert [line for line in plan(**changes).problems() if line.startswith(said)]
    assert not list(plan().problems())
