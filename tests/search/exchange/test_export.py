"""What other tools take of a run: each file is opened by the tool that it is for."""

import importlib.util
import json
import math
import shutil
import subprocess
import sys
import tempfile
import warnings
from itertools import count
from pathlib import Path

import keras
import keras_tuner as kt
import optuna
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console

from results.record.columns import Decision, Ending, State
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal, read
from results.record.tables import write_tables
from search.algorithms.drawing import RandomSearcher
from search.errors import RunFolderError, SearchError, UsageError
from search.exchange.export import Part, export_run
from search.exchange.importing import import_run
from search.exchange.optuna_study import datetime_converter, domain, frozen_trials
from search.plan.plan import Engine, Plan, Problem
from search.plan.registry import Algorithm
from search.plan.task import NamedObject
from search.session.run_file import describe, read_run
from search.session.warm_start import read_earlier_search
from search.space import mirror
from search.space.parameters import Space
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder
from search.view.view import View
from search.worker import process
from search.worker.data import load_data

LAW = importlib.util.spec_from_file_location(
    "law", Path(__file__).parents[1] / "space" / "test_law.py"
)
law = importlib.util.module_from_spec(LAW)
LAW.loader.exec_module(law)

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
ACCURACY = Objective("val_accuracy", "max")


class Heard(View):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(Console())
        self.said = []

    def note(self, text):
        self.said.append(text)


def plan_of(objective, out, hypermodel="problems:small"):
    return Plan(
        problem=Problem(
            hypermodel=hypermodel, data="problems:blobs", data_dir=None, space="made up",
            objective=objective, epochs=9, patience=0, seed=0,
        ),
        engine=Engine.RAY, algorithm=Algorithm.TPE, trials=9, workers=1, grace_period=1,
        reduction_factor=3, time_budget_seconds=None, target=None, retrain_epochs=(), out=out,
    )  # fmt: skip


class Making:
    """Writes a run folder as a search does, an event a second, without training."""

    def __init__(self, path, space, objective=ACCURACY):
        self.folder = RunFolder.create(path)
        self.content = describe(plan_of(objective, path), space)
        write_json(self.folder.run_file, self.content)
        self._journal = Journal(self.folder.journal_file)
        seconds = count(10)
        self.recorder = Recorder(
            self._journal, History(objective), clock=lambda: float(next(seconds)), scheduler="asha"
        )
        self.recorder.search_started(run=self.content)

    def trial(self, number, values, reported=(), state=None, **fields):
        """Record a trial; ``state`` None: it still runs."""
        name = self.recorder.history.objective.name
        self.recorder.trial_started(number, values, epochs=9)
        for epoch, value in enumerate(reported, start=1):
            report = {"epoch": epoch, "epoch_seconds": 0.5, "metrics": {name: value, "loss": 0.5}}
            self.recorder.epoch(number, report, decision=Decision.CONTINUE, worker="w")
        if state is not None:
            self.recorder.trial_ended(number, state, **fields)

    def done(self):
        self._journal.close()
        write_tables(self.folder.path, self.recorder.history)
        return self.folder.path


def exported(run, out, *only):
    """Export, and return what was said."""
    view = Heard()
    export_run(run, out, view, only=only)
    return view.said


def hyperparameters(folder):
    """As the line that the command prints says it."""
    config = json.loads((folder / "hyperparameters.json").read_text())
    return kt.HyperParameters.from_config(config)


def study(folder, name):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'study.db'}")


def typed(values):
    return {name: (type(value), value) for name, value in values.items()}


# --- The way back to keras-tuner -----------------------------------------------------------------


