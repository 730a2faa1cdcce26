"""The objects that Ray Tune calls. Each passes the call on to a part of the engine."""

import contextlib
import io
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.engines.ray.events import Answer, Events
from search.engines.ray.messages import config_of, report_of, to_ray
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import NoTrial, Suggestions
from search.engines.ray.trainable import be_told_to_stop
from search.session.stopping import Stopping


class _NotPickled:
    """Pickles as an empty object: Ray Tune pickles these, and they live in the driver alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Callback(_NotPickled, tune.Callback):
    """Tells ``Events`` of processes that begin and are lost."""

    def __init__(self, state: SearchState, events: Events) -> None:
        self._state = state
        self._events = events

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._events.step_ended()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._state.keeping_errors():
            self._events.process_started(trial.trial_id, config_of(trial.config))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._state.keeping_errors():
            self._events.process_lost(config_of(trial.config), _error_text(trial))


class TuneScheduler(_NotPickled, FIFOScheduler):
    """Passes every report to ``Events`` and ends a trial when ``Events`` says so."""

    def __init__(self, state: SearchState, events: Events, suggestions: Suggestions) -> None:
        super().__init__()
        self._state = state
        self._events = events
        self._suggestions = suggestions

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on; it is not needed."""
        return True

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave the choice to Tune, which starts trials in order; stop those that cannot start.

        If a trial is chosen while its own process is starting, Ray 2.60 gives it the process of a
        trial that has ended and throws its own away: with trials shorter than the start of a
        process, few processes would ever come up.
        """
        starved = self._suggestions.starved()
        for trial in list(tune_controller.get_live_trials()) if starved else ():
            if trial.trial_id in starved and trial.status == Trial.PENDING:
                self._suggestions.take_back(trial.trial_id)
                trial.init_local_path()  # else Tune 2.60 fails at the end, where it reads them all
                with contextlib.redirect_stdout(io.StringIO()):  # Tune 2.60 prints its result
                    tune_controller.stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """Judge and record a report."""
        with self._state.keeping_errors():
            answer = self._events.reported(config_of(trial.config), report_of(result))
        if answer is Answer.TELL:
            # Ray runs the calls of a process in order: this one before the next ``tune.report``.
            trial.temporary_state.ray_actor.execute.remote(be_told_to_stop)
        return TrialScheduler.STOP if answer is Answer.END else TrialScheduler.CONTINUE


class TuneSearcher(_NotPickled, Searcher):
    """Gives Ray Tune the trials to start."""

    def __init__(self, state: SearchState, suggestions: Suggestions) -> None:
        super().__init__()
        self._state = state
        self._suggestions = suggestions

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on; it is not needed."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a Ray trial; None: ask again; ``FINISHED``: there are no more."""
        with self._state.keeping_errors():
            config = self._suggestions.suggest(trial_id)
        if isinstance(config, NoTrial):
            return Searcher.FINISHED if config is NoTrial.EVER else None
        return to_ray(config)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Free the place of a trial; ``Events`` knows how it ended."""
        self._suggestions.ended(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""


class Stopper(_NotPickled, tune.Stopper):
    """Ends all trials when the search must end or Ray has ended."""

    def __init__(self, state: SearchState, stopping: Stopping) -> None:
        self._state = state
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping.reason is not None or self._state.ray_lost is not None


def _error_text(trial: Any) -> str:
    """Return what Ray wrote about a trial's error."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""
