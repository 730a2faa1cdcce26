"""``RayTuner``: a tuner of keras-tuner that runs its trials on Ray. Imports Keras."""

import contextlib
import inspect
import operator
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from rich.console import Console

from results.record.history import DEFAULT_OBJECTIVE, History
from results.record.journal import Event, read
from search.algorithms.base import Searcher
from search.algorithms.factory import make_searcher
from search.doctor import check, check_nodes
from search.engines.engine import run_trials
from search.engines.ray.placement.rule import own_rule
from search.engines.ray.ray_engine import RayEngine
from search.errors import (
    FatalTrialError,
    ObjectiveError,
    ProblemError,
    SearchError,
    UsageError,
    nearest,
    objective_not_reported,
    one_line,
)
from search.plan.importer import sources
from search.plan.plan import ASHA, AUTO, Engine, Plan, Problem, available_cores
from search.plan.registry import Scheduler
from search.plan.task import Carried, FitArguments, Task
from search.ray.environment import prepare_environment
from search.ray.nodes import nodes_up
from search.ray.renewable import RenewableRay, Stored
from search.ray.runtime import cluster, has_other_nodes
from search.ray.size import trials_at_once
from search.session.origin import NewRun, Origin, ResumedRun
from search.session.resume import PreviousRun, read_previous_run
from search.session.run_file import described_problem, read_asked
from search.session.session import DeferredSession, SessionSetup
from search.session.stopping import INTERRUPTED, TRIALS_DONE, Stopping
from search.session.warm_start import KERAS_TUNER_FILE, EarlierSearch, read_warm_start
from search.space import mirror
from search.space.parameters import Space
from search.storage.clock import Clock, since_now
from search.storage.folder import LockedRun, RunFolder, locked_run, new_run
from search.tuner.reporting_oracle import ReportingOracle
from search.tuner.settings import Settings, checked, plain_objective
from search.view.plain import SilentView, ending
from search.view.view import View, make_view
from search.worker import process
from search.worker.arguments import described, packed
from search.worker.trial import MendedTuner, load_best_weights

# Where fit itself decides on the epochs: ASHA's rungs up to here.
UNKNOWN_EPOCHS = 100


