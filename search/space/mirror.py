"""Converts between keras-tuner's hyperparameters and ``Space``. Imports Keras: for workers only."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import Scalar
from search.errors import ProblemError
from search.space.parameters import ORACLE_PREFIX, Condition, Kind, Parameter, Space
from search.storage import scratch

# keras-tuner's grid search lists all values of each hyperparameter, for every proposal.
MAX_GRID_VALUES = 1_000_000


def load_hypermodel(source: object, reference: str) -> kt.HyperModel:
    """Return the ``HyperModel`` that a user named.

    Args:
        source: A hypermodel, a class of one, or a function ``build_model(hp)``.
        reference: How the user named it, for the error message.

    Raises:
        ProblemError: ``source`` is none of these.
    """
    if isinstance(source, type) and issubclass(source, kt.HyperModel):
        source = source()
    if isinstance(source, kt.HyperModel):
        return source
    if callable(source):
        return _FunctionHyperModel(source)
    raise ProblemError(
        f"--hypermodel {reference!r} is of type {type(source).__name__}: expected a function "
        "build_model(hp) or a keras_tuner.HyperModel. Name one of these."
    )


class _FunctionHyperModel(kt.HyperModel):
    """A hypermodel whose ``build`` is the user's own ``build_model``."""

    def __init__(self, build: Callable[[kt.HyperParameters], Any]) -> None:
        super().__init__()
        self.build = build


def discover_space(hypermodel: kt.HyperModel) -> Space:
    """Return the search space of a hypermodel, including its conditional branches.

    A tuner of keras-tuner explores the space by building models when it is constructed.

    Raises:
        ProblemError: The builder returns no compiled model, or the space has nothing to tune.
        Exception: The builder raised this error.
    """
    check_model(hypermodel.build(prepare_hyperparameters(hypermodel, {})), hypermodel)
    with scratch.temporary("space-") as folder:
        tuner = kt.RandomSearch(
            hypermodel, objective="val_loss", max_trials=1, directory=str(folder)
        )
        space = mirror_space(tuner.oracle.get_space().space)
    if not space.is_tunable():
        names = [parameter.name for parameter in space]
        raise ProblemError(
            f"The search space has no hyperparameter to tune (found {names or 'none'}): expected "
            "one with several values. Register one in the builder, such as "
            "hp.Int('units', 16, 512)."
        )
    return space


def check_model(model: object, hypermodel: kt.HyperModel) -> None:
    """Check that a builder returned a Keras model that ``model.fit`` can train.

    A hypermodel with its own ``fit`` may return a model that is not compiled.

    Raises:
        ProblemError: It did not.
    """
    if not isinstance(model, keras.Model):
        raise ProblemError(
            f"The builder returned {_describe_type(model)}: expected a compiled keras.Model. "
            "Return the model at the end of the builder."
        )
    if not model.compiled and not has_own_fit(hypermodel):
        raise ProblemError(
            "The builder returned a model that is not compiled: expected a compiled keras.Model. "
            "Call model.compile(optimizer=..., loss=..., metrics=[...]) before returning it."
        )


def has_own_fit(hypermodel: kt.HyperModel) -> bool:
    """Tell whether a hypermodel defines its own ``fit``."""
    return type(hypermodel).fit is not kt.HyperModel.fit


def prepare_hyperparameters(
    hypermodel: kt.HyperModel | None,
    values: Mapping[str, Scalar],
    registered: Mapping[str, Any] | None = None,
) -> kt.HyperParameters:
    """Return the ``hp`` for building one configuration.

    It holds all values, but only the parameters that are declared or registered in advance. After
    the build and the fit, its space is therefore what this configuration really uses.

    Args:
        hypermodel: The hypermodel, which may declare parameters; None: there is none.
        values: The configuration.
        registered: Config of the ``HyperParameters`` that a script registered in advance.
    """
    hp = kt.HyperParameters.from_config(registered) if registered else kt.HyperParameters()
    hp.values = dict(values)
    if hypermodel is not None:
        hypermodel.declare_hyperparameters(hp)
    return hp


