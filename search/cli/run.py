"""``fmnist-search``: thin over ``search.run``."""

import contextlib
import datetime
import math
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from typer.exceptions import TyperException

from results.record import columns
from results.record.files import read_json
from results.record.history import Objective
from results.record.values import Values
from search.doctor import check, examine, is_ready
from search.errors import SearchError, UsageError, nearest
from search.exchange.export import Part, export_run, recorded_space
from search.exchange.importing import import_run
from search.final.follow_up import Outcome, audit_run, confirm_run, retrain_run
from search.plan.plan import (
    CHECKPOINT_SECONDS,
    GPU_SHARE,
    HUNG_AFTER_SECONDS,
    SEEDS,
    Confirmation,
    Engine,
    Plan,
    Problem,
    Tuner,
    gpu_resources,
    infer_objective,
    local_workers,
)
from search.plan.registry import Algorithm, Log, Scheduler
from search.replay import replay
from search.run import rebuilt, resume_run, run, run_or_resume
from search.session.changes import Changes
from search.session.resume import read_previous_run
from search.session.stopping import INTERRUPTED
from search.session.warm_start import read_warm_start
from search.space.parameters import ORACLE_VALUES, Space
from search.view.view import View, make_view

# The problem that ships with the project, by name: nothing of it is imported here.
SHIPPED_SPACES = {"published": "fmnist_model.mlp:published", "wide": "fmnist_model.mlp:Wide"}
# Without a better val_loss; elsewhere none, which on ``wide`` costs no accuracy: docs/settings.md.
PUBLISHED_PATIENCE_EPOCHS = 5
SHIPPED_DATA = "fmnist_model.data:load_data"
DEFAULT_TRIALS = 20
INTERRUPTED_STATUS = 130
NO_RETRAINING = "none"
AGAIN = "interrupted; what is trained is kept: the same command goes on"

Choice = TypeVar("Choice", bound=StrEnum)

app = typer.Typer(
    help="Run a keras-tuner search on Ray with early stopping; retrain and evaluate the best.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


Address = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to run on: HOST:PORT, or auto for the one of this machine.",
    ),
]


def _choices(choices: type[StrEnum]) -> str:
    return ", ".join(choices)


LogOption = Annotated[
    str | None,
    typer.Option(help=f"Write each trial's scalars and values for: {_choices(Log)}."),
]


ConfirmOption = Annotated[
    int | None,
    typer.Option(help="Train so many of the best again on new seeds, and choose by the mean."),
]
SeedsOption = Annotated[
    int | None, typer.Option(help=f"With --confirm: so many new seeds. Default: {SEEDS}.")
]
AuditOption = Annotated[
    int | None,
    typer.Option(help="Let so many stopped trials run to the end, to see what stopping cost."),
]


@app.callback()
def _options(
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error."),
    ] = False,
) -> None:
    """Take the options of all commands."""


