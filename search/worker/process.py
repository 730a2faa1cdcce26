"""Sets up a worker process once, and resets it between trials."""

import contextlib
import gc
import io
import logging
import math
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from search.carry.carried import PickledObject
from search.errors import ProblemError, one_line
from search.plan import importer
from search.space.parameters import Space
from search.storage.home import prepare_home
from search.worker.task import NamedObject

if TYPE_CHECKING:
    import keras_tuner as kt

# Set in the environment of a fork, which has imported TensorFlow but not used it yet.
FORKED = "FMNIST_SEARCH_FORKED"
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
QUIET_TENSORFLOW = {LOG_LEVEL: "3", "KERAS_BACKEND": "tensorflow"}
# GPU memory that a process uses beside TensorFlow's allocations (CUDA context, library workspaces):
# an estimate, which depends on the GPU.
CONTEXT_MIB = 600
# The least memory with which a model trains.
LEAST_MIB = 256
# Memory grows as needed, up to the limit; GPUs are numbered as by nvidia-smi.
GPU_ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def set_up(
    threads: int | None = None, *, sees_gpus: bool = True, gpu_share: float | None = None
) -> None:
    """Import TensorFlow quietly, and limit its threads and GPU memory to this process's share.

    Only the first call in a process takes time.

    Args:
        threads: Maximum number of threads for an operation; None: TensorFlow decides.
        sees_gpus: Whether the process may use a GPU.
        gpu_share: Maximum share of the GPU's memory, above 0 and at most 1; None: all.
    """
    first_time = not is_set_up()
    prepare_home()
    os.environ.pop(FORKED, None)
    os.environ.update(QUIET_TENSORFLOW)
    if first_time and not sees_gpus:
        # Before the import, or Keras would compile for a GPU that it may not use. (A fork was
        # imported without one.)
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ |= GPU_ENVIRONMENT
    # TensorFlow 2.21 writes about GPUs at any log level.
    with silenced_stderr() if first_time else contextlib.nullcontext():
        import tensorflow as tf

    if first_time:
        # Keras's own loop of many models in one process traces often: no mistake of the user's.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if first_time and threads is not None:
        # Ray's OMP_NUM_THREADS does not limit TensorFlow's own pools.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        _limit_gpu_memory(gpu_share)
    if first_time:
        import keras  # noqa: F401
        import keras_tuner  # noqa: F401

        # Objects of the imports live as long as the process: later collections can skip them.
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
    """Return the limit in MiB for TensorFlow's allocations, so that all shares of a GPU fit.

    Args:
        share: Share of the GPU, above 0 and below 1; it includes the process's CUDA context.
        total_mib: The GPU's memory.
    """
    return max(LEAST_MIB, int(share * total_mib) - CONTEXT_MIB)


def visible_memory_mib() -> int | None:
    """Return the memory in MiB of the first GPU that this process may use.

    None if ``nvidia-smi`` does not report it, as for a MIG partition.
    """
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    query = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    command = ["nvidia-smi", f"--id={gpu}", *query]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(result.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def lacks_gpu() -> bool:
    """Tell whether TensorFlow sees no GPU; call after ``set_up``."""
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def is_set_up() -> bool:
    """Tell whether ``set_up`` was called; a fork has imported TensorFlow before that."""
    return "tensorflow" in sys.modules and FORKED not in os.environ


def reset_session(seed: int) -> None:
    """Clear the state of the previous trial, and seed all random numbers."""
    import keras

    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)


def load_hypermodel(source: NamedObject | PickledObject | None) -> "kt.HyperModel":
    """Load the hypermodel that a user named, once per process, or a new copy of one that was sent.

    A new copy, since layers that are made outside ``build`` keep what a trial trained.
    """
    from search.space import mirror

    assert source is not None
    if isinstance(source, NamedObject):
        return load_named(source.reference)
    return mirror.load_hypermodel(source.open(), "")


@lru_cache(maxsize=8)
def load_named(reference: str) -> "kt.HyperModel":
    """Load the hypermodel that a user named; once per process."""
    from search.space import mirror

    return mirror.load_hypermodel(importer.load(reference, "hypermodel"), reference)


def discover(reference: str) -> Space:
    """Load the hypermodel and discover its space by building models."""
    from search.space import mirror

    try:
        return mirror.discover_space(load_hypermodel(NamedObject(reference)))
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(
            f"--hypermodel {reference!r}: the builder raised {one_line(error)}"
        ) from error


def worker_name() -> str:
    """Return the name of this process as a worker: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def trial_seed(run_seed: int, trial: int, *repeat: int) -> int:
    """Return the seed of a trial, in 0..2**31-1.

    Args:
        run_seed: Seed of the run.
        trial: Number of the trial.
        repeat: Numbers of the attempt and the execution from 0, unless both are 0.
    """
    import numpy as np

    return int(np.random.SeedSequence([run_seed, trial, *repeat]).generate_state(1)[0] >> 1)


def json_values(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch's logs as JSON values: Python floats, None for NaN and infinities.

    Lists, dicts and strings stay as they are.
    """
    return {key: _json_value(value) for key, value in logs.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, (list, dict, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def import_keras_quietly() -> None:
    """Import Keras in a script, without the lines that TensorFlow's native code writes.

    Does nothing if the script has imported TensorFlow before, or asks for its log by a lower
    ``TF_CPP_MIN_LOG_LEVEL``.
    """
    quiet = QUIET_TENSORFLOW[LOG_LEVEL]
    if "tensorflow" in sys.modules or os.environ.setdefault(LOG_LEVEL, quiet) != quiet:
        return
    # TensorFlow 2.21 writes about GPUs at any log level.
    with silenced_stderr():
        import keras  # noqa: F401


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard output to the error stream, including that of native code.

    For libraries that write there while they start, at any log level. Errors are still raised.
    """
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


@contextlib.contextmanager
def quiet_training() -> Iterator[None]:
    """Hide keras-tuner's output about a failed trial; the end of the trial reports the error."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
