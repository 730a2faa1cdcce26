"""Loads the data of a problem from the user's function, and checks them."""

import inspect
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any

from search.carry.carried import FitArguments
from search.carry.description import DataPart
from search.errors import ProblemError
from search.plan import importer
from search.plan.plan import Problem
from search.worker import process, reading, splits
from search.worker.splits import Split
from search.worker.task import NamedObject

# Of data whose contents cannot be known.
UNKNOWN_DIGEST = "unknown"


@dataclass(frozen=True)
class Data:
    """The splits of a problem, each as ``splits`` describes it.

    Attributes:
        train: For training.
        validation: For the objective.
        test: For the evaluation of the final model only; None if there is no such split.
        class_names: Name of each label, or None.
    """

    train: Split
    validation: Split
    test: Split | None = None
    class_names: tuple[str, ...] | None = None

    def digest(self) -> str:
        """Return a checksum of the shapes, types and contents of all splits.

        Equal contents have an equal checksum; ``UNKNOWN_DIGEST`` if a dataset does not show them.
        """
        checksum: int | None = 0
        for split in self.named_splits.values():
            checksum = splits.checksum(split, checksum) if checksum is not None else None
        return UNKNOWN_DIGEST if checksum is None else f"{checksum:08x}"

    @property
    def named_splits(self) -> dict[str, Split]:
        """The splits by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def packed(self) -> "Data":
        """Return the data in a form that Ray can carry to other processes.

        Raises:
            ProblemError: It names each split with a dataset that cannot be pickled.
        """
        packed, problems = {}, []
        for name, split in self.named_splits.items():
            try:
                packed[name] = splits.packed(split, f"--data: the {name} split")
            except ProblemError as error:
                problems.append(str(error))
        if problems:
            raise ProblemError("\n".join(problems))
        return replace(self, **packed)

    def parts(self, packed: "Data") -> tuple[DataPart, ...]:
        """Return each array and dataset, and how it travels, given these data as packed."""
        sent = packed.named_splits
        return tuple(
            part
            for name, split in self.named_splits.items()
            for part in splits.described(split, sent[name], name)
        )

    def arguments(self, **others: Any) -> FitArguments:
        """Return the arguments of ``fit``: the splits, datasets as fresh copies, and others."""
        train, validation = splits.opened(self.train), splits.opened(self.validation)
        validation_data = validation if len(validation) == 2 else validation[0]
        return FitArguments(train, {"validation_data": validation_data, **others})


def load_data(problem: Problem, *, needs_test: bool) -> Data:
    """Call the problem's data function.

    The function gets ``seed`` and ``data_dir`` if it has parameters of these names. It returns two
    or three splits: train, validation and optionally test, each a pair of inputs and targets or a
    dataset. The returned object, or a dataset for training, may have an attribute ``class_names``.

    Args:
        problem: Names the function, the seed and the folder.
        needs_test: Whether a test split is required, because a model will be evaluated.

    Raises:
        ProblemError: The function cannot be called, raises, or returns something else.
    """
    function = importer.load(problem.data, "data")
    if not callable(function):
        raise ProblemError(
            f"--data {problem.data!r} is not a function: expected one that returns the data."
        )
    try:
        loaded = function(
            **_accepted_arguments(function, seed=problem.seed, data_dir=problem.data_dir)
        )
    except Exception as error:
        raise ProblemError(f"--data {problem.data!r}: {type(error).__name__}: {error}") from error
    return _check(loaded, problem, needs_test=needs_test)


def _accepted_arguments(function: Any, **offered: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return offered
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in offered.items() if name in names}


def _check(loaded: Any, problem: Problem, *, needs_test: bool) -> Data:
    """Return what the function returned as data.

    Raises:
        ProblemError: It names everything that is wrong, a line each.
    """
    reference = f"--data {problem.data!r}"
    parts = list(loaded) if isinstance(loaded, (tuple, list)) else [loaded]
    given = list(takewhile(splits.is_split, parts))
    if len(given) not in (2, 3) or any(map(splits.is_split, parts[len(given) :])):
        raise ProblemError(
            f"{reference}: got {reading.describe(loaded)}, expected a training, a "
            "validation and optionally a test split, each a pair (inputs, targets) or a dataset. "
            "Return (x_train, y_train), (x_validation, y_validation), (x_test, y_test)."
        )
    named = dict(zip(("train", "validation", "test"), map(reading.as_split, given), strict=False))
    found = [
        f"{reference}: {text}"
        for name, split in named.items()
        for text in reading.problems(
            split, name, may_be_endless=partial(_may_be_endless, problem, name)
        )
    ]
    if needs_test and "test" not in named:
        found.append(
            f"{reference} returns no test split, so the retrained model cannot be "
            "evaluated: return (x_test, y_test) as a third pair, or add --retrain-epochs none."
        )
    if found:
        raise ProblemError("\n".join(found))
    return Data(**named, class_names=_class_names(loaded, given[0]))


def _may_be_endless(problem: Problem, name: str) -> bool:
    """Tell whether a split may be endless: the hypermodel's own ``fit`` may count the steps."""
    if name == "test" or problem.hypermodel is None:
        return False
    from search.space import mirror

    return mirror.has_own_fit(process.load_hypermodel(NamedObject(problem.hypermodel)))


def _class_names(*holders: Any) -> tuple[str, ...] | None:
    """Return the names of the classes that the first holder has; None without any."""
    found = (getattr(holder, "class_names", None) for holder in holders)
    names = next((names for names in found if names is not None), None)
    return None if names is None else tuple(map(str, names))
