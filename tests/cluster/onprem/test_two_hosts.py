"""A search on two hosts of a lab, one of which crashes; more is shown on three hosts."""

import json
from dataclasses import dataclass
from importlib import import_module

import pytest
import storm as storms
from lab import Lab
from stage import Stage, check, epochs_on, held, staged, workers

pytestmark = [
    pytest.mark.xdist_group("hosts"),
    pytest.mark.skipif(
        Lab.why_not() is not None, reason=f"no lab of several hosts here: {Lab.why_not()}"
    ),
]

WEATHER = storms.Weather(0, trials=2, epochs=4)
# By its own settings Ray notices the loss of a host after a minute.
NOTICES_SOON = (
    "RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 "
    "RAY_health_check_failure_threshold=3"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up, and what `fmnist-cluster up` said."""

    stage: Stage
    up_output: str


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head and a worker."""
    with staged(tmp_path_factory.mktemp("lab") / "lab", "worker1") as stage:
        text = stage.file.read_text()
        stage.file.write_text(text.replace("- RAY_enable", f"- {NOTICES_SOON} RAY_enable"))
        up = stage.run("fmnist-cluster", "up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield Cluster(stage, up.stdout)


def test_up_starts_ray_on_every_host(cluster):
    assert "2 of 2 nodes have joined" in cluster.up_output
    addresses = [cluster.stage.lab[name].address for name in ("head", "worker1")]
    assert [line.split()[0] for line in cluster.up_output.splitlines()[-2:]] == addresses


def test_the_job_server_of_the_head_is_reached_by_a_tunnel_that_is_closed_again(cluster):
    jobs = cluster.stage.run("fmnist-cluster", "jobs", "--json")
    assert jobs.returncode == 0, jobs.stderr
    assert json.loads(jobs.stdout) == []
    tunnels = cluster.stage.client.run(["pgrep", "--full", ":8265"], timeout_seconds=20)
    assert tunnels.stdout == ""


@pytest.fixture(scope="module")
def survived(cluster):
    """The search in which the worker crashed after two epochs of its trial."""
    stage = cluster.stage
    stage.allow(0, "head")  # so that each host has a trial
    stage.allow(2, "worker1")
    driver = stage.begin("run", *held(WEATHER), "--out", "runs/a")
    stage.wait("runs/a", driver, lambda events: epochs_on(events, "worker1") == 2)
    stage.lab["worker1"].crash()
    stage.allow(None, "head")
    import_module("stormy")  # for the check; takes seconds, in which Ray notices the loss
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    return check(stage, "runs/a", WEATHER)


@pytest.mark.long
def test_a_search_outlives_a_host_that_crashes(survived):
    assert len(survived.history.trials) == WEATHER.trials
    assert {name.partition(":")[0] for name in workers(survived.events)} == {"head", "worker1"}


@pytest.mark.long
def test_the_loss_of_a_host_is_not_blamed_on_its_trial(survived):
    [lost] = [event for event in survived.events if event["event"] == "worker_lost"]
    assert lost["by_trial"] is False
    assert "the node of its process (worker1:" in lost["error"]


@pytest.mark.long
def test_a_trial_of_a_host_that_crashes_repeats_at_most_its_last_epoch(survived):
    # What the host had trained has come home, though no folder is shared.
    assert survived.epochs_repeated <= 1
