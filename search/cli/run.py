"""``fmnist-search run`` and ``resume``."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.cli.options import (
    SHIPPED_DATA,
    SHIPPED_SPACES,
    AddressOption,
    AuditOption,
    ConfirmOption,
    LogOption,
    RunArgument,
    SeedsOption,
    carry_out,
    chosen,
    epoch_numbers,
    listed,
    named_problem,
    workers_at_once,
)
from search.doctor import check
from search.errors import SearchError, UsageError, raise_any
from search.plan.plan import (
    CHECKPOINT_SECONDS,
    GPU_SHARE,
    HUNG_AFTER_SECONDS,
    SEEDS,
    Engine,
    Plan,
    Problem,
    Tuner,
    gpu_resources,
    infer_objective,
)
from search.plan.registry import Algorithm, Log, Scheduler
from search.run import resume_run, run, run_or_resume
from search.session.changes import Changes
from search.session.origin import read_previous_run
from search.session.warm_start import read_warm_start
from search.view.live import make_view

DEFAULT_TRIALS = 20
# Without a better val_loss; elsewhere none, which on ``wide`` costs no accuracy: docs/settings.md.
PUBLISHED_PATIENCE_EPOCHS = 5


def run_command(
    space: Annotated[
        str, typer.Option(help=f"Space to search: {', '.join(SHIPPED_SPACES)}.")
    ] = "published",
    trials: Annotated[
        int | None,
        typer.Option(help=f"Most trials. Default {DEFAULT_TRIALS}; no limit with --time-budget."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.")] = 30,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Trials at once (Ray engine). Default: the cores of this machine, or cluster."
        ),
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="End the search after so many seconds.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="End the search when the objective has reached this.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of split, configurations and weights.")] = 0,
    algorithm: Annotated[
        str | None,
        typer.Option(help=f"How configurations are chosen: {listed(Algorithm)}. Default: tpe."),
    ] = None,
    grace_period: Annotated[int, typer.Option(help="ASHA: epochs every trial may train.")] = 1,
    reduction_factor: Annotated[
        float, typer.Option(help="ASHA: about one trial in so many passes a rung.")
    ] = 3.0,
    patience: Annotated[
        int | None,
        typer.Option(
            help="A trial ends after so many epochs without a better val_loss; 0: never. Default: "
            f"{PUBLISHED_PATIENCE_EPOCHS} for published, as in the published work, 0 otherwise."
        ),
    ] = None,
    objective: Annotated[str, typer.Option(help="Metric to search by.")] = "val_accuracy",
    direction: Annotated[
        str | None, typer.Option(help="max or min, where the objective's name does not tell.")
    ] = None,
    retrain_epochs: Annotated[
        str, typer.Option(help="Epochs at which the best is retrained, or none.")
    ] = "20,50,100",
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make. Default: runs/SPACE-ALGORITHM-TIME.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data, handed to the data function.")
    ] = None,
    hypermodel: Annotated[
        str | None,
        typer.Option(help="Another problem: module:attribute of a builder or HyperModel."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Its data: module:attribute of a function giving the splits.")
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="Earlier search to learn from: keras-tuner project, Optuna study, run folder."
        ),
    ] = None,
    fast_epoch: Annotated[
        bool,
        typer.Option(help="Run a whole epoch as one compiled call where Keras's numbers allow it."),
    ] = True,
    reuse_workers: Annotated[
        bool, typer.Option(help="Let a worker process serve many trials.")
    ] = True,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            help="Most training lost with a worker process, or one epoch; 0: keep every epoch."
        ),
    ] = CHECKPOINT_SECONDS,
    defaults_first: Annotated[
        bool, typer.Option(help="Begin with the defaults that the builder declares (Ray engine).")
    ] = True,
    scheduler: Annotated[
        str, typer.Option(help=f"What stops trials early: {listed(Scheduler)}.")
    ] = "asha",
    hung_after: Annotated[
        float, typer.Option(help="Seconds without an epoch after which a trial is ended.")
    ] = HUNG_AFTER_SECONDS,
    log: LogOption = None,
    address: AddressOption = None,
    cpus_per_trial: Annotated[
        float, typer.Option(help="CPUs of a trial, and its threads (Ray engine).")
    ] = 1.0,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            help="GPU of a trial: a share such as 0.25, or whole ones. Default: 0; with "
            f"--resources {GPU_SHARE:g}."
        ),
    ] = None,
    resources: Annotated[
        str | None,
        typer.Option(
            help="Decide for each trial whether it gets a GPU: auto (small models on CPUs, large "
            "ones on shares of a GPU), or module:function of a rule of your own."
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            help="GPUs for trials in all, also those an autoscaler has still to bring. Default: "
            "those that are there."
        ),
    ] = None,
    confirm: ConfirmOption = None,
    seeds: SeedsOption = None,
    audit: AuditOption = None,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Go on with the run at --out where one stands.")
    ] = False,
    engine: Annotated[str, typer.Option(help=f"What runs the trials: {listed(Engine)}.")] = "ray",
    tuner: Annotated[
        str | None,
        typer.Option(help=f"For --engine keras-tuner: {listed(Tuner)}. Default: hyperband."),
    ] = None,
) -> None:
    """Search, then retrain the best configuration and evaluate it once on the test set."""
    problems: list[str] = []
    chosen_engine = chosen(Engine, "--engine", engine, problems)
    chosen_algorithm = chosen(Algorithm, "--algorithm", algorithm or Algorithm.TPE, problems)
    chosen_scheduler = chosen(Scheduler, "--scheduler", scheduler, problems)
    chosen_tuner = chosen(Tuner, "--tuner", tuner or Tuner.HYPERBAND, problems)
    chosen_log = None if log is None else chosen(Log, "--log", log, problems)
    if chosen_engine is Engine.RAY:
        if tuner is not None:
            problems.append(
                f"--tuner {tuner!r} is for --engine keras-tuner: add that, or use --algorithm."
            )
    else:
        address = None  # it runs on this machine, also where RAY_ADDRESS names a cluster
        asked_resources = (resources, gpus_per_trial, gpus) != (None, None, None)
        problems += _for_ray(
            algorithm=algorithm,
            asks_resources=asked_resources or cpus_per_trial != 1,
            defaults_first=defaults_first,
            warm_start=warm_start,
        )
    if seeds is not None and confirm is None:
        problems.append(_seeds_alone(seeds))
    if or_resume and (out is None or chosen_engine is Engine.KERAS_TUNER):
        problems.append(
            "--or-resume: expected --out, which names the run to go on with, and --engine ray."
        )
    share = gpus_per_trial if gpus_per_trial is not None else GPU_SHARE if resources else 0
    reference, space_name = named_problem(space, hypermodel, data, problems)
    is_published = reference == SHIPPED_SPACES["published"]
    usual_patience = PUBLISHED_PATIENCE_EPOCHS if is_published else 0
    planned_epochs = epoch_numbers(retrain_epochs, problems)
    if direction not in (None, "max", "min"):
        problems.append(f"--direction {direction!r}: expected max or min.")
    name = str(chosen_algorithm if chosen_engine is Engine.RAY else chosen_tuner)
    try:
        searched_for = infer_objective(objective, direction)
        plan = Plan(
            problem=Problem(
                hypermodel=reference,
                data=data or SHIPPED_DATA,
                data_dir=data_dir,
                space=space_name,
                objective=searched_for,
                epochs=epochs,
                patience=usual_patience if patience is None else patience,
                seed=seed,
                fast_epoch=fast_epoch,
            ),
            engine=chosen_engine,
            algorithm=chosen_algorithm,
            tuner=chosen_tuner if chosen_engine is Engine.KERAS_TUNER else None,
            trials=_trials(trials, time_budget, chosen_engine, chosen_tuner),
            workers=workers_at_once(workers, chosen_engine, cpus_per_trial),
            elastic=address is not None and workers is None,
            address=address,
            cpus_per_trial=cpus_per_trial,
            other_resources=gpu_resources(share),
            device_rule=resources,
            gpus=gpus,
            scheduler=chosen_scheduler,
            hung_after_seconds=hung_after,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
            time_budget_seconds=time_budget,
            target=target,
            retrain_epochs=planned_epochs,
            out=out or _default_out(space_name, name),
            warm_start=warm_start,
            reuse_workers=reuse_workers,
            checkpoint_seconds=checkpoint_seconds,
            defaults_first=defaults_first,
            log=chosen_log,
            confirm=confirm,
            seeds=SEEDS if seeds is None else seeds,
            audit=audit,
        )
        check(plan, is_new=not or_resume)
    except UsageError as error:
        problems.append(str(error))
    else:
        try:
            read_warm_start(warm_start, searched_for)
        except SearchError as error:
            problems.append(f"--warm-start: {error}")
    raise_any(problems)
    view = make_view(Console())
    search = run_or_resume if or_resume else run
    carry_out(lambda: search(plan, view), plan.out, view)


def resume_command(
    run_folder: RunArgument,
    trials: Annotated[
        int | None, typer.Option(help="Most trials, those of before included.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of a new trial.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(help="End the search after so many seconds, those of before included."),
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="End the search when the objective has reached this.")
    ] = None,
    retrain_epochs: Annotated[
        str | None, typer.Option(help="Epochs at which the best is retrained, or none.")
    ] = None,
    log: LogOption = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPU of a trial from now on; 0: none.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs for trials in all, as for run.")] = None,
    confirm: ConfirmOption = None,
    seeds: SeedsOption = None,
    audit: AuditOption = None,
    address: AddressOption = None,
) -> None:
    """Go on with a run that was cut off, or extend a finished one."""
    problems: list[str] = []
    planned = None if retrain_epochs is None else epoch_numbers(retrain_epochs, problems)
    chosen_log = None if log is None else chosen(Log, "--log", log, problems)
    if seeds is not None and confirm is None and read_previous_run(run_folder).plan.confirm is None:
        problems.append(_seeds_alone(seeds))
    raise_any(problems)
    changes = Changes(
        trials=trials,
        epochs=epochs,
        workers=workers,
        time_budget_seconds=time_budget,
        target=target,
        retrain_epochs=planned,
        log=chosen_log,
        gpus_per_trial=gpus_per_trial,
        gpus=gpus,
        confirm=confirm,
        seeds=seeds,
        audit=audit,
        address=address,
    )
    view = make_view(Console())
    carry_out(lambda: resume_run(run_folder, changes, view), run_folder, view)


def _for_ray(
    *, algorithm: str | None, asks_resources: bool, defaults_first: bool, warm_start: str | None
) -> Iterator[str]:
    """Say which options keras-tuner's engine does not know, a line each."""
    if algorithm is not None:
        yield f"--algorithm {algorithm!r} is for --engine ray: use --tuner."
    if asks_resources:
        yield (
            "--cpus-per-trial, --gpus-per-trial, --gpus and --resources are for --engine ray: "
            "keras-tuner runs one trial at a time, on all that is there."
        )
    if not defaults_first:
        yield "--no-defaults-first is for --engine ray: keras-tuner draws its first."
    if warm_start is not None:
        yield f"--warm-start {warm_start!r} is for --engine ray: its searchers learn."


def _seeds_alone(seeds: int) -> str:
    return f"--seeds {seeds} is for --confirm: add that."


def _trials(trials: int | None, budget: float | None, engine: Engine, tuner: Tuner) -> int | None:
    # Hyperband and grid search know by themselves how many trials they need.
    knows_itself = engine is Engine.KERAS_TUNER and tuner in (Tuner.HYPERBAND, Tuner.GRID)
    return trials if trials is not None or budget is not None or knows_itself else DEFAULT_TRIALS


def _default_out(space: str, algorithm: str) -> Path:
    return Path("runs") / f"{space}-{algorithm}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
