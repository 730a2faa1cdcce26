"""Ray on all nodes of a job: its address, ports and token, and the wait for its nodes."""

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from cluster.errors import ClusterError
from cluster.nodes import Node
from cluster.slurm import ray_start
from cluster.slurm.job import Job
from cluster.slurm.ray_start import (
    JobRay,
    first_free_port,
    join_seconds,
    own_address,
    running_ray,
)

ALONE = Job(number=7, head="node1", others=(), restarts=0)
THREE = Job(number=7, head="node1", others=("127.0.0.2", "127.0.0.3"), restarts=0)
HEAD, SECOND, THIRD = (Node(a, 1, 0, 1.0) for a in ("10.0.0.1", "127.0.0.2", "127.0.0.3"))


# --- Addresses and ports ------------------------------------------------------------------------


def test_the_head_of_one_node_is_on_loopback():
    assert own_address(ALONE) == "127.0.0.1"


def test_the_head_of_several_nodes_is_at_the_address_of_its_route_to_another():
    # 127.0.0.2 is reached from 127.0.0.1; another machine would be from another address.
    assert own_address(THREE) == "127.0.0.1"


def test_an_unreachable_other_node_is_named():
    with pytest.raises(ClusterError, match=r"^node1: no route to no\.such\.host, another node of"):
        own_address(Job(7, "node1", ("no.such.host",), 0))


def test_ports_that_another_program_has_are_left_to_it():
    first = first_free_port(7)
    for place in range(3):
        with socket.create_server(("", first + place)):
            assert first_free_port(7) == first + 3


def test_jobs_one_after_the_other_begin_at_different_ports():
    assert first_free_port(7) != first_free_port(8)


def test_the_ports_of_every_job_are_below_those_that_linux_assigns():
    # The numbers of jobs grow without end.
    for number in (0, 3999, 4000, 10**9):
        assert 20000 <= first_free_port(number) <= 32000 - 3


def test_a_machine_without_free_ports_says_so(monkeypatch):
    monkeypatch.setattr(ray_start, "FIRST_PORT", 20000)
    monkeypatch.setattr(ray_start, "LAST_PORT", 20003)
    with socket.create_server(("", 20001)), pytest.raises(ClusterError) as error:
        first_free_port(7)
    assert str(error.value) == (
        f"{socket.gethostname()}: expected 3 free ports in a row between 20000 and 20003, but "
        "there are none."
    )


# --- Waiting for the nodes ----------------------------------------------------------------------


def test_nodes_are_waited_for_five_minutes_or_as_long_as_the_user_says():
    assert join_seconds({}) == 300
    assert join_seconds({"FMNIST_SEARCH_JOIN_SECONDS": "20"}) == 20
    with pytest.raises(ClusterError, match="FMNIST_SEARCH_JOIN_SECONDS=soon: expected a number"):
        join_seconds({"FMNIST_SEARCH_JOIN_SECONDS": "soon"})


class Step:
    """A job step that has ended or not."""

    def __init__(self, status=None):
        self.status = status

    def poll(self):
        return self.status


@dataclass(frozen=True)
class Ray(JobRay):
    """A Ray on three nodes, whose listings are what a test says; the last one stays."""

    listings: list = field(default_factory=list)

    def nodes(self):
        return self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]


def ray(*listings, step=None, seconds="0"):
    environment = {"FMNIST_SEARCH_JOIN_SECONDS": seconds}
    return Ray(THREE, "10.0.0.1", 20021, environment, step or Step(), list(listings))


@pytest.fixture
def silent():
    """Signals of a job that has received none."""
    return SimpleNamespace(received=[])


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)


def test_all_nodes_of_a_job_are_waited_for(silent, capsys):
    ray([], [HEAD], [HEAD, SECOND, THIRD], seconds="600").wait_for_nodes(silent)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 nodes have joined",
        "3 of 3 nodes have joined",
    ]


def test_a_search_starts_without_nodes_that_have_not_joined_and_each_is_named(silent, capsys):
    ray([HEAD]).wait_for_nodes(silent)
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"warning: {name}: has not joined in 0 s. The search starts without it."
        for name in ("127.0.0.2", "127.0.0.3")
    ]


def test_a_search_does_not_start_without_the_head(silent):
    with pytest.raises(ClusterError) as error:
        ray([SECOND]).wait_for_nodes(silent)
    assert str(error.value) == "Ray did not start on node1, 127.0.0.3: see the lines above."


def test_a_step_that_has_ended_is_not_waited_for(silent):
    with pytest.raises(ClusterError, match=r"^Ray did not start on 127\.0\.0\.3: see the lines"):
        ray([HEAD, SECOND], step=Step(1), seconds="600").wait_for_nodes(silent)


def test_a_job_that_is_to_end_waits_for_no_node_and_names_none(silent, capsys):
    silent.received.append(10)
    ray([HEAD], seconds="600").wait_for_nodes(silent)
    assert capsys.readouterr().out == "1 of 3 nodes have joined\n"


def test_the_head_is_known_by_its_address_and_the_others_by_their_names():
    assert ray([]).missing([HEAD, THIRD]) == ["127.0.0.2"]
    assert ray([]).missing([]) == ["node1", "127.0.0.2", "127.0.0.3"]


