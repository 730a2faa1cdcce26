"""keras-tuner on one side, the plain space on the other. Imports Keras: for workers only."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import Scalar
from search.errors import ProblemError
from search.space.parameters import ORACLE_PREFIX, Condition, Kind, Parameter, Space


def load_hypermodel(found: object, reference: str) -> kt.HyperModel:
    """Make a ``HyperModel`` of what a user named: one, a class of one, or ``build_model``.

    Raises:
        ProblemError: It is none of these.
    """
    if isinstance(found, type) and issubclass(found, kt.HyperModel):
        found = found()
    if isinstance(found, kt.HyperModel):
        return found
    if callable(found):
        return _FromFunction(found)
    raise ProblemError(
        f"--hypermodel {reference!r} is a {type(found).__name__}: expected a function "
        "build_model(hp) or a keras_tuner.HyperModel."
    )


class _FromFunction(kt.HyperModel):
    """A hypermodel whose ``build`` is the user's own ``build_model``."""

    def __init__(self, build: Callable[[kt.HyperParameters], Any]) -> None:
        super().__init__()
        self.build = build


def discover_space(hypermodel: kt.HyperModel) -> Space:
    """Find the space by building, conditional branches included.

    keras-tuner itself does it: a tuner explores the space when it is made.

    Raises:
        ProblemError: No compiled model comes out, or there is nothing to tune.
        Exception: Whatever the builder raises.
    """
    check_model(hypermodel.build(prepare_hyperparameters(hypermodel, {})), hypermodel)
    with tempfile.TemporaryDirectory(prefix="fmnist-search-") as folder:
        tuner = kt.RandomSearch(hypermodel, objective="val_loss", max_trials=1, directory=folder)
        space = mirror_space(tuner.oracle.get_space().space)
    if not space.is_tunable():
        names = [parameter.name for parameter in space]
        raise ProblemError(
            f"The space has no hyperparameter to tune (found {names or 'none'}): the builder "
            "must ask for some, such as hp.Int('units', 16, 512)."
        )
    return space


def check_model(model: object, hypermodel: kt.HyperModel) -> None:
    """Refuse what is no Keras model, or one that ``model.fit`` could not train.

    A hypermodel with a ``fit`` of its own may train what is not compiled.

    Raises:
        ProblemError: Says what the builder returned instead.
    """
    if not isinstance(model, keras.Model):
        raise ProblemError(
            f"The builder returned {_article(type(model).__name__)}: expected a compiled "
            "keras.Model."
        )
    if not model.compiled and not has_own_fit(hypermodel):
        raise ProblemError(
            "The builder returned a model that is not compiled: call model.compile(optimizer=..., "
            "loss=..., metrics=[...]) before returning it."
        )


def has_own_fit(hypermodel: kt.HyperModel) -> bool:
    """Tell whether a hypermodel trains in its own way."""
    return type(hypermodel).fit is not kt.HyperModel.fit


def prepare_hyperparameters(
    hypermodel: kt.HyperModel,
    values: Mapping[str, Scalar],
    registered: Mapping[str, Any] | None = None,
) -> kt.HyperParameters:
    """Return the ``hp`` to build one configuration with.

    It holds the values but no parameter besides those declared or registered up front, so that
    after building and fitting its space is what this configuration really asked for.

    Args:
        hypermodel: May declare parameters up front.
        values: The configuration.
        registered: Config of the ``HyperParameters`` that a script registered in advance.
    """
    hp = kt.HyperParameters.from_config(registered) if registered else kt.HyperParameters()
    hp.values = dict(values)
    hypermodel.declare_hyperparameters(hp)
    return hp


def used_values(hp: kt.HyperParameters) -> dict[str, Scalar]:
    """Return the values of the active parameters that the build and the fit asked for.

    What an oracle keeps among the values for itself, as Hyperband does, stays there.
    """
    own = {name: value for name, value in hp.values.items() if name.startswith(ORACLE_PREFIX)}
    asked_for = (p.name for p in hp.space if hp.is_active(p) and p.name in hp.values)
    return {name: hp.values[name] for name in asked_for} | own


def to_hyperparameters(
    space: Space, values: Mapping[str, Scalar] | None = None
) -> kt.HyperParameters:
    """Return keras-tuner's side of a mirrored space, with a configuration where one is given.

    ``mirror_space`` gives the space back, and keras-tuner takes the values as its own.
    """
    configuration = space.defaults() if values is None else values
    return kt.HyperParameters.from_config(space.to_keras_tuner(configuration))


def mirror_space(parameters: Iterable[Any]) -> Space:
    """Mirror keras-tuner's list of hyperparameters.

    Raises:
        ProblemError: A kind that this version does not know.
    """
    return Space(tuple(_mirror_one(parameter) for parameter in parameters))


def _mirror_one(hp: Any) -> Parameter:
    kind = type(hp).__name__
    common: dict[str, Any] = {
        "name": hp.name,
        "default": hp.default,
        "conditions": tuple(Condition(c.name, tuple(c.values)) for c in hp.conditions),
    }
    match kind:
        case "Int" | "Float":
            return Parameter(
                kind=Kind(kind),
                low=hp.min_value,
                high=hp.max_value,
                step=hp.step,
                sampling=hp.sampling,
                **common,
            )
        case "Choice":
            # Choice turns booleans into 1 and 0 (bool is an int to Python): so does the mirror.
            return Parameter(
                kind=Kind.CHOICE, choices=tuple(hp.values), ordered=hp.ordered, **common
            )
        case "Boolean":
            return Parameter(kind=Kind.BOOLEAN, choices=(False, True), ordered=False, **common)
        case "Fixed":
            return Parameter(kind=Kind.FIXED, choices=(hp.value,), **common)
    raise ProblemError(
        f"Cannot mirror hyperparameter {hp.name!r} of kind {kind!r}: known are Int, Float, "
        "Choice, Boolean and Fixed. Declare it as one of these."
    )


def _article(noun: str) -> str:
    return "None" if noun == "NoneType" else f"an object of type {noun!r}"
