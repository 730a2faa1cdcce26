"""What came out: readers of run folders, the comparison, pictures, published reference rows.

Knows files only: nothing of Ray, Keras or the search.
"""

from results.compare.rows import ranked
from results.reading import read_run
from results.record.errors import RunFolderError
from results.run import Row, Run, row_of

# The name by which users catch it.
RunError = RunFolderError

__all__ = ["Row", "Run", "RunError", "ranked", "read_run", "row_of"]