@app.command("run")
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
        typer.Option(help=f"How configurations are chosen: {_choices(Algorithm)}. Default: tpe."),
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
        str, typer.Option(help=f"What stops trials early: {_choices(Scheduler)}.")
    ] = "asha",
    hung_after: Annotated[
        float, typer.Option(help="Seconds without an epoch after which a trial is ended.")
    ] = HUNG_AFTER_SECONDS,
    log: LogOption = None,
    address: Address = None,
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
    engine: Annotated[str, typer.Option(help=f"What runs the trials: {_choices(Engine)}.")] = "ray",
    tuner: Annotated[
        str | None,
        typer.Option(help=f"For --engine keras-tuner: {_choices(Tuner)}. Default: hyperband."),
    ] = None,
) -> None:
    """Search, then retrain the best configuration and evaluate it once on the test set."""
    wrong: list[str] = []
    chosen_engine = _chosen(Engine, "--engine", engine, wrong)
    chosen_algorithm = _chosen(Algorithm, "--algorithm", algorithm or Algorithm.TPE, wrong)
    chosen_scheduler = _chosen(Scheduler, "--scheduler", scheduler, wrong)
    chosen_tuner = _chosen(Tuner, "--tuner", tuner or Tuner.HYPERBAND, wrong)
    chosen_log = None if log is None else _chosen(Log, "--log", log, wrong)
    if tuner is not None and chosen_engine is Engine.RAY:
        wrong.append(
            f"--tuner {tuner!r} is for --engine keras-tuner: add that, or use --algorithm."
        )
    if algorithm is not None and chosen_engine is Engine.KERAS_TUNER:
        wrong.append(f"--algorithm {algorithm!r} is for --engine ray: use --tuner.")
    if chosen_engine is Engine.KERAS_TUNER:
        address = None  # it runs on this machine, also where RAY_ADDRESS names a cluster
    asks_resources = (resources, gpus_per_trial, gpus) != (None, None, None) or cpus_per_trial != 1
    if asks_resources and chosen_engine is Engine.KERAS_TUNER:
        wrong.append(
            "--cpus-per-trial, --gpus-per-trial, --gpus and --resources are for --engine ray: "
            "keras-tuner runs one trial at a time, on all that is there."
        )
    if seeds is not None and confirm is None:
        wrong.append(_seeds_alone(seeds))
    if or_resume and (out is None or chosen_engine is Engine.KERAS_TUNER):
        wrong.append(
            "--or-resume: expected --out, which names the run to go on with, and --engine ray."
        )
    if not defaults_first and chosen_engine is Engine.KERAS_TUNER:
        wrong.append("--no-defaults-first is for --engine ray: keras-tuner draws its first.")
    if warm_start is not None and chosen_engine is Engine.KERAS_TUNER:
        wrong.append(f"--warm-start {warm_start!r} is for --engine ray: its searchers learn.")
    share = gpus_per_trial if gpus_per_trial is not None else GPU_SHARE if resources else 0
    reference, space_name = _hypermodel(space, hypermodel, data, wrong)
    planned_epochs = _epochs(retrain_epochs, wrong)
    if direction not in (None, "max", "min"):
        wrong.append(f"--direction {direction!r}: expected max or min.")
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
                patience=_patience(reference) if patience is None else patience,
                seed=seed,
                fast_epoch=fast_epoch,
            ),
            engine=chosen_engine,
            algorithm=chosen_algorithm,
            tuner=chosen_tuner if chosen_engine is Engine.KERAS_TUNER else None,
            trials=_trials(trials, time_budget, chosen_engine, chosen_tuner),
            workers=_workers(workers, chosen_engine, cpus_per_trial),
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
        wrong.append(str(error))
    else:
        wrong += _warm_start_problems(warm_start, searched_for)
    if wrong:
        raise UsageError("\n".join(wrong))
    view = make_view(Console())
    with _interruptible(plan.out, view):
        outcome = run_or_resume(plan, view) if or_resume else run(plan, view)
    _say(outcome, view)


@app.command("doctor")
def doctor_command(
    space: Annotated[str, typer.Option(help=f"Space: {', '.join(SHIPPED_SPACES)}.")] = "published",
    hypermodel: Annotated[
        str | None, typer.Option(help="Another problem: module:attribute, as for run.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Its data: module:attribute.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data.")] = None,
    objective: Annotated[str, typer.Option(help="Metric to search by.")] = "val_accuracy",
    direction: Annotated[str | None, typer.Option(help="max or min.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that the run would be in.")] = Path("runs"),
    address: Address = None,
) -> None:
    """Find what would go wrong in a search: versions, disk, data, the corners of the space."""
    wrong: list[str] = []
    reference, space_name = _hypermodel(space, hypermodel, data, wrong)
    try:
        searched_for = infer_objective(objective, direction)
    except UsageError as error:
        wrong.append(str(error))
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        wrong.append(f"--data-dir {data_dir!r}: there is no such folder.")
    if wrong:
        raise UsageError("\n".join(wrong))
    plan = Plan(
        problem=Problem(
            hypermodel=reference,
            data=data or SHIPPED_DATA,
            data_dir=data_dir,
            space=space_name,
            objective=searched_for,
            epochs=1,
            patience=0,
            seed=0,
        ),
        engine=Engine.RAY,
        algorithm=Algorithm.TPE,
        trials=1,
        workers=_workers(workers, Engine.RAY, 1.0),
        grace_period=1,
        reduction_factor=3,
        time_budget_seconds=None,
        target=None,
        retrain_epochs=(1,),
        out=out,
    )
    view = make_view(Console())
    found = []
    for finding in examine(plan, address):
        found.append(finding)
        view.note(str(finding))
    if not is_ready(found):
        raise typer.Exit(1)
    view.note("ready to search")


