"""A tuner of keras-tuner whose record is a run folder: what it and its oracle show of it.

Imports Keras.
"""

import os
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import State
from results.record.history import History, TrialRecord
from results.record.journal import Event
from search.errors import UsageError
from search.space import mirror
from search.space.parameters import Space
from search.storage.folder import RunFolder
from search.tuner.project import Project
from search.tuner.settings import plain_objective
from search.worker.trial import PatchedTuner
from search.worker.weights import load_best_weights

# How keras-tuner would call the ways in which a trial may end. It has no word for a trial that
# was stopped by a scheduler: STOPPED is its word for a search that ended.
STATUSES = {
    State.RUNNING: "RUNNING",
    State.COMPLETED: "COMPLETED",
    State.EARLY_STOPPED: "COMPLETED",
    State.STOPPED: "STOPPED",
    State.DIVERGED: "COMPLETED",
    State.FAILED: "FAILED",
    State.OUT_OF_MEMORY: "FAILED",
    State.LOST: "FAILED",
    State.HUNG: "FAILED",
    State.INTERRUPTED: "INVALID",
}


class ReportingOracle(kt.Oracle):
    """Shows the trials of a search as keras-tuner's tuners do; it proposes nothing.

    A trial that was stopped has the status ``STOPPED`` and, as score, the best value that it
    reached: it may be the best of all, so it is ranked with the completed ones.
    """

    def __init__(self, objective: Any, **arguments: Any) -> None:
        super().__init__(objective, **arguments)
        self.verbose = 0

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose nothing.

        Raises:
            UsageError: Always: the search itself chooses.
        """
        raise UsageError("RayTuner.oracle only reports trials: call RayTuner.search to run them.")

    def save(self) -> None:
        """Do nothing: the journal is the record."""

    def clear(self) -> None:
        """Forget the trials of a search that another takes the place of."""
        self.trials.clear()
        self.start_order.clear()
        self.end_order.clear()

    def name(self, number: int) -> str:
        """Return the name of a trial, as keras-tuner would call it."""
        return f"{number:0{len(str(self.max_trials))}d}"

    def show(self, record: TrialRecord) -> kt.engine.trial.Trial:
        """Bring a trial up to date with what is known of it."""
        name = self.name(record.trial)
        hp = self.hyperparameters.copy()
        hp.values = dict(record.values)
        trial = kt.engine.trial.Trial(hp, name, status=STATUSES[record.state])
        if name not in self.trials:
            self.start_order.append(name)
        if record.state is not State.RUNNING and name not in self.end_order:
            self.end_order.append(name)
        trial.message = record.traceback or record.error
        if record.state is State.STOPPED:  # keras-tuner's summary shows it
            trial.message = f"{record.ending} after {len(record.epochs)} epochs"
        if record.best is not None:
            self._score(trial, record)
        elif record.state is State.DIVERGED:
            trial.status = "FAILED"
        self.trials[name] = trial
        return trial

    def _score(self, trial: Any, record: TrialRecord) -> None:
        assert record.best is not None
        step = record.best.epoch - 1
        trial.score, trial.best_step = record.best.objective, step
        for name, value in record.best.metrics.items():
            if isinstance(value, (int, float)):
                is_objective = name == self.objective.name
                direction = self.objective.direction if is_objective else None
                trial.metrics.register(name, direction=direction)
                trial.metrics.update(name, value, step=step)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials, stopped ones among them; then those without a score."""
        sign = -1.0 if self.objective.direction == "max" else 1.0
        ended = ("COMPLETED", "STOPPED")
        scored = [t for t in self.trials.values() if t.score is not None and t.status in ended]
        ranked = sorted(scored, key=lambda trial: sign * trial.score)
        others = [trial for trial in self.trials.values() if trial not in ranked]
        return (ranked + others)[:num_trials]


class RecordedTuner(PatchedTuner):
    """Shows the trials of a run folder as keras-tuner's tuners do; a subclass runs them.

    Args:
        oracle_arguments: Arguments of the oracle that reports the trials.
        hypermodel: What is searched.
        directory: Folder of projects.
        project_name: The run folder in it.
        overwrite: Whether a search of that name is moved away; else it is reloaded.
        others: Handed on to keras-tuner's tuner.
    """

    def __init__(
        self,
        oracle_arguments: dict[str, Any],
        hypermodel: Any,
        *,
        directory: Any,
        project_name: str | None,
        overwrite: bool,
        **others: Any,
    ) -> None:
        path = Path(os.fspath(directory or ".")) / (project_name or "untitled_project")
        self._project = Project(RunFolder(path), overwrite)
        oracle = ReportingOracle(**oracle_arguments)
        self._objective = plain_objective(oracle.objective)
        self._history = History(self._objective)
        super().__init__(
            oracle, hypermodel, directory=directory, project_name=project_name, **others
        )

    @property
    def project_dir(self) -> str:
        """The run folder; it is made when the search begins."""
        return str(self._project.folder.path)

    def _get_tuner_fname(self) -> str:
        # keras-tuner reloads where this file stands, and explores the space where it does not.
        if self._project.overwrites:
            return ""
        folder = self._project.folder
        return str(folder.run_file if folder.run_file.exists() else folder.journal_file)

    def load_model(self, trial: kt.engine.trial.Trial) -> keras.Model:
        """Build a trial's model, with the weights of its best epoch.

        Raises:
            UsageError: Its weights are not kept: those of the ten best trials are.
        """
        number, folder = int(trial.trial_id), self._project.folder
        if not folder.best_weights_file(number).exists():
            raise UsageError(
                f"trial {trial.trial_id} has no weights in {str(folder.checkpoints)!r}: those of "
                "the ten best trials are kept. Ask for fewer models, or train it with "
                "tuner.hypermodel.build(trial.hyperparameters)."
            )
        model = self._try_build(trial.hyperparameters)
        load_best_weights(model, folder, number)
        return model

    def save(self) -> None:
        """Do nothing: the journal of the run folder is written as things happen."""

    def reload(self) -> None:
        """Read the run folder: its trials, their scores, the space.

        Raises:
            SearchError: It cannot be read, or another objective was searched for.
        """
        events = self._project.events(self._objective)
        self._populate_initial_space()
        self._history = History(self._objective)
        for event in events:
            self._history.apply(event)
            self._report(event)

    def on_trial_end(self, trial: kt.engine.trial.Trial) -> None:
        """Called when a trial has ended; for a subclass to use."""

    def _report(self, event: Event) -> None:
        """Bring the oracle up to date with an event that is in the history already."""
        kind: str = event["event"]
        if kind == "space_grown":
            self.oracle.update_space(
                mirror.to_hyperparameters(Space.from_json(event["parameters"]))
            )
        trial = self._history.trials.get(event.get("trial", -1))
        if trial is not None and kind.startswith("trial_"):
            self.oracle.show(trial)

    def _call_hooks(self, event: Event) -> None:
        hooks = {"trial_started": self.on_trial_begin, "trial_ended": self.on_trial_end}
        if event["event"] in hooks and event["trial"] in self._history.trials:
            hooks[event["event"]](self.oracle.get_trial(self.oracle.name(event["trial"])))