class RayTuner(MendedTuner):
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
        algorithm: ``tpe``, ``random``, or an oracle of keras-tuner.
        scheduler: ``asha``, an ``ASHA(...)`` with its settings, or ``none``. Default: ASHA,
            except with Hyperband's oracle.
        max_epochs: Most epochs of a trial: takes the place of ``epochs`` in ``search``.
        resources_per_trial: What a trial takes of Ray's resources. Default: ``{"cpu": 1}``.
            ``"auto"``: small models take a CPU, large ones a quarter of a GPU too, or as a
            ``"module:function"`` of your own decides.
        address: The Ray cluster to run on. Default: one of this machine, for this search alone.
        warm_start: An earlier search whose finished trials the algorithm learns from: a
            keras-tuner project folder, an Optuna study or a run folder.
        fast_epoch: Whether ``fit`` may run a whole epoch as one compiled call, where that is
            known to give Keras's numbers.
        reuse_workers: Whether a worker process serves many trials.
        hung_after: Seconds without an epoch after which a trial is ended. Default: never.
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
        others: What only single tuners of keras-tuner take: refused, with what to write instead.

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
        algorithm: Any = "tpe",
        scheduler: Any = AUTO,
        max_epochs: int | None = None,
        resources_per_trial: dict[str, float] | str | None = None,
        address: str | None = None,
        warm_start: Any = None,
        fast_epoch: bool = True,
        reuse_workers: bool = True,
        hung_after: float | None = None,
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
        **others: Any,
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
            algorithm=algorithm,
            scheduler=scheduler,
            max_epochs=max_epochs,
            resources_per_trial=resources_per_trial,
        )
        checked(settings.problems(type(self), hypermodel, others))
        self._settings = settings
        self._address = address
        self._warm_start = None if warm_start is None else os.fspath(warm_start)
        self._fast_epoch = fast_epoch
        self._reuse_workers = reuse_workers
        self._hung_after = hung_after
        self._overwrites = overwrite
        self._registered = _config(settings)
        self._run_folder = RunFolder(_path(directory, project_name))
        oracle = ReportingOracle(**settings.book_arguments())
        self._objective = plain_objective(oracle.objective)
        self._history = History(self._objective)
        super().__init__(
            oracle,
            hypermodel,
            max_model_size=max_model_size,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            directory=directory,
            project_name=project_name,
            tuner_id=tuner_id,
            executions_per_trial=executions_per_trial,
        )

    @property
    def project_dir(self) -> str:
        """The run folder; it is made when the search begins."""
        return str(self._run_folder.path)

    def _get_tuner_fname(self) -> str:
        # keras-tuner reloads where this file stands, and explores the space where it does not.
        folder = self._run_folder
        file = folder.run_file if folder.run_file.exists() else folder.journal_file
        return "" if self._overwrites else str(file)

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
        clock = since_now()
        prepare_environment(self._address)
        view = SilentView(Console()) if fit_kwargs.get("verbose") == 0 else make_view(Console())
        if self._is_done():
            view.note(f"{self.project_dir}: all {len(self._history.trials)} trials are done.")
            return
        self._check_folder()
        arguments = FitArguments(fit_args, self._fit_kwargs(fit_kwargs))
        task = self._task(arguments)
        self._check_objective(arguments)
        earlier = read_warm_start(self._warm_start, self._objective)
        self._explore(earlier)
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(_scratch())
            carried = packed(arguments, scratch)
            run = stack.enter_context(self._held(view))
            previous = self._previous(carried, view)
            task = replace(task, seed=previous.plan.problem.seed) if previous else task
            ray = RenewableRay(
                partial(
                    cluster,
                    self._address,
                    available_cores(),
                    sources(
                        getattr(self.hypermodel.build, "__module__", None),
                        own_rule(self._settings.device_rule),
                    ),
                    forks="gpu" not in self._settings.resources,
                ),
                partial(_stored, carried),
                say=view.note,
            )
            stack.enter_context(ray)
            plan = self._plan(carried, task)
            nodes = check_nodes() if len(nodes_up()) > 1 else []
            for warning in (*check(plan, is_new=False), *nodes):
                view.note(str(warning))
            stopping = (
                "under ASHA" if plan.scheduler is Scheduler.ASHA else "without early stopping"
            )
            soon = "" if plan.address else " (training begins in 10 to 30 s)"
            view.note(f"starting: {plan.algorithm} {stopping}, {plan.workers} trials at once{soon}")
            self.on_search_begin()
            origin = ResumedRun(previous) if previous else NewRun(History(self._objective), earlier)
            self._run(
                plan,
                task,
                ray,
                view,
                run=run,
                origin=origin,
                searcher=self._searcher(plan, scratch),
                clock=origin.clock(clock),
            )
            self.on_search_end()

    def _run(
        self,
        plan: Plan,
        task: Task,
        ray: RenewableRay,
        view: View,
        *,
        run: LockedRun,
        origin: Origin,
        searcher: Searcher,
        clock: Clock,
    ) -> None:
        self._history = history = origin.history
        stopping = Stopping(
            plan,
            history,
            clock,
            max_consecutive_failed_trials=self.oracle.max_consecutive_failed_trials,
        )
        self._overwrites = False  # what follows is this tuner's own
        setup = SessionSetup(
            plan=plan,
            run=run,
            origin=origin,
            view=view,
            clock=clock,
            searcher=searcher,
            listeners=(self._keep_book, self._call_hooks),
        )
        deferred = DeferredSession(setup)
        reason = run_trials(RayEngine(plan, task, ray, searcher.space), deferred, stopping)
        if stopping.error is not None:
            raise _raised(stopping.error, history)
        view.note(ending(reason, history))
        if reason == INTERRUPTED:
            view.note(
                f"kept in {self.project_dir}: `fmnist-results show {self.project_dir}` lists it, "
                "and this script, run again with overwrite=False, goes on with it"
            )
            raise KeyboardInterrupt

    def load_model(self, trial: kt.engine.trial.Trial) -> keras.Model:
        """Build a trial's model, with the weights of its best epoch.

        Raises:
            UsageError: Its weights are not kept: those of the ten best trials are.
        """
        number = int(trial.trial_id)
        if not self._run_folder.best_weights_file(number).exists():
            raise UsageError(
                f"trial {trial.trial_id} has no weights in {str(self._run_folder.checkpoints)!r}: "
                "those of the ten best trials are kept. Ask for fewer models, or train it with "
                "tuner.hypermodel.build(trial.hyperparameters)."
            )
        model = self._try_build(trial.hyperparameters)
        load_best_weights(model, self._run_folder, number)
        return model

    def save(self) -> None:
        """Do nothing: the journal of the run folder is written as things happen."""

    def reload(self) -> None:
        """Read the run folder: its trials, their scores, the space.

        Raises:
            SearchError: It cannot be read, or another objective was searched for.
        """
        events = read(self._run_folder.journal_file).events
        problem = described_problem(self._run_folder, read_asked(self._run_folder, events))
        if problem.objective != self._objective:
            raise UsageError(
                f"{self.project_dir!r} was searched for {problem.objective.name} "
                f"({problem.objective.mode}), not for {self._objective.name}: expected the same "
                "objective. Name another project, or say overwrite=True."
            )
        self._populate_initial_space()
        self._history = History(self._objective)
        for event in events:
            self._history.apply(event)
            self._keep_book(event)

    def on_trial_end(self, trial: kt.engine.trial.Trial) -> None:
        """Called when a trial has ended; for a subclass to use."""

    def _keep_book(self, event: Event) -> None:
        kind: str = event["event"]
        if kind == "space_grown":
            self.oracle.update_space(mirror.hyperparameters(Space.from_json(event["parameters"])))
        if event.get("trial") not in self._history.trials:
            return
        if kind.startswith("trial_"):
            self.oracle.show(self._history.trials[event["trial"]])

    def _call_hooks(self, event: Event) -> None:
        hooks = {"trial_started": self.on_trial_begin, "trial_ended": self.on_trial_end}
        if event["event"] in hooks and event["trial"] in self._history.trials:
            hooks[event["event"]](self.oracle.get_trial(self.oracle.name(event["trial"])))

    def _is_done(self) -> bool:
        """Tell whether the search that was asked for has been made already."""
        if self._history.end_reason != TRIALS_DONE or self._overwrites:
            return False
        remaining = self.remaining_trials
        if remaining is not None and remaining <= 0:
            return True
        events = read(self._run_folder.journal_file).events
        asked = read_asked(self._run_folder, events)["plan"]["trials"]
        return bool(asked == self.oracle.max_trials)

    def _check_folder(self) -> None:
        path = self._run_folder.path
        if not path.exists() or not any(path.iterdir()):
            return
        if (path / KERAS_TUNER_FILE).exists():
            raise UsageError(
                f"{str(path)!r} is a project of keras-tuner: it is left as it is, overwrite=True "
                f"or not. Name another project_name; warm_start={str(path)!r} learns from it."
            )
        if not self._is_run():
            raise UsageError(
                f"{str(path)!r} holds no run of RayTuner: expected a new folder, so that nothing "
                "is lost. Name another directory or project_name."
            )

    def _is_run(self) -> bool:
        return self._run_folder.run_file.exists() or self._run_folder.journal_file.exists()

    def _goes_on(self) -> bool:
        """Tell whether the folder holds a search that this one goes on with.

        One that found nothing makes room for the next try.
        """
        has_something = self._history.best is not None or bool(self._history.unfinished())
        return not self._overwrites and has_something

    @contextlib.contextmanager
    def _held(self, view: View) -> Iterator[LockedRun]:
        """Hold the run folder, a new one where there is nothing to go on with."""
        path = self._run_folder.path
        if self._goes_on():
            with locked_run(self._run_folder, view.note) as run:
                yield run
            return
        if path.exists():
            if self._is_run():
                with locked_run(self._run_folder, view.note):
                    pass  # nobody else is searching in what is moved
            moved = _move_away(path)
            if moved is not None:
                view.note(f"{self.project_dir}: what was there is now in {moved.name}")
        self.oracle.clear()
        with new_run(path, view.note) as run:
            yield run

    def _previous(self, arguments: FitArguments, view: View) -> PreviousRun | None:
        """Read the search that is gone on with.

        Raises:
            UsageError: It was made with other data.
        """
        if not self._goes_on():
            return None
        previous = read_previous_run(self._run_folder.path)
        for note in previous.notes:
            view.note(note)
        data = described(arguments)
        if data != previous.plan.problem.data:
            raise UsageError(
                f"{self.project_dir!r} was searched with other data ({previous.plan.problem.data}, "
                f"now {data}): its figures would not be of one problem. Give search the same, or "
                "name another project_name."
            )
        return previous

    def _fit_kwargs(self, given: dict[str, Any]) -> dict[str, Any]:
        kwargs = dict(given)
        # A fit of the user's own may set by itself what it does not name.
        known = {*inspect.signature(self.hypermodel.fit).parameters, *given}
        if not mirror.has_own_fit(self.hypermodel):
            known |= {"epochs", "verbose"}
        if self._settings.max_epochs is not None and "epochs" in known:
            kwargs["epochs"] = self._settings.max_epochs
        if "verbose" in known:
            kwargs["verbose"] = 0  # a bar that nobody sees costs time after every batch
        return kwargs

    def _task(self, arguments: FitArguments) -> Task:
        overrides = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
        overrides = {name: value for name, value in overrides.items() if value is not None}
        return Task(
            hypermodel=Carried.of(self.hypermodel, "hypermodel"),
            objective=self._objective,
            epochs=self._settings.max_epochs,
            patience=0,
            seed=self._seed(),
            trial_digits=len(str(self.oracle.max_trials)),
            keras_settings=process.keras_settings(),
            executions_per_trial=self.executions_per_trial,
            max_retries_per_trial=self.oracle.max_retries_per_trial,
            max_model_size=self.max_model_size,
            compile_overrides=Carried.of(overrides, "optimizer, loss or metrics"),
            registered=self._registered,
            tune_new_entries=self.oracle.tune_new_entries,
            allow_new_entries=self.oracle.allow_new_entries,
            fast_epoch=self._fast_epoch,
        )

    def _seed(self) -> int:
        given = self._settings.book_arguments()["seed"]
        return random.randrange(2**31) if given is None else given

    def _plan(self, arguments: FitArguments, task: Task) -> Plan:
        settings = self._settings
        oracle = settings.oracle
        epochs = _epochs(self.hypermodel, arguments)
        if isinstance(oracle, kt.oracles.HyperbandOracle):
            epochs = oracle.max_epochs
        if epochs is None:
            has_own_fit = mirror.has_own_fit(self.hypermodel)
            epochs = settings.max_epochs or (UNKNOWN_EPOCHS if has_own_fit else 1)
        asha = settings.asha
        rungs = asha or ASHA()
        resources = dict(settings.resources)
        cpus = resources.pop("cpu")
        return Plan(
            problem=Problem(
                hypermodel=None,
                data=described(arguments),
                data_dir=None,
                space=self._run_folder.path.name,
                objective=self._objective,
                epochs=epochs,
                patience=0,
                seed=task.seed,
                fast_epoch=self._fast_epoch,
            ),
            engine=Engine.RAY,
            algorithm=settings.algorithm_name,
            trials=self.oracle.max_trials,
            workers=trials_at_once({"cpu": cpus} if settings.device_rule else settings.resources),
            elastic=has_other_nodes(),
            address=self._address,
            cpus_per_trial=cpus,
            other_resources=resources,
            device_rule=settings.device_rule,
            scheduler=Scheduler.ASHA if asha else Scheduler.NONE,
            grace_period=min(rungs.grace_period, epochs),
            reduction_factor=rungs.reduction_factor,
            time_budget_seconds=None,
            target=None,
            retrain_epochs=(),
            out=self._run_folder.path,
            warm_start=self._warm_start,
            reuse_workers=self._reuse_workers,
            hung_after_seconds=self._hung_after,
            # Hyperband trains on from the weights of any trial of a round.
            kept_weights=None if isinstance(oracle, kt.oracles.HyperbandOracle) else 10,
        )

    def _searcher(self, plan: Plan, scratch: Path) -> Searcher:
        space = mirror.mirror(self.oracle.get_space().space)
        return make_searcher(plan, space, oracle=self._settings.oracle, scratch=str(scratch))

    def _check_objective(self, arguments: FitArguments) -> None:
        """Check that the model reports the objective, where that can be known without training.

        Raises:
            ObjectiveError: It reports others.
        """
        if self._objective.name == DEFAULT_OBJECTIVE and mirror.has_own_fit(self.hypermodel):
            return
        reported = self._reported(arguments)
        if reported is None:
            return
        if self._objective.name == DEFAULT_OBJECTIVE:
            raise ObjectiveError(
                "objective is missing: expected one of the metrics that an epoch reports, "
                f"{', '.join(sorted(reported))}; only a HyperModel.fit that returns its score can "
                "do without."
            )
        for part in self._objective.parts or (self._objective,):
            # Callbacks of Keras that change the learning rate report it.
            if part.name in reported | {"learning_rate"}:
                continue
            said = objective_not_reported(part.name, reported)
            if part.name.removeprefix("val_") in reported:
                said = (
                    f"objective {part.name!r} needs data to validate on: give search "
                    "validation_data=(x, y) or validation_split=0.2."
                )
            raise ObjectiveError(said)

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

    def _reported(self, arguments: FitArguments) -> set[str] | None:
        """Return the names that an epoch reports, from one look at one sample; None: unknown."""
        callbacks = arguments.kwargs.get("callbacks") or []
        foreign = [c for c in callbacks if not type(c).__module__.startswith("keras.")]
        if mirror.has_own_fit(self.hypermodel) or foreign:
            return None
        try:
            model = self._try_build(self.oracle.get_space())
        except Exception:  # what is wrong with it, the trials say
            return None
        if type(model).fit is keras.Model.fit:
            _check_arguments_of_fit(arguments)
        if type(model).train_step is not keras.Model.train_step:
            return None
        try:
            names = _evaluated(model, arguments)
        except Exception:  # what is wrong with model or data, the trials say
            return None
        kwargs = arguments.kwargs
        if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
            names |= {f"val_{name}" for name in names}
        return names


