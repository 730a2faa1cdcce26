"""Watches the processes of trials: those that hang, are lost or run out of memory."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from results.record.columns import State
from search.engines.ray.state import SearchState
from search.ray import nodes, runtime
from search.ray.nodes import TrialProcess
from search.session.stopping import Stopping

# A trial is lost with this many deaths of its process without a new epoch between them.
MAX_DEATHS = 2
LOOK_SECONDS = 1.0
# A process imports TensorFlow and waits for the data before it trains.
START_SECONDS = 600.0


@dataclass
class Heartbeat:
    """The last sign of life of a trial.

    Attributes:
        process: The process that trains the trial; None: not known yet.
        is_ready: Whether the process has begun to train.
    """

    seen_at: float
    process: TrialProcess | None = None
    is_ready: bool = False


class Cluster(nodes.OomKillDetector):
    """What is asked of the Ray that runs now; a test puts another in its place."""

    is_up = staticmethod(runtime.is_up)
    is_node_up = staticmethod(nodes.is_node_up)
    end_process = staticmethod(nodes.end_process)


@dataclass
class Liveness:
    """Watches the processes of trials.

    Attributes:
        state: The search; a trial whose process is lost becomes unfinished again.
        stopping: Ends the search when its trials fail.
        cluster: Where the processes run.
        hung_after_seconds: A trial that reports nothing for this long is ended; None: never.
        clock: Tells the time, in seconds.
    """

    state: SearchState
    stopping: Stopping
    cluster: Cluster
    hung_after_seconds: float | None
    clock: Callable[[], float] = time.monotonic
    heartbeats: dict[int, Heartbeat] = field(default_factory=dict, init=False)
    looked_at: float = field(default=-LOOK_SECONDS, init=False)

    # --- Signs of life ----------------------------------------------------------------------

    def begin(self, trial: int) -> None:
        """Note that a trial has a process."""
        self.heartbeats[trial] = Heartbeat(self.clock())

    def hear(self, trial: int) -> None:
        """Note that a trial has reported something."""
        self.heartbeats[trial].seen_at = self.clock()

    def started(self, trial: int, process: TrialProcess) -> None:
        """Note where a trial runs."""
        self.heartbeats[trial].process = process
        self.cluster.note_start(process)

    def ready(self, trial: int) -> None:
        """Note that a trial begins to train."""
        self.heartbeats[trial].is_ready = True

    # --- Ends -------------------------------------------------------------------------------

    def look(self) -> None:
        """End the trials that hang, and notice when Ray has ended; at most once a second."""
        now = self.clock()
        if now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = now
        for trial in self._running():
            self._end_if_hung(trial, now)
        if not self.cluster.is_up():
            self.lose_ray("Ray's own process on this machine (the raylet) has ended")

    def process_lost(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its process; it is unfinished again, or it ends."""
        recorder = self.state.opened.recorder
        record = recorder.history.trials[trial]
        if not record.is_unfinished:
            return  # this process was ended on purpose
        heartbeat = self.heartbeats.pop(trial, None)
        # A process that ended while it started has not reported where it was.
        process = heartbeat.process if heartbeat else None
        if process is not None and self.cluster.was_oom_killed(process, self._others(trial)):
            self._end(trial, State.OUT_OF_MEMORY, "the system ended its process for want of memory")
            return
        is_node_up = process is None or self.cluster.is_node_up(process)
        if process is not None and not is_node_up:
            reason = f"the node of its process ({process.worker}) is lost"
        recorder.worker_lost(trial, reason, by_trial=is_node_up and heartbeat is not None)
        if record.deaths < MAX_DEATHS:
            self.state.unfinished.append(trial)
            return
        error = f"its process ended {MAX_DEATHS} times without coming further: {reason}"
        self._end(trial, State.LOST, error)

    def ray_ended_for_memory(self, message: str) -> None:
        """Record which trials Ray has ended because of their memory, by its error message."""
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", message.split("Top 10")[0])}
        amounts = re.findall(r"actual memory used=([\d.]+ ?[KMG]B)", message)
        used = "; ".join(dict.fromkeys(amounts))
        for trial in self._running():
            process = self.heartbeats[trial].process
            if process is not None and process.pid in pids:
                self._end(trial, State.OUT_OF_MEMORY, f"Ray ended its process, which used {used}")
        self.lose_ray("Ray Tune ends with a process that Ray ends for its memory")

    def lose_ray(self, reason: str) -> None:
        """Note that Ray must be started again; the trials that run are continued then."""
        if self.state.ray_lost is not None:
            return
        self.state.ray_lost = reason
        for trial in self._running():
            self.state.opened.recorder.worker_lost(trial, reason, by_trial=False)

    @property
    def is_ray_up(self) -> bool:
        """Whether Ray still runs on this machine."""
        return self.cluster.is_up()

    def _end_if_hung(self, trial: int, now: float) -> None:
        limit = self.hung_after_seconds
        heartbeat = self.heartbeats[trial]
        if limit is None or heartbeat.process is None:
            return
        allowed = limit if heartbeat.is_ready else max(limit, START_SECONDS)
        if now - heartbeat.seen_at > allowed:
            worker = heartbeat.process.worker
            self.cluster.end_process(heartbeat.process)
            error = f"no epoch in {allowed:g} s: its process ({worker}) was ended"
            self._end(trial, State.HUNG, error)

    def _end(self, trial: int, state: State, error: str) -> None:
        self.state.opened.recorder.trial_ended(trial, state, error=error)
        self.stopping.check_failures()

    def _running(self) -> list[int]:
        """Return the trials that have a process now."""
        if self.state.session is None:
            return []
        running = self.state.session.recorder.history.running()
        return [record.trial for record in running if record.trial in self.heartbeats]

    def _others(self, trial: int) -> list[TrialProcess]:
        """Return the processes of all other trials."""
        others = (self.heartbeats[other].process for other in self._running() if other != trial)
        return [process for process in others if process is not None]
