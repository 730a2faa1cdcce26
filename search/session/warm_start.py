"""Finished trials of an earlier search: of keras-tuner, of Optuna, or of this program.

Everything is read as JSON or through Optuna's own storages; nothing is unpickled.
"""

import json
import math
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
# Where Hyperband keeps how many epochs a trial of its rounds trained.
EPOCHS = f"{ORACLE_PREFIX}epochs"


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial: its name in its search, its configuration, its objective."""

    name: str
    values: Values
    score: float


@dataclass(frozen=True)
class EarlierSearch:
    """The finished trials of an earlier search.

    Attributes:
        source: Where it was read, as it was named.
        kind: ``keras-tuner``, ``optuna`` or ``fmnist-search``.
        trials: In their order.
        left_out: What could not be read or had not finished, a line each.
    """

    source: str
    kind: str
    trials: tuple[EarlierTrial, ...]
    left_out: tuple[str, ...]


def read_warm_start(source: str | None, objective: Objective) -> EarlierSearch | None:
    """Read the earlier search that a run is to learn from; None where there is none.

    Raises:
        UsageError: It cannot be read.
    """
    return None if source is None else read_earlier_search(source, objective)


def read_earlier_search(source: str | Path, objective: Objective) -> EarlierSearch:
    """Read the finished trials of an earlier search.

    Args:
        source: A keras-tuner project folder, an Optuna study (a SQLite file, a journal file or a
            storage URL; ``::NAME`` behind it where there are several), or a run folder.
        objective: Which metric counts, and its direction.

    Raises:
        UsageError: It is none of these, or holds no finished trial with that objective.
    """
    text = str(source)
    path = Path(text.partition(STUDY_SEPARATOR)[0]).expanduser()
    if (path / RUN_FILE).is_file():
        kind, rows = "fmnist-search", _of_a_run(path, objective)
    elif (path / KERAS_TUNER_FILE).is_file() or any(path.glob("trial_*/trial.json")):
        kind, rows = "keras-tuner", _of_keras_tuner(path, objective)
    elif path.is_file() or "://" in text:
        kind, rows = "optuna", _of_optuna(text, path, objective)
    else:
        raise UsageError(
            f"{text!r} is no earlier search: expected a keras-tuner project folder, an Optuna "
            "study (a SQLite or journal file, or a storage URL) or a run folder."
        )
    entries = list(rows)
    trials = tuple(entry for entry in entries if isinstance(entry, EarlierTrial))
    left_out = tuple(entry for entry in entries if isinstance(entry, str))
    if not trials:
        reasons = "; ".join(left_out[:3]) or "it has no trials"
        raise UsageError(f"{text!r} holds no finished trial with {objective.name}: {reasons}.")
    return EarlierSearch(text, kind, trials, left_out)


def fit_to_space(earlier: EarlierSearch, space: Space) -> tuple[list[EarlierTrial], list[str]]:
    """Fit earlier trials to a space.

    A parameter that no longer exists is left out and named; one that is new takes its default; a
    trial with a value that the space does not allow is left out and named.

    Returns:
        The trials that fit; then what was left out, and why, a line each.
    """
    known = {parameter.name for parameter in space}
    gone: dict[str, None] = {}
    notes: list[str] = []
    trials: list[EarlierTrial] = []
    for trial in earlier.trials:
        gone |= dict.fromkeys(name for name in trial.values if name not in known)
        try:
            values = fit_values(trial.values, space)
        except ValueError as error:
            notes.append(f"{earlier.source}, trial {trial.name} is left out: {error}")
        else:
            trials.append(EarlierTrial(trial.name, values, trial.score))
    if gone:
        names = ", ".join(repr(name) for name in gone)
        notes.insert(0, f"{earlier.source}: parameters unknown to this space are left out: {names}")
    return trials, notes


def fit_values(values: Mapping[str, Scalar], space: Space) -> Values:
    """Return a configuration as a space can hold it; what is new takes its default.

    Raises:
        ValueError: The space does not allow a value.
    """
    fitting: Values = {}
    for parameter in space:
        if not parameter.is_active(fitting) or parameter.name in fitting:
            continue
        value = values.get(parameter.name, parameter.default)
        fitting[parameter.name] = _allowed(parameter, value)
    return fitting


def user_values(values: Mapping[str, Scalar]) -> Values:
    """Return a configuration without what an oracle of keras-tuner keeps in it for itself."""
    return {name: value for name, value in values.items() if not name.startswith(ORACLE_PREFIX)}


def _allowed(parameter: Parameter, value: Scalar) -> Scalar:
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


def _of_a_run(path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    run = read_run(RunFolder.open(path))
    searched = run.problem.objective
    if searched != objective:
        raise UsageError(
            f"{str(path)!r} was searched for {searched.name} ({searched.mode}), not for "
            f"{objective.name} ({objective.mode}): expected the same objective."
        )
    if run.damaged_lines:
        yield f"damaged lines of its journal: {list(run.damaged_lines)}"
    for trial in run.history.trials.values():
        has_finished = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
        if has_finished and trial.best_value is not None:
            yield EarlierTrial(str(trial.trial), user_values(trial.values), trial.best_value)
        else:
            yield f"trial {trial.trial} ({trial.ending})"


def _of_keras_tuner(path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    rows: list[tuple[int, EarlierTrial]] = []
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
            score = _best(metrics[objective.name], objective)
            if score is None:
                yield f"trial {name} (its {objective.name} is no number)"
            else:
                rows.append(
                    (
                        values.get(EPOCHS, 0),
                        EarlierTrial(name, user_values(values), score),
                    )
                )
    # Hyperband's trials of fewer epochs have not finished: their scores are early ones.
    most_epochs = max((epochs for epochs, _ in rows), default=0)
    for epochs, trial in rows:
        yield trial if epochs == most_epochs else f"trial {trial.name} ({epochs} epochs only)"


def _best(metric: Mapping[str, Any], objective: Objective) -> float | None:
    # Each observation is the average of its executions, as keras-tuner counts.
    repeats = [list(map(float, step["value"])) for step in metric["observations"]]
    means = [sum(values) / len(values) for values in repeats]
    numbers = [mean for mean in means if math.isfinite(mean)]
    if not numbers:
        return None
    return max(numbers) if objective.mode == "max" else min(numbers)


def _of_optuna(text: str, path: Path, objective: Objective) -> Iterator[EarlierTrial | str]:
    study = _study(text, path)
    direction = {"MAXIMIZE": "max", "MINIMIZE": "min"}.get(study.direction.name)
    if direction != objective.mode:
        raise UsageError(
            f"{text!r} was searched for the {direction}imum, {objective.name} for the "
            f"{objective.mode}imum: expected the same direction."
        )
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE" and trial.value is not None:
            yield EarlierTrial(str(trial.number), user_values(trial.params), float(trial.value))
        else:
            yield f"trial {trial.number} ({trial.state.name.lower()})"


def _study(text: str, path: Path) -> Any:
    import optuna

    location, _, name = text.partition(STUDY_SEPARATOR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _storage(location, path)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
        if name not in names and (name or len(names) != 1):
            raise UsageError(
                f"{text!r} holds the studies {', '.join(names) or 'none'}: expected one of them as "
                f"{location}{STUDY_SEPARATOR}NAME.{nearest(name, names)}"
            )
        return optuna.load_study(study_name=name or names[0], storage=storage)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{text!r} cannot be read as an Optuna study ({one_line(error)}): expected a SQLite "
            "file, a journal file or a storage URL."
        ) from error


def _storage(location: str, path: Path) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if location.startswith(SQLITE_URL) and not Path(location.removeprefix(SQLITE_URL)).is_file():
        raise UsageError(f"{location!r}: there is no such file.")
    if "://" in location:
        return RDBStorage(location)
    with path.open("rb") as file:
        is_sqlite = file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    if is_sqlite:
        return RDBStorage(f"sqlite:///{path.resolve()}")
    return JournalStorage(JournalFileBackend(str(path)))
