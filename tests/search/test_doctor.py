"""What would go wrong in a search, found before it starts."""

import dataclasses
import re
import subprocess
import sys

import pytest

from results.record.history import Objective
from search import doctor
from search.doctor import Grade, corners, examine
from search.errors import UsageError
from search.plan.plan import Engine, Plan, Problem
from search.space.parameters import Kind, Parameter, Space


def plan(out, hypermodel="problems:small", data="problems:blobs", objective="val_accuracy"):
    problem = Problem(
        hypermodel=hypermodel, data=data, data_dir=None, space="small", epochs=1, patience=0, seed=0,
        objective=Objective(objective, "max"),
    )  # fmt: skip
    return Plan(
        problem=problem, engine=Engine.RAY, algorithm="tpe", trials=1, workers=1, grace_period=1,
        reduction_factor=3, time_budget_seconds=None, target=None, retrain_epochs=(1,), out=out,
    )  # fmt: skip


def lines(asked, grade):
    return [finding.text for finding in examine(asked) if finding.grade is grade]


def test_a_sound_problem_is_ready(tmp_path):
    found = list(examine(plan(tmp_path / "runs")))
    assert {finding.grade for finding in found} == {Grade.OK}
    text = "\n".join(map(str, found))
    for part in (
        "versions: Python 3.",
        "disk: ",
        "cores: ",
        "memory: ",
        "shared memory: ",
        "data: train 240",
    ):
        assert part in text
    assert "space: 3 corners built and trained; each reports val_accuracy" in text


def test_a_corner_that_cannot_be_built_is_named_with_what_to_do(tmp_path):
    asked = plan(tmp_path / "runs", "problems:mixed_ends")
    [problem, *_] = lines(asked, Grade.PROBLEM)
    assert problem.startswith("space: RuntimeError: this configuration cannot be built at end=bad")
    assert problem.endswith("Correct the builder, or narrow the space.")
    assert any("diverges at end=nan" in text for text in lines(asked, Grade.WARNING))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"objective": "val_acc"},
            r"^--objective 'val_acc' is not reported by any epoch.*Did you mean",
        ),
        ({"data": "problems:broken_data"}, r"FileNotFoundError: the disk with the data is not"),
        (
            {"hypermodel": "problems:raising"},
            r"^--hypermodel .*the builder raised ValueError: units may not be",
        ),
        ({"hypermodel": "problems:not_compiled"}, r"a model that is not compiled: expected"),
    ],
)
def test_each_problem_is_one_line(tmp_path, changes, said):
    found = lines(plan(tmp_path / "runs", **changes), Grade.PROBLEM)
    assert len(found) == 1  # once, though every corner meets it
    assert re.search(said, found[0])
    assert all("\n" not in text for text in found)


def test_corners_are_the_ends_of_every_axis():
    space = Space(
        (
            Parameter("units", Kind.INT, 8, low=2, high=64),
            Parameter("rate", Kind.FLOAT, 0.01, low=1e-4, high=1e-1, sampling="log"),
            Parameter("kind", Kind.CHOICE, "b", choices=("a", "b", "c"), ordered=False),
        )
    )
    found = corners(space)
    assert found[0] == {"units": 8, "rate": 0.01, "kind": "b"}
    ends = {(v["units"], v["kind"]) for v in found[1:]}
    assert ends == {(units, kind) for units in (2, 64) for kind in "abc"}
    assert min(v["rate"] for v in found) == 1e-4
    assert max(v["rate"] for v in found) == pytest.approx(1e-1)
    assert corners(Space((Parameter("fixed", Kind.FIXED, 1, choices=(1,)),))) == [{"fixed": 1}]


def test_a_version_that_is_not_the_needed_one_is_named_before_a_run(tmp_path, monkeypatch):
    """By metadata of the project that ask for more, found before the real ones."""
    info = tmp_path / "fmnist_search-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fmnist-search\nVersion: 0.1.0\n"
        "Requires-Dist: numpy>=99\nRequires-Dist: not-there-at-all>=1\nRequires-Dist: ray>=2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wrong = dataclasses.replace(plan(tmp_path / "runs"), trials=0)
    with pytest.raises(UsageError) as raised:
        doctor.check(wrong)
    said = str(raised.value).splitlines()
    assert said[0] == "--trials 0: expected 1 or more."  # everything at once
    assert said[1].startswith("numpy is 2.")
    assert said[1].endswith(", expected >=99: pip install 'numpy>=99'.")
    assert said[2].startswith("not-there-at-all is missing, expected >=1")
    assert len(said) == 3


def test_data_that_hold_no_numbers_are_named(tmp_path, monkeypatch):
    (tmp_path / "spoilt.py").write_text(
        "import problems\n"
        "def load():\n"
        "    train, *others = problems.blobs()\n"
        "    train[0][7, 1] = float('nan')\n"
        "    return train, *others\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    [problem] = lines(plan(tmp_path / "runs", data="spoilt:load"), Grade.PROBLEM)
    assert problem.startswith("data: the train split holds numbers that are not finite")


@pytest.mark.long
def test_data_of_any_kind_are_examined(tmp_path):
    asked = plan(tmp_path / "runs", "problems:of_mixed_blobs", "problems:mixed_blobs")
    found = list(examine(asked))
    assert {finding.grade for finding in found} == {Grade.OK}, found
    text = "\n".join(map(str, found))
    assert "data: train 240, validation 4 batches, test 4 batches; digest " in text
    assert "space: 2 corners built and trained" in text


CLUSTER = """
import json, os, subprocess, sys
from search.ray.environment import prepare_environment
prepare_environment("cluster")
os.environ["RAY_AUTH_MODE"] = "disabled"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
try:
    done = subprocess.run(
        [sys.argv[1], "doctor", "--hypermodel", "problems:small", "--data", "problems:blobs",
         "--address", cluster.address],
        capture_output=True, text=True, timeout=200,
    )
    print(json.dumps([done.returncode, done.stdout, done.stderr]))
finally:
    cluster.shutdown()
"""


@pytest.mark.long
def test_every_node_of_a_cluster_is_asked(tmp_path, commands):
    import json

    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, commands / "fmnist-search"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    status, output, errors = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, output + errors
    assert output.count("versions, data and shared memory as on this machine") == 2
    assert output.rstrip().endswith("ready to search")
