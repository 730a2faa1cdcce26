"""Read, compare and draw the results of searches.

This package reads files only. It imports neither Ray nor Keras nor ``search``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.compare.rows import ranked
    from results.reading import read_run
    from results.record.errors import RunFolderError as RunError
    from results.run import Row, Run, row_of

__all__ = ["Row", "Run", "RunError", "ranked", "read_run", "row_of"]

# Imported on first use, because every command imports ``results.record`` and must start quickly.
_HOMES = {
    "Row": "results.run",
    "Run": "results.run",
    "ranked": "results.compare.rows",
    "read_run": "results.reading",
    "row_of": "results.run",
}


def __getattr__(name: str) -> Any:
    if name == "RunError":  # the name that users import
        return importlib.import_module("results.record.errors").RunFolderError
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
