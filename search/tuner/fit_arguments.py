"""What ``search`` is called with: how ``fit`` takes it, and whether it reports the objective.

Imports Keras.
"""

import inspect
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import keras_tuner as kt

from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.errors import ObjectiveError, nearest, objective_not_reported, raise_any
from search.plan.task import FitArguments
from search.space.mirror import has_own_fit


def fit_arguments(
    hypermodel: kt.HyperModel, args: tuple[Any, ...], kwargs: dict[str, Any], max_epochs: int | None
) -> FitArguments:
    """Return what ``fit`` is to be called with, given the arguments of ``search``.

    ``max_epochs`` takes the place of ``epochs``; None: they stay.
    """
    # A fit of the user's own may set by itself what it does not name.
    known = {*inspect.signature(hypermodel.fit).parameters, *kwargs}
    if not has_own_fit(hypermodel):
        known |= {"epochs", "verbose"}
    changes: dict[str, Any] = {}
    if max_epochs is not None and "epochs" in known:
        changes["epochs"] = max_epochs
    if "verbose" in known:
        changes["verbose"] = 0  # a bar that nobody sees costs time after every batch
    return FitArguments(args, kwargs | changes)


def epochs_of(hypermodel: kt.HyperModel, arguments: FitArguments) -> int | None:
    """Return the epochs that ``fit`` is asked for, by position or by name; None: none are."""
    has_own = has_own_fit(hypermodel)
    fit = hypermodel.fit if has_own else keras.Model.fit
    hidden = (None, None) if has_own else (None,)  # hp and model, or self
    try:
        bound = inspect.signature(fit).bind_partial(*hidden, *arguments.args, **arguments.kwargs)
    except TypeError:
        return None
    epochs = bound.arguments.get("epochs", arguments.kwargs.get("epochs"))
    return None if epochs is None else operator.index(epochs)


def check_objective(
    objective: Objective,
    hypermodel: kt.HyperModel,
    arguments: FitArguments,
    build: Callable[[], keras.Model],
) -> None:
    """Check that the model reports the objective, where that can be known without training.

    Args:
        objective: What is searched for.
        hypermodel: Says whether ``fit`` is the user's own.
        arguments: Of ``fit``.
        build: Builds a model of the defaults, as a trial does.

    Raises:
        ObjectiveError: It reports others.
        UsageError: Keras's own ``fit`` does not know an argument.
    """
    is_missing = objective.name == DEFAULT_OBJECTIVE
    if is_missing and has_own_fit(hypermodel):
        return
    reported = _reported(hypermodel, arguments, build)
    if reported is None:
        return
    if is_missing:
        raise ObjectiveError(
            "objective is missing: expected one of the metrics that an epoch reports, "
            f"{', '.join(sorted(reported))}; only a HyperModel.fit that returns its score can "
            "do without."
        )
    for part in objective.parts or (objective,):
        # Callbacks of Keras that change the learning rate report it.
        if part.name in reported | {"learning_rate"}:
            continue
        if part.name.removeprefix("val_") in reported:
            raise ObjectiveError(
                f"objective {part.name!r} needs data to validate on: give search "
                "validation_data=(x, y) or validation_split=0.2."
            )
        raise ObjectiveError(objective_not_reported(part.name, reported))


def _reported(
    hypermodel: kt.HyperModel, arguments: FitArguments, build: Callable[[], keras.Model]
) -> set[str] | None:
    """Return the names that an epoch reports, from one look at one sample; None: unknown."""
    kwargs = arguments.kwargs
    callbacks = kwargs.get("callbacks") or []
    foreign = [c for c in callbacks if not type(c).__module__.startswith("keras.")]
    if has_own_fit(hypermodel) or foreign:
        return None
    try:
        model = build()
    except Exception:  # what is wrong with it, the trials say
        return None
    if type(model).fit is keras.Model.fit:
        _check_names(arguments)
    if type(model).train_step is not keras.Model.train_step:
        return None
    try:
        names = _evaluated(model, arguments)
    except Exception:  # what is wrong with model or data, the trials say
        return None
    if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
        names |= {f"val_{name}" for name in names}
    return names


def _check_names(arguments: FitArguments) -> None:
    """Check that Keras's own ``fit`` knows what ``search`` was given.

    Raises:
        UsageError: Names what it does not know.
    """
    known = inspect.signature(keras.Model.fit).parameters
    raise_any(
        [
            f"search({name}=...): model.fit takes no {name!r}.{nearest(name, known)}"
            for name in arguments.kwargs
            if name not in known
        ]
    )


def _evaluated(model: keras.Model, arguments: FitArguments) -> set[str]:
    bound = inspect.signature(model.fit).bind(*arguments.args, **arguments.kwargs).arguments
    inputs, targets = bound.get("x"), bound.get("y")
    if targets is None:
        assert inputs is not None
        batch = inputs[0] if isinstance(inputs, keras.utils.PyDataset) else next(iter(inputs))
        inputs, targets = batch[0], batch[1]
    model.run_eagerly = True  # one sample is not worth compiling for
    first = partial(keras.tree.map_structure, lambda array: array[:1])
    return set(model.evaluate(first(inputs), first(targets), verbose=0, return_dict=True))
