"""Carries a ``tf.data`` dataset that cannot be written as a graph: iterated over once, and saved.

A worker on the same node opens the folder; one on another node first unpacks a copy of it. Imports
TensorFlow.
"""

import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import tensorflow as tf

from search.carry.digest import DIGITS, digest
from search.storage import scratch


@dataclass(frozen=True)
class SavedDataset:
    """A dataset that was iterated over once and saved.

    Attributes:
        folder: The saved dataset's folder, at the same path on every node.
        archive: The folder as a tar file, uint8 of shape (bytes,).
        digest: Checksum of the elements, equal for equal elements in any order.
        shuffles: Whether the pipeline shuffles. If so, its elements (batches, if it batches) come
            in a new order each epoch.
    """

    folder: str
    archive: np.ndarray
    digest: str
    shuffles: bool

    def open(self) -> tf.data.Dataset:
        scratch.share(Path(self.folder))
        if not os.path.isdir(self.folder):
            self._unpack()
        dataset = tf.data.Dataset.load(self.folder)
        if self.shuffles:
            dataset = dataset.shuffle(max(int(dataset.cardinality()), 1))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _unpack(self) -> None:
        target = Path(self.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        with tarfile.open(fileobj=BytesIO(self.archive.tobytes())) as archive:
            archive.extractall(fresh, filter="data")
        try:
            fresh.rename(target)
        except OSError:  # another worker on this node was faster
            shutil.rmtree(fresh, ignore_errors=True)


def save(dataset: tf.data.Dataset, parent: Path, *, shuffles: bool) -> SavedDataset:
    """Iterate over a dataset once, and save its elements to a folder in ``parent``."""
    folder = Path(tempfile.mkdtemp(prefix="dataset-", dir=parent))
    dataset.save(str(folder))
    packed_bytes = BytesIO()
    with tarfile.open(fileobj=packed_bytes, mode="w") as archive:
        archive.add(folder, arcname=".")
    return SavedDataset(
        str(folder),
        np.frombuffer(packed_bytes.getbuffer(), dtype=np.uint8),
        _digest(tf.data.Dataset.load(str(folder))),
        shuffles,
    )


def _digest(dataset: tf.data.Dataset) -> str:
    """Return a checksum of the elements, read one after the other."""
    checksums = (int(digest(tf.nest.flatten(e, expand_composites=True)), 16) for e in dataset)
    return f"{sum(checksums) % 16**DIGITS:0{DIGITS}x}"
