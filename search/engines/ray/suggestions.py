"""Says what is to be trained next: first what was left unfinished, then what is new."""

from collections.abc import Callable
from enum import Enum

from results.record.columns import Device
from results.record.values import Values
from search.algorithms.base import Pause
from search.engines.ray.discovery import Discovery
from search.engines.ray.messages import Config, TrainTrial
from search.engines.ray.placement.capacity import Capacity, Load
from search.engines.ray.placement.queue import QueuedTrial, TrialQueue
from search.engines.ray.placement.rule import Judgement
from search.engines.ray.state import SearchState
from search.plan.plan import Plan
from search.plan.task import Task


class NoTrial(Enum):
    """What is said where no trial is to begin."""

    YET = "ask again"
    EVER = "the search has no more"


class Suggestions:
    """Numbers the trials and asks our searcher for their configurations.

    Args:
        state: The search.
        plan: Says how many trials there may be.
        task: Says how long a trial may be.
        capacity: Says where there is room.
        judge: Says which device suits a configuration.
        discovery: Hands out the processes that start while the space is not known.
    """

    def __init__(
        self,
        state: SearchState,
        plan: Plan,
        task: Task,
        *,
        capacity: Capacity,
        judge: Callable[[Values], Judgement],
        discovery: Discovery,
    ) -> None:
        self._state = state
        self._plan = plan
        self._epochs = task.epochs
        self._capacity = capacity
        self._judge = judge
        self._discovery = discovery
        self._queue = TrialQueue(self._draw, has_gpus=lambda: capacity.has_gpus)
        # Of Ray's trials, those that have been given out and have not ended.
        self._running: dict[str, Config] = {}
        self._is_exhausted = False

    def suggest(self, name: str) -> Config | NoTrial:
        """Return what one of Ray's trials, by its id, is to do."""
        config = self._trial() if self._state.session is not None else self._discovery.next()
        if config is not None:
            self._running[name] = config  # also one that is new, and waits for its process
            return config
        # One that runs may lose its process, and be begun again.
        is_over = self._is_exhausted and not self._queue and not self._running
        return NoTrial.EVER if is_over and not self._state.unfinished else NoTrial.YET

    def ended(self, name: str) -> None:
        """Let another begin."""
        self._running.pop(name, None)

    def in_vain(self) -> list[str]:
        """Return which of Ray's trials are to be on a GPU while there is none any more."""
        if self._capacity.has_gpus:
            return []
        return [name for name, config in self._running.items() if config.device is Device.GPU]

    def take_back(self, name: str) -> None:
        """Give a trial that never began out again."""
        config = self._running.pop(name)
        assert isinstance(config, TrainTrial)
        self._state.unfinished.append(config.trial)

    def _trial(self) -> TrainTrial | None:
        running = self._running.items()
        load = Load.of((config.device, name in self._state.begun) for name, config in running)
        taken = self._queue.take(self._capacity.free(load))
        return None if taken is None else self._begun(*taken)

    def _draw(self) -> QueuedTrial | None:
        drawn = self._unfinished() or self._new()
        self._is_exhausted = drawn is NoTrial.EVER
        return drawn if isinstance(drawn, QueuedTrial) else None

    def _unfinished(self) -> QueuedTrial | None:
        if not self._state.unfinished:
            return None
        number = self._state.unfinished.popleft()
        trial = self._state.opened.recorder.history.trials[number]
        values = dict(trial.values)
        return QueuedTrial(
            number,
            values,
            trial.planned_epochs or self._epochs,
            self._judge(values),
            again=True,
            retries=trial.retries,
        )

    def _new(self) -> QueuedTrial | NoTrial:
        session = self._state.opened
        history = session.recorder.history
        number = history.next_trial
        while number in self._queue or number in history.trials:
            number += 1
        if self._plan.trials is not None and number >= self._plan.trials:
            return NoTrial.EVER
        values = session.searcher.propose(number)
        if values is None:
            return NoTrial.EVER
        if values is Pause.WAIT:
            return NoTrial.YET
        return QueuedTrial(number, dict(values), self._epochs, self._judge(dict(values)))

    def _begun(self, queued: QueuedTrial, device: Device) -> TrainTrial:
        """Record that a trial begins, and return its config."""
        session = self._state.opened
        if not queued.again:
            session.recorder.trial_started(queued.trial, queued.values, epochs=queued.epochs)
        if self._plan.device_rule is not None:
            multiply_adds = queued.judgement.multiply_adds
            session.recorder.trial_placed(queued.trial, device, multiply_adds)
        return TrainTrial(
            trial=queued.trial,
            values=queued.values,
            epochs=queued.epochs,
            device=device,
            space=session.searcher.space.to_json(),
            again=queued.again,
            retries=queued.retries,
        )
