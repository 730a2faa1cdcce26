"""The Ray of a process: its own, or one that it joined."""

import json
import os
import secrets
import subprocess
import sys

from search.ray.environment import ON_LOOPBACK

HEAD = """
import sys
from search.ray.runtime import has_other_nodes, is_up, local_cluster
import ray
with local_cluster(1):
    print(ray.get_runtime_context().gcs_address, is_up(), has_other_nodes(), flush=True)
    sys.stdin.read()
"""
JOIN = """
import json, sys
from search.ray.runtime import connect_to_ray, has_other_nodes, is_up
with connect_to_ray(sys.argv[1], 1):
    known = is_up(), has_other_nodes()
import ray
print(json.dumps([*known, is_up(), has_other_nodes(), ray.is_initialized()]))
"""


def test_a_joined_ray_has_other_nodes_and_keeps_running_when_it_is_left():
    # Given to both, whatever Ray has read in this process before.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = os.environ | token | ON_LOOPBACK
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address, *known = head.stdout.readline().split()
        done = subprocess.run(
            [sys.executable, "-c", JOIN, address], env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert head.poll() is None
    finally:
        head.communicate("", timeout=60)
    assert known == ["True", "False"]  # its own: all trials are here
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, True, True, False]