@given(law.programs(), st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_keras_tuner_reads_back_the_space_and_the_values_of_the_best_trial(program, seed):
    original = kt.HyperParameters()
    law.run(program, original)
    if not law.is_sound(original):
        return
    space = mirror.mirror_space(original.space)
    original.values = RandomSearcher(space, seed=seed)._draw(1, 0)
    with tempfile.TemporaryDirectory() as scratch:
        making = Making(Path(scratch) / "run", space)
        making.trial(0, original.values, [0.5], State.COMPLETED)
        exported(making.done(), Path(scratch) / "out", Part.HYPERPARAMETERS)
        back = hyperparameters(Path(scratch) / "out")
    assert typed(back.values) == typed(original.values)
    assert law.configs(back) == law.configs(original)
    for mine, theirs in zip(back.space, original.space, strict=True):
        assert type(mine) is type(theirs)
        assert (type(mine.default), mine.default) == (type(theirs.default), theirs.default)
        assert back.is_active(mine) == original.is_active(theirs)
    known = len(back.space)
    assert law.run(program, back) == law.run(program, original)
    assert len(back.space) == known
    assert typed(back.values) == typed(original.values)


@pytest.mark.parametrize(
    "reference",
    ["fmnist_model.mlp:published", "fmnist_model.mlp:Wide", "problems:in_scopes"],
)
def test_a_builder_builds_the_best_model_and_registers_nothing_new(tmp_path, reference):
    hypermodel = process.load_hypermodel(NamedObject(reference))
    space = mirror.discover_space(hypermodel)
    making = Making(tmp_path / "run", space)
    for trial in (1, 2, 3):
        drawn = RandomSearcher(space, seed=4)._draw(trial, 0)
        making.trial(trial, drawn, [trial / 10], State.COMPLETED)
    exported(making.done(), tmp_path / "out", Part.HYPERPARAMETERS)
    hp = hyperparameters(tmp_path / "out")
    assert hp.values == drawn
    declared_by_it = mirror.prepare_hyperparameters(hypermodel, {})
    hypermodel.build(declared_by_it)
    known = law.configs(hp)
    assert known == law.configs(declared_by_it)
    assert law.built(hypermodel, hp) == law.built(
        hypermodel, mirror.prepare_hyperparameters(hypermodel, drawn)
    )
    assert law.configs(hp) == known
    assert hp.values == drawn


def test_scopes_within_scopes_and_declared_defaults_are_in_the_config(tmp_path):
    def declare(hp):
        law.nested(hp)
        with hp.conditional_scope("kind", ["b", "c"]), hp.conditional_scope("deep", [True]):
            hp.Float("share", 0.1, 0.9, step=0.2, default=0.5)
            hp.Boolean("wide", default=True)
            hp.Choice("order", [3, 1, 2], default=1, ordered=False)

    values = {"kind": "b", "deep": False, "head/size": 4}
    original = kt.HyperParameters()
    original.values = {"kind": "c"}
    declare(original)
    original.values = dict(values)
    making = Making(tmp_path / "run", mirror.mirror_space(original.space))
    making.trial(0, values, [0.5], State.COMPLETED)
    exported(making.done(), tmp_path / "out", Part.HYPERPARAMETERS)
    back = hyperparameters(tmp_path / "out")
    assert law.configs(back) == law.configs(original)
    active = {one.name for one in back.space if back.is_active(one)}
    assert active == {one.name for one in original.space if original.is_active(one)}
    assert active == {"kind", "deep", "head/size"}
    declare(back)
    assert law.configs(back) == law.configs(original)
    assert back.values == values


def test_parameters_that_a_trial_was_the_first_to_ask_for_are_in_the_config(tmp_path):
    hypermodel = process.load_hypermodel(NamedObject("problems:growing"))
    space = mirror.discover_space(hypermodel)
    deep = mirror.prepare_hyperparameters(hypermodel, {"layers": 3})
    hypermodel.build(deep)
    values, news = dict(deep.values), space.unknown_parameters(mirror.mirror_space(deep.space))
    assert {one.name for one in news} == {"units_1", "units_2"}
    making = Making(tmp_path / "run", space)
    making.recorder.space_grown(news.to_json())
    making.trial(0, values, [0.5], State.COMPLETED)
    exported(making.done(), tmp_path / "out", Part.HYPERPARAMETERS)
    hp = hyperparameters(tmp_path / "out")
    assert {one.name for one in hp.space} == {one.name for one in deep.space}
    known = len(hp.space)
    hypermodel.build(hp)
    assert (len(hp.space), hp.values) == (known, values)


# --- The Optuna study ----------------------------------------------------------------------------


def declared(declare):
    hp = kt.HyperParameters()
    declare(hp)
    [parameter] = mirror.mirror_space(hp.space)
    return parameter


@pytest.mark.parametrize(
    ("declare", "tried", "expected"),
    [
        pytest.param(lambda hp: hp.Int("x", 2, 9), [2, 9], IntDistribution(2, 9), id="int"),
        pytest.param(
            lambda hp: hp.Int("x", 2, 9, step=3), [8], IntDistribution(2, 8, step=3), id="int-step"
        ),
        pytest.param(
            lambda hp: hp.Int("x", 64, 1024, sampling="log"), [64, 1024],
            IntDistribution(64, 1024, log=True), id="int-log",
        ),
        pytest.param(
            lambda hp: hp.Int("x", 2, 20, step=2, sampling="log"), [4],
            CategoricalDistribution([2, 4, 8, 16]), id="int-log-steps-are-listed",
        ),
        pytest.param(
            lambda hp: hp.Int("x", 2, 20, sampling="reverse_log"), [20],
            IntDistribution(2, 20), id="int-reverse-log-is-linear",
        ),
        pytest.param(
            lambda hp: hp.Float("x", 0.5, 2), [0.5], FloatDistribution(0.5, 2), id="float"
        ),
        pytest.param(
            lambda hp: hp.Float("x", 1e-4, 1e-2, sampling="log"), [1e-3],
            FloatDistribution(1e-4, 1e-2, log=True), id="float-log",
        ),
        pytest.param(
            lambda hp: hp.Float("x", 0, 1, step=0.25), [0.75],
            FloatDistribution(0, 1, step=0.25), id="float-step",
        ),
        pytest.param(
            lambda hp: hp.Float("x", 0, 0.7, step=0.1), [0.6000000000000001],
            CategoricalDistribution([step * 0.1 for step in range(7)]),
            id="float-steps-that-add-up-to-a-little-more-are-listed",
        ),
        pytest.param(
            lambda hp: hp.Float("x", 1, 2, step=1.001, sampling="reverse_log"), [1.5],
            FloatDistribution(1, 2), id="too-many-to-list",
        ),
        pytest.param(
            lambda hp: hp.Choice("x", ["a", "b"]), ["b"], CategoricalDistribution(["a", "b"]),
            id="choice",
        ),
        pytest.param(
            lambda hp: hp.Boolean("x"), [True], CategoricalDistribution([False, True]), id="boolean"
        ),
        pytest.param(lambda hp: hp.Fixed("x", 7), [7], CategoricalDistribution([7]), id="fixed"),
        pytest.param(
            lambda hp: hp.Int("x", 2, 9, step=3, default=4), [4, 5], IntDistribution(2, 9),
            id="a-default-off-the-grid-makes-it-wider",
        ),
        pytest.param(
            lambda hp: hp.Float("x", 1e-3, 1e-2, sampling="log"), [1e-4],
            FloatDistribution(1e-4, 1e-2, log=True), id="a-value-of-an-earlier-space-too",
        ),
        pytest.param(
            lambda hp: hp.Choice("x", ["a", "b"]), ["c"], CategoricalDistribution(["a", "b", "c"]),
            id="a-choice-of-an-earlier-space-too",
        ),
    ],
)  # fmt: skip
def test_a_parameter_has_the_domain_that_it_has_in_optunas_words(declare, tried, expected):
    found = domain(declared(declare), tried)
    assert found == expected
    assert all(found._contains(found.to_internal_repr(value)) for value in tried)


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([3, 1], IntDistribution(1, 3)),
        ([0.5, 2], FloatDistribution(0.5, 2)),
        (["b", 1, "b"], CategoricalDistribution(["b", 1])),
        ([True], CategoricalDistribution([True])),
    ],
)
def test_a_parameter_of_no_known_space_spans_what_was_tried(tried, expected):
    assert domain(None, tried) == expected


