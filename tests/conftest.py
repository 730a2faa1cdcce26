"""What all tests share: the environment of a worker, and small problems to search."""

import gc
import os
import secrets
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["COLUMNS"] = "200"
# The searches of the tests that run at the same time do not share the cores.
os.environ["FMNIST_SEARCH_NEIGHBOURS"] = f"{os.getpid()}-{secrets.token_hex(4)}"

HERE = Path(__file__).parent
# Problems are named as module:attribute; this makes tests/problems.py importable by all processes.
# The root is there as well: folders here have the names of its packages, which win only beside them.
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE / "reliability"), str(HERE / "cluster")]
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")) if part
)

from search.ray import kept  # noqa: E402

# The workers of a test in this process are those of ``running_ray``.
kept.start_forks_in_advance = lambda: None

# Made by starting processes that train: once for all tests that look at what comes of it. In the
# order in which they are begun: the longest first, so that both processes end at the same time.
DEAR_FIXTURES = (
    "running_ray",
    "hosts",
    "misfortunes",
    "cpus_and_gpus",
    "real_run",
    "chromium",
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
    """Keep together, in one process, what shares a fixture that is made once."""
    if item.get_closest_marker("xdist_group") is None and (group := shared_fixture(item)):
        item.add_marker(pytest.mark.xdist_group(group))


def shared_fixture(item):
    """Return what a test shares with others: a dear fixture, or those of its module; else None.

    Two processes would both make a fixture of a module, some of which start processes or train.
    """
    for fixture in DEAR_FIXTURES:
        if fixture in item.fixturenames:
            return fixture
    definitions = item._fixtureinfo.name2fixturedefs.values()
    is_shared = any(candidates[-1].scope == "module" for candidates in definitions)
    return item.path.stem if is_shared else None


def pytest_collection_modifyitems(items):
    """Begin with what takes longest: groups, and tests that start processes."""

    def rank(item):
        group = item.get_closest_marker("xdist_group")
        if group is not None and group.args[0] in DEAR_FIXTURES:
            return DEAR_FIXTURES.index(group.args[0])
        return len(DEAR_FIXTURES) + (group is None) + ("commands" not in item.fixturenames)

    items.sort(key=rank)


def pytest_collection_finish(session):
    """Leave the imported objects out of later collections of garbage, as a worker does."""
    leave_out_of_collections()


def leave_out_of_collections():
    """Let later collections of garbage pass over what is in use now.

    Each trial collects garbage several times. Looking at all of TensorFlow takes a second, and
    models that were traced leave as much behind: the same trial would take ten times as long in the
    last file as in the first.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Collect garbage where it holds something, or where more of it is to come."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        leave_out_of_collections()
    elif "running_ray" in item.fixturenames:
        gc.collect()  # the workers of a search that raised an error: its traceback holds them


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Say in words what was expected: the name of a test is a sentence."""
    report = yield
    if report.failed:
        sentence = getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ")
        report.sections.append(("Expected", sentence))
    return report


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


@pytest.fixture
def mount_disk():
    """Mount a small disk on a folder, for as long as the test lasts: ``mount_disk(folder, "1m")``.

    A test that needs one is skipped where none can be mounted.
    """
    import subprocess

    mounted = []

    def mount(folder, size):
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        if subprocess.run(words, capture_output=True, check=False).returncode != 0:
            pytest.skip("no disk can be mounted: run the tests as root, or with user namespaces")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        # Lazily: a process of Ray that is just ending may still hold a file there.
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def notes_folder(tmp_path_factory):
    """The folder through which problems and tests tell each other something, across processes."""
    folder = tmp_path_factory.mktemp("notes")
    os.environ["NOTES"] = str(folder)
    return folder


@pytest.fixture
def notes(notes_folder):
    """The same folder, empty."""
    for note in notes_folder.iterdir():
        note.unlink()
    return notes_folder


@pytest.fixture(scope="session")
def running_ray(notes_folder):
    """A Ray that runs already, as a script may have started one; its workers are forked."""
    from search.ray.runtime import local_cluster

    with local_cluster(2, forks=True):
        yield


@pytest.fixture
def here(running_ray, notes, tmp_path):
    """Run ``fmnist-search`` in this process on a running Ray: ``here("run", "--trials", 2)``.

    What takes seconds here takes half a minute as a command: Ray and TensorFlow have started.
    """
    from in_process import fmnist_search

    def run(*words, folder=tmp_path):
        return fmnist_search(folder, *words)

    return run
