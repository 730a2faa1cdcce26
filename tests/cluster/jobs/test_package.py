import re

import pytest

from cluster.jobs.package import NAME, entry_point, environment, unique_name


def test_the_command_of_a_job_reaches_its_shell_as_it_was_typed():
    command = entry_point(["run", "--out", "runs/with a space", "--hypermodel", "own:$(true)"])
    assert command.startswith("mkdir -p ~/fmnist-search && cd ~/fmnist-search && ")
    assert command.endswith(
        "exec fmnist-search run --out 'runs/with a space' --hypermodel 'own:$(true)'"
    )


def test_a_job_brings_its_folder_and_has_time_to_end_cleanly(tmp_path):
    job = environment(tmp_path)
    assert job["working_dir"] == str(tmp_path)
    assert {".git", ".env", "/runs"} <= set(job["excludes"])
    assert job["env_vars"] == {
        "RAY_JOB_STOP_WAIT_TIME_S": "300",
        "PYTHONPATH": "${HOME}/fmnist-search",
    }


@pytest.mark.parametrize(
    ("command", "expected"), [("run", "run"), ("--help", "job"), ("a b", "job")]
)
def test_a_made_name_is_one_that_a_user_may_type_and_no_other_job_has(command, expected):
    names = {unique_name(command) for _ in range(20)}
    assert len(names) > 1  # twenty equal endings of 65,536: p < 1e-91
    for name in names:
        assert NAME.fullmatch(name)
        assert re.fullmatch(rf"{expected}-\d{{8}}-\d{{6}}-[0-9a-f]{{4}}", name)
