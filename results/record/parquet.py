"""Read and write single parquet files, whatever bytes their paths hold.

pyarrow 26 takes only paths that are valid UTF-8, so it is given open files.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table to a file."""
    with path.open("wb") as file:
        pq.write_table(table, file)


def read_parquet(path: Path) -> pa.Table:
    """Read one file, without looking for a dataset in its folder.

    Raises:
        OSError: The file is missing or cannot be read.
        pa.ArrowException: It is damaged.
    """
    with path.open("rb") as file:
        return pq.ParquetFile(file).read()


def read_parquet_schema(path: Path) -> pa.Schema:
    """Read the names, types and metadata of a file's columns; raises as ``read_parquet``."""
    with path.open("rb") as file:
        return pq.ParquetFile(file).schema_arrow
