"""What is seen of a machine: by the very script that ssh runs there, in a shell here."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.onprem.config import ClusterFile
from cluster.onprem.fetch import newest_run
from cluster.onprem.hosts import Ssh, check_machines, run_local, ssh_problem

FILE = ClusterFile(Path("mine.yaml"), "10.0.0.1", ("10.0.0.2",), "me", None, port=1, job_port=1)
TOOLS = ("awk", "bash", "df", "grep", "ls", "tr")


@dataclass(frozen=True)
class Here(Ssh):
    """Each machine is this one; with a home, and on its path nothing but some tools."""

    home: Path

    def run(self, host, command, *, seconds=60):
        variables = {"HOME": str(self.home), "PATH": str(self.home / "bin")}
        return run_local(["env", "-i", *(f"{k}={v}" for k, v in variables.items()),
                         shutil.which("bash"), "-c", command], seconds)  # fmt: skip


@pytest.fixture
def here(tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (tmp_path / "fmnist-search" / ".venv").mkdir(parents=True)
    return Here(FILE, tmp_path)


def is_of_a_search(problem):
    return "a search runs there" in problem  # which may be another test's


def test_each_tool_that_a_machine_lacks_is_named_with_the_machine(here):
    (here.home / "fmnist-search" / ".venv" / ".installed").touch()
    head, worker = check_machines(here)
    lacks = [f"{{}}: {tool} is missing: install it there." for tool in ("rsync", "make", "python3")]
    assert [p for p in head.problems if not is_of_a_search(p)] == [
        p.format("10.0.0.1") for p in lacks
    ]
    assert list(worker.problems) == [p.format("10.0.0.2") for p in lacks]
    assert not head.is_fresh


def test_a_machine_without_the_packages_takes_a_python_that_can_install_them(here):
    for tool, body in [
        ("rsync", ""),
        ("make", ""),
        ("python3", "[ $1 != -c ] && echo Python 3.9.2"),
    ]:
        program = here.home / "bin" / tool
        program.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        program.chmod(0o755)
    _, worker = check_machines(here)
    assert worker.is_fresh
    assert worker.problems[0].startswith(
        "10.0.0.2: its python3 is Python 3.9.2: expected Python 3.11"
    )


def test_a_search_that_a_new_start_would_end_is_named_on_the_head_alone(here):
    sleeping = ["bash", "-c", "exec -a 'fmnist-search run --trials 5' sleep 600"]
    with subprocess.Popen(sleeping) as search:
        try:
            while b"fmnist-search" not in Path(f"/proc/{search.pid}/cmdline").read_bytes()[:20]:
                os.sched_yield()
            head, worker = check_machines(here)
        finally:
            search.kill()
    [problem] = [p for p in head.problems if f"(process {search.pid})" in p]
    assert problem.endswith(f"wait for it, or end it by `kill -INT {search.pid}` there.")
    assert not any(map(is_of_a_search, worker.problems))


def test_a_shell_that_does_not_run_the_script_is_unfit(here, monkeypatch):
    monkeypatch.setattr(Here, "run", lambda self, *_: run_local(["bash", "-c", "echo no >&2"], 60))
    assert check_machines(here)[1].problems == (
        "10.0.0.2: its login shell did not run the checks (no): expected bash.",
    )


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ("welcome\nme@a: Permission denied (publickey).\n", "refuses me with the key that ssh offers"),
        ("ssh: connect to host a port 22: No route to host\n", "does not answer by ssh (ssh: connect"),
        ("", "does not answer by ssh (no message)"),
    ],
)  # fmt: skip
def test_why_ssh_failed_is_a_line_that_names_the_machine(errors, expected):
    line = ssh_problem(Ssh(FILE), "10.0.0.2", errors)
    assert line.startswith(f"10.0.0.2: {expected}")
    assert len(line.splitlines()) == 1


def test_the_newest_run_of_the_head_is_the_one_whose_journal_was_written_last(here):
    for seconds, name in enumerate(("old", "with a space", "older"), start=-1):
        journal = here.home / "fmnist-search" / "runs" / name / "journal.jsonl"
        journal.parent.mkdir(parents=True)
        journal.touch()
        os.utime(journal, (1000 - abs(seconds), 1000 - abs(seconds)))
    assert newest_run(here) == "with a space"
