"""The script that `ray submit` runs on the head, in this process with a stand-in for the search."""

import io
import os
import sys
from pathlib import Path

import pytest

from cluster import submit
from cluster.errors import ClusterError
from cluster.nodes import Node

HEAD = Node("10.0.0.1", 1, 0, 1.0)
TWO_MACHINES = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\n"


@pytest.fixture
def project(user, console_commands):
    """The project on the head; its `fmnist-search` prints where and how it was started."""
    folder = user / "fmnist-search"
    folder.mkdir()
    console_commands.write("fmnist-search", 'pwd -P; echo "$RAY_ADDRESS $PYTHONUNBUFFERED $@"')
    return folder


@pytest.fixture
def run(project, monkeypatch, capfd, kept_ctrl_c):
    """Run the script on a cluster of nodes; return its exit status and output."""
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.01)

    def run_script(*arguments, list_nodes=lambda: [HEAD]):
        status = submit.main(
            list(arguments), list_nodes=list_nodes, project=project, join_seconds=0
        )
        return status, capfd.readouterr().out

    return run_script


def no_ray():
    raise ClusterError("no Ray cluster answers")


def test_the_search_runs_in_the_project_on_the_ray_of_the_head(run, project):
    status, output = run("run", "--space", "wide")
    assert status == 0
    joined, process, *printed = output.splitlines()
    assert joined == "1 of 1 nodes have joined"
    assert process.startswith("search: process ")
    assert printed == [str(project.resolve()), "auto 1 run --space wide"]


def test_the_output_of_the_search_is_kept_in_the_file_that_is_named(run, project):
    _, output = run("run", "--space", "wide")
    _, process, *printed = output.splitlines()
    path = Path(process.rpartition("its output is kept in ")[2])
    assert path.parent == project / "runs"
    assert path.read_text().splitlines() == printed


def test_the_output_of_the_search_is_passed_on_while_it_runs(
    run, console_commands, project, monkeypatch
):
    # It waits until somebody has read its first line, but not for ever.
    console_commands.write(
        "fmnist-search",
        "echo begun; for try in $(seq 500); do [ -e read ] && exit 0; sleep 0.01; done; exit 1",
    )

    class Screen(io.BytesIO):
        def write(self, output):
            if b"begun" in output:
                (project / "read").touch()
            return super().write(output)

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Screen()))
    status, _ = run("run")
    assert status == 0, "nobody has read its first line"


@pytest.mark.parametrize("status", [0, 2, 130])
def test_the_exit_status_is_that_of_the_search(run, console_commands, status):
    console_commands.write("fmnist-search", f"exit {status}")
    assert run("run")[0] == status


def test_no_command_is_one_line(run):
    assert run() == (
        2,
        "error: no command: expected one of fmnist-search, such as: -- run --space wide\n",
    )


def test_no_ray_is_one_line_and_nothing_is_run(run, project):
    assert run("run", list_nodes=no_ray) == (2, "error: no Ray cluster answers\n")
    assert not (project / "runs").exists()


def test_a_search_starts_without_nodes_that_have_not_joined(run, user):
    (user / "ray_bootstrap_config.yaml").write_text(TWO_MACHINES)
    status, output = run("run")
    assert status == 0
    joined, warning, process, *_ = output.splitlines()
    assert joined == "1 of 2 nodes have joined"
    assert warning.startswith("warning: 1 of 2 nodes have not joined in 0 s.")
    assert warning.endswith("The search starts without them and uses them when they join.")
    assert process.startswith("search: process ")


def test_a_search_waits_for_all_machines_of_the_file(run, user):
    (user / "ray_bootstrap_config.yaml").write_text(TWO_MACHINES)
    _, output = run("run", list_nodes=lambda: [HEAD, Node("10.0.0.2", 1, 0, 1.0)])
    assert output.splitlines()[0] == "2 of 2 nodes have joined"


def test_ctrl_c_interrupts_the_search_which_ends_by_itself(run, console_commands):
    console_commands.write(
        "fmnist-search",
        "trap 'echo ended cleanly; exit 130' INT\n"
        f"kill -INT {os.getpid()}\n"  # as Ctrl-C does to this script
        "for try in $(seq 3000); do sleep 0.01; done; exit 1",
    )
    status, output = run("run")
    assert status == 130
    assert output.splitlines()[-1] == "ended cleanly"


def test_the_search_outlives_the_connection(run, console_commands):
    # In a session of its own: the end of the terminal of `ray submit` does not reach it.
    console_commands.write("fmnist-search", "ps -o sid= -p $$ | tr -d ' '; echo $$")
    sid, pid = run("run")[1].splitlines()[2:]
    assert sid == pid
