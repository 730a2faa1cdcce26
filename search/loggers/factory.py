"""Makes the logger that a plan names."""

from collections.abc import Callable, Iterable

from results.record.history import History
from results.record.journal import Event
from search.loggers.base import Logger
from search.plan.plan import Plan
from search.storage.folder import RunFolder


def make_log(
    plan: Plan,
    folder: RunFolder,
    history: History,
    say: Callable[[str], None],
    *,
    before: Iterable[Event],
) -> Logger | None:
    """Make the logger of a plan and say how to look at the log; None where it names none.

    Args:
        plan: Names the logger.
        folder: The run.
        history: Brought up to date before the logger is called with an event.
        say: Called with a line for the user.
        before: The events of a run that is resumed, as it was left.
    """
    if plan.log is None:
        return None
    log: Logger = plan.log.load()(folder, history, say, before=before)
    say(f"log: {log.command}")
    return log
