"""The cores and the memory of a process, by trees of files, and how many trials they hold."""

import os
import re
import subprocess
import sys

import pytest
from limited_machines import GIGABYTE, V2, make_tree

from search.machine.machine import WHOLE, Machine, needed_bytes, read_machine

IN_JOB = {"SLURM_JOB_ID": "1", "SLURMD_NODENAME": "node1"}


def machine(cores=4, free=8 * GIGABYTE):
    return Machine(cores, "affinity", 16 * GIGABYTE, int(free), "memory.max of /sys/fs/cgroup")


def read(tmp_path, files=None, environment=None, bound_cores=8):
    tree = make_tree(tmp_path, V2, "0::/\n", files or {})
    return read_machine(tree, environment or {}, bound_cores)


def test_without_limits_all_of_the_machine_may_be_used(tmp_path):
    found = read(tmp_path)
    assert found.cores == 8
    assert (found.memory_bytes, found.free_bytes) == (16 * GIGABYTE, 12 * GIGABYTE)
    assert found.memory_from == WHOLE


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 2), ("400000", 4), ("max", 8)]
)
def test_a_part_of_a_core_counts_as_a_core(tmp_path, quota, cores):
    assert read(tmp_path, {"cpu.max": f"{quota} 100000\n"}).cores == cores


def test_the_limit_that_leaves_least_memory_free_counts(tmp_path):
    files = {"memory.max": f"{2 * GIGABYTE}\n", "memory.current": f"{GIGABYTE // 2}\n"}
    found = read(tmp_path, files)
    assert (found.memory_bytes, found.free_bytes) == (2 * GIGABYTE, 1.5 * GIGABYTE)
    assert found.memory_from == "memory.max of /sys/fs/cgroup"
    # A generous limit, on a machine that is nearly full.
    found = read(tmp_path / "full", {"memory.max": f"{15 * GIGABYTE}\n"})
    assert (found.free_bytes, found.memory_from) == (12 * GIGABYTE, WHOLE)


def test_a_huge_limit_of_version_1_is_none(tmp_path):
    assert read(tmp_path, {"memory.max": f"{2**63 - 4096}\n"}).memory_bytes == 16 * GIGABYTE


@pytest.mark.parametrize(
    ("variables", "cores", "gigabytes"),
    [
        ({}, 8, 16),
        ({"SLURM_CPUS_ON_NODE": "4"}, 4, 16),
        ({"SLURM_CPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}, 2, 16),
        ({"SLURM_CPUS_ON_NODE": "64"}, 8, 16),
        ({"SLURM_MEM_PER_NODE": "4096"}, 8, 4),
        ({"SLURM_MEM_PER_NODE": "0"}, 8, 16),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "2"}, 2, 2),
    ],
)
def test_a_slurm_job_uses_what_it_was_given_of_its_node(tmp_path, variables, cores, gigabytes):
    found = read(tmp_path, environment=IN_JOB | variables)
    assert (found.cores, found.memory_bytes) == (cores, gigabytes * GIGABYTE)
    # On a login node, salloc has set the variables for a job that runs elsewhere.
    found = read(tmp_path / "login", environment=variables | {"SLURM_JOB_ID": "1"})
    assert (found.cores, found.memory_bytes) == (8, 16 * GIGABYTE)


@pytest.mark.parametrize(
    ("cores", "cpus", "held", "workers", "ray_cpus"),
    [
        (4, 1, 100, 4, 4),
        (4, 2, 100, 2, 4),
        (4, 8, 100, 1, 4),
        (4, 0.5, 100, 8, 4),
        (4, 1, 2, 2, 2),
        (4, 2, 1, 1, 2),
        (4, 0.5, 3, 3, 2),
        (4, 1, 0, 1, 1),
    ],
)
def test_as_many_trials_run_at_once_as_cores_and_memory_hold(cores, cpus, held, workers, ray_cpus):
    found = machine(cores, needed_bytes(held))
    assert found.workers(cpus) == workers
    assert found.cpus(cpus) == ray_cpus


def test_fewer_trials_than_cores_are_explained():
    assert machine(4, 8 * GIGABYTE).describe_shortage(1) is None
    assert machine(4, needed_bytes(2)).describe_shortage(1) == (
        "2 workers on 4 cores: 1.9 GB are free of 16.0 GB (memory.max of /sys/fs/cgroup)"
    )


# --- Real limits ----------------------------------------------------------------------------------

SHOW = "from search.machine.machine import read_machine; print(read_machine())"
LIMITS = {
    ("cpu", "cpu.cfs_quota_us"): "50000",
    ("memory", "memory.limit_in_bytes"): str(2 * GIGABYTE),
}


def test_the_limits_of_real_groups_are_found(groups):
    made = groups(LIMITS)
    shown = subprocess.run(
        [sys.executable, "-c", SHOW],
        preexec_fn=made.join,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"cores=1, cores_from='cpu.cfs_quota_us of {made.folders['cpu']}'" in shown
    assert f"memory_bytes={2 * GIGABYTE}" in shown
    assert f"memory_from='memory.limit_in_bytes of {made.folders['memory']}'" in shown


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process")
def test_a_process_that_is_bound_to_a_core_uses_one():
    core = min(os.sched_getaffinity(0))
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], preexec_fn=lambda: os.sched_setaffinity(0, [core]),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "cores=1, " in shown


@pytest.mark.long
def test_a_search_in_groups_starts_as_many_trials_as_they_hold(groups, commands, tmp_path):
    """In 1.6 GB, one trial at a time, whatever the cores; Ray starts with what is there."""
    made = groups({("memory", "memory.limit_in_bytes"): str(int(1.6 * GIGABYTE))})
    problem = ["--hypermodel", "problems:small", "--data", "problems:blobs"]
    done = subprocess.run(
        [
            commands / "fmnist-search", "run", *problem, "--trials", "2", "--epochs", "1",
            "--retrain-epochs", "1", "--cpus-per-trial", "0.5", "--out", "run",
        ],
        cwd=tmp_path, preexec_fn=made.join, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert re.search(r"^1 worker on \d+ cores?: 1\.6 GB are free of 1\.6 GB", done.stdout)
    assert "; trials at once: 1;" in done.stdout
