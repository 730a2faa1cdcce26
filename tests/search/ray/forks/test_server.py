"""Workers forked of a process that has imported TensorFlow."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import have_ended

from search.ray.forks import asks_for_forks, fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")

# Tells what Ray's own script would find.
SCRIPT = """
import json, os, random, signal, sys
print(json.dumps({
    "has_tensorflow": "tensorflow" in sys.modules,
    "parent": os.getppid(),
    "words": sys.argv,
    "folder": os.getcwd(),
    "setting": os.environ.get("SETTING"),
    "path": sys.path[0],
    "drawn": random.random(),
    "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "is_group_of_its_own": os.getpgrp() == os.getpid(),
    "oom_score_adj": int(open("/proc/self/oom_score_adj").read()),
}))
print("to the other file", file=sys.stderr)
"""


def started(executable, script, *words, folder):
    """Start a script as Ray starts a worker; return what it found once it has ended."""
    return subprocess.run(
        [*shlex.split(executable), str(script), *words], capture_output=True, text=True, check=True,
        cwd=folder, env=os.environ | {"SETTING": "of the one who asks"}, timeout=120,
        preexec_fn=as_ray_does,
    )  # fmt: skip


def as_ray_does():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def server_process(executable):
    """Return the process of the server: the one that was given its folder."""
    folder = str(Path(shlex.split(executable)[-1]).parent)
    [server] = [one for one in psutil.Process().children() if folder in one.cmdline()]
    return server


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "a folder" / "script.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


def test_a_worker_is_forked_with_tensorflow_and_keeps_its_arguments_environment_and_files(
    script, tmp_path
):
    with fork_server() as executable:
        server = server_process(executable)
        done = [started(executable, script, "--a", "b c", folder=tmp_path) for _ in range(2)]
        found = [json.loads(one.stdout) for one in done]
    for one in found:
        assert one["has_tensorflow"]
        assert one["parent"] == server.pid
        assert one["words"] == [str(script), "--a", "b c"]
        assert one["folder"] == str(tmp_path)
        assert one["setting"] == "of the one who asks"
        assert one["path"] == str(script.parent)
        assert one["interrupts"]
        assert one["blocked"] == [signal.SIGINT]
        assert one["is_group_of_its_own"]
        assert one["oom_score_adj"] == 1000
    assert found[0]["drawn"] != found[1]["drawn"]
    assert "to the other file" in done[0].stderr
    assert not server.is_running()
    assert asks_for_forks(executable)
    assert not asks_for_forks("uv run --with 'my package'")
    assert not asks_for_forks("")


def test_a_worker_starts_python_itself_without_a_server(script, tmp_path):
    with fork_server() as executable:
        server = server_process(executable)
        server.kill()
        server.wait(10)
        found = json.loads(started(executable, script, "--a", folder=tmp_path).stdout)
    assert not found["has_tensorflow"]
    assert found["words"] == [str(script), "--a"]
    assert found["setting"] == "of the one who asks"


def test_a_server_with_threads_in_it_forks_none(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "keras_tuner.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=[600], daemon=True).start()"
    )
    with fork_server() as executable:
        server = server_process(executable)
        found = json.loads(started(executable, script, folder=tmp_path).stdout)
        server.wait(60)
    assert not found["has_tensorflow"]


def test_a_worker_starts_python_itself_if_the_server_dies_while_it_waits(script, tmp_path):
    with fork_server() as executable:
        server = server_process(executable)
        server.suspend()  # it has not come as far as answering
        waiting = subprocess.Popen(
            [*shlex.split(executable), str(script)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        path = shlex.split(executable)[-1]
        while Path("/proc/net/unix").read_text().count(path) < 2:  # who listens, and who waits
            assert waiting.poll() is None
            time.sleep(0.05)
        server.kill()
        output, _ = waiting.communicate(timeout=60)
    assert not json.loads(output)["has_tensorflow"]


def test_the_server_and_the_workers_end_with_a_driver_that_is_killed(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    code = (
        "import psutil, shlex, subprocess, sys; from search.ray.forks import asks_for_forks, fork_server\n"
        "with fork_server() as executable:\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    print(shlex.split(executable)[-1], flush=True)\n"
        "    subprocess.run([*shlex.split(executable), sys.argv[1]]); sys.stdin.read()"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(script)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    server, path, worker = (driver.stdout.readline().strip() for _ in range(3))
    processes = [psutil.Process(int(one)) for one in (server, worker)]
    assert Path(path).exists()
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=60)
    assert have_ended(processes, seconds=60)
    assert not Path(path).parent.exists()


def test_ray_has_its_workers_forked(running_ray):
    import ray

    @ray.remote
    def look():
        import psutil

        from search.worker import process as worker

        parent = psutil.Process().parent().cmdline()
        was_set_up = worker.is_set_up()
        worker.set_up(threads=1, sees_gpus=False)
        import tensorflow as tf

        three = float(tf.reduce_sum(tf.ones(3)))
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        return parent, was_set_up, worker.is_set_up(), three, threads

    parent, was_set_up, is_set_up, three, threads = ray.get(look.remote(), timeout=200)
    assert "server.py" in " ".join(parent)
    assert (was_set_up, is_set_up, three, threads) == (False, True, 3.0, 1)
