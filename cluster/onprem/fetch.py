"""Brings a run home from the head of a cluster."""

import itertools
import shlex
import shutil
from pathlib import Path

from cluster.errors import ClusterError
from cluster.onprem.hosts import REFUSED_STATUS, Ssh, check_here, finished, refusal

RUNS = "fmnist-search/runs"
JOURNAL = "journal.jsonl"
FETCH_SECONDS = 3600.0
VANISHED_STATUS = 24  # of rsync


def newest_run(ssh: Ssh) -> str:
    """Return the name of the run on the head whose journal was written last.

    Raises:
        ClusterError: There is no run, or the head does not answer.
    """
    done = ssh.run(ssh.file.head, f"ls -t ~/{RUNS}/*/{JOURNAL}")
    if done.returncode == REFUSED_STATUS:
        raise ClusterError(refusal(ssh, ssh.file.head, done.stderr))
    paths = [line for line in done.stdout.splitlines() if line.endswith(JOURNAL)]
    if not paths:
        raise ClusterError(
            f"{ssh.file.head}: there is no run in ~/{RUNS}: expected one that `ray submit` made. "
            "Name the path of another by --run."
        )
    return Path(paths[0]).parent.name


def fetch(ssh: Ssh, run: str, into: Path) -> Path:
    """Copy a run folder of the head to this machine; return the copy.

    The copy is made beside its place, and takes it when it is complete. An older copy is moved into
    ``.previous``, with what was added to it here.

    Args:
        ssh: Logs in to the head.
        run: Name of a run in the project's ``runs/`` there, or a path.
        into: Folder that gets the copy.

    Raises:
        ClusterError: Copying failed, or another run has that name here.
    """
    check_here()
    name = run.rstrip("/").removeprefix("runs/")
    source = name if "/" in name else f"{RUNS}/{name}"
    target = into / Path(source).name
    fresh = into / f".fetching-{target.name}"
    into.mkdir(parents=True, exist_ok=True)
    _copy(ssh, source, fresh, target)
    if not (fresh / JOURNAL).exists():
        shutil.rmtree(fresh)
        raise ClusterError(f"{ssh.file.head}:{source} is no run: expected a folder with {JOURNAL}.")
    if target.exists():
        if not _journal(fresh).startswith(_journal(target)):
            shutil.rmtree(fresh)
            raise ClusterError(
                f"{target} is another run, or was gone on with here: nothing was fetched, so that "
                "neither is lost. Move it away, or fetch into another folder by --into."
            )
        _move_away(target)
    fresh.rename(target)
    return target


def _copy(ssh: Ssh, source: str, fresh: Path, known: Path) -> None:
    # rsync need not send again what an interrupted or earlier fetch has brought.
    earlier = ["--copy-dest", str(known.resolve())] if known.exists() else []
    command = [
        "rsync", "--archive", "--delete", *earlier, "--rsh", shlex.join(ssh.command()),
        f"{ssh.file.user}@{ssh.file.head}:{source}/", f"{fresh}/",
    ]  # fmt: skip
    done = finished(command, FETCH_SECONDS)
    # A search that runs removes states that rsync has listed, which does no harm.
    if done.returncode not in (0, VANISHED_STATUS):
        errors = done.stderr.strip().splitlines() or [f"rsync ended with {done.returncode}"]
        raise ClusterError(f"{ssh.file.head}:{source} could not be fetched ({errors[0]}).")


def _move_away(target: Path) -> None:
    aside = target.parent / ".previous"
    aside.mkdir(exist_ok=True)
    free = (aside / f"{target.name}-{number}" for number in itertools.count(1))
    target.rename(next(path for path in free if not path.exists()))


def _journal(folder: Path) -> bytes:
    try:
        return (folder / JOURNAL).read_bytes() or b"empty"
    except OSError:
        return b"no journal"
