"""Searches on several hosts by `ray submit`, while hosts crash, are cut off and join late."""

import json
import re
import shlex
import shutil
import time

import pytest
import storm as storms
from lab import Lab
from stage import PROJECT, ROOT, SUBMIT, check, ended, epochs, epochs_on, on, staged

from fmnist_model.data import locate

pytestmark = pytest.mark.skipif(
    Lab.why_not() is not None, reason=f"no lab of several hosts here: {Lab.why_not()}"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Epochs that do not wait to be hit, in this process."""
    import stormy

    monkeypatch.setattr(stormy, "EPOCH_SECONDS", 0.0)


def test_a_host_crashes_in_a_search_on_two(tmp_path):
    weather = storms.Weather(0, trials=6, epochs=6)
    with staged(tmp_path / "lab", "worker1") as stage:
        done = stage.run("fmnist-cluster", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2 nodes have joined" in done.stdout
        driver = stage.begin("run", *storms.asked(weather), "--out", "runs/a")
        stage.wait("runs/a", driver, lambda events: epochs_on(events, "worker1") >= 2)
        stage.lab["worker1"].crash()
        output, _ = driver.communicate(timeout=400)
        assert driver.returncode == 0, output
        found = check(stage, "runs/a", weather)
        lost = [event for event in found.events if event["event"] == "worker_lost"]
        assert [event["by_trial"] for event in lost] == [False]
        assert "the node of its process (worker1:" in lost[0]["error"]
        # What the crashed host had trained came home: no folder is shared.
        assert found.epochs_repeated <= 1
        assert {name.partition(":")[0] for name in workers(found)} == {"head", "worker1"}


def workers(found):
    return {event["worker"] for event in found.events if event["event"] == "epoch"}


def test_every_unfit_machine_is_named_at_once_before_anything_is_started(tmp_path):
    with staged(tmp_path / "lab", "worker1", "worker2") as stage:
        lab = stage.lab
        stage.describe("head", "worker1", "worker2", "10.77.0.99")
        listens = (
            "import socket, time; "
            "s = [socket.create_server(('', port)) for port in (8265, 6379)]; time.sleep(600)"
        )
        python = f"{lab['head'].venv}/bin/python"
        # A login that says something is no reason to be unfit.
        (lab["worker2"].home / ".bashrc").write_text("echo; echo welcome\n")
        taken = lab["head"].start([python, "-c", listens])
        (lab["worker1"].home / ".ssh" / "authorized_keys").unlink()
        full = lab["worker2"].run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp"], timeout_seconds=20
        )
        assert full.returncode == 0, full.stderr
        deadline = time.monotonic() + 30
        while (
            lab["head"]
            .run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6379"], timeout_seconds=20)
            .returncode
        ):
            assert time.monotonic() < deadline
            assert taken.poll() is None
        done = stage.run("fmnist-cluster", "up")
        assert done.returncode == 2
        told = done.stderr.splitlines()
        assert len(told) == 5, done.stderr
        assert told[0].startswith(
            "error: 10.77.0.11: port 6379 is taken by a program that is not your Ray"
        )
        assert told[1].startswith("error: 10.77.0.11: port 8265 is taken by a program that is not")
        assert told[2].startswith("error: 10.77.0.12: refuses root with the key")
        assert told[3].startswith("error: 10.77.0.13: 1 MiB free in /tmp: expected 500 MiB or more")
        assert told[4].startswith("error: 10.77.0.99: does not answer by ssh")
        assert ended(lab["head"])


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts of a cluster that is up, and the client."""
    with staged(tmp_path_factory.mktemp("lab") / "lab", "worker1", "worker2", shared=True) as stage:
        done = stage.run("fmnist-cluster", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 of 3 nodes have joined" in done.stdout
        yield stage


@pytest.mark.long
def test_a_node_with_another_version_is_named_before_the_search(hosts):
    weather = storms.Weather(0, trials=2, epochs=2)
    edit = "sed -i 's/^Version: {}$/Version: {}/' ~/fmnist-search/.venv/lib/python3*/site-packages/optuna-*/METADATA"
    from importlib.metadata import version

    here = version("optuna")
    hosts.lab["worker1"].run(["bash", "-c", edit.format(here, "4.0.0")], timeout_seconds=20)
    try:
        done = hosts.submit("run", *storms.asked(weather), "--out", "runs/versions")
    finally:
        hosts.lab["worker1"].run(["bash", "-c", edit.format("4.0.0", here)], timeout_seconds=20)
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert (
        line.strip()
        == f"error: worker1: optuna is 4.0.0, expected {here} as on this machine. Install it there."
    )
    assert not hosts.folder("runs/versions").exists()


@pytest.mark.long
def test_a_nodes_damaged_data_file_is_named(hosts):
    for host in ("head", "worker1", "worker2"):
        target = hosts.lab[host].home / ".cache" / "fmnist-search" / "fashion-mnist"
        shutil.copytree(locate()[0], target)
    damaged = next((hosts.lab["worker2"].home / ".cache").rglob("train-images*"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done = hosts.submit("doctor", "--space", "published")
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if "worker" in line and "copy" in line]
    assert len(said) == 1, done.stdout
    assert said[0].startswith("warning  worker2: its own copy of the data cannot be used")
    assert "train-images" in said[0]
    assert "worker1: versions, data and shared memory as on this machine" in done.stdout


@pytest.mark.long
def test_a_host_crashes_comes_back_and_is_used_again(hosts):
    weather = storms.Weather(0, trials=110, epochs=8)  # it takes a minute to be used again
    driver = hosts.begin("run", *storms.asked(weather), "--out", "runs/crash")
    hosts.wait("runs/crash", driver, lambda events: epochs_on(events, "worker2") >= 3)
    before = epochs_on(hosts.events("runs/crash"), "worker2")
    hosts.lab["worker2"].crash()
    time.sleep(5)
    hosts.lab["worker2"].boot()
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    found = check(hosts, "runs/crash", weather)
    assert epochs_on(found.events, "worker2") > before + 3  # it joined late, and was used
    assert epochs_on(found.events, "head") > 0
    assert epochs_on(found.events, "worker1") > 0
    lost = next(event for event in found.events if event["event"] == "worker_lost")
    place = found.events.index(lost)
    seen = [event["at_seconds"] for event in found.events[:place] if on(event, "worker2")]
    print(f"noticed {lost['at_seconds'] - seen[-1]:.0f} s after the last epoch from that host")
    print("survived: a host's crash; used: a host that joined late")


@pytest.mark.long
def test_a_host_is_cut_off_the_network_and_comes_back(hosts):
    weather = storms.Weather(0, trials=80, epochs=8, seed=1)
    wait_for_nodes(hosts, 3)
    driver = hosts.begin("run", *storms.asked(weather), "--out", "runs/cut")
    hosts.wait("runs/cut", driver, lambda events: epochs_on(events, "worker1") >= 3)
    hosts.lab["worker1"].cut_off()
    time.sleep(45)
    hosts.lab["worker1"].reconnect()
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    found = check(hosts, "runs/cut", weather)
    lost = [event for event in found.events if event["event"] == "worker_lost"]
    assert lost
    assert all("the node of its process (worker1:" in event["error"] for event in lost)
    place = found.events.index(lost[0])
    assert epochs_on(found.events[place:], "worker1") > 3  # it came back, and was used
    print("survived: a host cut off the network; used: the same when it was back")


@pytest.mark.long
def test_older_modules_in_a_nodes_own_folder_are_not_what_it_runs(hosts):
    weather = storms.Weather(0, trials=9, epochs=4, seed=9)
    wait_for_nodes(hosts, 3)
    older = "raise RuntimeError('an older one')\n"
    stale = [
        hosts.lab[host].home / PROJECT / name
        for host in ("worker1", "worker2")
        for name in ("stormy.py", "search/worker/trial.py")
    ]
    kept = [path.read_text() for path in stale]
    for path in stale:
        path.write_text(older)
    try:
        done = hosts.submit("run", *storms.asked(weather), "--out", "runs/older")
    finally:
        for path, text in zip(stale, kept, strict=True):
            path.write_text(text)
    assert done.returncode == 0, done.stdout
    assert "an older one" not in done.stdout
    found = check(hosts, "runs/older", weather)
    assert {name.partition(":")[0] for name in workers(found)} == {"head", "worker1", "worker2"}


@pytest.mark.long
def test_the_connection_and_then_the_driver_are_killed_and_the_run_goes_on(hosts):
    weather = storms.Weather(0, trials=14, epochs=8, seed=2)
    wait_for_nodes(hosts, 3)
    connection = hosts.begin("run", *storms.asked(weather), "--out", "runs/killed")
    hosts.wait("runs/killed", connection, lambda events: epochs(events) >= 4)
    hosts.lose_client(connection)
    seen = epochs(hosts.events("runs/killed"))
    deadline = time.monotonic() + 60
    while epochs(hosts.events("runs/killed")) < seen + 6:  # the search has not noticed
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kill = "kill -9 $(pgrep -f 'fmnist-search run' | head -1)"
    assert hosts.lab["head"].run(["bash", "-c", kill], timeout_seconds=20).returncode == 0
    # A client that was switched on again, its /tmp empty, knows of no cluster until then.
    up = hosts.run("fmnist-cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    done = hosts.submit("resume", "runs/killed")
    assert done.returncode == 0, done.stdout
    found = check(hosts, "runs/killed", weather)
    assert [event for event in found.events if event["event"] == "search_resumed"]
    print("survived: the loss of the connection, SIGKILL of the driver")


@pytest.mark.long
def test_ctrl_c_in_a_terminal_ends_the_search_which_keeps_what_was_found(hosts):
    weather = storms.Weather(0, trials=60, epochs=8, seed=4)
    wait_for_nodes(hosts, 3)
    command = shlex.join([*SUBMIT, "run", *storms.asked(weather), "--out", "runs/typed"])
    terminal = hosts.start("script", "--quiet", "--return", "--command", command, "/dev/null")
    hosts.wait("runs/typed", terminal, lambda events: epochs(events) >= 6)
    # A new start of Ray would end it.
    refused = hosts.run("fmnist-cluster", "up")
    assert refused.returncode == 2
    assert "error: 10.77.0.11: a search runs there (process " in refused.stderr
    terminal.stdin.write("\x03")
    terminal.stdin.flush()
    output, _ = terminal.communicate(timeout=100)
    assert "search ended (interrupted)" in output
    assert "Traceback" not in output
    last = hosts.events("runs/typed")[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "interrupted")
    print("survived: Ctrl-C")


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


@pytest.mark.long
def test_who_has_no_token_may_do_nothing_and_it_is_in_no_log_and_no_run(hosts):
    head = hosts.lab["head"]
    weather = storms.Weather(0, trials=2, epochs=2, seed=5)
    done = hosts.submit("run", *storms.asked(weather), "--out", "runs/secret")
    assert done.returncode == 0, done.stdout
    token = (hosts.client.home / ".ray" / "auth_token").read_text()
    assert (head.home / ".ray" / "auth_token").read_text() == token
    assert (head.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert token not in done.stdout + done.stderr
    for host in ("head", "worker1", "worker2"):
        held = hosts.lab[host].run(
            ["grep", "-rlF", token, "/tmp", "/root/fmnist-search"], timeout_seconds=60
        )
        assert held.stdout == ""

    def asked(setting):
        command = f"{setting} timeout 30 fmnist-cluster nodes --json"
        return head.run(["bash", "-lic", command], timeout_seconds=60)

    for wrong in ("RAY_AUTH_TOKEN=0123", "RAY_AUTH_MODE=disabled"):
        refused = asked(wrong)
        assert refused.returncode != 0
        assert "10.77.0" not in refused.stdout
    right = asked(f"RAY_AUTH_TOKEN={token.strip()}")
    assert len(json.loads(right.stdout)) == 3, right.stderr
    listed = hosts.run("fmnist-cluster", "nodes", "cluster/onprem.yaml", "--json")
    assert len(json.loads(listed.stdout)) == 3
    command = [f"{head.venv}/bin/python", "-c", LISTENING]
    listening = [line.split() for line in head.run(command, timeout_seconds=30).stdout.splitlines()]
    is_open = {int(port) for address, port in listening if not address.endswith("127.0.0.1")}
    assert {22, 6379, AGENT_PORT} <= is_open  # what the page says remains
    assert 8265 not in is_open
    assert ["127.0.0.1", "8265"] in listening
    worker = hosts.lab["worker1"]
    asked = worker.run([f"{worker.venv}/bin/python", "-c", JOB_WITHOUT_TOKEN], timeout_seconds=30)
    assert asked.stdout.strip() == "401", asked.stderr
    assert not (head.tmp / "taken").exists()


@pytest.mark.long
def test_a_run_comes_home_and_is_never_replaced_by_another(hosts):
    weather = storms.Weather(0, trials=2, epochs=2, seed=6)
    made = hosts.submit("run", *storms.asked(weather), "--out", "runs/made")
    assert made.returncode == 0, made.stdout
    done = hosts.run("fmnist-cluster", "fetch")
    assert done.returncode == 0, done.stderr
    home = hosts.file.parents[1] / "runs" / "made"
    assert (home / "journal.jsonl").read_bytes() == (
        hosts.folder("runs/made") / "journal.jsonl"
    ).read_bytes()
    (home / "notes.txt").write_text("my own")
    again = hosts.run("fmnist-cluster", "fetch", "--run", "made")
    assert again.returncode == 0, again.stderr
    assert (home.parent / ".previous" / "made-1" / "notes.txt").read_text() == "my own"
    (home / "journal.jsonl").write_bytes(b"another\n")
    refused = hosts.run("fmnist-cluster", "fetch", "--run", "made")
    assert refused.returncode == 2
    assert "runs/made is another run" in refused.stderr
    assert (home / "journal.jsonl").read_bytes() == b"another\n"
    missing = hosts.run("fmnist-cluster", "fetch", "--run", "none")
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


@pytest.mark.long
def test_a_job_goes_on_without_its_client_and_without_a_connection(hosts):
    weather = storms.Weather(0, trials=30, epochs=8, seed=7)
    wait_for_nodes(hosts, 3)
    # An edit that no `fmnist-cluster up` has brought to the machines.
    with (hosts.file.parents[1] / "stormy.py").open("a") as edited:
        edited.write("Path('/tmp/submitted').write_text(__file__)\n")
    asked = ("run", *storms.asked(weather), "--out", "runs/job")
    client = hosts.start("fmnist-cluster", "submit", "--name", "job", "--", *asked)
    hosts.wait("runs/job", client, lambda events: epochs(events) >= 12)
    hosts.lose_client(client)
    seen = epochs(hosts.events("runs/job"))
    follow = ("fmnist-cluster", "follow", "job")
    client = hosts.start(*follow)
    hosts.wait("runs/job", client, lambda events: epochs(events) >= seen + 20)
    lost = hosts.client.run(["bash", "-c", "kill $(pgrep -f '^ssh .*:8265')"], timeout_seconds=20)
    assert lost.returncode == 0, lost.stderr
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 255, output
    assert "error: 10.77.0.11: the job server no longer answers." in output
    assert "to follow it: fmnist-cluster follow job" in output
    done = hosts.run(*follow)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search ended (trials done)" in done.stdout
    found = check(hosts, "runs/job", weather)
    assert {name.partition(":")[0] for name in workers(found)} == {"head", "worker1", "worker2"}
    assert not [event for event in found.events if event["event"] == "worker_lost"]
    for host in ("head", "worker1", "worker2"):
        assert "/runtime_resources/" in (hosts.lab[host].tmp / "submitted").read_text()
    home = hosts.run("fmnist-cluster", "fetch", "--run", "job")
    assert home.returncode == 0, home.stderr
    left = hosts.client.run(["pgrep", "--full", ":8265"], timeout_seconds=20)
    assert left.stdout == ""  # no forwarded port outlives its command
    # A client that was switched on again, its /tmp empty, knows of no cluster until then.
    up = hosts.run("fmnist-cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    print("survived: the loss of the client and of the connection of a job")


@pytest.mark.long
def test_the_head_is_lost_and_the_run_goes_on_on_another_cluster(hosts):
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
    down = hosts.run("fmnist-cluster", "down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert ended(hosts.lab["worker1"])
    assert ended(hosts.lab["worker2"])
    print("survived: the loss of the head; `fmnist-cluster down` left no Ray behind")


def wait_for_nodes(hosts, count):
    deadline = time.monotonic() + 120
    while len(hosts.nodes()) < count:
        assert time.monotonic() < deadline, hosts.nodes()
        time.sleep(2)


# What a user would wait hours for.
SHORTER = {"--trials 500": "--trials 4 --epochs 2 --retrain-epochs 1", "--trials 600": "--trials 5"}


def documented():
    """Return the commands of docs/cluster.md, in order, with shorter searches."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.split("\n")
        if line
    ]


@pytest.mark.long
def test_every_command_of_the_page_on_clusters(tmp_path):
    with staged(tmp_path / "lab", "worker1", "worker2") as stage:
        shutil.copytree(
            locate()[0], stage.lab["head"].home / ".cache" / "fmnist-search" / "fashion-mnist"
        )
        for command in documented():
            done = stage.run(*shlex.split(command))
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            print(f"done: {command}")
        home = stage.file.parents[1] / "runs" / "wide"
        assert (home / "final" / "evaluation.json").exists()
        assert {host for host in ("head", "worker1", "worker2") if epochs_on(stage.events("runs/wide"), host)} == {
            "head", "worker1", "worker2",
        }  # fmt: skip
        once = stage.folder("runs/once")
        assert (once / "final" / "evaluation.json").exists()
        assert ended(stage.lab["head"])
