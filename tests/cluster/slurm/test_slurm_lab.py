"""A search in a job of Slurm: on one node with stand-ins for Slurm, on several with Slurm itself."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import slurm_lab
import slurm_stand_ins
import storm as storms
from slurm_lab import NODES
from stage import ROOT, TESTS, check_events, epochs, epochs_on

from cluster.errors import ClusterError
from cluster.nodes import Node
from cluster.slurm.job import Job, Signals
from cluster.slurm.node import Head, start_options
from cluster.slurm.ray_start import JobRay, first_free_port, join_seconds, own_address
from results.record.journal import parse

SCRIPT = ROOT / "cluster" / "slurm.sh"
PATIENCE_SECONDS = 240
IN_A_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1", "SLURMD_NODENAME": "node1"}
HEAD = Head("node1", "10.0.0.1", 20021)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Epochs that do not wait to be hit, in this process."""
    import stormy

    monkeypatch.setattr(stormy, "EPOCH_SECONDS", 0.0)


@pytest.fixture
def signals():
    """Signals of a job, whose handlers are then again what they were."""
    numbers = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield Signals(*numbers, sent=signal.SIGINT)
    for number, handler in before.items():
        signal.signal(number, handler)


class Machine:
    """A machine that is the one node of its jobs.

    Args:
        folder: Where sbatch is called; holds an environment, as after `make setup`.
    """

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        slurm_stand_ins.install(self.bin)
        (folder / ".venv").symlink_to(sys.prefix)

    def begin(self, number, *arguments, **variables):
        """Begin the batch script, of which Slurm runs a copy of its own."""
        spooled = self.folder / f"job{number}" / "slurm_script"
        spooled.parent.mkdir(exist_ok=True)
        shutil.copy(SCRIPT, spooled)
        inherited = {name: value for name, value in os.environ.items() if "RAY_" not in name}
        of_the_job = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{TESTS}",
            "SLURM_JOB_ID": str(number),
            "SLURM_SUBMIT_DIR": str(self.folder),
            "SLURM_CPUS_ON_NODE": "1",
            "SLURM_MEM_PER_CPU": "1000",
        }
        return subprocess.Popen(
            ["bash", spooled, *arguments],
            cwd=self.folder, env=inherited | IN_A_JOB | of_the_job | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def events(self, run):
        return events_in(self.folder / run)

    def wait(self, run, job, met):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not met(self.events(run)):
            if job.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it did not come to that: {job.communicate()[0]}")
            time.sleep(0.2)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "a project")


def events_in(run):
    path = run / "journal.jsonl"
    return parse(path.read_bytes(), path).events if path.exists() else ()


def check(run, weather):
    """Hold what is promised, of a run that may have been interrupted and gone on."""
    events = events_in(run)
    lasting = tuple(event for event in events if event.get("state") != "interrupted")
    return check_events(run, lasting, weather)


def rays():
    """Return the folders of the Rays of jobs that run on this machine."""
    found = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            found |= set(re.findall(r"/tmp/ray-\d+", " ".join(process.info["cmdline"] or ())))
    return found


def test_two_jobs_on_one_node_then_a_time_limit_and_a_job_that_slurm_begins_again(machine):
    # They name folders in /tmp, where tests of others run too.
    first, second = random.SystemRandom().sample(range(10**7, 10**8), 2)
    folders = [Path(f"/tmp/ray-{job}") for job in (first, second)]
    weather = storms.Weather(0, trials=20, epochs=8)
    asked = ["run", *storms.asked(weather), "--out", "runs/a"]
    job = machine.begin(first, *asked, SLURM_CPUS_ON_NODE="2")
    machine.wait("runs/a", job, lambda events: epochs(events) >= 2)

    # A second one of this user, on the same machine, that begins and ends meanwhile.
    small = storms.Weather(0, trials=2, epochs=2, seed=1)
    other = machine.begin(second, "run", *storms.asked(small))
    machine.wait(f"runs/slurm-{second}", other, lambda events: epochs(events) >= 1)
    assert rays() >= set(map(str, folders))
    output, _ = other.communicate(timeout=PATIENCE_SECONDS)
    assert other.returncode == 0, output
    check(machine.folder / f"runs/slurm-{second}", small)
    assert str(folders[1]) not in rays()
    assert str(folders[0]) in rays()
    seen = epochs(machine.events("runs/a"))
    machine.wait("runs/a", job, lambda events: epochs(events) >= seen + 2)

    job.send_signal(signal.SIGUSR1)  # as slurm.sh has Slurm do before the time limit
    output, _ = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 130, output
    assert "1 of 1 nodes have joined" in output
    assert "trials at once: 2," in output
    assert ends(machine.events("runs/a")) == ["interrupted"]
    *_, near, how = output.splitlines()
    assert near == "the time limit is near"
    assert how.startswith("to continue: sbatch cluster/slurm.sh run --hypermodel stormy:Steady")
    assert how.endswith("--out runs/a --or-resume")

    # The same command, as Slurm runs it again.
    again = machine.begin(first, *asked, SLURM_CPUS_ON_NODE="2", SLURM_RESTART_COUNT="1")
    output, _ = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, output
    assert "resumed; ended trials: " in output
    check(machine.folder / "runs/a", weather)
    assert not rays() & set(map(str, folders))
    assert not any(folder.exists() for folder in folders)


