"""Slurm itself on the hosts of a lab: Debian's packages, unpacked and not installed.

A login host with the controller, and nodes with a share of everything: the folder of the project
(at the same place, with the same content), and ``/shared``. Of a cluster's Slurm it lacks
cgroups, accounting, and GPUs, which a prolog of Slurm's tasks names instead.

It takes the network that a test does not have, hence a step of its own:
`python tests/cluster/slurm_lab.py`.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    # The root too: folders of the tests are named as packages.
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

import debian
from lab import INSTALLED, SHARED, Host, Lab, copy_working_tree
from tools import SYSTEM_PATH

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
# Debian 12 calls its programs slurmd-wlm, and so on.
DAEMONS = ("slurmctld", "slurmd", "slurmstepd")
COMMANDS = ("sbatch", "srun", "scontrol", "squeue", "scancel")
# From Slurm 24.05 on there is none: nothing checks there who asks.
NO_AUTHENTICATION = ("auth_none.so", "cred_none.so")
LOGIN = "login"
NODES = ("node1", "node2", "node3")
NODE_WITH_A_GPU = "node3"
CPUS = 4
PATIENCE_SECONDS = 900
# Not NODE_FAIL, through which a job passes that is queued again.
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")

SETTINGS = f"""\
ClusterName=lab
SlurmctldHost={LOGIN}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/tmp/slurmctld.pid
SlurmdPidFile=/tmp/slurmd.pid
SlurmctldLogFile=/tmp/slurmctld.log
SlurmdLogFile=/tmp/slurmd.log
TaskProlog={SHARED}/task-prolog
KillWait=10
SlurmdTimeout=20
ReturnToService=2
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
NodeName={",".join(NODES)} CPUS={CPUS} RealMemory=6000 State=UNKNOWN
"""
# What is printed so becomes part of the task's environment (man slurm.conf).
TASK_PROLOG = f"""\
#!/bin/sh
[ "$SLURMD_NODENAME" = {NODE_WITH_A_GPU} ] || exit 0
echo export SLURM_GPUS_ON_NODE=1
echo export CUDA_VISIBLE_DEVICES=0
"""


class Slurm:
    """A Slurm over the hosts of a lab, as a user of it sees it.

    Args:
        lab: With the hosts ``LOGIN`` and ``NODES``.
        folder: Slurm's files, at a path that all hosts see.
        unpacked: The same files, as seen from here.
    """

    def __init__(self, lab: Lab, folder: Path, unpacked: Path) -> None:
        self.lab = lab
        self._folder = folder
        libraries = [
            folder / path.relative_to(unpacked) for path in debian.library_folders(unpacked)
        ]
        self._plugins = folder / _plugins(unpacked).relative_to(unpacked)
        self._daemons = {
            name: folder / program.relative_to(unpacked)
            for name, program in _daemons(unpacked).items()
        }
        self._environment = {
            "PATH": f"{folder}/usr/bin:{SYSTEM_PATH}",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "SLURM_CONF": str(SHARED / "slurm.conf"),
        }

    def start(self) -> None:
        """Start the daemons, and wait until all nodes are there."""
        settings = SETTINGS + f"PluginDir={self._plugins}\n"
        (self.lab.shared / "slurm.conf").write_text(settings)
        prolog = self.lab.shared / "task-prolog"
        prolog.write_text(TASK_PROLOG)
        prolog.chmod(0o755)
        self.run(LOGIN, "sh", "-c", f"mkdir /tmp/slurmctld && {self._daemons['slurmctld']} -i")
        for name in NODES:
            self.start_node(name)

    def start_node(self, name: str) -> None:
        """Start the daemon of a node, and wait until it is there."""
        daemon = f"{self._daemons['slurmd']} -d {self._daemons['slurmstepd']}"
        self.run(name, "sh", "-c", f"mkdir /tmp/slurmd && {daemon}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "State=IDLE " not in self.run(LOGIN, "scontrol", "show", "node", name):
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def run(self, host: str, *command: str, **variables: str) -> str:
        """Run a command on a host, in the folder of the project; return what it printed."""
        done = self.lab[host].run(
            command, timeout_seconds=60, env=self._environment | variables, cwd=INSTALLED
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def sbatch(self, options: Sequence[str], *arguments: str, **variables: str) -> int:
        """Submit the batch script with small shares of the nodes; return the job's number."""
        shares = ("--cpus-per-task=1", "--mem-per-cpu=1300M", f"--output={SHARED}/%j.txt")
        answer = self.run(
            LOGIN, "sbatch", *shares, *options, "cluster/slurm.sh", *arguments, **variables
        )
        return int(answer.split()[-1])

    def said(self, job: int) -> str:
        """Return what a job has printed so far."""
        path = self.lab.shared / f"{job}.txt"
        return path.read_text() if path.exists() else ""

    def state(self, job: int, field: str = "JobState") -> str:
        """Return a field of what Slurm knows of a job."""
        shown = self.run(LOGIN, "scontrol", "show", "job", str(job))
        return re.search(rf"\b{field}=(\S+)", shown)[1]

    def wait(self, job: int, met) -> None:
        """Wait until a condition is met, which may never be once the job has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not met():
            state = self.state(job)
            assert time.monotonic() < deadline, f"{state}: {self.said(job)}"
            assert state not in ENDED, self.said(job)
            time.sleep(0.5)

    def begin_at_once(self, job: int) -> None:
        """Begin a job that was queued again, unless it has begun: Slurm waits for two minutes."""
        command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
        self.lab[LOGIN].run(command, timeout_seconds=60, env=self._environment)

    def ended(self, job: int, *, again: bool = False) -> int:
        """Wait for the end of a job; return its exit status.

        Args:
            job: Its number.
            again: Whether it is begun at once where it is queued again.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (state := self.state(job)) not in ENDED:
            assert time.monotonic() < deadline, self.said(job)
            if again and state == "PENDING":
                self.begin_at_once(job)
            time.sleep(1)
        return int(self.state(job, "ExitCode").partition(":")[0])


