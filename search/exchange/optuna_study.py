"""Writes a run as an Optuna study in one SQLite file; ``search.session.warm_start`` reads one.

Every value is the one that the builder got, in the domain that it was drawn from where Optuna has
that domain, so that Optuna's importances and pictures use the run's own terms.
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

# When a second of the run was: naive local time, as Optuna counts.
Moment = Callable[[float], datetime.datetime]
# A grid that Optuna does not have is listed value by value, up to so many.
MOST_LISTED = 100
# Optuna's states, by ours; one that reported no value has failed.
COMPLETE = (State.COMPLETED, State.EARLY_STOPPED)
PRUNED = (State.STOPPED, State.INTERRUPTED)


def write_study(
    path: Path,
    name: str,
    history: History,
    space: Space,
    moment: Moment,
    *,
    about: Mapping[str, Any],
) -> None:
    """Write every trial of a run into a new SQLite file, whole or not at all.

    A trial that ended by itself is complete; one that ASHA stopped, or the end of the search, is
    pruned; one that failed, diverged or was lost has failed. A value is the best of all epochs,
    as in ``trials.parquet``, of a pruned trial too, where Optuna itself would put its last one.
    ``study.best_trial`` is the best of the complete trials, and Optuna's importances look at no
    other; the run's own best, which the study's attribute ``best_trial`` names, may be one that
    was stopped.

    What there is to say about the run becomes the attributes of the study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # In memory first: a database's URL cannot name each path, and a disk is slower by far.
    storage = RDBStorage("sqlite://")
    try:
        direction = "maximize" if history.objective.mode == "max" else "minimize"
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        for key, value in about.items():
            study.set_user_attr(key, value)
        study.add_trials(frozen_trials(history, space, moment))
        with contextlib.closing(storage.engine.raw_connection()) as memory:
            assert isinstance(memory.driver_connection, sqlite3.Connection)
            with contextlib.closing(sqlite3.connect(path)) as file:
                memory.driver_connection.backup(file)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def moments(description: Mapping[str, Any], events: Iterable[Event]) -> Moment:
    """Return the clock time of each second of a run, by run.json and the journal."""
    times = WallClock()
    # A journal may have lost its beginning, which run.json has too.
    times.observe({"at_seconds": 0.0, "run": {"started_at": description["started_at"]}})
    for event in events:
        times.observe(event)
    return lambda seconds: datetime.datetime.fromtimestamp(times.seconds_since_1970(seconds))


def frozen_trials(history: History, space: Space, moment: Moment) -> list[FrozenTrial]:
    """Return the trials as Optuna keeps them, by their numbers."""
    trials = [history.trials[number] for number in sorted(history.trials)]
    named = [_named(trial.values, space) for trial in trials]
    domains = _domains(named, space)
    return [
        _frozen(trial, params, domains, history.objective, moment)
        for trial, params in zip(trials, named, strict=True)
    ]


def _frozen(
    trial: TrialRecord,
    params: Values,
    domains: Mapping[str, BaseDistribution],
    objective: Objective,
    moment: Moment,
) -> FrozenTrial:
    state = _state(trial)
    has_value = state in (TrialState.COMPLETE, TrialState.PRUNED)
    ended = trial.ended_seconds
    return FrozenTrial(
        number=trial.trial,
        trial_id=-1,  # the storage gives its own
        state=state,
        value=trial.best_value if has_value else None,
        datetime_start=moment(trial.started_seconds),
        datetime_complete=None if ended is None else moment(ended),
        params=params,
        distributions={name: domains[name] for name in params},
        user_attrs=_attributes(trial),
        system_attrs={},
        intermediate_values=_reported(trial, objective),
    )


def _state(trial: TrialRecord) -> TrialState:
    """Return Optuna's state, as the searchers tell it."""
    if trial.state is State.RUNNING:
        return TrialState.RUNNING
    if trial.best_value is not None and trial.state in COMPLETE:
        return TrialState.COMPLETE
    is_pruned = trial.best_value is not None and trial.state in PRUNED
    return TrialState.PRUNED if is_pruned else TrialState.FAIL


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    own = {name: value for name, value in trial.values.items() if name.startswith(ORACLE_PREFIX)}
    known = {
        "trial": trial.trial,
        "ended": str(trial.ending),
        "best_epoch": trial.best.epoch if trial.best else None,
        "error": trial.error,
    }
    return own | {name: value for name, value in known.items() if value is not None}


