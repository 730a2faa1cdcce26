"""Searches on three hosts of a lab, while hosts crash, are cut off and join late."""

import json
import re
import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import pytest
import storm as storms
from lab import Lab
from stage import PROJECT, ROOT, SUBMIT, check, ended, epochs, epochs_on, held, on, staged, workers

from fmnist_model.data import locate

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        Lab.why_not() is not None, reason=f"no lab of several hosts here: {Lab.why_not()}"
    ),
]

HOSTS = ("head", "worker1", "worker2")
FASHION_MNIST = ".cache/fmnist-search/fashion-mnist"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts of a cluster that is up, and the client."""
    with staged(tmp_path_factory.mktemp("lab") / "lab", "worker1", "worker2", shared=True) as stage:
        done = stage.run("fmnist-cluster", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 of 3 nodes have joined" in done.stdout
        yield stage


def wait_for_nodes(hosts, count):
    deadline = time.monotonic() + 120
    while len(hosts.nodes()) < count:
        assert time.monotonic() < deadline, hosts.nodes()
        time.sleep(2)


def hosts_of(survived):
    """Return the names of the hosts that have trained."""
    return {name.partition(":")[0] for name in workers(survived.events)}


# --- Before a search ----------------------------------------------------------------------------


def test_every_unfit_machine_is_named_at_once_before_anything_is_started(tmp_path):
    with staged(tmp_path / "lab", "worker1", "worker2") as stage:
        lab = stage.lab
        stage.describe("head", "worker1", "worker2", "10.77.0.99")
        # A login that says something is no reason to be unfit.
        (lab["worker2"].home / ".bashrc").write_text("echo; echo welcome\n")
        (lab["worker1"].home / ".ssh" / "authorized_keys").unlink()
        full = lab["worker2"].run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp"], timeout_seconds=20
        )
        assert full.returncode == 0, full.stderr
        take_ports(lab["head"])
        done = stage.run("fmnist-cluster", "up")
        assert done.returncode == 2
        beginnings = [
            "error: 10.77.0.11: port 6379 is taken by a program that is not your Ray",
            "error: 10.77.0.11: port 8265 is taken by a program that is not",
            "error: 10.77.0.12: refuses root with the key",
            "error: 10.77.0.13: 1 MiB free in /tmp: expected 500 MiB or more",
            "error: 10.77.0.99: does not answer by ssh",
        ]
        lines = done.stderr.splitlines()
        assert [
            line[: len(beginning)] for line, beginning in zip(lines, beginnings, strict=True)
        ] == beginnings
        assert ended(lab["head"])


def take_ports(head):
    """Let a program that is not Ray listen on the ports of Ray."""
    listens = (
        "import socket, time; "
        "s = [socket.create_server(('', port)) for port in (8265, 6379)]; time.sleep(600)"
    )
    program = head.start([f"{head.venv}/bin/python", "-c", listens])
    deadline = time.monotonic() + 30
    connect = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6379"]
    while head.run(connect, timeout_seconds=20).returncode:
        assert time.monotonic() < deadline
        assert program.poll() is None


def test_a_node_with_another_version_of_a_package_is_named_before_the_search(hosts):
    weather = storms.Weather(0, trials=2, epochs=2)
    here = version("optuna")
    edit = "sed -i 's/^Version: {}$/Version: {}/' ~/fmnist-search/.venv/lib/python3*/site-packages/optuna-*/METADATA"
    hosts.lab["worker1"].run(["bash", "-c", edit.format(here, "4.0.0")], timeout_seconds=20)
    try:
        done = hosts.submit("run", *storms.asked(weather), "--out", "runs/versions")
    finally:
        hosts.lab["worker1"].run(["bash", "-c", edit.format("4.0.0", here)], timeout_seconds=20)
    assert done.returncode == 1
    [line] = [line.strip() for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert line == (
        f"error: worker1: optuna is 4.0.0, expected {here} as on this machine. Install it there."
    )
    assert not hosts.folder("runs/versions").exists()


def test_doctor_names_the_node_whose_data_file_is_damaged(hosts):
    for host in HOSTS:
        shutil.copytree(locate()[0], hosts.lab[host].home / FASHION_MNIST)
    damaged = next((hosts.lab["worker2"].home / ".cache").rglob("train-images*"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done = hosts.submit("doctor", "--space", "published")
    assert done.returncode == 0, done.stdout + done.stderr
    [warning] = [line for line in done.stdout.splitlines() if "worker" in line and "copy" in line]
    assert warning.startswith("warning  worker2: its own copy of the data cannot be used")
    assert "train-images" in warning
    assert "worker1: versions, data and shared memory as on this machine" in done.stdout


# --- Hosts that are lost ------------------------------------------------------------------------


def test_a_host_that_crashes_and_comes_back_is_used_again(hosts):
    weather = storms.Weather(0, trials=6, epochs=4)
    wait_for_nodes(hosts, 3)
    hosts.allow(1, "head", "worker1")  # their trials are there until the other host is back
    hosts.allow(2, "worker2")
    driver = hosts.begin("run", *held(weather), "--out", "runs/crash")
    hosts.wait("runs/crash", driver, lambda events: epochs_on(events, "worker2") == 2)
    hosts.lab["worker2"].crash()
    hosts.allow(None, "worker2")
    time.sleep(5)
    hosts.lab["worker2"].boot()
    hosts.wait("runs/crash", driver, lambda events: epochs_on(events, "worker2") > 2)
    hosts.allow(None, *HOSTS)
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    survived = check(hosts, "runs/crash", weather)
    assert hosts_of(survived) == set(HOSTS)
    lost = next(event for event in survived.events if event["event"] == "worker_lost")
    assert "the node of its process (worker2:" in lost["error"]
    place = survived.events.index(lost)
    seen = [event["at_seconds"] for event in survived.events[:place] if on(event, "worker2")]
    print(f"noticed {lost['at_seconds'] - seen[-1]:.0f} s after the last epoch from that host")
    print("survived: a host's crash; used: a host that joined late")


def test_a_host_that_is_cut_off_the_network_and_comes_back_is_used_again(hosts):
    weather = storms.Weather(0, trials=6, epochs=4, seed=1)
    wait_for_nodes(hosts, 3)
    hosts.allow(1, "head", "worker2")
    hosts.allow(2, "worker1")
    driver = hosts.begin("run", *held(weather), "--out", "runs/cut")
    hosts.wait("runs/cut", driver, lambda events: epochs_on(events, "worker1") == 2)
    hosts.lab["worker1"].cut_off()
    hosts.wait("runs/cut", driver, lambda events: losses(events))
    hosts.lab["worker1"].reconnect()
    hosts.allow(None, "worker1")
    hosts.wait("runs/cut", driver, lambda events: epochs_on(events, "worker1") > 2)
    hosts.allow(None, *HOSTS)
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    survived = check(hosts, "runs/cut", weather)
    lost = losses(survived.events)
    assert all("the node of its process (worker1:" in event["error"] for event in lost)
    place = survived.events.index(lost[0])
    assert epochs_on(survived.events[place:], "worker1") > 0, "it came back, and was used"
    print("survived: a host cut off the network; used: the same when it was back")


def losses(events):
    """Return the events of workers that were lost."""
    return [event for event in events if event["event"] == "worker_lost"]


def test_nodes_run_the_modules_of_the_head_and_not_older_ones_of_their_own(hosts):
    weather = storms.Weather(0, trials=9, epochs=4, seed=9)
    wait_for_nodes(hosts, 3)
    with replaced(hosts, ("stormy.py", "search/worker/trial.py"), "raise RuntimeError('older')\n"):
        done = hosts.submit("run", *storms.asked(weather), "--out", "runs/older")
    assert done.returncode == 0, done.stdout
    assert "RuntimeError" not in done.stdout
    assert hosts_of(check(hosts, "runs/older", weather)) == set(HOSTS)


@contextmanager
def replaced(hosts, names, text):
    """Replace modules of the project on both workers for a while."""
    paths = [
        hosts.lab[host].home / PROJECT / name for host in ("worker1", "worker2") for name in names
    ]
    kept = [path.read_text() for path in paths]
    for path in paths:
        path.write_text(text)
    try:
        yield
    finally:
        for path, before in zip(paths, kept, strict=True):
            path.write_text(before)


# --- Connections and drivers that are lost ------------------------------------------------------

KILLED = storms.Weather(0, trials=14, epochs=8, seed=2)


@pytest.fixture(scope="module")
def search_without_connection(hosts):
    """The number of epochs of a search when the client of `ray submit` was lost."""
    wait_for_nodes(hosts, 3)
    connection = hosts.begin("run", *storms.asked(KILLED), "--out", "runs/killed")
    hosts.wait("runs/killed", connection, lambda events: epochs(events) >= 4)
    hosts.lose_client(connection)
    return epochs(hosts.events("runs/killed"))


def test_a_search_goes_on_without_its_connection(hosts, search_without_connection):
    deadline = time.monotonic() + 60
    while epochs(hosts.events("runs/killed")) < search_without_connection + 6:
        assert time.monotonic() < deadline, "it has noticed"
        time.sleep(0.2)


def test_a_search_whose_driver_was_killed_is_resumed(hosts, search_without_connection):
    kill = "kill -9 $(pgrep -f 'fmnist-search run' | head -1)"
    assert hosts.lab["head"].run(["bash", "-c", kill], timeout_seconds=20).returncode == 0
    # A client that was switched on again, its /tmp empty, knows of no cluster until then.
    up = hosts.run("fmnist-cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    done = hosts.submit("resume", "runs/killed")
    assert done.returncode == 0, done.stdout
    survived = check(hosts, "runs/killed", KILLED)
    assert [event for event in survived.events if event["event"] == "search_resumed"]
    print("survived: the loss of the connection, SIGKILL of the driver")


@pytest.fixture(scope="module")
def typed_search(hosts):
    """A search in a terminal; yields it with what `fmnist-cluster up` says while it runs."""
    weather = storms.Weather(0, trials=60, epochs=8, seed=4)
    wait_for_nodes(hosts, 3)
    command = shlex.join([*SUBMIT, "run", *storms.asked(weather), "--out", "runs/typed"])
    terminal = hosts.start("script", "--quiet", "--return", "--command", command, "/dev/null")
    hosts.wait("runs/typed", terminal, lambda events: epochs(events) >= 6)
    return terminal, hosts.run("fmnist-cluster", "up")


def test_up_refuses_to_end_a_search_that_runs(typed_search):
    _, up = typed_search
    assert up.returncode == 2
    assert "error: 10.77.0.11: a search runs there (process " in up.stderr


def test_ctrl_c_in_a_terminal_ends_the_search_cleanly(hosts, typed_search):
    terminal, _ = typed_search
    terminal.stdin.write("\x03")
    terminal.stdin.flush()
    output, _ = terminal.communicate(timeout=100)
    assert "search ended (interrupted)" in output
    assert "Traceback" not in output
    last = hosts.events("runs/typed")[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "interrupted")
    print("survived: Ctrl-C")


# --- The token ----------------------------------------------------------------------------------

AGENT_PORT = 52365
# Each agent takes jobs, as does the job server behind it.
JOB_WITHOUT_TOKEN = f"""
import json, urllib.error, urllib.request
job = json.dumps({{"entrypoint": "touch /tmp/taken"}}).encode()
try:
    urllib.request.urlopen("http://10.77.0.11:{AGENT_PORT}/api/job_agent/jobs/", data=job, timeout=20)
