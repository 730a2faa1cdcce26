"""The run folder: every path of a run, and how its files are written."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from results.record import columns
from results.record.errors import RunFolderError
from search.storage.lock import RunLock, Say

# The weights and states of a run need at least this much.
MIN_FREE_BYTES = 500 * 1024**2
# Temporary files, each written beside the file that it will replace.
LEFTOVERS = (".[0-9]*-*", f"{columns.LOCK_FILE}.*")
# Folders that keras-tuner's ``get_trial_dir`` makes for files of the user.
TRIAL_DIR_PREFIX = "trial_"


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Make a new run folder; the path must be new or blank."""
        try:
            path.mkdir(parents=True, exist_ok=is_blank(path))
            folder = cls(path.resolve())
            folder.checkpoints.mkdir(exist_ok=True)
        except FileExistsError:
            raise RunFolderError(out_exists_message(path)) from None
        except OSError as error:
            raise RunFolderError(
                f"--out {str(path)!r} cannot be made ({error.strerror}). Name another folder."
            ) from None
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of an existing run."""
        folder = cls(path.resolve())
        if folder.run_file.is_file() or folder.journal_file.is_file():
            return folder
        if is_blank(path):
            raise RunFolderError(
                f"{str(path)!r} has no records: its search ended before the first one, so there is "
                "nothing to continue. Run the same command again; it reuses this folder."
            )
        problem = "is not a run" if path.exists() else "does not exist"
        raise RunFolderError(
            f"{str(path)!r} {problem}: expected a folder with {columns.RUN_FILE}, as "
            "`fmnist-search run` makes it."
        )

    @property
    def run_file(self) -> Path:
        return self.path / columns.RUN_FILE

    @property
    def journal_file(self) -> Path:
        return self.path / columns.JOURNAL_FILE

    @property
    def trials_file(self) -> Path:
        return self.path / columns.TRIALS_FILE

    @property
    def epochs_file(self) -> Path:
        return self.path / columns.EPOCHS_FILE

    @property
    def tuner_state_file(self) -> Path:
        """The state of a script's own tuner, which its ``get_state`` returns."""
        return self.path / "tuner.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / columns.CHECKPOINTS_DIR

    @property
    def confirmation_file(self) -> Path:
        return self.path / columns.CONFIRM_DIR / columns.CONFIRMATION_FILE

    @property
    def final(self) -> Path:
        return self.path / columns.FINAL_DIR

    @property
    def lock_file(self) -> Path:
        return self.path / columns.LOCK_FILE

    def prefix(self, trial: int) -> str:
        """Return the beginning of the names of a trial's files."""
        return f"trial-{trial:05d}-"

    def best_weights_file(self, trial: int) -> Path:
        """Return the path of the weights of a trial's best epoch."""
        return self.checkpoints / f"{self.prefix(trial)}best.weights.h5"

    def state_file(self, trial: int) -> Path:
        """Return the path of an unfinished trial's state; its previous state is beside it."""
        return self.checkpoints / f"{self.prefix(trial)}state.npz"

    def checkpoint_changed(self, path: Path) -> None:
        """Do nothing: a checkpoint that was written or removed is in the run folder already."""

    def retraining_state_file(self, trial: int, epochs: int) -> Path:
        """Return the path of an unfinished retraining's state."""
        return self.checkpoints / f"retraining-{trial:05d}-{epochs:05d}-state.npz"

    def forget_state(self, trial: int) -> None:
        """Remove an ended trial's state, and temporary files that a killed process has left."""
        remove_state(self.state_file(trial))
        for leftover in self.checkpoints.glob(f".[0-9]*-{self.prefix(trial)}*"):
            leftover.unlink(missing_ok=True)

    def forget_states(self, *, but: Collection[int]) -> None:
        """Remove the states and temporary files of all trials but those in ``but``."""
        kept_prefixes = [self.prefix(trial) for trial in but]
        for pattern in ("trial-*-state*", ".[0-9]*-trial-*"):
            for file in self.checkpoints.glob(pattern):
                if not any(prefix in file.name for prefix in kept_prefixes):
                    file.unlink(missing_ok=True)

    def forget_weights(self, trial: int) -> None:
        """Remove a trial's best weights."""
        self.best_weights_file(trial).unlink(missing_ok=True)
        self.build_config_file(trial).unlink(missing_ok=True)

    def forget(self, trial: int) -> None:
        """Remove all checkpoint files of a trial."""
        self.forget_weights(trial)
        self.forget_state(trial)

    def forget_retrainings(self) -> None:
        """Remove the states of all retrainings."""
        for state in self.checkpoints.glob("retraining-*-state*"):
            state.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove temporary files that killed processes have left."""
        for folder in (self.path, self.checkpoints):
            folder.mkdir(exist_ok=True)
            for pattern in LEFTOVERS:
                for leftover in folder.glob(pattern):
                    leftover.unlink(missing_ok=True)

    def build_config_file(self, trial: int) -> Path:
        """Return the path of the build config of a trial's model that declares no input shape."""
        return self.checkpoints / f"{self.prefix(trial)}build.json"


