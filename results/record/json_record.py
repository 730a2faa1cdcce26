"""A JSON file of a run as a frozen dataclass: checked whole before it is used."""

import reprlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from results.record.errors import RunFolderError
from results.record.files import write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

# So many problems are named: of a file of another kind, everything is one.
MOST_PROBLEMS = 5


@dataclass(frozen=True)
class JsonRecord:
    """Base of a frozen dataclass that is the whole content of one file.

    The types of its fields say what the file may hold. A boolean is no number, a number is finite;
    an object's members that the dataclass has no field for are left out.
    """

    __pydantic_config__: ClassVar[dict[str, bool]] = {"strict": True, "allow_inf_nan": False}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            RunFolderError: It cannot be read, or has another form: names up to five problems.
        """
        try:
            return cls.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} is damaged or incomplete ({error}).") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return a file's content.

        Raises:
            ValueError: It has another form: names up to five problems.
        """
        from pydantic import ValidationError  # most runs have no such file

        kind: type = cls
        try:
            record: Self = _adapter(kind).validate_json(text)
            return record
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors()]
        more = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("; ".join(shown))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the file's content as JSON values."""
        return asdict(self)


@cache
def _adapter(kind: type) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _problem(details: "ErrorDetails") -> str:
    """Say what is wrong with a value: where it stands, and what it is."""
    where = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in details["loc"])
    where = where.removeprefix(".") or "it"
    match details["type"]:
        case "missing":
            return f"{where} is missing"
        case "dataclass_type":
            return f"{where} is no object"
        case "json_invalid" | "value_error":  # the latter is of the dataclass itself
            return str(details["ctx"]["error"])
    return f"{where} is {reprlib.repr(details['input'])}"
