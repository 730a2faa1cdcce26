"""`python -m cluster.slurm`: a search in a job, with stand-ins for Slurm, Ray and the search."""

import os
import shlex

import pytest

from cluster.slurm import __main__ as batch
from cluster.slurm.job import Job

ALONE = Job(number=7, head="node1", others=(), restarts=0)
NODES = """echo '[
  {"address": "127.0.0.1", "cpus": 1, "gpus": 0, "memory_gib": 1}
]'"""


@pytest.fixture
def job(user, console_commands, kept_handlers):
    """A job on one node, whose Ray starts and whose search says how it was started."""
    os.environ |= {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1", "SLURMD_NODENAME": "node1",
    }  # fmt: skip
    for name in ("SLURM_RESTART_COUNT", "FMNIST_SEARCH_GO_ON"):
        os.environ.pop(name, None)
    console_commands.write("scontrol", '[ $1 = show ] && echo node1 || echo "$@" >&2')
    console_commands.write(
        "srun", "trap 'exit 0' USR2; for try in $(seq 3000); do sleep 0.01; done"
    )
    console_commands.write("fmnist-cluster", NODES)
    console_commands.write("fmnist-search", 'echo "${RAY_ADDRESS%:*} $@"')
    return console_commands


def interrupt(job, number):
    """Let the search receive a signal of the job, as Slurm sends it, and end cleanly."""
    job.write(
        "fmnist-search",
        "trap 'echo search ended; exit 130' INT\n"
        f"kill -{number} {os.getpid()}\n"
        "for try in $(seq 3000); do sleep 0.01; done",
    )


def test_the_search_of_a_job_runs_on_its_ray(job, capfd):
    assert batch.main(["run", "--space", "wide"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "1 of 1 nodes have joined",
        "127.0.0.1 run --space wide --out runs/slurm-7",
    ]


@pytest.mark.parametrize("status", [1, 2, 130, 137])
def test_the_status_of_a_job_is_that_of_its_search(job, capfd, status):
    job.write("fmnist-search", f"exit {status}")
    assert batch.main(["run"]) == status
    assert "to continue" not in capfd.readouterr().out


def test_a_job_that_slurm_restarts_resumes_its_run(job, capfd):
    os.environ["SLURM_RESTART_COUNT"] = "1"
    batch.main(["run", "--out", "runs/a"])
    assert capfd.readouterr().out.endswith("run --out runs/a --or-resume\n")


@pytest.mark.parametrize("number", ["USR1", "INT", "TERM"])
def test_an_interrupted_search_ends_cleanly_and_the_job_says_how_to_continue(job, capfd, number):
    interrupt(job, number)
    assert batch.main(["run", "--out", "runs/a b"]) == 130
    _, ended, *near, advice = capfd.readouterr().out.splitlines()
    assert ended == "search ended"
    assert near == ["the time limit is near"] * (number == "USR1")
    words = shlex.split(advice.removeprefix("to continue: "))
    assert words == ["sbatch", "cluster/slurm.sh", "run", "--out", "runs/a b", "--or-resume"]


def test_a_job_without_a_command_is_one_line(job, capfd):
    assert batch.main([]) == 2
    assert capfd.readouterr().out == (
        "error: no command: expected one of fmnist-search, such as: sbatch cluster/slurm.sh run "
        "--space wide\n"
    )


def test_a_process_outside_a_job_is_one_line(job, capfd):
    del os.environ["SLURM_JOB_ID"]
    assert batch.main(["run"]) == 2
    assert capfd.readouterr().out.startswith("error: SLURM_JOB_ID is not set: expected to run in")


def test_a_ray_that_does_not_start_is_an_error_with_its_reason(job, capfd):
    job.write("srun", "echo srun: error: no step for you; exit 1")
    job.write("fmnist-cluster", "exit 2")
    assert batch.main(["run"]) == 2
    assert capfd.readouterr().out.splitlines() == [
        "srun: error: no step for you",
        "error: Ray did not start on node1: see the lines above.",
    ]


# --- Requeueing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("go_on", ["1", "yes"])
def test_a_job_at_its_time_limit_is_requeued_if_the_user_asked_for_it(job, capfd, go_on):
    os.environ["FMNIST_SEARCH_GO_ON"] = go_on
    assert batch.requeue_or_advise(["run"], ALONE, is_time_limit=True) == 0
    output = capfd.readouterr()
    assert output.out.splitlines() == [
        "the time limit is near", "job 7 is requeued and will continue"
    ]  # fmt: skip
    assert output.err == "requeue 7\n"


@pytest.mark.parametrize(
    ("go_on", "is_time_limit"), [("0", True), (None, True), ("1", False)],
    ids=["turned off", "not asked for", "Ctrl-C"],
)  # fmt: skip
def test_a_job_is_not_requeued_otherwise(job, capfd, go_on, is_time_limit):
    if go_on is not None:
        os.environ["FMNIST_SEARCH_GO_ON"] = go_on
    assert batch.requeue_or_advise(["run"], ALONE, is_time_limit=is_time_limit) == 130
    output = capfd.readouterr()
    assert output.err == "", "nothing is requeued"
    assert output.out.splitlines()[-1] == "to continue: sbatch cluster/slurm.sh run --or-resume"


def test_a_job_that_slurm_does_not_requeue_says_how_to_continue(job, capfd):
    os.environ["FMNIST_SEARCH_GO_ON"] = "1"
    job.write("scontrol", "echo requeue: not allowed >&2; exit 1")
    assert batch.requeue_or_advise(["run"], ALONE, is_time_limit=True) == 130
    assert "to continue: sbatch" in capfd.readouterr().out