def is_blank(path: Path) -> bool:
    """Tell whether a folder is that of a search which ended before it recorded anything."""
    return (path / columns.CHECKPOINTS_DIR).is_dir() and has_no_records(path)


def has_no_records(path: Path) -> bool:
    """Tell whether a folder holds nothing but what a search may find there before it begins.

    That is what a search makes before its first record, and folders ``trial_*`` of the user.
    """
    checkpoints = path / columns.CHECKPOINTS_DIR
    is_empty = not (checkpoints.is_dir() and any(checkpoints.iterdir()))
    return is_empty and all(
        entry.name in (columns.CHECKPOINTS_DIR, columns.LOCK_FILE)
        or (entry.name.startswith(TRIAL_DIR_PREFIX) and entry.is_dir())
        for entry in path.iterdir()
    )


def previous_state_file(path: Path) -> Path:
    """Return the path of the state before the newest one."""
    return path.with_suffix(".before" + path.suffix)


def state_weights_file(path: Path) -> Path:
    """Return the path of the best weights at the time of a state."""
    return path.with_suffix(".best.h5")


def remove_state(path: Path) -> tuple[Path, ...]:
    """Remove a state and the files that belong to it, and return their paths."""
    files = (path, previous_state_file(path), state_weights_file(path))
    for file in files:
        file.unlink(missing_ok=True)
    return files


def out_exists_message(path: Path) -> str:
    """Return the error message for an ``--out`` that exists already."""
    is_run = (path / columns.RUN_FILE).is_file()
    resume = f"continue its run with `fmnist-search resume {path}`" if is_run else "move it away"
    return (
        f"--out {str(path)!r} exists already: expected a new folder, so that no run is lost. "
        f"Name another folder, or {resume}."
    )


@dataclass(frozen=True)
class LockedRun:
    """A run folder and the lock that makes this process its only driver."""

    folder: RunFolder
    lock: RunLock


@contextmanager
def new_run(path: Path, say: Say) -> Iterator["LockedRun"]:
    """Make a run folder and lock it; remove it at the end if nothing was recorded.

    What the user has put there, in folders ``trial_*``, stays.
    """
    folder = RunFolder.create(path)
    try:
        with locked_run(folder, say) as run:
            yield run
    finally:
        if not folder.journal_file.exists():
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
            with contextlib.suppress(OSError):  # it holds files of the user
                folder.path.rmdir()


@contextmanager
def locked_run(folder: RunFolder, say: Say) -> Iterator["LockedRun"]:
    """Hold the lock of a run, so that this process is its only driver."""
    lock = RunLock(folder.lock_file, say=say)
    try:
        yield LockedRun(folder, lock)
    finally:
        lock.release()


def nearest_folder(out: Path) -> Path:
    """Return ``out`` itself if it exists, else its nearest parent that exists."""
    return next(parent for parent in (out, *out.absolute().parents) if parent.exists())


def why_unwritable(out: Path) -> str | None:
    """Return why this process may not write to ``out``, or None if it may."""
    folder = nearest_folder(out)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return f"--out {str(out)!r}: {str(folder)!r} is not writable. Name another folder."


def replace_folder(fresh: Path, target: Path) -> None:
    """Move a finished folder to its target; keep an existing one as ``NAME.previous``."""
    if target.exists():
        previous = target.with_name(target.name + ".previous")
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    fresh.rename(target)