@given(law.programs(), st.integers(0, 2**20))
@settings(max_examples=100, deadline=None)
def test_every_value_that_can_be_drawn_stands_in_the_study_as_it_is(program, seed):
    hp = kt.HyperParameters()
    law.run(program, hp)
    if not law.is_sound(hp):
        return
    space = mirror.mirror_space(hp.space)
    history = History(ACCURACY)
    drawn = [space.defaults(), *(RandomSearcher(space, seed=seed)._draw(n, 0) for n in range(1, 4))]
    for number, values in enumerate(drawn):
        started = {"event": "trial_started", "at_seconds": 0.0, "trial": number, "values": values}
        history.apply(started)
    now = datetime_converter({"started_at": "2026-01-01T00:00:00+00:00"}, [])
    for trial, values in zip(frozen_trials(history, space, now), drawn, strict=True):
        trial._validate()
        stored = {
            name: one.to_external_repr(one.to_internal_repr(trial.params[name]))
            for name, one in trial.distributions.items()
        }
        assert stored == values


def test_one_name_in_two_scopes_has_two_names_in_the_study(tmp_path):
    hp = kt.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    for kind, values in (("a", ["x", "y"]), ("b", ["x", "z"])):
        with hp.conditional_scope("kind", [kind]):
            hp.Choice("size", values)
    making = Making(tmp_path / "run", mirror.mirror_space(hp.space))
    making.trial(0, {"kind": "a", "size": "y"}, [0.5], State.COMPLETED)
    making.trial(1, {"kind": "b", "size": "z"}, [0.6], State.COMPLETED)
    exported(making.done(), tmp_path / "out", Part.STUDY)
    assert [trial.params for trial in study(tmp_path / "out", "run").trials] == [
        {"kind": "a", "size [kind in ['a']]": "y"},
        {"kind": "b", "size [kind in ['b']]": "z"},
    ]


