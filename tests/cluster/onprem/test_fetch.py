"""Copies of a run, made by a stand-in for rsync from a folder that stands for the head's home."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.onprem.config import ClusterFile
from cluster.onprem.fetch import fetch, newest_run
from cluster.onprem.hosts import Ssh, run_local

FILE = ClusterFile(Path("mine.yaml"), "10.0.0.1", (), "me", Path("/home/me/key"))
# Copies as rsync does, from the home folder of the head; prints its arguments.
RSYNC = r"""
printf '%s\n' "$@" > {home}/rsync.txt
for target; do previous=$source; source=$target; done
source={home}/${{previous#me@10.0.0.1:}}
[ -d "$source" ] || {{ echo "rsync: no such folder" >&2; exit 23; }}
mkdir -p "$target" && cp -a "$source." "$target"
"""


@dataclass(frozen=True)
class Head(Ssh):
    """A head that is this machine; its home is a folder."""

    home: Path

    def run(self, host, command, *, seconds=60):
        return run_local(["env", f"HOME={self.home}", "bash", "-c", command], seconds)

    def write(self, run, journal):
        """Write the journal of a run."""
        folder = self.home / "fmnist-search" / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "journal.jsonl").write_text(journal)
        return folder


@pytest.fixture
def head(tmp_path, programs):
    home = tmp_path / "head"
    home.mkdir()
    programs.write("ssh", "exit 1")
    programs.write("rsync", RSYNC.format(home=home))
    return Head(FILE, home)


@pytest.fixture
def runs(tmp_path):
    """The folder of runs on this machine, which need not exist."""
    return tmp_path / "here" / "runs"


def arguments_of_rsync(head):
    return (head.home / "rsync.txt").read_text().splitlines()


# --- The newest run -----------------------------------------------------------------------------


def test_the_newest_run_is_the_one_whose_journal_was_written_last(head):
    for seconds, name in ((1000, "old"), (3000, "with a space"), (2000, "older")):
        journal = head.write(name, "a\n") / "journal.jsonl"
        os.utime(journal, (seconds, seconds))
    assert newest_run(head) == "with a space"


def test_a_head_without_a_run_says_so(head):
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.1: no run in ~/fmnist-search/runs: expec"):
        newest_run(head)


def test_a_head_that_does_not_answer_is_named(monkeypatch):
    failed = subprocess.CompletedProcess([], 255, "", "No route to host\n")
    monkeypatch.setattr(Ssh, "run", lambda *_: failed)
    with pytest.raises(ClusterError, match=r"^10\.0\.0\.1: does not answer by ssh \(No route to"):
        newest_run(Ssh(FILE))


# --- Copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["wide", "wide/", "runs/wide", "fmnist-search/runs/wide/"])
def test_a_run_is_copied_by_its_name_or_path(head, runs, run):
    head.write("wide", "a\n")
    copy = fetch(head, run, runs)
    assert copy == runs / "wide"
    assert (copy / "journal.jsonl").read_text() == "a\n"
    assert [path.name for path in runs.iterdir()] == ["wide"], "nothing is left beside it"


def test_a_run_is_copied_with_the_ssh_command_of_the_cluster_file(head, runs):
    head.write("wide", "a\n")
    fetch(head, "wide", runs)
    words = arguments_of_rsync(head)
    assert words[:2] == ["--archive", "--delete"]
    ssh = words[words.index("--rsh") + 1]
    assert ssh.startswith("ssh -o BatchMode=yes")
    assert ssh.endswith("-i /home/me/key")
    assert words[-2] == "me@10.0.0.1:fmnist-search/runs/wide/"
    assert "--copy-dest" not in words


def test_a_run_that_has_grown_is_fetched_again_and_the_older_copy_is_kept(head, runs):
    head.write("wide", "a\n")
    (fetch(head, "wide", runs) / "notes.txt").write_text("my own")
    head.write("wide", "a\nb\n")
    copy = fetch(head, "wide", runs)
    assert (copy / "journal.jsonl").read_text() == "a\nb\n"
    assert not (copy / "notes.txt").exists()
    assert (runs / ".previous" / "wide-1" / "notes.txt").read_text() == "my own"
    assert (runs / ".previous" / "wide-1" / "journal.jsonl").read_text() == "a\n"


def test_files_of_an_older_copy_are_not_sent_again(head, runs):
    head.write("wide", "a\n")
    fetch(head, "wide", runs)
    fetch(head, "wide", runs)
    words = arguments_of_rsync(head)
    assert words[words.index("--copy-dest") + 1] == str((runs / "wide").resolve())


def test_every_older_copy_is_kept(head, runs):
    head.write("wide", "a\n")
    for number in range(3):
        (fetch(head, "wide", runs) / f"note {number}").touch()
    assert [
        sorted(path.name for path in (runs / ".previous" / f"wide-{number}").iterdir())
        for number in (1, 2)
    ] == [["journal.jsonl", "note 0"], ["journal.jsonl", "note 1"]]


@pytest.mark.parametrize("journal", ["another\n", "a\nb\nc\n"], ids=["another run", "continued"])
def test_a_run_is_never_replaced_by_another_or_an_older_one(head, runs, journal):
    head.write("wide", "a\nb\n")
    copy = fetch(head, "wide", runs)
    (copy / "journal.jsonl").write_text(journal)
    with pytest.raises(ClusterError) as error:
        fetch(head, "wide", runs)
    [line] = str(error.value).splitlines()
    assert line.startswith(f"{copy} is another run, or was continued on this machine")
    assert (copy / "journal.jsonl").read_text() == journal
    assert [path.name for path in runs.iterdir()] == ["wide"]


@pytest.mark.parametrize("has_empty_journal", [True, False], ids=["empty journal", "no journal"])
def test_a_folder_that_is_no_copy_of_the_run_is_never_replaced(head, runs, has_empty_journal):
    head.write("wide", "a\n")
    (runs / "wide").mkdir(parents=True)
    if has_empty_journal:
        (runs / "wide" / "journal.jsonl").touch()
    with pytest.raises(ClusterError, match="is another run"):
        fetch(head, "wide", runs)
    assert not (runs / ".previous").exists()


def test_a_folder_without_a_journal_is_not_a_run(head, runs):
    (head.write("wide", "a\n") / "journal.jsonl").unlink()
    with pytest.raises(ClusterError) as error:
        fetch(head, "wide", runs)
    assert str(error.value) == (
        "10.0.0.1:fmnist-search/runs/wide is not a run: expected a folder with journal.jsonl."
    )
    assert list(runs.iterdir()) == []


def test_a_run_that_cannot_be_copied_is_named_with_the_first_reason(head, runs):
    with pytest.raises(ClusterError) as error:
        fetch(head, "none", runs)
    assert str(error.value) == (
        "10.0.0.1:fmnist-search/runs/none could not be fetched (rsync: no such folder): fetch it "
        "again; the files that have arrived are not sent twice."
    )


def test_an_rsync_that_fails_without_a_word_is_named_with_its_status(head, runs, programs):
    programs.write("rsync", "exit 12")
    with pytest.raises(ClusterError, match=r"could not be fetched \(rsync ended with 12\)"):
        fetch(head, "wide", runs)


def test_files_that_a_search_removes_meanwhile_do_no_harm(head, runs, programs):
    head.write("wide", "a\n")
    programs.write("rsync", f"{RSYNC.format(home=head.home)}\necho vanished >&2; exit 24")
    assert (fetch(head, "wide", runs) / "journal.jsonl").read_text() == "a\n"


def test_what_an_interrupted_copy_has_brought_is_there_for_the_next_one(head, runs):
    head.write("wide", "a\n")
    (runs / ".fetching-wide").mkdir(parents=True)
    (runs / ".fetching-wide" / "weights").touch()
    # The stand-in for rsync removes nothing.
    assert (fetch(head, "wide", runs) / "weights").exists()


def test_a_machine_without_rsync_says_so_before_it_makes_a_folder(
    head, runs, programs, monkeypatch
):
    (programs.folder / "rsync").unlink()
    monkeypatch.setenv("PATH", str(programs.folder))
    with pytest.raises(ClusterError, match="this machine has no rsync"):
        fetch(head, "wide", runs)
    assert not runs.exists()