def _reported(trial: TrialRecord, objective: Objective) -> dict[int, float]:
    """Return the objective of each epoch of the first training, NaN where it was no number."""
    return {
        epoch.epoch: math.nan if epoch.objective is None else epoch.objective
        for epoch in trial.epochs
        if epoch.execution == 0 and objective.name in epoch.metrics
    }


def _named(values: Values, space: Space) -> Values:
    """Return a configuration by the names in the study.

    A name that stands in several scopes has a domain in each: there the scope is part of it.
    """
    several = {
        name for name, count in Counter(parameter.name for parameter in space).items() if count > 1
    }
    named = {name: value for name, value in values.items() if not name.startswith(ORACLE_PREFIX)}
    for parameter in space:
        if parameter.name in named and parameter.name in several and parameter.is_active(values):
            named[parameter.key] = named.pop(parameter.name)
    return named


def _domains(named: Sequence[Values], space: Space) -> dict[str, BaseDistribution]:
    """Return the domain of each name in the study: the same for all trials, as Optuna asks."""
    tried: dict[str, list[Scalar]] = {}
    for params in named:
        for name, value in params.items():
            tried.setdefault(name, []).append(value)
    parameters = {parameter.name: parameter for parameter in space}
    parameters |= {parameter.key: parameter for parameter in space}
    return {name: domain(parameters.get(name), values) for name, values in tried.items()}


def domain(parameter: Parameter | None, tried: Sequence[Scalar]) -> BaseDistribution:
    """Return Optuna's domain of a parameter, with every value that was tried in it.

    Optuna knows no ``reverse_log`` and no steps on a log scale: there the values are the same, on
    a linear scale or listed.

    Args:
        parameter: None where the space does not know it, as of an imported search.
        tried: At least one value. One that is off the domain, as a default may be, or a value of
            a space that has changed since, makes it wider.
    """
    equal = _equal(parameter) if parameter else None
    if equal is not None and all(_holds(equal, value) for value in tried):
        return equal
    return _spanning(parameter, tried)


def _equal(parameter: Parameter) -> BaseDistribution | None:
    """Return the domain that has the values of a parameter; None where Optuna has none."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    is_log, is_whole = parameter.sampling == "log", parameter.kind is Kind.INT
    if parameter.size is None:
        low, high = parameter.low, parameter.high
        if is_whole:
            return IntDistribution(int(low), int(high), log=is_log)
        return FloatDistribution(low, high, log=is_log)
    assert parameter.step is not None
    if parameter.sampling == "linear":
        top = float(parameter.value_at(parameter.size - 1))
        if is_whole:
            return IntDistribution(int(parameter.low), int(top), step=int(parameter.step))
        stepped = _stepped(parameter.low, top, parameter.step)
        if _holds(stepped, top):
            return stepped
    if parameter.size > MOST_LISTED:
        return None
    return CategoricalDistribution([parameter.value_at(place) for place in range(parameter.size)])


def _stepped(low: float, top: float, step: float) -> BaseDistribution:
    with warnings.catch_warnings():
        # Steps that add up to a little more than they should: it says that it drops the last one.
        warnings.simplefilter("ignore")
        return FloatDistribution(low, top, step=step)


def _holds(distribution: BaseDistribution, value: Scalar) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


def _spanning(parameter: Parameter | None, tried: Sequence[Scalar]) -> BaseDistribution:
    """Return a domain from the lowest to the highest number, or of all the values."""
    declared: tuple[Scalar, ...] = ()
    if parameter is not None:
        declared = parameter.choices or (parameter.low, parameter.high)
    values = (*declared, *tried)
    numbers = [n for n in values if isinstance(n, (int, float)) and type(n) is not bool]
    if len(numbers) < len(values) or (parameter is not None and parameter.choices):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = min(numbers), max(numbers)
    is_log = parameter is not None and parameter.sampling == "log" and low > 0
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)
