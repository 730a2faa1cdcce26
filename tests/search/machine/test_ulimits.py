"""Limits of processes that are too low for a search: set for real on processes of their own."""

import os
import resource
import subprocess
import sys

import pytest

GIGABYTE = 1024**3
SHOW = """
from search.machine.machine import read_machine
from search.machine.ulimits import limit_problems
print(*limit_problems(2), sep="\\n")
print(read_machine().memory_of_ray().get("object_store_memory", 0) / 2**30)
"""
NOBODY = 65534


def limit(kind, amount):
    """Return what sets a limit in a new process."""
    return lambda: resource.setrlimit(kind, (amount, amount))


def problems(prepare):
    """Return the problems that a process names, and Ray's memory for objects in GB."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW], preexec_fn=prepare, capture_output=True, text=True, check=True
    )
    *lines, objects = done.stdout.splitlines()
    return [line for line in lines if line], float(objects)


def test_an_address_space_that_is_too_small_is_named_with_what_is_needed():
    [line], _ = problems(limit(resource.RLIMIT_AS, 3 * GIGABYTE))
    assert line == (
        "ulimit -v: a process may use 3.0 GB of address space, expected 4.6 GB or more for "
        "TensorFlow and Ray. Raise it, or limit the memory by a control group instead."
    )


def test_in_a_small_address_space_ray_takes_less_for_objects():
    lines, objects = problems(limit(resource.RLIMIT_AS, 5 * GIGABYTE))
    assert lines == []
    assert objects == 0.5


@pytest.mark.skipif(os.getuid() != 0, reason="another user's limit is set as root")
def test_a_limit_of_the_processes_of_a_user_is_named_but_root_has_none(tmp_path):
    code = f"""
import os, resource
from search.machine import ulimits
resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
print(*ulimits.limit_problems(2))
os.setgroups([])
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
print(*ulimits.limit_problems(2))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    of_root, of_nobody = done.stdout.splitlines()
    assert of_root == ""
    assert of_nobody.startswith("ulimit -u: ")
    assert " of 100 processes and threads are free, expected 330 or more for 2" in of_nobody


def test_a_limit_of_the_processes_of_a_container_is_named(groups):
    made = groups({("pids", "pids.max"): "90"})
    [line], _ = problems(made.join)
    assert line.startswith(f"pids.max of {made.folders['pids']}: ")
    assert " of 90 processes and threads are free, expected 330 or more for 2 trials" in line


def test_a_search_names_the_limit_before_anything_starts(commands, tmp_path):
    problem = ["--hypermodel", "problems:small", "--data", "problems:blobs", "--out", "run"]
    done = subprocess.run(
        [commands / "fmnist-search", "run", *problem],
        cwd=tmp_path, preexec_fn=limit(resource.RLIMIT_AS, 4 * GIGABYTE),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ulimit -v: a process may use 4.0 GB")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_search_runs_in_the_least_address_space(commands, tmp_path):
    done = subprocess.run(
        [
            commands / "fmnist-search", "run", "--hypermodel", "problems:small", "--data",
            "problems:blobs", "--trials", "3", "--epochs", "1", "--retrain-epochs", "1", "--out", "run",
        ],
        cwd=tmp_path, preexec_fn=limit(resource.RLIMIT_AS, int(4.6 * GIGABYTE)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "final model (1 epochs)" in done.stdout