@app.command("resume")
def resume_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
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
    address: Address = None,
) -> None:
    """Go on with a run that was cut off, or extend a finished one."""
    wrong: list[str] = []
    planned = None if retrain_epochs is None else _epochs(retrain_epochs, wrong)
    chosen_log = None if log is None else _chosen(Log, "--log", log, wrong)
    if seeds is not None and confirm is None and read_previous_run(run_folder).plan.confirm is None:
        wrong.append(_seeds_alone(seeds))
    if wrong:
        raise UsageError("\n".join(wrong))
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
    with _interruptible(run_folder, view):
        outcome = resume_run(run_folder, changes, view)
    _say(outcome, view)


@app.command("replay")
def replay_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Number of the trial.")],
) -> None:
    """Train one trial again from its record, and compare every epoch with the journal."""
    view = make_view(Console())
    found = replay(run_folder, trial, view)
    if found.is_the_same:
        view.note(f"trial {trial}: {found.epochs} epochs, each with the same bits as the journal's")
        return
    for one in found.differences:
        view.note(f"epoch {one.epoch}, {one.metric}: {one.now!r}, in the journal {one.then!r}")
    if found.end is not None:
        view.note(f"it ended otherwise: {found.end}")
    view.note(f"trial {trial} is not what it was")
    raise typer.Exit(1)


