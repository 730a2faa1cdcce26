"""Searches that run at the same time: on one machine, by processes of their own, and on a cluster."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from several_nodes import ENVIRONMENT, several_nodes

from results.record.journal import read
from search.machine.machine import Machine
from search.ray import neighbours
from search.ray.neighbours import GROUP, Request, beside_others
from search.storage import clock

MACHINE = Machine(4, "of this machine", 2**34, 2**34, "of this machine")
OTHER = """
import sys
from pathlib import Path
from search.machine.machine import Machine
from search.ray import neighbours

neighbours.this_machine = lambda: Machine(4, "", 2**34, 2**34, "")
workers = int(sys.argv[2])
request = neighbours.Request(Path(sys.argv[1]), workers, 1.0, is_asked=True, waits=False)
with neighbours.beside_others(request, lambda line: None):
    print("begun", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(neighbours, "this_machine", lambda: MACHINE)
    monkeypatch.setattr(clock, "_STARTED", clock._STARTED)  # a wait moves it


@pytest.fixture
def begin(tmp_path):
    """Begin a process that holds cores as a search does: ``begin("runs/a", 2)``."""
    started = []

    def start(run, workers, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER, run, str(workers)], cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def take(workers=4, cpus=1.0, *, is_asked=False, waits=False, say=None):
    """Return the trials at once of a search that would use so many if it were alone, and lines."""
    lines = []
    with beside_others(
        Request(Path("mine"), workers, cpus, is_asked=is_asked, waits=waits), say or lines.append
    ) as left:
        return left, lines


def test_a_search_alone_takes_all_and_says_nothing():
    assert take() == (4, [])


@pytest.mark.parametrize(
    ("used", "cpus", "workers", "left"), [(1, 1, 4, 3), (3, 1, 4, 1), (4, 1, 4, 1), (1, 2, 2, 1)]
)
def test_a_search_takes_the_cores_that_another_leaves_at_least_one(
    begin, tmp_path, monkeypatch, used, cpus, workers, left
):
    monkeypatch.chdir(tmp_path)
    other = begin("runs/a", used)
    are = "is" if used == 1 else "are"
    line = f"{used} of 4 cores {are} used by the search in runs/a (process {other.pid}); "
    assert take(workers, cpus) == (left, [f"{line}trials at once: {left}"])


def test_a_number_that_was_asked_for_stays_and_the_others_are_named(begin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = begin("a", 1), begin("b", 2)
    workers, [line] = take(2, is_asked=True)
    assert workers == 2
    assert line.startswith("3 of 4 cores are used by the searches in ")
    assert f"a (process {one.pid})" in line
    assert f"b (process {two.pid})" in line
    assert line.endswith("; trials at once: 2 as asked")
    assert take(1, is_asked=True) == (1, [])  # there is room


def test_a_search_that_was_killed_does_not_count(begin):
    other = begin("a", 4)
    assert take()[0] == 1
    other.kill()
    other.wait()
    assert take() == (4, [])


def test_a_search_that_has_ended_does_not_count(begin):
    begin("a", 4).communicate("end\n")
    assert take() == (4, [])


def test_searches_of_another_group_or_with_another_tmpdir_do_not_count(begin, tmp_path):
    begin("a", 4, **{GROUP: "another"})
    begin("b", 4, TMPDIR=str(tmp_path))
    assert take() == (4, [])


def test_a_search_that_waits_says_so_once_and_begins_when_there_is_room(begin, monkeypatch):
    monkeypatch.setattr(neighbours, "POLL_SECONDS", 0.1)
    other = begin("a", 1)
    lines = []

    def say(line):
        lines.append(line)
        other.communicate("end\n")

    workers, _ = take(waits=True, say=say)
    assert workers == 4
    [line] = lines
    assert line.endswith("; waiting until there is room for 4 trials at once")


def test_searches_that_start_together_do_not_take_the_same_cores(tmp_path):
    """Without a number of their own, two searches on four cores never take more than five."""
    code = OTHER.replace("is_asked=True", "is_asked=False").replace(
        'print("begun"',
        'print(__import__("json").load(open(neighbours.scratch.folder() / '
        'neighbours.FILE))["cores"]',
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, name, "4"], cwd=tmp_path, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in "ab"
    ]  # fmt: skip
    cores = [float(process.stdout.readline()) for process in processes]
    for process in processes:
        process.communicate("end\n")
    assert sorted(cores) == [1, 4]


SCRIPT = """
import problems
from search import RayTuner

tuner = RayTuner(problems.small, "val_accuracy", max_trials=1, project_name="script", wait={waits})
train, validation, _ = problems.blobs()
tuner.search(*train, validation_data=validation, epochs=1)
"""


@pytest.mark.long
@pytest.mark.parametrize("waits", [False, True])
def test_a_script_beside_a_command_takes_what_is_left_or_waits(begin, tmp_path, waits):
    other = begin("runs/a", 1)
    (tmp_path / "script.py").write_text(SCRIPT.format(waits=waits))
    script = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    used = rf"1 of \d+ cores is used by the search in runs/a \(process {other.pid}\); "
    rest = "waiting until there is room for" if waits else r"trials at once: \d+"
    assert re.match(used + rest, script.stdout.readline())
    other.communicate("end\n")
    output, _ = script.communicate(timeout=200)
    assert script.returncode == 0
    assert "search ended (trials done): 1 trial" in output


# --- On one cluster -------------------------------------------------------------------------------


@pytest.mark.long
def test_searches_on_one_cluster_know_of_each_other(commands, tmp_path):
    """The head has no CPU; the first search waits for a node, the second for the first."""
    command = [
        commands / "fmnist-search", "run", "--hypermodel", "problems:slow", "--data", "problems:blobs",
        "--trials", "2", "--epochs", "10", "--scheduler", "none", "--retrain-epochs", "none", "--address",
    ]  # fmt: skip

    def start(out, *options):
        with (tmp_path / f"{out}.txt").open("w") as output:
            return subprocess.Popen(
                [*command, cluster.address, "--out", out, *options],
                cwd=tmp_path, env=ENVIRONMENT, stdout=output, stderr=output,
            )  # fmt: skip

    def says(out, text):
        return text in (tmp_path / f"{out}.txt").read_text()

    def wait_for(condition):
        deadline = time.monotonic() + 200
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    with several_nodes({"num_cpus": 0}) as cluster:
        first = start("a")
        wait_for(lambda: says("a", "(the largest node has 0): waiting for a larger node"))
        cluster.add(num_cpus=2)
        wait_for(lambda: (tmp_path / "a" / "journal.jsonl").exists())
        wait_for(
            lambda: (
                sum(
                    e["event"] == "trial_started" for e in read(tmp_path / "a/journal.jsonl").events
                )
                == 2
            )
        )
        used = "2 of 2 CPUs of the cluster are used by other programs; "
        waiting = start("b", "--wait")
        wait_for(lambda: says("b", f"{used}waiting until there is room for all trials at once"))
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(100) == 130
        second = start("c", "--epochs", "1")
        wait_for(lambda: says("c", f"{used}trials start as CPUs become free"))
        assert first.wait(200) == 0
        assert second.wait(200) == 0
        for out in "ac":
            assert says(out, "search ended (trials done): 2 trials")
