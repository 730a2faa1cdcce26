"""A run as it was left: what is read of it, and what a searcher learns from it."""

from collections.abc import Iterator
from pathlib import Path

from results.record.columns import State, Values
from results.record.history import TrialRecord
from results.record.journal import Event
from search.algorithms.base import Searcher
from search.errors import UsageError
from search.plan.plan import Engine
from search.session.run_file import RecordedRun, read_run
from search.session.warm_start import fitted_values, own_values
from search.space.parameters import Space
from search.storage.folder import RunFolder


def read_previous_run(path: Path) -> RecordedRun:
    """Read a run that is to be resumed.

    Raises:
        RunFolderError: It is no run, of a newer version, or damaged beyond use.
        UsageError: It is of a kind that cannot go on.
    """
    run = read_run(RunFolder.open(path))
    row = run.description.get("plan")
    engine = row.get("engine") if isinstance(row, dict) else None
    if isinstance(row, dict) and engine != Engine.RAY:
        raise UsageError(
            f"{str(run.folder.path)!r} was made by {engine}, whose search cannot be gone on with: "
            f"expected a run of --engine ray. `fmnist-search run --warm-start {run.folder.path}` "
            "learns from it."
        )
    _ = run.plan  # what is damaged there is said before anything is done
    return run


def teach_searcher(searcher: Searcher, previous: RecordedRun) -> Iterator[str]:
    """Teach a searcher what it had learnt when the run was left.

    The searcher is told of each trial whose configuration the space still holds as it happened;
    of any other trial that has finished it learns what still applies.

    Args:
        searcher: Knows the space as it is discovered today.
        previous: The run.

    Yields:
        What could not be used, a line each.
    """
    adopted: set[int] = set()
    changed: list[int] = []
    for event in previous.events:
        number = event.get("trial")
        if event["event"] == "trial_started" and number not in adopted:
            values = values_within(event["values"], searcher.space)
            if values is None:
                changed.append(event["trial"])
            else:
                searcher.adopt(event["trial"], values)
                searcher.observe(event)
                adopted.add(event["trial"])
        elif event["event"] == "space_grown":
            searcher.grow(Space.from_json(event["parameters"]))
        elif event["event"] == "earlier_trial":
            yield from _learnt_earlier(searcher, event)
        elif event.get("state") != State.INTERRUPTED and (number is None or number in adopted):
            searcher.observe(event)
    for number in changed:
        yield _learnt(searcher, previous.history.trials[number])


def _learnt_earlier(searcher: Searcher, event: Event) -> Iterator[str]:
    try:
        searcher.learn(fitted_values(event["values"], searcher.space), event["score"])
    except ValueError as error:
        yield f"{event['source']} is left out: {error}"


def trials_outside(previous: RecordedRun, space: Space) -> list[int]:
    """Return the unfinished trials whose configuration a space does not hold any more."""
    unfinished = previous.history.unfinished()
    return [trial.trial for trial in unfinished if values_within(trial.proposed, space) is None]


def values_within(values: Values, space: Space) -> Values | None:
    """Return a configuration as the space holds it; None where it does not."""
    own = own_values(values)
    known = {parameter.name for parameter in space}
    try:
        fitting = fitted_values(own, space)
    except ValueError:
        return None
    if set(own) - known or any(own.get(name, value) != value for name, value in fitting.items()):
        return None
    return values | fitting


def _learnt(searcher: Searcher, trial: TrialRecord) -> str:
    name = f"trial {trial.trial}"
    has_finished = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
    if not has_finished or trial.best_value is None:
        return f"{name} ({trial.ending}): its configuration is not of this space: left out"
    known = {parameter.name for parameter in searcher.space}
    gone = [name for name in own_values(trial.values) if name not in known]
    try:
        values = fitted_values(trial.values, searcher.space)
    except ValueError as error:
        return f"{name} is left out: {error}"
    searcher.learn(values, trial.best_value)
    return f"{name}: learnt from without {', '.join(gone)}" if gone else f"{name}: learnt from"
