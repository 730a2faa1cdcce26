"""The cores and the memory that this process may use, and how many trials they hold."""

import functools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from search.machine.cgroups import Limit, core_limits, memory_limits
from search.machine.ulimits import ADDRESS_BYTES, LEAST_OBJECTS_BYTES, address_space

WHOLE = "of this machine"
# Measured with Fashion-MNIST and small models: what a search holds beside its workers, which are
# Ray's processes, the driver, the one that workers are forked from, and the data; and what a worker
# adds, by itself (426 MiB) rather than forked (216 MiB), as a larger model needs more.
SEARCH_BYTES = 1024 * 1024**2
WORKER_BYTES = 450 * 1024**2
# The share of the free memory that Ray uses for objects.
OBJECTS_SHARE = 0.3
GIGABYTE = 1024**3
MEGABYTE = 1024**2


@dataclass(frozen=True)
class Machine:
    """What this process may use of its machine.

    Attributes:
        cores: Number of cores, 1 or more.
        cores_from: What limits them.
        memory_bytes: The memory, by the limit that leaves least of it free.
        free_bytes: How much of that is free, counting the cache of files as free.
        memory_from: What limits it.
    """

    cores: int
    cores_from: str
    memory_bytes: int
    free_bytes: int
    memory_from: str

    def workers(self, cpus_per_trial: float) -> int:
        """Return the number of trials at once that cores and memory allow, at least 1."""
        return max(1, min(self._by_cores(cpus_per_trial), self._by_memory))

    def cpus(self, cpus_per_trial: float) -> int:
        """Return the CPUs of a Ray on which as many trials run at once as this machine holds."""
        if self._by_memory >= self._by_cores(cpus_per_trial):
            return self.cores
        return min(self.cores, math.ceil(self._by_memory * cpus_per_trial))

    def memory_of_ray(self) -> dict[str, int]:
        """Return the options of ``ray.init`` on memory; none if Ray finds all of it by itself.

        Ray 2.60 reads only the topmost group, as joblib does, and no ``ulimit``. The share is its
        own.
        """
        space = address_space()
        if self.memory_from == WHOLE and space is None:
            return {}
        objects = int(self.free_bytes * OBJECTS_SHARE)
        if space is not None:
            objects = min(objects, int(space.amount) - ADDRESS_BYTES)
        objects = max(LEAST_OBJECTS_BYTES, objects)
        rest = max(self.free_bytes - objects, 0)
        return {"object_store_memory": objects, "_memory": rest}

    def describe_shortage(self, cpus_per_trial: float) -> str | None:
        """Describe why fewer trials run at once than the cores allow; None if as many do."""
        workers = self.workers(cpus_per_trial)
        if workers >= self._by_cores(cpus_per_trial):
            return None
        cores = "core" if self.cores == 1 else "cores"
        return (
            f"{workers} {'worker' if workers == 1 else 'workers'} on {self.cores} {cores}: "
            f"{self.free_bytes / GIGABYTE:.1f} GB are free of {self.describe_memory()}"
        )

    def describe_cores(self) -> str:
        """Describe the cores and what limits them."""
        return f"{self.cores} ({self.cores_from})"

    def describe_memory(self) -> str:
        """Describe the memory and what limits it."""
        return f"{self.memory_bytes / GIGABYTE:.1f} GB ({self.memory_from})"

    def _by_cores(self, cpus_per_trial: float) -> int:
        return max(1, int(self.cores / cpus_per_trial))

    @property
    def _by_memory(self) -> int:
        return max(1, (self.free_bytes - SEARCH_BYTES) // WORKER_BYTES)


def needed_bytes(workers: int) -> int:
    """Return about how much memory a search on this machine needs."""
    return SEARCH_BYTES + workers * WORKER_BYTES


def read_machine(
    root: Path = Path("/"),
    environment: Mapping[str, str] = os.environ,
    bound_cores: int | None = None,
) -> Machine:
    """Return what a process may use.

    A quota of CPU time is rounded up to whole cores, as by joblib, Java and Go: with 1.5 cores, two
    trials at three quarters of the speed are done sooner than one at full speed. The ``cpu_count``
    of joblib itself does not serve: it reads the topmost group alone, which is that of a container
    but not that of a Slurm job or a service of systemd; and it tells neither what limits the cores
    nor anything about memory.

    Args:
        root: The folder that has ``/proc`` and ``/sys``.
        environment: The environment variables.
        bound_cores: The cores that the process is bound to; None: as the system says.
    """
    cores = min(_core_limits(root, environment, bound_cores), key=lambda limit: limit.amount)
    memory = min(_memory_limits(root, environment), key=lambda limit: limit.free)
    return Machine(
        cores=max(1, math.ceil(cores.amount)),
        cores_from=cores.source,
        memory_bytes=int(memory.amount),
        free_bytes=int(memory.free),
        memory_from=memory.source,
    )


@functools.cache
def this_machine() -> Machine:
    """Return what this process may use, as it was at the first call.

    A search must not count the memory of the Ray that it has kept from the one before.
    """
    return read_machine()


def _core_limits(
    root: Path, environment: Mapping[str, str], bound_cores: int | None
) -> Iterator[Limit]:
    all_cores = os.cpu_count() or 1
    if bound_cores is None and hasattr(os, "sched_getaffinity"):
        bound_cores = len(os.sched_getaffinity(0))
    if bound_cores is None or bound_cores == all_cores:
        yield Limit(all_cores, 0, WHOLE)
    else:
        yield Limit(bound_cores, 0, "the affinity of this process")
    yield from core_limits(root)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        cores = _slurm_number(name, environment)
        if cores:
            yield Limit(cores, 0, name)


def _memory_limits(root: Path, environment: Mapping[str, str]) -> Iterator[Limit]:
    total, available = _memory_of_the_machine(root)
    yield Limit(total, total - available, WHOLE)
    yield from (limit for limit in memory_limits(root) if limit.amount < total)
    megabytes = _slurm_number("SLURM_MEM_PER_NODE", environment)
    if megabytes:  # 0: all of it (man sbatch)
        yield Limit(megabytes * MEGABYTE, 0, "SLURM_MEM_PER_NODE")
        return
    per_cpu = _slurm_number("SLURM_MEM_PER_CPU", environment)
    cores = _slurm_number("SLURM_CPUS_ON_NODE", environment)
    if per_cpu and cores:
        yield Limit(per_cpu * cores * MEGABYTE, 0, "SLURM_MEM_PER_CPU")


def _slurm_number(name: str, environment: Mapping[str, str]) -> int:
    """Return a number that Slurm gives a process on a node of its job (man srun); 0 elsewhere."""
    is_in_job = "SLURM_JOB_ID" in environment and "SLURMD_NODENAME" in environment
    text = environment.get(name, "") if is_in_job else ""
    return int(text) if text.isdecimal() else 0


def _memory_of_the_machine(root: Path) -> tuple[int, int]:
    """Return the bytes of memory, and those that are available."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        memory = psutil.virtual_memory()
        return memory.total, memory.available
    rows = dict(line.split(":", 1) for line in lines)
    return tuple(int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]
