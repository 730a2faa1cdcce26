"""Modules and folders of a user that have the names of our packages."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from search import packages
from search.plan import importer

ROOT = Path(__file__).parents[2]
SCRIPT = (
    "import search, search.plan.plan, results.reading, cluster.submit, fmnist_model.data\n"
    "print(search.Plan)\n"
)


def run(*words, folder, path=ROOT):
    """Run Python as a user does: nothing of the tests is on its path."""
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(path)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def editable_path(tmp_path_factory):
    """The folders that an editable installation adds to the path, as the build tells pip."""
    project = tmp_path_factory.mktemp("project")
    for name in packages.PARTS:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_editable(sys.argv[1])"
    wheels = tmp_path_factory.mktemp("wheels")
    done = run("-c", build, str(wheels), folder=project)
    assert done.returncode == 0, done.stderr
    [wheel] = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".py")]
        [path] = [
            archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth")
        ]
    return path.splitlines()


@pytest.mark.parametrize("words", [["script.py"], ["-m", "script"], ["-c", SCRIPT]])
def test_folders_beside_a_script_hide_nothing_in_an_editable_installation(
    editable_path, tmp_path, words
):
    for name in (*packages.PARTS, "tests"):
        (tmp_path / name).mkdir()
    # As a file of the path does it: behind all others. -S: without the installation of the tests.
    last = f"import sys; sys.path += {[*editable_path, sysconfig.get_path('purelib')]}\n"
    (tmp_path / "script.py").write_text(last + SCRIPT)
    words = [word.replace(SCRIPT, last + SCRIPT) for word in words]
    done = run("-S", *words, folder=tmp_path, path="")
    assert "search.plan.plan.Plan" in done.stdout, done.stderr


@pytest.mark.parametrize("module", ["results.py", "results/__init__.py"])
@pytest.mark.parametrize("words", [["script.py"], ["-m", "script"], ["-c", "import search.kt"]])
def test_a_module_that_hides_ours_is_named_to_a_script(tmp_path, module, words):
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (tmp_path / "script.py").write_text("from search import RayTuner")
    done = run(*words, folder=tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"search.packages.HiddenPackageError: {path} hides the package 'results' of fmnist-search: "
        "expected no other module of this name. Rename it."
    )


def test_a_module_that_was_imported_before_ours_is_named(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "results.py").touch()
    code = (
        "import sys; sys.path.insert(0, 'elsewhere'); import results; del sys.path[0]\n"
        "from search import RayTuner"
    )
    done = run("-c", code, folder=tmp_path)
    assert f"{tmp_path / 'elsewhere' / 'results.py'} hides the package" in done.stderr


def test_a_command_says_it_in_one_line(commands, tmp_path):
    (tmp_path / "results.py").touch()
    done = subprocess.run(
        [commands / "fmnist-search", "run"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'results.py'} hides the package 'results'")


@pytest.mark.parametrize("name", packages.NEEDED)
def test_what_workers_would_find_in_the_current_folder_is_named_before_they_start(
    tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which a check adds the folder
    (tmp_path / name).mkdir()
    assert not list(packages.hidden_in_workers())
    (tmp_path / f"{name}.py").touch()
    [problem] = importer.reference_problems(hypermodel="problems:small")
    assert problem.startswith(f"{tmp_path / name}.py hides the package {name!r}")
    assert not list(importer.reference_problems(is_here=False, hypermodel="problems:small"))


def test_a_module_of_the_user_may_have_the_name_of_the_shipped_problem(tmp_path):
    (tmp_path / "fmnist_model.py").write_text("def build(hp): ...")
    code = (
        "from search.plan import importer\n"
        "print(importer.reference_problem('fmnist_model:build', 'hypermodel'))\n"
        "print(importer.source_paths('fmnist_model:build')[-1])\n"
        "print(importer.reference_problem('fmnist_model.mlp:wide', 'hypermodel'))\n"
    )
    of_the_user, sent, of_ours = run("-c", code, folder=tmp_path).stdout.splitlines()
    path = str(tmp_path / "fmnist_model.py")
    assert (of_the_user, sent) == ("None", path)
    assert of_ours.startswith(f"--hypermodel 'fmnist_model.mlp:wide': {path} hides the package")