@contextmanager
def slurm_on_hosts(scratch: Path) -> Iterator[Slurm]:
    """Make a lab with a Slurm that runs."""
    hosts = (LOGIN, *NODES)
    with Lab(scratch=scratch, project=ROOT, hosts=hosts, shared=hosts) as lab:
        unpacked = find()
        shutil.copytree(unpacked, lab.shared / "slurm", symlinks=True)
        for name in hosts:
            install(lab[name])
        slurm = Slurm(lab, SHARED / "slurm", unpacked)
        slurm.start()
        yield slurm


def install(host: Host) -> None:
    """Put the project on a host, and the user's own problem into its folder."""
    project = host.home / INSTALLED.name
    copy_working_tree(ROOT, project)
    for module in ("problems", "stormy", "cluster/epoch_limit", "cluster/held"):
        shutil.copy(TESTS / f"{module}.py", project)


def why_not() -> str | None:
    """Say in a line why there is no Slurm on hosts here; None where there is."""
    try:
        find()
    except debian.UnpackedError as error:
        return str(error)
    return Lab.why_not()


def find() -> Path:
    """Return the folder of the packages that were unpacked earlier; uses no network.

    Raises:
        debian.UnpackedError: There is none, or what is in it does not run here.
    """
    return _checked(debian.cache_dir("lab-slurm"))


def fetch() -> Path:
    """Return what ``find`` does, after fetching the packages where that finds nothing.

    Raises:
        debian.UnpackedError: They could not be had.
    """
    target = debian.cache_dir("lab-slurm")
    try:
        return find()
    except debian.UnpackedError:
        if not debian.can_fetch():
            raise
    with debian.unpacked(PACKAGES, beside=target, anyway=PACKAGES) as fresh:
        _checked(fresh)
        debian.take_place(fresh, target, check=_checked)
    return find()


def _checked(folder: Path) -> Path:
    daemons = _daemons(folder).values()
    programs = [*daemons, *(folder / "usr/bin" / name for name in COMMANDS)]
    if len(daemons) < len(DAEMONS) or not all(program.exists() for program in programs):
        raise debian.UnpackedError(
            f"Slurm is not in {folder}: run `python tests/cluster/slurm_lab.py`, which fetches it"
            " for the tests alone"
        )
    for program in programs:
        debian.check_libraries(program, debian.library_folders(folder))
    _plugins(folder)
    return folder


def _daemons(folder: Path) -> dict[str, Path]:
    programs = {name: [*(folder / "usr/sbin").glob(f"{name}*")] for name in DAEMONS}
    return {name: paths[0] for name, paths in programs.items() if paths}


def _plugins(folder: Path) -> Path:
    folders = [{path.parent for path in folder.rglob(name)} for name in NO_AUTHENTICATION]
    if not all(folders):
        raise debian.UnpackedError(f"the Slurm in {folder} lacks {' and '.join(NO_AUTHENTICATION)}")
    return folders[0].pop()


if __name__ == "__main__":
    try:
        print(f"lab: {fetch()}")
    except (debian.UnpackedError, subprocess.SubprocessError) as error:
        sys.exit(f"error: {error}")