SPACE = Space.from_json(
    [
        {"name": "units", "kind": "Int", "default": 8, "conditions": [], "choices": [], "low": 2,
         "high": 64, "step": None, "sampling": "log"},
    ]
)  # fmt: skip
# By the end of a trial: what it reported, and Optuna's state and value.
ENDS = {
    State.COMPLETED: ([0.5, 0.7, 0.6], "COMPLETE", 0.7),
    State.EARLY_STOPPED: ([0.4, 0.3], "COMPLETE", 0.4),
    State.STOPPED: ([0.9, 0.8], "PRUNED", 0.9),
    State.INTERRUPTED: ([0.2], "PRUNED", 0.2),
    State.DIVERGED: ([0.3, None], "FAIL", None),
    State.FAILED: ([], "FAIL", None),
    State.OUT_OF_MEMORY: ([], "FAIL", None),
    State.LOST: ([0.1], "FAIL", None),
    State.HUNG: ([], "FAIL", None),
    State.RUNNING: ([0.1], "RUNNING", None),
}


@pytest.fixture
def every_end(tmp_path):
    """A run with a trial for each way to end, and a number of which the start was lost."""
    making = Making(tmp_path / "odd {name}?", SPACE)
    for number, (state, (reported, _, _)) in enumerate(ENDS.items(), start=1):
        told = {"error": "ValueError: no"} if state is State.FAILED else {}
        ended = None if state is State.RUNNING else state
        making.trial(number, {"units": number + 1, "tuner/round": 0}, reported, ended, **told)
    return making.done()


def test_each_trial_ends_in_optunas_terms_as_it_did(every_end, tmp_path):
    out = tmp_path / "taken % {of} it"
    exported(every_end, out, Part.STUDY)
    shutil.copy(out / "study.db", tmp_path / "study.db")  # Optuna's own URLs know no such path
    found = study(tmp_path, "odd {name}?")
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    assert len(found.trials) == len(ENDS)
    for trial, (state, (reported, theirs, value)) in zip(found.trials, ENDS.items(), strict=True):
        assert (trial.state.name, trial.value) == (theirs, value), state
        scheduler = "asha" if state is State.STOPPED else None
        assert trial.user_attrs["ended"] == str(Ending(state, scheduler))
        assert trial.user_attrs["trial"] == trial.number + 1 == trial.params["units"] - 1
        assert trial.user_attrs["tuner/round"] == 0
        numbers = [math.nan if one is None else one for one in reported]
        assert trial.intermediate_values == pytest.approx(
            dict(enumerate(numbers, start=1)), rel=0, abs=0, nan_ok=True
        )
        assert (trial.datetime_complete is None) == (state is State.RUNNING)
    assert found.trials[5].user_attrs["error"] == "ValueError: no"
    # The best of all was stopped; Optuna looks at the complete ones.
    assert found.best_trial.user_attrs["trial"] == 1
    assert found.user_attrs["best_trial"] == 3


