"""A search cut off at any event goes on as if it had not been; damaged run folders are told of."""

import contextlib
import json
import shutil
import subprocess
from dataclasses import replace

import keras_tuner as kt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import small
from results import RunError
from results.reading import read_run
from results.record import journal
from results.record.columns import Decision, State
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal, read
from results.record.tables import refresh, write_tables
from search.algorithms.base import Pause, make_searcher
from search.algorithms.drawing import RandomSearcher
from search.algorithms.oracles import OracleSearcher
from search.algorithms.tpe import TPESearcher
from search.doctor import check
from search.engines.ray.schedulers import AshaScheduler
from search.errors import SearchError
from search.plan.plan import Engine, Plan, Problem, available_cores
from search.run import resume_run
from search.session.changes import Changes
from search.session.origin import (
    ResumedRun,
    read_previous_run,
    teach_searcher,
    trials_outside,
    values_within,
)
from search.session.run_file import describe
from search.session.session import DeferredSession
from search.space.mirror import mirror_space
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import RunFolder, locked_run, new_run
from search.storage.lock import Owner
from search.storage.recorder import Recorder
from search.view.view import SilentView

ACCURACY = Objective("val_accuracy", "max")
SPACE = Space(
    (
        Parameter("units", Kind.INT, 8, low=2, high=64),
        Parameter("rate", Kind.FLOAT, 1e-3, low=1e-4, high=1e-1, sampling="log"),
        Parameter("activation", Kind.CHOICE, "relu", choices=("relu", "tanh"), ordered=False),
    )
)
TRIALS, EPOCHS = 7, 9


def plan(out, algorithm="tpe", **changes):
    problem = Problem(
        hypermodel="problems:small", data="problems:blobs", data_dir=None, space="small",
        objective=ACCURACY, epochs=EPOCHS, patience=0, seed=3,
    )  # fmt: skip
    return Plan(
        **{
            "problem": problem, "engine": Engine.RAY, "algorithm": algorithm, "trials": TRIALS,
            "workers": 2, "grace_period": 1, "reduction_factor": 3, "time_budget_seconds": None,
            "target": None, "retrain_epochs": (), "out": out, **changes,
        }
    )  # fmt: skip


def value(trial, epoch):
    """A learning curve of its own for each trial."""
    return round(((trial * 37) % 11) / 20 + 0.4 * epoch / (epoch + 1 + trial % 3), 6)


class Search:
    """What the driver does, two trials at a time, without processes that train."""

    def __init__(self, folder, searcher, history, *, previous=None):
        self.searcher, self.history = searcher, history
        self.asha = AshaScheduler(mode="max", max_epochs=EPOCHS, grace_period=1, reduction_factor=3)
        if previous is not None:
            assert list(teach_searcher(searcher, previous)) == []
            self.asha.replay(history)
        self.kept = Journal(folder.journal_file)
        clock = (lambda: previous.seconds) if previous else (lambda: 0.0)
        self.recorder = Recorder(
            self.kept, history, [searcher.observe], clock=clock, scheduler="asha"
        )
        asked = describe(plan(folder.path), SPACE)
        if previous is None:
            write_json(folder.run_file, asked)
            self.recorder.search_started(run=asked)
        else:
            self.recorder.search_resumed(run=asked)
            for trial in history.unfinished():
                if trial.was_told_to_stop:
                    self.recorder.trial_ended(trial.trial, State.STOPPED)
                else:
                    self.recorder.trial_restarted(trial.trial)

    def run(self):
        """Train every trial, an epoch of each in turn, one worker a little faster."""
        while True:
            running = self.history.running()
            while len(running) < 2 and self.history.next_trial < TRIALS:
                number = self.history.next_trial
                values = self.searcher.propose(number)
                assert values is not Pause.WAIT
                self.recorder.trial_started(number, values, epochs=EPOCHS)
                running = self.history.running()
            if not running:
                break
            for trial in running:
                self._epoch(trial)
        self.recorder.search_ended("trials done")
        self.kept.close()

    def _epoch(self, trial):
        epoch, number = len(trial.epochs) + 1, trial.trial
        if epoch > EPOCHS:  # its last epoch was recorded, its end was not
            self.recorder.trial_ended(number, State.COMPLETED)
            return
        decision = self.asha.judge(number, epoch, value(number, epoch), last_epoch=EPOCHS)
        metrics = {"val_accuracy": value(number, epoch), "loss": 1.0}
        report = {"epoch": epoch, "epoch_seconds": 1.0, "metrics": metrics}
        self.recorder.epoch(number, report, decision=decision, worker="w")
        if decision is Decision.STOP:
            self.recorder.trial_ended(number, State.STOPPED)
        elif epoch == EPOCHS:
            self.recorder.trial_ended(number, State.COMPLETED)


