"""One driver for a run, whatever became of the driver before it.

Locks here beat only when a test says so, and they watch another driver on a clock of the test.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from search.errors import RunFolderError
from search.storage import lock as lock_module
from search.storage.lock import Owner, RunLock

NEVER = 1e6  # seconds
HOLDER = """
import sys, time
from pathlib import Path
from search.storage.lock import RunLock
lock = RunLock(Path(sys.argv[1]), say=print)
print("held", flush=True)
time.sleep(600)
"""


class Watch:
    """A clock that stands still but while a lock waits, and what happens meanwhile."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []
        self.meanwhile = lambda: None

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def lines():
    """The lines that the user reads."""
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "driver.lock"


@pytest.fixture
def take(path, watch, lines):
    """Take the lock of the run; every lock is released in the end."""
    taken = []

    def take(*, beat_seconds=NEVER, **options):
        options = {"clock": lambda: watch.now, "sleep": watch.sleep} | options
        taken.append(RunLock(path, say=lines.append, beat_seconds=beat_seconds, **options))
        return taken[-1]

    yield take
    for one in taken:
        one.release()


def write(path, *, beats=3, **changes):
    """Write a lock file as another driver leaves it; return its owner."""
    owner = replace(Owner.this_process(), **changes)
    path.write_text(json.dumps(asdict(owner) | {"beats": beats}))
    return owner


def beats(path):
    return json.loads(path.read_text())["beats"]


@pytest.fixture
def other_process():
    """A process that has nothing to do with the run."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def owner_of(process):
    started = psutil.Process(process.pid).create_time()
    return replace(Owner.this_process(), pid=process.pid, started=started)


# --- Whether an owner is alive --------------------------------------------------------------------


def test_this_process_is_alive():
    assert Owner.this_process().is_alive() is True


def test_another_process_of_this_machine_is_alive_until_it_ends(other_process):
    owner = owner_of(other_process)
    assert owner.is_alive() is True
    other_process.kill()
    other_process.wait()
    assert owner.is_alive() is False


def test_a_process_that_has_ended_but_was_not_waited_for_is_dead(other_process):
    owner = owner_of(other_process)
    other_process.kill()
    os.waitid(os.P_PID, other_process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(other_process.pid).status() == psutil.STATUS_ZOMBIE
    assert owner.is_alive() is False


@pytest.mark.parametrize(
    ("changes", "is_alive"),
    [
        pytest.param({"host": "another-host"}, None, id="another-host"),
        pytest.param({"host": "another-host", "boot": "b"}, None, id="another-host-and-boot"),
        pytest.param({"boot": "before-the-restart"}, False, id="restarted"),
        pytest.param({"boot": "b", "namespace": "n"}, False, id="restarted-container"),
        pytest.param({"namespace": "of-a-container"}, None, id="container"),
    ],
)
def test_an_owner_elsewhere_may_be_alive_and_one_before_a_restart_is_dead(changes, is_alive):
    assert replace(Owner.this_process(), **changes).is_alive() is is_alive


@pytest.mark.parametrize(
    ("seconds", "is_alive"), [(-0.5, False), (-0.4, True), (0.4, True), (0.5, False)]
)
def test_a_process_with_the_same_id_is_another_if_its_start_differs_by_half_a_second(
    seconds, is_alive
):
    owner = Owner.this_process()
    assert replace(owner, started=owner.started + seconds).is_alive() is is_alive


def test_each_lock_of_a_process_has_its_own_token():
    first, second = Owner.this_process(), Owner.this_process()
    assert first.token != second.token
    assert replace(first, token=second.token) == second


def test_a_system_without_the_files_of_linux_has_a_boot_and_no_namespace(monkeypatch):
    monkeypatch.setattr(lock_module, "BOOT_ID", Path("/nowhere"))
    monkeypatch.setattr(lock_module, "PID_NAMESPACE", Path("/nowhere"))
    owner = Owner.this_process()
    assert owner.boot == str(round(psutil.boot_time()))
    assert owner.namespace == ""
    assert owner.is_alive() is True


# --- Taking a lock --------------------------------------------------------------------------------


def test_the_file_names_its_owner_as_version_0_1_0_wrote_it(take, path):
    take()
    text = path.read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "host": os.uname().nodename,
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespace": os.readlink("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "token": json.loads(text)["token"],
        "beats": 0,
    }
    assert re.fullmatch("[0-9a-f]{16}", json.loads(text)["token"])


def test_only_the_lock_file_is_left_in_the_folder(take, path):
    take()
    assert list(path.parent.iterdir()) == [path]


def test_another_process_is_refused_and_reads_who_holds_the_lock(take, path):
    """With a second driver in a process of its own."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError) as refused:
            take()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert str(refused.value) == (
        f"{path.parent} is in use by process {holder.pid} on {os.uname().nodename}: expected one "
        "driver for a run. Wait until it ends, or stop it."
    )