def test_times_are_those_of_the_clock_on_the_wall(tmp_path):
    making = Making(tmp_path / "run", SPACE)
    making.trial(0, {"units": 3}, [0.5, 0.6], State.COMPLETED)
    late = dict(making.content, resumed=[{"started_at": "2030-01-01T00:00:00+00:00"}])
    making.recorder.search_resumed(run=late)
    making.trial(1, {"units": 4}, [0.5], State.COMPLETED)
    exported(making.done(), tmp_path / "out", Part.STUDY)
    first, second = study(tmp_path / "out", "run").trials
    # An event a second: start, two epochs, end; then the search goes on, some years later.
    assert (first.datetime_complete - first.datetime_start).total_seconds() == 3
    assert second.datetime_start.timestamp() == 1893456000 + 1
    assert (second.datetime_complete - second.datetime_start).total_seconds() == 2


def test_a_repeated_training_counts_in_the_value_and_not_among_the_epochs(tmp_path):
    making = Making(tmp_path / "run", SPACE)
    making.trial(0, {"units": 3}, [0.5])
    again = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": 0.7}, "execution": 1}
    making.recorder.epoch(0, again, decision=Decision.CONTINUE, worker="w")
    making.recorder.trial_ended(0, State.COMPLETED, score=0.6, best_step=0, metrics={})
    exported(making.done(), tmp_path / "out", Part.STUDY)
    [trial] = study(tmp_path / "out", "run").trials
    assert (trial.value, trial.intermediate_values) == (0.6, {1: 0.5})


def test_what_is_to_be_small_is_minimized(tmp_path):
    making = Making(tmp_path / "run", SPACE, Objective("val_loss", "min"))
    making.trial(0, {"units": 3}, [0.5, 0.4, 0.6], State.COMPLETED)
    making.trial(1, {"units": 5}, [0.7], State.COMPLETED)
    exported(making.done(), tmp_path / "out")
    found = study(tmp_path / "out", "run")
    assert (found.best_trial.number, found.best_value) == (0, 0.4)


def test_the_study_is_an_earlier_search_like_the_run_itself(every_end, tmp_path):
    exported(every_end, tmp_path / "out", Part.STUDY)
    theirs = read_earlier_search(tmp_path / "out" / "study.db", ACCURACY)
    assert [(trial.values, trial.score) for trial in theirs.trials] == [
        ({"units": 2}, 0.7),
        ({"units": 3}, 0.4),
    ]


# --- The whole folder, and what is refused -------------------------------------------------------


def test_an_imported_run_has_no_space_and_is_exported_all_the_same(every_end, tmp_path):
    imported = import_run(str(every_end), ACCURACY, tmp_path / "imported", Heard()).path
    said = exported(imported, tmp_path / "out")
    assert said[0].endswith("nothing was retrained, so there is no model.")
    assert hyperparameters(tmp_path / "out").values == {"units": 2}
    params = [trial.params for trial in study(tmp_path / "out", "imported").trials]
    assert params == [{"units": 2}, {"units": 3}]


def test_a_run_that_was_cut_off_gives_what_there_is(tmp_path):
    run = shutil.copytree(ASSETS / "cut-off", tmp_path / "run")
    said = exported(run, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "best.json",
        "hyperparameters.json",
        "study.db",
    ]
    assert "nothing was retrained, so there is no model: `fmnist-search retrain" in said[0]
    assert [line.split(": ")[0] for line in said[1:]] == [
        str(tmp_path / "out" / name) for name in ("best.json", "hyperparameters.json", "study.db")
    ]
    found = study(tmp_path / "out", "run")
    assert [trial.state.name for trial in found.trials] == ["RUNNING", "RUNNING"]


