"""Search spaces that hypothesis makes up, for the tests of whatever reads a space.

``spaces`` draws plain values. ``programs`` draws declarations, which ``declare`` runs on
keras-tuner's ``HyperParameters``. Nothing here imports Keras or Ray.
"""

import contextlib

from hypothesis import strategies as st

from search.algorithms.drawing import choose_values
from search.space.parameters import Condition, Kind, Parameter, Space

ranges = st.tuples(st.integers(1, 40), st.integers(0, 60)).map(lambda r: (r[0], r[0] + r[1]))
samplings = st.sampled_from(["linear", "log", "reverse_log"])
steps = st.none() | st.integers(2, 7)
# Not 0 itself: there a rounding error may take an Int on the scale ``reverse_log`` below its lowest
# value, in keras-tuner as here.
fractions = st.floats(1e-9, 1, exclude_max=True)

# --- Plain spaces --------------------------------------------------------------------------------


@st.composite
def numbers(draw, **common):
    """Draw an Int or a Float. An Int without a step has the step 1 on a linear scale."""
    kind, (low, high) = draw(st.sampled_from([Kind.INT, Kind.FLOAT])), draw(ranges)
    step, sampling = draw(steps), draw(samplings)
    if kind is Kind.FLOAT:
        low, high = float(low), float(high)
    elif sampling == "linear":
        step = step or 1
    return Parameter(
        kind=kind, default=low, low=low, high=high, step=step, sampling=sampling, **common
    )


@st.composite
def choices(draw, **common):
    values = draw(
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
        | st.sampled_from([["a", "b"], [0.5, 0.25, 1.0]])
    )
    is_ordered = draw(st.booleans())
    return Parameter(
        kind=Kind.CHOICE, default=values[-1], choices=tuple(values), ordered=is_ordered, **common
    )


@st.composite
def booleans(draw, **common):
    default = draw(st.booleans())
    return Parameter(
        kind=Kind.BOOLEAN, default=default, choices=(False, True), ordered=False, **common
    )


@st.composite
def fixed_values(draw, **common):
    value = draw(st.sampled_from([1, 2.5, "same", True]))
    return Parameter(kind=Kind.FIXED, default=value, choices=(value,), **common)


@st.composite
def spaces(draw):
    """Draw a space of one to five parameters, some of them on conditions within conditions."""
    parameters, parents = [], []
    for number in range(draw(st.integers(1, 5))):
        common = {"name": f"p{number}", "conditions": ()}
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            values = draw(st.lists(st.sampled_from(parent.choices), min_size=1, unique=True))
            common["conditions"] = (*parent.conditions, Condition(parent.name, tuple(values)))
        strategies = (numbers, choices, booleans, fixed_values)
        parameter = draw(st.one_of([strategy(**common) for strategy in strategies]))
        parameters.append(parameter)
        if parameter.kind in (Kind.CHOICE, Kind.BOOLEAN):
            parents.append(parameter)
    return Space(tuple(parameters))


@st.composite
def configurations(draw, space):
    """Draw a configuration of a space, as an algorithm does: a position for each parameter."""

    def position(parameter):
        fraction = draw(fractions)
        return fraction if parameter.size is None else int(fraction * parameter.size)

    return choose_values(space, position)


# --- Programs of declarations ---------------------------------------------------------------------

declarations = st.one_of(
    st.tuples(st.just("Int"), ranges, steps, samplings),
    st.tuples(st.just("Float"), ranges, steps, samplings),
    st.tuples(st.just("Choice"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("Choice"), st.sampled_from([["a", "b"], [True, False], [0.5, 0.25, 1.0]])),
    st.tuples(st.just("Boolean"), st.booleans()),
    st.tuples(st.just("Fixed"), st.sampled_from([1, 2.5, "same", True])),
)


@st.composite
def programs(draw, depth=2, parents=()):
    """Draw a list of steps, as a builder takes them.

    A step is ("declare", name, declaration), ("scope", name, steps) or
    ("when", parent, values, steps).
    """
    program, parents = [], list(parents)
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["declare", "declare", "scope", "when"] if depth else ["declare"]
        kind, name = draw(st.sampled_from(kinds)), draw(st.sampled_from("pqrstuvw"))
        if kind == "scope":
            program.append(("scope", name, draw(programs(depth=depth - 1))))
        elif kind == "when" and parents:
            parent, values = draw(st.sampled_from(parents))
            wanted = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
            steps = draw(programs(depth=depth - 1, parents=parents))
            program.append(("when", parent, wanted, steps))
        else:
            declaration = draw(declarations)
            program.append(("declare", name, declaration))
            if declaration[0] == "Choice" and name not in {parent for parent, _ in parents}:
                # keras-tuner turns the booleans of a Choice into 1 and 0.
                values = [int(v) if v in (True, False) else v for v in declaration[1]]
                parents.append((name, values))
    return program


def declare(program, hp, prefix="", parents=()):
    """Declare the parameters of a program.

    Args:
        program: A value of ``programs``.
        hp: keras-tuner's ``HyperParameters``.
        prefix: The name scopes around the program.
        parents: The names on whose values the program depends; keras-tuner forbids these.

    Returns:
        The name and the value of each parameter in the order of the program, as a builder gets it.
    """
    values = []
    for kind, name, *rest in program:
        if kind == "scope":
            with hp.name_scope(name):
                values += declare(*rest, hp, f"{prefix}{name}/", parents)
        elif kind == "when":
            wanted, steps = rest
            with contextlib.ExitStack() as scope:
                try:
                    scope.enter_context(hp.conditional_scope(name, wanted))
                except ValueError:  # the parent was declared under other conditions
                    continue
                values += declare(steps, hp, prefix, (*parents, f"{prefix}{name}"))
        elif f"{prefix}{name}" not in parents:
            values.append((f"{prefix}{name}", _declare_parameter(hp, name, *rest)))
    return values


def _declare_parameter(hp, name, declaration):
    kind, *arguments = declaration
    if kind in ("Int", "Float"):
        (low, high), step, sampling = arguments
        return getattr(hp, kind)(name, low, high, step=step, sampling=sampling)
    return getattr(hp, kind)(name, *arguments)


def is_sound(hp):
    """Tell whether no name stands for two parameters, of which both may be active."""
    return len({parameter.name for parameter in hp.space}) == len(hp.space)


def configs(hp):
    """Return keras-tuner's config of each parameter, with the default that it uses."""
    return [parameter.get_config() | {"default": parameter.default} for parameter in hp.space]


def nested(hp):
    """Declare scopes within scopes."""
    kind = hp.Choice("kind", ["a", "b", "c"])
    with hp.conditional_scope("kind", ["b", "c"]):
        hp.Boolean("deep")
        with hp.conditional_scope("deep", [True]):
            hp.Int("size", 1, 3)
    if kind == "c":
        with hp.conditional_scope("kind", ["c"]):
            hp.Float("rate", 1, 4, step=2, sampling="log")
    with hp.name_scope("head"):
        hp.Int("size", 2, 6, step=2)
