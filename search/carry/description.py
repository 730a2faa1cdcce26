"""Describes the data of a search, equally for equal data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# Data are taken for another split of the same data if mean and deviation differ by this share of a
# standard deviation at most, or by so many standard errors of the mean if that is more.
SAME_SHARE = 0.1
STANDARD_ERRORS = 4.0
TINY = 1e-9
DATASET = "dataset"  # the kind of a ``tf.data.Dataset``


class Way(StrEnum):
    """How data travel to the workers."""

    SHARED = "shared arrays"
    ANEW = "made anew in the worker"
    SAVED = "saved once per node"
    PICKLED = "pickled"
    READ = "read once in the driver"


@dataclass(frozen=True)
class Numbers:
    """What an array of numbers looks like.

    Attributes:
        shape: Its shape, such as ``60000x28x28``; empty for a single number.
        mean: Its mean; None if it is not finite.
        deviation: Its standard deviation, likewise.
    """

    shape: str
    mean: float | None = None
    deviation: float | None = None

    def resembles(self, row: Mapping[str, Any]) -> bool:
        """Tell whether this array and that of a row of run.json may be splits of the same data."""
        length, _, sample = self.shape.partition("x")
        former_length, _, former_sample = row["shape"].partition("x")
        rows, former_rows = int(length or 1), int(former_length or 1)
        if sample != former_sample or abs(rows - former_rows) > SAME_SHARE * former_rows:
            return False
        mean, deviation = row["mean"], row["deviation"]
        if mean is None or deviation is None or self.mean is None or self.deviation is None:
            return True
        # Means of random halves differ by some standard errors.
        tolerance = max(SAME_SHARE, STANDARD_ERRORS / math.sqrt(rows)) * max(deviation, TINY)
        return bool(max(abs(self.mean - mean), abs(self.deviation - deviation)) <= tolerance)


@dataclass(frozen=True)
class DataPart:
    """One of the data among the arguments of ``fit``, as run.json records it.

    Attributes:
        argument: Its place, such as ``validation_data[0]``.
        kind: Its type.
        shape: Its shape, such as ``60000x28x28``; empty if it has none.
        way: How it travels.
        may_differ: Whether its elements may differ each time, even with the same seed.
        arrays: The arrays of numbers in it, such as those that a dataset slices; itself, if it is
            one.
    """

    argument: str
    kind: str
    shape: str
    way: Way
    may_differ: bool = False
    arrays: tuple[Numbers, ...] = ()

    def resembles(self, row: Mapping[str, Any]) -> bool:
        """Tell whether these may be the data of a row of run.json, split in another way."""
        if (row["argument"], row["kind"], row["shape"]) != (self.argument, self.kind, self.shape):
            return False
        arrays = row.get("arrays", ())
        return len(arrays) == len(self.arrays) and all(
            array.resembles(former) for array, former in zip(self.arrays, arrays, strict=True)
        )


@dataclass(frozen=True)
class DataDescription:
    """The data among the arguments of ``fit``.

    As a text it has the shapes and the digest; run.json keeps that text as the problem's data.

    Attributes:
        parts: The data, in the order of the arguments.
        digest: Checksum of their contents, as 8 hexadecimal digits.
        unstable: The places of data without a checksum.
    """

    parts: tuple[DataPart, ...]
    digest: str
    unstable: tuple[str, ...] = ()

    @property
    def shapes(self) -> str:
        """The shapes of the first two arrays or datasets, as version 0.1.0 wrote them."""
        shapes = [part.shape or part.kind for part in self.parts if part.kind in ("array", DATASET)]
        return f"search({', '.join(shapes[:2])})"

    def __str__(self) -> str:
        return f"{self.shapes} {self.digest}"

    def resemble(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether these may be the data that run.json describes, split in another way."""
        return len(rows) == len(self.parts) and all(
            part.resembles(row) for part, row in zip(self.parts, rows, strict=True)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the parts as JSON values."""
        return [asdict(part) for part in self.parts]


def shapes_of(text: str) -> str:
    """Return the shapes in the text of a description."""
    return text.rpartition(" ")[0]
