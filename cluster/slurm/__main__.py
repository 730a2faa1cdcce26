"""Starts Ray on all nodes of a Slurm job and runs a search on it; ``slurm.sh`` runs this module.

Written after the manuals of Slurm 22.05 to 25.05; tried with 22.05.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from cluster.errors import ClusterError
from cluster.slurm.job import INTERRUPTED_STATUS, Job, Signals, program, resuming, say
from cluster.slurm.ray_start import running_ray

# slurm.sh tells Slurm to send it before the time limit.
TIME_LIMIT_SIGNAL = signal.SIGUSR1
# The variable by which users ask for `scontrol requeue` when the time limit has ended the search.
REQUEUE_VARIABLE = "FMNIST_SEARCH_GO_ON"


def main(arguments: list[str]) -> int:
    """Run a command of ``fmnist-search`` on all nodes of this job; return its exit status."""
    signals = Signals(TIME_LIMIT_SIGNAL, signal.SIGINT, signal.SIGTERM, sent=signal.SIGINT)
    try:
        if not arguments:
            raise ClusterError(
                "no command: expected one of fmnist-search, such as: sbatch cluster/slurm.sh run "
                "--space wide"
            )
        job = Job.of(os.environ)
        arguments = job.arguments(arguments)
        with running_ray(job) as ray:
            ray.wait_for_nodes(signals)
            environment = {**ray.environment, "RAY_ADDRESS": f"{ray.host}:{ray.port}"}
            status = signals.run([program("fmnist-search"), *arguments], environment)
    except ClusterError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        return 2
    if signals.received and status == INTERRUPTED_STATUS:
        is_time_limit = signals.received[0] == TIME_LIMIT_SIGNAL
        return requeue_or_advise(arguments, job, is_time_limit=is_time_limit)
    return status


def requeue_or_advise(arguments: Sequence[str], job: Job, *, is_time_limit: bool) -> int:
    """Requeue an interrupted job if the user asked for it, else say how to continue its search.

    Returns:
        The exit status: 0 if the job is requeued.
    """
    if is_time_limit:
        say("the time limit is near")
        if os.environ.get(REQUEUE_VARIABLE, "0") != "0":
            requeue = subprocess.run(["scontrol", "requeue", str(job.number)], check=False)
            if requeue.returncode == 0:
                say(f"job {job.number} is requeued and will continue")
                return 0
    say(f"to continue: sbatch cluster/slurm.sh {shlex.join(resuming(arguments))}")
    return INTERRUPTED_STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
