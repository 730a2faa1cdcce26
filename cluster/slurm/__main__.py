"""What ``slurm.sh`` runs on the first node of its job: Ray over all nodes, and a search on it.

Follows the manuals of Slurm 22.05 to 25.05; tried with 22.05.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from cluster.errors import ClusterError
from cluster.slurm.job import INTERRUPTED_STATUS, Job, Signals, program, resuming, say
from cluster.slurm.ray_start import ray_of

# slurm.sh has Slurm send it before the time limit.
TIME_LIMIT = signal.SIGUSR1
# A variable that asks for `scontrol requeue` when the time limit has ended the search.
GO_ON = "FMNIST_SEARCH_GO_ON"


def main(arguments: list[str]) -> int:
    """Run a command of ``fmnist-search`` on all nodes of this job; return its exit status."""
    signals = Signals(TIME_LIMIT, signal.SIGINT, signal.SIGTERM, sent=signal.SIGINT)
    try:
        if not arguments:
            raise ClusterError(
                "expected a command of fmnist-search: sbatch cluster/slurm.sh run --space wide"
            )
        job = Job.of(os.environ)
        arguments = job.arguments(arguments)
        with ray_of(job) as ray:
            ray.wait_for_nodes(signals)
            environment = {**ray.environment, "RAY_ADDRESS": f"{ray.host}:{ray.port}"}
            status = signals.run([program("fmnist-search"), *arguments], environment)
    except ClusterError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        return 2
    if signals.received and status == INTERRUPTED_STATUS:
        return go_on(arguments, job, is_time_limit=signals.received[0] == TIME_LIMIT)
    return status


def go_on(arguments: Sequence[str], job: Job, *, is_time_limit: bool) -> int:
    """Queue the job again if the user asked for that, else say how to go on; return the status."""
    if is_time_limit:
        say("the time limit is near")
        if os.environ.get(GO_ON, "0") != "0":
            queued = subprocess.run(["scontrol", "requeue", str(job.number)], check=False)
            if queued.returncode == 0:
                say(f"job {job.number} is queued again, and goes on then")
                return 0
    say(f"to go on: sbatch cluster/slurm.sh {shlex.join(resuming(arguments))}")
    return INTERRUPTED_STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
