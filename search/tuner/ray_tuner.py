"""``RayTuner``: a tuner of keras-tuner that runs its trials on Ray. Imports Keras."""

import contextlib
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt
from rich.console import Console

from results.record import columns
from results.record.history import History
from search.algorithms.oracles import OracleSearcher
from search.doctor import check, check_nodes
from search.engines.ray.placement.rule import custom_rule
from search.errors import (
    FatalTrialError,
    ObjectiveError,
    ProblemError,
    SearchError,
    one_line,
    raise_any,
)
from search.plan.importer import source_paths
from search.plan.plan import Plan, available_cores
from search.plan.registry import Scheduler
from search.plan.task import FitArguments
from search.ray.environment import prepare_environment
from search.ray.nodes import nodes_up
from search.ray.renewable import RenewableRay, StoredData
from search.ray.runtime import connect_to_ray
from search.session.origin import NewRun, Origin, ResumedRun
from search.session.session import DeferredSession, SearchEngine, run_trials
from search.session.stopping import INTERRUPTED, TRIALS_DONE, Stopping
from search.session.warm_start import EarlierSearch, read_warm_start
from search.space import mirror
from search.storage.clock import start_clock
from search.tuner.fit_arguments import check_objective, fit_arguments
from search.tuner.planning import make_plan, make_task
from search.tuner.recorded_tuner import RecordedTuner
from search.tuner.settings import Settings, takes_options
from search.view.live import make_view
from search.view.view import SilentView, View, describe_end
from search.worker.arguments import describe_data, pack


@takes_options
class RayTuner(RecordedTuner):
    """Searches as a tuner of keras-tuner does: on Ray, many trials at once, stopped early.

    Takes what ``keras_tuner.RandomSearch`` takes, in the same order, and what every tuner takes
    by keyword; docs/keras-tuner.md tells the state of each argument and method. Everything that
    happens is in the run folder ``directory/project_name``.

    Args:
        hypermodel: A function ``build_model(hp)`` or a ``HyperModel``.
        objective: Name of a metric, a ``keras_tuner.Objective``, a list of them, or None where
            ``HyperModel.fit`` returns the value to minimize.
        max_trials: Most trials. Default: 10, or what the oracle says.
        seed: Seed of configurations and weights. Default: a random one, kept in run.json.
        hyperparameters: Entries registered in advance, which the builder's own do not change.
        tune_new_entries: Whether entries that are not among those are searched.
        allow_new_entries: Whether there may be any.
        max_retries_per_trial: How often a trial that failed is begun again.
        max_consecutive_failed_trials: The search ends after so many failures in a row.
        executions_per_trial: Trainings of each configuration, whose scores are averaged.
        max_model_size: A model with more trainable weights fails its trial.
        optimizer: To compile with, in the place of the builder's own.
        loss: Likewise.
        metrics: Likewise.
        directory: Folder of projects.
        project_name: The run folder in it.
        overwrite: Whether a search of that name is moved away (to ``NAME.previous``); else it is
            reloaded.
        tuner_id: Taken for compatibility; this tuner has no other beside it.
        logger: Likewise; keras-tuner ignores it too.
        options: The options listed below, by keyword.

    Raises:
        UsageError: Names everything that is wrong with the arguments, a line each.
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
        **options: Any,
    ) -> None:
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
            options=options,
        )
        raise_any(settings.problems(type(self), hypermodel))
        self._settings = settings
        self._registered = settings.registered()  # before the space is explored
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

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until there are ``max_trials``, as ``HyperModel.fit`` is called with.

        Args:
            fit_args: Passed to ``HyperModel.fit``, such as the training data.
            fit_kwargs: Likewise; ``verbose=0`` also keeps the search itself quiet.

        Raises:
            UsageError: Something is wrong with the arguments.
            ProblemError: The arguments cannot be sent to the workers.
            ObjectiveError: The model does not report the objective.
            FailureLimitError: Too many trials failed one after the other.
            keras_tuner.errors.FatalError: A trial raised one.
            KeyboardInterrupt: The user ended the search; what was found is kept.
        """
        clock = start_clock()
        settings, project = self._settings, self._project
        prepare_environment(settings["address"])
        view = SilentView(Console()) if fit_kwargs.get("verbose") == 0 else make_view(Console())
        if self._is_done():
            view.note(f"{self.project_dir}: all {len(self._history.trials)} trials are done.")
            return
        project.check()
        arguments = fit_arguments(self.hypermodel, fit_args, fit_kwargs, settings.max_epochs)
        task = make_task(self, settings, self._objective, self._registered)
        check_objective(
            self._objective,
            self.hypermodel,
            arguments,
            lambda: self._try_build(self.oracle.get_space()),
        )
        earlier = read_warm_start(settings.earlier_search, self._objective)
        self._explore(earlier)
        with contextlib.ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="ray-tuner-", ignore_cleanup_errors=True)
            scratch = Path(stack.enter_context(temporary))
            carried = pack(arguments, scratch)
            run = stack.enter_context(project.locked(self._history, view))
            origin = self._origin(carried, earlier, view)
            if isinstance(origin, ResumedRun):
                task = replace(task, seed=origin.previous.plan.problem.seed)
            ray = stack.enter_context(self._ray(carried, view))
            plan = make_plan(self, settings, carried, task, project.folder)
            _say_starting(plan, view)
            self.on_search_begin()
            space = mirror.mirror_space(self.oracle.get_space().space)
            searcher = settings.oracle and OracleSearcher(
                settings.oracle, space, objective=plan.problem.objective, scratch=str(scratch)
            )
            deferred = DeferredSession(
                plan=plan,
                run=run,
                origin=origin,
                view=view,
                clock=origin.clock(clock),
                searcher=searcher,
                listeners=(self._report, self._call_hooks),
            )
            from search.engines.ray.engine import RayEngine

            self._run(RayEngine(plan, task, ray, space), deferred)
            self.on_search_end()

    def _is_done(self) -> bool:
        """Tell whether the search that was asked for has been made already."""
        if self._history.end_reason != TRIALS_DONE or self._project.overwrites:
            return False
        remaining = self.remaining_trials
        if remaining is not None and remaining <= 0:
            return True
        return bool(self._project.planned_trials() == self.oracle.max_trials)

    def _origin(self, arguments: FitArguments, earlier: EarlierSearch | None, view: View) -> Origin:
        """Return what the search starts from.

        Raises:
            UsageError: The run that goes on was searched with other data.
        """
        if self._project.goes_on(self._history):
            return ResumedRun(self._project.previous(describe_data(arguments), view))
        self.oracle.clear()
        return NewRun(History(self._objective), earlier)

    def _ray(self, arguments: FitArguments, view: View) -> RenewableRay:
        settings = self._settings
        module = getattr(self.hypermodel.build, "__module__", None)
        code = source_paths(module, custom_rule(settings.device_rule))
        forks = "gpu" not in settings.resources
        return RenewableRay(
            partial(connect_to_ray, settings["address"], available_cores(), code, forks=forks),
            partial(_stored, arguments),
            say=view.note,
        )

    def _run(self, engine: SearchEngine, deferred: DeferredSession) -> None:
        """Run the trials.

        Raises:
            KeyboardInterrupt: The user ended the search.
        """
        history, view = deferred.history, deferred.view
        self._history = history
        self._project.overwrites = False  # what follows is this tuner's own
        limit = self.oracle.max_consecutive_failed_trials
        stopping = Stopping(
            deferred.plan, history, deferred.clock, max_consecutive_failed_trials=limit
        )
        reason = run_trials(engine, deferred, stopping)
        if stopping.error is not None:
            raise _raised(stopping.error, history)
        view.note(describe_end(reason, history))
        if reason == INTERRUPTED:
            view.note(
                f"kept in {self.project_dir}: `fmnist-results show {self.project_dir}` lists it, "
                "and this script, run again with overwrite=False, goes on with it"
            )
            raise KeyboardInterrupt

    def _explore(self, earlier: EarlierSearch | None) -> None:
        """Build once with each earlier configuration that names entries not met so far.

        keras-tuner explores conditional scopes; what a builder asks for in a loop it meets only
        where an earlier value leads there.
        """
        for trial in earlier.trials if earlier else ():
            hp = self.oracle.get_space()
            if set(trial.values) <= {parameter.name for parameter in hp.space}:
                continue
            hp.values = hp.values | trial.values
            # What cannot be built, or is not allowed, is named when the trial is fitted.
            with contextlib.suppress(Exception):
                self.hypermodel.build(hp)
                self.oracle.update_space(hp)