def made(folder, algorithm):
    search = Search(folder, searcher_of(algorithm), History(ACCURACY))
    search.run()
    return search.history


def searcher_of(algorithm):
    if algorithm in ("tpe", "random"):
        return make_searcher(plan("nowhere", algorithm), SPACE)
    space = kt.HyperParameters()
    space.Int("units", 2, 64, default=8)
    space.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-3)
    space.Choice("activation", ["relu", "tanh"])
    common = {"objective": kt.Objective("val_accuracy", "max"), "hyperparameters": space, "seed": 4}
    oracle = {
        "hyperband": lambda: kt.oracles.HyperbandOracle(max_epochs=EPOCHS, **common),
        "bayesian": lambda: kt.oracles.BayesianOptimizationOracle(max_trials=TRIALS, **common),
    }[algorithm]()
    import tempfile

    return OracleSearcher(oracle, SPACE, objective=ACCURACY, scratch=tempfile.mkdtemp())


def told(history):
    return {
        trial.trial: (trial.values, trial.state, [(e.epoch, e.objective, e.decision) for e in trial.epochs])
        for trial in history.trials.values()
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same search undisturbed, by algorithm."""
    runs = {}

    def of(algorithm):
        if algorithm not in runs:
            folder = RunFolder.create(tmp_path_factory.mktemp("whole") / algorithm)
            runs[algorithm] = folder, made(folder, algorithm)
        return runs[algorithm]

    return of


@pytest.mark.parametrize("algorithm", ["random", "tpe", "bayesian"])
@settings(deadline=None, max_examples=12)
@given(cut=st.data())
def test_a_search_cut_off_at_any_event_goes_on_as_if_it_had_not_been(
    tmp_path_factory, whole, algorithm, cut
):
    folder, undisturbed = whole(algorithm)
    lines = folder.journal_file.read_bytes().splitlines(keepends=True)
    kept = cut.draw(st.integers(1, len(lines) - 1))
    torn = cut.draw(st.integers(0, len(lines[kept]) - 2))  # all but its last brace, at most
    again = RunFolder.create(tmp_path_factory.mktemp("cut") / "run")
    shutil.copy(folder.run_file, again.run_file)
    again.journal_file.write_bytes(b"".join(lines[:kept]) + lines[kept][:torn])
    previous = read_previous_run(again.path)
    Search(again, searcher_of(algorithm), previous.history, previous=previous).run()
    content = read(again.journal_file)
    assert content.damaged_lines == ((kept + 1,) if torn else ())
    assert told(History.replay(ACCURACY, content.events)) == told(undisturbed)
    stopped = [t for t in undisturbed.trials.values() if t.state is State.STOPPED]
    assert len(stopped) >= 2  # by rungs that are there again


def test_an_oracle_with_rounds_of_its_own_is_brought_up_too(tmp_path):
    """Hyperband's second round trains on the best of its first: it must know them."""
    searcher, events, number = searcher_of("hyperband"), [], 0
    while "tuner/trial_id" not in (values := searcher.propose(number)):
        for more in (
            {"event": "trial_started", "values": values},
            {"event": "epoch", "epoch": 1, "epoch_seconds": 1.0, "decision": "continue", "worker": "w",
             "metrics": {"val_accuracy": value(number, 1)}},
            {"event": "trial_ended", "state": "completed"},
        ):  # fmt: skip
            events.append({"trial": number, "at_seconds": 0.0, **more})
            searcher.observe(events[-1])
        number += 1
    next_ones = [values, searcher.propose(number + 1)]
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(plan(folder.path), SPACE))
    kept = Journal(folder.journal_file)
    for event in events:
        kept.append(event)
    kept.close()
    fresh = searcher_of("hyperband")
    assert list(teach_searcher(fresh, read_previous_run(folder.path))) == []
    assert [fresh.propose(number), fresh.propose(number + 1)] == next_ones