def test_only_what_was_asked_for_is_written(every_end, tmp_path):
    (tmp_path / "out").mkdir()  # an empty folder may stand there
    exported(every_end, tmp_path / "out", Part.BEST)
    [best] = (tmp_path / "out").iterdir()
    assert json.loads(best.read_text()) == json.loads((every_end / "best.json").read_text())
    with pytest.raises(UsageError, match="nothing was retrained, so there is no model"):
        exported(every_end, tmp_path / "other", Part.MODEL)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_holds_files_is_refused_and_left_as_it_is(every_end, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(file, folder / "file")
    for taken in (file, folder):
        with pytest.raises(RunFolderError, match=r"--out .* exists already: expected a new or an"):
            exported(every_end, taken)
    assert [path.read_text() for path in (file, folder / "file")] == ["mine", "mine"]
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_run_without_a_value_and_a_folder_that_is_no_run_are_refused(tmp_path):
    making = Making(tmp_path / "run", SPACE)
    making.trial(0, {"units": 3})
    with pytest.raises(UsageError, match=r"no trial has reported val_accuracy yet.*no best"):
        exported(making.done(), tmp_path / "out")
    with pytest.raises(RunFolderError, match=r"does not exist: expected a folder with run\.json"):
        exported(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["model", "evaluation", "retrained by another program"])
def test_a_final_model_that_is_damaged_leaves_nothing_half_written(every_end, tmp_path, what):
    final = every_end / "final"
    final.mkdir()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(final / "model.keras")
    (final / "evaluation.json").write_text('{"epochs": 1}')
    if what == "model":
        (final / "model.keras").write_bytes(b"PK")
    elif what == "evaluation":
        (final / "evaluation.json").write_text('{"epochs":')
    with pytest.raises(SearchError, match=r"evaluation.json cannot be read|cannot be described"):
        exported(every_end, tmp_path / "taken" / "out")
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_damaged_run_file_is_made_up_for_by_the_journal(every_end, tmp_path):
    (every_end / "run.json").write_text("{")
    exported(every_end, tmp_path / "out", Part.HYPERPARAMETERS)
    assert [one.name for one in hyperparameters(tmp_path / "out").space] == ["units"]


CONFIRMED = {"confirmed_seeds": [1, 2], "retrain_epochs": [2]}


def squared(true, predicted):
    return keras.ops.square(true - predicted)


def test_the_card_of_another_model_says_what_keras_does_not_know(every_end, tmp_path):
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Dense(1)])
    model.compile("sgd", squared)
    final = every_end / "final"
    final.mkdir()
    model.save(final / "model.keras")
    evaluation = {"test_mse": 0.25, "epochs": 2, "seed": 0, "trial": 1, "values": {"a|b": 0.015}}
    (final / "evaluation.json").write_text(json.dumps(evaluation))
    said = exported(every_end, tmp_path / "out", Part.MODEL)
    assert "the model is of trial 1, but the best is now trial 3" in said[-1]
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "| test mse | 0.2500 |" in card
    assert r"| a\|b | 0.015 |" in card
    assert "an array of shape (n, 4, 2)" in card
    assert "It uses custom objects: `squared`." in card
    assert "classes" not in card.lower()
    assert "earlier final model" not in card
    # The same model, had it won a confirmation that was not recorded to its end.
    (final / "evaluation.json").write_text(json.dumps(evaluation | CONFIRMED))
    said = exported(every_end, tmp_path / "confirmed", Part.MODEL)
    assert said[-1] == (
        "the model is of trial 1, which won the confirmation; the best of the search is trial 3"
    )
    assert "retrain RUN" not in (tmp_path / "confirmed" / "MODEL_CARD.md").read_text()


