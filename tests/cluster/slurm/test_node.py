"""Ray on one node of a job: its options, its folder and its end."""

import os
import signal
import socket
import threading

import pytest

from cluster.errors import ClusterError
from cluster.slurm import node
from cluster.slurm.job import Signals
from cluster.slurm.node import Head, run_ray, start_options, wait_for_head

HEAD = Head("node1", "10.0.0.1", 20021)


@pytest.fixture
def signals(kept_handlers, monkeypatch):
    """Signals of a task of srun, on the node ``node2``."""
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    return Signals(signal.SIGUSR2, signal.SIGTERM, sent=signal.SIGTERM)


# --- The options of Ray -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "bound_cpus", "expected"),
    [
        ({"SLURM_CPUS_ON_NODE": "8"}, 64, {"--num-cpus=8", "--num-gpus=0"}),
        # Where a site binds tasks all the same, no more trials start than have a CPU.
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


@pytest.mark.parametrize("variables", [{}, {"SLURM_MEM_PER_NODE": "0"}])
def test_ray_decides_on_the_memory_itself_where_slurm_gives_all_of_it(variables):
    options = start_options({"SLURMD_NODENAME": "node2", **variables}, 4, HEAD)
    assert not [option for option in options if "memory" in option]


def test_a_node_joins_the_head():
    options = start_options({"SLURMD_NODENAME": "node2"}, 4, HEAD)
    assert "--address=10.0.0.1:20021" in options
    assert "--head" not in options


def test_the_head_listens_on_its_own_address_and_three_ports():
    options = start_options({"SLURMD_NODENAME": "node1"}, 4, HEAD)
    assert {
        "--head", "--node-ip-address=10.0.0.1", "--port=20021", "--ray-client-server-port=20022",
        "--dashboard-port=20023", "--include-dashboard=false",
    } <= set(options)  # fmt: skip
    assert not [option for option in options if option.startswith("--address")]


# --- Waiting for the head -----------------------------------------------------------------------


def test_a_node_waits_until_the_head_listens(signals, monkeypatch):
    monkeypatch.setattr(node, "POLL_SECONDS", 0.01)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        late = threading.Timer(0.1, server.listen)
        late.start()
        wait_for_head(Head("node1", *server.getsockname()), signals, seconds=600)
        late.join()
        server.settimeout(60)
        server.accept()[0].close()  # it has connected, and closed the connection


def test_a_head_that_does_not_listen_in_time_is_named(signals):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClusterError) as error:
        wait_for_head(Head("node1", "127.0.0.1", port), signals, seconds=0)
    assert str(error.value) == (
        f"no Ray answers at 127.0.0.1:{port} after 0 s: expected the one of node1. See its lines."
    )


def test_a_node_that_is_to_end_waits_no_longer(signals):
    os.kill(os.getpid(), signal.SIGUSR2)
    wait_for_head(Head("node1", "127.0.0.1", 9), signals, seconds=600)


# --- Running Ray --------------------------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path):
    """The folder of Ray."""
    return tmp_path / "ray-7"


def test_ray_runs_in_a_folder_of_its_own_which_is_removed(
    signals, console_commands, scratch, tmp_path
):
    scratch.mkdir()
    (scratch / "left by a job that was killed").touch()
    seen = tmp_path / "seen.txt"
    console_commands.write(
        "ray", f'echo "$@" >{seen}; echo $TMPDIR >>{seen}; ls $TMPDIR >>{seen}; '
        f"stat --format %a $TMPDIR >>{seen}"
    )  # fmt: skip
    run_ray(["--num-cpus=2"], scratch, signals)
    assert seen.read_text().splitlines() == [
        f"start --block --temp-dir={scratch} --num-cpus=2", str(scratch), "ray-start.txt", "700"
    ]  # fmt: skip
    assert not scratch.exists()


def test_a_ray_that_ends_by_itself_is_an_error_with_its_last_lines(
    signals, console_commands, scratch, capfd
):
    console_commands.write("ray", "for i in $(seq 25); do echo line $i >&2; done; exit 3")
    assert run_ray([], scratch, signals) == 1
    first, *lines = capfd.readouterr().out.splitlines()
    assert first == "node2: Ray has ended with status 3; its last lines:"
    assert lines == [f"node2: line {number}" for number in range(6, 26)]
    assert not scratch.exists()


def test_a_ray_that_a_signal_ends_is_no_error(signals, console_commands, scratch, capfd):
    console_commands.write(
        "ray",
        f"trap 'exit 15' TERM; kill -USR2 {os.getpid()}; for try in $(seq 3000); do sleep 0.01; done",
    )
    assert run_ray([], scratch, signals) == 0
    assert capfd.readouterr().out == ""
    assert not scratch.exists()


def test_a_folder_that_cannot_be_made_is_an_error(signals, console_commands, scratch):
    scratch.write_text("")
    with pytest.raises(OSError, match="File exists"):
        run_ray([], scratch, signals)


# --- The task -----------------------------------------------------------------------------------


@pytest.fixture
def task(signals, console_commands, monkeypatch, tmp_path):
    """The environment of a task of srun on ``node2``; its Ray prints its options and ends."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(node, "SCRATCH", f"{tmp_path}/ray-{{job}}")
    console_commands.write("ray", 'echo "$@"')
    return monkeypatch


def test_a_task_runs_ray_on_its_node_once_the_head_listens(task, tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert node.main("node1", "127.0.0.1", str(port)) == 1, "Ray has ended by itself"
    options = capfd.readouterr().out.splitlines()[-1].split()
    assert options[:4] == ["node2:", "start", "--block", f"--temp-dir={tmp_path}/ray-7"]
    assert f"--num-cpus={len(os.sched_getaffinity(0))}" in options
    assert f"--address=127.0.0.1:{port}" in options


def test_the_task_of_the_head_waits_for_nobody(task, capfd):
    task.setenv("SLURMD_NODENAME", "node1")
    assert node.main("node1", "127.0.0.1", "9") == 1
    assert "--head" in capfd.readouterr().out.splitlines()[-1].split()


def test_a_task_without_a_head_says_so_with_the_name_of_its_node(task, capfd):
    task.setenv("FMNIST_SEARCH_JOIN_SECONDS", "0")
    assert node.main("node1", "127.0.0.1", "9") == 1
    [line] = capfd.readouterr().out.splitlines()
    assert line.startswith("node2: error: no Ray answers at 127.0.0.1:9 after 0 s")