def test_a_trial_whose_start_was_lost_is_begun_again(whole, tmp_path):
    folder, undisturbed = whole("random")
    shutil.copytree(folder.path, tmp_path / "run")
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    which = next(n for n, line in enumerate(lines) if b'"trial_started","trial":2' in line)
    lines[which] = lines[which].replace(b'"units"', b'"UNITS"')
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(lines))
    previous = read_previous_run(tmp_path / "run")
    assert previous.notes == (f"journal: skipped damaged line {which + 1}",)
    assert previous.history.next_trial == 2
    searcher = searcher_of("random")
    list(teach_searcher(searcher, previous))
    assert searcher.propose(2) == undisturbed.trials[2].values


# --- A changed space ----------------------------------------------------------------------------


def changed_space():
    """Units go only to 32, the activation is gone, dropout is new."""
    return Space(
        (
            Parameter("units", Kind.INT, 8, low=2, high=32),
            SPACE.parameters[1],
            Parameter("dropout", Kind.FLOAT, 0.0, low=0.0, high=0.5),
        )
    )


def test_what_a_changed_space_still_holds_is_learnt_and_the_rest_is_named(whole):
    folder, _ = whole("tpe")
    previous = read_previous_run(folder.path)
    searcher = TPESearcher(changed_space(), seed=3, objective=ACCURACY)
    notes = list(teach_searcher(searcher, previous))
    trials = previous.history.trials.values()
    done = [trial for trial in trials if trial.state is State.COMPLETED]
    fitting = [trial for trial in done if trial.values["units"] <= 32]
    assert len(notes) == len(trials)
    for trial in fitting:
        assert f"learnt from trial {trial.trial} without activation" in notes
    learnt = searcher.study.get_trials()
    assert sorted(trial.value for trial in learnt) == sorted(one.best_value for one in fitting)
    for trial in set(done_numbers(done)) - set(done_numbers(fitting)):
        assert any(note.startswith(f"trial {trial} is left out: units=") for note in notes)


def done_numbers(trials):
    return [trial.trial for trial in trials]


def test_an_unfinished_trial_that_the_space_no_longer_holds_is_named(whole, tmp_path):
    folder, _ = whole("random")
    shutil.copytree(folder.path, tmp_path / "run")
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    started = [n for n, line in enumerate(lines) if b'"trial_started"' in line]
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(lines[: started[1] + 1]))
    previous = read_previous_run(tmp_path / "run")
    unfinished = done_numbers(previous.history.unfinished())
    assert unfinished
    assert trials_outside(previous, SPACE) == []
    assert trials_outside(previous, changed_space()) == unfinished


def test_a_new_parameter_takes_its_default_and_types_stay(whole):
    wider = Space((*SPACE.parameters, Parameter("depth", Kind.INT, 2, low=1, high=4)))
    values = {"units": 9, "rate": 1e-3, "activation": "tanh"}
    assert values_within(values, wider) == values | {"depth": 2}
    assert values_within(values | {"units": 65}, wider) is None
    assert values_within(values | {"width": 1}, wider) is None


