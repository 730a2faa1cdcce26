"""Starts and ends a cluster of one's own machines, and counts who has joined."""

import os
import re
import secrets
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.errors import ClusterError
from cluster.nodes import Node, joined_nodes, missing_hosts, printed_nodes
from cluster.onprem.config import TOKEN, ClusterFile
from cluster.onprem.hosts import REFUSED_STATUS, Ssh, check_here, last_line, looks, refusal

JOIN_SECONDS = 120.0
# Where the packages are still to be installed.
INSTALL_SECONDS = 1800.0
PROJECT = Path(__file__).resolve().parents[2]
MONITOR_LOG = "/tmp/ray/session_latest/logs/monitor.out"
LAST_LINES = 12
# Such as "[3/7] Processing file mounts" and "(2/3) make setup".
STEP = re.compile(r"-- ((?:\[\d/\d\]|\(\d/\d\)) .*)")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # The cluster file says the same to the head; here it keeps `ray up` from announcing version 2.
    "RAY_UP_enable_autoscaler_v2": "0",
}

Say = Callable[[str], None]


def up(file: ClusterFile, say: Say, *, join_seconds: float = JOIN_SECONDS) -> list[Node]:
    """Start Ray on all machines of a cluster file, and return their nodes when all have joined.

    Args:
        file: The cluster.
        say: Takes a line on each step.
        join_seconds: How long to wait for machines once the head is up; longer if packages are
            still to be installed.

    Raises:
        ClusterError: Machines are unfit, `ray up` failed, or machines have not joined; names each.
    """
    ssh = Ssh(file)
    check_here()
    say(f"looking at {len(file.hosts)} machines")
    reports = looks(ssh)
    problems = [problem for report in reports for problem in report.problems]
    if problems:
        raise ClusterError("\n".join(problems))
    make_token(say)
    fresh = [host for host, report in zip(file.hosts, reports, strict=True) if report.is_fresh]
    if fresh:
        say(f"the packages will be installed, which takes minutes, on {', '.join(fresh)}")
        join_seconds = max(join_seconds, INSTALL_SECONDS)
    _ray("up", "--yes", "--no-config-cache", str(file.path.resolve()), say=say)
    log = f"{file.head}:{MONITOR_LOG}"
    return wait_for_nodes(lambda: nodes_of(ssh), file.hosts, say, seconds=join_seconds, log=log)


def down(file: ClusterFile, say: Say) -> None:
    """End Ray on all machines; `ray down` alone ends it on the head.

    Raises:
        ClusterError: A machine does not answer, or `ray stop` failed there.
    """
    _ray("down", "--yes", str(file.path.resolve()), say=say)
    ssh = Ssh(file)
    with ThreadPoolExecutor(len(file.hosts)) as pool:
        stopped = list(pool.map(lambda host: ssh.run(host, "ray stop"), file.hosts))
    problems = []
    for host, done in zip(file.hosts, stopped, strict=True):
        if done.returncode == REFUSED_STATUS:
            problems.append(refusal(ssh, host, done.stderr))
        elif done.returncode != 0:
            problems.append(f"{host}: `ray stop` failed ({last_line(done.stderr)}).")
        else:
            say(f"{host}: Ray has ended")
    if problems:
        problems.append("Ray may still run there: `fmnist-cluster down` again, when they answer.")
        raise ClusterError("\n".join(problems))


def make_token(say: Say) -> None:
    """Make the token by which the machines know each other, unless this user has one."""
    path = TOKEN.expanduser()
    if path.exists():
        path.chmod(0o600)
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    say(f"{TOKEN}: made; who has it may use the cluster")


def nodes_of(ssh: Ssh) -> list[Node]:
    """Ask the head for the live nodes; there are none while no Ray answers."""
    done = ssh.run(ssh.file.head, "fmnist-cluster nodes --json")
    if done.returncode == REFUSED_STATUS:
        raise ClusterError(refusal(ssh, ssh.file.head, done.stderr))
    return printed_nodes(done.stdout)


def wait_for_nodes(
    look: Callable[[], list[Node]],
    expected: tuple[str, ...] | int,
    say: Say,
    *,
    seconds: float,
    log: str = MONITOR_LOG,
) -> list[Node]:
    """Wait until all nodes have joined, as ``joined_nodes`` does.

    ``expected`` are the machines, or how many nodes there are. ``log`` is where Ray writes why one
    did not join.

    Raises:
        ClusterError: Some have not joined; names them where they are known.
    """
    count = expected if isinstance(expected, int) else len(expected)
    nodes = joined_nodes(look, count, say, seconds=seconds)
    if len(nodes) >= count:
        return nodes
    when = f"in {seconds:g} s. Why, is in {log}; another `ray up` tries again."
    if isinstance(expected, int):
        there = ", ".join(node.address for node in nodes) or "none"
        raise ClusterError(
            f"{count - len(nodes)} of {count} nodes have not joined {when} There: {there}."
        )
    missing = missing_hosts(expected, nodes)
    raise ClusterError("\n".join(f"{host}: has not joined {when}" for host in missing))


def _ray(command: str, *arguments: str, say: Say) -> None:
    """Run a command of Ray, and pass on only the steps among its many lines."""
    ray = Path(sys.executable).with_name("ray")
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        [ray, command, *arguments],
        cwd=PROJECT,  # the cluster file has Ray copy the current folder to the machines
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            step = STEP.search(line)
            if step is not None:
                say(step[1])
    if process.returncode != 0:
        raise ClusterError(
            "\n".join([f"`ray {command}` failed with status {process.returncode}:", *last])
        )
