"""What trials keep, where a node does not see the run folder: it travels through Ray.

An actor on the driver's machine writes into the run folder what a trial elsewhere has written
beside itself, and hands it to the next process that goes on with the trial.
"""

import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.files import beside
from search.errors import ProblemError, RunFolderError, one_line
from search.ray.nodes import here
from search.storage.folder import RunFolder, before

STATE_SUFFIX = "-state.npz"


@dataclass(frozen=True)
class Opening:
    """What a process elsewhere works on a trial with.

    Attributes:
        token: By what the keeper knows this process from those before it.
        files: What was kept of the trials that it reads, by name.
    """

    token: str
    files: dict[str, bytes]


class Keeper:
    """Reads and writes the checkpoints of a run for processes that do not see them."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._openings: dict[int, str] = {}

    def open(self, trial: int, reads: list[int], mark: bytes) -> "Opening | None":
        """Let a process begin to work on a trial, and no longer any that did before.

        Args:
            trial: Its number.
            reads: Trials whose files it is handed.
            mark: What the process reads in the place of this run's run.json.

        Returns:
            What it works with; None where it sees the folder itself.
        """
        token = self._openings[trial] = secrets.token_hex(8)
        if mark == _mark(self._folder):
            return None
        checkpoints = self._folder.checkpoints
        files = {
            path.name: path.read_bytes()
            for number in reads
            for path in sorted(checkpoints.glob(f"{self._folder.prefix(number)}*"))
        }
        return Opening(token, files)

    def put(self, trial: int, opening: str, name: str, content: bytes | None) -> None:
        """Write a file of the checkpoints, or remove it where there is no content.

        Of a process on a node that was cut off, and has come back after another has taken its
        trial over, nothing is taken. Where it cannot be written what stood there is kept.
        """
        if Path(name).name != name:
            raise RunFolderError(f"{name!r} is no name of a checkpoint: expected no folder in it.")
        path = self._folder.checkpoints / name
        if opening != self._openings.get(trial, opening):
            return
        if content is None:
            path.unlink(missing_ok=True)
            return
        with beside(path) as fresh:
            fresh.write_bytes(content)
            if name.endswith(STATE_SUFFIX) and path.exists():
                os.replace(path, before(path))


@dataclass(frozen=True)
class DistantFolder(RunFolder):
    """A folder of one trial on a node that does not see the run; what is kept in it travels.

    Attributes:
        keeper: The ``Keeper`` of the run, as Ray's handle of it.
        trial: Number of the trial.
        opening: By what the keeper knows this process from those before it.
    """

    keeper: Any
    trial: int
    opening: str

    def written(self, path: Path) -> None:
        """Send a checkpoint that was written, or word that it was removed."""
        content = path.read_bytes() if path.exists() else None
        _answer(self.keeper.put.remote(self.trial, self.opening, path.name, content))


@dataclass(frozen=True)
class Place:
    """Where the trials of a search keep what they keep.

    Attributes:
        folder: The run.
        keeper: Its ``Keeper``, as Ray's handle; None where all processes see the folder.
    """

    folder: RunFolder
    keeper: Any = None

    @classmethod
    def of(cls, folder: RunFolder, *, has_other_nodes: bool) -> "Place":
        """Return the place of a run that this process drives, maybe with trials on other nodes."""
        if not has_other_nodes:
            return cls(folder)
        import ray

        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Keeper)
        return cls(folder, actor.options(scheduling_strategy=here()).remote(folder))

    @contextmanager
    def opened(self, trial: int, reads: list[int]) -> Iterator[RunFolder]:
        """Give the folder that a trial's process works in.

        Args:
            trial: Its number.
            reads: Those whose files it reads: itself, where it is gone on with, and the one whose
                weights it trains on from.
        """
        opening = None
        if self.keeper is not None:
            opening = _answer(self.keeper.open.remote(trial, reads, _mark(self.folder)))
        if opening is None:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as scratch:
            distant = DistantFolder(Path(scratch), self.keeper, trial, opening.token)
            distant.checkpoints.mkdir()
            for name, content in opening.files.items():
                (distant.checkpoints / name).write_bytes(content)
            yield distant


def _mark(folder: RunFolder) -> bytes:
    try:
        return folder.run_file.read_bytes()
    except OSError:
        return b""


def _answer(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (RunFolderError, ProblemError)):
            raise error.cause from None
        raise RunFolderError(f"the run folder's machine: {one_line(error.cause)}") from error
    except ray.exceptions.RayError as error:
        raise RunFolderError(
            f"{socket.gethostname()} does not reach the run folder's machine ({one_line(error)}): "
            "expected the head of the cluster to be up."
        ) from error