def test_changes_make_another_plan_and_nothing_else(tmp_path):
    before = plan(tmp_path)
    after = Changes(
        {"trials": 200, "epochs": 40, "time_budget_seconds": 60.0, "workers": 4}
    ).applied(before)
    assert (after.trials, after.problem.epochs, after.workers) == (200, 40, 4)
    assert after.time_budget_seconds == 60.0
    assert Changes().applied(before) == before


@pytest.mark.parametrize(
    ("begun", "asked", "workers", "elastic"),
    [
        # address, workers of the run; address, workers of the resumption
        ((None, 3, False), (None, None), 3, False),
        ((None, 3, False), ("auto", None), 3, True),
        (("auto", 9, True), ("10.0.0.1:6379", None), 9, True),
        (("auto", 4, False), ("10.0.0.1:6379", None), 4, False),  # it was limited on purpose
        (("auto", 9, True), ("auto", 2), 2, False),
        (("auto", 9, True), (None, None), available_cores(), False),
    ],
)
def test_trials_at_once_follow_the_machines(tmp_path, begun, asked, workers, elastic):
    address, before, was_elastic = begun
    previous = replace(plan(tmp_path), address=address, workers=before, elastic=was_elastic)
    values = {"address": asked[0], "workers": asked[1]}
    typed = {name: value for name, value in values.items() if value is not None}
    after = Changes(typed).applied(previous)
    assert (after.address, after.workers, after.elastic) == (asked[0], workers, elastic)


# --- Damaged, foreign and odd run folders ---------------------------------------------------------


@pytest.fixture(scope="module")
def finished(whole):
    folder, history = whole("random")
    write_tables(folder.path, history)
    return folder


def opened(path):
    """Read a run as `resume` and as `fmnist-results` do; both may only tell of what is wrong."""
    try:
        previous = read_previous_run(path)
    except SearchError as error:
        previous = str(error)
    try:
        row = read_run(path)
    except RunError as error:
        row = str(error)
    return previous, row


