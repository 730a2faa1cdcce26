"""Starts and ends a cluster of one's own machines, and counts who has joined."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.errors import ClusterError
from cluster.nodes import Node
from cluster.onprem.config import ClusterFile
from cluster.onprem.hosts import REFUSED_STATUS, Ssh, check_here, looks, refusal

TOKEN = Path("~/.ray/auth_token")
JOIN_SECONDS = 120.0
# Where the packages are still to be installed.
INSTALL_SECONDS = 1800.0
PROJECT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 3.0
MONITOR_LOG = "/tmp/ray/session_latest/logs/monitor.out"
LAST_LINES = 12
# Such as "[3/7] Processing file mounts" and "(2/3) make setup".
STEP = re.compile(r"-- ((?:\[\d/\d\]|\(\d/\d\)) .*)")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # The cluster file says the same of the head; this keeps Ray from announcing another.
    "RAY_UP_enable_autoscaler_v2": "0",
}

Say = Callable[[str], None]


def up(file: ClusterFile, say: Say, *, join_seconds: float = JOIN_SECONDS) -> list[Node]:
    """Start Ray on all machines of a cluster file, and wait until all have joined.

    Args:
        file: The cluster.
        say: Told of each step.
        join_seconds: How long is waited for machines once the head is up; longer where packages
            are still to be installed.

    Returns:
        The nodes.

    Raises:
        ClusterError: A machine is not fit, `ray up` failed, or a machine has not joined; each is
            named.
    """
    ssh = Ssh(file)
    check_here()
    say(f"looking at {len(file.hosts)} machines")
    seen = looks(ssh)
    found = [problem for look in seen for problem in look.problems]
    if found:
        raise ClusterError("\n".join(found))
    make_token(say)
    fresh = [host for host, look in zip(file.hosts, seen, strict=True) if look.is_fresh]
    if fresh:
        say(f"the packages will be installed, which takes minutes, on {', '.join(fresh)}")
        join_seconds = max(join_seconds, INSTALL_SECONDS)
    _ray("up", "--yes", "--no-config-cache", str(file.path.resolve()), say=say)
    return wait_for_nodes(
        lambda: nodes_of(ssh),
        file.hosts,
        say,
        seconds=join_seconds,
        log=f"{file.head}:{MONITOR_LOG}",
    )


def down(file: ClusterFile, say: Say) -> None:
    """End Ray on all machines; `ray down` alone ends it on the head.

    Raises:
        ClusterError: A machine does not answer.
    """
    _ray("down", "--yes", str(file.path.resolve()), say=say)
    ssh = Ssh(file)
    with ThreadPoolExecutor(len(file.hosts)) as pool:
        stopped = list(pool.map(lambda host: ssh.run(host, "ray stop"), file.hosts))
    left = []
    for host, done in zip(file.hosts, stopped, strict=True):
        if done.returncode == REFUSED_STATUS:
            left.append(refusal(ssh, host, done.stderr))
        elif done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            left.append(f"{host}: `ray stop` failed ({said}).")
        else:
            say(f"{host}: Ray has ended")
    if left:
        left.append("Ray may still run there: `fmnist-cluster down` again, when they answer.")
        raise ClusterError("\n".join(left))


def make_token(say: Say) -> None:
    """Make the token by which the machines know each other, where this user has none."""
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
    """Return the live nodes, as the head tells them; none while no Ray answers there.

    Raises:
        ClusterError: The head cannot be logged in to.
    """
    done = ssh.run(ssh.file.head, "fmnist-cluster nodes --json")
    if done.returncode == REFUSED_STATUS:
        raise ClusterError(refusal(ssh, ssh.file.head, done.stderr))
    told = re.search(r"^\[$.*^\]$", done.stdout, re.DOTALL | re.MULTILINE)
    return [Node(**row) for row in json.loads(told[0])] if told else []


def wait_for_nodes(
    look: Callable[[], list[Node]],
    expected: tuple[str, ...] | int,
    say: Say,
    *,
    seconds: float,
    log: str = MONITOR_LOG,
) -> list[Node]:
    """Wait until so many nodes have joined.

    Args:
        look: Returns those that have.
        expected: Their addresses, or how many there are.
        say: Told whenever another has.
        seconds: How long.
        log: Where Ray writes why a machine did not join.

    Raises:
        ClusterError: Some have not; names them where they are known.
    """
    count = expected if isinstance(expected, int) else len(expected)
    deadline, told = time.monotonic() + seconds, 0
    while True:
        nodes = look()
        if len(nodes) > told:
            told = len(nodes)
            say(f"{told} of {count} nodes have joined")
        if told >= count:
            return nodes
        if time.monotonic() > deadline:
            raise ClusterError(_missing(nodes, expected, seconds, log))
        time.sleep(LOOK_SECONDS)


def _missing(nodes: list[Node], expected: tuple[str, ...] | int, seconds: float, log: str) -> str:
    said = f"in {seconds:g} s. Why, is in {log}; another `ray up` tries again."
    if isinstance(expected, int):
        there = ", ".join(node.address for node in nodes) or "none"
        return f"{expected - len(nodes)} of {expected} nodes have not joined {said} There: {there}."
    known = {node.address for node in nodes}
    missing = [host for host in expected if not known & _addresses(host)]
    return "\n".join(f"{host}: has not joined {said}" for host in missing)


def _addresses(host: str) -> set[str]:
    try:
        return {host, *(str(info[4][0]) for info in socket.getaddrinfo(host, None))}
    except OSError:
        return {host}


def _ray(command: str, *arguments: str, say: Say) -> None:
    """Run a command of Ray's, of whose many lines only the steps are told.

    Raises:
        ClusterError: It failed; tells the last lines.
    """
    ray = Path(sys.executable).with_name("ray")
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        [ray, command, *arguments],
        cwd=PROJECT,  # which is what the file tells Ray to bring to the machines
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
