"""A search whose machines come when trials wait, and go when they are idle, by Ray's own autoscaler.

Only the provider is stood in for, by Ray's own for tests: a machine is a raylet more on this one.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import alone
import pytest

from results.record.columns import Device
from results.record.history import History, Objective
from results.record.journal import parse
from search.engines.ray.placement.rule import GPU_FROM_MULTIPLY_ADDS

ROOT = Path(__file__).resolve().parents[2]
PORT = 6397
# By this Ray 2.60 knows its head again among the machines of that provider.
HEAD = "f" * 51 + "00000"
# Ends a test that hangs; a search among other work takes several minutes.
SECONDS = 900
# As in the files for Kubernetes and AWS: no trial on the head, no worker that nobody asked for.
FILE = {
    "cluster_name": "fake",
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"127.0.0.1:{PORT}",
        "head_node_id": HEAD,
        "launch_multiple": True,
    },
    "max_workers": 3,
    "idle_timeout_minutes": 0.1,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}},
        "cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        "gpu": {
            "resources": {"CPU": 1, "GPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        },
    },
    # Of a provider of its own kind Ray fills in none of these.
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "initialization_commands": [],
    "cluster_synced_files": [],
    "file_mounts": {},
    "auth": {},
}
# Begins the head, searches, and waits until the head is alone again.
SCRIPT = """
import json, subprocess, sys, time
commands = json.load(sys.stdin)
def nodes():
    done = subprocess.run(commands["nodes"], stdout=subprocess.PIPE, stderr=sys.stderr, check=True)
    return [node["cpus"] for node in json.loads(done.stdout)]
subprocess.run(commands["head"], stdout=sys.stderr, check=True)
before = nodes()
search = subprocess.Popen(commands["search"], stdout=sys.stderr, stderr=sys.stderr)
most = before
while search.poll() is None:
    most = max(most, nodes(), key=len)
    time.sleep(2)  # each look is a process, which takes time from the search
deadline = time.monotonic() + 90
while len(nodes()) > 1:
    assert time.monotonic() < deadline
    time.sleep(1)
json.dump({"before": before, "most": sorted(most), "status": search.returncode}, sys.stdout)
"""
ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_FAKE_CLUSTER": "1",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "RAY_enable_autoscaler_v2": "1",
}


@pytest.fixture
def short_folder():
    """A folder with a short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="as-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.mark.long
@pytest.mark.skipif(alone.why_not() is not None, reason=f"no ids of our own: {alone.why_not()}")
def test_machines_come_for_the_trials_that_wait_and_go_when_they_are_idle(short_folder, commands):
    folder = short_folder
    (folder / "file.json").write_text(json.dumps(FILE))
    address = f"127.0.0.1:{PORT}"
    script_commands = {
        "head": [
            str(commands / "ray"), "start", "--head", f"--port={PORT}", "--num-cpus=0",
            "--include-dashboard=false", f"--temp-dir={folder / 'ray'}",
            "--object-store-memory=200000000", f"--autoscaling-config={folder / 'file.json'}",
        ],
        "nodes": [str(commands / "fmnist-cluster"), "nodes", "--address", address, "--json"],
        "search": [
            str(commands / "fmnist-search"), "run", "--hypermodel", "on_devices:Devices",
            "--data", "problems:blobs", "--algorithm", "random", "--trials", "16", "--epochs", "4",
            "--scheduler", "none", "--workers", "3", "--resources", "auto", "--gpus-per-trial", "1",
            "--gpus", "1", "--retrain-epochs", "1", "--address", address,
            "--out", str(folder / "run"),
        ],
    }  # fmt: skip
    done = subprocess.run(
        [*alone.ALONE, sys.executable, "-c", SCRIPT], input=json.dumps(script_commands), text=True,
        capture_output=True, check=False, timeout=SECONDS, env=os.environ | ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": [0], "most": [0, 1, 1, 1], "status": 0}
    events = parse((folder / "run" / "journal.jsonl").read_bytes(), folder).events
    history = History.replay(Objective("val_accuracy", "max"), events)
    assert sorted(history.trials) == list(range(16))
    workers = {Device.CPU: set(), Device.GPU: set()}
    for trial in history.trials.values():
        assert len(trial.epochs) == 4
        is_large = trial.multiply_adds >= GPU_FROM_MULTIPLY_ADDS
        assert trial.device is (Device.GPU if is_large else Device.CPU)
        workers[trial.device].add(trial.worker)
    assert len(workers[Device.GPU]) == 1
    assert len(workers[Device.CPU]) >= 2  # a CPU each: on both machines