def test_a_second_lock_of_the_same_process_is_refused_and_harms_nothing(take, path, lines):
    first = take()
    text = path.read_text()
    with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} "):
        take()
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
    first.check()
    assert lines == []


def test_the_lock_of_a_killed_driver_is_taken_over_with_one_line(take, path, lines, other_process):
    owner = owner_of(other_process)
    path.write_text(json.dumps(asdict(owner) | {"beats": 3}))
    other_process.kill()
    other_process.wait()
    take()
    assert lines == [
        f"the run's driver (process {owner.pid} on {owner.host}) is dead: this process takes over"
    ]
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == [path]


def test_the_lock_of_a_driver_before_a_restart_is_taken_over_at_once(take, path, watch, lines):
    write(path, boot="before-the-restart")
    take()
    assert watch.waits == []
    assert len(lines) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunFolderError) as refused:
        RunLock(tmp_path / "gone" / "driver.lock", say=print)
    assert str(refused.value) == (
        f"{tmp_path / 'gone'} cannot be written (No such file or directory). Make it writable, or "
        "name another folder."
    )


def test_a_file_system_without_links_has_locks_too(take, path, monkeypatch):
    def link(source, target):
        raise PermissionError(1, "Operation not permitted")

    # Such as FAT, which only root can mount.
    monkeypatch.setattr(os, "link", link)
    first = take()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} "):
        take()
    first.check()


# --- Watching a driver that may be alive ----------------------------------------------------------


def test_a_driver_elsewhere_without_a_beat_is_taken_over_after_the_watch(take, path, watch, lines):
    owner = write(path, host="another-host")
    take(beat_seconds=2.0)
    assert watch.now == 1012.0
    assert lines == [
        "driver.lock is held by a driver on another-host; watching it for 12 s",
        f"the run's driver (process {owner.pid} on another-host) is dead: this process takes over",
    ]


def test_the_watch_may_be_shorter(take, path, watch, lines):
    write(path, host="another-host")
    take(watch_seconds=0.5, beat_seconds=0.4)
    assert lines[0].endswith("watching it for 0.5 s")
    assert 0.5 <= watch.now - 1000.0 < 0.65


def test_the_watch_looks_four_times_a_beat(path, watch):
    write(path, host="another-host")
    lock = RunLock(path, say=lambda _line: None, clock=lambda: watch.now, sleep=watch.sleep)
    lock.release()
    assert watch.waits == [0.5] * 24


def test_a_driver_elsewhere_that_beats_is_left_alone(take, path, watch):
    owner = write(path, host="another-host", beats=3)

    def beat_late():
        if watch.now >= 1011.5:
            write(path, host="another-host", beats=4)

    watch.meanwhile = beat_late
    with pytest.raises(RunFolderError, match=f"in use by process {owner.pid} on another-host: "):
        take(beat_seconds=2.0)
    assert beats(path) == 4


def test_a_driver_elsewhere_that_releases_its_lock_is_followed_without_a_word(
    take, path, watch, lines
):
    write(path, host="another-host")
    watch.meanwhile = lambda: path.unlink(missing_ok=True)
    take(beat_seconds=2.0)
    assert watch.waits == [0.5]
    assert len(lines) == 1, "only the line on the watch"
    assert json.loads(path.read_text())["host"] == os.uname().nodename


TORN = ["", "{", '{"host": 1}', "[]", '{"beats": 1}', "3", pytest.param("\x00" * 80, id="zeros")]


@pytest.mark.parametrize("text", TORN)
def test_a_torn_lock_is_watched_and_then_taken_over(take, path, watch, lines, text):
    path.write_text(text)
    take(beat_seconds=2.0)
    assert watch.now == 1012.0
    assert lines == ["driver.lock is held by an unknown driver; watching it for 12 s"]


def test_a_torn_lock_that_changes_belongs_to_another_process(take, path, watch):
    path.write_text("{")
    watch.meanwhile = lambda: path.write_text("{{")
    with pytest.raises(RunFolderError, match="is in use by another process: "):
        take()


def test_a_lock_in_another_encoding_is_torn(take, path, lines):
    path.write_bytes(b"\xff\xfe\x00")
    take()
    assert len(lines) == 1


def test_a_lock_that_is_released_while_it_is_read_can_be_taken(take, path, watch, monkeypatch):
    write(path)
    link = os.link

    def link_late(source, target):
        # A moment that no test can meet: the file goes between the two looks at it.
        try:
            link(source, target)
        except FileExistsError:
            path.unlink()
            raise

    monkeypatch.setattr(os, "link", link_late)
    take().check()
    assert watch.waits == []


