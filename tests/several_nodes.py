"""Several Ray nodes on this machine, which join and are lost when a test says so."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parent
# By hand, so that a node may be added and lost while a search runs in another process.
SCRIPT = """
import json, sys
from search.ray.environment import prepare_environment
prepare_environment("cluster")
from ray.cluster_utils import Cluster
quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
         "health_check_timeout_ms": 500, "health_check_failure_threshold": 2}
first, *others = json.loads(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args=first | {"include_dashboard": False, "_system_config": quick})
nodes = [cluster.add_node(**node) for node in others]
print(cluster.address, flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command == "lose":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    else:
        nodes.append(cluster.add_node(**command))
    print("done", flush=True)
cluster.shutdown()
"""
ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "disabled",
    "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
}


class Nodes:
    """The nodes, the first of which is the head.

    Args:
        process: Holds them.
    """

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.address = process.stdout.readline().strip()

    def add(self, **resources: float) -> None:
        """Add a node, as ``num_cpus=1``; returns when it is up."""
        self._tell(resources)

    def lose(self) -> None:
        """End the node that was added last, as a crash does."""
        self._tell("lose")

    def _tell(self, command: object) -> None:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def several_nodes(*resources: dict):
    """Start nodes; all of them end with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(resources)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        yield Nodes(process)
    finally:
        process.communicate(timeout=60)