def _say_starting(plan: Plan, view: View) -> None:
    """Say what is searched with, and what might go wrong.

    Raises:
        UsageError: Something would.
    """
    nodes = check_nodes() if len(nodes_up()) > 1 else []
    for warning in (*check(plan, is_new=False), *nodes):
        view.note(str(warning))
    name = columns.DISPLAY_NAMES.get(plan.scheduler, plan.scheduler)
    stopping = "without early stopping" if plan.scheduler is Scheduler.NONE else f"under {name}"
    soon = "" if plan.address else " (training begins in 10 to 30 s)"
    view.note(f"starting: {plan.algorithm} {stopping}, {plan.workers} trials at once{soon}")


def _stored(arguments: FitArguments) -> StoredData:
    import ray

    try:
        return StoredData(ray.put(arguments))
    except Exception as error:
        raise ProblemError(
            f"the arguments of search cannot be sent to the workers ({one_line(error)}): expected "
            "arrays, tf.data.Dataset or keras.utils.PyDataset objects and callbacks."
        ) from error


def _raised(error: SearchError, history: History) -> Exception:
    """Return an error as keras-tuner would raise it, with the traceback of a trial."""
    raised: Exception = error
    if isinstance(error, FatalTrialError):
        kind = getattr(kt.errors, error.kind, None)
        if kind is not None:
            raised = kind(str(error))
        elif error.kind == "ObjectiveMissing":
            raised = ObjectiveError(str(error))
    for note in getattr(error, "__notes__", ()):
        raised.add_note(note)
    failed = next((t for t in reversed(history.trials.values()) if t.traceback), None)
    if failed is not None and raised is error:
        raised.add_note(failed.traceback or "")
    return raised
