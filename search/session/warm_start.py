"""Reads the finished trials of an earlier search of keras-tuner, Optuna or this program.

It reads JSON files and Optuna's own storages, and unpickles nothing.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.columns import RUN_FILE, Scalar, State, Values
from results.record.history import Objective
from search.errors import UsageError, nearest, one_line
from search.session.run_file import read_run
from search.space.parameters import ORACLE_PREFIX, Parameter, Space
from search.storage.folder import RunFolder

KERAS_TUNER_FILE = "oracle.json"
SQLITE_MAGIC = b"SQLite format 3\x00"
SQLITE_URL = "sqlite:///"
STUDY_SEPARATOR = "::"
# Hyperband's value for the number of epochs of a trial.
HYPERBAND_EPOCHS = f"{ORACLE_PREFIX}epochs"


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of an earlier search.

    Attributes:
        name: Its name in that search.
        values: Its configuration.
        score: Its objective.
    """

    name: str
    values: Values
    score: float


@dataclass(frozen=True)
class EarlierSearch:
    """The finished trials of an earlier search.

    Attributes:
        source: Where it was read, as the user named it.
        kind: ``keras-tuner``, ``optuna`` or ``fmnist-search``.
        trials: The finished trials, in the order of the search.
        left_out: A line for each trial that is unreadable or unfinished.
    """

    source: str
    kind: str
    trials: tuple[EarlierTrial, ...]
    left_out: tuple[str, ...]


def read_warm_start(source: str | None, objective: Objective) -> EarlierSearch | None:
    """Read the earlier search that a run learns from; None if ``source`` is None.

    Raises:
        UsageError: The search cannot be read.
    """
    return None if source is None else read_earlier_search(source, objective)


def is_keras_tuner_project(path: Path) -> bool:
    """Tell whether a folder holds a project of keras-tuner's own."""
    return (path / KERAS_TUNER_FILE).is_file() or any(path.glob("trial_*/trial.json"))


def read_earlier_search(source: str | Path, objective: Objective) -> EarlierSearch:
    """Read the finished trials of an earlier search.

    Args:
        source: A keras-tuner project folder, a run folder, or an Optuna study: a SQLite file, a
            journal file or a storage URL, followed by ``::NAME`` if it holds several studies.
        objective: The metric that the trials must report, and its direction.

    Raises:
        UsageError: The source is none of these, or holds no finished trial with the objective.
    """
    text = str(source)
    path = Path(os.path.expanduser(text.partition(STUDY_SEPARATOR)[0]))
    if (path / RUN_FILE).is_file():
        kind, entries = "fmnist-search", _read_run_folder(path, objective)
    elif is_keras_tuner_project(path):
        kind, entries = "keras-tuner", _read_keras_tuner(path, objective)
    elif path.is_file() or "://" in text:
        kind, entries = "optuna", _read_optuna(text, path, objective)
    else:
        problem = "is not an earlier search" if path.exists() else "does not exist"
        raise UsageError(
            f"{text!r} {problem}: expected a keras-tuner project folder, an Optuna "
            "study (a SQLite or journal file, or a storage URL) or a run folder. Correct the path."
        )
    trials: list[EarlierTrial] = []
    left_out: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            left_out.append(entry)
        else:
            trials.append(entry)
    if not trials:
        reasons = "; ".join(left_out[:3]) or "it has no trials"
        raise UsageError(
            f"{text!r} holds no finished trial with {objective.name}: {reasons}. Name a search "
            "that reports this objective."
        )
    return EarlierSearch(text, kind, tuple(trials), tuple(left_out))


def fit_to_space(earlier: EarlierSearch, space: Space) -> tuple[list[EarlierTrial], list[str]]:
    """Fit earlier trials to a space.

    A value of an unknown parameter is left out; a parameter without a value takes its default; a
    trial with a value outside the space is left out.

    Returns:
        The trials that fit, and a line for each thing that is left out, with the reason.
    """
    known_names = {parameter.name for parameter in space}
    unknown_names: dict[str, None] = {}  # an ordered set
    notes: list[str] = []
    trials: list[EarlierTrial] = []
    for trial in earlier.trials:
        unknown_names |= dict.fromkeys(name for name in trial.values if name not in known_names)
        try:
            values = fit_values(trial.values, space)
        except ValueError as error:
            notes.append(f"{earlier.source}, trial {trial.name} is left out: {error}")
        else:
            trials.append(EarlierTrial(trial.name, values, trial.score))
    if unknown_names:
        names = ", ".join(map(repr, unknown_names))
        notes.insert(0, f"{earlier.source}: parameters unknown to this space are left out: {names}")
    return trials, notes


def fit_values(values: Mapping[str, Scalar], space: Space) -> Values:
    """Return the configuration of a space with these values; a missing value is the default.

    Raises:
        ValueError: A value is outside the space.
    """
    fitting_values: Values = {}
    for parameter in space:
        if not parameter.is_active(fitting_values) or parameter.name in fitting_values:
            continue
        value = values.get(parameter.name, parameter.default)
        fitting_values[parameter.name] = _fit_value(parameter, value)
    return fitting_values


