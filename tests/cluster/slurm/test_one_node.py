"""A search in a job on one node: a real Ray, and stand-ins for Slurm's programs."""

import random
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import storm as storms
from epoch_limit import allow
from slurm_machine import Machine
from stage import check_lasting, ends, epochs, events_in, held

PATIENCE_SECONDS = 240
WEATHER = storms.Weather(0, trials=3, epochs=4)

# What shares the job runs in one process.
pytestmark = pytest.mark.xdist_group("slurm_job")


def wait(run, job, is_met):
    """Wait until the events of a run meet a condition, which they may not once its job has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_met(events_in(run)):
        if job.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"it did not come to that: {job.communicate()[0]}")
        time.sleep(0.1)


def rays():
    """Return the folders of the Rays of jobs that run on this machine."""
    folders = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            words = " ".join(process.info["cmdline"] or ())
            folders |= {Path(name) for name in re.findall(r"/tmp/ray-\d+", words)}
    return folders


def new_job():
    """Return the number of a job; it names a folder in /tmp, where other tests run too."""
    return random.SystemRandom().randrange(10**7, 10**8)


@dataclass(frozen=True)
class EndedJob:
    """A job at its time limit.

    Attributes:
        arguments: What was typed after the name of the batch script.
        ray: The folder of its Ray.
        had_ray: Whether that Ray ran while the job did.
        status, output: What came of it.
    """

    machine: Machine
    number: int
    arguments: tuple[str, ...]
    ray: Path
    had_ray: bool
    status: int
    output: str

    @property
    def run(self) -> Path:
        return self.machine.folder / "runs" / "a"


@pytest.fixture(scope="module")
def ended_job(tmp_path_factory):
    """A job that was sent the signal before the time limit after two epochs."""
    folder = tmp_path_factory.mktemp("slurm")
    machine = Machine(folder / "a project")
    number = new_job()
    ray = Path(f"/tmp/ray-{number}")
    words = ("run", *held(WEATHER), "--out", "runs/a")
    allow(folder, 2)
    job = machine.begin(number, *words, SLURM_CPUS_ON_NODE="1", HOME=str(folder))
    wait(machine.folder / "runs" / "a", job, lambda events: epochs(events) == 2)
    had_ray = ray in rays()
    job.send_signal(signal.SIGUSR1)  # as slurm.sh has Slurm do before the time limit
    output, _ = job.communicate(timeout=PATIENCE_SECONDS)
    return EndedJob(machine, number, words, ray, had_ray, job.returncode, output)


def test_a_job_runs_its_search_on_the_cpus_that_slurm_gives_it(ended_job):
    assert "1 of 1 nodes have joined" in ended_job.output
    assert "trials at once: 1," in ended_job.output


def test_the_time_limit_ends_the_search_cleanly(ended_job):
    assert ended_job.status == 130, ended_job.output
    assert "search ended (interrupted)" in ended_job.output
    assert ends(events_in(ended_job.run)) == ["interrupted"]


def test_a_job_at_its_time_limit_says_how_to_continue(ended_job):
    *_, reason, advice = ended_job.output.splitlines()
    assert reason == "the time limit is near"
    assert advice.startswith("to continue: sbatch cluster/slurm.sh run --hypermodel stormy:Steady")
    assert advice.endswith("--out runs/a --or-resume")


def test_a_job_that_has_ended_leaves_no_ray_and_no_folder(ended_job):
    assert ended_job.had_ray, "it had one"
    assert ended_job.ray not in rays()
    assert not ended_job.ray.exists()


@pytest.mark.long
def test_a_job_that_slurm_restarts_resumes_its_run(ended_job, tmp_path):
    # The same command, as Slurm runs it again; a home without a limit.
    job = ended_job.machine.begin(
        ended_job.number, *ended_job.arguments, SLURM_RESTART_COUNT="1", HOME=str(tmp_path)
    )
    output, _ = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, output
    assert "resumed; ended trials: " in output
    check_lasting(ended_job.run, WEATHER)


@dataclass(frozen=True)
class TwoJobs:
    """Two jobs of one user on this machine, of which the second one began and ended meanwhile.

    Attributes:
        first, second: The folders of their Rays.
        beside, after: The Rays that ran while both jobs did, and when the second one had ended.
        status, output: What came of the second one.
        run: The run of the second one.
        first_output: What the first one printed until it was ended.
    """

    first: Path
    second: Path
    beside: set[Path]
    after: set[Path]
    status: int
    output: str
    run: Path
    first_output: str


SMALL = storms.Weather(0, trials=2, epochs=2, seed=1)


@pytest.fixture(scope="module")
def two_jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two jobs")
    machine = Machine(folder / "a project")
    first, second = new_job(), new_job()
    allow(folder, 2)  # the home of the first job alone
    words = ("run", *held(WEATHER), "--out", "runs/a")
    job = machine.begin(first, *words, SLURM_CPUS_ON_NODE="2", HOME=str(folder))
    wait(machine.folder / "runs" / "a", job, lambda events: epochs(events) == 4)
    other = machine.begin(second, "run", *storms.asked(SMALL))
    run = machine.folder / "runs" / f"slurm-{second}"
    wait(run, other, lambda events: epochs(events) >= 1)
    beside = rays()
    output, _ = other.communicate(timeout=PATIENCE_SECONDS)
    after = rays()
    allow(folder, 3)
    wait(machine.folder / "runs" / "a", job, lambda events: epochs(events) == 6)
    job.send_signal(signal.SIGUSR1)
    first_output, _ = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 130, first_output
    rays_of = (Path(f"/tmp/ray-{number}") for number in (first, second))
    return TwoJobs(*rays_of, beside, after, other.returncode, output, run, first_output)


@pytest.mark.long
def test_a_job_runs_and_ends_beside_another_of_the_same_user(two_jobs):
    assert two_jobs.status == 0, two_jobs.output
    check_lasting(two_jobs.run, SMALL)


@pytest.mark.long
def test_a_job_without_a_folder_for_its_run_gets_one_of_its_number(two_jobs):
    assert (two_jobs.run / "run.json").exists()


@pytest.mark.long
def test_two_jobs_of_a_user_have_a_ray_each_and_end_none_but_their_own(two_jobs):
    assert two_jobs.beside >= {two_jobs.first, two_jobs.second}
    assert two_jobs.first in two_jobs.after
    assert two_jobs.second not in two_jobs.after
    assert not {two_jobs.first, two_jobs.second} & rays()
    assert not two_jobs.first.exists()
    assert not two_jobs.second.exists()


@pytest.mark.long
def test_a_job_trains_as_many_trials_at_once_as_slurm_gives_it_cpus(two_jobs):
    assert "trials at once: 2," in two_jobs.first_output
