"""A search under way: what an engine works with, and what is written when it ends."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from results.columns import State
from search.describe import describe
from search.earlier import Earlier, fitted
from search.folder import RunFolder, remove_state, write_json
from search.history import History
from search.journal import Event, Journal
from search.plan import Algorithm, Engine, Plan
from search.recorder import Clock, Listener, Recorder, seconds_since_process_start
from search.searchers import RandomSearcher, Searcher, TPESearcher
from search.space import Space
from search.tables import write_tables
from search.views import View


@dataclass(frozen=True)
class Session:
    """A search under way.

    Attributes:
        folder: The run folder, made and with its run.json.
        journal: Where every event goes.
        searcher: Chooses the configurations (the Ray engine asks it).
        recorder: Is told of everything that happens.
        view: What the user sees of it.
    """

    folder: RunFolder
    journal: Journal
    searcher: Searcher
    recorder: Recorder
    view: View

    @classmethod
    def open(
        cls,
        plan: Plan,
        space: Space,
        history: History,
        view: View,
        *,
        earlier: Earlier | None = None,
        searcher: Searcher | None = None,
        listeners: Iterable[Listener] = (),
        clock: Clock = seconds_since_process_start,
    ) -> "Session":
        """Make the run folder and begin to write.

        Args:
            plan: What was asked.
            space: The space as discovered.
            history: What has happened so far: nothing.
            view: What the user sees.
            earlier: An earlier search, told to the searcher as far as it fits the space.
            searcher: Chooses the configurations; None: the one that the plan names.
            listeners: Told of every event, after the searcher and before the view.
            clock: Seconds since the start of what is measured.

        Raises:
            RunFolderError: The folder cannot be made.
        """
        folder = RunFolder.create(plan.out)
        write_json(folder.run_file, describe(plan, space))
        journal = Journal(folder.journal_file)
        searcher = searcher or make_searcher(plan, space)
        recorder = Recorder(journal, history, [searcher.observe, *listeners], clock=clock)
        kept = plan.kept_weights
        if kept is not None:
            recorder.listen(lambda event: _keep_best_weights(folder, history, event, kept))
        recorder.search_started(space=space.to_json())
        names = ", ".join(dict.fromkeys(parameter.name for parameter in space))
        view.note(f"space {plan.problem.space}: {names}")
        if earlier is not None:
            _tell_earlier(earlier, space, recorder, view)
        view.begin(plan, history, clock)
        recorder.listen(view.tell)
        return cls(folder, journal, searcher, recorder, view)

    def close(self, reason: str) -> None:
        """Record why the search ended, and write the tables and the best."""
        self.view.end()
        try:
            self.recorder.search_ended(reason)
        finally:
            self.journal.close()
        write_outcome(self.folder, self.recorder.history)


# Called by an engine, once, as soon as it knows the space: nothing is written before.
Begin = Callable[[Space], Session]


def write_outcome(folder: RunFolder, history: History) -> None:
    """Write what follows from the journal: both tables and best.json."""
    write_tables(folder, history)
    best = history.best
    if best is not None:
        write_json(
            folder.best_file,
            {
                "trial": best.trial,
                "epoch": best.epoch,
                "objective": history.objective.name,
                "value": best.objective,
                "at_seconds": best.at_seconds,
                "values": history.trials[best.trial].values,
            },
        )


def make_searcher(plan: Plan, space: Space) -> Searcher:
    """Return the searcher that a plan names."""
    if plan.engine is Engine.RAY and plan.algorithm == Algorithm.TPE:
        return TPESearcher(space, seed=plan.problem.seed, objective=plan.problem.objective)
    return RandomSearcher(space, seed=plan.problem.seed)


def _tell_earlier(earlier: Earlier, space: Space, recorder: Recorder, view: View) -> None:
    told = fitted(earlier, space)
    for trial in told.trials:
        recorder.earlier_trial(trial.values, trial.score, f"{earlier.source}, trial {trial.name}")
    for note in (*(f"{earlier.source}: left out: {row}" for row in earlier.left_out), *told.notes):
        view.note(note)
    view.note(f"{earlier.source} ({earlier.kind}): learnt from {len(told.trials)} finished trials")


def _keep_best_weights(folder: RunFolder, history: History, event: Event, kept: int) -> None:
    """Remove the weights of ended trials that are not among the best, and a lost one's state."""
    if event["event"] != "trial_ended":
        return
    if event["state"] == State.LOST:
        remove_state(folder.state_file(event["trial"]))
    running = {trial.trial for trial in history.running()}
    for trial in history.ranked()[kept:]:
        if trial.trial not in running:
            folder.best_weights_file(trial.trial).unlink(missing_ok=True)
            folder.build_config_file(trial.trial).unlink(missing_ok=True)
