"""The commands for finished runs: retrain, confirm, audit, replay, import, export, tables."""

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from results.record.columns import Values
from results.record.files import read_json
from results.record.journal import describe_damage
from results.record.tables import rebuild
from search.cli.ending import carry_out
from search.cli.options import (
    RunArgument,
    check_run,
    parse_choice,
    parse_objective,
    parse_values,
    takes,
)
from search.doctor import Finding, Grade
from search.errors import SearchError, nearest, raise_any
from search.exchange.export import Part, export_run
from search.exchange.importing import import_run
from search.final.follow_up import audit_run, confirm_run, retrain_run
from search.plan.directions import doubt
from search.plan.plan import (
    DEFAULT_RETRAIN_EPOCHS,
    OPTIONS,
    RETRAIN_EPOCHS,
    SEEDS,
    ConfirmationPlan,
)
from search.replay import replay
from search.session.run_file import read_run
from search.space.parameters import ORACLE_PREFIX, Space
from search.storage.folder import RunFolder
from search.view.live import make_view


@takes(replace(RETRAIN_EPOCHS, metavar="N,N,.."))
def retrain_command(run_folder: RunArgument, **typed: Any) -> None:
    """Retrain the best configuration of a run and evaluate it again."""
    problems: list[str] = []
    epochs = parse_values(typed, problems).get("retrain_epochs", DEFAULT_RETRAIN_EPOCHS)
    check_run(run_folder, problems)
    raise_any(problems)
    view = make_view()
    carry_out(lambda: retrain_run(run_folder, epochs, view), run_folder, view)


@takes(
    replace(OPTIONS["seeds"], help="Number of new seeds."),
    replace(
        RETRAIN_EPOCHS,
        metavar="N,N,..",
        help="Numbers of epochs for which to retrain each configuration.",
    ),
    OPTIONS["address"],
)
def confirm_command(
    run_folder: RunArgument,
    top: Annotated[
        int, typer.Option(metavar="N", help="Number of best configurations to retrain.")
    ] = 3,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="JSON file of another configuration to train for comparison, such as a "
            "best.json; may be given several times.",
        ),
    ] = None,
    **typed: Any,
) -> None:
    """Retrain the best configurations on new seeds; evaluate the one with the best mean."""
    problems: list[str] = []
    values = parse_values(typed, problems)
    epochs = values.get("retrain_epochs", DEFAULT_RETRAIN_EPOCHS)
    configurations = read_configurations(also or [], problems)
    names = short_names(configurations)
    confirmation = ConfirmationPlan(
        top,
        values.get("seeds", SEEDS),
        epochs,
        {names[file]: configuration for file, configuration in configurations.items()},
    )
    problems += confirmation.problems(top_option="--top")
    space = _space_of(run_folder, configurations, problems)
    raise_any(problems)
    view = make_view()
    for file, configuration in configurations.items():
        defaults = hyperparameters_at_defaults(configuration, space)
        if defaults:
            view.note(
                f"{file} leaves these hyperparameters at their defaults: {', '.join(defaults)}"
            )
    carry_out(
        lambda: confirm_run(run_folder, confirmation, view, address=typed.get("address")),
        run_folder,
        view,
        is_repeatable=True,
    )


@takes(OPTIONS["address"])
def audit_command(
    run_folder: RunArgument,
    trials: Annotated[
        int, typer.Option(metavar="N", help="Number of stopped trials to train to the end.")
    ] = 10,
    **typed: Any,
) -> None:
    """Train some stopped trials to the end, to measure what early stopping cost and saved."""
    problems = [f"--trials {trials}: expected 1 or more."] if trials < 1 else []
    check_run(run_folder, problems)
    raise_any(problems)
    view = make_view()
    carry_out(
        lambda: audit_run(run_folder, trials, view, address=typed.get("address")),
        run_folder,
        view,
        is_repeatable=True,
    )


def replay_command(
    run_folder: RunArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Number of the trial.")],
) -> None:
    """Train one trial again from its record and compare every epoch with the journal."""
    view = make_view()
    replayed = replay(run_folder, trial, view)
    if replayed.is_identical:
        view.note(f"trial {trial}: all {replayed.epochs} epochs equal the journal, bit for bit")
        return
    for row in replayed.differences:
        view.note(
            f"epoch {row.epoch}, {row.metric}: {row.replayed!r}, in the journal {row.recorded!r}"
        )
    if replayed.new_error is not None:
        view.note(f"the trial ended differently: {replayed.new_error}")
    view.note(f"trial {trial} differs from its record")
    raise typer.Exit(1)


