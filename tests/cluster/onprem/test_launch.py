"""Starting and stopping Ray on machines that answer as a test says."""

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cluster.errors import ClusterError
from cluster.nodes import Node
from cluster.onprem.config import ClusterFile
from cluster.onprem.hosts import Ssh
from cluster.onprem.launch import down, make_token, nodes_of, up, wait_for_nodes
from cluster.project import write_project

HEAD, WORKER = Node("10.0.0.1", 1, 0, 1.0), Node("10.0.0.2", 1, 0, 1.0)
FILE = ClusterFile(Path("mine.yaml"), "10.0.0.1", ("10.0.0.2",), "me", None)
UNREACHABLE = CompletedProcess([], 255, "", "ssh: connect to host a port 22: No route to host\n")


@dataclass(frozen=True)
class Machines(Ssh):
    """Machines that answer as a test says.

    Attributes:
        checks: What the checks print on a machine, by its address; by default nothing is wrong.
        listings: The live nodes, each time that the head is asked; the last ones stay.
        stops: What comes of `ray stop` on a machine, by its address; by default it succeeds.
        commands: The address and the command of all that was run.
    """

    checks: dict = field(default_factory=dict)
    listings: list = field(default_factory=lambda: [[HEAD, WORKER]])
    stops: dict = field(default_factory=dict)
    commands: list = field(default_factory=list)

    def run(self, host, command, *, seconds=60):
        self.commands.append((host, command))
        if command == "ray stop":
            return self.stops.get(host, CompletedProcess([], 0, "", ""))
        if command == "fmnist-cluster nodes --json":
            nodes = self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]
            return nodes if isinstance(nodes, CompletedProcess) else printed(nodes)
        assert "tell checked" in command, f"no such command is expected: {command}"
        told = [*self.checks.get(host, ()), "checked"]
        return CompletedProcess([], 0, "".join(f"fmnist-cluster: {line}\n" for line in told), "")


def printed(nodes):
    table = json.dumps([vars(node) for node in nodes], indent=2)
    return CompletedProcess([], 0, f"welcome\n{table}\n", "")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)


@pytest.fixture
def lines():
    """What a command says, a line each."""
    return []


@pytest.fixture
def ray(user, console_commands, tmp_path):
    """A stand-in for `ray`, and for the programs that reach the machines; the user has a token."""
    make_token(lambda line: None)
    for tool in ("ssh", "rsync"):
        console_commands.write(tool, "exit 1")
    console_commands.write("ray", f'echo "$@" > {tmp_path}/ray.txt')
    return console_commands


# --- up -----------------------------------------------------------------------------------------


def test_up_checks_starts_and_waits_for_the_machines(ray, lines, tmp_path):
    ssh = Machines(FILE)
    assert up(ssh, lines.append) == [HEAD, WORKER]
    assert lines == ["checking 2 machines", "2 of 2 nodes have joined"]
    started = (tmp_path / "ray.txt").read_text()
    assert started == f"up --yes --no-config-cache {Path('mine.yaml').resolve()}\n"


def test_up_passes_on_the_steps_of_ray_alone(ray, lines):
    ray.write(
        "ray",
        "echo Usage stats collection is disabled\n"
        "echo '  -- [1/7] Waiting for SSH to become available'\n"
        "echo 'error: a warning' >&2\n"
        "echo '-- (2/3) bash setup.sh'\n"
        "echo '-- [a/7] no step'",
    )
    up(Machines(FILE), lines.append)
    assert lines[1:-1] == ["[1/7] Waiting for SSH to become available", "(2/3) bash setup.sh"]


def test_up_runs_ray_in_the_project_which_ray_copies_to_the_machines(ray, lines, tmp_path):
    ray.write("ray", f'pwd -P > {tmp_path}/where.txt; env | grep "^RAY_U" >> {tmp_path}/where.txt')
    up(Machines(FILE), lines.append)
    where, *variables = (tmp_path / "where.txt").read_text().splitlines()
    assert (Path(where) / "cluster" / "submit.py").exists()
    assert sorted(variables) == ["RAY_UP_enable_autoscaler_v2=0", "RAY_USAGE_STATS_ENABLED=0"]


