"""The folder of a tuner's project: what stands there, and whether the search goes on with it."""

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
    """The run folder of a tuner.

    Attributes:
        folder: ``directory/project_name``; it is made when the search begins.
        overwrites: Whether a search that stands there is moved away; else it goes on.
    """

    folder: RunFolder
    overwrites: bool

    @property
    def is_run(self) -> bool:
        """Whether a run stands there."""
        return self.folder.run_file.exists() or self.folder.journal_file.exists()

    def check(self) -> None:
        """Check that nothing stands there but a run.

        Raises:
            UsageError: Something else does.
        """
        path = self.folder.path
        if not path.exists() or not any(path.iterdir()):
            return
        if (path / KERAS_TUNER_FILE).exists():
            raise UsageError(
                f"{str(path)!r} is a project of keras-tuner: it is left as it is, overwrite=True "
                f"or not. Name another project_name; warm_start={str(path)!r} learns from it."
            )
        if not self.is_run:
            raise UsageError(
                f"{str(path)!r} holds no run of RayTuner: expected a new folder, so that nothing "
                "is lost. Name another directory or project_name."
            )

    def events(self, objective: Objective) -> tuple[Event, ...]:
        """Read what has happened in the run that stands there.

        Raises:
            SearchError: It cannot be read, or another objective was searched for.
        """
        run = read_run(self.folder)
        searched = run.problem.objective
        if searched != objective:
            raise UsageError(
                f"{str(self.folder.path)!r} was searched for {searched.name} ({searched.mode}), "
                f"not for {objective.name}: expected the same objective. Name another project, or "
                "say overwrite=True."
            )
        return run.events

    def planned_trials(self) -> int | None:
        """Return how many trials were asked for of the run that stands there."""
        trials: int | None = read_run(self.folder).description["plan"]["trials"]
        return trials

    def goes_on(self, history: History) -> bool:
        """Tell whether the search goes on; one that found nothing makes room for the next try."""
        return not self.overwrites and (history.best is not None or bool(history.unfinished()))

    @contextmanager
    def locked(self, history: History, view: View) -> Iterator[LockedRun]:
        """Lock the run folder; a new one where the search does not go on."""
        if self.goes_on(history):
            with locked_run(self.folder, view.note) as run:
                yield run
            return
        self._make_room(view)
        with new_run(self.folder.path, view.note) as run:
            yield run

    def _make_room(self, view: View) -> None:
        path = self.folder.path
        if not path.exists():
            return
        if self.is_run:
            with locked_run(self.folder, view.note):
                pass  # nobody else is searching in what is moved
        moved = move_away(path)
        if moved is not None:
            view.note(f"{path}: what was there is now in {moved.name}")

    def previous(self, data: str, view: View) -> RecordedRun:
        """Read the run that goes on.

        Args:
            data: Describes the data, as equal data are described.
            view: Told what is damaged.

        Raises:
            UsageError: It was searched with other data.
        """
        previous = read_previous_run(self.folder.path)
        for note in previous.notes:
            view.note(note)
        before = previous.plan.problem.data
        if data != before:
            raise UsageError(
                f"{str(self.folder.path)!r} was searched with other data ({before}, now {data}): "
                "its figures would not be of one problem. Give search the same, or name another "
                "project_name."
            )
        return previous


def move_away(path: Path) -> Path | None:
    """Make room where an earlier search stands, by moving it to a name like ``NAME.previous``.

    Returns:
        Where it is now; None where there was nothing in the folder.
    """
    if not any(path.iterdir()):
        path.rmdir()
        return None
    names = chain([".previous"], map(".previous-{}".format, count(2)))
    free = next(f for n in names if not (f := path.with_name(path.name + n)).exists())
    return path.rename(free)
