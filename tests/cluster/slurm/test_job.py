"""A Slurm job: its nodes, the arguments of its search, and its signals."""

import os
import signal
import sys
import threading
import time

import pytest

from cluster.errors import ClusterError
from cluster.slurm.job import Job, resuming

IN_A_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-3]", "SLURMD_NODENAME": "node1"}
# Begins, and ends at Ctrl-C.
WAITS = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


# --- The job ------------------------------------------------------------------------------------


@pytest.fixture
def scontrol(programs):
    """A stand-in for Slurm's program that lists the names of nodes."""
    programs.write("scontrol", '[ "$*" = "show hostnames node[1-3]" ] && printf "node%s\\n" 1 2 3')


def test_a_job_is_the_one_that_the_environment_describes(scontrol):
    job = Job.of(IN_A_JOB)
    assert job == Job(number=7, head="node1", others=("node2", "node3"), restarts=0)


def test_the_head_is_the_node_that_runs_the_batch_script(scontrol):
    job = Job.of(IN_A_JOB | {"SLURMD_NODENAME": "node2"})
    assert (job.head, job.others) == ("node2", ("node1", "node3"))


def test_a_job_knows_how_often_slurm_has_restarted_it(scontrol):
    assert Job.of(IN_A_JOB | {"SLURM_RESTART_COUNT": "2"}).restarts == 2


@pytest.mark.parametrize("missing", IN_A_JOB)
def test_a_process_that_slurm_did_not_start_says_how_to_start_one(missing):
    environment = {name: value for name, value in IN_A_JOB.items() if name != missing}
    with pytest.raises(ClusterError) as error:
        Job.of(environment)
    assert str(error.value) == (
        f"{missing} is not set: expected to run in a Slurm job. Start one with: sbatch "
        "cluster/slurm.sh run --space wide"
    )


# --- The arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "restarts", "expected"),
    [
        ("run --out a", 0, "run --out a"),
        ("run --trials 5", 0, "run --trials 5 --out runs/slurm-7"),
        ("run --out=a", 2, "run --out=a --or-resume"),
        ("run --outer a", 0, "run --outer a --out runs/slurm-7"),
        ("run --trials 5", 1, "run --trials 5 --out runs/slurm-7 --or-resume"),
        ("run --out a --or-resume", 1, "run --out a --or-resume"),
        ("resume runs/a", 0, "resume runs/a"),
        ("resume runs/a", 1, "resume runs/a"),
    ],
)
def test_a_restarted_job_resumes_its_run(arguments, restarts, expected):
    job = Job(number=7, head="node1", others=(), restarts=restarts)
    assert job.arguments(arguments.split()) == expected.split()


def test_the_arguments_that_a_user_typed_stay_as_they_are():
    typed = ["run", "--out", "a"]
    assert resuming(typed) == ["run", "--out", "a", "--or-resume"]
    Job(7, "node1", (), restarts=1).arguments(typed)
    assert typed == ["run", "--out", "a"]


# --- The signals --------------------------------------------------------------------------------


def test_the_status_of_a_process_is_passed_on(signals):
    assert signals.run([sys.executable, "-c", "raise SystemExit(7)"], os.environ) == 7


def test_the_status_of_a_process_that_a_signal_ended_is_that_of_a_shell(signals):
    killed = "import os; os.kill(os.getpid(), 9)"
    assert signals.run([sys.executable, "-c", killed], os.environ) == 128 + 9


def test_a_process_has_the_environment_that_is_handed_on(signals, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        signals.run(["sh", "-c", "echo $GREETING; echo error >&2"], {"GREETING": "hello"}, log)
    assert (tmp_path / "log").read_text() == "hello\nerror\n"


def test_the_output_of_a_process_is_that_of_the_job_by_default(signals, capfd):
    signals.run(["sh", "-c", "echo hello; echo error >&2"], os.environ)
    assert capfd.readouterr() == ("hello\n", "error\n")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_search_as_ctrl_c(signals, number, tmp_path):
    ready = tmp_path / "ready"

    def send():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()
    assert signals.run([sys.executable, "-c", WAITS, str(ready)], os.environ) == 130
    assert signals.received == [number]


def test_after_a_signal_nothing_is_started(signals, tmp_path):
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.run(["touch", str(tmp_path / "started")], os.environ) == 130
    assert not (tmp_path / "started").exists()
    assert signals.received == [signal.SIGUSR1]
