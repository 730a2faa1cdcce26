"""A node that is lost, on several nodes of one machine: what is left where no lab can be made."""

import subprocess
import time

import pytest
import storm as storms
from lab import Lab
from several_nodes import ENVIRONMENT, several_nodes
from stage import check_events, epochs

from results.record.journal import parse

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
    path = tmp_path / "run" / "journal.jsonl"

    def events():
        return parse(path.read_bytes(), path).events if path.exists() else ()

    with several_nodes({"num_cpus": 1}, {"num_cpus": 1}) as nodes:
        search = subprocess.Popen(
            [commands / "fmnist-search", "run", *storms.asked(weather), "--address", nodes.address, "--out", "run"],
            cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while epochs(events()) < 6:
            assert time.monotonic() < deadline
            assert search.poll() is None, search.communicate()[0]
            time.sleep(0.2)
        nodes.lose()
        output, _ = search.communicate(timeout=300)
    assert search.returncode == 0, output
    assert "cluster: 2 nodes; trials at once: 2" in output
    found = check_events(tmp_path / "run", events(), weather)
    lost = [event for event in found.events if event["event"] == "worker_lost"]
    assert [event["by_trial"] for event in lost] == [False]
