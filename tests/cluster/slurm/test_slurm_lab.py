"""Searches in jobs of Slurm itself, on a login host and three nodes of a lab."""

import json
import re
from dataclasses import dataclass

import pytest
import slurm_lab
import storm as storms
from epoch_limit import allow
from slurm_lab import NODES
from stage import check_lasting, ends, epochs, epochs_on, events_in, held

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        slurm_lab.why_not() is not None, reason=f"no Slurm on hosts here: {slurm_lab.why_not()}"
    ),
]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A Slurm that runs, on a login host and three nodes."""
    with slurm_lab.slurm_on_hosts(tmp_path_factory.mktemp("slurm") / "lab") as slurm:
        yield slurm


def run_of(slurm, name):
    return slurm.lab.shared / name


def epochs_of(slurm, name, host=None):
    events = events_in(run_of(slurm, name))
    return epochs(events) if host is None else epochs_on(events, host)


def allow_on(slurm, last_epoch, *hosts):
    """Set the last epoch that a trial may begin on hosts; None: any."""
    for host in hosts:
        allow(slurm.lab[host].home, last_epoch)


def left_on(slurm, *hosts):
    """Return what is left of Ray on hosts that are up."""
    command = "ls -d /tmp/ray*; grep -ls raylet /proc/[0-9]*/comm; true"
    done = [slurm.lab[host].run(["sh", "-c", command], timeout_seconds=20) for host in hosts]
    return "".join(one.stdout for one in done)


# --- Two jobs on the same nodes -----------------------------------------------------------------

# What a process of the job on the first node sees of its Ray.
SEEN = """
pid=$(pgrep -f 'fmnist-search run .*/shared/wide' | head -1)
export $(tr '\\0' '\\n' </proc/$pid/environ | grep '^RAY_A')
echo "$RAY_AUTH_TOKEN"
.venv/bin/fmnist-cluster nodes --address "$RAY_ADDRESS" --json
"""
WIDE = storms.Weather(0, trials=9, epochs=4)
BESIDE = storms.Weather(0, trials=3, epochs=2, seed=1)


@dataclass(frozen=True)
class TwoJobs:
    """Two jobs of one user on three nodes, of which the small one ended while the other ran.

    Attributes:
        wide, beside: The numbers of the jobs.
        nodes: CPUs and GPUs of the nodes of the Ray of ``wide``, while it ran.
        shown_token: What lists of processes and files of all nodes said with the token of that Ray.
        state: The state of ``wide`` when ``beside`` had ended.
        statuses: The exit statuses of both.
    """

    wide: int
    beside: int
    nodes: list[tuple[float, float]]
    shown_token: str
    state: str
    statuses: tuple[int, int]


@pytest.fixture(scope="module")
def two_jobs(hosts):
    allow_on(hosts, 2, *NODES)  # so that each has a trial, and is there when the other job ends
    wide = hosts.sbatch(["--nodes=3"], "run", *held(WIDE), "--out", "/shared/wide")
    hosts.wait(wide, lambda: epochs_of(hosts, "wide") == 2 * len(NODES))
    beside = hosts.sbatch(["--nodes=3"], "run", *storms.asked(BESIDE), "--out", "/shared/beside")
    token, listed = hosts.run("node1", "bash", "-c", SEEN).split("\n", 1)
    shown = ""
    for host in NODES:
        processes = hosts.run(host, "ps", "axww").splitlines()
        shown += "".join(line for line in processes if token in line)
        files = hosts.lab[host].run(["grep", "-rlF", token, "/tmp", "/shared"], timeout_seconds=60)
        shown += files.stdout
    beside_status = hosts.ended(beside)
    state = hosts.state(wide)
    allow_on(hosts, None, *NODES)
    return TwoJobs(
        wide, beside, [(node["cpus"], node["gpus"]) for node in json.loads(listed)], shown, state,
        (hosts.ended(wide), beside_status),
    )  # fmt: skip


def test_a_search_has_the_cpus_and_gpus_of_its_job_on_all_nodes(hosts, two_jobs):
    assert two_jobs.nodes == [(1, 0), (1, 0), (1, 1)]
    assert "3 of 3 nodes have joined" in hosts.said(two_jobs.wide)
    assert "trials at once: 3," in hosts.said(two_jobs.wide)


def test_the_token_of_a_job_is_in_no_list_of_processes_and_no_file(two_jobs):
    assert two_jobs.shown_token == ""


def test_a_job_ends_beside_another_of_the_same_user_which_runs_on(hosts, two_jobs):
    assert two_jobs.statuses == (0, 0), hosts.said(two_jobs.wide) + hosts.said(two_jobs.beside)
    assert two_jobs.state == "RUNNING"
    check_lasting(run_of(hosts, "beside"), BESIDE)


def test_a_search_trains_on_all_nodes_and_loses_no_worker(hosts, two_jobs):
    survived = check_lasting(run_of(hosts, "wide"), WIDE)
    assert all(epochs_on(survived.events, host) > 0 for host in NODES)
    assert not [event for event in survived.events if event["event"] == "worker_lost"]


def test_two_jobs_leave_nothing_on_their_nodes(hosts, two_jobs):
    assert left_on(hosts, *NODES) == ""
    print("shown: a job over three nodes, beside another of the same user on each")


# --- One node -----------------------------------------------------------------------------------

# Who listens where, of Ray and of the search.
LISTENING = """
import psutil
for one in psutil.net_connections("inet"):
    if one.status == psutil.CONN_LISTEN:
        print(psutil.Process(one.pid).name(), one.laddr.ip)
