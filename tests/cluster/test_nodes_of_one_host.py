"""A node that is lost, on several nodes of one machine: what is left where no lab can be made."""

import os
import subprocess
import sys
import time

import pytest
import storm as storms
from lab import Lab
from stage import ROOT, check_events, epochs

from search.journal import parse

# Two nodes; the second is ended when a line is read, both when there is no more to read.
NODES = """
import sys
from search.ray_cluster import prepare_environment
prepare_environment("cluster")
from ray.cluster_utils import Cluster
quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
         "health_check_timeout_ms": 500, "health_check_failure_threshold": 2}
head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
sys.stdin.read()
cluster.shutdown()
"""


# In the short tier where it has to stand for the lab, whose tests show more.
pytestmark = [pytest.mark.long] if Lab.why_not() is None else []


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Epochs that do not wait to be hit, in this process."""
    import stormy

    monkeypatch.setattr(stormy, "EPOCH_SECONDS", 0.0)


def test_a_node_is_lost_in_a_search_on_two(tmp_path, commands):
    print(f"on nodes of one machine: {Lab.why_not() or 'beside the lab'}")
    weather = storms.Weather(0, trials=6, epochs=6)
    environment = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    nodes = subprocess.Popen(
        [sys.executable, "-c", NODES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    path = tmp_path / "run" / "journal.jsonl"

    def events():
        return parse(path.read_bytes(), path).events if path.exists() else ()

    try:
        address = nodes.stdout.readline().strip()
        search = subprocess.Popen(
            [commands / "fmnist-search", "run", *storms.asked(weather), "--address", address, "--out", "run"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while epochs(events()) < 6:
            assert time.monotonic() < deadline
            assert search.poll() is None, search.communicate()[0]
            time.sleep(0.2)
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        output, _ = search.communicate(timeout=300)
    finally:
        nodes.communicate("", timeout=60)
    assert search.returncode == 0, output
    assert "cluster: 2 nodes; trials at once: 2" in output
    found = check_events(tmp_path / "run", events(), weather)
    lost = [event for event in found.events if event["event"] == "worker_lost"]
    assert [event["by_trial"] for event in lost] == [False]
