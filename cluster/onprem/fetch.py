"""Copies a run from the head of a cluster to this machine."""

import itertools
import shlex
import shutil
from pathlib import Path

from cluster.errors import ClusterError
from cluster.onprem.hosts import SSH_FAILED_STATUS, Ssh, check_local_tools, run_local, ssh_problem

RUNS = "fmnist-search/runs"
JOURNAL = "journal.jsonl"
FETCH_SECONDS = 3600.0
VANISHED_STATUS = 24  # of rsync: files were removed while it copied


def newest_run(ssh: Ssh) -> str:
    """Return the name of the run on the head whose journal was written last.

    Raises:
        ClusterError: The head has no run, or does not answer.
    """
    listing = ssh.run(ssh.file.head, f"ls -t ~/{RUNS}/*/{JOURNAL}")
    if listing.returncode == SSH_FAILED_STATUS:
        raise ClusterError(ssh_problem(ssh, ssh.file.head, listing.stderr))
    paths = [line for line in listing.stdout.splitlines() if line.endswith(JOURNAL)]
    if not paths:
        raise ClusterError(
            f"{ssh.file.head}: no run in ~/{RUNS}: expected one of `ray submit` or of a job. "
            "Name the path of another run by --run."
        )
    return Path(paths[0]).parent.name


def fetch(ssh: Ssh, run: str, into: Path) -> Path:
    """Copy a run folder of the head to this machine; return the copy.

    The copy is made under another name and renamed when it is complete. An older copy moves into
    ``.previous``, with the files that were added to it here.

    Args:
        ssh: Logs in to the head.
        run: Name of a run in the project's ``runs/`` on the head, or a path.
        into: The folder that gets the copy.

    Raises:
        ClusterError: Copying failed, or another run has the same name here.
    """
    check_local_tools()
    name = run.rstrip("/").removeprefix("runs/")
    source = name if "/" in name else f"{RUNS}/{name}"
    target = into / Path(source).name
    fresh = into / f".fetching-{target.name}"
    into.mkdir(parents=True, exist_ok=True)
    _copy(ssh, source, fresh, target)
    if not (fresh / JOURNAL).exists():
        shutil.rmtree(fresh)
        raise ClusterError(
            f"{ssh.file.head}:{source} is not a run: expected a folder with {JOURNAL}."
        )
    if target.exists():
        if not _journal(fresh).startswith(_journal(target)):
            shutil.rmtree(fresh)
            raise ClusterError(
                f"{target} is another run, or was continued on this machine: nothing was fetched, "
                "so that neither is lost. Move it away, or fetch into another folder by --into."
            )
        _move_away(target)
    fresh.rename(target)
    return target


def _copy(ssh: Ssh, source: str, fresh: Path, earlier: Path) -> None:
    # Files of an earlier copy, or of an interrupted one in `fresh`, are not sent again.
    options = ["--copy-dest", str(earlier.resolve())] if earlier.exists() else []
    command = [
        "rsync", "--archive", "--delete", *options, "--rsh", shlex.join(ssh.command()),
        f"{ssh.file.user}@{ssh.file.head}:{source}/", f"{fresh}/",
    ]  # fmt: skip
    rsync = run_local(command, FETCH_SECONDS)
    # A running search may remove states that rsync has listed, which does no harm.
    if rsync.returncode not in (0, VANISHED_STATUS):
        errors = rsync.stderr.strip().splitlines() or [f"rsync ended with {rsync.returncode}"]
        raise ClusterError(
            f"{ssh.file.head}:{source} could not be fetched ({errors[0]}): fetch it again; "
            "the files that have arrived are not sent twice."
        )


def _move_away(target: Path) -> None:
    previous = target.parent / ".previous"
    previous.mkdir(exist_ok=True)
    candidates = (previous / f"{target.name}-{number}" for number in itertools.count(1))
    target.rename(next(path for path in candidates if not path.exists()))


def _journal(folder: Path) -> bytes:
    """Return the bytes of a run's journal; if there are none, bytes that no journal begins with."""
    try:
        return (folder / JOURNAL).read_bytes() or b"empty"
    except OSError:
        return b"no journal"