def ends(events):
    """Return why a search has ended, each time that it has."""
    return [event["reason"] for event in events if event["event"] == "search_ended"]


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {}, "error: no command: expected one of fmnist-search, such as: sbatch cluster/"),
        (["run"], {"SLURM_SUBMIT_DIR": "/nowhere"}, "error: /nowhere: no .venv/bin/fmnist-search "),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(machine, arguments, variables, said):
    job = machine.begin(7, *arguments, **variables)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert output.startswith(said)
    assert len(output.splitlines()) == 1


def test_what_slurm_did_not_start_is_told_how_it_is_started():
    with pytest.raises(ClusterError, match=r"SLURM_JOB_ID is not set: .* sbatch cluster/slurm.sh"):
        Job.of({"SLURM_JOB_NODELIST": "node1", "SLURMD_NODENAME": "node1"})


@pytest.mark.parametrize(
    ("arguments", "restarts", "expected"),
    [
        ("run --out a", 0, "run --out a"),
        ("run --trials 5", 0, "run --trials 5 --out runs/slurm-7"),
        ("run --out=a", 2, "run --out=a --or-resume"),
        ("run --outer a", 0, "run --outer a --out runs/slurm-7"),
        ("run --trials 5", 1, "run --trials 5 --out runs/slurm-7 --or-resume"),
        ("run --out a --or-resume", 1, "run --out a --or-resume"),
        ("resume runs/a", 1, "resume runs/a"),
    ],
)
def test_a_job_that_is_begun_again_goes_on_with_its_run(arguments, restarts, expected):
    job = Job(number=7, head="node1", others=(), restarts=restarts)
    assert job.arguments(arguments.split()) == expected.split()


@pytest.mark.parametrize(
    ("variables", "bound_cpus", "expected"),
    [
        ({"SLURM_CPUS_ON_NODE": "8"}, 64, {"--num-cpus=8", "--num-gpus=0"}),
        # Where a site binds tasks all the same, no more trials begin than have a CPU.
        ({"SLURM_CPUS_ON_NODE": "8"}, 2, {"--num-cpus=2"}),
        ({}, 3, {"--num-cpus=3"}),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_GPUS_ON_NODE": "4"}, 8, {"--num-gpus=4"}),
        (
            {"SLURM_MEM_PER_NODE": "1000"},
            4,
            {f"--memory={700 * 2**20}", f"--object-store-memory={300 * 2**20}"},
        ),
        (
            {"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_CPU": "1000"},
            4,
            {f"--memory={2800 * 2**20}", f"--object-store-memory={1200 * 2**20}"},
        ),
    ],
)
def test_ray_has_of_a_node_what_slurm_gives_the_job_there(variables, bound_cpus, expected):
    options = start_options({"SLURMD_NODENAME": "node2", **variables}, bound_cpus, HEAD)
    assert expected <= set(options)
    assert "--address=10.0.0.1:20021" in options
    assert "--head" not in options


def test_where_slurm_gives_all_memory_ray_decides_itself():
    options = start_options({"SLURMD_NODENAME": "node1", "SLURM_MEM_PER_NODE": "0"}, 4, HEAD)
    assert not [option for option in options if "memory" in option]
    assert {"--head", "--node-ip-address=10.0.0.1", "--port=20021"} <= set(options)


def test_ports_that_another_job_has_are_left_to_it():
    first = first_free_port(7)
    with socket.create_server(("", first + 2)):
        assert first_free_port(7) == first + 3


def test_the_head_of_one_node_is_on_loopback():
    assert own_address(Job(7, "node1", (), 0)) == "127.0.0.1"


def test_an_unreachable_other_node_is_named():
    with pytest.raises(ClusterError, match=r"node1: no route to no\.such\.host"):
        own_address(Job(7, "node1", ("no.such.host",), 0))


def test_nodes_that_have_not_joined_are_named():
    job = Job(7, "node1", ("127.0.0.2", "127.0.0.3"), 0)
    ray = JobRay(job, "10.0.0.1", 20021, environment={}, step=None)
    joined = [Node(address, 1, 0, 1.0) for address in ("10.0.0.1", "127.0.0.3")]
    assert ray.missing(joined) == ["127.0.0.2"]
    assert ray.missing([]) == ["node1", "127.0.0.2", "127.0.0.3"]