def test_up_copies_the_folder_of_a_project_to_machines_that_need_no_make(
    ray, lines, tmp_path, monkeypatch
):
    ray.write("ray", f"pwd -P > {tmp_path}/where.txt")
    project = tmp_path / "my project"
    write_project(project)
    monkeypatch.chdir(project)
    machines = Machines(FILE)
    up(machines, lines.append)
    assert (tmp_path / "where.txt").read_text() == f"{project}\n"
    [tools, *_] = [command for _, command in machines.commands if "tools=" in command]
    assert 'tools="rsync python3 df awk"' in tools


def test_up_copies_no_folder_that_is_not_a_project(ray, lines, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.project.HERE", tmp_path / "site-packages" / "cluster")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterError, match="expected the folder of your project"):
        up(Machines(FILE), lines.append)
    assert not (tmp_path / "ray.txt").exists()


def test_up_names_every_unfit_machine_and_starts_nothing(ray, lines, tmp_path):
    checks = {"10.0.0.1": ["port 6379", "missing make"], "10.0.0.2": ["full /tmp 1024 512000"]}
    with pytest.raises(ClusterError) as error:
        up(Machines(FILE, checks), lines.append)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        "10.0.0.1", "10.0.0.1", "10.0.0.2"
    ]  # fmt: skip
    assert not (tmp_path / "ray.txt").exists()


def test_up_names_the_programs_that_this_machine_lacks(ray, lines, monkeypatch):
    (ray.folder / "rsync").unlink()
    monkeypatch.setenv("PATH", str(ray.folder))
    ssh = Machines(FILE)
    with pytest.raises(ClusterError, match=r"^this machine has no rsync: install it here\.$"):
        up(ssh, lines.append)
    assert ssh.commands == []


def test_up_makes_the_token_of_a_new_user(ray, user, lines):
    (user / ".ray" / "auth_token").unlink()
    up(Machines(FILE), lines.append)
    assert (user / ".ray" / "auth_token").exists()
    assert lines[1].startswith("made the token ~/.ray/auth_token")


