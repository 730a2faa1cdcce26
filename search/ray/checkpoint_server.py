"""Sends checkpoints through Ray when a node cannot see the run folder.

An actor on the driver's machine writes the checkpoints of remote trials to the run folder, and
sends them to the next process that continues the trial.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.files import replacing
from search.errors import ProblemError, RunFolderError, one_line
from search.ray.nodes import this_node_affinity
from search.storage import scratch
from search.storage.folder import RunFolder, previous_state_file

STATE_SUFFIX = "-state.npz"


@dataclass(frozen=True)
class TrialLease:
    """A remote process's exclusive right to write the checkpoints of a trial.

    Attributes:
        token: Distinguishes this process from earlier processes of the trial.
        files: Contents of the checkpoint files that the process reads, by file name.
    """

    token: str
    files: dict[str, bytes]


class CheckpointServer:
    """Reads and writes the checkpoints of a run for processes that cannot see the run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._tokens: dict[int, str] = {}  # by trial

    def open(self, trial: int, read_trials: list[int], run_file: bytes) -> "TrialLease | None":
        """Give a process the lease of a trial; the lease of any earlier process ends.

        Args:
            trial: Number of the trial.
            read_trials: Numbers of the trials whose files the process reads.
            run_file: The content that the process finds at the path of this run's run.json.

        Returns:
            The lease, or None if the process sees the run folder itself.
        """
        token = self._tokens[trial] = secrets.token_hex(8)
        if run_file == _run_file_content(self._folder):
            return None
        checkpoints = self._folder.checkpoints
        files = {
            path.name: path.read_bytes()
            for number in read_trials
            for path in sorted(checkpoints.glob(f"{self._folder.prefix(number)}*"))
        }
        return TrialLease(token, files)

    def put(self, trial: int, token: str, name: str, content: bytes | None) -> None:
        """Write a checkpoint file, or remove it if ``content`` is None.

        A call with an outdated token does nothing: its node was cut off and came back after another
        process had taken over the trial. If writing fails, the existing file stays.
        """
        if Path(name).name != name:
            raise RunFolderError(f"{name!r} is not a checkpoint: expected a file name, no folder.")
        path = self._folder.checkpoints / name
        if token != self._tokens.get(trial, token):
            return
        if content is None:
            path.unlink(missing_ok=True)
            return
        with replacing(path) as fresh:
            fresh.write_bytes(content)
            if name.endswith(STATE_SUFFIX) and path.exists():
                os.replace(path, previous_state_file(path))


@dataclass(frozen=True)
class RemoteRunFolder(RunFolder):
    """A scratch folder of one trial on a node that cannot see the run folder.

    Attributes:
        server: Ray's handle of the run's ``CheckpointServer``.
        trial: Number of the trial.
        token: Token of the trial's lease.
    """

    server: Any
    trial: int
    token: str

    def checkpoint_changed(self, path: Path) -> None:
        """Send a checkpoint file that was written, or report that it was removed."""
        content = path.read_bytes() if path.exists() else None
        _get(self.server.put.remote(self.trial, self.token, path.name, content))


@dataclass(frozen=True)
class CheckpointAccess:
    """Gives trial processes access to the checkpoints of a run.

    Attributes:
        folder: The run folder.
        server: Ray's handle of its ``CheckpointServer``; None if all processes see the folder.
    """

    folder: RunFolder
    server: Any = None

    @classmethod
    def of(cls, folder: RunFolder, *, has_other_nodes: bool) -> "CheckpointAccess":
        """Return the access to a run; start a server if there are other nodes."""
        if not has_other_nodes:
            return cls(folder)
        import ray

        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(CheckpointServer)
        return cls(folder, actor.options(scheduling_strategy=this_node_affinity()).remote(folder))

    @contextmanager
    def open_for_trial(self, trial: int, read_trials: list[int]) -> Iterator[RunFolder]:
        """Provide the folder that a trial's process works in.

        Args:
            trial: Number of the trial.
            read_trials: Numbers of the trials whose files it reads: its own if it is continued, and
                the one from whose weights it starts.
        """
        lease = None
        if self.server is not None:
            run_file = _run_file_content(self.folder)
            lease = _get(self.server.open.remote(trial, read_trials, run_file))
        if lease is None:
            yield self.folder
            return
        with scratch.temporary("run-") as path:
            folder = RemoteRunFolder(path, self.server, trial, lease.token)
            folder.checkpoints.mkdir()
            for name, content in lease.files.items():
                (folder.checkpoints / name).write_bytes(content)
            yield folder


def _run_file_content(folder: RunFolder) -> bytes:
    try:
        return folder.run_file.read_bytes()
    except OSError:
        return b""


def _get(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (RunFolderError, ProblemError)):
            raise error.cause from None
        raise RunFolderError(f"on the driver's machine: {one_line(error.cause)}") from error
    except ray.exceptions.RayError as error:
        raise RunFolderError(
            f"{socket.gethostname()} cannot reach the driver's machine ({one_line(error)}), which "
            "writes the run folder. Check that the head of the cluster is up."
        ) from error
