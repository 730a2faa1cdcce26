"""What every engine is held to: its session is closed, however its search ends."""

import io
from dataclasses import dataclass
from functools import partial

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import read
from search.engines.keras_tuner import KerasTunerEngine
from search.engines.ray.engine import RayEngine
from search.errors import ProblemError
from search.plan.plan import Engine, Plan, Problem, Tuner
from search.plan.registry import Scheduler
from search.ray.renewable import RenewableRay, store_data
from search.ray.runtime import connect_to_ray
from search.session.origin import NewRun
from search.session.session import DeferredSession, run_trials
from search.session.stopping import Stopping
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import new_run
from search.view.view import View
from search.worker.data import load_data
from search.worker.task import Task

SPACE = Space((Parameter("units", Kind.INT, 8, low=2, high=64),))


def plan_of(out, engine=Engine.RAY, **changes):
    problem = Problem(
        hypermodel="problems:small", data="problems:blobs", data_dir=None, space="small",
        objective=Objective("val_accuracy", "max"), epochs=2, patience=0, seed=3,
    )  # fmt: skip
    return Plan(
        **{
            "problem": problem, "engine": engine, "algorithm": "random", "trials": 2,
            "workers": 1, "grace_period": 1, "reduction_factor": 3, "time_budget_seconds": None,
            "target": None, "retrain_epochs": (), "out": out, **changes,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class MadeUpEngine:
    """Reports learning curves that no process has trained, then ends as a test wants."""

    plan: Plan
    end: BaseException | None = None
    opens: bool = True
    stored: None = None

    def data_digest(self):
        return "d1"

    def search(self, deferred, stopping):
        if self.opens:
            recorder = deferred.open(SPACE).recorder
            for trial, value in enumerate((0.5, 0.6)):
                report = {"epoch": 1, "epoch_seconds": 1.0, "metrics": {"val_accuracy": value}}
                recorder.trial_started(trial, {"units": trial + 2}, epochs=2)
                recorder.epoch(trial, report, decision=Decision.CONTINUE, worker="w")
                if stopping.reason is not None:
                    return
                if trial == 0:
                    recorder.trial_ended(trial, State.COMPLETED)
        if self.end is not None:
            raise self.end


class Searched:
    """An engine's search on a run folder of its own."""

    def __init__(self, engine):
        history = History(engine.plan.problem.objective)
        with new_run(engine.plan.out, print) as run:
            deferred = DeferredSession(
                plan=engine.plan,
                run=run,
                origin=NewRun(history),
                view=View(Console(file=io.StringIO())),
                clock=lambda: 1.0,
                data_digest=engine.data_digest,
            )
            stopping = Stopping(engine.plan, history, lambda: 1.0)
            self.error, self.reason = None, None
            try:
                self.reason = run_trials(engine, deferred, stopping)
            except BaseException as error:
                self.error = error
        self.states = [trial.state for trial in history.trials.values()]
        self.folder = run.folder

    @property
    def recorded_reason(self):
        [event] = [e for e in read(self.folder.journal_file).events if e["event"] == "search_ended"]
        assert self.folder.trials_file.exists()  # the session was closed
        return event["reason"]


def test_a_search_that_ends_by_itself_is_done(tmp_path):
    searched = Searched(MadeUpEngine(plan_of(tmp_path / "run")))
    assert searched.reason == searched.recorded_reason == "trials done"


def test_a_search_that_must_stop_says_why(tmp_path):
    searched = Searched(MadeUpEngine(plan_of(tmp_path / "run", target=0.5)))
    assert searched.reason == searched.recorded_reason == "target reached"
    assert searched.states == [State.INTERRUPTED]


def test_an_interrupted_search_keeps_what_it_has(tmp_path):
    searched = Searched(MadeUpEngine(plan_of(tmp_path / "run"), KeyboardInterrupt()))
    assert searched.reason == searched.recorded_reason == "interrupted"
    assert searched.states == [State.COMPLETED, State.INTERRUPTED]


def test_an_error_is_passed_on_when_the_session_is_closed(tmp_path):
    error = ProblemError("no worker can import it")
    searched = Searched(MadeUpEngine(plan_of(tmp_path / "run"), error))
    assert searched.error is error
    assert searched.recorded_reason == "failed"


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ProblemError("no such data")])
def test_a_search_that_ends_before_the_space_is_known_leaves_no_folder(tmp_path, end):
    searched = Searched(MadeUpEngine(plan_of(tmp_path / "run"), end, opens=False))
    assert searched.error is end
    assert not (tmp_path / "run").exists()


def assert_it_trains_every_trial(engine):
    searched = Searched(engine)
    assert searched.reason == searched.recorded_reason == "trials done"
    assert searched.states == [State.COMPLETED, State.COMPLETED]
    epochs = pq.read_table(searched.folder.epochs_file).select(["trial", "epoch"]).to_pylist()
    assert [tuple(row.values()) for row in epochs] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_the_engine_of_keras_tuner_trains_every_trial(tmp_path):
    plan = plan_of(tmp_path / "run", Engine.KERAS_TUNER, tuner=Tuner.RANDOM)
    assert_it_trains_every_trial(KerasTunerEngine(plan))


def test_the_ray_engine_trains_every_trial(running_ray, tmp_path):
    plan = plan_of(tmp_path / "run", scheduler=Scheduler.NONE)
    stores = partial(store_data, plan.problem, needs_test=False)
    with RenewableRay(partial(connect_to_ray, None, 1), stores, say=print) as ray:
        engine = RayEngine(plan, Task.of(plan.problem), ray)
        assert engine.data_digest() == load_data(plan.problem, needs_test=False).digest()
        assert_it_trains_every_trial(engine)
