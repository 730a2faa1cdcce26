"""final/: the model that a run comes to, its numbers, its mistakes."""

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.files import write_json
from search.storage.folder import RunFolder, replace_folder

if TYPE_CHECKING:
    from search.final.scores import Evaluated


def write_final(
    folder: RunFolder,
    model: bytes,
    histories: Mapping[int, Sequence[Mapping[str, float | None]]],
    evaluated: "Evaluated",
    evaluation: dict[str, Any],
) -> None:
    """Write ``final/`` beside its place and move it there; one that stands there is kept beside it.

    Args:
        folder: The run.
        model: The bytes of the ``.keras`` file.
        histories: By planned epochs, the metrics of each epoch of a training.
        evaluated: What the model does on the test split.
        evaluation: What ``evaluation.json`` is to say.
    """
    fresh = folder.path / f"{columns.FINAL_DIR}.fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    (fresh / columns.MODEL_FILE).write_bytes(model)
    _write_history(folder, histories)
    if evaluated.mistakes:
        pq.write_table(pa.Table.from_pylist(evaluated.mistakes), fresh / columns.MISTAKES_FILE)
    write_json(fresh / columns.EVALUATION_FILE, evaluation)
    replace_folder(fresh, folder.final)


def _write_history(
    folder: RunFolder, histories: Mapping[int, Sequence[Mapping[str, float | None]]]
) -> None:
    rows = [
        {columns.PLANNED_EPOCHS: epochs, columns.EPOCH: number}
        | {columns.METRIC_PREFIX + name: value for name, value in metrics.items()}
        for epochs, history in histories.items()
        for number, metrics in enumerate(history, start=1)
    ]
    path = folder.path / f"{columns.FINAL_DIR}.fresh" / columns.HISTORY_FILE
    pq.write_table(pa.Table.from_pylist(rows), path)
