"""Parameters that a trial is the first to register."""

from typing import Any

from search.errors import NewEntriesError
from search.plan.task import Task
from search.session.session import Session
from search.session.stopping import Stopping
from search.space.parameters import Space


class Growth:
    """Adds new parameters to the space if the task allows it.

    Args:
        task: Says whether new parameters are allowed, and whether they are searched.
        stopping: Ends the search when a new parameter is not allowed.
    """

    def __init__(self, task: Task, stopping: Stopping) -> None:
        self._task = task
        self._stopping = stopping

    def grow(self, session: Session, parameters: list[dict[str, Any]]) -> None:
        """Add what the build and fit of a trial have registered, as JSON values."""
        new = session.searcher.space.news(Space.from_json(parameters))
        if not new.parameters:
            return
        if not self._task.allow_new_entries:
            names = ", ".join(parameter.name for parameter in new)
            self._stopping.fail(
                NewEntriesError(
                    f"allow_new_entries=False, but a build asked for {names}: register it in "
                    "hyperparameters, or allow new entries."
                )
            )
        elif self._task.tune_new_entries:
            session.searcher.grow(new)
            session.recorder.space_grown(new.to_json())
