"""Fashion-MNIST: finds its four files, verifies, splits and scales them.

Source of the data: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", arXiv 1708.07747.
"""

import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_model import fetch

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
VALIDATION_SIZE = 6_000
# Train images, train labels, test images, test labels.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
HOW_TO_GET = "Run `make data` (or `python -m fmnist_model`) to fetch a good copy."


class DataError(Exception):
    """A file of the data set is missing or has the wrong content."""


@dataclass(frozen=True)
class IdxFile:
    """The name and expected content of a gzip'd IDX file.

    Attributes:
        name: File name, the same in every distribution of the data set.
        shape: Shape of the array, dtype ``uint8``.
        sha256: SHA-256 of the decompressed bytes, header included; distributions
            compress the files differently, so the archives themselves differ.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str


TRAIN_IMAGES = IdxFile(
    "train-images-idx3-ubyte.gz",
    (60_000, 28, 28),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
)
TRAIN_LABELS = IdxFile(
    "train-labels-idx1-ubyte.gz",
    (60_000,),
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
)
TEST_IMAGES = IdxFile(
    "t10k-images-idx3-ubyte.gz",
    (10_000, 28, 28),
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
)
TEST_LABELS = IdxFile(
    "t10k-labels-idx1-ubyte.gz",
    (10_000,),
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


class Splits(NamedTuple):
    """The data of the search: images ``float32`` in [0, 1], labels ``uint8`` in 0-9.

    Attributes:
        train: Images of shape (54000, 28, 28) and labels of shape (54000,).
        validation: Images of shape (6000, 28, 28) and labels of shape (6000,).
        test: Images of shape (10000, 28, 28) and labels of shape (10000,).
        class_names: The name of each label, in order.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]


def load_data(*, data_dir: str | Path | None = None, seed: int = 0) -> Splits:
    """Load, verify, split and scale Fashion-MNIST.

    Args:
        data_dir: Folder of the four gzip'd IDX files. Without it ``locate`` searches for them
            and downloads them if there are none.
        seed: Seed of the split of the 60,000 training images into 54,000 and 6,000,
            stratified by label (5,400 and 600 of each class).

    Returns:
        The three splits and the class names.

    Raises:
        DataError: A file is missing, cut, swapped or altered, or the download failed.
    """
    from sklearn.model_selection import train_test_split

    _, (images, labels, test_images, test_labels) = locate(data_dir)
    train, validation = train_test_split(
        np.arange(len(labels)), test_size=VALIDATION_SIZE, stratify=labels, random_state=seed
    )
    return Splits(
        train=(_scaled(images[train]), labels[train]),
        validation=(_scaled(images[validation]), labels[validation]),
        test=(_scaled(test_images), test_labels),
        class_names=CLASS_NAMES,
    )


def locate(data_dir: str | Path | None = None) -> tuple[Path, Arrays]:
    """Find the data set, or fetch it, and read it.

    The order: ``data_dir``, the variable ``FASHION_MNIST_DIR``, Debian's package
    ``dataset-fashion-mnist``, the Keras cache, this project's cache, a download. If one of the
    first two names a folder, no other is tried; a damaged copy elsewhere is skipped.

    Returns:
        The folder, and its arrays as ``read_folder`` returns them.

    Raises:
        DataError: Names every file that is wrong, and every source that could not be reached.
    """
    named = data_dir or os.environ.get("FASHION_MNIST_DIR")
    if named:
        folder = Path(named).expanduser()
        return folder, read_folder(folder)
    problems = []
    folders = [fetch.DEBIAN_DIR, fetch.keras_cache_dir(), fetch.project_cache_dir()]
    for folder in dict.fromkeys([*folders, fetch.homeless_cache_dir()]):
        if any((folder / file.name).is_file() for file in FILES):
            try:
                return folder, read_folder(folder)
            except DataError as error:
                problems.append(str(error))
    try:
        folder = download()
    except DataError as error:
        raise DataError("\n".join([*problems, str(error)])) from error
    return folder, read_folder(folder)


def download() -> Path:
    """Fetch the data set into a cache, with Keras's downloader or from Debian's package.

    Raises:
        DataError: No source could be reached, or the sources served other files.
    """
    failures = []
    for fetcher in (fetch.from_keras, fetch.from_debian):
        try:
            return fetcher([file.name for file in FILES], verify=read_folder)
        except fetch.FetchError as error:
            failures.append(str(error))
        except DataError:
            source = fetcher.__name__.removeprefix("from_").capitalize()
            failures.append(f"{source} served files that are not the data set")
    raise DataError(
        "Fashion-MNIST is not on this machine and could not be fetched: "
        + "; ".join(failures)
        + f". Put {', '.join(file.name for file in FILES)} into a folder and name it by --data-dir "
        "or FASHION_MNIST_DIR."
    )


def read_folder(folder: Path) -> Arrays:
    """Read and verify the four files of a folder.

    Returns:
        Train images (60000, 28, 28), train labels (60000,), test images (10000, 28, 28)
        and test labels (10000,), all ``uint8``, images in 0-255 and labels in 0-9.

    Raises:
        DataError: Names every file that is missing or wrong.
    """
    arrays, problems = [], []
    for file in FILES:
        try:
            arrays.append(read_file(folder / file.name, file))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    images, labels, test_images, test_labels = arrays
    return images, labels, test_images, test_labels


def read_file(path: Path, file: IdxFile) -> np.ndarray:
    """Read one gzip'd IDX file into a ``uint8`` array of shape ``file.shape``, and verify it.

    Raises:
        DataError: The file is missing, damaged or another one.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing. {HOW_TO_GET}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}): expected a complete gzip'd IDX file of shape "
            f"{file.shape}. Delete it. {HOW_TO_GET}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{path} is {_description(digest, content, file)}: expected {file.name} of shape "
            f"{file.shape} with SHA-256 {file.sha256} when decompressed, got {digest}. "
            f"Delete it. {HOW_TO_GET}"
        )
    return np.frombuffer(content, np.uint8, offset=_header_bytes(file)).reshape(file.shape)


def _description(sha256: str, content: bytes, expected: IdxFile) -> str:
    """Return the part of a message that says how a file differs from the expected one."""
    for other in FILES:
        if other.sha256 == sha256:
            return f"really {other.name}"
    expected_bytes = _header_bytes(expected) + math.prod(expected.shape)
    if len(content) != expected_bytes:
        return f"of the wrong length ({len(content):,} bytes instead of {expected_bytes:,})"
    return "another file of the same length"


def _header_bytes(file: IdxFile) -> int:
    # IDX: a 4-byte magic number, then 4 bytes for the length of each dimension.
    return 4 + 4 * len(file.shape)


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)


def main() -> None:
    """Find or fetch the data set, verify it and print its folder (``make data``)."""
    try:
        folder, _ = locate()
    except DataError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"Fashion-MNIST: {folder} (all four files verified)")
