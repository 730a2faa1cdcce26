"""The parts of the Ray engine around a real session, on machines that a test speaks for."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from results.record.columns import Device
from results.record.history import History, Objective
from results.record.journal import read
from search.engines.ray import messages
from search.engines.ray.liveness import Liveness
from search.engines.ray.placement.capacity import Capacity
from search.engines.ray.placement.rule import Placement
from search.engines.ray.report_handler import Reply, ReportHandler
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import Discovery, Suggestions
from search.plan.plan import Engine, Plan, Problem
from search.ray.nodes import TrialProcess
from search.session.origin import NewRun
from search.session.session import DeferredSession
from search.session.stopping import Stopping
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import new_run
from search.view.view import View
from search.worker.task import NamedObject, Task

ACCURACY = Objective("val_accuracy", "max")
SPACE = Space((Parameter("units", Kind.INT, 8, low=2, high=64),))


class Machines:
    """Stands for Ray and its nodes.

    Attributes:
        is_ray_up: Whether Ray runs on this machine.
        nodes_down: Names of the nodes that are lost.
        out_of_memory: Ids of the processes that the system has ended for want of memory.
        ended: Ids of the processes that were ended.
        beside: What ran beside the process that was asked about last.
    """

    def __init__(self):
        self.is_ray_up = True
        self.nodes_down = set()
        self.out_of_memory = set()
        self.ended = []
        self.started = []
        self.beside = []

    def is_up(self):
        return self.is_ray_up

    def is_node_up(self, process):
        return process.node_id not in self.nodes_down

    def end_process(self, process):
        self.ended.append(process.pid)

    def note_start(self, process):
        self.started.append(process.pid)

    def was_oom_killed(self, process, others):
        self.beside = [other.pid for other in others]
        return process.pid in self.out_of_memory


class RayEngine:
    """All parts but Ray Tune itself."""

    def __init__(self, run, origin, *, task=None, **changes):
        problem = Problem(
            hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=ACCURACY, epochs=9,
            patience=0, seed=0,
        )  # fmt: skip
        self.plan = Plan(
            **{
                "problem": problem, "engine": Engine.RAY, "algorithm": "random", "trials": 4, "workers": 2,
                "grace_period": 1, "reduction_factor": 3, "time_budget_seconds": None, "target": None,
                "retrain_epochs": (), "out": run.folder.path, "hung_after_seconds": 30.0, **changes,
            }
        )  # fmt: skip
        self.run = run
        self.history = origin.history
        self.task = replace(Task.of(problem), hypermodel=NamedObject("a:b"), **(task or {}))
        self.screen = io.StringIO()
        self.machines = Machines()
        self.now = 0.0
        self.gpu_slots = 0
        deferred = DeferredSession(
            plan=self.plan, run=run, origin=origin, clock=lambda: self.now,
            view=View(Console(file=self.screen, width=500)),
        )  # fmt: skip
        self.stopping = Stopping(self.plan, self.history, lambda: 0.0)
        self.state = SearchState(deferred)
        self.liveness = Liveness(
            self.state, self.stopping, self.machines,
            hung_after_seconds=self.plan.hung_after_seconds, clock=lambda: self.now,
        )  # fmt: skip
        self.discovery = Discovery(self.plan)
        self.scheduler = self.plan.scheduler.load().from_plan(self.plan)
        self.handler = ReportHandler(
            self.state, self.task, self.scheduler, self.stopping, self.liveness, self.discovery,
            judges_any_score=self.plan.scheduler_asked,
        )  # fmt: skip
        self.suggestions = Suggestions(
            self.state, self.plan, self.task, place=self._place, discovery=self.discovery,
            capacity=Capacity(self.plan, count_fitting=self._slots, clock=lambda: self.now),
        )  # fmt: skip
        self._processes = 0
        self._names = {}

    def _slots(self, resources):
        return self.gpu_slots if "gpu" in resources else self.plan.workers

    def _place(self, values):
        """Large models suit a GPU, where there is a rule at all."""
        if self.plan.device_rule is None:
            return Placement(Device.CPU)
        return Placement(Device.GPU if values["units"] > 8 else Device.CPU, values["units"])

    def begun(self, *, ready=True):
        """Let Ray begin the next trial; return its config."""
        name = f"ray-{self._processes}"
        config = self.suggestions.suggest(name)
        assert isinstance(config, messages.TrainTrial)
        self.take(name, config, ready=ready)
        return config

    def take(self, name, config, *, ready=True):
        """Let a process of its own take a trial."""
        self._processes += 1
        self._names[config.trial] = name
        self.handler.handle_process_start(name, config)
        self.tell(config, messages.Started(self.process()))
        if ready:
            self.tell(config, messages.Ready())

    def process(self):
        """Return where the newest process runs: on a node and by an id of its own."""
        number = self._processes
        return TrialProcess(f"host-{number}:{number}", f"node-{number}", number, oom_kills=0)

    def tell(self, config, report):
        """Report as a process would, by way of what Ray Tune carries."""
        sent = messages.decode_config(messages.encode(config))
        answer = self.handler.handle_report(sent, messages.decode_report(messages.encode(report)))
        if answer is Reply.END_TRIAL and isinstance(config, messages.TrainTrial):
            self.suggestions.release(self._names[config.trial])
        return answer

    def lose(self, config, error_text=""):
        """Let the process of a trial end; Ray writes so much about it."""
        self.handler.handle_process_loss(config, error_text)
        if isinstance(config, messages.TrainTrial):
            self.suggestions.release(self._names.get(config.trial, ""))

    def epoch(self, config, epoch, objective=0.5, **more):
        """Report an epoch."""
        metrics = {self.history.objective.name: objective}
        report = {"epoch": epoch, "epoch_seconds": 1.0, "metrics": metrics, "objective": objective}
        return self.tell(config, messages.Epoch(report | more, "host:1"))

    def recorded(self, kind=None):
        """Return the events of the journal."""
        events = read(self.run.folder.journal_file).events
        return [event for event in events if kind in (None, event["event"])]


@pytest.fixture
def make(tmp_path):
    """Makes an engine: ``make(space=None)`` before the space is known, else with trials to give."""
    with new_run(tmp_path / "run", print) as run:

        def made(*, space=SPACE, origin=None, **changes):
            engine = RayEngine(run, origin or NewRun(History(ACCURACY)), **changes)
            if space is not None:
                engine.handler.start_search(space)
            return engine

        yield made
