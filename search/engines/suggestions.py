"""Hands Ray Tune what is to be trained next: first what was left unfinished, then what is new."""

import json
import time
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher as RaySearcher

from search.engines.asha import METRIC, WARM
from search.plan import Plan
from search.ray_nodes import slots
from search.searchers import Pause
from search.stopping import Stopping

if TYPE_CHECKING:
    from search.engines.events import Events

# Field of the report with which the process that discovers the space tells it.
SPACE = "space"
# Of a trial that another process, or another driver, began.
AGAIN = "again"
RETRIES = "retries"
COUNT_SECONDS = 2.0


class NotPickled:
    """Ray Tune pickles what it is given; what stands here lives in the driver alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(NotPickled, RaySearcher):
    """Numbers the trials and asks our searcher for their configurations.

    Args:
        events: Knows the session and what is left unfinished.
        plan: Says how many trials there may be, and how many at once.
        epochs: Most epochs of a new trial; None: its fit decides.
    """

    def __init__(self, events: "Events", plan: Plan, *, epochs: int | None) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._events = events
        self._plan = plan
        self._epochs = epochs
        self._running: set[str] = set()
        # One process finds the space; the others import TensorFlow meanwhile, and wait.
        self._slots = plan.workers
        self._counted_at = time.monotonic()
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most if plan.reuse_workers else 1

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a Ray trial, None to be asked again, or that there is no more."""
        if self._events.session is None:
            return self._warm_worker(trial_id)
        if len(self._running) >= self._room():
            return None
        config = self._unfinished() or self._new()
        if isinstance(config, dict):
            self._running.add(trial_id)
        # One that runs may lose its process, and be begun again.
        return None if config is RaySearcher.FINISHED and self._running else config

    def _room(self) -> int:
        """Return how many trials there is room for: nodes may join, or be lost."""
        now = time.monotonic()
        if self._plan.elastic and now - self._counted_at > COUNT_SECONDS:
            self._counted_at = now
            self._slots = slots(self._plan.resources)
        return self._slots

    def _warm_worker(self, trial_id: str) -> dict[str, Any] | None:
        discovers = self._events.take_discovery()
        if self._to_warm == 0 and not discovers:
            return None
        self._to_warm = max(0, self._to_warm - 1)
        self._running.add(trial_id)  # what is new waits for its process
        return {WARM: True, SPACE: discovers}

    def _unfinished(self) -> dict[str, Any] | None:
        number = self._events.take_unfinished()
        if number is None:
            return None
        assert self._events.session is not None
        trial = self._events.session.recorder.history.trials[number]
        epochs = trial.planned_epochs or self._epochs
        values, retries = dict(trial.values), trial.retries
        return self._config(number, values, epochs, again=True, retries=retries)

    def _new(self) -> Any:
        session = self._events.session
        assert session is not None
        number = session.recorder.history.next_trial
        if self._plan.trials is not None and number >= self._plan.trials:
            return RaySearcher.FINISHED
        values = session.searcher.propose(number)
        if values is None:
            return RaySearcher.FINISHED
        if values is Pause.WAIT:
            return None
        session.recorder.trial_started(number, dict(values), epochs=self._epochs)
        return self._config(number, dict(values), self._epochs, again=False, retries=0)

    def _config(
        self,
        number: int,
        values: dict[str, Any],
        epochs: int | None,
        *,
        again: bool,
        retries: int,
    ) -> dict[str, Any]:
        assert self._events.session is not None
        return {
            "trial": number,
            "values": values,
            "epochs": epochs,
            SPACE: json.dumps(self._events.session.searcher.space.to_json()),
            AGAIN: again,
            RETRIES: retries,
        }

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Let another begin; the searcher reads the events, which say how a trial really ended."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""


class Stop(NotPickled, tune.Stopper):
    """Asks ``Stopping`` whether everything must end, and the events whether Ray has."""

    def __init__(self, stopping: Stopping, events: "Events") -> None:
        self._stopping = stopping
        self._events = events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping.reason is not None or self._events.ray_lost is not None
