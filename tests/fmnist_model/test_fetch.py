"""Fetching the files of the data set: from an address, and from Debian's package."""

import tempfile
from pathlib import Path

import pytest

from fmnist_model import fetch

NAMES = ("a.gz", "b.gz")


@pytest.fixture
def files(tmp_path):
    """A folder with both files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"the content of {name}")
    return folder


def accept(folder):
    """Accept a folder that has both files."""
    assert {name: (folder / name).read_text() for name in NAMES} == {
        name: f"the content of {name}" for name in NAMES
    }


def refuse(folder):
    raise ValueError("they are not the data set")


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- Where the files are kept ---------------------------------------------------------------------


def test_the_caches_are_in_the_home_of_the_user(monkeypatch, tmp_path):
    for variable in ("KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch.keras_cache_dir() == tmp_path / ".keras/datasets/fashion-mnist"
    assert fetch.project_cache_dir() == tmp_path / ".cache/fmnist-search/fashion-mnist"


def test_the_caches_can_be_moved(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/k")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert fetch.keras_cache_dir() == Path("/k/datasets/fashion-mnist")
    assert fetch.project_cache_dir() == Path("/c/fmnist-search/fashion-mnist")


# --- From an address ------------------------------------------------------------------------------


def test_a_download_fills_the_cache_of_keras(files, bare_home, serve):
    with serve(files):
        folder = fetch.from_keras(NAMES, verify=accept)
    assert folder == bare_home / "keras" / "datasets" / "fashion-mnist"
    assert names(folder) == list(NAMES)
    accept(folder)


def test_a_download_replaces_the_files_of_the_cache(files, bare_home, serve):
    cache = fetch.keras_cache_dir()
    cache.mkdir(parents=True)
    (cache / "a.gz").write_text("cut off")
    with serve(files):
        fetch.from_keras(NAMES, verify=accept)
    accept(cache)


def test_a_download_that_is_refused_never_reaches_the_cache(files, bare_home, serve):
    with serve(files), pytest.raises(ValueError, match="not the data set"):
        fetch.from_keras(NAMES, verify=refuse)
    assert names(fetch.keras_cache_dir()) == []


def test_a_download_that_lacks_a_file_never_reaches_the_cache(files, bare_home, serve):
    (files / "b.gz").unlink()
    with serve(files), pytest.raises(fetch.FetchError, match=r"b\.gz did not answer \(.*404"):
        fetch.from_keras(NAMES, verify=accept)
    assert names(fetch.keras_cache_dir()) == []


def test_an_address_that_does_not_answer_is_named(bare_home):
    with pytest.raises(fetch.FetchError, match=r"^http://127\.0\.0\.1:9/a\.gz did not answer \("):
        fetch.from_keras(NAMES, verify=accept)


# --- From Debian's package ------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, files, with_dpkg, monkeypatch):
    """A real package of Debian, made here, which the stand-in for apt-get downloads."""
    root = tmp_path / "package"
    inside = root / "usr/share/datasets/fashion-mnist"
    inside.mkdir(parents=True)
    for name in NAMES:
        (inside / name).write_bytes((files / name).read_bytes())
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: made by a test\n"
    )
    monkeypatch.setattr(fetch, "DEBIAN_DIR", Path("/usr/share/datasets/fashion-mnist"))
    with_dpkg(
        f'case "$*" in *"download dataset-fashion-mnist") exec dpkg-deb -Znone --build {root} . ;; esac'
    )


@pytest.mark.usefixtures("package")
def test_the_package_is_unpacked_into_the_cache_of_the_project(bare_home):
    folder = fetch.from_debian(NAMES, verify=accept)
    assert folder == bare_home / "cache" / "fmnist-search" / "fashion-mnist"
    assert names(folder) == list(NAMES)


@pytest.mark.usefixtures("package")
def test_a_package_that_is_refused_never_reaches_the_cache(bare_home):
    with pytest.raises(ValueError, match="not the data set"):
        fetch.from_debian(NAMES, verify=refuse)
    assert names(fetch.project_cache_dir()) == []


def test_a_machine_without_apt_cannot_take_the_package(bare_home):
    with pytest.raises(fetch.FetchError) as failed:
        fetch.from_debian(NAMES, verify=accept)
    assert str(failed.value) == (
        "this is not Debian or Ubuntu, so Debian's package cannot be used"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first >&2; echo 'E: no network' >&2; exit 100", "E: no network"),
        ("echo 'E: on the other stream'; exit 100", "E: on the other stream"),
        ("exit 100", ""),
    ],
)
def test_the_last_line_of_a_failed_apt_is_the_reason(with_dpkg, script, reason):
    with_dpkg(script)
    with pytest.raises(fetch.FetchError) as failed:
        fetch.from_debian(NAMES, verify=accept)
    assert str(failed.value) == f"`apt-get` failed ({reason})"


def test_an_apt_that_does_not_answer_is_given_up(with_dpkg, monkeypatch):
    monkeypatch.setattr(fetch, "APT_TIMEOUT_SECONDS", 0.01)
    with_dpkg("exec sleep 30")
    with pytest.raises(fetch.FetchError, match=r"^`apt-get` took over 0\.01 s$"):
        fetch.from_debian(NAMES, verify=accept)


def test_without_a_home_the_files_are_kept_where_keras_keeps_them(monkeypatch, tmp_path):
    for name in ("KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert fetch.keras_cache_dir() == fetch.homeless_cache_dir()
    assert fetch.keras_cache_dir().is_relative_to(tmp_path / ".keras")
    assert fetch.project_cache_dir().is_relative_to(tmp_path / ".cache")
    (tmp_path / "missing" / ".keras").mkdir(parents=True)
    assert fetch.keras_cache_dir().is_relative_to(tmp_path / "missing" / ".keras")
