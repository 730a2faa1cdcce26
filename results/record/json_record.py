"""Base class for a JSON file of a run that is read as a frozen dataclass and checked."""

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

# Problems that a message lists at most; in a wrong kind of file, every field is a problem.
MAX_PROBLEMS = 5


@dataclass(frozen=True)
class JsonRecord:
    """Base of a frozen dataclass that is the content of a JSON file.

    The types of the fields are checked strictly: a boolean is no number, and a number is finite.
    Members without a field in the dataclass are ignored.
    """

    __pydantic_config__: ClassVar[dict[str, bool]] = {"strict": True, "allow_inf_nan": False}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            RunFolderError: The file cannot be read, or its content is wrong.
        """
        try:
            return cls.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} is damaged or incomplete ({error}).") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the record from JSON text.

        Raises:
            ValueError: The content is wrong; the message lists up to five problems.
        """
        from pydantic import ValidationError  # slow to import, and most runs have no such file

        kind: type = cls
        try:
            record: Self = _adapter(kind).validate_json(text)
            return record
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors()]
        more = len(problems) - MAX_PROBLEMS
        listed = problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("; ".join(listed))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)


@cache
def _adapter(kind: type) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _problem(details: "ErrorDetails") -> str:
    """Describe a problem: the path of the value in the file, and what is wrong with it."""
    keys = details["loc"]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    where = where.removeprefix(".") or "it"
    match details["type"]:
        case "missing":
            return f"{where} is missing"
        case "dataclass_type":
            return f"{where} is not an object"
        case "json_invalid" | "value_error":  # value_error comes from the dataclass itself
            return str(details["ctx"]["error"])
    return f"{where} is {reprlib.repr(details['input'])}"
