"""What is carried to the worker processes: objects of a script, and the arguments of ``fit``.

Nothing here imports Keras.
"""

import sys
from dataclasses import dataclass
from typing import Any

from search.errors import ProblemError, one_line


@dataclass(frozen=True)
class PickledObject:
    """An object of the driver's process that Ray sends to workers; it is never read from a file."""

    pickled: bytes

    @classmethod
    def of(cls, value: object, name: str) -> "PickledObject":
        """Pickle an object.

        Args:
            value: The object.
            name: What it is, for the message.

        Raises:
            ProblemError: It cannot be pickled.
        """
        try:
            return cls(_dumps(value))
        except ProblemError as error:
            raise ProblemError(f"{name}: {error}") from error
        except Exception as error:
            raise ProblemError(
                f"{name} cannot be sent to a worker process ({one_line(error)}): open files "
                "and connections inside build or fit."
            ) from error

    def open(self) -> Any:
        """Return the object, in the process that uses it.

        Raises:
            ProblemError: A package that it needs is not installed there.
        """
        from ray import cloudpickle

        try:
            return cloudpickle.loads(self.pickled)
        except ImportError as error:
            raise ProblemError(
                f"a worker cannot load an object of the script ({one_line(error)}): expected the "
                "same packages on each node. Install the missing one there."
            ) from error


def _dumps(value: object) -> bytes:
    # Ray reads environment variables when it is imported; a driver without Keras stays without it.
    if "keras" in sys.modules:
        from search.carry import pickling

        return pickling.dumps(value)
    from ray import cloudpickle

    return bytes(cloudpickle.dumps(value))


@dataclass(frozen=True)
class FitArguments:
    """The arguments of ``HyperModel.fit``, as a script passed them to ``search``."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
