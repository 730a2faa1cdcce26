import json
import os
import subprocess
import sys

from cluster.nodes import Node, missing_hosts, poll_nodes, printed_nodes
from search.ray.environment import prepare_environment

START = (
    "import sys, ray; from search.ray.runtime import local_cluster\n"
    "with local_cluster(2):\n"
    "    print(ray.get_runtime_context().gcs_address, flush=True); sys.stdin.read()\n"
)


def nodes(commands, *arguments, environment=None):
    return subprocess.run(
        [commands / "fmnist-cluster", "nodes", *arguments],
        capture_output=True, text=True, check=False, timeout=120, env=environment or os.environ,
    )  # fmt: skip


def test_the_nodes_of_a_running_cluster_are_listed(commands):
    environment = os.environ | {"RAY_AUTH_MODE": "token"}
    prepare_environment()
    token = os.environ["RAY_AUTH_TOKEN"]
    head = subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment | {"RAY_AUTH_TOKEN": token},
    )  # fmt: skip
    try:
        address = head.stdout.readline().strip()
        environment["RAY_AUTH_TOKEN"] = token
        done = nodes(commands, "--address", address, "--json", environment=environment)
    finally:
        head.communicate("", timeout=60)
    assert done.returncode == 0, done.stderr
    [node] = json.loads(done.stdout)
    assert node["cpus"] == 2
    assert node["gpus"] == 0
    assert node["memory_gib"] > 0


def test_no_cluster_is_one_clear_line(commands):
    done = nodes(commands, "--address", "127.0.0.1:9")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: --address '127.0.0.1:9': no Ray cluster answers")


HERE = Node("127.0.0.1", 1.0, 0.0, 2.5)


def test_printed_nodes_are_read_among_the_lines_of_a_login():
    table = json.dumps([vars(HERE)], indent=2)
    assert printed_nodes(f"welcome\n[1] 123\n{table}\nbye\n") == [HERE]
    assert printed_nodes("error: no Ray cluster answers\n") == []


def test_a_host_is_missing_unless_a_node_has_one_of_its_addresses():
    assert missing_hosts(["localhost", "127.0.0.2", "no.such.host"], [HERE]) == [
        "127.0.0.2",
        "no.such.host",
    ]


def test_nodes_are_waited_for_until_there_is_no_reason_to(monkeypatch):
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)
    looks = iter([[], [HERE], [HERE]])
    lines = []
    over = iter([False, False, True])
    nodes = poll_nodes(
        lambda: next(looks), 2, lines.append, seconds=600, is_over=lambda: next(over)
    )
    assert nodes == [HERE]
    assert lines == ["1 of 2 nodes have joined"]
