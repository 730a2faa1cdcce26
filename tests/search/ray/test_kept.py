"""The Ray and the fork server of a script: started once, and ended with it."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import psutil
import pytest
from processes import have_ended

from search.ray import kept

# A script with two searches, without TensorFlow. It tells which processes its Rays have.
SCRIPT = """
import json, sys, time
import psutil
from search.ray import kept, runtime
from search.ray.environment import import_ray

def search():
    with runtime.connect_to_ray(None, 1, forks=True, stays=True):
        import ray
        while ray.available_resources()["object_store_memory"] < (
            ray.cluster_resources()["object_store_memory"]
        ):
            time.sleep(0.05)  # until the data of the search before are released
        stored = ray.put(bytes(30_000_000))
        forked = ray.remote(lambda: "keras_tuner" in sys.modules)
        return runtime._current.raylet.pid, ray.get(forked.remote()), runtime.has_other_nodes()

kept.start_forks_in_advance()
import_ray()
import ray
rays = [search()]
rays.append(search())
if "ray" in sys.argv:
    ray.init(num_cpus=1, include_dashboard=False, _temp_dir="/tmp/ray")
    address = ray.get_runtime_context().gcs_address
    with runtime.connect_to_ray(None, 1, forks=True, stays=True):
        assert ray.get_runtime_context().gcs_address == address
    ray.shutdown()
    rays.append(search())
if "loss" in sys.argv:
    raylet = psutil.Process(rays[0][0])
    raylet.kill()
    while raylet.is_running() and raylet.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    rays.append(search())
if "begun" in sys.argv:
    kept.end_ray()
    kept.start_ray(1, forks=True)  # a search of which a check fails
    time.sleep(3)
family = [one.pid for one in psutil.Process().children(recursive=True)]
print(json.dumps({"rays": rays, "family": family}), flush=True)
if "exception" in sys.argv:
    raise ValueError("of the script")
if "waits" in sys.argv:
    time.sleep(600)
"""


def running(pids):
    """Return the processes; a worker of the last search may just have ended."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


@pytest.fixture
def temporary_files(tmp_path):
    """The folder for temporary files of the scripts."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    return folder


@pytest.fixture
def script(tmp_path, temporary_files):
    """Start the script, with empty modules in the place of those that take long to import."""
    for name in ("keras", "keras_tuner"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "tensorflow.py").write_text("import numpy")
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = [str(tmp_path), os.environ["PYTHONPATH"]]
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "script.py", *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(temporary_files)},
        )  # fmt: skip
        started.append(process)
        told = json.loads(process.stdout.readline())
        return process, told["rays"], list(running(told["family"]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_swept_by_the_next(folder):
    """Start a process that needs a temporary folder; tell whether nothing is left after it."""
    code = "from search.storage import scratch; scratch.folder()"
    environment = os.environ | {"TMPDIR": str(folder)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    return not list(folder.iterdir())


def test_two_searches_share_a_ray_with_forked_workers_and_nothing_is_left_when_it_is_killed(
    script, temporary_files
):
    process, rays, family = script("waits")
    assert rays[0] == rays[1]
    assert rays[0][1:] == [True, False]
    assert len(family) > 5
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert have_ended(family, seconds=60)
    assert is_swept_by_the_next(temporary_files)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "number"),
    [
        ([], None),
        (["exception"], None),
        (["begun"], None),
        (["begun", "waits"], signal.SIGKILL),
        (["waits"], signal.SIGINT),
        (["waits"], signal.SIGTERM),
    ],
    ids=["normal", "exception", "begun", "begun and killed", "interrupted", "terminated"],
)
def test_nothing_is_left_of_a_script_that_ends_in_another_way(
    script, temporary_files, words, number
):
    process, _, family = script(*words)
    if number is not None:
        process.send_signal(number)
    process.wait(60)
    assert have_ended(family, seconds=60)
    if number is None:
        assert not list(temporary_files.iterdir())
    assert is_swept_by_the_next(temporary_files)


@pytest.mark.long
def test_a_script_may_start_and_end_a_ray_of_its_own_between_searches(script):
    process, rays, family = script("ray")
    assert rays[2] == rays[0]
    assert process.wait(60) == 0
    assert have_ended(family, seconds=60)


@pytest.mark.long
def test_a_lost_ray_is_started_again_by_the_next_search(script):
    process, rays, family = script("loss")
    assert rays[2][0] != rays[0][0]
    assert rays[2][1:] == rays[0][1:]
    assert process.wait(60) == 0
    assert have_ended(family, seconds=60)


def test_only_the_process_of_a_script_starts_to_fork_in_advance(running_ray):
    import ray

    assert not kept._is_child()
    assert ray.get(ray.remote(kept._is_child).remote())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(kept._is_child)


REFUSED = """
import json, keras, psutil, search.kt as kt
import problems
tuner = kt.RandomSearch(problems.small, kt.Objective("val_nothing", "max"), max_trials=1)
train, validation, _ = problems.blobs()
try:
    tuner.search(*train, epochs=1, validation_data=validation, verbose=0)
finally:
    family = [one.pid for one in psutil.Process().children(recursive=True)]
    print(json.dumps(family))
"""


@pytest.mark.long
def test_a_refused_search_ends_its_script_at_once_and_leaves_nothing(tmp_path):
    (tmp_path / "script.py").write_text(REFUSED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert "ObjectiveError" in done.stderr
    family = json.loads(done.stdout)
    assert len(family) > 1
    assert have_ended(list(running(family)), seconds=60)


IDLE = """
import shlex, subprocess, sys, time
from search.ray import forks
forks.IDLE_SECONDS = 0.5
server = forks.ForkServer()
worker = subprocess.Popen([*shlex.split(server.executable), "worker.py"], stdin=subprocess.PIPE)
time.sleep(2)
print(server.is_running, flush=True)
worker.wait()
while server.is_running:
    time.sleep(0.1)
"""


def test_a_fork_server_without_forks_ends_by_itself(tmp_path):
    for name in ("keras", "keras_tuner"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "tensorflow.py").write_text("import numpy")
    (tmp_path / "worker.py").write_text("import time; time.sleep(4)")
    done = subprocess.run(
        [sys.executable, "-c", IDLE], cwd=tmp_path, capture_output=True, text=True, timeout=100,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])},
    )  # fmt: skip
    assert done.stdout == "True\n"
