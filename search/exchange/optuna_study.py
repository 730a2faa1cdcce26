"""Writes a run as an Optuna study in one SQLite file; ``search.session.warm_start`` reads one.

Every value is the one that the hypermodel got, in the domain from which it was drawn, if Optuna has
that domain. So Optuna's importances and plots use the terms of the run.
"""

import contextlib
import datetime
import math
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from results.record.columns import Scalar, State, Values
from results.record.history import History, Objective, TrialRecord
from results.record.journal import Event
from search.loggers.base import WallClock
from search.space.parameters import ORACLE_PREFIX, Kind, Parameter, Space

# Converts seconds of the run to naive local time, as Optuna stores it.
ToDatetime = Callable[[float], datetime.datetime]
# A grid that Optuna lacks is written as a list of its values, if it has at most so many.
MAX_LISTED = 100
# The states that are complete, or pruned, in Optuna. All others have failed, and so has a trial
# without a value.
COMPLETE = (State.COMPLETED, State.EARLY_STOPPED)
PRUNED = (State.STOPPED, State.INTERRUPTED)


def write_study(
    path: Path,
    name: str,
    history: History,
    space: Space,
    to_datetime: ToDatetime,
    *,
    attributes: Mapping[str, Any],
) -> None:
    """Write every trial of a run into a new SQLite file, whole or not at all.

    A trial that ended by itself is complete; one that the scheduler or the end of the search
    stopped is pruned; one that failed, diverged or was lost has failed. The value of a trial is
    the best of its epochs, as in ``trials.parquet``; Optuna itself would store the last one of a
    pruned trial. ``study.best_trial`` is the best complete trial, and Optuna's importances use
    only complete trials. The best of the run may be a stopped trial; the study's attribute
    ``best_trial`` names it. ``attributes`` become user attributes of the study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # In memory first: the URL of a database cannot name every path, and a disk is far slower.
    storage = RDBStorage("sqlite://")
    try:
        direction = "maximize" if history.objective.mode == "max" else "minimize"
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        for key, value in attributes.items():
            study.set_user_attr(key, value)
        study.add_trials(frozen_trials(history, space, to_datetime))
        with contextlib.closing(storage.engine.raw_connection()) as memory:
            assert isinstance(memory.driver_connection, sqlite3.Connection)
            with contextlib.closing(sqlite3.connect(path)) as file:
                memory.driver_connection.backup(file)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def datetime_converter(description: Mapping[str, Any], events: Iterable[Event]) -> ToDatetime:
    """Return the converter from seconds of a run to local time, by run.json and the journal."""
    times = WallClock()
    # Also from run.json, since the journal may have lost its start.
    times.observe({"at_seconds": 0.0, "run": {"started_at": description["started_at"]}})
    for event in events:
        times.observe(event)
    return lambda seconds: datetime.datetime.fromtimestamp(times.seconds_since_1970(seconds))


def frozen_trials(history: History, space: Space, to_datetime: ToDatetime) -> list[FrozenTrial]:
    """Return the trials as Optuna stores them, sorted by number."""
    trials = [history.trials[number] for number in sorted(history.trials)]
    params_of_trials = [_params(trial.values, space) for trial in trials]
    domains = _domains(params_of_trials, space)
    return [
        _frozen(trial, params, domains, history.objective, to_datetime)
        for trial, params in zip(trials, params_of_trials, strict=True)
    ]


def _frozen(
    trial: TrialRecord,
    params: Values,
    domains: Mapping[str, BaseDistribution],
    objective: Objective,
    to_datetime: ToDatetime,
) -> FrozenTrial:
    state = _state(trial)
    has_value = state in (TrialState.COMPLETE, TrialState.PRUNED)
    ended_seconds = trial.ended_seconds
    return FrozenTrial(
        number=trial.trial,
        trial_id=-1,  # the storage assigns its own
        state=state,
        value=trial.best_value if has_value else None,
        datetime_start=to_datetime(trial.started_seconds),
        datetime_complete=None if ended_seconds is None else to_datetime(ended_seconds),
        params=params,
        distributions={name: domains[name] for name in params},
        user_attrs=_attributes(trial),
        system_attrs={},
        intermediate_values=_intermediate_values(trial, objective),
    )


def _state(trial: TrialRecord) -> TrialState:
    """Return Optuna's state of a trial."""
    if trial.state is State.RUNNING:
        return TrialState.RUNNING
    if trial.best_value is not None and trial.state in COMPLETE:
        return TrialState.COMPLETE
    is_pruned = trial.best_epoch is not None and trial.state in PRUNED
    return TrialState.PRUNED if is_pruned else TrialState.FAIL


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    """Return what Optuna's params lack; a database stores them as floats."""
    other_values = {
        name: value
        for name, value in trial.values.items()
        if name.startswith(ORACLE_PREFIX) or (isinstance(value, int) and float(value) != value)
    }
    record = {
        "trial": trial.trial,
        "ended": str(trial.ending),
        "best_epoch": trial.best.epoch if trial.best else None,
        "error": trial.error,
    }
    return other_values | {name: value for name, value in record.items() if value is not None}