def _epochs(hypermodel: kt.HyperModel, arguments: FitArguments) -> int | None:
    """Return the epochs that ``fit`` is asked for, by position or by name."""
    fit = hypermodel.fit if mirror.has_own_fit(hypermodel) else keras.Model.fit
    hidden = (None, None) if mirror.has_own_fit(hypermodel) else (None,)  # hp and model, or self
    try:
        bound = inspect.signature(fit).bind_partial(*hidden, *arguments.args, **arguments.kwargs)
    except TypeError:
        return None
    given = bound.arguments.get("epochs", arguments.kwargs.get("epochs"))
    return None if given is None else operator.index(given)


def _check_arguments_of_fit(arguments: FitArguments) -> None:
    """Check that Keras's own ``fit`` knows what ``search`` was given.

    Raises:
        UsageError: Names what it does not know.
    """
    known = inspect.signature(keras.Model.fit).parameters
    unknown = [name for name in arguments.kwargs if name not in known]
    checked(
        [
            f"search({name}=...): model.fit takes no {name!r}.{nearest(name, known)}"
            for name in unknown
        ]
    )


def _evaluated(model: keras.Model, arguments: FitArguments) -> set[str]:
    given = inspect.signature(model.fit).bind(*arguments.args, **arguments.kwargs).arguments
    inputs, targets = given.get("x"), given.get("y")
    if targets is None:
        assert inputs is not None
        batch = inputs[0] if isinstance(inputs, keras.utils.PyDataset) else next(iter(inputs))
        inputs, targets = batch[0], batch[1]
    model.run_eagerly = True  # one sample is not worth compiling for
    first = partial(keras.tree.map_structure, lambda array: array[:1])
    logs = model.evaluate(first(inputs), first(targets), verbose=0, return_dict=True)
    return set(logs)


def _config(settings: Settings) -> dict[str, Any] | None:
    hyperparameters = settings.book_arguments()["hyperparameters"]
    if hyperparameters is None or not hyperparameters.space:
        return None
    config: dict[str, Any] = hyperparameters.get_config()
    return config


def _path(directory: Any, project_name: str | None) -> Path:
    return Path(os.fspath(directory or ".")) / (project_name or "untitled_project")


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ray-tuner-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _stored(arguments: FitArguments) -> Stored:
    import ray

    try:
        return Stored(ray.put(arguments))
    except Exception as error:
        raise ProblemError(
            f"the arguments of search cannot be sent to the workers ({one_line(error)}): expected "
            "arrays, tf.data.Dataset or keras.utils.PyDataset objects and callbacks."
        ) from error


def _move_away(path: Path) -> Path | None:
    """Make room where an earlier search stands, by moving it to a name like ``NAME.previous``.

    Returns:
        Where it is now; None where there was nothing in the folder.
    """
    if not any(path.iterdir()):
        path.rmdir()
        return None
    names = chain([".previous"], map(".previous-{}".format, count(2)))
    free = next(f for n in names if not (f := path.with_name(path.name + n)).exists())
    return path.rename(free)


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
