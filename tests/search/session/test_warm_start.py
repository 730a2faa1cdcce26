"""Earlier searches: read, fitted to the space of today, learnt from, and imported as a run."""

import json
import shutil

import keras
import keras_tuner as kt
import optuna
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from results.record.history import Objective
from search.algorithms.drawing import RandomSearcher
from search.algorithms.tpe import TPESearcher
from search.errors import RunFolderError, UsageError
from search.exchange.importing import import_run
from search.session.warm_start import EarlierSearch, EarlierTrial, fit_to_space, read_earlier_search
from search.space import mirror
from search.space.parameters import fingerprint
from search.view.view import SilentView

ACCURACY = Objective("val_accuracy", "max")
VIEW = SilentView(Console())


class Scored(kt.HyperModel):
    """Returns a score that follows from its values, without training."""

    def build(self, hp):
        hp.Int("units", 2, 16)
        hp.Choice("momentum", [0.5, 0.9])
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        if hp.get("units") > 14:
            raise ValueError("too many")
        return {"val_accuracy": hp.get("units") / 100, "val_loss": 1.0}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project as keras-tuner itself leaves it: six trials, some failed."""
    folder = tmp_path_factory.mktemp("theirs")
    tuner = kt.RandomSearch(
        Scored(), "val_accuracy", max_trials=6, seed=3, directory=folder, project_name="p",
        max_consecutive_failed_trials=6,
    )  # fmt: skip
    tuner.search(verbose=0)
    return folder / "p", tuner


def test_a_keras_tuner_project_is_read(project):
    path, tuner = project
    earlier = read_earlier_search(path, ACCURACY)
    completed = {t.trial_id: t for t in tuner.oracle.trials.values() if t.status == "COMPLETED"}
    assert earlier.kind == "keras-tuner"
    assert {t.name: (t.values, t.score) for t in earlier.trials} == {
        name: (trial.hyperparameters.values, trial.score) for name, trial in completed.items()
    }
    assert len(earlier.left_out) == 6 - len(completed) > 0
    assert all("(failed)" in line for line in earlier.left_out)


def test_a_project_with_cut_files_gives_what_is_whole(project, tmp_path):
    copy = shutil.copytree(project[0], tmp_path / "cut")
    (copy / "oracle.json").write_text('{"ongoing')
    first = read_earlier_search(copy, ACCURACY).trials[0]
    with (copy / f"trial_{first.name}" / "trial.json").open("r+") as file:
        file.truncate(90)
    earlier = read_earlier_search(copy, ACCURACY)
    assert first not in earlier.trials
    assert any(f"trial {first.name} (its file is damaged" in line for line in earlier.left_out)


def studies(storage, *names):
    for name in names:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        for units in (3, 5):
            distributions = {"units": optuna.distributions.IntDistribution(1, 9)}
            study.add_trial(
                optuna.create_trial(
                    params={"units": units}, distributions=distributions, value=units / 10
                )
            )
        study.ask()  # a trial that is still running


def test_an_optuna_study_is_read_from_either_kind_of_file(tmp_path):
    sqlite, journal = tmp_path / "study.db", tmp_path / "study.log"
    studies(f"sqlite:///{sqlite}", "one")
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    studies(optuna.storages.JournalStorage(backend), "one", "two")
    for source in (sqlite, f"sqlite:///{sqlite}", f"{journal}::two"):
        earlier = read_earlier_search(source, ACCURACY)
        assert [(t.values, t.score) for t in earlier.trials] == [
            ({"units": 3}, 0.3),
            ({"units": 5}, 0.5),
        ]
        assert earlier.left_out == ("trial 2 (running)",)
    with pytest.raises(UsageError, match=r"holds these studies: one, two\. Name one of them as"):
        read_earlier_search(journal, ACCURACY)
    with pytest.raises(UsageError, match=r"has the direction max, but val_loss has min"):
        read_earlier_search(sqlite, Objective("val_loss", "min"))


def test_a_study_of_several_objectives_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, directions=["maximize", "minimize"])
    with pytest.raises(
        UsageError, match=r"has the direction max and min, but val_accuracy has max"
    ):
        read_earlier_search(url, ACCURACY)


@pytest.mark.parametrize("content", [b"", b"not a study", b"SQLite format 3\x00 and no more", None])
def test_what_is_no_earlier_search_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "something"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"expected|holds"):
        read_earlier_search(path, ACCURACY)
    assert content is None or path.read_bytes() == content


def test_an_objective_that_was_not_reported_is_named(project):
    with pytest.raises(UsageError, match=r"no finished trial with val_auc: .*not val_auc"):
        read_earlier_search(project[0], Objective("val_auc", "max"))


def test_trials_are_fitted_to_the_space_of_today():
    hp = kt.HyperParameters()
    hp.Int("units", 2, 10, step=2, default=4)
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    space = mirror.mirror_space(hp.space)
    rows = [
        {"units": 6, "kind": "a"},
        {"units": 6, "kind": "b", "momentum": 0.5, "rate": 0.05},
        {"kind": "b"},
        {"units": 12, "kind": "a"},
        {"units": 5, "kind": "a"},
        {"units": 4, "kind": "c"},
        {"units": "many", "kind": "a"},
        {"units": None, "kind": "a"},
    ]
    trials = tuple(EarlierTrial(str(n), values, 0.5) for n, values in enumerate(rows))
    fitting, notes = fit_to_space(EarlierSearch("old", "keras-tuner", trials, ()), space)
    assert [trial.values for trial in fitting] == [
        {"units": 6, "kind": "a"},
        {"units": 6, "kind": "b", "rate": 0.05},
        {"units": 4, "kind": "b", "rate": 0.01},
    ]
    assert notes == [
        "old: parameters unknown to this space are left out: 'momentum'",
        "old, trial 3 is left out: units=12, expected 2 to 10",
        "old, trial 4 is left out: units=5 is off its grid (step 2)",
        "old, trial 5 is left out: kind='c', expected one of ('a', 'b')",
        "old, trial 6 is left out: units='many', expected 2 to 10",
        "old, trial 7 is left out: units=None, expected 2 to 10",
    ]


def test_trials_of_hyperbands_early_rounds_have_not_finished(tmp_path):
    for name, epochs in (("0", 2), ("1", 2), ("2", 6)):
        (tmp_path / f"trial_{name}").mkdir()
        observations = [{"value": [0.1, 0.9], "step": 0}]
        state = {
            "hyperparameters": {"values": {"units": 3, "tuner/epochs": epochs}},
            "status": "COMPLETED",
            "metrics": {
                "metrics": {"val_accuracy": {"direction": "max", "observations": observations}}
            },
        }
        (tmp_path / f"trial_{name}" / "trial.json").write_text(json.dumps(state))
    earlier = read_earlier_search(tmp_path, ACCURACY)
    assert [(t.name, t.values, t.score) for t in earlier.trials] == [("2", {"units": 3}, 0.5)]
    assert earlier.left_out == ("trial 0 (2 epochs only)", "trial 1 (2 epochs only)")


def test_a_url_without_a_file_makes_none(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_earlier_search(f"sqlite:///{tmp_path / 'typo.db'}", ACCURACY)
    assert list(tmp_path.iterdir()) == []


def earlier_trial(values, score):
    return {
        "event": "earlier_trial",
        "at_seconds": 0,
        "values": values,
        "score": score,
        "source": "x",
    }


def test_random_search_does_not_try_again_what_is_known():
    hp = kt.HyperParameters()
    hp.Int("units", 1, 4)
    searcher = RandomSearcher(mirror.mirror_space(hp.space), seed=1)
    for units in (2, 3):
        searcher.observe(earlier_trial({"units": units}, 0.5))
    proposed = [searcher.propose(trial) for trial in range(3)]
    assert proposed == [{"units": 1}, {"units": 4}, None]


def test_tpe_learns_from_what_is_known():
    hp = kt.HyperParameters()
    hp.Float("x", 0, 1, default=0.9)
    hp.Choice("kind", ["a", "b"])
    searcher = TPESearcher(mirror.mirror_space(hp.space), seed=1, objective=Objective("v", "min"))
    for number in range(40):
        x = number / 40
        searcher.observe(earlier_trial({"x": x, "kind": "ab"[number % 2]}, abs(x - 0.2)))
    assert len(searcher.study.trials) == 40
    drawn = [searcher.propose(trial)["x"] for trial in range(1, 31)]
    # Uniform draws would come within 0.2 in 40 % of the cases: 22 or more of 30 with p < 1e-3.
    assert sum(abs(x - 0.2) < 0.2 for x in drawn) >= 22
    assert len({fingerprint({"x": x}) for x in drawn}) == 30


def test_an_earlier_search_is_imported_as_a_run_and_read_again(project, tmp_path):
    out = tmp_path / "imported"
    folder = import_run(str(project[0]), ACCURACY, out, VIEW)
    trials = pq.read_table(folder.trials_file).to_pylist()
    earlier = read_earlier_search(project[0], ACCURACY)
    assert [trial["best_objective"] for trial in trials] == [
        trial.score for trial in earlier.trials
    ]
    assert [trial["hp:units"] for trial in trials] == [
        trial.values["units"] for trial in earlier.trials
    ]
    assert json.loads(folder.run_file.read_text())["plan"]["engine"] == "keras-tuner"
    again = read_earlier_search(out, ACCURACY)
    assert [(t.values, t.score) for t in again.trials] == [
        (t.values, t.score) for t in earlier.trials
    ]
    with pytest.raises(
        UsageError, match=r"was searched for val_accuracy \(max\), not for val_loss"
    ):
        read_earlier_search(out, Objective("val_loss", "min"))
    with pytest.raises(RunFolderError, match="exists already"):
        import_run(str(project[0]), ACCURACY, out, VIEW)
