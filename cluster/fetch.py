"""Brings a run home from the head of a cluster."""

import shutil
import subprocess
from pathlib import Path

from cluster.errors import ClusterError
from cluster.hosts import Ssh

RUNS = "fmnist-search/runs"
JOURNAL = "journal.jsonl"
FETCH_SECONDS = 3600.0


def newest_run(ssh: Ssh) -> str:
    """Return the name of the run on the head that was written to last.

    Raises:
        ClusterError: There is none, or the head does not answer.
    """
    done = ssh.run(ssh.file.head, f"ls -t ~/{RUNS}/*/{JOURNAL}")
    paths = [line for line in done.stdout.splitlines() if line.endswith(JOURNAL)]
    if not paths:
        raise ClusterError(
            f"{ssh.file.head}: there is no run in ~/{RUNS} ({done.stderr.strip() or 'none'}): "
            "expected one that `ray submit` made, or the path of another."
        )
    return Path(paths[0]).parent.name


def fetch(ssh: Ssh, run: str, into: Path) -> Path:
    """Copy a run folder of the head beside its place here, and put it there when it is whole.

    Args:
        ssh: Reaches the head.
        run: Name of a run in the project's ``runs/`` there, or a path.
        into: Folder that it comes into.

    Returns:
        Where it is.

    Raises:
        ClusterError: It could not be had, or another run of that name stands here.
    """
    source = run.rstrip("/") if "/" in run else f"{RUNS}/{run}"
    target = into / Path(source).name
    fresh = into / f".fetching-{target.name}"
    into.mkdir(parents=True, exist_ok=True)
    # What an interrupted fetch or an earlier one brought need not travel again.
    known = ["--copy-dest", str(target.resolve())] if target.exists() else []
    done = subprocess.run(
        [
            "rsync", "--archive", "--delete", *known,
            "--rsh", " ".join(ssh.command()),
            f"{ssh.file.user}@{ssh.file.head}:{source}/", f"{fresh}/",
        ],
        capture_output=True, text=True, errors="replace", timeout=FETCH_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"rsync ended with {done.returncode}"]
        raise ClusterError(f"{ssh.file.head}:{source} could not be fetched ({said[0]}).")
    if not (fresh / JOURNAL).exists():
        shutil.rmtree(fresh)
        raise ClusterError(f"{ssh.file.head}:{source} is no run: expected a folder with {JOURNAL}.")
    if target.exists():
        _make_room(target, fresh)
    fresh.rename(target)
    return target


def _make_room(target: Path, fresh: Path) -> None:
    """Remove an older copy of the same run; any other is not touched.

    Raises:
        ClusterError: What stands there is not a copy of this run, or is newer.
    """
    here, there = (_journal(folder) for folder in (target, fresh))
    if not there.startswith(here):
        shutil.rmtree(fresh)
        raise ClusterError(
            f"{target} is another run, or was gone on with here: expected a free name, so that no "
            "run is lost. Move it away, or fetch into another folder by --into."
        )
    shutil.rmtree(target)


def _journal(folder: Path) -> bytes:
    try:
        return (folder / JOURNAL).read_bytes()
    except OSError:
        return b"no journal"
