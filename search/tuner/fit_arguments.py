"""Adapt the arguments of ``search`` for ``fit``, and check that ``fit`` reports the objective.

Imports Keras.
"""

import inspect
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.carry.carried import FitArguments
from search.errors import ObjectiveError, UsageError, nearest, objective_not_reported, raise_any
from search.space.mirror import has_own_fit
from search.worker.tuner import overrides


def adapt_fit_arguments(
    tuner: kt.Tuner, args: tuple[Any, ...], kwargs: dict[str, Any], max_epochs: int | None
) -> FitArguments:
    """Return the arguments of ``fit`` for the arguments of ``search``.

    Args:
        tuner: The tuner.
        args: Positional arguments of ``search``.
        kwargs: Keyword arguments of ``search``.
        max_epochs: Replaces ``epochs``; None: ``epochs`` stays.
    """
    receiver, _ = _receiver(tuner)
    # Code of the user may set epochs and verbose itself if it does not have them as parameters.
    names = {*inspect.signature(receiver).parameters, *kwargs}
    changes: dict[str, Any] = {}
    if max_epochs is not None and "epochs" in names:
        changes["epochs"] = max_epochs
    if "verbose" in names:
        changes["verbose"] = 0  # an invisible progress bar costs time after every batch
    return FitArguments(args, kwargs | changes)


def requested_epochs(tuner: kt.Tuner, arguments: FitArguments) -> int | None:
    """Return the ``epochs`` among the arguments of ``fit``; None if there are none.

    Raises:
        UsageError: They are no whole number.
    """
    receiver, leading = _receiver(tuner)
    try:
        bound = inspect.signature(receiver).bind_partial(
            *leading, *arguments.args, **arguments.kwargs
        )
    except TypeError:
        return None
    epochs = bound.arguments.get("epochs", arguments.kwargs.get("epochs"))
    try:
        return None if epochs is None else operator.index(epochs)
    except TypeError:
        raise UsageError(f"search(epochs={epochs!r}): expected a whole number.") from None


def decides_itself(tuner: kt.Tuner) -> bool:
    """Tell whether code of the user receives the arguments of ``search``, and calls ``fit``."""
    return overrides(type(tuner), "run_trial", "_build_and_fit_model") or has_own_fit(
        tuner.hypermodel
    )


def _receiver(tuner: kt.Tuner) -> tuple[Callable[..., Any], tuple[None, ...]]:
    """Return what receives the arguments of ``search``, with placeholders for those before."""
    if overrides(type(tuner), "run_trial"):
        return type(tuner).run_trial, (None, None)  # self and trial
    if has_own_fit(tuner.hypermodel):
        return tuner.hypermodel.fit, (None, None)  # hp and model
    return keras.Model.fit, (None,)  # self


def check_data(tuner: kt.Tuner, arguments: FitArguments) -> None:
    """Check what Keras's ``fit`` would notice late, or not at all.

    Args:
        tuner: The tuner; a ``fit`` or ``run_trial`` of the user cannot be checked.
        arguments: The arguments of ``fit``.

    Raises:
        UsageError: A dataset never ends, and nothing says how many steps make an epoch; or there
            are more inputs than targets, or fewer.
    """
    if decides_itself(tuner):
        return
    kwargs = arguments.kwargs
    inputs = {f"argument {number}": part for number, part in enumerate(arguments.args[:2], 1)}
    inputs |= {name: kwargs[name] for name in ("x", "y") if name in kwargs}
    validation = kwargs.get("validation_data")
    named = {"validation_data": validation}
    if isinstance(validation, tuple):
        named = {f"validation_data[{n}]": part for n, part in enumerate(validation[:2])}
    raise_any(
        [
            *_unending(inputs, "steps_per_epoch", kwargs),
            *_unending(named, "validation_steps", kwargs),
            *_unequal(inputs),
            *_unequal(named),
        ]
    )


def _unending(data: dict[str, Any], steps: str, kwargs: dict[str, Any]) -> Iterator[str]:
    """Name each dataset that never ends, unless ``steps`` says how long an epoch is."""
    for name, value in data.items():
        is_endless = (
            isinstance(value, tf.data.Dataset)
            and int(value.cardinality()) == tf.data.INFINITE_CARDINALITY
        )
        if is_endless and kwargs.get(steps) is None:
            yield (
                f"{name}: the dataset never ends, so fit needs {steps}: pass it to search, or "
                "leave out repeat()."
            )


