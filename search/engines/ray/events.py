"""Turns what Ray Tune tells into events of ours."""

import json
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from results.record.columns import Decision, State
from search.engines.ray.schedulers import END, TIME_ATTR, WARM, NoStopping
from search.engines.ray.suggestions import AGAIN, SPACE, NotPickled
from search.engines.ray.verdicts import Verdicts
from search.errors import (
    FatalTrialError,
    NewEntriesError,
    ProblemError,
    RayLostError,
    RunFolderError,
    SearchError,
)
from search.plan.task import Task
from search.ray import nodes, runtime
from search.session.session import DeferredSession, Session
from search.session.stopping import INTERRUPTED, Stopping
from search.space.parameters import Space

# Field of the report with which a trial says where it runs.
STARTED = "started"
# Field of the report with which it says that it begins to train.
READY = "ready"
# Beside it: the host, where Ray has given a GPU that TensorFlow does not see.
LACKS_GPU = "lacks_gpu"
# Field of the report with which a failed trial begins again: the error.
RETRY = "retry"
REPORT = "report"
# A trial that ends its process so often, without coming further, is not begun again.
DEADLY = 2
LOOK_SECONDS = 1.0
# A process imports TensorFlow and waits for the data before it trains.
START_SECONDS = 600.0
EXIT_DETAIL = re.compile(r"Worker exit detail: ([^.]*\.)")
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
IP = re.compile(r"\bip: (\S+)")


@dataclass
class Sign:
    """The last sign of life of a trial.

    Attributes:
        seen_at: When it came, by the monotonic clock.
        where: The process that trains it.
        is_ready: Whether that process has come as far as training.
    """

    seen_at: float
    where: nodes.Whereabouts | None = None
    is_ready: bool = False


