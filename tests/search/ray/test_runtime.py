"""The Ray of a process: its own, or one that it joined."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

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


CLIENT = """
import ray, sys, time
for _ in range(60):  # until the head listens
    try:
        ray.init(sys.argv[1])
        break
    except ConnectionError:
        time.sleep(1)
from search.ray import runtime
runtime.check_no_client()
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.long
def test_a_script_that_has_joined_by_ray_client_is_told_so_in_one_line():
    port, client_port = free_port(), free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = os.environ | token | ON_LOOPBACK
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [
                Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=1",
                "--include-dashboard=false", f"--port={port}", f"--temp-dir={folder}",
                f"--ray-client-server-port={client_port}", "--node-ip-address=127.0.0.1",
            ],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-c", CLIENT, f"ray://127.0.0.1:{client_port}"], env=environment,
                capture_output=True, text=True, timeout=200, check=False,
            )  # fmt: skip
        finally:
            head.terminate()
            head.wait(60)
    line = done.stderr.splitlines()[-1]
    assert "does not run through Ray Client. Call ray.init(address=" in line, done.stderr
