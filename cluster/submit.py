"""The script that `ray submit` runs on the head: wait for all nodes, then run `fmnist-search`.

    ray submit cluster/onprem.yaml cluster/submit.py -- run --space wide --trials 500

The search is a process of its own; this script passes on its output and exit status. The search
keeps running when the connection to the head is lost; Ctrl-C ends it and keeps its run. Ray copies
only this file to the head, where it imports the installed project.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError
from cluster.nodes import Node, live_nodes
from cluster.onprem.config import expected_nodes
from cluster.onprem.launch import JOIN_SECONDS, wait_for_nodes

PROJECT = Path("~/fmnist-search").expanduser()
POLL_SECONDS = 0.2


def main(
    arguments: list[str],
    *,
    list_nodes: Callable[[], list[Node]] = lambda: live_nodes("auto"),
    project: Path = PROJECT,
    join_seconds: float = JOIN_SECONDS,
) -> int:
    """Run a command of ``fmnist-search`` on the cluster; return its exit status.

    Args:
        arguments: The command.
        list_nodes: Returns the live nodes of the cluster, or raises ClusterError if its Ray does
            not answer.
        project: The folder of the project, in whose ``runs/`` the output is kept.
        join_seconds: The longest wait for nodes that have not joined.
    """
    if not arguments:
        _say("error: no command: expected one of fmnist-search, such as: -- run --space wide")
        return 2
    try:
        wait_for_nodes(list_nodes, expected_nodes() or 1, _say, seconds=join_seconds)
    except ClusterError as error:
        if not _ray_answers(list_nodes):
            _say(f"error: {error}")
            return 2
        _say(f"warning: {error} The search starts without them and uses them when they join.")
    return _run_search(arguments, project)


def _run_search(arguments: list[str], project: Path) -> int:
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    # A file, for users who lose the connection.
    path = project / "runs" / f"output-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        search = subprocess.Popen(
            [Path(sys.executable).with_name("fmnist-search"), *arguments],
            cwd=project,
            env=os.environ | {"RAY_ADDRESS": "auto", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives the connection
        )
    _say(f"search: process {search.pid} on the head; its output is kept in {path}")
    with path.open("rb") as log:
        while search.poll() is None:
            _pass_on(log.read())
            if interrupts:
                search.send_signal(interrupts.pop())
            time.sleep(POLL_SECONDS)
        _pass_on(log.read())
    return search.returncode


def _ray_answers(list_nodes: Callable[[], list[Node]]) -> bool:
    try:
        return bool(list_nodes())
    except ClusterError:
        return False


def _say(line: str) -> None:
    print(line, flush=True)


def _pass_on(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
