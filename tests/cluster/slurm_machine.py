"""A machine that is the one node of its Slurm jobs, by stand-ins for Slurm's programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import slurm_stand_ins

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SCRIPT = ROOT / "cluster" / "slurm.sh"


class Machine:
    """A machine that is the one node of its jobs.

    Args:
        folder: Where sbatch is called; gets an environment, as after `make setup`.

    Attributes:
        bin: The folder of Slurm's programs.
    """

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        slurm_stand_ins.install(self.bin)
        (folder / ".venv").symlink_to(sys.prefix)

    def begin(self, number, *arguments, **variables):
        """Begin the batch script, of which Slurm runs a copy of its own."""
        spooled = self.folder / f"job{number}" / "slurm_script"
        spooled.parent.mkdir(exist_ok=True)
        shutil.copy(SCRIPT, spooled)
        inherited = {name: value for name, value in os.environ.items() if "RAY_" not in name}
        of_the_job = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{TESTS}:{TESTS / 'cluster'}",
            "SLURM_JOB_ID": str(number),
            "SLURM_JOB_NODELIST": "node1",
            "SLURMD_NODENAME": "node1",
            "SLURM_SUBMIT_DIR": str(self.folder),
            "SLURM_CPUS_ON_NODE": "1",
            "SLURM_MEM_PER_CPU": "1000",
        }
        return subprocess.Popen(
            ["bash", spooled, *arguments],
            cwd=self.folder, env=inherited | of_the_job | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
