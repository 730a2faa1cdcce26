"""What the checks see of a machine: the script that ssh runs there, in a shell here."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.onprem.config import ClusterFile
from cluster.onprem.hosts import (
    Ssh,
    check_local_tools,
    check_machines,
    run_local,
    ssh_problem,
)

FILE = ClusterFile(Path("mine.yaml"), "10.0.0.1", ("10.0.0.2",), "me", None, port=1, job_port=1)
TOOLS = ("awk", "bash", "df", "grep", "hostname", "ls", "tr")


@dataclass(frozen=True)
class Here(Ssh):
    """Machines that are all this one; with a home, and on the PATH nothing but some programs."""

    home: Path

    def run(self, host, command, *, seconds=60):
        variables = {"HOME": str(self.home), "PATH": str(self.home / "bin")}
        return run_local(["env", "-i", *(f"{k}={v}" for k, v in variables.items()),
                         shutil.which("bash"), "-c", command], seconds)  # fmt: skip

    def write(self, program, script=""):
        """Give the machines a program."""
        path = self.home / "bin" / program
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def problems(self):
        """Return what is wrong with the head and with the worker, but for searches.

        A search that runs here may be another test's.
        """
        return [
            [line for line in report.problems if "a search runs there" not in line]
            for report in check_machines(self, "make")
        ]


@pytest.fixture
def bare(tmp_path):
    """Machines without the programs that a cluster needs."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (tmp_path / "fmnist-search" / ".venv").mkdir(parents=True)
    return Here(FILE, tmp_path)


@pytest.fixture
def fit(bare):
    """Machines with all programs, the packages and free disks."""
    for tool in ("rsync", "make", "python3"):
        bare.write(tool)
    bare.write("df", "echo size; echo - - - 8000000")
    (bare.home / "fmnist-search" / ".venv" / ".installed").touch()
    return bare


# --- Programs -----------------------------------------------------------------------------------


def test_fit_machines_have_no_problem(fit):
    assert fit.problems() == [[], []]
    assert not any(report.is_fresh for report in check_machines(fit))


def test_each_program_that_a_machine_lacks_is_named_with_the_machine(fit):
    for tool in ("rsync", "make", "python3"):
        (fit.home / "bin" / tool).unlink()
    assert fit.problems() == [
        [f"{host}: {tool} is missing: install it there." for tool in ("rsync", "python3", "make")]
        for host in ("10.0.0.1", "10.0.0.2")
    ]


def test_a_machine_without_the_packages_needs_a_python_that_can_install_them(fit):
    (fit.home / "fmnist-search" / ".venv" / ".installed").unlink()
    fit.write("python3", "[ $1 != -c ] && echo Python 3.9.2")
    _, worker = check_machines(fit)
    assert worker.is_fresh
    assert worker.problems == (
        "10.0.0.2: its python3 is Python 3.9.2: expected Python 3.11 to 3.13, with venv and "
        "ensurepip (Debian: python3-venv).",
    )


def test_a_machine_with_the_packages_may_have_any_python_beside_them(fit):
    fit.write("python3", "[ $1 != -c ] && echo Python 3.9.2")
    assert fit.problems() == [[], []]


# --- Disks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_installed", "needed_mib"), [(True, 500), (False, 4096)], ids=["installed", "fresh"]
)
def test_a_full_home_is_named_with_what_it_needs(fit, is_installed, needed_mib):
    if not is_installed:
        (fit.home / "fmnist-search" / ".venv" / ".installed").unlink()
    fit.write(
        "df",
        f"echo size; [ $2 = /tmp ] && echo - - - 9999999 || echo - - - {needed_mib * 1024 - 1}",
    )
    message = (
        f"{needed_mib - 1} MiB free in {fit.home}: expected {needed_mib} MiB or more. Free some "
        "space there."
    )
    assert fit.problems() == [[f"10.0.0.1: {message}"], [f"10.0.0.2: {message}"]]


def test_a_full_tmp_is_named_with_what_it_needs(fit):
    fit.write("df", "echo size; [ $2 = /tmp ] && echo - - - 1024 || echo - - - 9999999")
    message = "10.0.0.2: 1 MiB free in /tmp: expected 500 MiB or more. Free some space there."
    assert fit.problems()[1] == [message]


def test_a_disk_with_just_enough_space_is_no_problem(fit):
    fit.write("df", "echo size; echo - - - 512000")
    assert fit.problems() == [[], []]


# --- What runs on the head ----------------------------------------------------------------------


def test_a_port_of_ray_that_another_program_holds_is_named_on_the_head_alone(fit):
    fit.write("grep", "exit 1")  # no process is the user's own Ray
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        head, worker = Here(replace(FILE, job_port=port), fit.home).problems()
    assert [line[: line.index(":", 12)] for line in head] == [
        f"10.0.0.1: port {port} is taken by a program that is not your Ray"
    ]
    assert worker == []