@takes(
    replace(OPTIONS["out"], default_text="runs/NAME"),
    replace(OPTIONS["objective"], help="Metric that ranks the trials."),
    OPTIONS["direction"],
)
def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="keras-tuner project folder, Optuna study (SQLite or journal file, or storage "
            "URL; append ::NAME if it holds several), or run folder.",
        ),
    ],
    **typed: Any,
) -> None:
    """Convert an earlier search into a run folder, to compare it or to learn from it."""
    problems: list[str] = []
    objective = parse_objective(typed, problems)
    raise_any(problems)
    view = make_view()
    if "direction" not in typed and (line := doubt(objective)):
        view.note(str(Finding(Grade.WARNING, line)))
    target = typed.get("out", Path("runs") / Path(source.partition("::")[0]).stem)
    folder = import_run(source, objective, target, view)
    relative_path = os.path.relpath(folder.path)
    view.note(f"saved in {relative_path}")
    view.note(
        f"to learn from it: fmnist-search run --warm-start {shlex.quote(relative_path)}, or in a "
        f"script RayTuner(..., warm_start={relative_path!r})"
    )


def export_command(
    run_folder: RunArgument,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder to create; it must be new or empty."),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(Part), help="Write only this part; may be given several times."
        ),
    ] = None,
) -> None:
    """Export a run for other tools: best values, keras-tuner config, Optuna study, final model."""
    problems: list[str] = []
    parts = [parse_choice(Part, "--only", name, problems) for name in only or ()]
    check_run(run_folder, problems)
    raise_any(problems)
    export_run(run_folder, out, make_view(), only=parts)


def tables_command(run_folder: RunArgument) -> None:
    """Rewrite the tables of a run from its journal."""
    view = make_view()
    folder = RunFolder.open(run_folder)
    damage = rebuild(folder.path)
    if damage.damaged_lines:
        view.note(describe_damage(damage.damaged_lines))
    if damage.run_file_note is not None:
        view.note(damage.run_file_note)
    view.note(f"wrote {os.path.relpath(folder.trials_file)} and {folder.epochs_file.name}")


def _space_of(run_folder: Path, configurations: dict[Path, Values], problems: list[str]) -> Space:
    """Return the space of a run, and check the names in configurations against it.

    Without configurations, return an empty space. Add a line to ``problems`` for each unknown name,
    or if the folder is no run or the space cannot be read.
    """
    space = Space(())
    try:
        folder = RunFolder.open(run_folder)
        if configurations:
            space = read_run(folder).space
    except SearchError as error:
        problems.append(str(error))
    for file, values in configurations.items():
        problems += unknown_names(file, values, space)
    return space


def read_configurations(files: Iterable[Path], problems: list[str]) -> dict[Path, Values]:
    """Read configurations from files, each file once.

    Add a line to ``problems`` for each file without a configuration.
    """
    configurations: dict[Path, Values] = {}
    for file in {os.path.abspath(file): file for file in files}.values():
        try:
            content = read_json(file)
            values = content.get("values", content)
            if not all(isinstance(value, (bool, int, float, str)) for value in values.values()):
                raise TypeError
            configurations[file] = values
        except (SearchError, AttributeError, TypeError):
            problems.append(
                f"--also {str(file)!r}: expected a JSON file of names and values, such as the "
                "best.json of a run."
            )
    return configurations


def short_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return for each file the shortest unique ending of its path, such as ``a/best``."""
    paths = {file: Path(os.path.abspath(file)).with_suffix("").parts for file in files}
    names: dict[Path, str] = {}
    for file, parts in paths.items():
        other_paths = [other for name, other in paths.items() if name != file]
        endings = (parts[-length:] for length in range(1, len(parts) + 1))
        unique = (e for e in endings if all(other[-len(e) :] != e for other in other_paths))
        ending = next(unique, None)
        # Without a unique ending, two paths differ only in the suffix of the file.
        names[file] = str(file) if ending is None else "/".join(ending)
    return names


def unknown_names(file: Path, values: Values, space: Space) -> Iterator[str]:
    """Yield each name of a configuration that a space does not have, one per line."""
    names = list(dict.fromkeys(parameter.name for parameter in space))
    for name in values:
        if names and name not in names and not name.startswith(ORACLE_PREFIX):
            yield (
                f"--also {str(file)!r}: {name!r} is not a hyperparameter of this run: expected one "
                f"of {', '.join(names)}.{nearest(name, names)}"
            )


def hyperparameters_at_defaults(values: Values, space: Space) -> list[str]:
    """List the active hyperparameters that a configuration leaves at their defaults.

    Each is given as ``name=default``. Hyperparameters with only one value are left out.
    """
    configuration: Values = {}
    defaults: list[str] = []
    for parameter in space:
        if not parameter.is_active(configuration) or parameter.name in configuration:
            continue
        configuration[parameter.name] = values.get(parameter.name, parameter.default)
        if parameter.name not in values and parameter.size != 1:
            defaults.append(f"{parameter.name}={parameter.default}")
    return defaults
