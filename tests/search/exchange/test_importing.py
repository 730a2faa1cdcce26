"""A search of another program as a run folder. No Keras, no Ray."""

import json

import optuna
import pyarrow.parquet as pq
import pytest
from made_up_runs import ACCURACY, Notes

from results.record.journal import read
from search.errors import RunFolderError, UsageError
from search.exchange.importing import import_run
from search.session.warm_start import read_earlier_search


@pytest.fixture
def study(tmp_path):
    """An Optuna study of two finished trials, and one that failed."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=url, study_name="one", direction="maximize")
    for units, accuracy in ((3, 0.5), (5, 0.75)):
        distributions = {"units": optuna.distributions.IntDistribution(1, 9)}
        study.add_trial(
            optuna.trial.create_trial(
                params={"units": units}, distributions=distributions, value=accuracy
            )
        )
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    return str(tmp_path / "study.db")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "imported"


def test_the_finished_trials_become_the_rows_of_the_table(study, out):
    folder = import_run(study, ACCURACY, out, Notes())
    trials = pq.read_table(folder.trials_file).to_pylist()
    assert [(row["trial"], row["hp:units"], row["best_objective"]) for row in trials] == [
        (0, 3, 0.5),
        (1, 5, 0.75),
    ]
    assert {row["state"] for row in trials} == {"completed"}
    assert json.loads((out / "best.json").read_text())["value"] == 0.75


def test_the_plan_says_where_the_trials_come_from(study, out):
    folder = import_run(study, ACCURACY, out, Notes())
    plan = json.loads(folder.run_file.read_text())["plan"]
    assert (plan["engine"], plan["algorithm"], plan["trials"]) == ("optuna", "imported", 2)
    problem = plan["problem"]
    assert (problem["data"], problem["space"]) == (f"imported from {study}", "study.db")
    assert problem["hypermodel"] is None
    assert (problem["epochs"], problem["patience"], problem["seed"]) == (1, 0, 0)
    assert (plan["workers"], plan["grace_period"], plan["reduction_factor"]) == (1, 1, 3)
    assert problem["objective"] == {"name": "val_accuracy", "mode": "max", "parts": []}


def test_the_journal_of_an_import_is_that_of_a_search_that_ended(study, out):
    folder = import_run(study, ACCURACY, out, Notes())
    events = read(folder.journal_file).events
    assert [event["event"] for event in events] == [
        "search_started", "trial_started", "trial_ended", "trial_started", "trial_ended", "search_ended",
    ]  # fmt: skip
    assert events[-1]["reason"] == "imported"
    assert {event["at_seconds"] for event in events} == {0.0}


def test_an_import_shows_the_trials_that_it_left_out_and_the_best_value(study, out):
    notes = Notes()
    import_run(study, ACCURACY, out, notes)
    assert notes.lines == [
        "left out: trial 2 (fail)",
        f"{study} (optuna): 2 finished trials, best val_accuracy 0.7500",
    ]


def test_an_imported_run_is_an_earlier_search_itself(study, out):
    import_run(study, ACCURACY, out, Notes())
    earlier, imported = (read_earlier_search(path, ACCURACY) for path in (study, out))
    assert imported.kind == "fmnist-search"
    assert [(t.values, t.score) for t in imported.trials] == [
        (t.values, t.score) for t in earlier.trials
    ]


def test_a_search_that_cannot_be_read_makes_no_folder(tmp_path, out):
    with pytest.raises(UsageError, match="does not exist"):
        import_run(str(tmp_path / "nowhere"), ACCURACY, out, Notes())
    assert not out.exists()


def test_a_folder_that_exists_is_left_as_it_is(study, out):
    out.mkdir()
    (out / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="exists already"):
        import_run(study, ACCURACY, out, Notes())
    assert [path.name for path in out.iterdir()] == ["file"]
