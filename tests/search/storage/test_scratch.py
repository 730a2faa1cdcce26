"""Temporary files: where they go, and that none outlive the next run."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from search.storage import scratch

# Makes its folder, says where, and lives until its input closes.
LIVING = "from search.storage import scratch; import sys; print(scratch.folder(), flush=True); sys.stdin.read()"


@pytest.fixture
def start(tmp_path):
    """Start a process with ``TMPDIR``, here a folder of the test; return it and its first line."""
    started = []

    def start(code=LIVING, tmpdir=tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, text=True, env=os.environ | {"TMPDIR": str(tmpdir)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    process.communicate()
    assert process.returncode == 0


def kill(process):
    process.kill()
    process.communicate()


def test_a_process_has_a_private_folder_in_tmpdir_until_it_ends(start, tmp_path):
    process, line = start()
    folder = Path(line)
    assert folder.parent == tmp_path
    assert f"-{process.pid}-" in folder.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    end(process)
    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_live_one_is_not(start):
    killed, of_killed = start()
    _, of_live = start()
    kill(killed)
    assert Path(of_killed).exists()
    start()
    assert not Path(of_killed).exists()
    assert Path(of_live).exists()


@pytest.mark.parametrize(
    "user",
    [
        "os.fork() or time.sleep(600)",
        "subprocess.Popen(['sleep', '600'], pass_fds=scratch.locks())",
    ],
    ids=["a fork", "a process that it has started"],
)
def test_the_folder_of_a_killed_process_stays_as_long_as_another_uses_it(start, user):
    code = (
        "import os, subprocess, sys, time; from search.storage import scratch\n"
        f"folder = scratch.folder()\nos.setpgrp()\n{user}\n"
        "print(folder, flush=True); sys.stdin.read()"
    )
    killed, folder = start(code)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    start()
    assert Path(folder).exists()
    os.killpg(killed.pid, signal.SIGKILL)  # the group of the killed one: who uses its folder
    start()
    assert not Path(folder).exists()


def test_a_process_hears_which_others_have_a_folder(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    live, folder = start()
    killed, _ = start()
    kill(killed)
    told = [each for each in scratch.others() if each.folder.parent == tmp_path]
    assert told == [scratch.OtherProcess(live.pid, Path(folder))]


def test_sockets_have_a_short_path_to_a_folder_in_a_long_tmpdir(start, tmp_path):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    code = (
        "from search.storage import scratch; import sys\n"
        "print(scratch.new_sockets_folder(), scratch.new_sockets_folder(), flush=True)\n"
        "sys.stdin.read()"
    )
    process, line = start(code, tmpdir=long)
    first, second = map(Path, line.split())
    for folder in (first, second):
        assert len(str(folder / scratch.RAY_SOCKET)) <= scratch.MAX_SOCKET_BYTES
        assert folder.resolve().is_relative_to(long)
    assert first != second
    end(process)
    assert not first.parents[1].exists()
    assert not list(long.iterdir())


def test_what_only_looks_like_a_folder_of_a_killed_process_is_left_alone(start, tmp_path):
    target = tmp_path / "of the user"
    target.mkdir()
    (target / scratch.LOCK_FILE).touch()
    (tmp_path / "fmnist-search-12-abcd").symlink_to(target)
    (tmp_path / "fmnist-search-results").mkdir()
    elsewhere = tmp_path / "fmnist-search-13-abcd"
    elsewhere.mkdir()
    (elsewhere / scratch.LOCK_FILE).write_text("another-boot another-machine")
    begun = tmp_path / "fmnist-search-14-abcd"
    begun.mkdir()
    start()
    assert (target / scratch.LOCK_FILE).exists()
    assert (tmp_path / "fmnist-search-results").exists()
    assert elsewhere.exists()
    assert not begun.exists()  # killed before it had a lock


def test_what_is_sent_to_a_node_stays_there_as_long_as_a_process_uses_it(start, tmp_path):
    folder = tmp_path / "fmnist-search-12-abcd"
    code = (
        "from pathlib import Path; from search.storage import scratch; import sys\n"
        f"scratch.share(Path({str(folder / 'tuner' / 'dataset')!r}))\n"
        "print(flush=True); sys.stdin.read()"
    )
    first, _ = start(code)
    second, _ = start(code)
    kill(first)
    start()
    assert folder.exists()
    kill(second)
    start()
    assert not folder.exists()


def test_a_full_tmpdir_is_passed_over(start, tmp_path, mount_disk):
    full = mount_disk(tmp_path / "full", "1m")
    _, folder = start(tmpdir=full)
    assert Path(folder).exists()
    assert not Path(folder).is_relative_to(full)


NO_ROOM = """
for folder in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o size=1m none $folder; done
mount -o remount,ro none /var/tmp
cd /tmp
exec "$@"
"""


def test_without_room_anywhere_one_line_names_the_folders():
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", NO_ROOM, "sh", sys.executable, "-c", LIVING],
        env=os.environ | {"TMPDIR": "/tmp/missing"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in told.stderr or "mount:" in told.stderr:
        pytest.skip("nothing can be mounted: run the tests as root, or with user namespaces")
    message = told.stderr.splitlines()[-1]
    assert "there is no room for temporary files: expected a folder" in message
    assert "/tmp/missing (No such file or directory), /tmp (1 MB free)" in message
    assert "/var/tmp (1 MB free)" in message
    assert message.endswith("or set TMPDIR to another folder.")


SEARCH = (
    "run", "--hypermodel", "problems:small", "--data", "problems:blobs", "--trials", "2", "--epochs", "1",
    "--retrain-epochs", "1", "--out",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("spoil", "tmpdir"),
    [
        ("mount -o remount,ro none /tmp", None),
        ("head -c 2m /dev/zero >/tmp/full", "short"),
        ("head -c 2m /dev/zero >/tmp/full", "long" * 20),
    ],
    ids=["read-only", "full", "full, with a long TMPDIR"],
)
def test_a_search_needs_no_tmp(commands, spoil, tmpdir):
    """In a namespace of its own; the run and the temporary files are on a disk in ``/var/tmp``."""
    mounts = (
        "mount -t tmpfs -o size=1m none /tmp && mount -t tmpfs none /var/tmp || exit 77; "
        f"{spoil} 2>/dev/null; mkdir -p /var/tmp/{tmpdir}; cd /var/tmp; "
        '"$@" /var/tmp/out || exit; ls -d /tmp/fmnist-* /var/tmp/*/fmnist-* /var/tmp/fmnist-*; true'
    )
    tmpdirs = {"TMPDIR": f"/var/tmp/{tmpdir}"} if tmpdir else {}
    plain = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounts, "sh", commands / "fmnist-search", *SEARCH],
        env=plain | tmpdirs, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if told.returncode == 77 or "unshare" in told.stderr:
        pytest.skip("nothing can be mounted: run the tests as root, or with user namespaces")
    assert told.returncode == 0, told
    assert "final model" in told.stdout
    assert "fmnist-link" not in told.stdout
    assert "fmnist-search-" not in told.stdout
