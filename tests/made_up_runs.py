"""Plans and run folders for tests, without a search. Nothing here imports Keras or Ray."""

import json
import zipfile
from itertools import count

from rich.console import Console

from results.record.columns import Decision, State
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import write_tables
from search.plan.plan import Engine, Plan, Problem
from search.session.run_file import describe
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder
from search.view.view import View

ACCURACY = Objective("val_accuracy", "max")
UNITS = Space((Parameter("units", Kind.INT, 8, low=2, high=64, sampling="log"),))
EPOCHS = 9


def make_plan(
    out, *, objective=ACCURACY, epochs=EPOCHS, seed=3, hypermodel="problems:small", **changes
):
    """Return the plan of a small search; ``changes`` are its other fields."""
    problem = Problem(
        hypermodel=hypermodel, data="problems:blobs", data_dir=None, space="small",
        objective=objective, epochs=epochs, patience=0, seed=seed,
    )  # fmt: skip
    fields = {
        "problem": problem, "engine": Engine.RAY, "algorithm": "tpe", "trials": 7, "workers": 2,
        "grace_period": 1, "reduction_factor": 3, "time_budget_seconds": None, "target": None,
        "retrain_epochs": (), "out": out,
    }  # fmt: skip
    return Plan(**fields | changes)


class Notes(View):
    """A view that keeps its lines."""

    def __init__(self):
        super().__init__(Console())
        self.lines = []

    def note(self, text):
        self.lines.append(text)


class RunWriter:
    """Writes a run folder as a search does, an event a second, without training.

    Args:
        path: The folder to make.
        space: The space that run.json describes.
        plan: The plan; None: that of ``make_plan``.
    """

    def __init__(self, path, space=UNITS, plan=None):
        self.folder = RunFolder.create(path)
        plan = plan or make_plan(path)
        self.description = describe(plan, space)
        write_json(self.folder.run_file, self.description)
        self._journal = Journal(self.folder.journal_file)
        seconds = count(10)
        history = History(plan.problem.objective)
        self.recorder = Recorder(
            self._journal, history, clock=lambda: float(next(seconds)), scheduler="asha"
        )
        self.recorder.search_started(run=self.description)

    def trial(self, number, values, reported=(), state=None, **fields):
        """Record a trial and the objective of its epochs; ``state`` None: it still runs."""
        name = self.recorder.history.objective.name
        self.recorder.trial_started(number, values, epochs=EPOCHS)
        for epoch, value in enumerate(reported, start=1):
            report = {"epoch": epoch, "epoch_seconds": 0.5, "metrics": {name: value, "loss": 0.5}}
            self.recorder.epoch(number, report, decision=Decision.CONTINUE, worker="w")
        if state is not None:
            self.recorder.trial_ended(number, state, **fields)

    def close(self):
        """Write the tables, and return the folder."""
        self._journal.close()
        write_tables(self.folder.path, self.recorder.history)
        return self.folder.path


# By the state of a trial: the objective of its epochs.
REPORTED = {
    State.COMPLETED: [0.5, 0.7, 0.6],
    State.EARLY_STOPPED: [0.4, 0.3],
    State.STOPPED: [0.9, 0.8],
    State.INTERRUPTED: [0.2],
    State.DIVERGED: [0.3, None],
    State.FAILED: [],
    State.OUT_OF_MEMORY: [],
    State.LOST: [0.1],
    State.HUNG: [],
    State.RUNNING: [0.1],
}


def write_every_end(path):
    """Write a run with a trial for each state, in the order of ``REPORTED``, from 1.

    The start of trial 0 is lost. The best trial is trial 3, which was stopped.
    """
    writer = RunWriter(path)
    for number, (state, reported) in enumerate(REPORTED.items(), start=1):
        fields = {"error": "ValueError: no"} if state is State.FAILED else {}
        ended = None if state is State.RUNNING else state
        writer.trial(number, {"units": number + 1, "tuner/round": 0}, reported, ended, **fields)
    return writer.close()


def write_final_model(run, evaluation, config=None):
    """Write the final model of a run: the parts of a ``.keras`` file that are read without Keras."""
    final = run / "final"
    final.mkdir(exist_ok=True)
    with zipfile.ZipFile(final / "model.keras", "w") as file:
        file.writestr("metadata.json", json.dumps({"date_saved": "2026-11-01@12:00:00"}))
        file.writestr("config.json", json.dumps(config or {"class_name": "Sequential"}))
    (final / "evaluation.json").write_text(json.dumps(evaluation))
