"""The GPUs of a machine: how much memory a trial may have of one that it shares."""

import os
import subprocess

# What a process takes of a GPU beside TensorFlow's own allocations (the CUDA context, the
# workspaces of its libraries): an allowance, to be measured on the GPU at hand.
CONTEXT_MIB = 600
# Below this no model trains.
LEAST_MIB = 256
ASK_SECONDS = 20.0
QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
# Grows with what is needed, up to the limit; by the number that nvidia-smi uses of a GPU.
GPU_ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def memory_limit_mib(share: float, total_mib: int) -> int:
    """Return how much of a GPU's memory TensorFlow may allocate, so that all shares fit.

    Args:
        share: Of the GPU, above 0 and below 1.
        total_mib: Its whole memory.

    Returns:
        MiB, of which the process's own context is taken off already.
    """
    return max(LEAST_MIB, int(share * total_mib) - CONTEXT_MIB)


def visible_memory_mib() -> int | None:
    """Return the whole memory of the first GPU that this process may use.

    Returns:
        MiB; None where ``nvidia-smi`` does not tell, as of a part of a GPU (MIG).
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    command = ["nvidia-smi", f"--id={first}", *QUERY]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        )
        return int(answer.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
