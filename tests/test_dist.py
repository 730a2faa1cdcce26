"""The wheel of `make dist`: what is in it, and what somebody does who has nothing else."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("search", "results", "cluster", "fmnist_model")
# All that a checkout needs for `make dist`.
SOURCES = ("pyproject.toml", "MANIFEST.in", "Makefile", "README.md", "LICENSE", *PACKAGES)
LONGEST_SECONDS = 600

# Eight lines with data of one's own, after the imports and the model.
SCRIPT = """
import keras
import numpy as np
import search
import search.kt as kt


def build(hp):
    model = keras.Sequential([keras.Input((8,))])
    model.add(keras.layers.Dense(hp.Int("units", 4, 32), activation="relu"))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


x = np.random.default_rng(0).normal(size=(400, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")
tuner = kt.RandomSearch(build, "val_accuracy", max_trials=4, seed=0, project_name="mine")
tuner.search(x, y, epochs=3, validation_split=0.25)
tuner.results_summary(1)
tuner.get_best_models()[0].save("best.keras")
print(search.__file__)
"""

# Notes each file below a folder that a Python process opens.
WATCH = """
import os, sys

def note(event, arguments):
    path = os.fsdecode(arguments[0]) if event == "open" and isinstance(arguments[0], (str, bytes)) else ""
    if path.startswith({checkout!r}) and not path.startswith({allowed!r}):
        handle = os.open({notes!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, path.encode() + b"\\n")
        os.close(handle)

sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder that `make dist` fills, in a checkout that has only what the target needs."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, checkout)
    # Of the last build: a module that is no more.
    (checkout / "build" / "lib" / "search").mkdir(parents=True)
    (checkout / "build" / "lib" / "search" / "gone.py").touch()
    installed = f"{sys.prefix}/.installed"
    done = subprocess.run(
        ["make", "--no-print-directory", f"--old-file={installed}", f"VENV={sys.prefix}", "dist"],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(
        str(path.relative_to(checkout)) for path in (checkout / "dist").iterdir()
    )
    return checkout / "dist"


@pytest.fixture(scope="module")
def wheel(dist):
    """The wheel."""
    [path] = dist.glob("*.whl")
    return path


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def files_of(package):
    """Return the files of a package of this checkout, by their names in a wheel."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


# --- What is in it ------------------------------------------------------------------------------


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    of_packages = {name for name in names if not name.startswith("fmnist_search-")}
    assert of_packages == set().union(*map(files_of, PACKAGES))
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    info = f"fmnist_search-{project()['version']}.dist-info"
    metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    assert metadata["Version"] == project()["version"]
    assert metadata["License-Expression"] == project()["license"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert set(metadata.get_all("Provides-Extra")) == set(project()["optional-dependencies"])


def test_the_source_archive_has_the_packages_and_no_part_of_the_tests(dist):
    [path] = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set().union(*map(files_of, PACKAGES)) <= names
    assert not [name for name in names if name.startswith(("tests", "docs"))]


# --- What a stranger does with it ---------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(wheel, tmp_path_factory):
    """An environment with the wheel and the dependencies of this one; run its programs."""
    folder = tmp_path_factory.mktemp("stranger")
    environment = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    # Python follows no .pth file there, such as that of an editable installation.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
         "--no-deps", "--ignore-installed", wheel],
        check=True,
    )  # fmt: skip
    notes = folder / "opened.txt"
    watch = WATCH.format(checkout=f"{ROOT}/", allowed=f"{sys.prefix}/", notes=str(notes))
    (packages / "watch_files.py").write_text(watch)
    (packages / "watch.pth").write_text("import watch_files")
    return Stranger(environment, folder / "my project", notes)


class Stranger:
    """Somebody with an environment and a folder of their own, who has no checkout."""

    def __init__(self, environment, project, notes):
        self.environment, self.project, self.notes = environment, project, notes
        project.mkdir()

    def run(self, program, *words):
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.environment / "bin" / program, *words], cwd=self.project, env=variables,
            capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout


@pytest.mark.long
def test_the_wheel_alone_searches_compares_draws_and_writes_the_files_for_a_cluster(
    stranger, wheel
):
    (stranger.project / "mine.py").write_text(SCRIPT)
    *_, imported = stranger.run("python", "mine.py").splitlines()
    assert Path(imported).is_relative_to(stranger.environment)
    table = stranger.run("fmnist-results", "compare", "mine")
    assert "mine" in table
    assert "val_accuracy" in table
    assert "units" in stranger.run("fmnist-results", "show", "mine")
    stranger.run("fmnist-results", "report", "mine")
    assert (stranger.project / "mine" / "report.html").stat().st_size > 1e6
    assert stranger.run("fmnist-search", "--version").split()[-1] == project()["version"]
    assert "cluster/onprem.yaml" in stranger.run("fmnist-cluster", "init")
    # The project has a folder `cluster` now, which does not hide the package of that name.
    assert stranger.run("fmnist-cluster", "init").startswith("written into cluster: nothing")
    assert contents_of(stranger.project / "cluster" / wheel.name) == contents_of(wheel)
    assert not stranger.notes.exists(), stranger.notes.read_text()


def contents_of(wheel):
    """Return what is in a wheel, by name; not the list of its files, whose order may differ."""
    archive = zipfile.ZipFile(wheel)
    names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
    return {name: archive.read(name) for name in names}
