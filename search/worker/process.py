"""A process that trains: its set-up, done once, and what is cleared between trials."""

import contextlib
import gc
import io
import math
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from search.errors import ProblemError, one_line
from search.plan import importer
from search.plan.task import Carried, Named
from search.space.parameters import Space

if TYPE_CHECKING:
    import keras_tuner as kt

# In the environment of a fork, whose TensorFlow is imported and has done nothing yet.
FORKED = "FMNIST_SEARCH_FORKED"
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
# What a process takes of a GPU beside TensorFlow's own allocations (the CUDA context, the
# workspaces of its libraries): an allowance, to be measured on the GPU at hand.
CONTEXT_MIB = 600
# Below this no model trains.
LEAST_MIB = 256
# Grows with what is needed, up to the limit; by the number that nvidia-smi uses of a GPU.
GPU_ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def set_up(
    threads: int | None = None, *, sees_gpus: bool = True, gpu_share: float | None = None
) -> None:
    """Import TensorFlow quietly, for a process that shares its machine with others.

    In a warm process this costs nothing: it was done by the trial before.

    Args:
        threads: So many may work on an operation; None: as TensorFlow decides.
        sees_gpus: Whether it may use a GPU, of which it then takes no more than it needs.
        gpu_share: At most this part of the GPU's memory, where it shares one; None: all.
    """
    first_time = not is_set_up()
    os.environ.pop(FORKED, None)
    os.environ.update(QUIET_TENSORFLOW)
    if first_time and not sees_gpus:
        # Before the import, which in a fork was done without a GPU: Keras would else choose to
        # compile for one that it may not use.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ |= GPU_ENVIRONMENT
    # TensorFlow 2.21 writes about GPUs whatever its log level.
    with silent_errors() if first_time else contextlib.nullcontext():
        import tensorflow as tf

    if first_time and threads is not None:
        # Ray's OMP_NUM_THREADS does not limit TensorFlow's own pools.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        _limit_gpu_memory(gpu_share)
    if first_time:
        import keras  # noqa: F401
        import keras_tuner  # noqa: F401

        # What these made lives as long as the process: the collection before a trial leaves it out.
        gc.collect()
        gc.freeze()


def _limit_gpu_memory(share: float | None) -> None:
    import tensorflow as tf

    total_mib = visible_memory_mib() if share is not None and share < 1 else None
    for gpu in tf.config.list_physical_devices("GPU"):
        if share is None or total_mib is None:
            tf.config.experimental.set_memory_growth(gpu, True)
            continue
        limit = memory_limit_mib(share, total_mib)
        part = tf.config.LogicalDeviceConfiguration(memory_limit=limit)
        tf.config.set_logical_device_configuration(gpu, [part])


def memory_limit_mib(share: float, total_mib: int) -> int:
    """Return how much of a GPU's memory TensorFlow may allocate, so that all shares fit.

    Args:
        share: Of the GPU, above 0 and below 1; the process's own context is taken off it.
        total_mib: Its whole memory.
    """
    return max(LEAST_MIB, int(share * total_mib) - CONTEXT_MIB)


def visible_memory_mib() -> int | None:
    """Return the whole memory of the first GPU that this process may use.

    None where ``nvidia-smi`` does not tell, as of a part of a GPU (MIG).
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    query = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    command = ["nvidia-smi", f"--id={first}", *query]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def lacks_gpu() -> bool:
    """Tell whether TensorFlow, set up in this process, sees no GPU."""
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def is_set_up() -> bool:
    """Tell whether this process has set TensorFlow up; a fork was born with it and has not yet."""
    return "tensorflow" in sys.modules and FORKED not in os.environ


def start_trial(seed: int) -> None:
    """Clear what the trial before left, and make what follows a function of the seed."""
    import keras

    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)


def keras_settings() -> dict[str, str]:
    """Return what a script has set for all of Keras, to be set in its workers too."""
    import keras

    return {
        "dtype_policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
    }


def set_keras(settings: Mapping[str, str]) -> None:
    """Set what ``keras_settings`` returned."""
    import keras

    if settings:
        keras.config.set_floatx(settings["floatx"])
        keras.config.set_dtype_policy(settings["dtype_policy"])
        keras.config.set_image_data_format(settings["image_data_format"])


@lru_cache(maxsize=8)
def hypermodel(source: Named | Carried) -> "kt.HyperModel":
    """Load the hypermodel that a user named or sent; once per process."""
    from search.space.mirror import load_hypermodel

    if isinstance(source, Carried):
        return load_hypermodel(source.open(), "")
    return load_hypermodel(importer.load(source.reference, "hypermodel"), source.reference)


def discover(reference: str) -> Space:
    """Load the hypermodel and find its space by building."""
    from search.space import mirror

    try:
        return mirror.discover_space(hypermodel(Named(reference)))
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(
            f"--hypermodel {reference!r}: the builder raised {one_line(error)}"
        ) from error


def worker_name() -> str:
    """Return the name of this process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def trial_seed(run_seed: int, trial: int, *repeat: int) -> int:
    """Return the seed of a trial, in 0..2**31-1, a function of the run's seed and its number.

    Args:
        run_seed: Seed of the run.
        trial: Number of the trial.
        repeat: Numbers of the attempt and the execution, where it is not the first of both.
    """
    import numpy as np

    return int(np.random.SeedSequence([run_seed, trial, *repeat]).generate_state(1)[0] >> 1)


def plain(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch's logs as JSON values: Python floats, None for NaN and infinities.

    What is no number, such as a list, is returned as it is.
    """
    return {key: _plain(value) for key, value in logs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, dict, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


@contextlib.contextmanager
def silent_errors() -> Iterator[None]:
    """Drop what is written to the error stream, by native code too.

    For the start of a library that writes about itself there whatever its log level says; what
    goes wrong is raised and still seen.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def quiet_training() -> Iterator[None]:
    """Keep off the screen what keras-tuner writes of a failed trial: its end tells it."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
