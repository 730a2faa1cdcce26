"""Chooses what a process starts with.

Before the space is known, a process discovers it or waits, warm; from then on, it gets a trial:
unfinished ones first, then new ones, each on the device that suits it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from results.record.columns import Device, Values
from search.algorithms.base import Pause
from search.engines.ray.messages import Config, TrainTrial, WarmUp
from search.engines.ray.placement.capacity import Capacity, Load
from search.engines.ray.placement.rule import Judgement
from search.engines.ray.state import SearchState
from search.errors import ProblemError
from search.plan.plan import Plan
from search.plan.task import Task

# The search ends when the discovery has lost this many processes.
MAX_LOST = 2
# So many are drawn ahead, to find one for a device that is free. Each is drawn with less known.
DRAWN_AHEAD = 8


class Discovery:
    """Starts one process to discover the space, and others that import TensorFlow and wait."""

    def __init__(self, plan: Plan) -> None:
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most if plan.reuse_workers else 1
        self._device = Device.CPU if plan.device_rule else plan.device
        self._is_wanted = True
        self._lost = 0

    def next(self) -> WarmUp | None:
        """Return the config of the next process; None: start no other yet."""
        if self._to_warm == 0 and not self._is_wanted:
            return None
        self._to_warm = max(0, self._to_warm - 1)
        discovers, self._is_wanted = self._is_wanted, False
        return WarmUp(self._device, discovers)

    def process_lost(self, config: WarmUp, reason: str) -> None:
        """Let another process discover the space if the one that did is lost.

        Raises:
            ProblemError: It was the second.
        """
        if not config.discovers:
            return
        self._lost += 1
        if self._lost == MAX_LOST:
            raise ProblemError(
                f"Discovering the space failed: its process ended twice without a word: {reason}"
            )
        self._is_wanted = True


@dataclass(frozen=True)
class QueuedTrial:
    """A trial to be begun or continued; the fields are those of ``TrainTrial``."""

    trial: int
    values: Values
    epochs: int | None
    judgement: Judgement
    again: bool = False
    retries: int = 0


class TrialQueue:
    """Gives a free device the trial that suits it and has waited longest.

    Args:
        draw: Returns the next trial; None: there is none, for now or at all.
        has_gpus: Tells whether there are GPUs; where none is left, every trial suits the CPUs.
    """

    def __init__(
        self, draw: Callable[[], QueuedTrial | None], *, has_gpus: Callable[[], bool]
    ) -> None:
        self._draw = draw
        self._has_gpus = has_gpus
        self._waiting: deque[QueuedTrial] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return any(trial.trial == number for trial in self._waiting)

    def take(self, free: Sequence[Device]) -> tuple[QueuedTrial, Device] | None:
        """Return a trial and where it begins; None where none suits what is free.

        What is free is tried in its order: the device first for which trials are fewer.
        """
        while True:
            for device in free:
                trial = next((one for one in self._waiting if self._suits(one, device)), None)
                if trial is not None:
                    self._waiting.remove(trial)
                    return trial, device
            drawn = self._draw() if free and len(self._waiting) < DRAWN_AHEAD else None
            if drawn is None:
                return None
            self._waiting.append(drawn)

    def _suits(self, trial: QueuedTrial, device: Device) -> bool:
        suited = trial.judgement.device if self._has_gpus() else Device.CPU
        return suited is device


class NoTrial(Enum):
    """Why no trial starts."""

    YET = "ask again"
    EVER = "the search has no more"


@dataclass
class Suggestions:
    """Numbers the trials and asks the searcher for their configurations.

    Attributes:
        running: By Ray's id, the trials that have been given out and have not ended.
    """

    state: SearchState
    plan: Plan
    task: Task
    capacity: Capacity
    judge: Callable[[Values], Judgement]
    discovery: Discovery
    running: dict[str, Config] = field(default_factory=dict, init=False)
    is_exhausted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._queue = TrialQueue(self._draw, has_gpus=lambda: self.capacity.has_gpus)

    def suggest(self, name: str) -> Config | NoTrial:
        """Return the config of a trial that Ray has named, or why it has none."""
        config = self._trial() if self.state.session is not None else self.discovery.next()
        if config is not None:
            self.running[name] = config
            return config
        # A trial that runs may lose its process and start again.
        is_over = self.is_exhausted and not self._queue and not self.running
        return NoTrial.EVER if is_over and not self.state.unfinished else NoTrial.YET

    def ended(self, name: str) -> None:
        """Free the place of a trial that has ended."""
        self.running.pop(name, None)

    def starved(self) -> list[str]:
        """Return Ray's ids of the trials that were given to a GPU when no GPU is left."""
        if self.capacity.has_gpus:
            return []
        return [name for name, config in self.running.items() if config.device is Device.GPU]

    def take_back(self, name: str) -> None:
        """Take back a trial that never started; it is given out again."""
        config = self.running.pop(name)
        assert isinstance(config, TrainTrial)
        self.state.unfinished.append(config.trial)

    def _trial(self) -> TrainTrial | None:
        running = self.running.items()
        load = Load.of((config.device, name in self.state.started) for name, config in running)
        trial_and_device = self._queue.take(self.capacity.free(load))
        return None if trial_and_device is None else self._started(*trial_and_device)

    def _draw(self) -> QueuedTrial | None:
        trial = self._unfinished() or self._new()
        self.is_exhausted = trial is NoTrial.EVER
        return trial if isinstance(trial, QueuedTrial) else None

    def _unfinished(self) -> QueuedTrial | None:
        if not self.state.unfinished:
            return None
        number = self.state.unfinished.popleft()
        trial = self.state.opened.recorder.history.trials[number]
        values = dict(trial.values)
        return QueuedTrial(
            number,
            values,
            trial.planned_epochs or self.task.epochs,
            self.judge(values),
            again=True,
            retries=trial.retries,
        )

    def _new(self) -> QueuedTrial | NoTrial:
        session = self.state.opened
        history = session.recorder.history
        number = history.next_trial
        while number in self._queue or number in history.trials:
            number += 1
        if self.plan.trials is not None and number >= self.plan.trials:
            return NoTrial.EVER
        values = session.searcher.propose(number)
        if values is None:
            return NoTrial.EVER
        if values is Pause.WAIT:
            return NoTrial.YET
        return QueuedTrial(number, dict(values), self.task.epochs, self.judge(dict(values)))

    def _started(self, queued: QueuedTrial, device: Device) -> TrainTrial:
        """Record the start of a trial, and return its config."""
        session = self.state.opened
        if not queued.again:
            session.recorder.trial_started(queued.trial, queued.values, epochs=queued.epochs)
        if self.plan.device_rule is not None:
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
