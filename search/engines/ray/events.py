"""Turns what Ray Tune reports into events of the journal."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from results.record.columns import Decision, State
from search.engines.ray import messages
from search.engines.ray.liveness import Liveness
from search.engines.ray.messages import Ended, Epoch, TrainTrial, WarmUp
from search.engines.ray.schedulers import Scheduler
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import Discovery
from search.errors import (
    FatalTrialError,
    NewEntriesError,
    ProblemError,
    RayLostError,
    RunFolderError,
)
from search.plan.task import Task
from search.session.session import Session
from search.session.stopping import INTERRUPTED, Stopping
from search.space.parameters import Space

EXIT_DETAIL = re.compile(r"Worker exit detail: ([^.]*\.)")
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
IP = re.compile(r"\bip: (\S+)")


class Answer(Enum):
    """What happens to a process after its report."""

    GO_ON = "it goes on"
    END = "Ray Tune ends its trial"
    TELL = "it goes on, and is told that the scheduler has stopped its trial"


@dataclass
class Events:
    """Judges and records every report."""

    state: SearchState
    task: Task
    scheduler: Scheduler
    stopping: Stopping
    liveness: Liveness
    discovery: Discovery
    hosts_without_gpu: set[str] = field(default_factory=set, init=False)

    def begin(self, space: Space) -> None:
        """Open the session unless it is open; replay the scheduler, queue the unfinished trials.

        Called again on each new Ray.
        """
        history = self.state.deferred.open(space).recorder.history
        self.scheduler.replay(history)
        self.state.unfinished.extend(trial.trial for trial in history.unfinished())

    def step_ended(self) -> None:
        """Refresh the view; end the search if the user or Ray has ended it, and trials that hang.

        Raises:
            KeyboardInterrupt: The user has ended the search.
            RayLostError: Ray has ended.
        """
        if self.state.session is not None:
            self.state.session.view.tick()
        if self.stopping.reason == INTERRUPTED:
            # At once: a signal to the whole process group has ended Ray's processes too.
            raise KeyboardInterrupt
        if self.state.ray_lost is not None:
            raise RayLostError(self.state.ray_lost)
        self.liveness.look()

    def process_started(self, name: str, config: messages.Config) -> None:
        """Note that a trial, by Ray's id, has a process."""
        self.state.started.add(name)
        if isinstance(config, WarmUp):
            return
        self.liveness.begin(config.trial)
        if config.again:
            self.state.opened.recorder.trial_restarted(config.trial)

    def reported(self, config: messages.Config, report: messages.Report) -> Answer:
        """Record a report, and return what happens to its process."""
        if isinstance(config, TrainTrial):
            return self._trial_reported(config, report)
        match report:
            case messages.Discovered(space):
                self.begin(Space.from_json(space))
            case messages.Waiting() if self.state.session is not None:
                return Answer.END
            case Ended():
                self._fail(report)
                return Answer.END
        return Answer.GO_ON

    def process_lost(self, config: messages.Config, error_text: str) -> None:
        """Record that a process has ended, by what Ray wrote about it.

        Raises:
            ProblemError: Every other process would end too.
        """
        missing = NO_MODULE.search(error_text)
        if missing:
            node = IP.search(error_text)
            where = f" on node {node[1]}" if node else " on a node"
            raise ProblemError(
                f"{missing[1]!r} cannot be imported{where}: expected the same packages on every "
                f"node. Install {missing[1]} there."
            )
        reason = _reason(error_text)
        if not self.liveness.is_ray_up:
            self.liveness.lose_ray(reason)
        elif isinstance(config, TrainTrial):
            self.liveness.process_lost(config.trial, reason)
        elif self.state.session is None:
            self.discovery.process_lost(config, reason)

    def _trial_reported(self, config: TrainTrial, report: messages.Report) -> Answer:
        record = self.state.opened.recorder.history.trials[config.trial]
        if record.is_unfinished:
            self.liveness.hear(config.trial)
            match report:
                case messages.Started(process):
                    self.liveness.started(config.trial, process)
                case messages.Ready(lacks_gpu_on):
                    self.liveness.ready(config.trial)
                    self._note_lack(lacks_gpu_on)
                case messages.Retried(error):
                    self.scheduler.begin_again(config.trial)
                    self.state.opened.recorder.trial_retried(config.trial, error)
                case Epoch():
                    return self._epoch(config, report)
                case Ended():
                    self._end(config.trial, report)
        return Answer.END if isinstance(report, Ended) else Answer.GO_ON

    def _epoch(self, config: TrainTrial, epoch: Epoch) -> Answer:
        session, report = self.state.opened, dict(epoch.report)
        self._grow(session, report.pop("space", []))
        objective, decision = report.pop("objective"), Decision.CONTINUE
        if epoch.is_judged:
            decision = self.scheduler.judge(
                config.trial, report["epoch"], objective, last_epoch=config.epochs
            )
        session.recorder.epoch(config.trial, report, decision=decision, worker=epoch.worker)
        if decision is Decision.CONTINUE:
            return Answer.GO_ON
        if self.task.executions_per_trial > 1:
            return Answer.TELL
        session.recorder.trial_ended(config.trial, State.STOPPED)
        return Answer.END

    def _end(self, trial: int, end: Ended) -> None:
        if end.fatal:
            self._fail(end)
        if end.fatal == RunFolderError.__name__:
            return  # the disk is full: the trial can be continued when there is room
        session, result = self.state.opened, dict(end.result or {})
        self._grow(session, result.pop("space", []))
        errors = {"error": end.error, "traceback": end.traceback}
        fields = {name: text for name, text in errors.items() if text} | result
        session.recorder.trial_ended(trial, end.state, **fields)
        self.stopping.check_failures()

    def _grow(self, session: Session, parameters: list[dict[str, Any]]) -> None:
        """Add to the space what the build and fit of a trial were the first to register."""
        new = session.searcher.space.news(Space.from_json(parameters))
        if not new.parameters:
            return
        if not self.task.allow_new_entries:
            names = ", ".join(parameter.name for parameter in new)
            self.stopping.fail(
                NewEntriesError(
                    f"allow_new_entries=False, but a build asked for {names}: register it in "
                    "hyperparameters, or allow new entries."
                )
            )
        elif self.task.tune_new_entries:
            session.searcher.grow(new)
            session.recorder.space_grown(new.to_json())

    def _fail(self, end: Ended) -> None:
        error = FatalTrialError(end.error or "", end.fatal or "")
        error.add_note(end.traceback or "")
        self.stopping.fail(error)

    def _note_lack(self, host: str | None) -> None:
        if host is None or host in self.hosts_without_gpu:
            return
        self.hosts_without_gpu.add(host)
        self.state.opened.view.note(
            f"warning: {host} has a GPU by Ray's count that TensorFlow does not see: trials "
            "there train on the CPU. `make setup GPU=1` installs CUDA."
        )


def _reason(error_text: str) -> str:
    detail = EXIT_DETAIL.search(error_text)
    words = " ".join(detail[1].split()).rstrip(".") if detail else "it left no word"
    return words[:1].lower() + words[1:]
