"""One driver for a run, whatever became of the one before."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from search.errors import RunFolderError
from search.storage.lock import Owner, RunLock

HOLDER = """
import sys, time
from pathlib import Path
from search.storage.lock import RunLock
lock = RunLock(Path(sys.argv[1]), say=print, beat_seconds=0.1)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def said():
    return []


@pytest.fixture
def take(tmp_path, said):
    """Take the lock of one run, quickly; every lock is given back in the end."""
    taken = []

    def taking():
        path = tmp_path / "driver.lock"
        taken.append(RunLock(path, say=said.append, beat_seconds=0.05, watch_seconds=0.6))
        return taken[-1]

    yield taking
    for lock in taken:
        lock.release()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "driver.lock"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def written(path, **changes):
    """A lock file as another driver left it."""
    owner = {**vars(Owner.this_process()), "beats": 3, **changes}
    path.write_text(json.dumps(owner))


def test_a_second_driver_is_refused_and_told_of_the_first(take, holder):
    with pytest.raises(RunFolderError, match=rf"in use by process {holder.pid} on .*Wait until"):
        take()


def test_the_same_process_is_no_exception(take):
    take()
    with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}"):
        take()


def test_a_lock_that_was_given_back_can_be_taken(take, tmp_path, said):
    take().release()
    take().check()
    assert said == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["driver.lock"]


def test_the_lock_of_a_killed_driver_is_taken_over_with_a_word(take, holder, said):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    take().check()
    assert len(said) == 1
    assert said[0].startswith(f"the run's driver (process {holder.pid} on ")
    assert "is dead" in said[0]


@pytest.mark.parametrize(
    "changes",
    [{"boot": "before-the-machine-started-again"}, {"started": 1.0}],
    ids=["rebooted", "process-id-used-again"],
)
def test_a_process_of_another_life_is_dead(take, tmp_path, said, changes):
    written(tmp_path / "driver.lock", **changes)
    take().check()
    assert "is dead" in said[0]


def test_a_driver_elsewhere_is_watched_and_taken_over_when_it_is_still(take, tmp_path, said):
    written(tmp_path / "driver.lock", host="another-host")
    take().check()
    assert [line.partition(" (")[0].partition(";")[0] for line in said] == [
        "driver.lock is held by a driver on another-host",
        "the run's driver",
    ]


def test_a_driver_elsewhere_that_beats_is_left_alone(take, tmp_path, holder):
    """The same as a driver of a container or of another host of a shared folder."""
    path = tmp_path / "driver.lock"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    beating = subprocess.Popen(
        [
            sys.executable, "-c",
            "import json, sys, time\n"
            "row = json.loads(open(sys.argv[1]).read())\n"
            "while True:\n"
            "    row['beats'] += 1\n"
            "    open(sys.argv[1], 'w').write(json.dumps({**row, 'host': 'another-host'}))\n"
            "    print('beat', flush=True)\n"
            "    time.sleep(0.1)\n",
            path,
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        beating.stdout.readline()
        with pytest.raises(RunFolderError, match=r"in use by process \d+ on another-host"):
            take()
    finally:
        beating.kill()
        beating.wait()
        beating.stdout.close()


@pytest.mark.parametrize("text", ["", "{", '{"host": 1}', "[]", "\x00" * 80, '{"beats": 1}'])
def test_a_torn_lock_is_taken_over(take, tmp_path, text):
    (tmp_path / "driver.lock").write_text(text)
    take().check()


def test_a_driver_whose_run_was_taken_over_writes_nothing_more(take, tmp_path):
    lock = take()
    written(tmp_path / "driver.lock", host="another-host")

    def until_noticed():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            lock.check()
            time.sleep(0.05)

    with pytest.raises(RunFolderError, match="another driver has taken over this run"):
        until_noticed()
    lock.release()
    assert (tmp_path / "driver.lock").exists()  # not its own any more


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    path = tmp_path / "gone" / "driver.lock"
    with pytest.raises(RunFolderError, match=r"gone cannot be written \(No such file"):
        RunLock(path, say=print)
