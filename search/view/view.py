"""Shows a running search as plain lines, for logs and pipes, and words its lines for all views."""

from collections.abc import Mapping

from rich.console import Console

from results.record.columns import Ending, State
from results.record.history import DEFAULT_OBJECTIVE, History, Objective, TrialRecord
from results.record.journal import Event
from results.record.screen import make_console
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
from search.signals import lasting_output
from search.storage.clock import Clock

# Between the parts of a line.
SEPARATOR = " · "
# Without a screen, retraining prints a line each time that so many epochs are done.
LINE_EVERY_EPOCHS = 10
# How the reason begins if data of another kind would train on the fast path.
DATA_REASON = "the data are"


class View:
    """A view that prints a line for each event.

    Args:
        console: None: one on the standard output that can print any text.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console()

    def note(self, text: str) -> None:
        """Print a line that stays on the screen."""
        with lasting_output():
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def begin(self, plan: Plan, history: History, clock: Clock) -> None:
        """Start to show a search, whose ``history`` has each event before ``observe`` gets it."""
        self._plan, self._history, self._clock = plan, history, clock
        self._shown_best = history.best_value
        self._is_slow_path_shown = False

    def observe(self, event: Event) -> None:
        """Show an event."""
        best = self._history.best
        name = self._plan.problem.objective.name
        if best and best.objective != self._shown_best:
            self._shown_best = best.objective
            self.note(f"{event['at_seconds']:7.1f} s  {describe_new_best(best, name)}")
        self._show_trial_event(event)

    def _show_trial_event(self, event: Event) -> None:
        """Print how a trial ended, or that it lost its process."""
        time_column = f"{event['at_seconds']:7.1f} s  "
        if event["event"] == "trial_ended":
            trial = self._history.trials[event["trial"]]
            line = time_column + describe_trial_end(trial, self._plan.problem.objective.name)
            self.note(self._with_values(line, trial) if trial.best else line)
            self._show_slow_path(trial)
        elif event["event"] == "worker_lost" and event["by_trial"]:
            loss = f"continues after the loss of its process: {event['error']}"
            self.note(f"{time_column}trial {event['trial']} {loss}")

    def _show_slow_path(self, trial: TrialRecord) -> None:
        """Say once that the kind of the data keeps the trials from the fast epoch."""
        reason = trial.path_reason or ""
        if reason.startswith(DATA_REASON) and not self._is_slow_path_shown:
            self._is_slow_path_shown = True
            self.note(f"trials train by Keras's own loop, which is slower, since {reason}")

    def _with_values(self, line: str, trial: TrialRecord) -> str:
        return f"{line}  {format_values(trial.values)}"

    def tick(self) -> None:
        """Redraw what changes with time."""

    def end(self) -> None:
        """Stop showing the search."""

    def progress(self, epochs_done: Mapping[int, int]) -> None:
        """Show the progress of the retrainings: epochs done, by planned epochs."""
        if sum(epochs_done.values()) % LINE_EVERY_EPOCHS == 0 or all_done(epochs_done):
            self.note(describe_retraining(epochs_done))


class SilentView(View):
    """A view that shows nothing, for ``verbose=0``."""

    def note(self, text: str) -> None:
        """Print nothing."""


def summary(plan: Plan, history: History, seconds: float) -> str:
    """Return one line: time, trials running, finished and stopped, best, speed, time left."""
    trials = history.trials
    running, stopped = len(history.unfinished()), history.count(State.STOPPED)
    finished = len(trials) - running - stopped
    stopped_by = Ending(State.STOPPED, None if plan.scheduler is Scheduler.NONE else plan.scheduler)
    total = f" of {plan.trials}" if plan.trials else ""
    parts = [
        f"{seconds:.0f} s",
        f"trials{total}: {running} running, {finished} finished, {stopped} {stopped_by}",
        f"best {history.objective.name} {format_number(history.best_value, '-')}",
        f"{_epochs_per_second(history, seconds):.2f} epochs/s",
    ]
    left = seconds_left(plan, history, seconds)
    return SEPARATOR.join([*parts, f"about {left:.0f} s left"] if left is not None else parts)


def seconds_left(plan: Plan, history: History, seconds: float) -> float | None:
    """Estimate the seconds to the end of the search from the ended trials; None if unknown."""
    estimates = []
    done = len(history.trials) - len(history.unfinished())
    if plan.trials and done:
        first = min(trial.started_seconds for trial in history.trials.values())
        estimates.append((plan.trials - done) * (seconds - first) / done)
    if plan.time_budget_seconds is not None:
        estimates.append(plan.time_budget_seconds - seconds)
    return max(min(estimates), 0.0) if estimates else None


def describe_aim(objective: Objective) -> str:
    """Return what a search does to its objective, such as ``maximizing val_accuracy``."""
    verb = "maximizing" if objective.mode == "max" else "minimizing"
    if objective.name == DEFAULT_OBJECTIVE:
        return f"{verb} what fit returns"
    added = [part.name for part in objective.parts if part.mode == "min"]
    subtracted = [part.name for part in objective.parts if part.mode == "max"]
    terms = [" + ".join(added), *subtracted] if objective.parts else [objective.name]
    return f"{verb} {' - '.join(terms).strip()}"


def describe_end(reason: str, history: History) -> str:
    """Return a line on how a search ended, and a line on its best trial if there is one."""
    text = f"search ended ({reason}): {describe_totals(history)}"
    best = history.best
    if best is None:
        return text
    values = format_values(history.trials[best.trial].values)
    return f"{text}\n{describe_best(best, history.objective.name)}: {values}"


def describe_retraining(epochs_done: Mapping[int, int]) -> str:
    """Return the progress of the retrainings as text: epochs done, by planned epochs."""
    return "retraining: epoch " + ", ".join(
        f"{epoch} of {plan}" for plan, epoch in epochs_done.items()
    )


def all_done(epochs_done: Mapping[int, int]) -> bool:
    """Tell whether all retrainings are done."""
    return all(epoch == plan for plan, epoch in epochs_done.items())


def _epochs_per_second(history: History, seconds: float) -> float:
    if not history.trials:
        return 0.0
    first = min(trial.started_seconds for trial in history.trials.values())
    return history.epochs_trained / max(seconds - first, 1e-9)