def _unequal(data: dict[str, Any]) -> Iterator[str]:
    """Say if two arrays have different numbers of samples."""
    arrays = {name: value for name, value in data.items() if isinstance(value, np.ndarray)}
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        counts = " and ".join(f"{name} has {length}" for name, length in lengths.items())
        yield f"{counts} samples: expected as many inputs as targets."


def check_objective(
    objective: Objective,
    tuner: kt.Tuner,
    arguments: FitArguments,
    build: Callable[[], keras.Model],
    open_data: Callable[[], FitArguments],
) -> None:
    """Check that ``fit`` reports the objective, if that is known without training.

    Args:
        objective: The objective of the search.
        tuner: The tuner; a ``fit`` or ``run_trial`` of the user cannot be checked.
        arguments: The arguments of ``fit``.
        build: Builds a model with the default values, as a trial does.
        open_data: Returns a copy of the arguments, as a trial gets it.

    Raises:
        ObjectiveError: ``fit`` does not report the objective, or there is no objective.
        UsageError: Keras's ``fit`` does not have one of the arguments.
    """
    is_missing = objective.name == DEFAULT_OBJECTIVE
    if decides_itself(tuner):
        return
    metrics = _reported_metrics(arguments, build, open_data)
    if metrics is None:
        return
    if is_missing:
        raise ObjectiveError(
            f"objective is missing: expected one of the metrics {', '.join(sorted(metrics))}, or a "
            "HyperModel.fit that returns the value to minimize."
        )
    for part in objective.parts or (objective,):
        # Callbacks of Keras that change the learning rate report it.
        if part.name in metrics | {"learning_rate"}:
            continue
        if part.name.removeprefix("val_") in metrics:
            raise ObjectiveError(
                f"objective {part.name!r} needs validation data: pass validation_data=(x, y) or "
                "validation_split=0.2 to search."
            )
        raise ObjectiveError(objective_not_reported(part.name, metrics))


def _reported_metrics(
    arguments: FitArguments,
    build: Callable[[], keras.Model],
    open_data: Callable[[], FitArguments],
) -> set[str] | None:
    """Return the names of the metrics that an epoch reports; None if they are unknown."""
    kwargs = arguments.kwargs
    callbacks = kwargs.get("callbacks") or []
    has_own_callbacks = any(not type(c).__module__.startswith("keras.") for c in callbacks)
    if has_own_callbacks:
        return None
    try:
        model = build()
    except Exception:  # the trials will report the error
        return None
    if type(model).fit is keras.Model.fit:
        _check_names(arguments)
    if type(model).train_step is not keras.Model.train_step:
        return None
    try:
        metrics = _evaluate_sample(model, open_data())
    except Exception:  # the trials will report the error
        return None
    if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
        metrics |= {f"val_{name}" for name in metrics}
    return metrics


def _check_names(arguments: FitArguments) -> None:
    """Check the names of the keyword arguments of Keras's ``fit``.

    Raises:
        UsageError: ``fit`` has no argument of a name.
    """
    names = inspect.signature(keras.Model.fit).parameters
    raise_any(
        [
            f"search({name}=...): model.fit has no argument {name!r}.{nearest(name, names)}"
            for name in arguments.kwargs
            if name not in names
        ]
    )


def _evaluate_sample(model: keras.Model, arguments: FitArguments) -> set[str]:
    """Evaluate a model on one training sample; return the names of its metrics."""
    bound = inspect.signature(model.fit).bind(*arguments.args, **arguments.kwargs).arguments
    inputs, targets = bound.get("x"), bound.get("y")
    if targets is None:
        assert inputs is not None
        batch = inputs[0] if isinstance(inputs, keras.utils.PyDataset) else next(iter(inputs))
        inputs, targets = batch[0], batch[1]
    model.run_eagerly = True  # compiling takes longer than one sample
    first_sample = partial(keras.tree.map_structure, lambda array: array[:1])
    return set(
        model.evaluate(first_sample(inputs), first_sample(targets), verbose=0, return_dict=True)
    )
