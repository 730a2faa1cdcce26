"""Tells which process trains which trial, for the live view."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from results.record.columns import State
from results.record.journal import Event

# Ends of a trial that also end its process.
PROCESS_ENDS = (State.LOST, State.OUT_OF_MEMORY, State.HUNG)


@dataclass
class Slot:
    """A place for one process, which trains one trial at a time.

    Attributes:
        worker: Name of the process, as epochs report it; empty until it is known.
        trial: Number of the trial in training; None: idle.
        heard_seconds: When the process last reported on the trial; None: it is starting.
        is_lost: Whether the process ended before its trial.
        done: Number of trials that have ended in this process.
    """

    worker: str = ""
    trial: int | None = None
    heard_seconds: float | None = None
    is_lost: bool = False
    done: int = 0


class Slots:
    """The slots of a search, derived from its events.

    A trial that starts gets the slot that has been free longest, with its process. If the trial's
    first report names another process, the two slots swap processes.

    Args:
        reuse_workers: Whether a process trains several trials, one after another.
    """

    def __init__(self, *, reuse_workers: bool) -> None:
        self._reuse_workers = reuse_workers
        self._slots: list[Slot] = []
        self._free: deque[Slot] = deque()
        self._taken: dict[int, Slot] = {}

    def __iter__(self) -> Iterator[Slot]:
        """Yield the slots with a process or a trial, in an order that does not change."""
        return (slot for slot in self._slots if slot.worker or slot.trial is not None)

    def observe(self, event: Event) -> None:
        """Update the slots by an event."""
        kind, trial = event["event"], event.get("trial")
        if kind in ("trial_started", "trial_restarted"):
            self._start(event["trial"])
        elif trial in self._taken:
            slot = self._taken[trial]
            if kind in ("epoch", "trial_retried"):
                slot.heard_seconds = event["at_seconds"]
                self._set_worker(slot, event.get("worker", slot.worker))
            elif kind == "worker_lost":
                slot.is_lost = True
            elif kind == "trial_ended":
                self._end(slot, State(event["state"]))

    def _start(self, trial: int) -> None:
        slot = self._taken.get(trial) or self._next_free()
        if slot.is_lost:
            slot.worker, slot.done = "", 0
        slot.trial, slot.heard_seconds, slot.is_lost = trial, None, False
        self._taken[trial] = slot

    def _next_free(self) -> Slot:
        if self._free:
            return self._free.popleft()
        self._slots.append(Slot())
        return self._slots[-1]

    def _set_worker(self, slot: Slot, worker: str) -> None:
        """Put a process into a slot, and the slot's former process where this one was."""
        if slot.worker == worker:
            return
        holder = next((other for other in self._slots if other.worker == worker), Slot(worker))
        slot.worker, holder.worker = holder.worker, slot.worker
        slot.done, holder.done = holder.done, slot.done

    def _end(self, slot: Slot, state: State) -> None:
        assert slot.trial is not None
        del self._taken[slot.trial]
        slot.trial, slot.done = None, slot.done + 1
        if slot.is_lost or state in PROCESS_ENDS or not self._reuse_workers:
            slot.worker, slot.done = "", 0
        slot.is_lost = False
        self._free.append(slot)
