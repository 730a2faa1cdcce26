"""Makes a run folder from a search by another program."""

from pathlib import Path

from results.record.columns import State
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import write_tables
from search.plan.plan import Engine, Plan, Problem
from search.session.run_file import describe
from search.session.warm_start import EarlierSearch, read_earlier_search
from search.space.parameters import Space
from search.storage.folder import RunFolder, new_run
from search.storage.recorder import Recorder
from search.view.view import View


def import_run(source: str, objective: Objective, out: Path, view: View) -> RunFolder:
    """Make a run folder of an earlier search, for comparison and as a warm start.

    Raises:
        SearchError: The search cannot be read, or ``out`` exists.
    """
    earlier = read_earlier_search(source, objective)
    plan = Plan(
        problem=Problem(
            hypermodel=None,
            data=f"imported from {source}",
            space=Path(source).name,
            objective=objective,
            epochs=1,
            patience=0,
            seed=0,
        ),
        engine=Engine.KERAS_TUNER,
        algorithm="imported",
        trials=len(earlier.trials),
        workers=1,
        grace_period=1,
        reduction_factor=3,
        out=out,
    )
    with new_run(out, view.note) as run:
        return _write_run(run.folder, plan, earlier, view)


def _write_run(folder: RunFolder, plan: Plan, earlier: EarlierSearch, view: View) -> RunFolder:
    objective = plan.problem.objective
    description = describe(plan, Space(()))
    description["plan"] |= {"engine": earlier.kind, "algorithm": plan.algorithm}
    write_json(folder.run_file, description)
    journal = Journal(folder.journal_file)
    recorder = Recorder(journal, History(objective), clock=lambda: 0.0)
    recorder.search_started(run=description)
    for number, trial in enumerate(earlier.trials):
        recorder.trial_started(number, trial.values)
        recorder.trial_ended(
            number,
            State.COMPLETED,
            score=trial.score,
            best_step=0,
            metrics={objective.name: trial.score},
        )
    recorder.search_ended("imported")
    journal.close()
    write_tables(folder.path, recorder.history)
    for line in earlier.left_out:
        view.note(f"left out: {line}")
    best = recorder.history.best_value
    view.note(
        f"{earlier.source} ({earlier.kind}): {len(earlier.trials)} finished trials, best "
        f"{objective.name} {best:.4f}"
    )
    return folder
