import gzip
import http.server
import os
import shutil
import struct
import threading
from functools import partial

import numpy as np
import pytest

from fmnist_model import data, fetch

NOBODY = "http://127.0.0.1:9/"  # the discard port: connections are refused


@pytest.fixture(scope="module")
def folder():
    return data.locate()[0]  # `make test` has fetched it before


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the real files that a test may damage."""
    for file in data.FILES:
        shutil.copy(folder / file.name, tmp_path / file.name)
    return tmp_path


@pytest.fixture
def bare_home(monkeypatch, tmp_path):
    """A machine without any copy of the data set."""
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "DEBIAN_DIR", tmp_path / "no-such-package")
    return tmp_path


def test_splits_have_the_documented_shapes_types_and_ranges():
    splits = data.load_data(seed=3)
    for (images, labels), size in zip(splits[:3], (54_000, 6_000, 10_000), strict=True):
        assert images.shape == (size, 28, 28)
        assert images.dtype == np.float32
        assert images.min() == 0.0
        assert images.max() == 1.0
        assert labels.shape == (size,)
        assert set(labels) == set(range(10))
    assert splits.class_names[0] == "T-shirt/top"
    assert len(splits.class_names) == 10


def test_the_split_is_stratified_and_follows_from_the_seed():
    first, again, other = (data.load_data(seed=seed) for seed in (1, 1, 2))
    assert np.bincount(first.validation[1]).tolist() == [600] * 10
    assert np.bincount(first.train[1]).tolist() == [5_400] * 10
    np.testing.assert_array_equal(first.validation[0], again.validation[0])
    assert not np.array_equal(first.validation[1], other.validation[1])
    np.testing.assert_array_equal(first.test[0], other.test[0])


def test_a_named_folder_comes_before_all_others(copy, monkeypatch):
    assert data.locate(copy)[0] == copy
    monkeypatch.setenv("FASHION_MNIST_DIR", str(copy))
    assert data.locate()[0] == copy


def test_a_named_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte.gz is missing"):
        data.load_data(data_dir=tmp_path)


def test_a_repacked_archive_is_the_same_file(copy):
    path = copy / data.TEST_LABELS.name
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert data.read_file(path, data.TEST_LABELS).shape == (10_000,)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def swap(path):
    shutil.copy(path.parent / data.TRAIN_LABELS.name, path)


def alter(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[5_000] ^= 1
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))


def shorten(path):
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2) + b"\x01\x02"))


def garble(path):
    path.write_bytes(b"<html>404 Not Found</html>")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "cannot be read"),
        (swap, "really train-labels-idx1-ubyte.gz"),
        (alter, "another file of the same length"),
        (shorten, r"wrong length \(10 bytes instead of 10,008\)"),
        (garble, "cannot be read"),
        (os.unlink, "is missing"),
    ],
)
def test_a_wrong_file_is_refused_by_name_with_what_to_do(copy, damage, said):
    damage(copy / data.TEST_LABELS.name)
    with pytest.raises(data.DataError, match=f"t10k-labels.*{said}.*make data"):
        data.load_data(data_dir=copy)


def test_all_wrong_files_are_named_at_once(copy):
    for file in (data.TEST_LABELS, data.TRAIN_LABELS):
        (copy / file.name).unlink()
    with pytest.raises(data.DataError) as caught:
        data.read_folder(copy)
    assert data.TEST_LABELS.name in str(caught.value)
    assert data.TRAIN_LABELS.name in str(caught.value)


class Server:
    """The download's address, served on loopback."""

    def __init__(self, folder):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_the_download_fills_the_keras_cache(folder, bare_home, monkeypatch):
    with Server(folder) as server:
        monkeypatch.setenv("FASHION_MNIST_URL", server.url)
        fetched = data.locate()[0]
    assert fetched == bare_home / "keras" / "datasets" / "fashion-mnist"
    assert sorted(path.name for path in fetched.iterdir()) == sorted(f.name for f in data.FILES)
    monkeypatch.setenv("FASHION_MNIST_URL", NOBODY)
    assert data.locate()[0] == fetched  # found again, without the server


def test_make_data_mends_a_damaged_cache(folder, bare_home, monkeypatch, capsys):
    cache = fetch.keras_cache_dir()
    cache.mkdir(parents=True)
    shutil.copy(folder / data.TEST_LABELS.name, cache)
    (cache / data.TEST_IMAGES.name).write_bytes(b"cut off")
    with Server(folder) as server:
        monkeypatch.setenv("FASHION_MNIST_URL", server.url)
        data.main()
    assert str(cache) in capsys.readouterr().out
    data.read_folder(cache)


def test_a_damaged_copy_is_passed_over_for_a_good_one(copy, bare_home, monkeypatch):
    debian, cache = bare_home / "debian", fetch.keras_cache_dir()
    shutil.copytree(copy, cache, ignore=shutil.ignore_patterns("keras"))
    debian.mkdir()
    (debian / data.TEST_LABELS.name).write_bytes(b"cut off")
    monkeypatch.setattr(fetch, "DEBIAN_DIR", debian)
    assert data.locate()[0] == cache


def test_a_damaged_download_never_reaches_the_cache(copy, bare_home, monkeypatch):
    cut(copy / data.TEST_IMAGES.name)
    monkeypatch.setenv("PATH", "")  # no apt-get to fall back on
    with Server(copy) as server:
        monkeypatch.setenv("FASHION_MNIST_URL", server.url)
        with pytest.raises(data.DataError, match="Keras served files that are not the data set"):
            data.locate()
    assert list(fetch.keras_cache_dir().iterdir()) == []


def test_where_nothing_can_be_fetched_every_source_is_named(bare_home, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_URL", NOBODY)
    monkeypatch.setenv("PATH", "")  # no apt-get
    with pytest.raises(data.DataError, match=r"127.0.0.1:9/.*not Debian.*--data-dir"):
        data.locate()


def test_the_debian_package_is_unpacked_into_the_users_cache(folder, bare_home, monkeypatch):
    """With real dpkg-deb on a real package made here; only apt-get's download is stood in for."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not on this machine: the Debian package cannot be unpacked")
    package = bare_home / "package"
    inside = package / "usr/share/datasets/fashion-mnist"
    inside.mkdir(parents=True)
    for file in data.FILES:
        shutil.copy(folder / file.name, inside)
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN" / "control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: made by a test\n"
    )
    tools = bare_home / "tools"
    tools.mkdir()
    apt = tools / "apt-get"
    apt.write_text(
        f'#!/bin/sh\ncase "$*" in *download*) exec dpkg-deb -Znone --build {package} . ;; esac\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(fetch, "DEBIAN_DIR", fetch.Path("/usr/share/datasets/fashion-mnist"))
    fetched = fetch.from_debian([file.name for file in data.FILES], verify=data.read_folder)
    assert fetched == bare_home / "cache" / "fmnist-search" / "fashion-mnist"
    assert sorted(path.name for path in fetched.iterdir()) == sorted(f.name for f in data.FILES)
