"""The data set: which copy is taken, what is wrong with a copy, and its splits.

Most tests use a data set of the same form with a few samples; the last ones use the real one.
"""

import gzip
import hashlib
import os
import shutil
import struct

import numpy as np
import pytest

from fmnist_model import data, fetch

SHAPES = ((6, 2, 2), (6,), (4, 2, 2), (4,))


def idx(array):
    """Return an array as the bytes of an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with a data set of ten samples, which the module takes for the real one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    files = []
    for number, (file, shape) in enumerate(zip(data.FILES, SHAPES, strict=True)):
        content = idx(np.full(shape, number, np.uint8))
        (folder / file.name).write_bytes(gzip.compress(content))
        files.append(data.IdxFile(file.name, shape, hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(data, "FILES", tuple(files))
    return folder


@pytest.fixture
def labels(tiny):
    """The file of the test labels."""
    return tiny / data.FILES[3].name


# --- Reading a folder -----------------------------------------------------------------------------


def test_a_folder_is_read_as_its_four_arrays(tiny):
    arrays = data.read_folder(tiny)
    assert [array.shape for array in arrays] == list(SHAPES)
    assert [set(array.ravel()) for array in arrays] == [{0}, {1}, {2}, {3}]
    assert {array.dtype.name for array in arrays} == {"uint8"}


def test_an_archive_that_was_compressed_otherwise_is_the_same_file(tiny, labels):
    labels.write_bytes(gzip.compress(gzip.decompress(labels.read_bytes()), compresslevel=1))
    assert data.read_file(labels, data.FILES[3]).shape == (4,)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def swap(path):
    shutil.copy(path.parent / data.FILES[1].name, path)


def alter(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def shorten(path):
    path.write_bytes(gzip.compress(idx(np.zeros(2, np.uint8))))


def garble(path):
    path.write_bytes(b"<html>404 Not Found</html>")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"cannot be read \(Compressed file ended.*: expected a complete gzip'd IDX file"),
        (swap, "is really train-labels-idx1-ubyte.gz: expected t10k-labels-idx1-ubyte.gz of shape"),
        (alter, "is another file of the same length: expected .* with SHA-256 .*, got "),
        (shorten, r"is of the wrong length \(10 bytes instead of 12\): "),
        (garble, r"cannot be read \(Not a gzipped file"),
        (os.unlink, "is missing"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong_and_what_to_do(tiny, labels, damage, message):
    damage(labels)
    with pytest.raises(data.DataError, match=f"t10k-labels.* {message}.*make data"):
        data.read_folder(tiny)


def test_all_wrong_files_are_named_at_once(tiny):
    for file in (data.FILES[1], data.FILES[3]):
        (tiny / file.name).unlink()
    with pytest.raises(data.DataError) as refused:
        data.read_folder(tiny)
    first, second = str(refused.value).splitlines()
    assert "train-labels" in first
    assert "t10k-labels" in second


# --- Which copy is taken --------------------------------------------------------------------------


@pytest.fixture
def copies(tiny, bare_home, monkeypatch):
    """Copies of the data set in every place, by the name of the place."""
    places = {
        "named": bare_home / "named",
        "variable": bare_home / "variable",
        "debian": bare_home / "debian",
        "keras": fetch.keras_cache_dir(),
        "project": fetch.project_cache_dir(),
    }
    for place in places.values():
        shutil.copytree(tiny, place)
    monkeypatch.setattr(fetch, "DEBIAN_DIR", places["debian"])
    monkeypatch.setenv("FASHION_MNIST_DIR", str(places["variable"]))
    return places


def test_the_named_folder_comes_before_all_others(copies):
    assert data.locate(copies["named"])[0] == copies["named"]
    assert data.locate(str(copies["named"]))[0] == copies["named"]


def test_the_variable_comes_before_the_copies_of_the_machine(copies):
    assert data.locate()[0] == copies["variable"]


def test_the_package_comes_before_the_caches_and_that_of_keras_first(copies, monkeypatch):
    monkeypatch.delenv("FASHION_MNIST_DIR")
    for place in ("debian", "keras", "project"):
        assert data.locate()[0] == copies[place]
        shutil.rmtree(copies[place])


def test_a_damaged_copy_of_the_machine_is_passed_over(copies, monkeypatch):
    monkeypatch.delenv("FASHION_MNIST_DIR")
    garble(copies["debian"] / data.FILES[3].name)
    assert data.locate()[0] == copies["keras"]


@pytest.mark.parametrize("place", ["named", "variable"])
def test_a_folder_that_the_user_names_is_never_passed_over(copies, place):
    garble(copies[place] / data.FILES[3].name)
    with pytest.raises(data.DataError, match="t10k-labels"):
        data.locate(copies["named"] if place == "named" else None)


def test_a_named_folder_may_begin_with_the_home(copies, monkeypatch):
    monkeypatch.setenv("HOME", str(copies["named"].parent))
    assert data.locate("~/named")[0] == copies["named"]


def test_a_machine_without_a_copy_downloads_one(tiny, bare_home, serve):
    with serve(tiny):
        folder, arrays = data.locate()
    assert folder == fetch.keras_cache_dir()
    assert len(arrays) == 4
    assert data.locate()[0] == folder, "it is found again, without the address"


def test_a_damaged_copy_is_replaced_by_a_download(tiny, bare_home, serve):
    cache = fetch.keras_cache_dir()
    shutil.copytree(tiny, cache)
    garble(cache / data.FILES[0].name)
    with serve(tiny):
        assert data.locate()[0] == cache
    data.read_folder(cache)


def test_a_machine_that_cannot_fetch_names_every_source(tiny, bare_home):
    with pytest.raises(data.DataError) as refused:
        data.locate()
    assert str(refused.value).startswith(
        "Fashion-MNIST is not on this machine and could not be fetched: http://127.0.0.1:9/"
    )
    assert "; this is not Debian or Ubuntu, so Debian's package" in str(refused.value)
    assert "name it by --data-dir or FASHION_MNIST_DIR." in str(refused.value)


def test_damaged_copies_are_named_if_nothing_can_be_fetched(tiny, bare_home):
    shutil.copytree(tiny, fetch.keras_cache_dir())
    garble(fetch.keras_cache_dir() / data.FILES[3].name)
    with pytest.raises(data.DataError) as refused:
        data.locate()
    first, second = str(refused.value).splitlines()
    assert "t10k-labels" in first
    assert second.startswith("Fashion-MNIST is not on this machine")


def test_an_address_with_other_files_is_named(tiny, labels, bare_home, serve):
    garble(labels)
    with serve(tiny), pytest.raises(data.DataError, match="Keras served files that are not the"):
        data.download()
    assert list(fetch.keras_cache_dir().iterdir()) == []


def test_the_command_prints_the_folder(tiny, bare_home, serve, capsys):
    with serve(tiny):
        data.main()
    folder = fetch.keras_cache_dir()
    # After the progress of the download.
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"Fashion-MNIST: {folder} (all four files verified)"


def test_the_command_ends_with_the_error(bare_home, tiny):
    with pytest.raises(SystemExit, match=r"^error: Fashion-MNIST is not on this machine"):
        data.main()


# --- The real data set, which `make test` has fetched before ----------------------------------------


@pytest.fixture(scope="module")
def splits():
    return data.load_data(seed=1)


def test_splits_have_the_documented_shapes_types_and_ranges(splits):
    for (images, labels), size in zip(splits[:3], (54_000, 6_000, 10_000), strict=True):
        assert images.shape == (size, 28, 28)
        assert images.dtype == np.float32
        assert (images.min(), images.max()) == (0.0, 1.0)
        assert labels.shape == (size,)
        assert labels.dtype == np.uint8
        assert set(labels) == set(range(10))


def test_the_classes_are_named_in_order(splits):
    assert splits.class_names == (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip


def test_the_split_is_stratified_by_label(splits):
    assert np.bincount(splits.train[1]).tolist() == [5_400] * 10
    assert np.bincount(splits.validation[1]).tolist() == [600] * 10


def test_the_split_leaves_no_sample_out_and_takes_none_twice(splits):
    _, (images, *_) = data.locate()
    counted = np.sort(
        np.concatenate([splits.train[0], splits.validation[0]]).sum(axis=(1, 2), dtype=np.float64)
    )
    expected = np.sort(
        (images.astype(np.float32) / np.float32(255)).sum(axis=(1, 2), dtype=np.float64)
    )
    np.testing.assert_array_equal(counted, expected)


def test_the_split_follows_from_the_seed(splits):
    again = data.load_data(seed=1)
    np.testing.assert_array_equal(splits.validation[0], again.validation[0])


def test_another_seed_splits_otherwise_and_leaves_the_test_split(splits):
    other = data.load_data(seed=2)
    assert not np.array_equal(splits.validation[1], other.validation[1])
    np.testing.assert_array_equal(splits.test[0], other.test[0])


def test_a_named_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte.gz is missing"):
        data.load_data(data_dir=tmp_path)
