"""The run folder of a tuner: whether it has a run, and whether the search continues it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from results.record.history import History, Objective
from results.record.journal import Event
from search.errors import UsageError
from search.session.origin import read_previous_run
from search.session.run_file import RecordedRun, read_run
from search.session.warm_start import KERAS_TUNER_FILE
from search.storage.folder import LockedRun, RunFolder, locked_run, new_run
from search.view.view import View


@dataclass
class Project:
    """The project of a tuner.

    Attributes:
        folder: The run folder ``directory/project_name``; a search creates it.
        overwrites: Whether a search moves an existing run away; otherwise it continues that run.
    """

    folder: RunFolder
    overwrites: bool

    @property
    def is_run(self) -> bool:
        """Whether the folder has a run."""
        return self.folder.run_file.exists() or self.folder.journal_file.exists()

    def check(self) -> None:
        """Check that the folder has a run, is empty, or does not exist.

        Raises:
            UsageError: It has other files.
        """
        path = self.folder.path
        if not path.exists() or not any(path.iterdir()):
            return
        if (path / KERAS_TUNER_FILE).exists():
            raise UsageError(
                f"{str(path)!r} is a project of keras-tuner, which RayTuner never overwrites. "
                f"Choose another project_name; warm_start={str(path)!r} learns from the project."
            )
        if not self.is_run:
            raise UsageError(
                f"{str(path)!r} holds files other than a run of RayTuner: expected a new or empty "
                "folder. Choose another directory or project_name."
            )

    def read_events(self, objective: Objective) -> tuple[Event, ...]:
        """Read the events of the run in the folder.

        Raises:
            SearchError: The run cannot be read, or has another objective.
        """
        run = read_run(self.folder)
        previous = run.problem.objective
        if previous != objective:
            raise UsageError(
                f"{str(self.folder.path)!r} was searched for {previous.name} ({previous.mode}), "
                f"not for {objective.name}: expected the same objective. Choose another "
                "project_name, or set overwrite=True."
            )
        return run.events

    def read_max_trials(self) -> int | None:
        """Return the maximum number of trials of the run in the folder."""
        trials: int | None = read_run(self.folder).description["plan"]["trials"]
        return trials

    def is_continued(self, history: History) -> bool:
        """Tell whether a search continues the run; a run without any value is replaced."""
        return not self.overwrites and (history.best is not None or bool(history.unfinished()))

    @contextmanager
    def lock(self, history: History, view: View) -> Iterator[LockedRun]:
        """Lock the run folder; move an old run away first unless the search continues it."""
        if self.is_continued(history):
            with locked_run(self.folder, view.note) as run:
                yield run
            return
        self._move_away_run(view)
        with new_run(self.folder.path, view.note) as run:
            yield run

    def _move_away_run(self, view: View) -> None:
        path = self.folder.path
        if not path.exists():
            return
        if self.is_run:
            with locked_run(self.folder, view.note):
                pass  # checks that no other process uses the run
        new_path = move_away(path)
        if new_path is not None:
            view.note(f"{path}: the previous content is now in {new_path.name}")

    def read_previous(self, data: str, view: View) -> RecordedRun:
        """Read the run that the search continues.

        Args:
            data: Description of the data, which is equal for equal data.
            view: Shows what is damaged.

        Raises:
            UsageError: The run used other data.
        """
        previous = read_previous_run(self.folder.path)
        for note in previous.notes:
            view.note(note)
        previous_data = previous.plan.problem.data
        if data != previous_data:
            raise UsageError(
                f"{str(self.folder.path)!r} was searched with other data ({previous_data}, now "
                f"{data}), so its results cannot be compared. Pass the same data to search, or "
                "choose another project_name."
            )
        return previous


def move_away(path: Path) -> Path | None:
    """Rename a folder to ``NAME.previous``, ``NAME.previous-2`` and so on; remove an empty one.

    Returns:
        The new path; None if the folder was empty.
    """
    if not any(path.iterdir()):
        path.rmdir()
        return None
    suffixes = chain([".previous"], map(".previous-{}".format, count(2)))
    paths = (path.with_name(path.name + suffix) for suffix in suffixes)
    return path.rename(next(new_path for new_path in paths if not new_path.exists()))
