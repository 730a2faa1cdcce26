"""Chooses the config with which each process starts.

Before the space is known, a process discovers it or warms up and waits. From then on, a process
gets a trial: unfinished trials first, then new ones, each on the device that suits it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from results.record.columns import Device, Values
from search.algorithms.base import Pause
from search.engines.ray.messages import Config, TrainTrial, WarmUp
from search.engines.ray.placement.capacity import Capacity, Load
from search.engines.ray.placement.rule import Placement
from search.engines.ray.state import SearchState
from search.errors import ProblemError
from search.plan.plan import Plan
from search.worker.task import Task

# The search fails when this many processes have died while they discovered the space.
MAX_LOSSES = 2
# Maximum number of new trials in the queue. A trial drawn early is chosen from fewer results.
DRAWN_AHEAD = 8


class Discovery:
    """The processes before the space is known: one discovers it, the others warm up and wait."""

    def __init__(self, plan: Plan) -> None:
        max_processes = min(plan.workers, plan.trials or plan.workers)
        self._processes_to_start = max_processes if plan.reuse_workers else 1
        self._device = Device.CPU if plan.device_rule else plan.device
        self._is_needed = True
        self._losses = 0

    def next_config(self) -> WarmUp | None:
        """Return the config of the next process; None if no other is to start yet."""
        if self._processes_to_start == 0 and not self._is_needed:
            return None
        self._processes_to_start = max(0, self._processes_to_start - 1)
        discovers_space, self._is_needed = self._is_needed, False
        return WarmUp(self._device, discovers_space)

    def replace_lost_process(self, config: WarmUp, reason: str) -> None:
        """Let another process discover the space if this config's process was to do so.

        Raises:
            ProblemError: This was the second loss.
        """
        if not config.discovers_space:
            return
        self._losses += 1
        if self._losses == MAX_LOSSES:
            raise ProblemError(
                f"The search space could not be discovered: its process died twice ({reason}). "
                "Run `fmnist-search doctor` on the same hypermodel to find the cause."
            )
        self._is_needed = True


@dataclass(frozen=True)
class QueuedTrial:
    """A trial to start or to continue; the fields are those of ``TrainTrial``."""

    trial: int
    values: Values
    epochs: int | None
    placement: Placement
    is_continued: bool = False
    retries: int = 0


class TrialQueue:
    """A queue that gives a free device the trial that suits it and has waited longest.

    Args:
        draw: Returns the next trial; None if there is none, now or at all.
        has_gpus: Tells whether there are GPUs; without any, every trial suits the CPUs.
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

    def take(self, free_devices: Sequence[Device]) -> tuple[QueuedTrial, Device] | None:
        """Remove and return a trial and its device; None if no trial suits a free device.

        The devices are tried in their order: first the one that suits fewer trials.
        """
        while True:
            for device in free_devices:
                trial = next((trial for trial in self._waiting if self._suits(trial, device)), None)
                if trial is not None:
                    self._waiting.remove(trial)
                    return trial, device
            may_draw = free_devices and len(self._waiting) < DRAWN_AHEAD
            drawn_trial = self._draw() if may_draw else None
            if drawn_trial is None:
                return None
            self._waiting.append(drawn_trial)

    def _suits(self, trial: QueuedTrial, device: Device) -> bool:
        suitable = trial.placement.device if self._has_gpus() else Device.CPU
        return suitable is device


class NoTrial(Enum):
    """A reason why no trial starts."""

    FOR_NOW = "ask again later"
    LEFT = "the search has no more trials"