def test_how_long_nodes_are_waited_for_is_a_number():
    assert join_seconds({}) == 300
    assert join_seconds({"FMNIST_SEARCH_JOIN_SECONDS": "20"}) == 20
    with pytest.raises(ClusterError, match="FMNIST_SEARCH_JOIN_SECONDS=soon: expected a number"):
        join_seconds({"FMNIST_SEARCH_JOIN_SECONDS": "soon"})


def test_a_ray_that_does_not_begin_is_told_with_its_reason(machine):
    (machine.bin / "srun").write_text("#!/bin/sh\necho srun: error: no step for you; exit 1\n")
    job = machine.begin(7, "run", "--space", "wide")
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert output.splitlines() == [
        "srun: error: no step for you",
        "error: Ray did not start on node1: see the lines above.",
    ]


def test_the_status_of_the_search_is_passed_on(signals):
    assert signals.run([sys.executable, "-c", "raise SystemExit(7)"], os.environ) == 7
    killed = "import os; os.kill(os.getpid(), 9)"
    assert signals.run([sys.executable, "-c", killed], os.environ) == 128 + 9


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_search_as_ctrl_c(signals, number, tmp_path):
    ready = tmp_path / "ready"
    waits = (
        "import pathlib, sys, time\n"
        "try:\n"
        f"    pathlib.Path({str(ready)!r}).touch(); time.sleep(600)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )

    def send():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()
    assert signals.run([sys.executable, "-c", waits], os.environ) == 130
    assert signals.received == [number]
    assert signals.run([sys.executable, "-c", "raise SystemExit(7)"], os.environ) == 130


def test_the_batch_script_passes_shellcheck():
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


no_slurm = pytest.mark.skipif(
    slurm_lab.why_not() is not None, reason=f"no Slurm on hosts here: {slurm_lab.why_not()}"
)


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


def left_on(slurm, *hosts):
    """Return what is left of Ray on hosts that are up."""
    found = "ls -d /tmp/ray*; grep -ls raylet /proc/[0-9]*/comm; true"
    done = [slurm.lab[host].run(["sh", "-c", found], timeout_seconds=20) for host in hosts]
    return "".join(one.stdout for one in done)


# What a process of the job on the first node sees of its Ray.
SEEN = """
pid=$(pgrep -f 'fmnist-search run .*/shared/wide' | head -1)
export $(tr '\\0' '\\n' </proc/$pid/environ | grep '^RAY_A')
echo "$RAY_AUTH_TOKEN"
.venv/bin/fmnist-cluster nodes --address "$RAY_ADDRESS" --json
"""


@no_slurm
@pytest.mark.long
def test_a_search_uses_all_nodes_of_its_job_beside_another_job_of_the_same_user(hosts):
    weather = storms.Weather(0, trials=45, epochs=8)
    job = hosts.sbatch(["--nodes=3"], "run", *storms.asked(weather), "--out", "/shared/wide")
    hosts.wait(job, lambda: epochs_of(hosts, "wide") >= 3)
    small = storms.Weather(0, trials=3, epochs=2, seed=1)
    other = hosts.sbatch(["--nodes=3"], "run", *storms.asked(small), "--out", "/shared/beside")

    token, listed = hosts.run("node1", "bash", "-c", SEEN).split("\n", 1)
    assert [(node["cpus"], node["gpus"]) for node in json.loads(listed)] == [(1, 0), (1, 0), (1, 1)]
    for host in NODES:
        assert token not in hosts.run(host, "ps", "axww")
        held = hosts.lab[host].run(["grep", "-rlF", token, "/tmp", "/shared"], timeout_seconds=60)
        assert held.stdout == ""

    assert hosts.ended(other) == 0, hosts.said(other)
    assert hosts.state(job) == "RUNNING"
    check(run_of(hosts, "beside"), small)
    assert hosts.ended(job) == 0, hosts.said(job)
    assert "3 of 3 nodes have joined" in hosts.said(job)
    assert "trials at once: 3," in hosts.said(job)
    found = check(run_of(hosts, "wide"), weather)
    assert all(epochs_on(found.events, host) > 0 for host in NODES)
    assert not [event for event in found.events if event["event"] == "worker_lost"]
    assert left_on(hosts, *NODES) == ""
    print("shown: a job over three nodes, beside another of the same user on each")


@no_slurm
@pytest.mark.long
def test_a_node_on_which_ray_does_not_begin_is_named_and_the_search_begins_without_it(hosts):
    weather = storms.Weather(0, trials=4, epochs=2, seed=5)
    ray = ".venv/bin/ray"
    hosts.run(
        "node3",
        "sh",
        "-c",
        f"mv {ray} ray && printf '#!/bin/sh\necho broken; exit 3' >{ray} && chmod +x {ray}",
    )
    asked = ["run", *storms.asked(weather), "--out", "/shared/without"]
    job = hosts.sbatch(["--nodes=3"], *asked, FMNIST_SEARCH_JOIN_SECONDS="40")
    status = hosts.ended(job)
    hosts.run("node3", "mv", "ray", ray)
    said = hosts.said(job)
    assert status == 0, said
    assert "node3: Ray has ended with status 3; its last lines:\nnode3: broken\n" in said
    assert "warning: node3: has not joined in 40 s. The search starts without it." in said
    check(run_of(hosts, "without"), weather)
    assert left_on(hosts, *NODES) == ""


# Who listens where, of Ray and of the search.
LISTENING = """
import psutil
for one in psutil.net_connections("inet"):
    if one.status == psutil.CONN_LISTEN:
        print(psutil.Process(one.pid).name(), one.laddr.ip)
"""


@no_slurm
@pytest.mark.long
def test_a_job_on_one_node_is_not_open_to_the_network(hosts):
    weather = storms.Weather(0, trials=8, epochs=8, seed=4)
    asked = ["run", *storms.asked(weather), "--out", "/shared/one"]
    job = hosts.sbatch(["--nodes=1", "--nodelist=node1"], *asked)
    hosts.wait(job, lambda: epochs_of(hosts, "one") >= 2)
    listening = hosts.run("node1", ".venv/bin/python", "-c", LISTENING)
    of_ray = [
        line.split() for line in listening.splitlines() if not re.match("s(lurm|run|shd)", line)
    ]
    assert len(of_ray) > 3
    assert {address.removeprefix("::ffff:") for _, address in of_ray} == {"127.0.0.1"}
    assert hosts.ended(job) == 0, hosts.said(job)
    check(run_of(hosts, "one"), weather)


@no_slurm
@pytest.mark.long
def test_the_status_of_a_search_that_fails_is_that_of_its_job(hosts):
    job = hosts.sbatch(["--nodes=1"], "run", "--space", "nowhere", "--out", "/shared/wrong")
    assert hosts.ended(job) == 2, hosts.said(job)
    assert "error: --space 'nowhere': expected one of" in hosts.said(job)
    assert left_on(hosts, *NODES) == ""


@no_slurm
@pytest.mark.long
def test_the_time_limit_ends_the_search_cleanly_and_the_job_goes_on_by_itself(hosts):
    weather = storms.Weather(0, trials=80, epochs=8, seed=2)
    limits = ["--nodes=3", "--time=3", "--signal=B:USR1@60"]
    asked = ["run", *storms.asked(weather), "--out", "/shared/limit"]
    job = hosts.sbatch(limits, *asked, FMNIST_SEARCH_GO_ON="1")
    hosts.wait(job, lambda: "is requeued and will continue" in hosts.said(job))
    assert ends(events_in(run_of(hosts, "limit"))) == ["interrupted"]
    assert left_on(hosts, *NODES) == ""
    # On a busy machine it takes more than once again.
    assert hosts.ended(job, again=True) == 0, hosts.said(job)
    *before, last = ends(events_in(run_of(hosts, "limit")))
    assert set(before) == {"interrupted"}
    assert last == "trials done"
    check(run_of(hosts, "limit"), weather)
    assert left_on(hosts, *NODES) == ""
    print("survived: the time limit")


@no_slurm
@pytest.mark.long
def test_a_node_that_fails_ends_no_job_and_where_it_is_the_first_slurm_begins_it_again(hosts):
    weather = storms.Weather(0, trials=60, epochs=8, seed=3)
    asked = ["run", *storms.asked(weather), "--out", "/shared/failing"]
    job = hosts.sbatch(["--nodes=2", "--nodelist=node1,node2"], *asked)
    hosts.wait(job, lambda: epochs_of(hosts, "failing", "node2") >= 3)
    hosts.lab["node2"].crash()
    seen = epochs_of(hosts, "failing")
    hosts.wait(
        job, lambda: any("worker_lost" in e["event"] for e in events_in(run_of(hosts, "failing")))
    )
    hosts.wait(job, lambda: epochs_of(hosts, "failing") > seen + 10)
    assert hosts.state(job, "Restarts") == "0"

    # Two nodes are asked for, and must be there when it is begun again.
    hosts.lab["node2"].boot()
    hosts.start_node("node2")
    hosts.lab["node1"].crash()
    hosts.wait(job, lambda: hosts.state(job, "Restarts") == "1")
    hosts.lab["node1"].boot()
    hosts.start_node("node1")
    assert hosts.ended(job, again=True) == 0, hosts.said(job)
    assert "is dead: this process takes over" in hosts.said(job)
    check(run_of(hosts, "failing"), weather)
    assert left_on(hosts, *NODES) == ""
    print("survived: a node's crash, and that of the first node")