def _intermediate_values(trial: TrialRecord, objective: Objective) -> dict[int, float]:
    """Return the objective of each epoch of the first execution; NaN if it is not a number."""
    return {
        epoch.epoch: math.nan if epoch.objective is None else epoch.objective
        for epoch in trial.epochs
        if epoch.execution == 0 and objective.name in epoch.metrics
    }


def _params(values: Values, space: Space) -> Values:
    """Return a configuration as Optuna's params.

    A name in several conditional scopes has a domain in each, so the scope becomes part of it.
    """
    counts = Counter(parameter.name for parameter in space)
    params = {name: value for name, value in values.items() if not name.startswith(ORACLE_PREFIX)}
    for parameter in space:
        name = parameter.name
        if name in params and counts[name] > 1 and parameter.is_active(values):
            params[parameter.key] = params.pop(name)
    return params


def _domains(params_of_trials: Sequence[Values], space: Space) -> dict[str, BaseDistribution]:
    """Return the domain of each param, which Optuna requires to be the same for all trials."""
    tried: dict[str, list[Scalar]] = {}
    for params in params_of_trials:
        for name, value in params.items():
            tried.setdefault(name, []).append(value)
    parameters = {parameter.name: parameter for parameter in space}
    parameters |= {parameter.key: parameter for parameter in space}
    return {name: domain(parameters.get(name), values) for name, values in tried.items()}


def domain(parameter: Parameter | None, tried: Sequence[Scalar]) -> BaseDistribution:
    """Return Optuna's domain of a parameter, which contains every tried value.

    Optuna has no ``reverse_log`` and no steps on a log scale: such a domain becomes a linear one
    with the same bounds, or a list of its values.

    Args:
        parameter: The parameter; None if the space lacks it, as in an imported search.
        tried: The tried values, at least one. Values outside the parameter's domain, such as some
            defaults or those of an earlier space, widen Optuna's domain.
    """
    exact = _exact_domain(parameter) if parameter else None
    if exact is not None and all(_contains(exact, value) for value in tried):
        return exact
    return _covering_domain(parameter, tried)


def _exact_domain(parameter: Parameter) -> BaseDistribution | None:
    """Return the domain with exactly the values of a parameter; None if Optuna has none."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    is_log, is_int = parameter.sampling == "log", parameter.kind is Kind.INT
    if parameter.size is None:
        low, high = parameter.low, parameter.high
        if is_int:
            return IntDistribution(int(low), int(high), log=is_log)
        return FloatDistribution(low, high, log=is_log)
    assert parameter.step is not None
    if parameter.sampling == "linear":
        top = float(parameter.value_at(parameter.size - 1))
        if is_int:
            return IntDistribution(int(parameter.low), int(top), step=int(parameter.step))
        stepped = _stepped_domain(parameter.low, top, parameter.step)
        if _contains(stepped, top):
            return stepped
    if parameter.size > MAX_LISTED:
        return None
    return CategoricalDistribution([parameter.value_at(index) for index in range(parameter.size)])


def _stepped_domain(low: float, top: float, step: float) -> BaseDistribution:
    with warnings.catch_warnings():
        # If rounding puts the last step above the top, Optuna drops it with a warning.
        warnings.simplefilter("ignore")
        return FloatDistribution(low, top, step=step)


def _contains(distribution: BaseDistribution, value: Scalar) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


def _covering_domain(parameter: Parameter | None, tried: Sequence[Scalar]) -> BaseDistribution:
    """Return the range of the declared and tried numbers, or the list of the values."""
    declared: tuple[Scalar, ...] = ()
    if parameter is not None:
        declared = parameter.choices or (parameter.low, parameter.high)
    values = (*declared, *tried)
    numbers = [
        value for value in values if isinstance(value, (int, float)) and type(value) is not bool
    ]
    if len(numbers) < len(values) or (parameter is not None and parameter.choices):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = min(numbers), max(numbers)
    is_log = parameter is not None and parameter.sampling == "log" and low > 0
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)