"""


def test_a_job_on_one_node_is_not_open_to_the_network(hosts):
    weather = storms.Weather(0, trials=2, epochs=4, seed=4)
    allow_on(hosts, 2, "node1")
    words = ["run", *held(weather), "--out", "/shared/one"]
    job = hosts.sbatch(["--nodes=1", "--nodelist=node1"], *words)
    hosts.wait(job, lambda: epochs_of(hosts, "one") == 2)
    listening = hosts.run("node1", ".venv/bin/python", "-c", LISTENING)
    allow_on(hosts, None, "node1")
    of_ray = [
        line.split() for line in listening.splitlines() if not re.match("s(lurm|run|shd)", line)
    ]
    assert len(of_ray) > 3
    assert {address.removeprefix("::ffff:") for _, address in of_ray} == {"127.0.0.1"}
    assert hosts.ended(job) == 0, hosts.said(job)
    check_lasting(run_of(hosts, "one"), weather)


def test_the_status_of_a_search_that_fails_is_that_of_its_job(hosts):
    job = hosts.sbatch(["--nodes=1"], "run", "--space", "nowhere", "--out", "/shared/wrong")
    assert hosts.ended(job) == 2, hosts.said(job)
    assert "error: --space 'nowhere': expected one of" in hosts.said(job)
    assert left_on(hosts, *NODES) == ""


# --- What goes wrong ----------------------------------------------------------------------------


def test_a_search_starts_without_a_node_whose_ray_does_not_start_and_names_it(hosts):
    weather = storms.Weather(0, trials=4, epochs=2, seed=5)
    ray = ".venv/bin/ray"
    broken = f"mv {ray} ray && printf '#!/bin/sh\necho broken; exit 3' >{ray} && chmod +x {ray}"
    hosts.run("node3", "sh", "-c", broken)
    words = ["run", *storms.asked(weather), "--out", "/shared/without"]
    job = hosts.sbatch(["--nodes=3"], *words, FMNIST_SEARCH_JOIN_SECONDS="40")
    status = hosts.ended(job)
    hosts.run("node3", "mv", "ray", ray)
    said = hosts.said(job)
    assert status == 0, said
    assert "node3: Ray has ended with status 3; its last lines:\nnode3: broken\n" in said
    assert "warning: node3: has not joined in 40 s. The search starts without it." in said
    check_lasting(run_of(hosts, "without"), weather)
    assert left_on(hosts, *NODES) == ""


@dataclass(frozen=True)
class LimitedJob:
    """A job at its time limit.

    Attributes:
        ends: Why its search had ended when Slurm had requeued it.
        left: What it had left on its nodes then.
    """

    number: int
    ends: list[str]
    left: str


LIMITED = storms.Weather(0, trials=9, epochs=4, seed=2)


@pytest.fixture(scope="module")
def limited_job(hosts):
    allow_on(hosts, 2, *NODES)
    limits = ["--nodes=3", "--time=3", "--signal=B:USR1@60"]
    words = ["run", *held(LIMITED), "--out", "/shared/limit"]
    job = hosts.sbatch(limits, *words, FMNIST_SEARCH_GO_ON="1")
    hosts.wait(job, lambda: "is requeued and will continue" in hosts.said(job))
    allow_on(hosts, None, *NODES)
    return LimitedJob(job, ends(events_in(run_of(hosts, "limit"))), left_on(hosts, *NODES))


def test_the_time_limit_ends_the_search_cleanly(limited_job):
    assert limited_job.ends == ["interrupted"]
    assert limited_job.left == ""


def test_a_requeued_job_resumes_its_search_until_it_is_done(hosts, limited_job):
    # On a busy machine it takes more than one restart.
    assert hosts.ended(limited_job.number, again=True) == 0, hosts.said(limited_job.number)
    *before, last = ends(events_in(run_of(hosts, "limit")))
    assert set(before) == {"interrupted"}
    assert last == "trials done"
    check_lasting(run_of(hosts, "limit"), LIMITED)
    assert left_on(hosts, *NODES) == ""
    print("survived: the time limit")


FAILING = storms.Weather(0, trials=6, epochs=4, seed=3)


@pytest.fixture(scope="module")
def failing_job(hosts):
    """A job on two nodes, of which the second one has crashed and come back."""
    allow_on(hosts, 0, "node1")
    allow_on(hosts, 2, "node2")
    words = ["run", *held(FAILING), "--out", "/shared/failing"]
    job = hosts.sbatch(["--nodes=2", "--nodelist=node1,node2"], *words)
    hosts.wait(job, lambda: epochs_of(hosts, "failing", "node2") == 2)
    hosts.lab["node2"].crash()
    allow_on(hosts, 3, "node1")
    hosts.wait(
        job, lambda: any("worker_lost" in e["event"] for e in events_in(run_of(hosts, "failing")))
    )
    hosts.wait(job, lambda: epochs_of(hosts, "failing", "node1") >= 3)
    restarts = hosts.state(job, "Restarts")
    # Two nodes are asked for, and must be there when Slurm restarts the job.
    hosts.lab["node2"].boot()
    hosts.start_node("node2")
    return job, restarts


def test_a_node_that_crashes_ends_no_job(failing_job):
    _, restarts = failing_job
    assert restarts == "0"


def test_a_job_whose_first_node_crashes_is_restarted_and_resumes_its_search(hosts, failing_job):
    job, _ = failing_job
    hosts.lab["node1"].crash()
    allow_on(hosts, None, "node1", "node2")
    hosts.wait(job, lambda: hosts.state(job, "Restarts") == "1")
    hosts.lab["node1"].boot()
    hosts.start_node("node1")
    assert hosts.ended(job, again=True) == 0, hosts.said(job)
    assert "is dead: this process takes over" in hosts.said(job)
    check_lasting(run_of(hosts, "failing"), FAILING)
    assert left_on(hosts, *NODES) == ""
    print("survived: a node's crash, and that of the first node")
