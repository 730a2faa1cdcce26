"""Adapters between Ray Tune's interfaces and the parts of the engine."""

import contextlib
import io
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.engines.ray.messages import decode_config, decode_report, encode
from search.engines.ray.report_handler import Reply, ReportHandler
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import NoTrial, Suggestions
from search.engines.ray.trainable import set_stop_flag
from search.session.stopping import Stopping


class _NotPickled:
    """An object that pickles as empty: Ray Tune pickles it, but only the driver uses it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Callback(_NotPickled, tune.Callback):
    """A callback that passes started and lost processes to the ``ReportHandler``."""

    def __init__(self, state: SearchState, handler: ReportHandler) -> None:
        self._state = state
        self._handler = handler

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._handler.handle_step_end()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._state.keeping_errors():
            self._handler.handle_process_start(trial.trial_id, decode_config(trial.config))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._state.keeping_errors():
            self._handler.handle_process_loss(decode_config(trial.config), _error_text(trial))


class TuneScheduler(_NotPickled, FIFOScheduler):
    """A scheduler that passes every report to the ``ReportHandler`` and acts on its reply."""

    def __init__(
        self, state: SearchState, handler: ReportHandler, suggestions: Suggestions
    ) -> None:
        super().__init__()
        self._state = state
        self._handler = handler
        self._suggestions = suggestions

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept Tune's properties without using them."""
        return True

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Stop pending trials whose GPU is gone; let Tune start the others in order.

        This method never chooses a trial. If it chose one whose process is still starting, Ray 2.60
        would give the trial the process of an ended trial and discard the new process. With trials
        shorter than the start of a process, few processes would ever start.
        """
        stranded_ids = self._suggestions.stranded_ids()
        for trial in list(tune_controller.get_live_trials()) if stranded_ids else ():
            if trial.trial_id in stranded_ids and trial.status == Trial.PENDING:
                self._suggestions.requeue(trial.trial_id)
                trial.init_local_path()  # Tune 2.60 reads this path of every trial at the end
                with contextlib.redirect_stdout(io.StringIO()):  # Tune 2.60 prints the result
                    tune_controller.stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """Record a report, and return whether the trial continues."""
        with self._state.keeping_errors():
            reply = self._handler.handle_report(decode_config(trial.config), decode_report(result))
        if reply is Reply.REQUEST_STOP:
            # Ray runs the calls of a process in order: the flag is set before the next report.
            trial.temporary_state.ray_actor.execute.remote(set_stop_flag)
        return TrialScheduler.STOP if reply is Reply.END_TRIAL else TrialScheduler.CONTINUE


class TuneSearcher(_NotPickled, Searcher):
    """A searcher that gives Ray Tune the configs of ``Suggestions``."""

    def __init__(self, state: SearchState, suggestions: Suggestions) -> None:
        super().__init__()
        self._state = state
        self._suggestions = suggestions

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept Tune's properties without using them."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return a config; None if there is none yet; ``FINISHED`` if there are no more."""
        with self._state.keeping_errors():
            config = self._suggestions.suggest(trial_id)
        if isinstance(config, NoTrial):
            return Searcher.FINISHED if config is NoTrial.LEFT else None
        return encode(config)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Release the trial's slot; the ``ReportHandler`` has recorded how it ended."""
        self._suggestions.release(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal records the search."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal records the search."""


class Stopper(_NotPickled, tune.Stopper):
    """A stopper that stops all trials when the search must end or Ray is lost."""

    def __init__(self, state: SearchState, stopping: Stopping) -> None:
        self._state = state
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping.reason is not None or self._state.ray_loss is not None


def _error_text(trial: Any) -> str:
    """Return the text that Ray wrote about a trial's error; empty if there is none."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""
