"""Watches the processes of trials: ends hung ones, and handles lost and out-of-memory ones."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from results.record.columns import State
from search.engines.ray.state import SearchState
from search.ray import nodes, runtime
from search.ray.nodes import TrialProcess
from search.session.stopping import Stopping

# A trial is lost after this many deaths of its process without a new epoch between them.
MAX_DEATHS = 2
CHECK_SECONDS = 1.0
# A process imports TensorFlow and waits for the data before it trains.
STARTUP_SECONDS = 600.0


@dataclass
class Heartbeat:
    """The last sign of life of a trial.

    Attributes:
        seen_at: When the trial last reported, in seconds of the ``Liveness`` clock.
        process: The process that trains the trial; None until it is known.
        is_ready: Whether the process has begun to train.
    """

    seen_at: float
    process: TrialProcess | None = None
    is_ready: bool = False


class RunningRay(nodes.OomKillDetector):
    """Queries and commands for the running Ray; tests substitute a fake."""

    is_up = staticmethod(runtime.is_up)
    is_node_up = staticmethod(nodes.is_node_up)
    end_process = staticmethod(nodes.end_process)


@dataclass
class Liveness:
    """A monitor of the processes of trials.

    Attributes:
        state: The search; a trial that loses its process becomes unfinished again.
        stopping: Ends the search when too many trials fail.
        ray: The Ray that runs the processes.
        hung_after_seconds: A trial without a report for longer than this is ended; None: never.
        clock: Returns the time, in seconds.
        heartbeats: By trial, the last sign of life; a trial that lost its process has none.
        checked_at: When the processes were last checked, in seconds of the clock.
    """

    state: SearchState
    stopping: Stopping
    ray: RunningRay
    hung_after_seconds: float | None
    clock: Callable[[], float] = time.monotonic
    heartbeats: dict[int, Heartbeat] = field(default_factory=dict, init=False)
    checked_at: float = field(default=-CHECK_SECONDS, init=False)

    # --- Signs of life ----------------------------------------------------------------------

    def watch(self, trial: int) -> None:
        """Start to watch a trial, which has a process now."""
        self.heartbeats[trial] = Heartbeat(self.clock())

    def note_report(self, trial: int) -> None:
        """Note that a trial has reported."""
        self.heartbeats[trial].seen_at = self.clock()

    def note_process(self, trial: int, process: TrialProcess) -> None:
        """Note which process trains a trial."""
        self.heartbeats[trial].process = process
        self.ray.note_start(process)

    def note_ready(self, trial: int) -> None:
        """Note that the process of a trial has begun to train."""
        self.heartbeats[trial].is_ready = True

    # --- Ends -------------------------------------------------------------------------------

    def check(self) -> None:
        """End hung trials and detect a dead Ray; at most once a second."""
        now = self.clock()
        if now - self.checked_at < CHECK_SECONDS:
            return
        self.checked_at = now
        for trial in self._watched_trials():
            self._end_if_hung(trial, now)
        if not self.ray.is_up():
            self.record_ray_loss("Ray's own process on this machine (the raylet) has ended")

    def record_lost_process(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its process, and queue the trial again or end it."""
        recorder = self.state.open_session.recorder
        record = recorder.history.trials[trial]
        if not record.is_unfinished:
            return  # this program ended the process itself
        heartbeat = self.heartbeats.pop(trial, None)
        # A process that died during its start has not reported where it ran.
        process = heartbeat.process if heartbeat else None
        if process is not None and self.ray.was_oom_killed(process, self._other_processes(trial)):
            error = "the operating system killed its process for lack of memory"
            self._end(trial, State.OUT_OF_MEMORY, error)
            return
        is_node_up = process is None or self.ray.is_node_up(process)
        if process is not None and not is_node_up:
            reason = f"the node of its process ({process.worker}) is lost"
        recorder.worker_lost(trial, reason, by_trial=is_node_up and heartbeat is not None)
        if record.deaths < MAX_DEATHS:
            self.state.unfinished.append(trial)
            return
        error = f"its process died {MAX_DEATHS} times without a new epoch: {reason}"
        self._end(trial, State.LOST, error)

    def record_ray_out_of_memory(self, message: str) -> None:
        """Record which trials Ray has killed to free memory, according to its error message."""
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", message.split("Top 10")[0])}
        amounts = re.findall(r"actual memory used=([\d.]+ ?[KMG]B)", message)
        used_memory = "; ".join(dict.fromkeys(amounts))
        for trial in self._watched_trials():
            process = self.heartbeats[trial].process
            if process is not None and process.pid in pids:
                error = f"Ray killed its process, which used {used_memory}"
                self._end(trial, State.OUT_OF_MEMORY, error)
        self.record_ray_loss("Ray killed a process to free memory, and Ray Tune failed with it")

    def record_ray_loss(self, reason: str) -> None:
        """Record that Ray must be started again; the running trials then continue."""
        if self.state.ray_loss is not None:
            return
        self.state.ray_loss = reason
        for trial in self._watched_trials():
            self.state.open_session.recorder.worker_lost(trial, reason, by_trial=False)

    @property
    def is_ray_up(self) -> bool:
        """Whether Ray runs on this machine."""
        return self.ray.is_up()

    def _end_if_hung(self, trial: int, now: float) -> None:
        limit_seconds = self.hung_after_seconds
        heartbeat = self.heartbeats[trial]
        if limit_seconds is None or heartbeat.process is None:
            return
        if not heartbeat.is_ready:
            limit_seconds = max(limit_seconds, STARTUP_SECONDS)
        if now - heartbeat.seen_at > limit_seconds:
            self.ray.end_process(heartbeat.process)
            worker = heartbeat.process.worker
            error = f"no epoch in {limit_seconds:g} s: its process ({worker}) was killed"
            self._end(trial, State.HUNG, error)

    def _end(self, trial: int, state: State, error: str) -> None:
        self.state.open_session.recorder.trial_ended(trial, state, error=error)
        self.stopping.check_failures()

    def _watched_trials(self) -> list[int]:
        """Return the numbers of the running trials that have a process."""
        if self.state.session is None:
            return []
        records = self.state.session.recorder.history.running()
        return [record.trial for record in records if record.trial in self.heartbeats]

    def _other_processes(self, trial: int) -> list[TrialProcess]:
        """Return the known processes of all other trials."""
        other_trials = (number for number in self._watched_trials() if number != trial)
        processes = (self.heartbeats[number].process for number in other_trials)
        return [process for process in processes if process is not None]
