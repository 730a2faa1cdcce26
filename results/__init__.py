"""Read, compare and draw the results of searches.

This package reads files only. It imports neither Ray nor Keras nor ``search``.
"""

from results.compare.rows import ranked
from results.reading import read_run
from results.record.errors import RunFolderError
from results.run import Row, Run, row_of

# The name that users import.
RunError = RunFolderError

__all__ = ["Row", "Run", "RunError", "ranked", "read_run", "row_of"]
