"""``RayTuner``, a keras-tuner tuner that runs its trials on Ray. Imports Keras."""

import contextlib
import gc
import math
import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt

from results.record import columns
from results.record.history import History
from search.algorithms.base import Searcher
from search.algorithms.oracles import OracleSearcher
from search.carry.arguments import PackedArguments, pack, unpack_sample
from search.carry.carried import FitArguments
from search.doctor import Finding, Grade, check, check_nodes
from search.engines.ray.placement.rule import custom_rule
from search.errors import (
    FatalTrialError,
    ObjectiveError,
    ProblemError,
    SearchError,
    one_line,
    raise_any,
)
from search.machine.machine import this_machine
from search.machine.ulimits import limit_problems
from search.packages import hidden_in_workers
from search.plan.address import cluster_address
from search.plan.directions import doubt
from search.plan.importer import source_paths
from search.plan.options import Speaker
from search.plan.plan import Plan
from search.plan.registry import Scheduler
from search.ray import kept
from search.ray.environment import prepare_environment
from search.ray.neighbours import Request, beside_others
from search.ray.nodes import nodes_up, share_cluster
from search.ray.renewable import RenewableRay, StoredData
from search.ray.runtime import check_no_client, connect_to_ray, has_ray
from search.session.origin import NewRun, Origin, ResumedRun
from search.session.session import DeferredSession, SearchEngine, run_trials
from search.session.stopping import INTERRUPTED, TRIALS_DONE, Stopping
from search.session.warm_start import EarlierSearch
from search.signals import ending_signals
from search.space import mirror
from search.space.parameters import Space
from search.storage import scratch
from search.storage.clock import start_clock
from search.storage.folder import RunFolder
from search.tuner.collected import describe_collections
from search.tuner.fit_arguments import (
    adapt_fit_arguments,
    check_data,
    check_objective,
    decides_itself,
    requested_epochs,
)
from search.tuner.planning import check_copy, extend_space, make_plan, make_task
from search.tuner.recorded_tuner import RecordedTuner
from search.tuner.settings import Settings, takes_options
from search.view.live import make_view
from search.view.view import SilentView, View, describe_aim, describe_end
from search.worker.task import Task