class Events(NotPickled, tune.Callback):
    """Told of everything by Ray Tune; tells the recorder.

    Args:
        task: What all trials share.
        scheduler: Has decided on an epoch before it is told of here.
        deferred: Opened with the space, once it is known.
        stopping: Says when the search must end, and is told of errors that end it.
        verdicts: Where trials are told that they are stopped, if not by Ray.
        hung_after_seconds: A trial without a sign of life for so long is ended; None: never.
    """

    def __init__(
        self,
        task: Task,
        scheduler: NoStopping,
        deferred: DeferredSession,
        stopping: Stopping,
        verdicts: Verdicts | None,
        *,
        hung_after_seconds: float | None,
    ) -> None:
        self._task = task
        self._scheduler = scheduler
        self._verdicts = verdicts
        self._deferred = deferred
        self._stopping = stopping
        self._hung_after_seconds = hung_after_seconds
        self._unfinished: deque[int] = deque()
        self._signs: dict[int, Sign] = {}
        self._begun: set[str] = set()
        self._discoveries = 0
        self._wants_discovery = True
        self._looked_at = 0.0
        self._out_of_memory = nodes.OutOfMemory()
        self._without_gpu: set[str] = set()
        self.session: Session | None = None
        self.error: SearchError | None = None
        self.ray_lost: str | None = None

    # --- What the suggestions ask -----------------------------------------------------------

    def take_unfinished(self) -> int | None:
        """Return the number of a trial that is to be gone on with, once each."""
        return self._unfinished.popleft() if self._unfinished else None

    def has_begun(self, name: str) -> bool:
        """Tell whether one of Ray's trials has a process."""
        return name in self._begun

    @property
    def has_unfinished(self) -> bool:
        """Whether a trial is to be gone on with."""
        return bool(self._unfinished)

    @property
    def is_interrupted(self) -> bool:
        """Whether the user has ended the search."""
        return self._stopping.reason == INTERRUPTED

    def give_back(self, number: int) -> None:
        """Take back a trial that never began, to be given out again."""
        self._unfinished.append(number)

    def take_discovery(self) -> bool:
        """Tell whether the process that asks is the one to discover the space."""
        is_wanted = self._wants_discovery
        self._wants_discovery = False
        return is_wanted

    def begin(self, space: Space) -> None:
        """Begin to search a space, or go on, now that it is known."""
        self.session = self._deferred.open(space)
        history = self.session.recorder.history
        self._scheduler.replay(history)
        self._unfinished.extend(trial.trial for trial in history.unfinished())
        self._scheduler.has_trials = True

    # --- What Ray Tune tells ----------------------------------------------------------------

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.session:
            self.session.view.tick()
        if self._stopping.reason == INTERRUPTED:
            # Left at once: a signal to the whole process group has ended Ray's processes too.
            raise KeyboardInterrupt
        if self.ray_lost is not None:
            raise RayLostError(self.ray_lost)
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look_for_the_hung(now)
            if not runtime.is_up():
                self._lose_ray("Ray's own process on this machine (the raylet) has ended")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._begun.add(trial.trial_id)
        if WARM in trial.config:
            return
        number = trial.config["trial"]
        self._signs[number] = Sign(time.monotonic())
        if self._verdicts is not None:
            self._verdicts.clear(number)
        if trial.config[AGAIN]:
            assert self.session is not None
            self.session.recorder.trial_restarted(number)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        try:
            if SPACE in result:
                self.begin(Space.from_json(json.loads(result[SPACE])))
            elif WARM in trial.config:
                self._end_discovery(result)
            else:
                self._of_a_trial(trial.config["trial"], result)
        except SearchError as error:
            self.error = error  # Tune turns it into the text of an error of its own
            raise

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        try:
            self._process_ended(trial)
        except SearchError as error:
            self.error = error
            raise

    def out_of_memory(self, said: str) -> None:
        """Record which trials Ray has ended for their memory, by what it said of them."""
        assert self.session is not None
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", said.split("Top 10")[0])}
        used = "; ".join(dict.fromkeys(re.findall(r"actual memory used=([\d.]+ ?[KMG]B)", said)))
        for number in self._running_numbers():
            where = self._signs[number].where
            if where is not None and where.pid in pids:
                self._end_out_of_memory(number, f"Ray ended its process, which used {used}")
        self._lose_ray("Ray Tune ends with a process that Ray ends for its memory")

    # --- What follows -----------------------------------------------------------------------

    def _of_a_trial(self, number: int, result: dict[str, Any]) -> None:
        assert self.session is not None
        if self.session.recorder.history.trials[number].is_unfinished:
            sign = self._signs.setdefault(number, Sign(0.0))
            sign.seen_at = time.monotonic()
            if STARTED in result:
                sign.where = nodes.Whereabouts(**json.loads(result[STARTED]))
                self._out_of_memory.know(sign.where)
            elif READY in result:
                sign.is_ready = True
                self._note_lack(result.get(LACKS_GPU))
            elif RETRY in result:
                self._scheduler.begin_again(number)
                if self._verdicts is not None:
                    self._verdicts.clear(number)
                self.session.recorder.trial_retried(number, result[RETRY])
            elif END in result:
                self._end(number, json.loads(result[END]))
            else:
                self._epoch(number, result)

    def _note_lack(self, host: str | None) -> None:
        if host and host not in self._without_gpu:
            assert self.session is not None
            self._without_gpu.add(host)
            self.session.view.note(
                f"warning: {host} has a GPU by Ray's count that TensorFlow does not see: trials "
                "there train on the CPU. `make setup GPU=1` installs CUDA."
            )

    def _end_discovery(self, result: dict[str, Any]) -> None:
        if END in result:
            self._fail(json.loads(result[END]))

    def _process_ended(self, trial: Any) -> None:
        said = _said(trial)
        missing = NO_MODULE.search(said)
        if missing:
            node = IP.search(said)
            where = f" on node {node[1]}" if node else " on a node"
            raise ProblemError(
                f"{missing[1]!r} cannot be imported{where}: expected the same packages on every "
                f"node. Install {missing[1]} there."
            )
        reason = _in_short(said)
        if not runtime.is_up():
            self._lose_ray(reason)
        elif WARM in trial.config:
            self._discover_again(trial, reason)
        else:
            self._trial_lost(trial.config["trial"], reason)

    def _discover_again(self, trial: Any, reason: str) -> None:
        if self.session is not None or not trial.config[SPACE]:
            return
        self._discoveries += 1
        if self._discoveries == DEADLY:
            raise ProblemError(
                f"Discovering the space failed: its process ended twice without a word: {reason}"
            )
        self._wants_discovery = True

    def _trial_lost(self, number: int, reason: str) -> None:
        assert self.session is not None
        recorder = self.session.recorder
        record = recorder.history.trials[number]
        if not record.is_unfinished:
            return  # ended by us
        # A process that ended while it was made has given none of where it was.
        sign = self._signs.pop(number, None)
        where = sign.where if sign else None
        if where is not None and self._out_of_memory.ended(where, self._others(number)):
            self._end_out_of_memory(number, "the system ended its process for want of memory")
            return
        is_node_up = where is None or nodes.is_node_up(where)
        if where is not None and not is_node_up:
            reason = f"the node of its process ({where.worker}) is lost"
        recorder.worker_lost(number, reason, by_trial=is_node_up and sign is not None)
        if record.deaths < DEADLY:
            self._unfinished.append(number)
            return
        error = f"its process ended {DEADLY} times without coming further: {reason}"
        recorder.trial_ended(number, State.LOST, error=error)
        self._stopping.check_failures()

    def _others(self, number: int) -> list[nodes.Whereabouts]:
        """Return where the trials are that run beside one."""
        signs = (self._signs[other] for other in self._running_numbers() if other != number)
        return [sign.where for sign in signs if sign.where is not None]

    def _end_out_of_memory(self, number: int, error: str) -> None:
        assert self.session is not None
        self.session.recorder.trial_ended(number, State.OUT_OF_MEMORY, error=error)
        self._stopping.check_failures()

    def _lose_ray(self, reason: str) -> None:
        """Note that Ray must be started anew; what runs goes on then."""
        if self.ray_lost is not None:
            return
        self.ray_lost = reason
        for number in self._running_numbers():
            assert self.session is not None
            self.session.recorder.worker_lost(number, reason, by_trial=False)

    def _look_for_the_hung(self, now: float) -> None:
        limit = self._hung_after_seconds
        if limit is None:
            return
        for number in self._running_numbers():
            sign = self._signs[number]
            allowed = limit if sign.is_ready else max(limit, START_SECONDS)
            if now - sign.seen_at > allowed and sign.where is not None:
                assert self.session is not None
                error = f"no epoch in {allowed:g} s: its process ({sign.where.worker}) was ended"
                nodes.end_process(sign.where)
                self.session.recorder.trial_ended(number, State.HUNG, error=error)
                self._stopping.check_failures()

    def _running_numbers(self) -> list[int]:
        """Return the trials that have a process at this moment."""
        if self.session is None:
            return []
        running = self.session.recorder.history.running()
        return [trial.trial for trial in running if trial.trial in self._signs]

    def _epoch(self, number: int, result: dict[str, Any]) -> None:
        assert self.session is not None
        report = json.loads(result[REPORT])
        self._grow(report.pop("space", None))
        is_judged = TIME_ATTR in result
        decision = self._scheduler.last_decision if is_judged else Decision.CONTINUE
        recorder = self.session.recorder
        recorder.epoch(number, report, decision=decision, worker=result["worker"])
        if decision is Decision.STOP and self._verdicts is not None:
            self._verdicts.stop(number)
        elif decision is Decision.STOP:
            recorder.trial_ended(number, State.STOPPED)

    def _end(self, number: int, end: dict[str, Any]) -> None:
        if end["fatal"]:
            self._fail(end)
        if end["fatal"] == RunFolderError.__name__:
            return  # a full disk: the trial is not done, and goes on when there is room
        assert self.session is not None
        told = {key: end[key] for key in ("error", "traceback") if end[key]}
        result = end["result"] or {}
        self._grow(result.pop("space", None))
        told |= result
        self.session.recorder.trial_ended(number, State(end["state"]), **told)
        self._stopping.check_failures()

    def _fail(self, end: dict[str, Any]) -> None:
        error = FatalTrialError(end["error"], end["fatal"])
        error.add_note(end["traceback"])
        self._stopping.fail(error)

    def _grow(self, rows: list[dict[str, Any]] | None) -> None:
        if rows is None:
            return
        assert self.session is not None
        searcher = self.session.searcher
        news = searcher.space.news(Space.from_json(rows))
        if not news.parameters:
            return
        if not self._task.allow_new_entries:
            names = ", ".join(parameter.name for parameter in news)
            self._stopping.fail(
                NewEntriesError(
                    f"allow_new_entries=False, but a build asked for {names}: register it in "
                    "hyperparameters, or allow new entries."
                )
            )
        elif self._task.tune_new_entries:
            searcher.grow(news)
            self.session.recorder.space_grown(news.to_json())


def _said(trial: Any) -> str:
    """Return what Ray wrote of a trial's error."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""


def _in_short(said: str) -> str:
    detail = EXIT_DETAIL.search(said)
    words = " ".join(detail[1].split()).rstrip(".") if detail else "it left no word"
    return words[:1].lower() + words[1:]
