"""The files that `fmnist-cluster init` writes, and the folders that count as a project."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.project import FILES, is_project, needs_make, project_folder, write_project
from cluster.wheel import wheel_name

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of the user's own, in which a command is typed."""
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Make the only installed packages those of a folder; write one: ``packages(name, version)``."""
    real = importlib.metadata.distribution("fmnist-search")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: real)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: real.version)
    site = tmp_path / "site"
    site.mkdir()
    folders = [str(site)]
    monkeypatch.setattr(
        importlib.metadata,
        "distributions",
        lambda: importlib.metadata.MetadataPathFinder.find_distributions(
            importlib.metadata.DistributionFinder.Context(path=folders)
        ),
    )

    def write(name, version, source=None, folder=site):
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        if source is not None:
            (info / "direct_url.json").write_text(source)
        if str(folder) not in folders:
            folders.append(str(folder))

    return write


def requirements_of(project):
    text = (project / "cluster" / "requirements.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


# --- What is written ----------------------------------------------------------------------------


def test_init_writes_the_files_of_the_package_and_says_what_to_edit(project, fmnist_cluster):
    answer = fmnist_cluster("init")
    assert answer.status == 0, answer.errors
    for name in set(FILES) - {"Dockerfile"}:
        assert (project / "cluster" / name).read_bytes() == (CLUSTER / name).read_bytes()
    assert "ARG PROJECT=wheel\n" in (project / "cluster" / "Dockerfile").read_text()
    assert (project / "cluster" / wheel_name()).is_file()
    for name in ("onprem.yaml", "slurm.sh", "kuberay.yaml", "aws.yaml", "requirements.txt"):
        assert f"cluster/{name}" in answer.output


def test_every_file_of_the_package_that_is_no_module_is_written():
    files = {path.name for path in CLUSTER.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files - {"py.typed"} == set(FILES) - {"submit.py"}


def test_init_makes_the_folder_that_is_named(project, fmnist_cluster):
    assert fmnist_cluster("init", "a/new one").status == 0
    assert (project / "a" / "new one" / "cluster" / "onprem.yaml").is_file()


def test_a_file_that_exists_is_kept_and_named(project, fmnist_cluster):
    fmnist_cluster("init")
    (project / "cluster" / "onprem.yaml").write_text("mine")
    (project / "cluster" / "slurm.sh").unlink()
    answer = fmnist_cluster("init")
    first, second, *_ = answer.output.splitlines()
    assert first == "written into cluster: slurm.sh"
    assert second.startswith("kept, as they exist: onprem.yaml, kuberay.yaml,")
    assert (project / "cluster" / "onprem.yaml").read_text() == "mine"


def test_the_list_of_an_earlier_version_keeps_its_wheel(project):
    (project / "cluster").mkdir()
    (project / "cluster" / "requirements.txt").write_text("./cluster/fmnist_search-0.1-a.whl\n")
    assert wheel_name() not in write_project(project).written


def test_a_checkout_is_refused(fmnist_cluster):
    answer = fmnist_cluster("init", CLUSTER.parent)
    assert answer.status == 2
    [line] = answer.errors.splitlines()
    assert line.startswith(f"error: {CLUSTER} is a Python package: expected a folder of your own.")


def test_a_file_in_place_of_the_folder_is_one_line(project, fmnist_cluster):
    (project / "file").touch()
    answer = fmnist_cluster("init", "file")
    assert answer.status == 2
    assert answer.errors.startswith("error: file/cluster cannot be written (Not a directory): ")
    assert len(answer.errors.splitlines()) == 1


# --- The packages of the machines ---------------------------------------------------------------


def test_the_machines_get_the_wheel_and_the_packages_of_this_environment(project, packages):
    packages("pandas", "3.0.1")
    packages("Keras", "3.15.1", '{"url": "file:///tmp/keras.whl", "archive_info": {}}')
    packages("fmnist-search", "0.1.0")
    packages("pip", "26.0")
    write_project(project)
    assert requirements_of(project) == [
        f"./cluster/{wheel_name()}", "keras==3.15.1", "pandas==3.0.1"
    ]  # fmt: skip


def test_of_two_versions_the_one_that_python_imports_is_meant(project, packages, tmp_path):
    packages("numpy", "2.3")
    packages("numpy", "1.26", folder=tmp_path / "of the system")
    write_project(project)
    assert requirements_of(project)[1:] == ["numpy==2.3"]


@pytest.mark.parametrize(
    "source",
    [
        '{"url": "file:///home/me/mine", "dir_info": {"editable": true}}',
        '{"url": "https://example.com/mine", "vcs_info": {"vcs": "git", "commit_id": "1"}}',
    ],
    ids=["folder", "repository"],
)
def test_a_package_that_only_this_machine_can_have_is_named(
    project, packages, fmnist_cluster, source
):
    packages("mine", "1.0", source)
    answer = fmnist_cluster("init")
    assert "warning: not in requirements.txt, installed from a folder or repository: mine" in (
        answer.output
    )
    assert requirements_of(project) == [f"./cluster/{wheel_name()}"]


# --- What counts as a project -------------------------------------------------------------------


def test_a_folder_of_init_is_a_project_that_installs_without_make(project):
    assert not is_project(project)
    write_project(project)
    assert project_folder() == project
    assert not needs_make(project)


def test_elsewhere_the_checkout_is_the_project(project):
    assert project_folder() == CLUSTER.parent
    assert needs_make(CLUSTER.parent)


def test_without_a_checkout_the_folder_must_be_a_project(project, monkeypatch):
    # Where a wheel installs the package, there are no packages to install beside it.
    monkeypatch.setattr("cluster.project.HERE", project / "site-packages" / "cluster")
    message = re.escape(f"{project} has no cluster/setup.sh and cluster/requirements.txt: expected")
    with pytest.raises(ClusterError, match=message):
        project_folder()