@takes_options
class RayTuner(RecordedTuner):
    """A keras-tuner tuner that runs many trials in parallel on Ray and stops weak trials early.

    ``search.kt`` has keras-tuner's tuners over this class; by itself, it proposes by TPE::

        from search import RayTuner

        tuner = RayTuner(build_model, objective="val_accuracy", max_trials=30)
        tuner.search(x, y, epochs=10, validation_split=0.2)
        model = tuner.get_best_models()[0]

    keras-tuner itself builds, trains and scores the model of each trial, in a worker process. The
    positional arguments are those of ``RandomSearch``, in the same order. The run folder
    ``directory/project_name`` records the search: run the script again to continue it, and use
    ``fmnist-results`` to read it. docs/keras-tuner.md lists all differences from keras-tuner.

    Args:
        hypermodel: A function ``build_model(hp)`` that returns a model, or a ``HyperModel``.
        objective: Name of a metric, a ``keras_tuner.Objective``, or a list of these, whose sum is
            minimized (objectives to maximize are subtracted). Leave it out if ``HyperModel.fit``
            returns the value to minimize, or if ``algorithm`` is an oracle.
        max_trials: Maximum number of trials; by default 10, or that of the oracle.
        seed: Seed of the configurations and the weights. Default: random, recorded in run.json.
        hyperparameters: Hyperparameters registered in advance; they override those of the same
            name in the builder.
        tune_new_entries: Whether to search hyperparameters that are not registered in advance;
            otherwise they keep their defaults.
        allow_new_entries: Whether the builder may use hyperparameters that are not registered in
            advance.
        max_retries_per_trial: How often to retry a failed trial.
        max_consecutive_failed_trials: End the search after this many failed trials in a row.
        executions_per_trial: Number of trainings per configuration; their scores are averaged.
        max_model_size: Maximum number of trainable weights; a trial with a larger model fails.
        optimizer: Optimizer that replaces the one with which the builder compiles the model.
        loss: Loss that replaces the builder's.
        metrics: Metrics that replace the builder's.
        directory: Parent folder of the run folder. Default: the current folder.
        project_name: Name of the run folder. Default: ``untitled_project``.
        overwrite: Whether to start a new search if the run folder exists; the old run is renamed
            to ``NAME.previous``, and the newest three are kept. Otherwise the tuner continues the
            old run; if keras-tuner itself has a project there, the run folder is ``NAME-ray``.
        tuner_id: Ignored; accepted because keras-tuner's tuners have it.
        logger: Ignored, as in keras-tuner.
        distribution_strategy: Accepted if it has one replica; it has no effect, since each trial
            trains in its own process.
        options: The options below, as keyword arguments.

    Raises:
        UsageError: It lists every problem of the arguments, one per line.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: kt.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        *,
        executions_per_trial: int = 1,
        max_model_size: int | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        directory: Any = None,
        project_name: str | None = None,
        overwrite: bool = False,
        tuner_id: str | None = None,
        logger: Any = None,
        distribution_strategy: Any = None,
        **options: Any,
    ) -> None:
        if isinstance(options.get("address"), str):
            options["address"] = cluster_address(options["address"], "address")
        settings = Settings(
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            executions_per_trial=executions_per_trial,
            distribution_strategy=distribution_strategy,
            options=options,
        )
        raise_any(settings.problems(type(self), hypermodel))
        self._settings = settings
        self._registered = settings.registered()  # before keras-tuner explores the space
        super().__init__(
            settings.oracle_arguments(),
            hypermodel,
            overwrite=overwrite,
            max_model_size=max_model_size,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            directory=directory,
            project_name=project_name,
            tuner_id=tuner_id,
            executions_per_trial=executions_per_trial,
        )

    @ending_signals()
    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until there are ``max_trials``; each calls ``fit`` with the arguments.

        If the run folder has a run and ``overwrite`` is False, continue that run.

        Args:
            fit_args: Positional arguments of ``HyperModel.fit``, such as the training data.
            fit_kwargs: Keyword arguments of ``HyperModel.fit``; ``verbose=0`` also silences the
                search.

        Raises:
            UsageError: An argument is invalid, or the run folder has another search.
            ProblemError: The arguments cannot be sent to the workers.
            ObjectiveError: The model does not report the objective.
            FailureLimitError: ``max_consecutive_failed_trials`` trials failed in a row.
            AllTrialsFailedError: Every trial failed, and there were fewer than that.
            keras_tuner.errors.FatalError: A trial raised it.
            KeyboardInterrupt: The user interrupted the search; the run folder keeps its results.
        """
        settings, project = self._settings, self._project
        view = SilentView() if fit_kwargs.get("verbose") == 0 else make_view()
        if self._is_done():
            view.note(f"{self.project_dir}: all {len(self._history.trials)} trials are done.")
            return
        with contextlib.ExitStack() as stack:
            cpus = stack.enter_context(_cpus_beside_others(settings, project.folder, view))
            clock = start_clock()
            _begin_ray(settings, cpus)
            project.check()
            folder = stack.enter_context(scratch.temporary("ray-tuner-"))
            packed, task = self._check_search(fit_args, fit_kwargs, folder, view)
            earlier_search = project.read_earlier_search(settings.warm_start, self._objective, view)
            extend_space(self, earlier_search)
            run = stack.enter_context(project.lock(self._history, view))
            origin = self._make_origin(packed, earlier_search, view)
            if isinstance(origin, ResumedRun):
                task = replace(task, seed=origin.previous.plan.problem.seed)
            ray = stack.enter_context(self._make_ray(packed.arguments, cpus, view))
            plan = make_plan(self, settings, packed, task, project.folder)
            _say_starting(settings, plan, view, is_score_known=not decides_itself(self))
            self.on_search_begin()
            space = mirror.mirror_space(self.oracle.get_space().space)
            deferred = DeferredSession(
                plan=plan,
                run=run,
                origin=origin,
                view=view,
                clock=origin.clock(clock),
                data_parts=packed.data.rows,
                searcher=self._make_searcher(space, task.seed, folder),
                listeners=(self._update_oracle, self._call_hooks),
                before_proposal=self.pre_create_trial,
            )
            from search.engines.ray.engine import RayEngine

            self._run_trials(RayEngine(plan, task, ray, space), deferred)
            self.on_search_end()

    def _check_search(
        self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], folder: Path, view: View
    ) -> tuple[PackedArguments, Task]:
        """Check what can be checked without training, and say what the user should know.

        Returns:
            The arguments of ``fit``, packed, and the task that all trials share.

        Raises:
            UsageError: ``epochs`` is no whole number.
            ProblemError: The hypermodel or the tuner cannot be sent to the workers.
            ObjectiveError: The model does not report the objective.
        """
        settings = self._settings
        if settings.distribution_strategy is not None:
            view.note(
                "distribution_strategy has one replica and no effect: each trial trains in its own "
                "process"
            )
        arguments = adapt_fit_arguments(self, fit_args, fit_kwargs, settings.max_epochs)
        check_data(self, arguments)
        epochs = requested_epochs(self, arguments)
        task = make_task(self, settings, self._objective, self._registered)
        packed = pack(arguments, folder, epochs=settings.max_epochs or epochs)
        build = partial(self._try_build, self.oracle.get_space())
        check_copy(task, build, self.oracle.get_space())
        # A sample of a copy: what only one trial could use stays as it is.
        check_objective(
            self._objective, self, arguments, build, lambda: unpack_sample(packed.arguments)
        )
        for note in packed.notes:
            view.note(note)
        collections = describe_collections(self, arguments.kwargs.get("callbacks"))
        if collections is not None:
            view.note(collections)
        return packed, task

    def _make_searcher(self, space: Space, seed: int, folder: Path) -> Searcher | None:
        """Return the searcher on the oracle that proposes; None if our own algorithm does."""
        oracle = self._settings.oracle_with(seed)
        if oracle is None:
            return None
        searcher = OracleSearcher(oracle, space, objective=self._objective, scratch=str(folder))
        searcher.oracle.max_trials = (
            self.oracle.max_trials
        )  # a script may raise it between searches
        return searcher

    def _is_done(self) -> bool:
        """Tell whether the run folder already has the whole search."""
        is_complete = self._history.end_reason == TRIALS_DONE
        if not is_complete or not self._project.is_continued(self._history):
            return False
        remaining = self.remaining_trials
        if remaining is not None and remaining <= 0:
            return True
        return bool(self._project.read_max_trials() == self.oracle.max_trials)

    def _make_origin(
        self, packed: PackedArguments, earlier_search: EarlierSearch | None, view: View
    ) -> Origin:
        """Return the origin of the search: the run in the folder, or a new run.

        Raises:
            UsageError: The run in the folder used data of other shapes.
        """
        if self._project.is_continued(self._history):
            previous = self._project.read_previous(packed.data, view)
            former, now = previous.plan.algorithm, self._settings.algorithm_name
            if former != now:
                view.note(
                    f"{self.project_dir}: searched with {former} so far, continues with {now}"
                )
            return ResumedRun(previous)
        self.oracle.clear()
        return NewRun(History(self._objective), earlier_search)

    def _make_ray(self, arguments: FitArguments, cpus: int, view: View) -> RenewableRay:
        settings = self._settings
        build = self.hypermodel and self.hypermodel.build
        modules = {getattr(build, "__module__", None), type(self).__module__}
        code = source_paths(*modules, custom_rule(settings.device_rule))
        start = partial(
            connect_to_ray,
            settings["address"],
            cpus,
            code,
            forks=_uses_forks(settings),
            stays=True,
        )
        return RenewableRay(
            start,
            partial(_store_arguments, arguments),
            say=view.note,
        )

    def _run_trials(self, engine: SearchEngine, deferred: DeferredSession) -> None:
        """Run the trials, and report how the search ended.

        Raises:
            KeyboardInterrupt: The user interrupted the search.
        """
        history, view = deferred.history, deferred.view
        self._history = history
        self._project.overwrites = False  # another call of search continues this run
        limit = self.oracle.max_consecutive_failed_trials
        stopping = Stopping(
            deferred.plan, history, deferred.clock, max_consecutive_failed_trials=limit
        )
        reason = run_trials(engine, deferred, stopping)
        if reason != TRIALS_DONE:
            # Ray Tune keeps the processes of unfinished trials, which hold CPUs of a Ray that the
            # script started, until Python collects it.
            gc.collect()
        stopping.check_results()
        if stopping.error is not None:
            raise _as_keras_tuner_error(stopping.error, history)
        view.note(describe_end(reason, history))
        if reason == INTERRUPTED:
            view.note(
                f"saved in {self.project_dir}; to list its trials: fmnist-results show "
                f"{self.project_dir}; to continue: run this script again with overwrite=False"
            )
            raise KeyboardInterrupt
        folder = shlex.quote(os.path.relpath(self.project_dir))
        view.note(f"saved in {folder}; for a report: fmnist-results report {folder}")


