"""Starts and stops a cluster of the user's own machines, and waits until they have joined."""

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
from cluster.nodes import Node, missing_hosts, poll_nodes, printed_nodes
from cluster.onprem.config import TOKEN
from cluster.onprem.hosts import (
    SSH_FAILED_STATUS,
    Ssh,
    check_local_tools,
    check_machines,
    last_line,
    ssh_problem,
)
from cluster.project import needs_make, project_folder

JOIN_SECONDS = 120.0
# Instead of JOIN_SECONDS, if packages are still to be installed.
INSTALL_SECONDS = 1800.0
MONITOR_LOG = "/tmp/ray/session_latest/logs/monitor.out"
LAST_LINES = 12
# Matches steps such as "[3/7] Processing file mounts" and "(2/3) bash setup.sh".
STEP = re.compile(r"-- ((?:\[\d/\d\]|\(\d/\d\)) .*)")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # The cluster file sets it for the head; here it keeps `ray up` from announcing version 2.
    "RAY_UP_enable_autoscaler_v2": "0",
}

Say = Callable[[str], None]


def up(ssh: Ssh, say: Say, *, join_seconds: float = JOIN_SECONDS) -> list[Node]:
    """Start Ray on all machines of a cluster file; return their nodes when all have joined.

    Args:
        ssh: Logs in to the machines of that file.
        say: Gets a line for each step.
        join_seconds: Longest wait for the machines after the head is up; at least
            ``INSTALL_SECONDS`` if packages are still to be installed.

    Raises:
        ClusterError: The current folder is no project, machines are unfit, `ray up` failed, or
            machines have not joined; names each.
    """
    file = ssh.file
    check_local_tools()
    project = project_folder()
    say(f"checking {len(file.hosts)} machines")
    reports = check_machines(ssh, *(["make"] if needs_make(project) else []))
    problems = [problem for report in reports for problem in report.problems]
    if problems:
        raise ClusterError("\n".join(problems))
    make_token(say)
    fresh = [host for host, report in zip(file.hosts, reports, strict=True) if report.is_fresh]
    if fresh:
        say(f"installing the packages, which takes minutes, on {', '.join(fresh)}")
        join_seconds = max(join_seconds, INSTALL_SECONDS)
    # The cluster file tells Ray to copy the current folder to the machines.
    path = str(file.path.resolve())
    _run_ray("up", "--yes", "--no-config-cache", path, say=say, folder=project)
    log = f"{file.head}:{MONITOR_LOG}"
    return wait_for_nodes(lambda: nodes_of(ssh), file.hosts, say, seconds=join_seconds, log=log)


def down(ssh: Ssh, say: Say) -> None:
    """Stop Ray on all machines of a cluster file; `ray down` alone stops it only on the head.

    Raises:
        ClusterError: A machine does not answer, or `ray stop` failed on it.
    """
    file = ssh.file
    _run_ray("down", "--yes", str(file.path.resolve()), say=say)
    with ThreadPoolExecutor(len(file.hosts)) as pool:
        stops = list(pool.map(lambda host: ssh.run(host, "ray stop"), file.hosts))
    problems = []
    for host, stop in zip(file.hosts, stops, strict=True):
        if stop.returncode == SSH_FAILED_STATUS:
            problems.append(ssh_problem(ssh, host, stop.stderr))
        elif stop.returncode != 0:
            problems.append(f"{host}: `ray stop` failed ({last_line(stop.stderr)}).")
        else:
            say(f"{host}: Ray is stopped")
    if problems:
        problems.append(
            "Ray may still run there: run `fmnist-cluster down` again when these machines answer."
        )
        raise ClusterError("\n".join(problems))


def make_token(say: Say) -> None:
    """Make the token of the user's clusters, unless there is one."""
    path = TOKEN.expanduser()
    if path.exists():
        path.chmod(0o600)
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    say(f"made the token {TOKEN}; everyone who has it may use the cluster")


def nodes_of(ssh: Ssh) -> list[Node]:
    """Ask the head for its live nodes; none while its Ray does not answer.

    Raises:
        ClusterError: The head does not answer.
    """
    listing = ssh.run(ssh.file.head, "fmnist-cluster nodes --json")
    if listing.returncode == SSH_FAILED_STATUS:
        raise ClusterError(ssh_problem(ssh, ssh.file.head, listing.stderr))
    return printed_nodes(listing.stdout)


def wait_for_nodes(
    list_nodes: Callable[[], list[Node]],
    expected: tuple[str, ...] | int,
    say: Say,
    *,
    seconds: float,
    log: str = MONITOR_LOG,
) -> list[Node]:
    """Wait until all nodes have joined, with ``poll_nodes``; return them.

    ``expected`` names the machines, or is the number of nodes. ``log`` is the file in which Ray
    writes why a node does not join.

    Raises:
        ClusterError: Nodes have not joined; names their machines, if ``expected`` does.
    """
    count = expected if isinstance(expected, int) else len(expected)
    nodes = poll_nodes(list_nodes, count, say, seconds=seconds)
    if len(nodes) >= count:
        return nodes
    advice = f"See {log} for the reason; run `ray up` again to retry."
    if isinstance(expected, int):
        joined = ", ".join(node.address for node in nodes) or "none"
        raise ClusterError(
            f"{count - len(nodes)} of {count} nodes have not joined in {seconds:g} s. {advice} "
            f"Joined: {joined}."
        )
    missing = missing_hosts(expected, nodes)
    raise ClusterError(
        "\n".join(f"{host}: has not joined in {seconds:g} s. {advice}" for host in missing)
    )


def _run_ray(command: str, *arguments: str, say: Say, folder: Path | None = None) -> None:
    """Run a command of Ray in a folder; of its many lines pass on only the steps."""
    ray = Path(sys.executable).with_name("ray")
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        [ray, command, *arguments],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last_lines.append(line.rstrip())
            step = STEP.search(line)
            if step is not None:
                say(step[1])
    if process.returncode != 0:
        raise ClusterError(
            "\n".join([f"`ray {command}` failed with status {process.returncode}:", *last_lines])
        )
