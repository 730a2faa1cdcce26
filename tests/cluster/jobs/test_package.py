"""The parts of a submitted search: its command, its code, its environment and its name."""

import logging
import os
import re
import subprocess

import pytest

from cluster.errors import ClusterError
from cluster.jobs.package import (
    NAME,
    check_submission,
    entry_point,
    environment,
    prepare_process,
    unique_name,
)

MIB = 1024**2
# Never sent. `.env` often holds passwords.
KEPT_HERE = (
    ".git", ".venv", ".env", "runs", "build", "own.egg-info", "own/__pycache__", "own/.ruff_cache",
)  # fmt: skip


def sparse(path, size_bytes=120 * MIB):
    """Write a file that takes no space on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)


@pytest.fixture
def folder(user, tmp_path):
    """A folder to submit."""
    own = tmp_path / "project"
    own.mkdir()
    (own / "own.py").write_text("class Own: pass\n")
    return own


def problems(*arguments):
    """Return the lines of the error of a submission."""
    with pytest.raises(ClusterError) as error:
        check_submission(*arguments)
    return str(error.value).splitlines()


# --- The command ------------------------------------------------------------------------------


def test_the_command_of_a_job_reaches_its_shell_as_it_was_typed():
    command = entry_point(["run", "--out", "runs/with a space", "--hypermodel", "own:$(true)"])
    assert command.startswith("mkdir -p ~/fmnist-search && cd ~/fmnist-search && ")
    assert command.endswith(
        "exec fmnist-search run --out 'runs/with a space' --hypermodel 'own:$(true)'"
    )


@pytest.mark.parametrize("is_link", [False, True], ids=["folder", "link"])
def test_a_job_runs_in_the_project_and_warns_if_the_home_is_a_link(
    user, programs, tmp_path, is_link
):
    home = tmp_path / "link" if is_link else user
    if is_link:
        home.symlink_to(user)
    programs.write("fmnist-search", 'pwd -P; echo "$@"')
    done = subprocess.run(
        ["sh", "-c", entry_point(["run", "--out", "a b"])],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *warnings, place, arguments = done.stdout.splitlines()
    assert (place, arguments) == (str(user.resolve() / "fmnist-search"), "run --out a b")
    assert [line.startswith("warning: the home folder is a") for line in warnings] == [
        True
    ] * is_link


# --- The environment --------------------------------------------------------------------------


def test_a_job_brings_its_folder_and_has_time_to_end_cleanly(tmp_path):
    job = environment(tmp_path)
    assert job["working_dir"] == str(tmp_path)
    assert {".git", ".env", "/runs"} <= set(job["excludes"])
    assert job["env_vars"] == {
        "RAY_JOB_STOP_WAIT_TIME_S": "300",
        "PYTHONPATH": "${HOME}/fmnist-search",
    }


@pytest.mark.parametrize(("command", "prefix"), [("run", "run"), ("--help", "job"), ("a b", "job")])
def test_a_made_name_is_one_that_a_user_may_type_and_no_other_job_has(command, prefix):
    names = {unique_name(command) for _ in range(20)}
    assert len(names) > 1  # twenty equal endings of 65,536: p < 1e-91
    for name in names:
        assert NAME.fullmatch(name)
        assert re.fullmatch(rf"{prefix}-\d{{8}}-\d{{6}}-[0-9a-f]{{4}}", name)


def test_an_address_of_ray_in_the_environment_does_not_replace_the_one_that_was_typed(user):
    os.environ |= {"RAY_ADDRESS": "10.0.0.9:6379", "RAY_API_SERVER_ADDRESS": "http://10.0.0.9"}
    prepare_process()
    assert not {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"} & set(os.environ)


def test_the_log_of_ray_is_silenced(user):
    prepare_process()
    assert not logging.getLogger("ray").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("place", ["file", "variable", "path", "nowhere"])
def test_a_token_is_sent_if_the_user_has_one(user, place):
    if place == "file":
        (user / ".ray").mkdir()
        (user / ".ray" / "auth_token").write_text("0123")
    elif place != "nowhere":
        os.environ["RAY_AUTH_TOKEN" if place == "variable" else "RAY_AUTH_TOKEN_PATH"] = "0123"
    prepare_process()
    assert os.environ.get("RAY_AUTH_MODE") == (None if place == "nowhere" else "token")


def test_a_user_may_turn_the_token_off(user):
    os.environ |= {"RAY_AUTH_TOKEN": "0123", "RAY_AUTH_MODE": "disabled"}
    prepare_process()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


# --- The check --------------------------------------------------------------------------------


def test_a_good_submission_has_no_problem(folder):
    check_submission(["run"], "wide-1.a_b", folder)
    check_submission(["run"], None, folder)


def test_all_problems_of_a_submission_are_named_at_once(folder):
    sparse(folder / "weights.bin")
    sparse(folder / "data" / "images.bin", 30 * MIB)
    no_command, name, size = problems([], "a/b", folder)
    assert no_command.startswith("no command: expected one of fmnist-search after --")
    assert name.startswith("--name 'a/b': expected letters")
    assert size == (
        f"{folder}: 150 MiB would be sent, but Ray accepts at most 100 MiB, file names included. "
        "The largest: weights.bin 120 MiB, data 30 MiB, own.py 0 MiB. List what the search does "
        f"not need in {folder / '.rayignore'} (one entry per line, as in .gitignore), or submit "
        "from another folder."
    )


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a b", "a/b", "ä"])
def test_a_name_that_a_shell_or_a_folder_would_not_take_is_refused(folder, name):
    [line] = problems(["run"], name, folder)
    assert line.startswith(f"--name {name!r}: expected letters, digits, . _ and -")


def test_at_most_three_entries_of_a_folder_are_named(folder):
    for size, name in enumerate("abcd", 50):
        sparse(folder / name, size * MIB)
    [line] = problems(["run"], None, folder)
    assert "The largest: d 53 MiB, c 52 MiB, b 51 MiB. List" in line


def test_a_folder_of_exactly_the_limit_may_be_sent(folder):
    (folder / "own.py").unlink()
    sparse(folder / "weights.bin", 100 * MIB)
    check_submission(["run"], None, folder)
    (folder / "one more byte").write_bytes(b"1")
    [line] = problems(["run"], None, folder)
    assert "100 MiB would be sent" in line


@pytest.mark.parametrize("ignore", [".rayignore", ".gitignore"])
def test_what_an_ignore_file_lists_does_not_count(folder, ignore):
    sparse(folder / "weights.bin")
    (folder / ignore).write_text("weights.bin\n")
    check_submission(["run"], None, folder)


def test_what_no_job_needs_does_not_count(folder):
    for name in KEPT_HERE:
        sparse(folder / name / "large")
    check_submission(["run"], None, folder)


def test_the_runs_below_the_top_of_a_folder_count(folder):
    sparse(folder / "own" / "runs" / "large")  # which may be a package
    [line] = problems(["run"], None, folder)
    assert "The largest: own 120 MiB, " in line


@pytest.mark.parametrize("module", ["results.py", "results/__init__.py", "search.py"])
def test_a_module_that_would_hide_a_package_of_ours_is_refused(folder, module):
    (folder / "results" / "outputs").mkdir(parents=True)
    check_submission(["run"], None, folder)
    (folder / module).touch()
    with pytest.raises(ClusterError, match=f"{folder / module} would hide the package"):
        check_submission(["run"], None, folder)
    part = {"results": "record", "search": "plan"}[module.partition("/")[0].removesuffix(".py")]
    if module.endswith("__init__.py"):  # a copy of ours hides nothing
        (folder / "results" / part).mkdir()
        check_submission(["run"], None, folder)