def user_values(values: Mapping[str, Scalar]) -> Values:
    """Return the values of the user's hyperparameters, without those of keras-tuner's oracles."""
    return {name: value for name, value in values.items() if not name.startswith(ORACLE_PREFIX)}


def _fit_value(parameter: Parameter, value: Scalar) -> Scalar:
    if parameter.choices:
        if value not in parameter.choices:
            raise ValueError(f"{parameter.name}={value!r}, expected one of {parameter.choices}")
        return parameter.choices[parameter.choices.index(value)]
    if not isinstance(value, (int, float)) or not parameter.low <= value <= parameter.high:
        raise ValueError(
            f"{parameter.name}={value!r}, expected {parameter.low} to {parameter.high}"
        )
    nearest_value = parameter.value_at(parameter.position_of(value))
    if not math.isclose(float(nearest_value), float(value), rel_tol=1e-6, abs_tol=1e-12):
        if value == parameter.default:
            return value
        raise ValueError(f"{parameter.name}={value!r} is off its grid (step {parameter.step})")
    return nearest_value if parameter.size is not None else value


def _read_run_folder(path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    run = read_run(RunFolder.open(path))
    run_objective = run.problem.objective
    if run_objective != objective:
        raise UsageError(
            f"{str(path)!r} was searched for {run_objective.name} ({run_objective.mode}), not for "
            f"{objective.name} ({objective.mode}): expected the same objective. Use that "
            "objective, or name another run."
        )
    if run.damaged_lines:
        yield f"damaged lines of its journal: {list(run.damaged_lines)}"
    for trial in run.history.trials.values():
        has_finished = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
        if has_finished and trial.best_value is not None:
            yield EarlierTrial(str(trial.trial), user_values(trial.values), trial.best_value)
        else:
            yield f"trial {trial.trial} ({trial.ending})"


def _read_keras_tuner(path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    completed: list[tuple[int, EarlierTrial]] = []  # each with its epochs
    for file in sorted(path.glob("trial_*/trial.json")):
        name = file.parent.name.removeprefix("trial_")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            values, status = state["hyperparameters"]["values"], state["status"]
            metrics = state["metrics"]["metrics"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield f"trial {name} (its file is damaged: {one_line(error)})"
            continue
        if status != "COMPLETED":
            yield f"trial {name} ({str(status).lower()})"
        elif objective.name not in metrics:
            yield f"trial {name} reports {', '.join(sorted(metrics))}, not {objective.name}"
        else:
            score = _best_value(metrics[objective.name], objective)
            if score is None:
                yield f"trial {name} (its {objective.name} is no number)"
            else:
                trial = EarlierTrial(name, user_values(values), score)
                completed.append((values.get(HYPERBAND_EPOCHS, 0), trial))
    # A trial of Hyperband with fewer epochs has not finished: its score is an early one.
    max_epochs = max((epochs for epochs, _ in completed), default=0)
    for epochs, trial in completed:
        yield trial if epochs == max_epochs else f"trial {trial.name} ({epochs} epochs only)"


def _best_value(metric: Mapping[str, Any], objective: Objective) -> float | None:
    # The value of an observation is the mean of its executions, as in keras-tuner.
    observations = [list(map(float, step["value"])) for step in metric["observations"]]
    means = [sum(values) / len(values) for values in observations]
    finite_means = [mean for mean in means if math.isfinite(mean)]
    if not finite_means:
        return None
    return max(finite_means) if objective.mode == "max" else min(finite_means)


def _read_optuna(text: str, path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    study = _load_study(text, path)
    names = {"MAXIMIZE": "max", "MINIMIZE": "min"}
    directions = [names.get(direction.name, "none") for direction in study.directions]
    if directions != [objective.mode]:
        raise UsageError(
            f"{text!r} has the direction {' and '.join(directions)}, but {objective.name} has "
            f"{objective.mode}: expected the same direction. Use an objective with that direction, "
            "or another study."
        )
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE" and trial.value is not None:
            yield EarlierTrial(str(trial.number), user_values(trial.params), float(trial.value))
        else:
            yield f"trial {trial.number} ({trial.state.name.lower()})"


def _load_study(text: str, path: Path) -> Any:
    import optuna

    location, _, name = text.partition(STUDY_SEPARATOR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _open_storage(location, path)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
        if name not in names and (name or len(names) != 1):
            raise UsageError(
                f"{text!r} holds these studies: {', '.join(names) or 'none'}. Name one of them as "
                f"{location}{STUDY_SEPARATOR}NAME.{nearest(name, names)}"
            )
        return optuna.load_study(study_name=name or names[0], storage=storage)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{text!r} cannot be read as an Optuna study ({one_line(error)}): expected a SQLite "
            "file, a journal file or a storage URL. Correct the path."
        ) from error


def _open_storage(location: str, path: Path) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if location.startswith(SQLITE_URL) and not Path(location.removeprefix(SQLITE_URL)).is_file():
        raise UsageError(
            f"{location!r} names a file that does not exist: expected a SQLite file. "
            "Correct the path."
        )
    if "://" in location:
        return RDBStorage(location)
    with path.open("rb") as file:
        is_sqlite = file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    if is_sqlite:
        return RDBStorage(f"sqlite:///{path.resolve()}")
    return JournalStorage(JournalFileBackend(str(path)))
