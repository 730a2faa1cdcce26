"""The batch script, as bash runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "cluster" / "slurm.sh"


@pytest.mark.parametrize("script", [SCRIPT, SCRIPT.with_name("setup.sh")], ids=["slurm", "setup"])
def test_a_script_passes_shellcheck(script):
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {}, "error: no command: expected one of fmnist-search, such as: sbatch cluster/"),
        (["run"], {"SLURM_SUBMIT_DIR": "/nowhere", "PATH": "/usr/bin:/bin"}, "error: /nowhere: no .venv/bin/fmnist-search "),
        (["run"], {"FMNIST_SEARCH_PROJECT": "/no", "SLURM_SUBMIT_DIR": "/"}, "error: /no: no .venv/"),
    ],
    ids=["no command", "no project", "no project of that name"],
)  # fmt: skip
def test_a_job_that_cannot_run_is_one_line_and_status_2(machine, arguments, variables, message):
    job = machine.begin(7, *arguments, **variables)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert output.startswith(message)
    assert len(output.splitlines()) == 1


def test_the_script_becomes_the_process_that_slurm_signals(machine):
    # slurm.sh has Slurm signal the batch shell alone.
    (machine.bin / "python").write_text("#!/bin/sh\necho $$ $@\n")
    (machine.bin / "python").chmod(0o755)
    (machine.folder / ".venv").unlink()
    (machine.folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "fmnist-search"):
        (machine.folder / ".venv" / "bin" / name).symlink_to(machine.bin / "python")
    job = machine.begin(7, "run", "--out", "a b")
    output, _ = job.communicate(timeout=60)
    assert output == f"{job.pid} -P -m cluster.slurm run --out a b\n"


def test_a_folder_without_an_environment_takes_the_one_that_was_active(machine, tmp_path):
    active = tmp_path / "active"
    active.mkdir()
    (active / "fmnist-search").write_text("")
    (active / "python").write_text('#!/bin/sh\necho "$0" "$@"\n')
    for program in active.iterdir():
        program.chmod(0o755)
    (machine.folder / ".venv").unlink()
    job = machine.begin(7, "run", PATH=f"{active}:/usr/bin:/bin")
    output, _ = job.communicate(timeout=60)
    assert output == f"{active}/python -P -m cluster.slurm run\n"


def test_a_module_of_the_name_cluster_in_the_folder_of_a_job_is_not_what_runs(machine):
    (machine.folder / "cluster.py").write_text("print('not meant')")
    job = machine.begin(7)
    output, _ = job.communicate(timeout=60)
    assert output.startswith("error: no command")
