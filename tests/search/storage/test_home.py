"""Accounts without a home, such as the number of a user that a container does not know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.storage import home, scratch

# A number that no file of users names. The files of the tests are its own.
NAMELESS = ("unshare", "--user", "--map-user=54321", "--map-group=54321", "env", "-u", "HOME")


@pytest.fixture
def run(tmp_path):
    """Run a program as a user without a name and a home."""

    def run(*words, **variables):
        done = subprocess.run(
            [*NAMELESS, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ | variables, timeout=300,
        )  # fmt: skip
        if "unshare" in done.stderr:
            pytest.skip("no user can be made: user namespaces are off")
        return done

    return run


def test_an_account_without_a_home_gets_a_temporary_one(run, tmp_path):
    code = (
        "import os; from pathlib import Path; from search.storage.home import prepare_home\n"
        "try: Path.home()\n"
        "except RuntimeError: print('none')\n"
        "prepare_home(); print(Path.home())"
    )
    done = run(sys.executable, "-c", code, TMPDIR=str(tmp_path))
    before, folder = done.stdout.splitlines()
    assert before == "none"
    assert Path(folder).name == "home"
    assert Path(folder).parents[1] == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_home_that_there_is_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home.prepare_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert home.caches_of_workers() == {}
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    home.prepare_home()
    assert os.environ["HOME"] == str(tmp_path / "missing")
    assert home.caches_of_workers() == {"MPLCONFIGDIR": str(scratch.folder() / "matplotlib")}


@pytest.mark.long
def test_a_search_runs_without_a_name_and_a_home_and_leaves_nothing(run, commands, tmp_path):
    temporary = tmp_path / "t"
    temporary.mkdir()
    problem = ("--hypermodel", "problems:small", "--data", "problems:blobs")
    for words in (
        (
            "run",
            *problem,
            "--trials",
            "2",
            "--epochs",
            "1",
            "--retrain-epochs",
            "1",
            "--out",
            "out",
        ),
        ("doctor", *problem),
    ):
        done = run(commands / "fmnist-search", *words, TMPDIR=str(temporary))
        assert done.returncode == 0, done
    assert run(commands / "fmnist-results", "report", "out").returncode == 0
    assert run(commands / "fmnist-cluster", "jobs").stderr.startswith("error: cluster/onprem.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t"]
    assert not list(temporary.iterdir())
