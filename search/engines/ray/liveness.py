"""Which trials live: what becomes of those that hang, lose their process or run out of memory."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from results.record.columns import State
from search.engines.ray.cluster import Cluster
from search.engines.ray.state import SearchState
from search.ray.nodes import Whereabouts
from search.session.stopping import Stopping

# A trial that ends its process so often, without coming further, is not begun again.
DEADLY = 2
LOOK_SECONDS = 1.0
# A process imports TensorFlow and waits for the data before it trains.
START_SECONDS = 600.0


@dataclass
class Heartbeat:
    """The last sign of life of a trial.

    Attributes:
        seen_at: When it came, by the clock.
        where: The process that trains it; None: not told yet.
        is_ready: Whether that process has come as far as training.
    """

    seen_at: float
    where: Whereabouts | None = None
    is_ready: bool = False


class Liveness:
    """Watches the processes of trials.

    Args:
        state: The search; trials whose process is lost are unfinished again.
        stopping: Told when a trial has ended.
        cluster: Where the processes run.
        hung_after_seconds: A trial without a sign of life for so long is ended; None: never.
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
        """Take note that a trial has been given a process."""
        self._heartbeats[trial] = Heartbeat(self._clock())

    def hear(self, trial: int) -> None:
        """Take note that a trial has reported something."""
        self._heartbeats[trial].seen_at = self._clock()

    def started(self, trial: int, where: Whereabouts) -> None:
        """Take note of where a trial runs."""
        self._heartbeats[trial].where = where
        self._cluster.process_started(where)

    def ready(self, trial: int) -> None:
        """Take note that a trial begins to train."""
        self._heartbeats[trial].is_ready = True

    # --- Ends -------------------------------------------------------------------------------

    def look(self) -> None:
        """End trials that hang, and find out whether Ray has ended; once a second."""
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for trial in self._running():
            self._end_if_hung(trial, now)
        if not self._cluster.is_up():
            self.lose_ray("Ray's own process on this machine (the raylet) has ended")

    def process_lost(self, trial: int, reason: str) -> None:
        """Record that the process of a trial has ended: the trial is unfinished, or ends too."""
        recorder = self._state.opened.recorder
        record = recorder.history.trials[trial]
        if not record.is_unfinished:
            return  # ended by us
        heartbeat = self._heartbeats.pop(trial, None)
        # A process that ended while it was made has told nothing of where it was.
        where = heartbeat.where if heartbeat else None
        if where is not None and self._cluster.ended_for_memory(where, self._others(trial)):
            self._end(trial, State.OUT_OF_MEMORY, "the system ended its process for want of memory")
            return
        is_node_up = where is None or self._cluster.is_node_up(where)
        if where is not None and not is_node_up:
            reason = f"the node of its process ({where.worker}) is lost"
        recorder.worker_lost(trial, reason, by_trial=is_node_up and heartbeat is not None)
        if record.deaths < DEADLY:
            self._state.unfinished.append(trial)
            return
        error = f"its process ended {DEADLY} times without coming further: {reason}"
        self._end(trial, State.LOST, error)

    def ray_ended_for_memory(self, said: str) -> None:
        """Record which trials Ray has ended for their memory, by what it said of them."""
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", said.split("Top 10")[0])}
        used = "; ".join(dict.fromkeys(re.findall(r"actual memory used=([\d.]+ ?[KMG]B)", said)))
        for trial in self._running():
            where = self._heartbeats[trial].where
            if where is not None and where.pid in pids:
                self._end(trial, State.OUT_OF_MEMORY, f"Ray ended its process, which used {used}")
        self.lose_ray("Ray Tune ends with a process that Ray ends for its memory")

    def lose_ray(self, reason: str) -> None:
        """Note that Ray must be started anew; the trials that run are continued then."""
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
        """Return the trials that have a process at this moment."""
        if self._state.session is None:
            return []
        running = self._state.session.recorder.history.running()
        return [record.trial for record in running if record.trial in self._heartbeats]

    def _others(self, trial: int) -> list[Whereabouts]:
        """Return the processes of the trials that run beside one."""
        beside = (self._heartbeats[other].where for other in self._running() if other != trial)
        return [where for where in beside if where is not None]
