"""Watches the processes of trials: those that hang, are lost or run out of memory."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from results.record.columns import State
from search.engines.ray.state import SearchState
from search.ray import nodes, runtime
from search.ray.nodes import Whereabouts
from search.session.stopping import Stopping

# A trial that has ended this many processes without progress is not started again.
MAX_DEATHS = 2
LOOK_SECONDS = 1.0
# A process imports TensorFlow and waits for the data before it trains.
START_SECONDS = 600.0


@dataclass
class Heartbeat:
    """The last sign of life of a trial.

    Attributes:
        where: The process that trains the trial; None: not known yet.
        is_ready: Whether the process has begun to train.
    """

    seen_at: float
    where: Whereabouts | None = None
    is_ready: bool = False


class Cluster:
    """What is asked of the Ray that runs now; a test puts another in its place."""

    def __init__(self) -> None:
        self._out_of_memory = nodes.OutOfMemory()

    def is_up(self) -> bool:
        return runtime.is_up()

    def is_node_up(self, where: Whereabouts) -> bool:
        return nodes.is_node_up(where)

    def end_process(self, where: Whereabouts) -> None:
        """End a process, whatever it is doing."""
        nodes.end_process(where)

    def process_started(self, where: Whereabouts) -> None:
        self._out_of_memory.know(where)

    def ended_for_memory(self, where: Whereabouts, others: Iterable[Whereabouts]) -> bool:
        """Tell whether the system ended a process because memory ran out.

        Args:
            where: The process, which has ended.
            others: The processes of trials that are not known to have ended.
        """
        return self._out_of_memory.ended(where, others)


class Liveness:
    """Watches the processes of trials.

    Args:
        state: The search; a trial whose process is lost becomes unfinished again.
        stopping: Ends the search when its trials fail.
        cluster: Where the processes run.
        hung_after_seconds: A trial that reports nothing for this long is ended; None: never.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        state: SearchState,
        stopping: Stopping,
        cluster: Cluster,
        *,
        hung_after_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._stopping = stopping
        self._cluster = cluster
        self._hung_after_seconds = hung_after_seconds
        self._clock = clock
        self._heartbeats: dict[int, Heartbeat] = {}
        self._looked_at = -LOOK_SECONDS

    # --- Signs of life ----------------------------------------------------------------------

    def begin(self, trial: int) -> None:
        """Note that a trial has a process."""
        self._heartbeats[trial] = Heartbeat(self._clock())

    def hear(self, trial: int) -> None:
        """Note that a trial has reported something."""
        self._heartbeats[trial].seen_at = self._clock()

    def started(self, trial: int, where: Whereabouts) -> None:
        """Note where a trial runs."""
        self._heartbeats[trial].where = where
        self._cluster.process_started(where)

    def ready(self, trial: int) -> None:
        """Note that a trial begins to train."""
        self._heartbeats[trial].is_ready = True

    # --- Ends -------------------------------------------------------------------------------

    def look(self) -> None:
        """End the trials that hang, and notice when Ray has ended; at most once a second."""
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for trial in self._running():
            self._end_if_hung(trial, now)
        if not self._cluster.is_up():
            self.lose_ray("Ray's own process on this machine (the raylet) has ended")

    def process_lost(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its process; it is unfinished again, or it ends."""
        recorder = self._state.opened.recorder
        record = recorder.history.trials[trial]
        if not record.is_unfinished:
            return  # this process was ended on purpose
        heartbeat = self._heartbeats.pop(trial, None)
        # A process that ended while it started has not reported where it was.
        where = heartbeat.where if heartbeat else None
        if where is not None and self._cluster.ended_for_memory(where, self._others(trial)):
            self._end(trial, State.OUT_OF_MEMORY, "the system ended its process for want of memory")
            return
        is_node_up = where is None or self._cluster.is_node_up(where)
        if where is not None and not is_node_up:
            reason = f"the node of its process ({where.worker}) is lost"
        recorder.worker_lost(trial, reason, by_trial=is_node_up and heartbeat is not None)
        if record.deaths < MAX_DEATHS:
            self._state.unfinished.append(trial)
            return
        error = f"its process ended {MAX_DEATHS} times without coming further: {reason}"
        self._end(trial, State.LOST, error)

    def ray_ended_for_memory(self, message: str) -> None:
        """Record which trials Ray has ended because of their memory, by its error message."""
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", message.split("Top 10")[0])}
        amounts = re.findall(r"actual memory used=([\d.]+ ?[KMG]B)", message)
        used = "; ".join(dict.fromkeys(amounts))
        for trial in self._running():
            where = self._heartbeats[trial].where
            if where is not None and where.pid in pids:
                self._end(trial, State.OUT_OF_MEMORY, f"Ray ended its process, which used {used}")
        self.lose_ray("Ray Tune ends with a process that Ray ends for its memory")

    def lose_ray(self, reason: str) -> None:
        """Note that Ray must be started again; the trials that run are continued then."""
        if self._state.ray_lost is not None:
            return
        self._state.ray_lost = reason
        for trial in self._running():
            self._state.opened.recorder.worker_lost(trial, reason, by_trial=False)

    @property
    def is_ray_up(self) -> bool:
        """Whether Ray still runs on this machine."""
        return self._cluster.is_up()

    def _end_if_hung(self, trial: int, now: float) -> None:
        limit = self._hung_after_seconds
        heartbeat = self._heartbeats[trial]
        if limit is None or heartbeat.where is None:
            return
        allowed = limit if heartbeat.is_ready else max(limit, START_SECONDS)
        if now - heartbeat.seen_at > allowed:
            worker = heartbeat.where.worker
            self._cluster.end_process(heartbeat.where)
            error = f"no epoch in {allowed:g} s: its process ({worker}) was ended"
            self._end(trial, State.HUNG, error)

    def _end(self, trial: int, state: State, error: str) -> None:
        self._state.opened.recorder.trial_ended(trial, state, error=error)
        self._stopping.check_failures()

    def _running(self) -> list[int]:
        """Return the trials that have a process now."""
        if self._state.session is None:
            return []
        running = self._state.session.recorder.history.running()
        return [record.trial for record in running if record.trial in self._heartbeats]

    def _others(self, trial: int) -> list[Whereabouts]:
        """Return the processes of all other trials."""
        beside = (self._heartbeats[other].where for other in self._running() if other != trial)
        return [where for where in beside if where is not None]
