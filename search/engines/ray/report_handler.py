"""Handles what Ray Tune reports about processes and trials."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from results.record.columns import Decision, ScoreKind, State
from search.engines.ray import messages
from search.engines.ray.liveness import Liveness
from search.engines.ray.messages import Ended, Epoch, TrainTrial, WarmUp
from search.engines.ray.schedulers import BaseScheduler
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import Discovery
from search.errors import (
    FatalTrialError,
    NewEntriesError,
    ProblemError,
    RayLostError,
    RunFolderError,
)
from search.session.session import Session
from search.session.stopping import INTERRUPTED, Stopping
from search.space.parameters import Space
from search.worker.task import Task

EXIT_DETAIL = re.compile(r"Worker exit detail: ([^.]*\.)")
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
IP = re.compile(r"\bip: (\S+)")


class Reply(Enum):
    """What a process does after its report."""

    CONTINUE = "it continues"
    END_TRIAL = "Ray Tune ends its trial"
    REQUEST_STOP = "it continues, and learns that the scheduler has stopped its trial"


@dataclass
class ReportHandler:
    """A handler that judges and records what processes report, and decides how each continues.

    Attributes:
        state: The search.
        task: What each trial trains.
        scheduler: Judges each epoch.
        judges_any_score: Whether the scheduler stops trials even if their scores are of another
            kind than the values of their epochs.
        stopping: Decides when the search ends.
        liveness: Watches the processes.
        discovery: Starts the processes that discover the space and warm up.
        hosts_without_gpu: Hosts for which the user was warned that TensorFlow sees no GPU.
    """

    state: SearchState
    task: Task
    scheduler: BaseScheduler
    stopping: Stopping
    liveness: Liveness
    discovery: Discovery
    judges_any_score: bool = True
    hosts_without_gpu: set[str] = field(default_factory=set, init=False)

    def start_search(self, space: Space) -> None:
        """Open the session, replay the scheduler's decisions and queue the unfinished trials.

        Call this again on each new Ray; the session then stays open.
        """
        history = self.state.deferred.open(space).recorder.history
        self.scheduler.replay(history)
        self.state.unfinished.extend(trial.trial for trial in history.unfinished())

    def handle_step_end(self) -> None:
        """Refresh the view and check the processes, after each step of Ray Tune.

        Raises:
            KeyboardInterrupt: The user has interrupted the search.
            RayLostError: Ray has ended.
        """
        if self.state.session is not None:
            self.state.session.view.tick()
        if self.stopping.reason == INTERRUPTED:
            # Do not wait for reports: the signal may have ended Ray's processes too.
            raise KeyboardInterrupt
        if self.state.ray_loss is not None:
            raise RayLostError(self.state.ray_loss)
        self.liveness.check()

    def handle_process_start(self, ray_id: str, config: messages.Config) -> None:
        """Note that Ray's trial ``ray_id`` has a process."""
        self.state.started_ray_ids.add(ray_id)
        if isinstance(config, WarmUp):
            return
        self.liveness.watch(config.trial)
        if config.is_continued:
            self.state.open_session.recorder.trial_restarted(config.trial)

    def handle_report(self, config: messages.Config, report: messages.Report) -> Reply:
        """Record a report, and return what its process does next."""
        if isinstance(config, TrainTrial):
            return self._handle_trial_report(config, report)
        match report:
            case messages.Discovered(space):
                self.start_search(Space.from_json(space))
            case messages.Waiting() if self.state.session is not None:
                return Reply.END_TRIAL
            case Ended():
                self._fail_search(report)
                return Reply.END_TRIAL
        return Reply.CONTINUE

    def handle_process_loss(self, config: messages.Config, error_text: str) -> None:
        """Record that a process has died.

        Args:
            config: What the process was started with.
            error_text: What Ray wrote about its death.

        Raises:
            ProblemError: Every other process would die in the same way.
        """
        missing_module = NO_MODULE.search(error_text)
        if missing_module:
            module, ip = missing_module[1], IP.search(error_text)
            node = f"node {ip[1]}" if ip else "a node"
            raise ProblemError(
                f"{module!r} cannot be imported on {node}: expected the same packages on every "
                f"node. Install {module} there."
            )
        reason = _loss_reason(error_text)
        if not self.liveness.is_ray_up:
            self.liveness.record_ray_loss(reason)
        elif isinstance(config, TrainTrial):
            self.liveness.record_lost_process(config.trial, reason)
        elif self.state.session is None:
            self.discovery.replace_lost_process(config, reason)

    def _handle_trial_report(self, config: TrainTrial, report: messages.Report) -> Reply:
        if isinstance(report, (Epoch, messages.Retried, Ended)):
            for line in report.printed:
                self.state.open_session.view.note(f"trial {config.trial}: {line}")
        record = self.state.open_session.recorder.history.trials[config.trial]
        if record.is_unfinished:
            self.liveness.note_report(config.trial)
            match report:
                case messages.Started(process):
                    self.liveness.note_process(config.trial, process)
                case messages.Ready(host_without_gpu):
                    self.liveness.note_ready(config.trial)
                    self._warn_of_missing_gpu(host_without_gpu)
                case messages.Retried(error):
                    self.scheduler.reset(config.trial)
                    self.state.open_session.recorder.trial_retried(config.trial, error)
                case Epoch():
                    return self._handle_epoch(config, report)
                case Ended():
                    self._end_trial(config.trial, report)
        return Reply.END_TRIAL if isinstance(report, Ended) else Reply.CONTINUE

    def _handle_epoch(self, config: TrainTrial, epoch: Epoch) -> Reply:
        session, report = self.state.open_session, dict(epoch.report)
        self._grow_space(session, report.pop("space", []))
        objective, decision = report.pop("objective"), Decision.CONTINUE
        if epoch.is_judged:
            decision = self.scheduler.judge(
                config.trial,
                report["epoch"],
                objective,
                last_epoch=config.epochs,
                may_stop=self._may_stop(session, report),
            )
        session.recorder.epoch(config.trial, report, decision=decision, worker=epoch.worker)
        if decision is Decision.CONTINUE:
            return Reply.CONTINUE
        if self.task.executions_per_trial > 1 or epoch.is_end_reported:
            return Reply.REQUEST_STOP
        session.recorder.trial_ended(config.trial, State.STOPPED)
        return Reply.END_TRIAL

    def _may_stop(self, session: Session, epoch: dict[str, Any]) -> bool:
        """Tell whether the value of an epoch says what its trial will be worth."""
        kind = session.recorder.history.kind_after(epoch)
        return self.judges_any_score or kind in (ScoreKind.EPOCHS, ScoreKind.EXECUTIONS)

    def _end_trial(self, trial: int, report: Ended) -> None:
        if report.fatal:
            self._fail_search(report)
        if report.fatal == RunFolderError.__name__:
            return  # the disk is full: a resumed search continues the trial
        session, result = self.state.open_session, dict(report.result or {})
        self._grow_space(session, result.pop("space", []))
        errors = {"error": report.error, "traceback": report.traceback}
        fields = {name: text for name, text in errors.items() if text} | result
        if report.returned is not None:
            fields["returned"] = report.returned
        previous_kind = session.recorder.history.score_kind
        session.recorder.trial_ended(trial, report.state, **fields)
        self._explain_scores(session, previous_kind)
        self.stopping.check_failures()

    def _explain_scores(self, session: Session, previous_kind: ScoreKind) -> None:
        """Tell the user once that the trials return scores of their own."""
        kind = session.recorder.history.score_kind
        if kind is previous_kind or not self.scheduler.stops_trials:
            return
        if kind is not ScoreKind.RETURNED:
            if not self.judges_any_score:
                session.view.note("a score is the best of its epochs: weak trials are stopped now")
            return
        if self.judges_any_score:
            effect = "a stopped trial has no score and ranks below every completed one"
        else:
            effect = "no trial is stopped early (name the scheduler to stop trials by their epochs)"
        session.view.note(
            f"the trials return another score than the best of their epochs: {effect}"
        )

    def _grow_space(self, session: Session, parameters: list[dict[str, Any]]) -> None:
        """Add the parameters that a trial was the first to register to the space."""
        new_parameters = session.searcher.space.unknown_parameters(Space.from_json(parameters))
        if not new_parameters.parameters:
            return
        if not self.task.allow_new_entries:
            names = ", ".join(parameter.name for parameter in new_parameters)
            self.stopping.fail(
                NewEntriesError(
                    f"allow_new_entries=False, but a build registered {names}: expected only the "
                    "given hyperparameters. Add it to them, or set allow_new_entries=True."
                )
            )
        elif self.task.tune_new_entries:
            session.searcher.grow(new_parameters)
            session.recorder.space_grown(new_parameters.to_json())

    def _fail_search(self, report: Ended) -> None:
        error = FatalTrialError(report.error or "", report.fatal or "")
        error.add_note(report.traceback or "")
        self.stopping.fail(error)

    def _warn_of_missing_gpu(self, host: str | None) -> None:
        if host is None or host in self.hosts_without_gpu:
            return
        self.hosts_without_gpu.add(host)
        self.state.open_session.view.note(
            f"warning: {host}: Ray assigns a GPU that TensorFlow does not see; trials there "
            "train on the CPU. Install CUDA there: `make setup GPU=1`, or the extra gpu."
        )


def _loss_reason(error_text: str) -> str:
    detail = EXIT_DETAIL.search(error_text)
    if not detail:
        return "Ray gave no reason"
    reason = " ".join(detail[1].split()).rstrip(".")
    return reason[:1].lower() + reason[1:]