# --- A real run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken(real_run, commands, tmp_path_factory):
    """A real run as the command exports it, and what it printed."""
    out = tmp_path_factory.mktemp("exported") / "taken"
    done = subprocess.run(
        [commands / "fmnist-search", "export", real_run[0], "--out", out],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return real_run[0], out, done.stdout.splitlines()


def test_the_command_prints_a_line_for_each_file(taken):
    _, out, lines = taken
    names = ["best.json", "hyperparameters.json", "study.db", "model.keras", "MODEL_CARD.md"]
    assert [line.split(": ")[0] for line in lines] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert list(out.parent.iterdir()) == [out]


def test_the_lines_that_are_printed_work(taken):
    run, out, lines = taken
    _, config, stored, model, _ = (line.split(": ", 1)[1] for line in lines)
    best = json.loads((run / "best.json").read_text())
    assert json.loads((out / "best.json").read_text()) == best
    names = {"keras_tuner": kt, "keras": keras, "json": json, "optuna": optuna}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the line leaves its file open
        hp = eval(config.split("hp = ")[1], names)
    assert hp.values == best["values"]
    assert eval(stored.split(": ", 1)[1], names).user_attrs["best_trial"] == best["trial"]
    assert eval(model.split(": ", 1)[1], names).count_params() > 0


def test_the_study_of_a_real_run_equals_its_tables(taken):
    run, out, _ = taken
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    epochs = pq.read_table(run / "epochs.parquet").to_pylist()
    found = study(out, run.name)
    states = {State.COMPLETED: "COMPLETE", State.STOPPED: "PRUNED"}
    assert len(found.trials) == len(trials) == 6
    for theirs, row in zip(found.trials, trials, strict=True):
        assert theirs.number == theirs.user_attrs["trial"] == row["trial"]
        assert theirs.state.name == states[row["state"]]
        assert theirs.user_attrs["ended"] == str(Ending.read(row["state"], row["scheduler"]))
        assert (theirs.value, theirs.user_attrs["best_epoch"]) == (
            row["best_objective"],
            row["best_epoch"],
        )
        mine = [one for one in epochs if one["trial"] == row["trial"]]
        assert theirs.intermediate_values == {one["epoch"]: one["objective"] for one in mine}
        values = {name[3:]: value for name, value in row.items() if name.startswith("hp:")}
        assert theirs.params == {name: one for name, one in values.items() if one is not None}
        lasted = (theirs.datetime_complete - theirs.datetime_start).total_seconds()
        assert lasted == pytest.approx(row["ended_seconds"] - row["started_seconds"], abs=0.002)
    complete = [row for row in trials if row["state"] == State.COMPLETED]
    assert found.best_value == max(row["best_objective"] for row in complete)


def test_optuna_draws_its_pictures_of_a_real_run(taken):
    run, out, _ = taken
    found = study(out, run.name)
    timeline = optuna.visualization.plot_timeline(found)
    assert sum(len(bar.y) for bar in timeline.data) == 6
    curves = optuna.visualization.plot_intermediate_values(found)
    assert len(curves.data) == 6
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of so few trials that they are few
        importances = optuna.importance.get_param_importances(found, evaluator=evaluator)
    assert {"neurons", "dropout"} <= set(importances)


def test_keras_loads_the_model_of_a_real_run_and_it_scores_what_is_recorded(taken):
    run, out, _ = taken
    recorded = json.loads((run / "final" / "evaluation.json").read_text())
    data = load_data(read_run(RunFolder.open(run)).problem, needs_test=True)
    model = keras.models.load_model(out / "model.keras")
    scores = model.evaluate(*data.test, batch_size=512, verbose=0, return_dict=True)
    # Two pictures of 10,000: another number of threads adds up in another order.
    assert scores["accuracy"] == pytest.approx(recorded["test_accuracy"], abs=2e-4)
    assert scores["loss"] == pytest.approx(recorded["test_loss"], abs=1e-4)


def test_the_card_of_a_real_run_states_what_is_recorded(taken):
    run, out, _ = taken
    card = (out / "MODEL_CARD.md").read_text()
    recorded = json.loads((run / "final" / "evaluation.json").read_text())
    asked = json.loads((run / "run.json").read_text())
    for name in ("test_accuracy", "precision_macro", "recall_macro", "validation_accuracy"):
        assert f" | {recorded[name]:.4f} |" in card
    for row in recorded["per_class"]:
        assert f"| {row['name']} | {row['precision']:.4f} | {row['recall']:.4f} |" in card
    for name, value in recorded["values"].items():
        assert f"| {name} | {value} |" in card
    for said in (
        f"retrained it for {recorded['epochs']} epochs",
        "the test split, 10,000 examples",
        "an array of shape (n, 28, 28)",
        f"digest `{asked['data_digest']}`",
        f"tensorflow {asked['versions']['tensorflow']}",
        "fmnist-search run --space wide --trials 6",
        asked["started_at"],
        asked["machine"]["system"],
    ):
        assert said in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "MODEL_CARD.md", "exec")
    assert "custom objects" not in card


def test_exporting_needs_no_tensorflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from search.cli import app;"
        f"app(['export', {str(ASSETS / 'finished')!r}, '--out', {str(tmp_path / 'out')!r}],"
        " standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'keras_tuner')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
    events = read(ASSETS / "finished" / "journal.jsonl").events
    assert len(study(tmp_path / "out", "finished").trials) == len(
        {event["trial"] for event in events if event["event"] == "trial_started"}
    )


def test_a_wrong_name_of_a_part_is_answered_with_the_known_ones(commands, tmp_path):
    done = subprocess.run(
        [commands / "fmnist-search", "export", "run", "--out", "out", "--only", "studdy"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: --only 'studdy': expected one of best, hyperparameters, study, model. "
        "Did you mean 'study'?\n"
    )
