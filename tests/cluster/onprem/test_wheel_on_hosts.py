"""A search on two hosts of a lab, by somebody who has the wheel and no checkout."""

import re
import shutil

import pytest
from lab import CHECKOUT, Lab
from stage import SUBMIT, staged

from cluster.wheel import wheel_name

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        Lab.why_not() is not None, reason=f"no lab of several hosts here: {Lab.why_not()}"
    ),
]

MODULE = """
import keras
import numpy as np


def build(hp):
    model = keras.Sequential([keras.Input((8,))])
    model.add(keras.layers.Dense(hp.Int("units", 4, 32), activation="relu"))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def load():
    x = np.random.default_rng(0).normal(size=(400, 8)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("float32")
    return (x[100:], y[100:]), (x[:100], y[:100])
"""
PROJECT = "/root/my project"
PIP = ("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall")
SEARCH = (
    *SUBMIT, "run", "--hypermodel", "mine:build", "--data", "mine:load", "--trials", "4",
    "--epochs", "2", "--retrain-epochs", "none", "--out", "runs/a",
)  # fmt: skip


def test_a_project_of_init_searches_on_machines_that_get_the_wheel(tmp_path):
    with staged(tmp_path / "lab", "worker1") as stage:
        project = stage.client.home / "my project"

        def run(*words, cwd=PROJECT, host=stage.client):
            path = f"{stage.client.venv}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
            done = host.run(words, timeout_seconds=420, env={"PATH": path}, cwd=cwd)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        run("fmnist-cluster", "init", PROJECT, cwd="/")
        (project / "mine.py").write_text(MODULE)
        shutil.copy(stage.file, project / "cluster")  # with the addresses of the hosts
        run(*PIP, f"{PROJECT}/cluster/{wheel_name()}")
        for path in (stage.client.home / CHECKOUT.name).iterdir():
            if path.name != ".venv":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

        assert "2 of 2 nodes have joined" in run("fmnist-cluster", "up")
        for name in ("head", "worker1"):
            copy = stage.lab[name].home / "fmnist-search"
            assert {path.name for path in copy.iterdir()} >= {"mine.py", "cluster", ".venv"}
            assert not (copy / "search").exists()
            where = stage.lab[name].run(
                [
                    f"{stage.lab[name].venv}/bin/python",
                    "-c",
                    "import search; print(search.__file__)",
                ],
                timeout_seconds=60,
            )
            assert where.stdout.startswith(f"{stage.lab[name].venv}/lib/"), where.stderr
        run(*SEARCH)
        assert "fetched: runs/a" in run("fmnist-cluster", "fetch")
        assert re.search(r"trials done +4 ", run("fmnist-results", "compare", "runs/a"))
        # As a job, whose folder holds the wheel too.
        run("fmnist-cluster", "submit", "--", "resume", "runs/a", "--trials", "5")
        run("fmnist-cluster", "down")