@app.command("tables")
def tables_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Write the tables of a run anew from its journal."""
    view = make_view(Console())
    folder = rebuilt(run_folder, view)
    view.note(f"written: {os.path.relpath(folder.trials_file)}, {folder.epochs_file.name}")


@app.command("retrain")
def retrain_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    retrain_epochs: Annotated[
        str, typer.Option(help="Epochs at which the best is retrained.")
    ] = "20,50,100",
) -> None:
    """Retrain and evaluate the best configuration of a run again."""
    wrong: list[str] = []
    planned_epochs = _epochs(retrain_epochs, wrong)
    if wrong:
        raise UsageError("\n".join(wrong))
    view = make_view(Console())
    with _interruptible(run_folder, view):
        outcome = retrain_run(run_folder, planned_epochs, view)
    _say(outcome, view)


@app.command("confirm")
def confirm_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    top: Annotated[int, typer.Option(help="So many of its best configurations.")] = 3,
    seeds: Annotated[int, typer.Option(help="So many new seeds.")] = SEEDS,
    retrain_epochs: Annotated[
        str, typer.Option(help="Epochs at which each is trained.")
    ] = "20,50,100",
    also: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON file of a configuration to train beside them, such as a best.json."
        ),
    ] = None,
    address: Address = None,
) -> None:
    """Train the best of a run again on new seeds, choose by the mean, evaluate the winner."""
    wrong: list[str] = []
    planned = _epochs(retrain_epochs, wrong)
    others = _configurations(also or [], wrong)
    names = _names(others)
    asked = Confirmation(
        top, seeds, planned, {names[file]: values for file, values in others.items()}
    )
    wrong += asked.problems(top_option="--top")
    space = _recorded_space(run_folder, wrong) if others else Space(())
    for file, values in others.items():
        wrong += _unknown_names(file, values, space)
    if wrong:
        raise UsageError("\n".join(wrong))
    view = make_view(Console())
    for file, values in others.items():
        _say_defaults(file, values, space, view)
    with _interruptible(run_folder, view, is_repeatable=True):
        outcome = confirm_run(run_folder, asked, view, address=address)
    _say(outcome, view, is_repeatable=True)


@app.command("audit")
def audit_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    trials: Annotated[int, typer.Option(help="So many of the trials that were stopped.")] = 10,
    address: Address = None,
) -> None:
    """Let some stopped trials of a run train to their end: what did stopping cost, and save?"""
    if trials < 1:
        raise UsageError(f"--trials {trials}: expected 1 or more.")
    view = make_view(Console())
    with _interruptible(run_folder, view, is_repeatable=True):
        outcome = audit_run(run_folder, trials, view, address=address)
    _say(outcome, view, is_repeatable=True)


@app.command("import")
def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="keras-tuner project folder, Optuna study (SQLite or journal file, storage URL; "
            "::NAME behind it where there are several), or run folder.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make. Default: runs/NAME.")
    ] = None,
    objective: Annotated[str, typer.Option(help="Metric of its trials that counts.")] = (
        "val_accuracy"
    ),
    direction: Annotated[
        str | None, typer.Option(help="max or min, where the objective's name does not tell.")
    ] = None,
) -> None:
    """Make a run folder of an earlier search, to compare it and to learn from it."""
    if direction not in (None, "max", "min"):
        raise UsageError(f"--direction {direction!r}: expected max or min.")
    view = make_view(Console())
    target = out or Path("runs") / Path(source.partition("::")[0]).stem
    folder = import_run(source, infer_objective(objective, direction), target, view)
    shown = os.path.relpath(folder.path)
    view.note(f"kept in {shown}")
    view.note(
        f"to learn from it: fmnist-search run --warm-start {shown}, or in a script "
        f"RayTuner(..., warm_start={shown!r})"
    )


@app.command("export")
def export_command(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="Folder to make; one that holds files is refused.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this; may be given several times: {_choices(Part)}."),
    ] = None,
) -> None:
    """Write what other tools take of a run: best, keras-tuner config, Optuna study, final model."""
    wrong: list[str] = []
    parts = [_chosen(Part, "--only", name, wrong) for name in only or ()]
    if wrong:
        raise UsageError("\n".join(wrong))
    export_run(run_folder, out, make_view(Console()), only=parts)


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    # Asked for anywhere on the line, since a person adds it at the end.
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    try:
        sys.exit(app(arguments, prog_name="fmnist-search", standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error, error.format_message(), error.exit_code, debug)
    except SearchError as error:
        _fail(error, str(error), error.exit_status, debug)
    except KeyboardInterrupt as error:
        _fail(error, "interrupted; runs are kept as they are.", INTERRUPTED_STATUS, debug)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


@contextlib.contextmanager
def _interruptible(out: Path, view: View, *, is_repeatable: bool = False) -> Iterator[None]:
    """Say what is left where Ctrl-C comes while nothing else would.

    Args:
        out: The run.
        view: What the user sees.
        is_repeatable: Whether the same command goes on with what it has done.
    """
    try:
        yield
    except KeyboardInterrupt:
        if is_repeatable:
            view.note(AGAIN)
        elif (out / columns.JOURNAL_FILE).exists():
            shown = shlex.quote(os.path.relpath(out))
            view.note(f"interrupted; to go on: fmnist-search resume {shown}")
        else:
            view.note("interrupted before anything was recorded: nothing is left of it")
        raise typer.Exit(INTERRUPTED_STATUS) from None


def _fail(error: BaseException, message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    for line in message.splitlines() or [type(error).__name__]:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


def _chosen(choices: type[Choice], option: str, value: str, wrong: list[str]) -> Choice:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(choices)
        wrong.append(f"{option} {value!r}: expected one of {known}.{nearest(value, choices)}")
        return next(iter(choices))


def _hypermodel(
    space: str, hypermodel: str | None, data: str | None, wrong: list[str]
) -> tuple[str, str]:
    """Return the hypermodel's reference and the name of its space."""
    if hypermodel is not None:
        if data is None:
            wrong.append(
                f"--hypermodel {hypermodel!r} without --data: name its data too, as "
                "module:attribute of a function that returns the splits."
            )
        return hypermodel, hypermodel.rpartition(":")[2]
    if space not in SHIPPED_SPACES:
        known = ", ".join(SHIPPED_SPACES)
        wrong.append(f"--space {space!r}: expected one of {known}.{nearest(space, SHIPPED_SPACES)}")
    return SHIPPED_SPACES.get(space, ""), space


