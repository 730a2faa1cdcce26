"""A node that is lost, on several nodes of one machine: what is left where no lab can be made."""

import subprocess
import time

import pytest
import storm as storms
from lab import Lab
from several_nodes import ENVIRONMENT, several_nodes
from stage import check_events, epochs, events_in

# In the short tier where it has to stand for the lab, whose tests show more.
pytestmark = [pytest.mark.long] if Lab.why_not() is None else []

PATIENCE_SECONDS = 300


def test_a_search_outlives_a_node_that_is_lost(tmp_path, commands):
    print(f"on nodes of one machine: {Lab.why_not() or 'beside the lab'}")
    weather = storms.Weather(0, trials=6, epochs=6)
    run = tmp_path / "run"
    with several_nodes({"num_cpus": 1}, {"num_cpus": 1}) as nodes:
        search = subprocess.Popen(
            [commands / "fmnist-search", "run", *storms.asked(weather), "--address", nodes.address, "--out", "run"],
            cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_SECONDS
        while epochs(events_in(run)) < 6:
            assert time.monotonic() < deadline
            assert search.poll() is None, search.communicate()[0]
            time.sleep(0.2)
        nodes.lose()
        output, _ = search.communicate(timeout=PATIENCE_SECONDS)
    assert search.returncode == 0, output
    assert "cluster: 2 nodes; trials at once: 2" in output
    survived = check_events(run, events_in(run), weather)
    lost = [event for event in survived.events if event["event"] == "worker_lost"]
    assert [event["by_trial"] for event in lost] == [False]
