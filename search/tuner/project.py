"""The run folder of a tuner: whether it has a run, and whether the search continues it."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from results.record.history import History, Objective
from results.record.journal import Event
from search.carry.description import DataDescription, shapes_of
from search.errors import UsageError
from search.session.origin import read_previous_run
from search.session.run_file import RecordedRun, read_run
from search.session.warm_start import (
    EarlierSearch,
    is_keras_tuner_project,
    read_earlier_search,
    read_warm_start,
)
from search.storage.folder import LockedRun, RunFolder, has_no_records, locked_run, new_run
from search.tuner.former import MAX_FORMER_RUNS, holds_run, move_away
from search.view.view import View

# Added to the name of a project of keras-tuner's own, for the run folder beside it.
OWN_SUFFIX = "-ray"


@dataclass
class Project:
    """The project of a tuner.

    Attributes:
        folder: The run folder.
        overwrites: Whether an existing run is moved away; otherwise a search continues that run.
        keras_tuner_project: The project of keras-tuner's own from which a new search learns; None:
            there is none.
    """

    folder: RunFolder
    overwrites: bool
    keras_tuner_project: Path | None = None

    @classmethod
    def at(cls, path: Path, *, overwrites: bool) -> "Project":
        """Return the project at ``directory/project_name``.

        If keras-tuner itself has a project there that stays, the run folder is ``NAME-ray``.
        """
        if overwrites or holds_run(path) or not is_keras_tuner_project(path):
            return cls(RunFolder(path), overwrites)
        return cls(RunFolder(path.with_name(path.name + OWN_SUFFIX)), overwrites, path)

    @property
    def is_run(self) -> bool:
        """Whether the folder has a run."""
        return holds_run(self.folder.path)

    def make_folder(self) -> None:
        """Make the run folder if it does not exist, as keras-tuner does.

        Raises:
            UsageError: It cannot be made.
        """
        path = self.folder.path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be made ({error.strerror}). Choose another directory or "
                "project_name."
            ) from None

    def check(self) -> None:
        """Check that the folder has a run or no records, or may be moved away.

        Raises:
            UsageError: It has other files.
        """
        path = self.folder.path
        is_usable = self.is_run or self._is_movable or not path.exists() or has_no_records(path)
        if not is_usable:
            raise UsageError(
                f"{str(path)!r} holds files other than a run of RayTuner: expected a new or empty "
                "folder. Choose another directory or project_name."
            )

    @property
    def _is_movable(self) -> bool:
        """Whether the folder has a project of keras-tuner's own that a search moves away."""
        return self.overwrites and is_keras_tuner_project(self.folder.path)

    def read_earlier_search(
        self, warm_start: str | None, objective: Objective, view: View
    ) -> EarlierSearch | None:
        """Read the search to learn from, and say where this one is kept if that is elsewhere.

        Args:
            warm_start: The search that the user names; it goes before a project of keras-tuner's.
            objective: The objective of this search.
            view: Shows the lines.

        Returns:
            Its finished trials; None if there is no such search.

        Raises:
            UsageError: The search that the user names cannot be read.
        """
        path = self.keras_tuner_project
        if path is not None:
            view.note(
                f"{path} is a project of keras-tuner and stays as it is; this search is in "
                f"{self.folder.path}"
            )
        if path is None or warm_start is not None:
            return read_warm_start(warm_start, objective)
        try:
            return read_earlier_search(path, objective)
        except UsageError as error:
            view.note(f"nothing is learnt from it: {error}")
            return None

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
        self.move_away(view)
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        try:
            with new_run(self.folder.path, view.note) as run:
                yield run
        finally:
            with contextlib.suppress(UsageError):
                self.make_folder()  # it stays, even without records

    def move_away(self, view: View) -> None:
        """Move a run, or an overwritten project of keras-tuner's own, to ``NAME.previous``.

        Raises:
            RunFolderError: Another process uses the run.
            UsageError: The folder cannot be moved.
        """
        if not self.is_run and not self._is_movable:
            return
        path = self.folder.path
        if self.is_run:
            with locked_run(self.folder, view.note):
                pass  # checks that no other process uses the run
        # Only who overwrites expects that anything is deleted.
        new_path = move_away(path, MAX_FORMER_RUNS if self.overwrites else None)
        view.note(f"{path}: the previous content is now in {new_path.name}")

    def read_previous(self, data: DataDescription, view: View) -> RecordedRun:
        """Read the run that the search continues, and say if its data cannot be known to be equal.

        Args:
            data: Describes the data of the search.
            view: Shows what is damaged, and what differs.

        Raises:
            UsageError: The run used other data, not only another split of them.
        """
        previous = read_previous_run(self.folder.path)
        for note in previous.notes:
            view.note(note)
        former = previous.plan.problem.data
        if str(data) == former and not data.unstable:
            return previous
        rows = previous.description.get("data")
        if not (data.resemble(rows) if rows else data.shapes == shapes_of(former)):
            raise UsageError(
                f"{str(self.folder.path)!r} was searched with other data ({former}, now {data}), "
                "so its results cannot be compared. Pass the same data to search, or choose "
                "another project_name."
            )
        difference = "the data are not those of the earlier trials, perhaps another split of them"
        if data.unstable:
            places = ", ".join(data.unstable)
            difference = f"{places} cannot be compared with the data of the earlier trials"
        view.note(
            f"{self.folder.path}: {difference}; their results are ranked together. For a search of "
            "its own, choose another project_name"
        )
        return previous