@dataclass
class Suggestions:
    """The source of the configs with which Ray Tune starts its processes.

    Attributes:
        state: The search.
        plan: The run.
        task: What each trial trains.
        capacity: Tells on which devices another trial may start.
        place: Chooses the device of a configuration.
        discovery: Starts processes before the space is known.
        assigned: By Ray's trial id, the configs of the processes that have not ended.
        is_exhausted: Whether there are no more trials to draw.
    """

    state: SearchState
    plan: Plan
    task: Task
    capacity: Capacity
    place: Callable[[Values], Placement]
    discovery: Discovery
    assigned: dict[str, Config] = field(default_factory=dict, init=False)
    is_exhausted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._queue = TrialQueue(self._draw, has_gpus=lambda: self.capacity.has_gpus)

    def suggest(self, ray_id: str) -> Config | NoTrial:
        """Return the config of Ray's trial ``ray_id``, or why there is none."""
        is_space_known = self.state.session is not None
        config = self._next_trial() if is_space_known else self.discovery.next_config()
        if config is not None:
            self.assigned[ray_id] = config
            return config
        # An assigned trial may lose its process and start again.
        is_done = self.is_exhausted and not self._queue and not self.assigned
        return NoTrial.LEFT if is_done and not self.state.unfinished else NoTrial.FOR_NOW

    def release(self, ray_id: str) -> None:
        """Free the slot of a process that has ended."""
        self.assigned.pop(ray_id, None)

    def stranded_ids(self) -> list[str]:
        """Return Ray's ids of the trials assigned to a GPU, if no GPU is left."""
        if self.capacity.has_gpus:
            return []
        return [ray_id for ray_id, config in self.assigned.items() if config.device is Device.GPU]

    def requeue(self, ray_id: str) -> None:
        """Put a trial that never started back among the unfinished ones."""
        config = self.assigned.pop(ray_id)
        assert isinstance(config, TrainTrial)
        self.state.unfinished.append(config.trial)

    def _next_trial(self) -> TrainTrial | None:
        load = Load.of(
            (config.device, ray_id in self.state.started_ray_ids)
            for ray_id, config in self.assigned.items()
        )
        trial_and_device = self._queue.take(self.capacity.free_devices(load))
        return None if trial_and_device is None else self._start(*trial_and_device)

    def _draw(self) -> QueuedTrial | None:
        trial = self._unfinished_trial() or self._new_trial()
        self.is_exhausted = trial is NoTrial.LEFT
        return trial if isinstance(trial, QueuedTrial) else None

    def _unfinished_trial(self) -> QueuedTrial | None:
        if not self.state.unfinished:
            return None
        number = self.state.unfinished.popleft()
        trial = self.state.open_session.recorder.history.trials[number]
        values = dict(trial.values)
        return QueuedTrial(
            number,
            values,
            trial.planned_epochs or self.task.epochs,
            self.place(values),
            is_continued=True,
            retries=trial.retries,
        )

    def _new_trial(self) -> QueuedTrial | NoTrial:
        session = self.state.open_session
        history = session.recorder.history
        number = history.next_trial
        while number in self._queue or number in history.trials:
            number += 1
        if self.plan.trials is not None and number >= self.plan.trials:
            return NoTrial.LEFT
        if not session.searcher.space.parameters and (self._queue or history.unfinished()):
            return NoTrial.FOR_NOW  # the first trial registers the parameters while it runs
        session.before_proposal()
        values = session.searcher.propose(number)
        if values is None:
            return NoTrial.LEFT
        if values is Pause.WAIT:
            return NoTrial.FOR_NOW
        return QueuedTrial(number, dict(values), self.task.epochs, self.place(dict(values)))

    def _start(self, queued: QueuedTrial, device: Device) -> TrainTrial:
        """Record the start of a trial, and return its config."""
        session = self.state.open_session
        if not queued.is_continued:
            session.recorder.trial_started(queued.trial, queued.values, epochs=queued.epochs)
        if self.plan.device_rule is not None:
            multiply_adds = queued.placement.multiply_adds
            session.recorder.trial_placed(queued.trial, device, multiply_adds)
        return TrainTrial(
            trial=queued.trial,
            values=queued.values,
            epochs=queued.epochs,
            device=device,
            space=session.searcher.space.to_json(),
            is_continued=queued.is_continued,
            retries=queued.retries,
        )
