"""What Ray Tune is given: each passes on what Ray Tune asks or tells to a part of the engine."""

import contextlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

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
    """Ray Tune pickles what it is given; what stands here lives in the driver alone."""

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
        self._events.process_began(trial.trial_id, config_of(trial.config))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._state.keeping_errors():
            self._events.process_lost(config_of(trial.config), _error_text(trial))


class StarvedTrials(Protocol):
    """Knows the trials that wait for a device that is gone."""

    def in_vain(self) -> Collection[str]:
        """Return the ids of Ray's trials that wait for a device that is gone."""

    def take_back(self, name: str) -> None:
        """Take back one of these, which has never begun."""


class TuneScheduler(_NotPickled, FIFOScheduler):
    """Passes every report to ``Events``, and ends the trials that these say have ended.

    Args:
        state: Keeps the errors that end the search.
        events: Told of every report.
        starved: Says which trials are to be called back.
    """

    def __init__(self, state: SearchState, events: Events, starved: StarvedTrials) -> None:
        super().__init__()
        self._state = state
        self._events = events
        self._starved = starved

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on: ``Events`` has a scheduler that knows."""
        return True

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave it to Tune, which begins trials in their order; call back those that never could.

        A chosen trial whose own process is just starting would be given that of a trial that has
        ended, and its own be thrown away (Ray 2.60): where trials are shorter than the start of a
        process, few processes would ever come up.
        """
        in_vain = self._starved.in_vain()
        for trial in list(tune_controller.get_live_trials()) if in_vain else ():
            if trial.trial_id in in_vain and trial.status == Trial.PENDING:
                self._starved.take_back(trial.trial_id)
                trial.init_local_path()  # else Tune 2.60 fails at the end, where it reads them all
                with contextlib.redirect_stdout(io.StringIO()):  # Tune 2.60 prints its result
                    tune_controller.stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """Have a report judged and recorded."""
        with self._state.keeping_errors():
            answer = self._events.reported(config_of(trial.config), report_of(result))
        if answer is Answer.TELL:
            # Its process waits in ``tune.report`` for the next call, and so sees this one before.
            trial.temporary_state.ray_actor.execute.remote(be_told_to_stop)
        return TrialScheduler.STOP if answer is Answer.END else TrialScheduler.CONTINUE


class TuneSearcher(_NotPickled, Searcher):
    """Hands Ray Tune what is to be trained next."""

    def __init__(self, state: SearchState, suggestions: Suggestions) -> None:
        super().__init__()
        self._state = state
        self._suggestions = suggestions

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune passes on."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a Ray trial, None to be asked again, or that there is no more."""
        with self._state.keeping_errors():
            config = self._suggestions.suggest(trial_id)
        if isinstance(config, NoTrial):
            return Searcher.FINISHED if config is NoTrial.EVER else None
        return to_ray(config)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Let another begin; how a trial really ended, the events say."""
        self._suggestions.ended(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""


class Stopper(_NotPickled, tune.Stopper):
    """Ends everything once the search must end, or Ray has."""

    def __init__(self, state: SearchState, stopping: Stopping) -> None:
        self._state = state
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping.reason is not None or self._state.ray_lost is not None


def _error_text(trial: Any) -> str:
    """Return what Ray wrote of a trial's error."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""
