"""The Dockerfile, as far as it can be held without Docker: what it names is there."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from cluster.project import write_project

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
IGNORED = DOCKERFILE.with_name("Dockerfile.dockerignore")


@cache
def lines(project="checkout"):
    """The instructions of the image of a kind of project, each a word and its words.

    The defaults of ARG are filled in.
    """
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE))
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    for name, value in (defaults | {"PROJECT": project}).items():
        text = text.replace(f"${{{name}}}", value)
    stages, name = {None: []}, None
    for line in filter(None, text.splitlines()):
        words = tuple(shlex.split(line))
        if words[0] == "FROM":
            name = words[3] if "AS" in words else "the image"
            stages[name] = list(stages.get(words[1], ()))
            if words[1] not in stages:
                stages[name] = [words[:2]]
        else:
            stages[name].append(words)
    return stages["the image"]


def all_of(instruction, project="checkout"):
    return [words for word, *words in lines(project) if word == instruction]


def copied(project="checkout"):
    """What is copied into the image, and is no option or target."""
    return [
        source
        for words in all_of("COPY", project)
        for source in [word for word in words if not word.startswith("--")][:-1]
    ]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def is_sent(path, patterns):
    """Tell whether a path is sent to the builder: the last pattern that it or a parent meets decides."""
    sent = True
    for pattern in patterns:
        plain = pattern.removeprefix("!").removeprefix("**/")
        tried = path.parts if pattern.startswith("**/") else [str(p) for p in (path, *path.parents)]
        if any(fnmatch(one, plain) for one in tried if one != "."):
            sent = pattern.startswith("!")
    return sent


def patterns():
    text = IGNORED.read_text().splitlines()
    return [line for line in text if line and not line.startswith("#")]


def test_everything_that_is_copied_is_there_and_sent_to_the_builder():
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert is_sent(Path(source), patterns()), source


def test_of_a_folder_of_init_the_files_that_are_copied_are_there_and_sent(tmp_path):
    write_project(tmp_path)
    assert copied("wheel") == ["cluster/requirements.txt", "cluster/aws.lock", "cluster/*.whl"]
    for source in copied("wheel"):
        [path] = tmp_path.glob(source)
        assert is_sent(path.relative_to(tmp_path), patterns())


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "runs/a", "tests/lab.py", "search/__pycache__/a.pyc"])  # fmt: skip
def test_nothing_else_is_sent(path):
    assert not is_sent(Path(path), patterns())


def test_the_locks_that_the_comment_and_the_default_name_are_there():
    named = re.findall(r"\bLOCK=(\S+)", DOCKERFILE.read_text())
    assert sorted(named) == ["requirements-gpu.lock", "requirements.lock"]
    for lock in named:
        assert (ROOT / lock).is_file(), lock
        assert is_sent(Path(lock), patterns()), lock


def test_every_package_of_the_project_is_in_the_image():
    packages = project()["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in packages} <= set(copied())
    assert {project()["project"]["readme"], *project()["project"]["license-files"]} <= set(copied())


def test_its_python_is_one_that_the_project_takes():
    [[image]] = all_of("FROM")
    version = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert project()["project"]["requires-python"] == ">=3.11,<3.14"
    assert int(version[1]) in range(11, 14)


def test_packages_are_installed_by_their_hashes_alone():
    installed = [" ".join(words) for words in all_of("RUN") if "pip" in words]
    locks, editable = installed
    assert [("--require-hashes" in one) for one in locks.split("&&")] == [True, True]
    assert "--no-deps --no-build-isolation --editable ." in editable


def test_of_a_folder_of_init_the_list_and_its_wheel_are_installed():
    [installed] = [" ".join(words) for words in all_of("RUN", "wheel") if "pip" in words]
    assert "-r cluster/requirements.txt ${GPU:+tensorflow[and-cuda]} &&" in installed
    assert "--require-hashes -r cluster/aws.lock" in installed
    # Paths in the list start at the folder in which pip runs.
    assert all_of("WORKDIR", "wheel") == [["/home/ray/fmnist-search"]]


def test_both_images_end_in_the_same_steps():
    assert lines("wheel")[-4:] == lines("checkout")[-4:]
    assert [words[0] for words in lines("wheel")[-4:]] == ["USER", "ENV", "RUN", "CMD"]


def test_its_user_is_not_root_and_has_the_number_that_the_manifests_and_machines_expect():
    [[user]] = all_of("USER")
    [added] = [words for words in all_of("RUN") if words[0] == "useradd"]
    assert added[added.index("--uid") + 1] == "1000"
    assert user == added[added.index("&&") - 1] != "root"
    # Ray asks the image where that user is at home; Docker says it only where it was told so.
    [environment] = all_of("ENV")
    assert f"HOME=/home/{user}" in environment
    after = [word for word, *_ in lines()]
    assert "COPY" not in after[after.index("USER") :]


def test_the_data_are_fetched_by_the_user_who_will_look_for_them():
    order = [" ".join(words) for words in lines()]
    assert order.index("RUN python -m fmnist_model") > order.index("USER ray")
    assert order.index("RUN python -m fmnist_model") > order.index(
        next(one for one in order if one.startswith("ENV HOME="))
    )


def test_what_ray_needs_in_a_container_is_installed():
    # Ray 2.60: command_runner.py uses rsync and ssh in it; cluster/kuberay.yaml uses pkill and pgrep.
    [apt] = [words for words in all_of("RUN") if words[0] == "apt-get"]
    assert {"openssh-client", "procps", "rsync", "wget"} <= set(apt)


def test_its_names_are_those_of_this_version():
    named = re.findall(r"--tag (\S+)", DOCKERFILE.read_text())
    image = f"registry.example.com/fmnist-search:{project()['project']['version']}"
    assert named == [image, f"{image}-gpu"]


def test_the_lock_for_aws_has_hashes_and_names_no_index():
    lock = (ROOT / "cluster" / "aws.lock").read_text()
    pinned = re.findall(r"^([\w-]+)==", lock, re.MULTILINE)
    assert "boto3" in pinned
    assert all(
        re.search(rf"^{name}==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE) for name in pinned
    )
    assert "://" not in lock
