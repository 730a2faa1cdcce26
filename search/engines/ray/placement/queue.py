"""Trials that have been drawn, each waiting for the device that suits it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from results.record.columns import Device, Values
from search.engines.ray.placement.rule import Judgement

# So many are drawn ahead, to find one for a device that is free. Each is drawn with less known.
DRAWN_AHEAD = 8


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

        Args:
            free: Where one may begin, the device first for which trials are fewer.
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