def _seeds_alone(seeds: int) -> str:
    return f"--seeds {seeds} is for --confirm: add that."


def _warm_start_problems(source: str | None, objective: Objective) -> list[str]:
    try:
        read_warm_start(source, objective)
    except SearchError as error:
        return [f"--warm-start: {error}"]
    return []


def _configurations(files: list[Path], wrong: list[str]) -> dict[Path, Values]:
    """Read the configurations in some files, each file once."""
    found: dict[Path, Values] = {}
    for file in {os.path.abspath(file): file for file in files}.values():
        try:
            content = read_json(file)
            values = content.get("values", content)
            if not all(isinstance(value, (bool, int, float, str)) for value in values.values()):
                raise TypeError
            found[file] = values
        except (SearchError, AttributeError, TypeError):
            wrong.append(
                f"--also {str(file)!r}: expected a JSON file of names and values, such as the "
                "best.json of a run."
            )
    return found


def _names(files: Iterable[Path]) -> dict[Path, str]:
    """Name files by the shortest endings of their paths that no other has, such as ``a/best``."""
    paths = {file: Path(os.path.abspath(file)).with_suffix("").parts for file in files}
    names: dict[Path, str] = {}
    for file, parts in paths.items():
        others = [other for name, other in paths.items() if name != file]
        endings = (parts[-length:] for length in range(1, len(parts) + 1))
        alone = (end for end in endings if all(other[-len(end) :] != end for other in others))
        end = next(alone, None)
        names[file] = str(file) if end is None else "/".join(end)  # another suffix alone differs
    return names


def _recorded_space(run_folder: Path, wrong: list[str]) -> Space:
    try:
        return recorded_space(run_folder)
    except SearchError as error:
        wrong.append(str(error))
        return Space(())


def _unknown_names(file: Path, values: Mapping[str, Any], space: Space) -> Iterator[str]:
    """Say which names of a configuration a space does not know, a line each."""
    known = list(dict.fromkeys(parameter.name for parameter in space))
    for name in values:
        if known and name not in known and not name.startswith(ORACLE_VALUES):
            yield (
                f"--also {str(file)!r}: {name!r} is no hyperparameter of this run: expected some "
                f"of {', '.join(known)}.{nearest(name, known)}"
            )


def _say_defaults(file: Path, values: Values, space: Space, view: View) -> None:
    """Say what a configuration leaves to its default, of what there is to choose with it."""
    whole: Values = {}
    left: list[str] = []
    for parameter in space:
        if not parameter.is_active(whole) or parameter.name in whole:
            continue
        whole[parameter.name] = values.get(parameter.name, parameter.default)
        if parameter.name not in values and parameter.size != 1:
            left.append(f"{parameter.name}={parameter.default}")
    if left:
        view.note(f"{file} leaves to their defaults: {', '.join(left)}")


def _epochs(text: str, wrong: list[str]) -> tuple[int, ...]:
    if text == NO_RETRAINING:
        return ()
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        wrong.append(
            f"--retrain-epochs {text!r}: expected whole numbers such as 20,50,100, or "
            f"{NO_RETRAINING}."
        )
        return (1,)  # stands for it while the rest is checked