@contextlib.contextmanager
def _cpus_beside_others(settings: Settings, folder: RunFolder, view: View) -> Iterator[int]:
    """Share this machine with other searches; provide the CPUs of a Ray on it."""
    cpus_per_trial = settings.resources["cpu"]
    machine = this_machine()
    cpus, workers = machine.cpus(cpus_per_trial), machine.workers(cpus_per_trial)
    if settings["address"] is not None or has_ray():
        yield cpus
        return
    raise_any(list(limit_problems(workers)))
    request = Request(folder.path, workers, cpus_per_trial, is_asked=False, waits=settings["wait"])
    with beside_others(request, view.note) as left:
        yield cpus if left == workers else min(cpus, math.ceil(left * cpus_per_trial))


def _begin_ray(settings: Settings, cpus: int) -> None:
    """Start this machine's Ray, unless there is one, beside what else precedes the first trial."""
    scratch.folder()  # raises an error if there is no room
    check_no_client()
    address = settings["address"]
    if address is None:
        raise_any(list(hidden_in_workers()))
    if address is None and not has_ray():
        kept.start_ray(cpus, forks=_uses_forks(settings))
    prepare_environment(address)
    import search.engines.ray.engine  # noqa: F401  # takes a second, as it imports Ray Tune


def _uses_forks(settings: Settings) -> bool:
    return "gpu" not in settings.resources