def test_a_dead_lock_that_another_driver_has_just_replaced_is_put_back(
    take, path, lines, monkeypatch
):
    write(path, boot="before-the-restart")
    rename = os.rename

    def rename_late(source, target):
        # A moment that no test can meet: another driver takes over between the two steps.
        write(path, beats=7)
        monkeypatch.setattr(os, "rename", rename)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_late)
    with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} "):
        take()
    assert beats(path) == 7
    assert list(path.parent.iterdir()) == [path]
    assert lines == []


# --- Holding a lock -------------------------------------------------------------------------------


def test_each_beat_is_counted_in_the_file(take, path):
    lock = take()
    assert lock.beat() is True
    assert lock.beat() is True
    assert beats(path) == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_beats_by_itself_until_it_is_released(take, path):
    """With the thread of a real lock."""
    before = set(threading.enumerate())
    lock = take(beat_seconds=0.001)
    [thread] = set(threading.enumerate()) - before
    for _ in range(30_000):
        if beats(path) > 1:
            break
        time.sleep(0.001)
    assert beats(path) > 1
    assert thread.daemon, "a thread that is no daemon would keep an interrupted driver alive"
    lock.release()
    thread.join(30)
    assert not thread.is_alive()
    assert not path.exists()


def test_the_thread_of_a_lock_that_was_taken_over_ends(take, path):
    before = set(threading.enumerate())
    take(beat_seconds=0.001)
    [thread] = set(threading.enumerate()) - before
    for _ in range(100):  # a beat under way may replace the file once more
        write(path, host="another-host")
        thread.join(0.3)
        if not thread.is_alive():
            break
    assert not thread.is_alive()
    assert json.loads(path.read_text())["host"] == "another-host"


def test_a_lock_that_is_held_may_be_checked(take):
    take().check()


def test_a_driver_whose_run_was_taken_over_writes_nothing_more(take, path):
    lock = take()
    write(path, host="another-host")
    text = path.read_text()
    assert lock.beat() is False
    with pytest.raises(RunFolderError) as refused:
        lock.check()
    assert str(refused.value) == (
        f"{path.parent}: another driver has taken over this run. This process writes nothing more."
    )
    lock.release()
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_driver_that_was_asleep_reads_the_lock_before_it_goes_on(take, path, watch):
    lock = take()
    write(path, host="another-host")
    watch.now += 6.0  # half of the time after which another driver may take over
    lock.check()
    watch.now += 0.1
    with pytest.raises(RunFolderError, match="another driver has taken over"):
        lock.check()


def test_a_lock_is_not_read_again_shortly_after_it_was_read(take, path, watch):
    lock = take()
    watch.now += 6.1
    lock.check()
    write(path, host="another-host")
    watch.now += 6.0
    lock.check()
    watch.now += 0.1
    with pytest.raises(RunFolderError, match="another driver has taken over"):
        lock.check()


def test_a_beat_counts_as_reading_the_lock(take, path, watch):
    lock = take()
    watch.now += 6.1
    assert lock.beat()
    write(path, host="another-host")
    lock.check()


@pytest.mark.parametrize("text", [None, *TORN])
def test_a_lock_file_that_was_removed_or_torn_is_written_again(take, path, text):
    lock = take()
    path.unlink() if text is None else path.write_text(text)
    assert lock.beat() is True
    lock.check()
    assert beats(path) == 1


def test_a_beat_that_cannot_be_written_does_no_harm(take, path):
    lock = take()
    path.unlink()
    path.mkdir()  # so that the file can neither be read nor replaced
    assert lock.beat() is True
    lock.check()
    assert list(path.parent.iterdir()) == [path]
    path.rmdir()
    assert lock.beat() is True
    assert beats(path) == 2


# --- Releasing a lock -----------------------------------------------------------------------------


def test_a_lock_that_was_released_can_be_taken(take, path, lines):
    take().release()
    assert list(path.parent.iterdir()) == []
    take().check()
    assert lines == []


def test_a_beat_after_the_release_writes_nothing(take, path):
    lock = take()
    lock.release()
    assert lock.beat() is False
    assert list(path.parent.iterdir()) == []


def test_a_lock_that_another_driver_took_over_unnoticed_is_not_removed(take, path):
    lock = take()
    write(path, host="another-host")
    lock.release()
    assert path.exists()


def test_a_lock_is_released_twice_without_harm(take, path):
    lock = take()
    lock.release()
    lock.release()
    assert not path.exists()