# --- Listing the nodes --------------------------------------------------------------------------


def test_the_nodes_are_listed_by_a_process_with_the_token(console_commands, tmp_path):
    table = json.dumps([vars(HEAD)], indent=2)
    console_commands.write(
        "fmnist-cluster", f"echo $RAY_AUTH_TOKEN $@ >{tmp_path}/call.txt; echo '{table}'"
    )
    environment = os.environ | {"RAY_AUTH_TOKEN": "0123"}
    assert JobRay(ALONE, "10.0.0.1", 20021, environment, Step()).nodes() == [HEAD]
    call = (tmp_path / "call.txt").read_text()
    assert call == "0123 nodes --address=10.0.0.1:20021 --json\n"


@pytest.mark.parametrize("script", ["exit 2", "exec sleep 600"], ids=["fails", "hangs"])
def test_a_head_that_does_not_answer_has_no_nodes(console_commands, monkeypatch, script):
    monkeypatch.setattr(ray_start, "ANSWER_SECONDS", 0.1)
    console_commands.write("fmnist-cluster", script)
    assert JobRay(ALONE, "10.0.0.1", 20021, dict(os.environ), Step()).nodes() == []


# --- The step that runs Ray ---------------------------------------------------------------------


@pytest.fixture
def srun(programs, tmp_path):
    """A stand-in for srun that writes its arguments and environment, and ends at SIGUSR2."""
    programs.write(
        "srun",
        f"trap 'echo USR2 >>{tmp_path}/signals.txt; exit 0' USR2\n"
        f"env >{tmp_path}/environment.txt\n"
        f'printf "%s\\n" "$@" >{tmp_path}/part.txt; mv {tmp_path}/part.txt {tmp_path}/words.txt\n'
        "for try in $(seq 3000); do sleep 0.01; done",
    )
    return programs


def begun(tmp_path):
    """Wait until srun has begun; return its arguments and environment."""
    deadline = time.monotonic() + 60
    while not (tmp_path / "words.txt").exists():
        assert time.monotonic() < deadline, "srun has not begun"
        time.sleep(0.01)
    environment = dict(
        line.split("=", 1)
        for line in (tmp_path / "environment.txt").read_text().splitlines()
        if "=" in line
    )
    return (tmp_path / "words.txt").read_text().splitlines(), environment


def test_a_step_runs_one_task_on_each_node(srun, tmp_path):
    with running_ray(THREE) as ray:
        words, _ = begun(tmp_path)
    assert {"--nodes=3", "--ntasks=3", "--ntasks-per-node=1", "--no-kill"} <= set(words)
    assert not [word for word in words if word.startswith("--cpus-per-task")]
    assert words[-6:] == ["-P", "-m", "cluster.slurm.node", "node1", ray.host, str(ray.port)]


def test_a_step_is_ended_by_the_signal_that_srun_passes_on(srun, tmp_path):
    with running_ray(ALONE) as ray:
        begun(tmp_path)
    assert ray.step.returncode == 0
    assert (tmp_path / "signals.txt").read_text() == "USR2\n"


def test_a_step_that_does_not_end_is_killed(programs, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_start, "END_SECONDS", 0.1)
    programs.write(
        "srun", f"trap '' USR2 TERM; touch {tmp_path}/environment.txt {tmp_path}/words.txt; "
        "for try in $(seq 3000); do sleep 0.01; done"
    )  # fmt: skip
    with running_ray(ALONE) as ray:
        begun(tmp_path)
    assert ray.step.returncode == -9


def test_a_step_ends_with_a_search_that_fails(srun, tmp_path):
    with pytest.raises(KeyboardInterrupt), running_ray(ALONE) as ray:
        begun(tmp_path)
        raise KeyboardInterrupt
    assert ray.step.returncode == 0


def test_each_ray_has_a_token_that_is_on_no_command_line(srun, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    tokens = set()
    for _ in range(2):
        with running_ray(ALONE) as ray:
            words, environment = begun(tmp_path)
        tokens.add(environment["RAY_AUTH_TOKEN"])
        assert ray.environment["RAY_AUTH_TOKEN"] == environment["RAY_AUTH_TOKEN"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert "RAY_ADDRESS" not in environment, "of another Ray"
        assert environment["RAY_AUTH_TOKEN"] not in " ".join(words)
        (tmp_path / "words.txt").unlink()
    assert len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)


@pytest.mark.parametrize(("job", "is_on_loopback"), [(ALONE, True), (THREE, False)])
def test_a_ray_of_one_node_is_kept_on_loopback(srun, tmp_path, job, is_on_loopback):
    with running_ray(job):
        _, environment = begun(tmp_path)
    assert ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in environment) is is_on_loopback


def test_a_machine_without_srun_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError) as error, running_ray(ALONE):
        pass
    assert str(error.value) == ("srun cannot be run (No such file or directory): expected Slurm's.")


def test_a_step_that_ended_by_itself_is_not_signalled(programs):
    programs.write("srun", "exit 3")
    with running_ray(ALONE) as ray:
        ray.step.wait(60)
    assert ray.step.returncode == 3
    assert isinstance(ray.step, subprocess.Popen)
