"""The run folder: every path of a run, and how its files are written."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from results.record import columns
from results.record.errors import RunFolderError
from search.storage.lock import RunLock, Say

# Less than this is not enough for the weights and states of a run.
MIN_FREE_BYTES = 500 * 1024**2
# What stands for a moment beside what it will take the place of.
LEFTOVERS = (".[0-9]*-*", f"{columns.LOCK_FILE}.*")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Make a new run folder, where none is yet."""
        try:
            path.mkdir(parents=True, exist_ok=is_blank(path))
            folder = cls(path.resolve())
            folder.checkpoints.mkdir(exist_ok=True)
        except FileExistsError:
            raise RunFolderError(out_exists_message(path)) from None
        except OSError as error:
            raise RunFolderError(f"--out {str(path)!r} cannot be made: {error.strerror}.") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run that was made before."""
        folder = cls(path.resolve())
        if folder.run_file.is_file() or folder.journal_file.is_file():
            return folder
        if is_blank(path):
            raise RunFolderError(
                f"{str(path)!r} was begun and ended before anything was recorded: there is nothing "
                "to go on with. Run the same command again; it takes that folder."
            )
        raise RunFolderError(
            f"{str(path)!r} is no run: expected a folder with {columns.RUN_FILE}, as "
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
        """With what the names of a trial's files begin."""
        return f"trial-{trial:05d}-"

    def best_weights_file(self, trial: int) -> Path:
        """Weights of a trial's best epoch."""
        return self.checkpoints / f"{self.prefix(trial)}best.weights.h5"

    def state_file(self, trial: int) -> Path:
        """Whole state of an unfinished trial; the one before stands beside it."""
        return self.checkpoints / f"{self.prefix(trial)}state.npz"

    def checkpoint_changed(self, path: Path) -> None:
        """Hear that a trial wrote or removed a file of the checkpoints: it is in its place here."""

    def retraining_state_file(self, trial: int, epochs: int) -> Path:
        """Whole state of an unfinished retraining."""
        return self.checkpoints / f"retraining-{trial:05d}-{epochs:05d}-state.npz"

    def forget_state(self, trial: int) -> None:
        """Remove an ended trial's state, and what a killed process was about to write of it."""
        remove_state(self.state_file(trial))
        for left in self.checkpoints.glob(f".[0-9]*-{self.prefix(trial)}*"):
            left.unlink(missing_ok=True)

    def forget_states(self, *, but: Collection[int]) -> None:
        """Remove the states of all trials but some, and what was about to be written of them."""
        kept = [self.prefix(trial) for trial in but]
        for pattern in ("trial-*-state*", ".[0-9]*-trial-*"):
            for left in self.checkpoints.glob(pattern):
                if not any(prefix in left.name for prefix in kept):
                    left.unlink(missing_ok=True)

    def forget_weights(self, trial: int) -> None:
        """Remove a trial's best weights."""
        self.best_weights_file(trial).unlink(missing_ok=True)
        self.build_config_file(trial).unlink(missing_ok=True)

    def forget(self, trial: int) -> None:
        """Remove everything that is kept of a trial."""
        self.forget_weights(trial)
        self.forget_state(trial)

    def forget_retrainings(self) -> None:
        """Remove the states of all retrainings."""
        for state in self.checkpoints.glob("retraining-*-state*"):
            state.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what processes that are gone were about to write."""
        for place in (self.path, self.checkpoints):
            place.mkdir(exist_ok=True)
            for pattern in LEFTOVERS:
                for left in place.glob(pattern):
                    left.unlink(missing_ok=True)

    def build_config_file(self, trial: int) -> Path:
        """What a model of a trial that declares no input shape is built with."""
        return self.checkpoints / f"{self.prefix(trial)}build.json"


def is_blank(path: Path) -> bool:
    """Tell whether a folder is one in which a search was begun that recorded nothing."""
    if not (path / columns.CHECKPOINTS_DIR).is_dir():
        return False
    names = {entry.name for entry in path.iterdir()}
    is_empty = not any((path / columns.CHECKPOINTS_DIR).iterdir())
    return is_empty and names <= {columns.CHECKPOINTS_DIR, columns.LOCK_FILE}


def previous_state_file(path: Path) -> Path:
    """Return where a trial's state before the newest is."""
    return path.with_suffix(".before" + path.suffix)


def state_weights_file(path: Path) -> Path:
    """Return where the best weights are that belong to a trial's state."""
    return path.with_suffix(".best.h5")


def remove_state(path: Path) -> tuple[Path, ...]:
    """Remove a trial's state and what belongs to it, when the trial has ended; return which."""
    files = (path, previous_state_file(path), state_weights_file(path))
    for file in files:
        file.unlink(missing_ok=True)
    return files


def out_exists_message(path: Path) -> str:
    """Return the message for an ``--out`` that stands already."""
    return (
        f"--out {str(path)!r} exists already: expected a new folder, so that no run is lost. "
        "Name another, or move that one away."
    )


@dataclass(frozen=True)
class LockedRun:
    """A run folder, and the lock by which this process is its one driver."""

    folder: RunFolder
    lock: RunLock


@contextmanager
def new_run(path: Path, say: Say) -> Iterator["LockedRun"]:
    """Make a run folder and hold it; it is removed where nothing was recorded in it."""
    folder = RunFolder.create(path)
    try:
        with locked_run(folder, say) as run:
            yield run
    finally:
        if not folder.journal_file.exists():
            shutil.rmtree(folder.path, ignore_errors=True)


@contextmanager
def locked_run(folder: RunFolder, say: Say) -> Iterator["LockedRun"]:
    """Be the one driver of a run meanwhile."""
    lock = RunLock(folder.lock_file, say=say)
    try:
        yield LockedRun(folder, lock)
    finally:
        lock.release()


def nearest_folder(out: Path) -> Path:
    """Return the folder itself or, where it is still to be made, the nearest above that exists."""
    return next(parent for parent in (out, *out.absolute().parents) if parent.exists())


def why_unwritable(out: Path) -> str | None:
    """Return why no run folder can be made there, or gone on with; None where one can."""
    folder = nearest_folder(out)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return f"--out {str(out)!r}: {str(folder)!r} may not be written to. Name another folder."


def replace_folder(fresh: Path, target: Path) -> None:
    """Move a finished folder into its place; what stood there is kept as ``NAME.previous``."""
    if target.exists():
        previous = target.with_name(target.name + ".previous")
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    fresh.rename(target)
