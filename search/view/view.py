"""What a person sees while a search runs: lines, where there is no screen; and the words of it."""

from collections.abc import Mapping

from rich.console import Console

from results.record.columns import Ending, State
from results.record.history import History, TrialRecord
from results.record.journal import Event
from results.record.words import (
    describe_best,
    describe_new_best,
    describe_totals,
    describe_trial_end,
    format_number,
    format_values,
)
from search.plan.plan import Plan
from search.plan.registry import Scheduler
from search.storage.clock import Clock

# Between the parts of a line.
SEPARATOR = " · "
# Without a screen, a line for so many epochs of retraining.
LINE_EVERY_EPOCHS = 10


class View:
    """Shows a run, a line for each thing that happened: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def begin(self, plan: Plan, history: History, clock: Clock) -> None:
        """Show a search from now on."""
        self._plan, self._history, self._clock = plan, history, clock
        self._best_seen = history.best_value

    def tell(self, event: Event) -> None:
        """Take notice of an event."""
        best = self._history.best
        name = self._plan.problem.objective.name
        if best and best.objective != self._best_seen:
            self._best_seen = best.objective
            self.note(f"{event['at_seconds']:7.1f} s  {describe_new_best(best, name)}")
        self._tell_of_a_trial(event)

    def _tell_of_a_trial(self, event: Event) -> None:
        """Say how a trial ended, or that it lost its process."""
        when = f"{event['at_seconds']:7.1f} s  "
        if event["event"] == "trial_ended":
            trial = self._history.trials[event["trial"]]
            line = when + describe_trial_end(trial, self._plan.problem.objective.name)
            self.note(self._with_values(line, trial) if trial.best else line)
        elif event["event"] == "worker_lost" and event["by_trial"]:
            lost = f"its process is lost ({event['error']}), it goes on"
            self.note(f"{when}trial {event['trial']}: {lost}")

    def _with_values(self, line: str, trial: TrialRecord) -> str:
        return f"{line}  {format_values(trial.values)}"

    def tick(self) -> None:
        """Bring what moves up to date."""

    def end(self) -> None:
        """Stop showing the search."""

    def progress(self, done: Mapping[int, int]) -> None:
        """Show how far the retrainings are: epochs done, by epochs planned."""
        if sum(done.values()) % LINE_EVERY_EPOCHS == 0 or all_done(done):
            self.note(retraining(done))


class SilentView(View):
    """Shows nothing: for ``verbose=0``."""

    def note(self, text: str) -> None:
        """Say nothing."""


def summary(plan: Plan, history: History, seconds: float) -> str:
    """Return one line: trials running, finished and stopped, best, speed, time left."""
    trials = history.trials
    running, stopped = len(history.unfinished()), history.count(State.STOPPED)
    finished = len(trials) - running - stopped
    stops = Ending(State.STOPPED, None if plan.scheduler is Scheduler.NONE else plan.scheduler)
    of = f" of {plan.trials}" if plan.trials else ""
    parts = [
        f"{seconds:.0f} s",
        f"trials{of}: {running} running, {finished} finished, {stopped} {stops}",
        f"best {history.objective.name} {format_number(history.best_value, '-')}",
        f"{_epochs_per_second(history, seconds):.2f} epochs/s",
    ]
    left = seconds_left(plan, history, seconds)
    return SEPARATOR.join([*parts, f"about {left:.0f} s left"] if left is not None else parts)


def seconds_left(plan: Plan, history: History, seconds: float) -> float | None:
    """Estimate the seconds to the end of the search, from the trials done so far, or None."""
    estimates = []
    done = len(history.trials) - len(history.unfinished())
    if plan.trials and done:
        first = min(trial.started_seconds for trial in history.trials.values())
        estimates.append((plan.trials - done) * (seconds - first) / done)
    if plan.time_budget_seconds is not None:
        estimates.append(plan.time_budget_seconds - seconds)
    return max(min(estimates), 0.0) if estimates else None


def ending(reason: str, history: History) -> str:
    """Return how a search ended and what it found, a line each."""
    text = f"search ended ({reason}): {describe_totals(history)}"
    best = history.best
    if best is None:
        return text
    values = format_values(history.trials[best.trial].values)
    return f"{text}\n{describe_best(best, history.objective.name)}: {values}"


def retraining(done: Mapping[int, int]) -> str:
    """Say how far the retrainings are: epochs done, by epochs planned."""
    return "retraining: epoch " + ", ".join(f"{epoch} of {plan}" for plan, epoch in done.items())


def all_done(done: Mapping[int, int]) -> bool:
    """Tell whether the retrainings are done."""
    return all(epoch == plan for plan, epoch in done.items())


def _epochs_per_second(history: History, seconds: float) -> float:
    if not history.trials:
        return 0.0
    first = min(trial.started_seconds for trial in history.trials.values())
    return history.epochs_trained / max(seconds - first, 1e-9)
