"""A keras-tuner tuner that shows the trials of a run folder, and its oracle. Imports Keras."""

import os
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import State, Values
from results.record.files import read_json, write_json
from results.record.history import History, TrialRecord
from results.record.journal import Event
from results.record.screen import replace_unprintable
from results.record.words import describe_epochs_of
from search.errors import UsageError
from search.space import mirror
from search.space.parameters import PARENT_TRIAL, Space
from search.tuner.project import Project
from search.tuner.settings import plain_objective
from search.view.view import View
from search.worker.tuner import TrialTuner
from search.worker.weights import load_best_weights

# keras-tuner's statuses of trials. It has none for a trial that a scheduler stopped: its STOPPED
# means that the search ended.
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
    """An oracle that shows the trials of a search, and proposes none.

    A stopped trial has the status ``STOPPED``. Its score is the best of its epochs if the scores of
    the completed trials are of that kind: then it is ranked with them, since it may be the best of
    all. Otherwise it has no score, and comes after them.
    """

    def __init__(self, objective: Any, **arguments: Any) -> None:
        super().__init__(objective, **arguments)
        self.verbose = 0
        self._reached_seconds: dict[str, float] = {}  # when a trial reached its score

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Refuse to propose a trial.

        Raises:
            UsageError: Always.
        """
        raise UsageError("RayTuner.oracle only reports trials: call RayTuner.search to run them.")

    def save(self) -> None:
        """Do nothing: the journal records the search."""

    def clear(self) -> None:
        """Remove all trials, before a new search."""
        self.trials.clear()
        self.start_order.clear()
        self.end_order.clear()

    def trial_id(self, number: int) -> str:
        """Return keras-tuner's ID of a trial."""
        return f"{number:0{len(str(self.max_trials))}d}"

    def update_trial_from(self, record: TrialRecord) -> kt.engine.trial.Trial:
        """Create or replace a trial from its record."""
        trial_id = self.trial_id(record.trial)
        hp = self.hyperparameters.copy()
        # Also what the build did not ask for.
        hp.values = in_order_of(hp, record.proposed | record.values)
        if PARENT_TRIAL in hp.values:  # Hyperband's trial goes on from this one
            hp.values[PARENT_TRIAL] = self.trial_id(int(hp.values[PARENT_TRIAL]))
        trial = kt.engine.trial.Trial(hp, trial_id, status=STATUSES[record.state])
        if trial_id not in self.trials:
            self.start_order.append(trial_id)
        if record.state is not State.RUNNING and trial_id not in self.end_order:
            self.end_order.append(trial_id)
        trial.message = record.traceback or record.error
        trial.returned = record.returned
        if record.state is State.STOPPED:  # keras-tuner's summary shows the message
            trial.message = f"{record.ending} after {describe_epochs_of(record)}"
        if record.best is not None:
            self._set_score(trial, record)
        elif record.state is State.DIVERGED:
            trial.status = "FAILED"
        self.trials[trial_id] = trial
        return trial

    def _set_score(self, trial: Any, record: TrialRecord) -> None:
        assert record.best is not None
        step = record.best.epoch - 1
        trial.score, trial.best_step = record.best.objective, step
        self._reached_seconds[trial.trial_id] = record.best.at_seconds
        returned = record.score.metrics if record.score else {}
        for name, value in (record.best.metrics | returned).items():
            if isinstance(value, (int, float)):
                is_objective = name == self.objective.name
                direction = self.objective.direction if is_objective else None
                trial.metrics.register(name, direction=direction)
                trial.metrics.update(name, value, step=step)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials, completed and stopped ones; then trials without a score.

        Of equal trials, the first to reach the score leads, as on the screen.
        """
        sign = -1.0 if self.objective.direction == "max" else 1.0
        statuses = ("COMPLETED", "STOPPED")
        scored = [t for t in self.trials.values() if t.score is not None and t.status in statuses]
        reached = self._reached_seconds
        ranked = sorted(scored, key=lambda t: (sign * t.score, reached.get(t.trial_id, 0.0)))
        unranked = [trial for trial in self.trials.values() if trial not in ranked]
        return (ranked + unranked)[:num_trials]


def in_order_of(hp: kt.HyperParameters, values: Values) -> Values:
    """Return values in the order of the space; the journal sorts them by name."""
    places = {name: place for place, name in enumerate(dict.fromkeys(p.name for p in hp.space))}
    return {name: values[name] for name in sorted(values, key=lambda n: places.get(n, len(places)))}


class RecordedTuner(TrialTuner):
    """A keras-tuner tuner that shows the trials of a run folder; a subclass runs the trials.

    Args:
        oracle_arguments: Arguments of the oracle that shows the trials.
        hypermodel: A function ``build_model(hp)`` or a ``HyperModel``.
        directory: Parent folder of the run folder. Default: the current folder.
        project_name: Name of the run folder. Default: ``untitled_project``.
        overwrite: Whether to move an existing run away; otherwise the tuner reloads it.
        tuner_arguments: Further arguments of keras-tuner's tuner.
    """

    def __init__(
        self,
        oracle_arguments: dict[str, Any],
        hypermodel: Any,
        *,
        directory: Any,
        project_name: str | None,
        overwrite: bool,
        **tuner_arguments: Any,
    ) -> None:
        replace_unprintable()  # build may print before the first view is made
        path = Path(os.fspath(directory or ".")) / (project_name or "untitled_project")
        self._project = Project.at(path, overwrites=overwrite)
        oracle = ReportingOracle(**oracle_arguments)
        self._objective = plain_objective(oracle.objective)
        self._history = History(self._objective)
        self._shown_kind = self._history.score_kind
        super().__init__(
            oracle, hypermodel, directory=directory, project_name=project_name, **tuner_arguments
        )
        if overwrite:  # now, as keras-tuner does: files of the user then go into the new folder
            self._project.move_away(View())
        self._project.make_folder()

    @property
    def project_dir(self) -> str:
        """The run folder; it exists."""
        self._project.make_folder()
        return str(self._project.folder.path)

    def _get_tuner_fname(self) -> str:
        # keras-tuner reloads a project if this file exists; otherwise it explores the space.
        if self._project.overwrites:
            return ""
        folder = self._project.folder
        return str(folder.run_file if folder.run_file.exists() else folder.journal_file)

    def load_model(self, trial: kt.engine.trial.Trial) -> keras.Model:
        """Build the model of a trial, with the weights of its best epoch.

        Raises:
            UsageError: The trial reached no score, or has no weights: only the ten best trials
                keep theirs.
        """
        if self._guide is not None:  # in a worker
            return super().load_model(trial)
        number, folder = int(trial.trial_id), self._project.folder
        record = self._history.trials.get(number)
        if record is not None and record.best is None:
            raise _no_model_error(trial.trial_id, record)
        if not folder.best_weights_file(number).exists():
            raise UsageError(
                f"trial {trial.trial_id} has no weights in {str(folder.checkpoints)!r}: only the "
                "ten best trials keep theirs. Request fewer models, or build the model with "
                "tuner.hypermodel.build(trial.hyperparameters) and train it."
            )
        model = self._try_build(trial.hyperparameters)
        load_best_weights(model, folder, number)
        return model

    def save(self) -> None:
        """Save what ``get_state`` returns; the journal records everything else at once.

        Raises:
            UsageError: JSON cannot represent it.
        """
        state = self.get_state()
        if not state:
            return
        try:
            write_json(self._project.folder.tuner_state_file, state)
        except TypeError as error:
            raise UsageError(
                f"{type(self).__name__}.get_state() returned a value that cannot be saved "
                f"({error}): expected a dict of JSON values, such as numbers, texts and lists."
            ) from None

    def reload(self) -> None:
        """Read the trials, their scores and the space from the run folder.

        Raises:
            SearchError: The run cannot be read, or has another objective.
        """
        events = self._project.read_events(self._objective)
        self._populate_initial_space()
        self._history = History(self._objective)
        for event in events:
            self._history.apply(event)
            self._update_oracle(event)
        state_file = self._project.folder.tuner_state_file
        if state_file.exists():
            self.set_state(read_json(state_file))

    def on_trial_end(self, trial: kt.engine.trial.Trial) -> None:
        """Save the state of the tuner; the search has recorded the end of the trial."""
        self.save()

    def _update_oracle(self, event: Event) -> None:
        """Update the oracle with an event that the history has already."""
        kind: str = event["event"]
        if kind == "space_grown":
            self.oracle.update_space(
                mirror.to_hyperparameters(Space.from_json(event["parameters"]))
            )
        trial = self._history.trials.get(event.get("trial", -1))
        if self._history.score_kind is not self._shown_kind:
            self._shown_kind = self._history.score_kind  # it decides what each trial is worth
            for each in self._history.trials.values():
                self.oracle.update_trial_from(each)
        elif trial is not None and kind.startswith("trial_"):
            self.oracle.update_trial_from(trial)

    def _call_hooks(self, event: Event) -> None:
        """Call ``on_trial_begin`` or ``on_trial_end`` for an event."""
        hooks = {"trial_started": self.on_trial_begin, "trial_ended": self.on_trial_end}
        if event["event"] in hooks and event["trial"] in self._history.trials:
            hooks[event["event"]](self.oracle.get_trial(self.oracle.trial_id(event["trial"])))


def _no_model_error(trial_id: str, record: TrialRecord) -> UsageError:
    """Return the error of a trial without a model: it says how the trial ended, and why."""
    reason = f" ({record.error})" if record.error else ""
    error = UsageError(
        f"trial {trial_id} has no model, as it reached no score: {record.ending}{reason}. Request "
        "fewer models, or correct the error and search again."
    )
    if record.traceback:
        error.add_note(record.traceback)
    return error