def test_a_port_that_the_users_own_ray_holds_is_no_problem(fit):
    fit.write("grep", "exit 0")  # a process is
    with socket.create_server(("127.0.0.1", 0)) as server:
        file = replace(FILE, port=server.getsockname()[1])
        assert Here(file, fit.home).problems() == [[], []]


def test_a_search_that_a_new_start_would_end_is_named_on_the_head_alone(fit):
    sleeping = ["bash", "-c", "exec -a 'fmnist-search run --trials 5' sleep 600"]
    with subprocess.Popen(sleeping) as search:
        try:
            while b"fmnist-search" not in Path(f"/proc/{search.pid}/cmdline").read_bytes()[:20]:
                os.sched_yield()
            head, worker = check_machines(fit)
        finally:
            search.kill()
    [problem] = [line for line in head.problems if f"(process {search.pid})" in line]
    assert problem == (
        f"10.0.0.1: a search runs there (process {search.pid}), and a new start of Ray would end "
        f"it: wait for it, or end it by `kill -INT {search.pid}` there."
    )
    assert not any("a search runs there" in line for line in worker.problems)


# --- Machines that do not answer ----------------------------------------------------------------


@dataclass(frozen=True)
class Silent(Ssh):
    """Machines on which a command ends as a test says."""

    answer: subprocess.CompletedProcess

    def run(self, host, command, *, seconds=60):
        return self.answer


def test_a_shell_that_does_not_run_the_checks_is_unfit():
    answer = subprocess.CompletedProcess([], 1, "welcome\n", "fish: no such syntax\n")
    assert check_machines(Silent(FILE, answer))[1].problems == (
        "10.0.0.2: its login shell did not run the checks (fish: no such syntax): expected bash.",
    )


def test_a_line_that_a_login_prints_is_no_problem(fit, monkeypatch):
    monkeypatch.setattr(
        Here, "run", lambda self, *_: subprocess.CompletedProcess(
            [], 0, "echo\nfmnist missing cake\nmotd fmnist-cluster: checked\n", ""
        )
    )  # fmt: skip
    assert fit.problems() == [[], []]


@pytest.mark.parametrize(
    ("errors", "problem"),
    [
        ("welcome\nme@a: Permission denied (publickey).\n",
         "refuses me with the key that ssh offers (me@a: Permission denied (publickey).): expected its public half in"),
        ("ssh: connect to host a port 22: No route to host\n\n",
         "does not answer by ssh (ssh: connect to host a port 22: No route to host): expected a machine"),
        ("", "does not answer by ssh (no message)"),
    ],
    ids=["refused", "no route", "silent"],
)  # fmt: skip
def test_why_ssh_failed_is_one_line_that_names_the_machine(errors, problem):
    answer = subprocess.CompletedProcess([], 255, "", errors)
    head, worker = check_machines(Silent(FILE, answer))
    assert worker.problems == (ssh_problem(Ssh(FILE), "10.0.0.2", errors),)
    [line] = "\n".join(worker.problems).splitlines()
    assert line.startswith(f"10.0.0.2: {problem}")
    assert head.problems[0].startswith(f"10.0.0.1: {problem}")


def test_a_refused_key_is_named():
    file = replace(FILE, key=Path("/home/me/key"))
    line = ssh_problem(Ssh(file), "10.0.0.1", "Permission denied (publickey).")
    assert line.startswith("10.0.0.1: refuses me with the key /home/me/key (Permission denied")


def test_a_command_that_takes_too_long_counts_as_an_ssh_that_failed():
    done = run_local(["sleep", "600"], 0.1)
    assert (done.returncode, done.stdout, done.stderr) == (255, "", "not done after 0.1 s")


# --- The ssh command ----------------------------------------------------------------------------


def test_a_command_runs_in_a_login_shell_of_the_user_on_the_machine(programs):
    programs.write("ssh", r'printf "%s\n" "$@"')
    file = replace(FILE, key=Path("/home/me/key"))
    words = Ssh(file).run("10.0.0.2", "echo 'a b'").stdout.splitlines()
    assert words[words.index("-i") + 1] == "/home/me/key"
    assert {"BatchMode=yes", "StrictHostKeyChecking=no"} <= set(words)
    assert words[-2] == "me@10.0.0.2"
    # What the shell on the machine makes of the last word.
    shell = subprocess.run(
        ["bash", "-c", f"set -- {words[-1]}; printf '%s\\n' \"$@\""],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout.splitlines() == [
        "bash", "--login", "-c", "-i", "source ~/.bashrc; echo 'a b'"
    ]  # fmt: skip


def test_ssh_chooses_the_key_if_the_file_names_none():
    assert "-i" not in Ssh(FILE).command()


# --- This machine -------------------------------------------------------------------------------


def test_the_programs_that_this_machine_lacks_are_named_together(programs, monkeypatch):
    monkeypatch.setenv("PATH", str(programs.folder))
    with pytest.raises(ClusterError) as error:
        check_local_tools()
    assert str(error.value) == "this machine has no ssh and no rsync: install it here."
    for tool in ("ssh", "rsync"):
        programs.write(tool, "")
    check_local_tools()