def test_up_shows_the_end_of_what_a_ray_that_fails_prints(ray, lines):
    ray.write("ray", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do echo line $i; done; exit 3")
    with pytest.raises(ClusterError) as error:
        up(Machines(FILE), lines.append)
    first, *rest = str(error.value).splitlines()
    assert first == "`ray up` failed with status 3:"
    assert rest == [f"line {number}" for number in range(2, 14)]


def test_up_names_the_machines_that_have_not_joined_and_where_the_reason_is(ray, lines):
    with pytest.raises(ClusterError) as error:
        up(Machines(FILE, listings=[[HEAD]]), lines.append, join_seconds=0)
    [line] = str(error.value).splitlines()
    assert line.startswith("10.0.0.2: has not joined in 0 s. See 10.0.0.1:/tmp/ray/session_latest")


def test_up_waits_longer_where_packages_are_still_to_be_installed(ray, lines):
    # With the limit of 0 s for others, the second look would be too late.
    ssh = Machines(FILE, {"10.0.0.2": ["fresh"]}, listings=[[], [HEAD], [HEAD, WORKER]])
    assert up(ssh, lines.append, join_seconds=0) == [HEAD, WORKER]
    assert lines[1] == "installing the packages, which takes minutes, on 10.0.0.2"
    assert lines[2:] == ["1 of 2 nodes have joined", "2 of 2 nodes have joined"]


# --- down ---------------------------------------------------------------------------------------


def test_down_stops_ray_on_every_machine(ray, lines, tmp_path):
    ssh = Machines(FILE)
    down(ssh, lines.append)
    assert (tmp_path / "ray.txt").read_text() == f"down --yes {Path('mine.yaml').resolve()}\n"
    assert sorted(ssh.commands) == [("10.0.0.1", "ray stop"), ("10.0.0.2", "ray stop")]
    assert lines == ["10.0.0.1: Ray is stopped", "10.0.0.2: Ray is stopped"]


def test_down_names_the_machines_on_which_ray_may_still_run(ray, lines):
    stops = {"10.0.0.1": UNREACHABLE, "10.0.0.2": CompletedProcess([], 1, "", "a\nno ray\n")}
    with pytest.raises(ClusterError) as error:
        down(Machines(FILE, stops=stops), lines.append)
    unreachable, failed, advice = str(error.value).splitlines()
    assert unreachable.startswith("10.0.0.1: does not answer by ssh")
    assert failed == "10.0.0.2: `ray stop` failed (no ray)."
    assert advice.startswith("Ray may still run there: run `fmnist-cluster down` again")
    assert lines == []


def test_down_stops_the_others_where_one_machine_does_not_answer(ray, lines):
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.1: does not answer"):
        down(Machines(FILE, stops={"10.0.0.1": UNREACHABLE}), lines.append)
    assert lines == ["10.0.0.2: Ray is stopped"]


# --- The token ----------------------------------------------------------------------------------


def test_a_token_is_made_for_its_user_alone_and_is_not_shown(user, lines):
    make_token(lines.append)
    token = user / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert len(token.read_text()) == 64
    [line] = lines
    assert token.read_text() not in line


def test_no_two_users_have_the_same_token(user, lines):
    make_token(lines.append)
    token = user / ".ray" / "auth_token"
    first = token.read_text()
    token.unlink()
    make_token(lines.append)
    assert token.read_text() != first


def test_a_token_is_kept_and_closed_to_others(user, lines):
    make_token(lambda line: None)
    token = user / ".ray" / "auth_token"
    first = token.read_text()
    token.chmod(0o644)  # as Ray itself leaves it
    make_token(lines.append)
    assert token.read_text() == first
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert lines == []


# --- The nodes ----------------------------------------------------------------------------------


def test_the_head_lists_the_nodes(user):
    ssh = Machines(FILE)
    assert nodes_of(ssh) == [HEAD, WORKER]
    assert ssh.commands == [("10.0.0.1", "fmnist-cluster nodes --json")]


def test_a_head_whose_ray_does_not_answer_has_no_nodes():
    failed = CompletedProcess([], 2, "error: no Ray cluster answers\n", "")
    assert nodes_of(Machines(FILE, listings=[failed])) == []


def test_a_head_that_does_not_answer_is_named():
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.1: does not answer by ssh \(ssh: connect"):
        nodes_of(Machines(FILE, listings=[UNREACHABLE]))


def test_nodes_are_waited_for_until_all_have_joined(lines):
    listings = iter([[], [HEAD], [HEAD, WORKER]])
    assert wait_for_nodes(lambda: next(listings), 2, lines.append, seconds=600) == [HEAD, WORKER]
    assert lines == ["1 of 2 nodes have joined", "2 of 2 nodes have joined"]


def test_machines_that_have_not_joined_are_named_a_line_each(lines):
    hosts = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    with pytest.raises(ClusterError) as error:
        wait_for_nodes(lambda: [HEAD], hosts, lines.append, seconds=0)
    assert str(error.value).splitlines() == [
        f"{host}: has not joined in 0 s. See /tmp/ray/session_latest/logs/monitor.out for the "
        "reason; run `ray up` again to retry."
        for host in hosts[1:]
    ]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([HEAD], "2 of 3 nodes have not joined in 0 s. See a.out for the reason; run `ray up` again to retry. Joined: 10.0.0.1."),
        ([], "3 of 3 nodes have not joined in 0 s. See a.out for the reason; run `ray up` again to retry. Joined: none."),
    ],
)  # fmt: skip
def test_nodes_that_have_not_joined_are_counted_if_nobody_knows_their_names(lines, nodes, message):
    with pytest.raises(ClusterError) as error:
        wait_for_nodes(lambda: nodes, 3, lines.append, seconds=0, log="a.out")
    assert str(error.value) == message