def test_a_run_cut_at_every_byte_of_its_last_record_is_read(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    content = finished.journal_file.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    whole_events = len(read(finished.journal_file).events)
    for cut in range(start, len(content)):
        (tmp_path / "run" / "journal.jsonl").write_bytes(content[:cut])
        previous, _ = opened(tmp_path / "run")
        is_whole = cut == len(content) - 1  # all but the end of the line
        assert len(previous.events) == whole_events - (not is_whole)
        assert len(previous.notes) == (start < cut and not is_whole)


FILES = ("run.json", "journal.jsonl", "trials.parquet", "epochs.parquet", "best.json")


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(FILES),
    damage=st.sampled_from(["cut", "empty", "flip", "remove", "noise", "folder"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_damaged_file_is_told_of_or_does_no_harm(
    tmp_path_factory, finished, name, damage, where, bit
):
    path = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(finished.path, path)
    file = path / name
    content = bytearray(file.read_bytes())
    place = int(where * len(content))
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "remove":
        if damage == "flip":
            content[place] ^= 1 << bit
        damaged = {
            "cut": content[:place],
            "empty": b"",
            "flip": content,
            "noise": bytes(range(256)) * 9,
        }
        file.write_bytes(damaged[damage])
    previous, _row = opened(path)
    if name == "journal.jsonl" and damage in ("remove", "folder"):
        problem = "is missing" if damage == "remove" else "cannot be read"
        assert f"journal.jsonl {problem}" in previous
    elif isinstance(previous, str):
        # One bit can turn a number of run.json into another; then it is what it says.
        assert name in ("run.json", "journal.jsonl"), previous
    elif name != "journal.jsonl":
        assert len(previous.history.trials) == TRIALS


def test_run_json_is_made_anew_from_the_journal(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    assert read_previous_run(tmp_path / "run").plan.trials == TRIALS
    (tmp_path / "run" / "run.json").write_text('{"plan": {')
    assert read_previous_run(tmp_path / "run").plan.problem == plan("x").problem
    assert (
        refresh(tmp_path / "run") == "run.json was missing or damaged: rewritten from the journal"
    )
    assert read_run(tmp_path / "run").trials.num_rows == TRIALS


def test_a_run_of_a_newer_version_is_refused(tmp_path, finished, monkeypatch):
    shutil.copytree(finished.path, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(journal, "VERSION", 3)
        line = journal.encode({"event": "trial_started", "trial": 99, "at_seconds": 1.0})
    with (tmp_path / "run" / "journal.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(
        SearchError, match=r"format is version 3, but this program reads versions 1 and 2\. Use"
    ):
        read_previous_run(tmp_path / "run")


def test_a_run_of_another_engine_or_program_is_refused(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    asked = json.loads(finished.run_file.read_text())
    asked["plan"]["engine"] = "keras-tuner"
    (tmp_path / "run" / "run.json").write_text(json.dumps(asked))
    with pytest.raises(SearchError, match=r"made by keras-tuner, which cannot resume a"):
        read_previous_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"plan": {"engine": "ray"}}))
    with pytest.raises(SearchError, match="does not describe a search"):
        read_previous_run(tmp_path / "run")
    with pytest.raises(SearchError, match=r"is not a run: expected a folder with run\.json"):
        read_previous_run(tmp_path)


NAMES = [
    "two words",
    "quo'te\"s",
    "new\nline",
    "Größe-数据",
    "n" * 200,
    "-dash",
    "semi;colon $HOME `x`",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_folder_names_are_as_good_as_any(tmp_path, finished, name):
    shutil.copytree(finished.path, tmp_path / name)
    previous, run = opened(tmp_path / name)
    assert len(previous.history.trials) == run.trials.num_rows == TRIALS


def test_tables_that_are_older_than_the_journal_are_made_anew(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    previous = read_previous_run(tmp_path / "run")
    assert refresh(tmp_path / "run") is None  # current
    kept = Journal(tmp_path / "run" / "journal.jsonl")
    Recorder(kept, previous.history, clock=lambda: 9.0).trial_started(
        TRIALS, {"units": 5}, epochs=2
    )
    kept.close()
    assert read_run(tmp_path / "run").trials.num_rows == TRIALS
    assert refresh(tmp_path / "run") is None
    assert read_run(tmp_path / "run").trials.num_rows == TRIALS + 1
    (tmp_path / "run" / "epochs.parquet").unlink()
    assert refresh(tmp_path / "run") is None
    assert (tmp_path / "run" / "epochs.parquet").exists()


def test_a_run_that_may_only_be_read_is_shown_as_it_is(tmp_path, finished, commands):
    """Held up by a file in the way of what is written, as permissions do not hold for root."""
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "trials.parquet").unlink()
    (tmp_path / "run" / "trials.parquet").mkdir()
    note = refresh(tmp_path / "run")
    assert note.startswith("its tables cannot be rewritten")
    done = subprocess.run(
        [commands / "fmnist-search", "resume", "/proc/1"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: '/proc/1' is not a run")


def test_a_clock_that_is_set_back_sets_no_record_back(monkeypatch):
    from search.storage.clock import offset_clock, seconds_since_process_start

    clock = offset_clock(seconds_since_process_start, 100.0)
    first = clock()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 100.0 < first <= clock()


def test_the_small_problem_mirrors_to_what_run_json_keeps():
    """The space that is compared after a trip through JSON equals the one that is discovered."""
    hp = kt.HyperParameters()
    small(hp)
    space = mirror_space(hp.space)
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_random_search_draws_the_same_after_a_resume_from_an_empty_journal(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(plan(folder.path, "random"), SPACE))
    folder.journal_file.write_bytes(b"")
    previous = read_previous_run(folder.path)
    searcher = RandomSearcher(SPACE, seed=3)
    assert list(teach_searcher(searcher, previous)) == []
    assert searcher.propose(0) == SPACE.defaults()


# --- What the session does with a run that it is given ---------------------------------------------


@pytest.fixture
def reopened(whole, tmp_path):
    """Open a session on a run of which only the events up to the one that a test wants are left."""

    def opening(algorithm, is_last, space=SPACE):
        folder, _ = whole(algorithm)
        shutil.copytree(folder.path, tmp_path / "run")
        lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
        last = next(n for n, line in enumerate(lines) if is_last(journal.decode(line)))
        (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(lines[: last + 1]))
        previous = read_previous_run(tmp_path / "run")
        with locked_run(previous.folder, print) as run:
            deferred = DeferredSession(
                plan=previous.plan,
                run=run,
                origin=ResumedRun(previous),
                view=SilentView(None),
                clock=lambda: previous.seconds,
            )
            yield deferred.open(space)

    return contextlib.contextmanager(opening)


def is_stop(event):
    return event.get("decision") == "stop"


def test_a_recorded_decision_stands(reopened):
    """Killed between the decision and the end that follows from it."""
    with reopened("random", is_stop) as session:
        history = session.recorder.history
        stopped = [trial.trial for trial in history.trials.values() if trial.was_told_to_stop]
        assert len(stopped) == 1
        assert history.trials[stopped[0]].state is State.STOPPED
        assert stopped[0] not in [trial.trial for trial in history.unfinished()]
        session.close("interrupted")


def test_what_the_space_no_longer_holds_does_not_go_on(reopened):
    with reopened("random", is_stop, changed_space()) as session:
        history = session.recorder.history
        given_up = [t for t in history.trials.values() if t.state is State.INTERRUPTED]
        assert given_up
        assert {trial.error for trial in given_up} == {
            "its configuration no longer fits the search space"
        }
        assert history.unfinished() == []
        session.close("interrupted")


def test_a_trial_that_begins_anew_meets_nothing_of_one_whose_record_was_lost(reopened):
    with reopened("random", is_stop) as session:
        number = session.recorder.history.next_trial
        state = session.folder.state_file(number)
        state.write_bytes(b"of another trial")
        session.folder.best_weights_file(number).write_bytes(b"likewise")
        session.recorder.trial_started(number, {"units": 3})
        assert not state.exists()
        assert not session.folder.best_weights_file(number).exists()
        session.close("interrupted")


def test_an_earlier_search_is_fitted_to_a_changed_space(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    write_json(folder.run_file, describe(plan(folder.path), SPACE))
    kept = Journal(folder.journal_file)
    recorder = Recorder(kept, History(ACCURACY), clock=lambda: 0.0)
    for units in (9, 64):
        values = {"units": units, "rate": 1e-3, "activation": "tanh"}
        recorder.earlier_trial(values, 0.5, f"study, trial {units}")
    kept.close()
    searcher = TPESearcher(changed_space(), seed=3, objective=ACCURACY)
    [note] = teach_searcher(searcher, read_previous_run(folder.path))
    assert note.startswith("study, trial 64 is left out: units=64")
    [learnt] = searcher.study.get_trials()
    assert set(learnt.params) == {"units", "rate", "dropout"}


def test_entries_that_are_not_tuned_do_not_count_against_a_trial():
    history = History(ACCURACY)
    for event in (
        {"event": "trial_started", "values": {"units": 9}},
        {"event": "epoch", "epoch": 1, "epoch_seconds": 1.0, "decision": "continue", "worker": "w",
         "metrics": {"val_accuracy": 0.5}, "values": {"units": 9, "rate_of_the_builder": 0.1}},
    ):  # fmt: skip
        history.apply({"trial": 0, "at_seconds": 0.0, **event})
    [trial] = history.unfinished()
    only_units = Space(SPACE.parameters[:1])
    assert values_within(trial.values, only_units) is None
    assert values_within(trial.proposed, only_units) == {"units": 9}


def test_only_coming_further_clears_a_trial_of_ending_its_process():
    history = History(ACCURACY)

    def tell(event, **fields):
        history.apply({"event": event, "trial": 0, "at_seconds": 0.0, **fields})
        return history.trials[0].deaths

    def epoch(number):
        return tell(
            "epoch", epoch=number, epoch_seconds=1.0, decision="continue", worker="w",
            metrics={"val_accuracy": 0.5},
        )  # fmt: skip

    tell("trial_started", values={"units": 9})
    assert epoch(1) == 0
    assert tell("worker_lost", error="?", by_trial=True) == 1
    tell("trial_restarted")
    assert epoch(1) == 1  # trained again
    assert tell("worker_lost", error="?", by_trial=False) == 1  # with its node
    assert tell("worker_lost", error="?", by_trial=True) == 2
    assert epoch(2) == 0


def test_a_stopped_trial_that_lost_its_process_is_stopped_again():
    """As one of several executions is, which begins again with the first."""
    asha = AshaScheduler(mode="max", max_epochs=EPOCHS, grace_period=1, reduction_factor=2)
    assert asha.judge(0, 1, 0.9, last_epoch=None) is Decision.CONTINUE
    assert asha.judge(1, 1, 0.1, last_epoch=None) is Decision.STOP
    assert asha.judge(1, 1, 0.1, last_epoch=None) is Decision.STOP
    asha.reset(1)
    assert asha.judge(1, 1, 0.1, last_epoch=None) is Decision.CONTINUE


# --- What a user sees of a run that is on its way, or never was ------------------------------------


def test_a_folder_in_which_nothing_was_recorded_is_taken_again(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    killed = {**vars(Owner.this_process()), "started": 1.0, "beats": 3}
    folder.lock_file.write_text(json.dumps(killed))
    with pytest.raises(SearchError, match=r"ended before the first one.*Run the same command"):
        read_previous_run(folder.path)
    check(plan(folder.path))
    with new_run(folder.path, print) as run:
        assert run.folder == folder
        run.folder.state_file(0).write_bytes(b"something")
        run.folder.journal_file.write_bytes(b"")
    with pytest.raises(SearchError, match="exists already"):
        check(plan(folder.path))


def test_show_tells_a_search_that_runs_from_one_that_was_cut_off(tmp_path, finished, commands):
    shutil.copytree(finished.path, tmp_path / "run")
    lines = finished.journal_file.read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(lines[:-1]))

    def shown():
        return subprocess.run(
            [commands / "fmnist-results", "show", "run"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout.splitlines()[-1]  # fmt: skip

    assert shown() == "the search was cut off; to continue it, run fmnist-search resume run"
    (tmp_path / "run" / "driver.lock").touch()  # as a living driver does every two seconds
    assert read_run(tmp_path / "run").ended == "running"
    assert "cut off" not in shown()


def test_damage_is_named_at_every_look(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    content = bytearray((tmp_path / "run" / "journal.jsonl").read_bytes())
    content[content.index(b"\n") + 20] ^= 1  # as long as before
    (tmp_path / "run" / "journal.jsonl").write_bytes(content)
    for _ in range(2):
        assert refresh(tmp_path / "run") == "journal: skipped damaged line 2"


def test_a_search_that_was_killed_before_its_end_was_recorded_is_ended(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run")
    lines = finished.journal_file.read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    assert resume_run(tmp_path / "run", Changes(), SilentView(None)).reason == "trials done"
    assert read_run(tmp_path / "run").ended == "trials done"
    assert read_previous_run(tmp_path / "run").history.end_reason == "trials done"
    assert not (tmp_path / "run" / "driver.lock").exists()
