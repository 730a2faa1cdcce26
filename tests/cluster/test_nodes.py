import json
import os
import subprocess
import sys

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