except urllib.error.HTTPError as error:
    print(error.code)
"""
LISTENING = """
import psutil
for one in psutil.net_connections("inet"):
    if one.status == psutil.CONN_LISTEN:
        print(one.laddr.ip, one.laddr.port)
"""


@pytest.fixture
def token(hosts):
    return (hosts.client.home / ".ray" / "auth_token").read_text()


def nodes_by(hosts, setting):
    """List the nodes on the head with a setting of the environment."""
    command = f"{setting} timeout 30 fmnist-cluster nodes --json"
    return hosts.lab["head"].run(["bash", "-lic", command], timeout_seconds=60)


def test_the_token_of_the_client_is_on_the_head_for_its_user_alone(hosts, token):
    copy = hosts.lab["head"].home / ".ray" / "auth_token"
    assert copy.read_text() == token
    assert copy.stat().st_mode & 0o777 == 0o600


def test_the_token_is_in_no_output_no_log_and_no_run(hosts, token):
    weather = storms.Weather(0, trials=2, epochs=2, seed=5)
    done = hosts.submit("run", *storms.asked(weather), "--out", "runs/secret")
    assert done.returncode == 0, done.stdout
    assert token not in done.stdout + done.stderr
    for host in HOSTS:
        files = hosts.lab[host].run(
            ["grep", "-rlF", token, "/tmp", "/root/fmnist-search"], timeout_seconds=60
        )
        assert files.stdout == ""


@pytest.mark.parametrize("setting", ["RAY_AUTH_TOKEN=0123", "RAY_AUTH_MODE=disabled"])
def test_the_head_lists_no_nodes_to_who_has_no_token(hosts, setting):
    refused = nodes_by(hosts, setting)
    assert refused.returncode != 0
    assert "10.77.0" not in refused.stdout


def test_the_head_lists_the_nodes_to_who_has_the_token(hosts, token):
    listed = nodes_by(hosts, f"RAY_AUTH_TOKEN={token.strip()}")
    assert len(json.loads(listed.stdout)) == 3, listed.stderr


def test_the_client_lists_the_nodes_of_its_cluster_file(hosts):
    listed = hosts.run("fmnist-cluster", "nodes", "cluster/onprem.yaml", "--json")
    assert len(json.loads(listed.stdout)) == 3, listed.stderr


def test_the_job_server_listens_on_loopback_alone(hosts):
    head = hosts.lab["head"]
    command = [f"{head.venv}/bin/python", "-c", LISTENING]
    listening = [line.split() for line in head.run(command, timeout_seconds=30).stdout.splitlines()]
    is_open = {int(port) for address, port in listening if not address.endswith("127.0.0.1")}
    assert {22, 6379, AGENT_PORT} <= is_open, "what the page on clusters says is open"
    assert 8265 not in is_open
    assert ["127.0.0.1", "8265"] in listening


def test_an_agent_takes_no_job_from_who_has_no_token(hosts):
    worker = hosts.lab["worker1"]
    command = [f"{worker.venv}/bin/python", "-c", JOB_WITHOUT_TOKEN]
    answer = worker.run(command, timeout_seconds=30)
    assert answer.stdout.strip() == "401", answer.stderr
    assert not (hosts.lab["head"].tmp / "taken").exists()


# --- Runs that come home ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fetched(hosts):
    """The copy of a run on the client."""
    weather = storms.Weather(0, trials=2, epochs=2, seed=6)
    made = hosts.submit("run", *storms.asked(weather), "--out", "runs/made")
    assert made.returncode == 0, made.stdout
    done = hosts.run("fmnist-cluster", "fetch")
    assert done.returncode == 0, done.stderr
    return hosts.file.parents[1] / "runs" / "made"


def test_the_newest_run_is_fetched(hosts, fetched):
    original = hosts.folder("runs/made")
    assert (fetched / "journal.jsonl").read_bytes() == (original / "journal.jsonl").read_bytes()


def test_an_older_copy_of_a_run_is_kept(hosts, fetched):
    (fetched / "notes.txt").write_text("my own")
    again = hosts.run("fmnist-cluster", "fetch", "--run", "made")
    assert again.returncode == 0, again.stderr
    assert (fetched.parent / ".previous" / "made-1" / "notes.txt").read_text() == "my own"


def test_a_run_is_never_replaced_by_another(hosts, fetched):
    (fetched / "journal.jsonl").write_bytes(b"another\n")
    refused = hosts.run("fmnist-cluster", "fetch", "--run", "made")
    assert refused.returncode == 2
    assert "runs/made is another run" in refused.stderr
    assert (fetched / "journal.jsonl").read_bytes() == b"another\n"


def test_a_run_that_does_not_exist_is_one_line(hosts):
    missing = hosts.run("fmnist-cluster", "fetch", "--run", "none")
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


# --- Jobs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LongJob:
    """A job that lost its client and then the connection of who followed it.

    Attributes:
        lost_status, lost_output: What came of the command that lost its connection.
        status, output: Of the one that followed the job to its end.
    """

    lost_status: int
    lost_output: str
    status: int
    output: str


LONG = storms.Weather(0, trials=30, epochs=8, seed=7)


@pytest.fixture(scope="module")
def long_job(hosts):
    wait_for_nodes(hosts, 3)
    # An edit that no `fmnist-cluster up` has brought to the machines.
    with (hosts.file.parents[1] / "stormy.py").open("a") as edited:
        edited.write("Path('/tmp/submitted').write_text(__file__)\n")
    words = ("run", *storms.asked(LONG), "--out", "runs/job")
    client = hosts.start("fmnist-cluster", "submit", "--name", "job", "--", *words)
    hosts.wait("runs/job", client, lambda events: epochs(events) >= 12)
    hosts.lose_client(client)
    seen = epochs(hosts.events("runs/job"))
    follow = ("fmnist-cluster", "follow", "job")
    client = hosts.start(*follow)
    hosts.wait("runs/job", client, lambda events: epochs(events) >= seen + 20)
    lost = hosts.client.run(["bash", "-c", "kill $(pgrep -f '^ssh .*:8265')"], timeout_seconds=20)
    assert lost.returncode == 0, lost.stderr
    output, _ = client.communicate(timeout=60)
    done = hosts.run(*follow)
    return LongJob(client.returncode, output, done.returncode, done.stdout + done.stderr)


def test_a_lost_connection_leaves_the_job_and_says_how_to_come_back(long_job):
    assert long_job.lost_status == 255, long_job.lost_output
    assert "error: 10.77.0.11: the job server no longer answers." in long_job.lost_output
    assert "to follow it: fmnist-cluster follow job" in long_job.lost_output


def test_a_job_goes_on_without_its_client_and_without_a_connection(hosts, long_job):
    assert long_job.status == 0, long_job.output
    assert "search ended (trials done)" in long_job.output
    survived = check(hosts, "runs/job", LONG)
    assert hosts_of(survived) == set(HOSTS)
    assert losses(survived.events) == []


def test_a_job_runs_the_submitted_modules_on_every_host(hosts, long_job):
    for host in HOSTS:
        assert "/runtime_resources/" in (hosts.lab[host].tmp / "submitted").read_text()


def test_the_run_of_a_job_comes_home_and_no_tunnel_outlives_its_command(hosts, long_job):
    home = hosts.run("fmnist-cluster", "fetch", "--run", "job")
    assert home.returncode == 0, home.stderr
    tunnels = hosts.client.run(["pgrep", "--full", ":8265"], timeout_seconds=20)
    assert tunnels.stdout == ""


def test_a_client_that_was_switched_on_again_comes_back_by_up(hosts, long_job):
    # Its /tmp was emptied: it knows of no cluster until then.
    up = hosts.run("fmnist-cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    print("survived: the loss of the client and of the connection of a job")


# --- The head -----------------------------------------------------------------------------------


def test_a_run_on_a_shared_folder_is_resumed_by_another_cluster_when_its_head_is_lost(hosts):
    weather = storms.Weather(0, trials=14, epochs=8, seed=3)
    wait_for_nodes(hosts, 3)
    driver = hosts.begin("run", *storms.asked(weather), "--out", "/shared/lost")
    hosts.wait("/shared/lost", driver, lambda events: epochs(events) >= 12)
    hosts.lab["head"].crash()
    hosts.lose_client(driver)
    hosts.describe("worker1", "worker2")
    up = hosts.run("fmnist-cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    done = hosts.submit("resume", "/shared/lost")
    assert done.returncode == 0, done.stdout
    check(hosts, "/shared/lost", weather)
    assert "is dead: this process takes over" in done.stdout
    print("survived: the loss of the head")


def test_down_leaves_no_ray_on_any_host(hosts):
    down = hosts.run("fmnist-cluster", "down")
    assert down.returncode == 0, down.stdout + down.stderr
    for host in HOSTS:
        assert not hosts.lab[host].is_up or ended(hosts.lab[host])


# --- The page -----------------------------------------------------------------------------------

# What a user would wait hours for.
SHORTER = {"--trials 500": "--trials 4 --epochs 2 --retrain-epochs 1", "--trials 600": "--trials 5"}


def documented():
    """Return the commands of the pages for machines of one's own, with shorter searches.

    What is marked ``bash`` needs more than the lab has, and is left out.
    """
    pages = [ROOT / "docs" / "cluster" / name for name in ("on-prem.md", "jobs.md")]
    text = "".join(page.read_text() for page in pages)
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.split("\n")
        if line
    ]


def test_every_command_of_the_page_on_clusters_runs(tmp_path):
    with staged(tmp_path / "lab", "worker1", "worker2") as stage:
        shutil.copytree(locate()[0], stage.lab["head"].home / FASHION_MNIST)
        for command in documented():
            done = stage.run(*shlex.split(command))
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            print(f"done: {command}")
        home = stage.file.parents[1] / "runs" / "wide"
        assert (home / "final" / "evaluation.json").exists()
        assert all(epochs_on(stage.events("runs/wide"), host) for host in HOSTS)
        assert (stage.folder("runs/once") / "final" / "evaluation.json").exists()
        assert ended(stage.lab["head"])
