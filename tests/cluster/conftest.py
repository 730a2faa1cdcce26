"""What the tests of the cluster share: a user, the commands in this process, stand-ins."""

import logging
import os
import signal
import sys
from dataclasses import dataclass
from unittest.mock import patch

import pytest


@pytest.fixture
def user(tmp_path):
    """A user without a token; yields the home folder.

    What a command sets for its own process is undone at the end.
    """
    home = tmp_path / "home"
    home.mkdir()
    disabled = logging.root.manager.disable
    of_ray = [name for name in os.environ if name.startswith("RAY_")]
    with patch.dict(os.environ, {"HOME": str(home)}):
        for name in of_ray:
            del os.environ[name]
        yield home
    logging.disable(disabled)


@dataclass(frozen=True)
class Answer:
    """What a command line says: its exit status, output and errors."""

    status: int
    output: str
    errors: str


@pytest.fixture
def fmnist_cluster(user, monkeypatch, capsys):
    """Run a command line of fmnist-cluster in this process."""
    from cluster import cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fmnist-cluster", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Answer(end.value.code, *capsys.readouterr())

    return run


class Programs:
    """Programs of a test's own, which a user types before others of their names.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def write(self, name, script):
        """Write a program in the language of sh."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for programs on the PATH."""
    own = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(own.folder), prepend=os.pathsep)
    return own


@pytest.fixture
def console_commands(programs, monkeypatch):
    """Stand-ins for the console commands too, which lie beside the Python that runs."""
    monkeypatch.setattr(sys, "executable", str(programs.folder / "python"))
    return programs


@pytest.fixture
def job_server():
    """A stand-in for a job server."""
    from job_server import running_job_server

    with running_job_server() as server:
        yield server


@pytest.fixture
def kept_ctrl_c():
    """What a command makes of Ctrl-C, for its own process, is undone at the end."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