def _trials(trials: int | None, budget: float | None, engine: Engine, tuner: Tuner) -> int | None:
    # Hyperband and grid search know by themselves how many trials they need.
    knows_itself = engine is Engine.KERAS_TUNER and tuner in (Tuner.HYPERBAND, Tuner.GRID)
    return trials if trials is not None or budget is not None or knows_itself else DEFAULT_TRIALS


def _patience(reference: str) -> int:
    return PUBLISHED_PATIENCE_EPOCHS if reference == SHIPPED_SPACES["published"] else 0


def _workers(workers: int | None, engine: Engine, cpus_per_trial: float) -> int:
    # keras-tuner runs one trial at a time.
    if engine is Engine.KERAS_TUNER:
        return 1
    if workers is not None or not 0 < cpus_per_trial < math.inf:
        return 1 if workers is None else workers
    return local_workers(cpus_per_trial)


def _default_out(space: str, algorithm: str) -> Path:
    return Path("runs") / f"{space}-{algorithm}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _say(outcome: Outcome, view: View, *, is_repeatable: bool = False) -> None:
    """Say how the run ended and how to go on."""
    is_cut_off = outcome.reason == INTERRUPTED
    if is_repeatable and is_cut_off:
        view.note(AGAIN)
        raise typer.Exit(INTERRUPTED_STATUS)
    shown = os.path.relpath(outcome.folder.path)
    if outcome.audit is not None:
        _say_audit(outcome.audit, view)
    if outcome.confirmation is not None:
        _say_confirmation(outcome.confirmation, view)
    elif outcome.evaluation is not None:
        scores = [
            f"{name} {outcome.evaluation[name]:.4f}"
            for name in dict.fromkeys(
                (
                    f"test_{outcome.history.objective.name.removeprefix('val_')}",
                    "test_accuracy",
                    "precision_macro",
                    "recall_macro",
                    "test_loss",
                )
            )
            if outcome.evaluation.get(name) is not None
        ]
        view.note(f"final model ({outcome.evaluation['epochs']} epochs): {', '.join(scores)}")
    view.note(f"kept in {shown}")
    if is_cut_off:
        view.note(f"to go on: fmnist-search resume {shlex.quote(shown)}")
        view.note(f"to see its trials: fmnist-results show {shown}")
        raise typer.Exit(INTERRUPTED_STATUS)
    view.note(f"to look into it: fmnist-results report {shlex.quote(shown)}")
    view.note(f"to compare: fmnist-results compare {shlex.quote(str(Path(shown).parent))}/*")


def _say_audit(told: dict[str, Any], view: View) -> None:
    share = f"{told['wrong_low']:.0%} to {told['wrong_high']:.0%}"
    hours = told["seconds_saved"] / 3600
    view.note(
        f"audit: {told['wrong']} of {told['audited']} audited trials would have beaten the best of "
        f"the search (95 % interval of the share: {share}); stopping {told['stopped']} saved about "
        f"{hours:.1f} worker hours"
    )


def _say_confirmation(told: dict[str, Any], view: View) -> None:
    winner, seeds = told["candidates"][told["winner"]], len(told["seeds"])
    view.note(
        f"confirmed: {winner['name']} at {winner['epochs']} epochs, mean {told['objective']} of "
        f"{seeds} new seeds {_mean(winner)}; the search had said {winner['search_value']:.4f}"
    )
    for row in told["candidates"]:
        if row["verdict"] == "better":
            view.note(
                f"{row['name']} at {row['epochs']} epochs is better, mean {_mean(row)}: it is "
                "there to compare, and makes no final model"
            )
        test = row["test"]
        if test is not None:
            view.note(f"test accuracy of {row['name']}, mean of {seeds} models: {_mean(test)}")


def _mean(row: dict[str, Any]) -> str:
    return f"{row['mean']:.4f} ({row['low']:.4f} to {row['high']:.4f})"


if __name__ == "__main__":
    main()
