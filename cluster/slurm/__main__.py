"""What ``slurm.sh`` runs on the first node of its job: a Ray over all nodes, and a search on it.

By the manuals of Slurm 22.05 to 25.05, and tried with 22.05.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from cluster.errors import ClusterError
from cluster.slurm.job import INTERRUPTED_STATUS, Ending, Job, again, completed, program, say
from cluster.slurm.ray_start import ray_on, wait_for_nodes

# Asks for `scontrol requeue` where the time limit has ended the search.
GO_ON = "FMNIST_SEARCH_GO_ON"


def main(arguments: list[str]) -> int:
    """Run a command of ``fmnist-search`` on all nodes of this job; return its exit status."""
    ending = Ending()
    try:
        if not arguments:
            raise ClusterError(
                "expected a command of fmnist-search: sbatch cluster/slurm.sh run --space wide"
            )
        job = Job.of(os.environ)
        asked = completed(arguments, job)
        with ray_on(job) as (address, environment, step):
            wait_for_nodes(job, address, environment, step, ending)
            environment["RAY_ADDRESS"] = address
            status = ending.attend([program("fmnist-search"), *asked], environment)
    except ClusterError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        return 2
    if ending.signals and status == INTERRUPTED_STATUS:
        return go_on(asked, job, ending)
    return status


def go_on(asked: Sequence[str], job: Job, ending: Ending) -> int:
    """Have Slurm begin the job again where that was asked for, else say how; return the status."""
    if ending.is_by_time_limit:
        say("the time limit is near")
        if os.environ.get(GO_ON, "0") != "0":
            queued = subprocess.run(["scontrol", "requeue", str(job.number)], check=False)
            if queued.returncode == 0:
                say(f"job {job.number} is queued again, and goes on then")
                return 0
    say(f"to go on: sbatch cluster/slurm.sh {shlex.join(again(asked))}")
    return INTERRUPTED_STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
