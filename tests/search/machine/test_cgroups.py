"""The limits of control groups: by trees of files, and in real groups where some can be made."""

import pytest
from limited_machines import GIGABYTE, V1, V2, make_tree

from search.machine.cgroups import core_limits, memory_limits, process_limits


def found(limits):
    return [(limit.amount, limit.source) for limit in limits]


def test_a_container_of_version_2_is_limited_by_the_group_at_its_top(tmp_path):
    files = {
        "cpu.max": "150000 100000\n",
        "memory.max": f"{2 * GIGABYTE}\n",
        "memory.high": "max\n",
        "memory.current": f"{GIGABYTE}\n",
        "memory.stat": f"anon 5\ninactive_file {GIGABYTE // 4}\nactive_file {GIGABYTE // 4}\n",
        "pids.max": "100\n",
        "pids.current": "7\n",
    }
    tree = make_tree(tmp_path, V2, "0::/\n", files)
    assert found(core_limits(tree)) == [(1.5, "cpu.max of /sys/fs/cgroup")]
    [memory] = memory_limits(tree)
    assert (memory.amount, memory.source) == (2 * GIGABYTE, "memory.max of /sys/fs/cgroup")
    assert memory.free == 1.5 * GIGABYTE  # what files have in the cache is free
    [processes] = process_limits(tree)
    assert (processes.amount, processes.free) == (100, 93)


def test_the_limits_of_all_groups_above_hold_too(tmp_path):
    files = {
        "user.slice/cpu.max": "400000 100000\n",
        "user.slice/memory.max": f"{4 * GIGABYTE}\n",
        "user.slice/job/cpu.max": "max 100000\n",
        "user.slice/job/memory.max": "max\n",
        "user.slice/job/memory.high": f"{3 * GIGABYTE}\n",
        "other/cpu.max": "100000 100000\n",
    }
    tree = make_tree(tmp_path, V2, "0::/user.slice/job\n", files)
    assert found(core_limits(tree)) == [(4, "cpu.max of /sys/fs/cgroup/user.slice")]
    assert found(memory_limits(tree)) == [
        (3 * GIGABYTE, "memory.high of /sys/fs/cgroup/user.slice/job"),
        (4 * GIGABYTE, "memory.max of /sys/fs/cgroup/user.slice"),
    ]


def test_version_1_has_a_tree_for_each_controller(tmp_path):
    files = {
        "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "400000\n",
        "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/docker/b/memory.limit_in_bytes": f"{8 * GIGABYTE}\n",
        "memory/docker/b/memory.usage_in_bytes": f"{3 * GIGABYTE}\n",
        "memory/docker/b/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIGABYTE}\n",
        "pids/docker/b/pids.max": "max\n",
    }
    groups = "4:memory:/docker/b\n3:cpu,cpuacct:/docker/a\n2:pids:/docker/b\n0::/\n"
    tree = make_tree(tmp_path, V1, groups, files)
    [cores] = core_limits(tree)
    assert cores.amount == 4
    assert cores.source == "cpu.cfs_quota_us of /sys/fs/cgroup/cpu,cpuacct/docker/a"
    [memory] = memory_limits(tree)
    assert (memory.amount, memory.free) == (8 * GIGABYTE, 6 * GIGABYTE)
    assert not list(process_limits(tree))


@pytest.mark.parametrize("path", ["/docker/a", "/docker/a/inner", "/elsewhere", "/../other"])
def test_a_container_that_sees_the_paths_of_its_host_finds_its_own_group(tmp_path, path):
    mounts = "31 23 0:28 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    files = {"memory/memory.limit_in_bytes": f"{GIGABYTE}\n"}
    tree = make_tree(tmp_path, mounts, f"4:memory:{path}\n", files)
    expected = (GIGABYTE, "memory.limit_in_bytes of /sys/fs/cgroup/memory")
    assert found(memory_limits(tree)) == [expected]


def test_a_system_without_control_groups_has_no_limits(tmp_path):
    assert not list(core_limits(tmp_path))
    assert not list(memory_limits(tmp_path))
    assert not list(process_limits(tmp_path))
