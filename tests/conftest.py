"""What all tests share: the environment of a worker, and small problems to search."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["COLUMNS"] = "200"

HERE = Path(__file__).parent
# Problems are named as module:attribute; this makes tests/problems.py importable by all processes.
# The root is there as well: folders here have the names of its packages, which win only beside them.
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE / "reliability"), str(HERE / "cluster")]
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")) if part
)

# Made by starting processes that train: once for all tests that look at what comes of it.
DEAR_FIXTURES = (
    "real_run",
    "running_ray",
    "unsearchable",
    "keras_tuner_runs",
    "misfortunes",
    "hosts",
    "chromium",
    "cpus_and_gpus",
    "followed_run",
)

# The console commands of this environment, as a user runs them.
BIN = Path(sys.executable).parent


FOLDERS = pytest.StashKey[dict[Path, pytest.Dir]]()


def pytest_collect_directory(path, parent):
    """Return one node for each folder, in whatever order files are named on the command line.

    pytest 9.1 makes a second node where a file of a folder above is named in between; the fixtures
    of a folder's conftest.py belong to the first one alone (pytest issue 14635).
    """
    folders = parent.session.stash.setdefault(FOLDERS, {})
    if path not in folders:
        folders[path] = pytest.Dir.from_parent(parent, path=path)
    return folders[path]


def pytest_itemcollected(item):
    """Keep together, in one process, what shares a fixture that is dear to make."""
    for fixture in DEAR_FIXTURES:
        if fixture in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group(fixture))


@pytest.fixture(scope="session")
def commands() -> Path:
    """Folder of the console commands."""
    return BIN


@pytest.fixture(scope="session")
def real_run(tmp_path_factory):
    """A real search: real data, real Ray workers, real TensorFlow, in a process of its own.

    Made once for all tests that look at what comes out of one.
    """
    import subprocess

    out = tmp_path_factory.mktemp("runs") / "a real run"
    done = subprocess.run(
        [
            BIN / "fmnist-search", "run", "--space", "wide", "--trials", "6", "--epochs", "3",
            "--grace-period", "1", "--retrain-epochs", "1,2", "--workers", "2", "--out", out,
        ],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done


@pytest.fixture(scope="module")
def running_ray():
    """A Ray that runs already, as a script may have started one."""
    from search.ray.runtime import local_cluster

    with local_cluster(2):
        yield
