"""Hands Ray Tune what is to be trained next: first what was left unfinished, then what is new."""

import json
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher as RaySearcher

from results.record.columns import Device
from search.algorithms.base import Pause
from search.engines.ray.placement.capacity import Capacity, Load
from search.engines.ray.placement.judge import make_judge
from search.engines.ray.placement.queue import QueuedTrial, TrialQueue
from search.engines.ray.schedulers import METRIC, WARM
from search.errors import SearchError
from search.plan.plan import Plan
from search.plan.task import Task
from search.session.stopping import Stopping

if TYPE_CHECKING:
    from search.engines.ray.events import Events

# Field of the report with which the process that discovers the space tells it.
SPACE = "space"
# Of a trial that another process, or another driver, began.
AGAIN = "again"
RETRIES = "retries"
# Where the trial is trained.
DEVICE = "device"


class NotPickled:
    """Ray Tune pickles what it is given; what stands here lives in the driver alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(NotPickled, RaySearcher):
    """Numbers the trials and asks our searcher for their configurations.

    Args:
        events: Knows the session and what is left unfinished.
        plan: Says how many trials there may be, how many at once, and what each takes.
        task: What all trials share.
    """

    def __init__(self, events: "Events", plan: Plan, task: Task) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._events = events
        self._plan = plan
        self._epochs = task.epochs
        # Of Ray's trials, those that have begun and not ended.
        self._running: dict[str, Device] = {}
        self._capacity = Capacity(plan)
        self._judge = make_judge(plan, task, is_interrupted=lambda: events.is_interrupted)
        self._queue = TrialQueue(self._drawn, has_gpus=lambda: self._capacity.has_gpus)
        self._is_exhausted = False
        # One process finds the space; the others import TensorFlow meanwhile, and wait.
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most if plan.reuse_workers else 1

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a Ray trial, None to be asked again, or that there is no more."""
        if self._events.session is None:
            return self._warm_worker(trial_id)
        try:
            taken = self._queue.take(self._free())
        except SearchError as error:
            self._events.error = error  # Tune turns it into the text of an error of its own
            raise
        if taken is not None:
            self._running[trial_id] = taken[1]
            return self._begun(*taken)
        # One that runs may lose its process, and be begun again.
        is_over = self._is_exhausted and not self._queue and not self._running
        is_over &= not self._events.has_unfinished
        return RaySearcher.FINISHED if is_over else None

    def _free(self) -> list[Device]:
        running = self._running.items()
        load = Load.of((device, self._events.has_begun(name)) for name, device in running)
        return self._capacity.free(load)

    def in_vain(self) -> list[str]:
        """Return which of Ray's trials are to be on a GPU while there is none any more."""
        if self._capacity.has_gpus:
            return []
        return [name for name, device in self._running.items() if device is Device.GPU]

    def _warm_worker(self, trial_id: str) -> dict[str, Any] | None:
        discovers = self._events.take_discovery()
        if self._to_warm == 0 and not discovers:
            return None
        self._to_warm = max(0, self._to_warm - 1)
        device = Device.CPU if self._plan.device_rule else self._plan.device
        self._running[trial_id] = device  # what is new waits for its process
        return {WARM: True, SPACE: discovers, DEVICE: device}

    def _drawn(self) -> QueuedTrial | None:
        drawn = self._unfinished() or self._new()
        self._is_exhausted = drawn is RaySearcher.FINISHED
        return drawn if isinstance(drawn, QueuedTrial) else None

    def _unfinished(self) -> QueuedTrial | None:
        number = self._events.take_unfinished()
        if number is None:
            return None
        assert self._events.session is not None
        trial = self._events.session.recorder.history.trials[number]
        epochs = trial.planned_epochs or self._epochs
        values = dict(trial.values)
        judgement = self._judge(values)
        return QueuedTrial(number, values, epochs, judgement, again=True, retries=trial.retries)

    def _new(self) -> Any:
        session = self._events.session
        assert session is not None
        history = session.recorder.history
        number = history.next_trial
        while number in self._queue or number in history.trials:
            number += 1
        if self._plan.trials is not None and number >= self._plan.trials:
            return RaySearcher.FINISHED
        values = session.searcher.propose(number)
        if values is None:
            return RaySearcher.FINISHED
        if values is Pause.WAIT:
            return None
        return QueuedTrial(number, dict(values), self._epochs, self._judge(dict(values)))

    def _begun(self, one: QueuedTrial, device: Device) -> dict[str, Any]:
        """Record that a trial begins, and return its config."""
        assert self._events.session is not None
        recorder = self._events.session.recorder
        if not one.again:
            recorder.trial_started(one.trial, one.values, epochs=one.epochs)
        if self._plan.device_rule is not None:
            recorder.trial_placed(one.trial, device, one.judgement.multiply_adds)
        return {
            "trial": one.trial,
            "values": one.values,
            "epochs": one.epochs,
            SPACE: json.dumps(self._events.session.searcher.space.to_json()),
            AGAIN: one.again,
            RETRIES: one.retries,
            DEVICE: device,
        }

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Let another begin; the searcher reads the events, which say how a trial really ended."""
        self._running.pop(trial_id, None)

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