def used_values(hp: kt.HyperParameters) -> dict[str, Scalar]:
    """Return the values of the active parameters that the build and the fit registered.

    Values that an oracle keeps for itself, as Hyperband does, are included.
    """
    names = [p.name for p in hp.space if hp.is_active(p) and p.name in hp.values]
    names += [name for name in hp.values if name.startswith(ORACLE_PREFIX)]
    return {name: hp.values[name] for name in names}


def to_hyperparameters(
    space: Space, values: Mapping[str, Scalar] | None = None
) -> kt.HyperParameters:
    """Return a mirrored space as keras-tuner's ``HyperParameters``; ``mirror_space`` reverses this.

    Args:
        space: The space.
        values: The configuration; None: the defaults.
    """
    return kt.HyperParameters.from_config(
        space.to_keras_tuner(space.defaults() if values is None else values)
    )


def mirror_space(parameters: Iterable[Any]) -> Space:
    """Return keras-tuner's list of hyperparameters as a ``Space``.

    Raises:
        ProblemError: A hyperparameter is of an unknown kind.
    """
    return Space(tuple(_mirror_parameter(parameter) for parameter in parameters))


def check_grid(space: Space) -> None:
    """Check that keras-tuner's grid search can list the values of a space.

    Raises:
        ProblemError: A hyperparameter has more than ``MAX_GRID_VALUES`` values.
    """
    for parameter in space:
        if parameter.count is not None and parameter.count > MAX_GRID_VALUES:
            raise ProblemError(
                f"Hyperparameter {parameter.name!r} has {parameter.count} values: a grid search "
                f"lists them all, expected at most {MAX_GRID_VALUES}. Give it a larger step, or "
                "use another algorithm."
            )


def _mirror_parameter(hp: Any) -> Parameter:
    kind = type(hp).__name__
    common: dict[str, Any] = {
        "name": hp.name,
        "default": hp.default,
        "conditions": tuple(Condition(c.name, tuple(c.values)) for c in hp.conditions),
    }
    match kind:
        case "Int" | "Float":
            parameter = Parameter(
                kind=Kind(kind),
                low=hp.min_value,
                high=hp.max_value,
                step=hp.step,
                sampling=hp.sampling,
                **common,
            )
            _check_range(parameter)
            return parameter
        case "Choice":
            # ``hp.values`` of booleans are 1 and 0: keras-tuner converts them, as bool is an int.
            return Parameter(
                kind=Kind.CHOICE, choices=tuple(hp.values), ordered=hp.ordered, **common
            )
        case "Boolean":
            return Parameter(kind=Kind.BOOLEAN, choices=(False, True), ordered=False, **common)
        case "Fixed":
            return Parameter(kind=Kind.FIXED, choices=(hp.value,), **common)
    raise ProblemError(
        f"Hyperparameter {hp.name!r} of kind {kind!r} is not supported: expected Int, Float, "
        "Choice, Boolean or Fixed. Declare it as one of these."
    )


def _check_range(parameter: Parameter) -> None:
    """Check that the values of a range can be computed.

    Raises:
        ProblemError: An end is not finite, or a number on the way to a value is too large.
    """
    try:
        size = parameter.size
        positions = (0.0, math.nextafter(1.0, 0.0)) if size is None else (0, size - 1)
        values = [parameter.value_at(position) for position in positions]
        numbers = (parameter.low, parameter.high, *map(float, values))
        if all(map(math.isfinite, numbers)):
            return
        reason = "it is not finite"
    except (ArithmeticError, ValueError) as error:
        reason = str(error)
    raise ProblemError(
        f"Hyperparameter {parameter.name!r} has the range {parameter.low} to {parameter.high} "
        f"(step {parameter.step}, {parameter.sampling}), of which no value can be computed "
        f"({reason}): expected numbers up to 1e308, and fewer steps than that. Narrow the range."
    )


def _describe_type(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__!r}"