def _say_starting(settings: Settings, plan: Plan, view: View, *, is_score_known: bool) -> None:
    """Check the plan and the nodes, and announce the search.

    Args:
        settings: The arguments of the tuner.
        plan: The run.
        view: Shows what is announced.
        is_score_known: Whether the score of a trial is known to be the best of its epochs.

    Raises:
        UsageError: It lists every problem, one per line.
    """
    node_warnings = check_nodes() if len(nodes_up()) > 1 else []
    is_inferred = isinstance(settings.objective, str)
    line = doubt(plan.problem.objective, Speaker.SCRIPT) if is_inferred else None
    doubts = [Finding(Grade.WARNING, line)] if line else []
    for warning in (*doubts, *check(plan, is_new=False), *node_warnings):
        view.note(str(warning))
    share_cluster(plan, view.note)
    shortage = this_machine().describe_shortage(plan.cpus_per_trial)
    if shortage is not None and not plan.elastic:
        view.note(shortage)
    delay = "" if plan.address else "; training begins in some seconds"
    stopping = _describe_stopping(settings, is_score_known)
    aim = describe_aim(plan.problem.objective)
    view.note(f"starting: {plan.algorithm}{stopping}; {aim}; trials at once: {plan.workers}{delay}")


def _describe_stopping(settings: Settings, is_score_known: bool) -> str:
    """Say what stops trials early, as the end of a sentence on the algorithm."""
    if settings.is_hyperband:
        return ", which stops weak trials early by itself"
    scheduler = settings.scheduler_name
    if scheduler is Scheduler.NONE:
        return "; no trial is stopped early"
    name = columns.DISPLAY_NAMES.get(scheduler, scheduler)
    if not is_score_known and not settings.scheduler_asked:
        return f"; {name} stops weak trials once a trial shows that its score is its best epoch"
    return f"; {name} stops weak trials early (scheduler=None turns it off)"


def _store_arguments(arguments: FitArguments) -> StoredData:
    """Store the packed arguments of ``fit`` in the running Ray.

    Raises:
        ProblemError: They cannot be sent to the workers.
    """
    import ray

    try:
        return StoredData(ray.put(arguments))
    except Exception as error:
        raise ProblemError(
            f"the arguments of search cannot be sent to the workers ({one_line(error)}): pass "
            "arrays, tf.data.Dataset or keras.utils.PyDataset objects, and callbacks."
        ) from error


def _as_keras_tuner_error(error: SearchError, history: History) -> Exception:
    """Return an error as keras-tuner would raise it, with the traceback of a failed trial."""
    converted: Exception = error
    if isinstance(error, FatalTrialError):
        error_class = getattr(kt.errors, error.kind, None)
        if error_class is not None:
            converted = error_class(str(error))
        elif error.kind == "ObjectiveMissing":
            converted = ObjectiveError(str(error))
    for note in getattr(error, "__notes__", ()):
        converted.add_note(note)
    failed_trial = next((t for t in reversed(history.trials.values()) if t.traceback), None)
    if failed_trial is not None and converted is error:
        converted.add_note(failed_trial.traceback or "")
    return converted
