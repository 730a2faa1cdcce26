"""What a script set for its process: read there, and taken over by its workers. Imports Keras."""

import os
from functools import lru_cache
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.python.data.ops import debug_mode
from tensorflow.python.framework import config as framework_config

from search.carry.carried import PickledObject
from search.carry.pickling import dumps_registered
from search.worker.process import GPU_ENVIRONMENT, QUIET_TENSORFLOW
from search.worker.task import ScriptSettings

# Variables of the environment that are no setting of the script: TensorFlow 2.21, Keras 3.15 and
# Ray 2.60 set them when they are imported, this program sets them, or they differ from process to
# process.
OTHERS_PREFIXES = ("RAY_", "TUNE_", "TPU_ML_", "FMNIST_SEARCH_", "PYTEST_")
OTHERS_VARIABLES = {
    *GPU_ENVIRONMENT,
    *QUIET_TENSORFLOW,
    "CUDA_VISIBLE_DEVICES",
    "ENABLE_RUNTIME_UPTIME_TELEMETRY",
    "HDF5_PLUGIN_PATH",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "OMP_NUM_THREADS",
    "TF2_BEHAVIOR",
}


def read_settings() -> ScriptSettings:
    """Return what the script has set in this process."""
    registered = dumps_registered()
    return ScriptSettings(
        dtype_policy=keras.config.dtype_policy().name,
        floatx=keras.config.floatx(),
        image_data_format=keras.config.image_data_format(),
        epsilon=keras.config.epsilon(),
        runs_functions_eagerly=tf.config.functions_run_eagerly(),
        debugs_datasets=debug_mode.DEBUG_MODE,
        is_deterministic=framework_config.is_op_determinism_enabled(),
        uses_tensor_float_32=tf.config.experimental.tensor_float_32_execution_enabled(),
        custom_objects=None if registered is None else PickledObject(registered),
        environment=read_environment(),
    )


def read_environment(started: Path = Path("/proc/self/environ")) -> dict[str, str]:
    """Return the environment variables that this process has set since it started.

    Args:
        started: File with the variables with which the process started, as Linux writes it.
    """
    try:
        entries = started.read_bytes().split(b"\0")
    except OSError:
        return {}
    before = dict(os.fsdecode(entry).partition("=")[::2] for entry in entries if entry)
    return {
        name: value
        for name, value in os.environ.items()
        if before.get(name) != value
        and name not in OTHERS_VARIABLES
        and not name.startswith(OTHERS_PREFIXES)
    }


def take_over(settings: ScriptSettings | None) -> None:
    """Apply the settings and register the custom objects of the script; before anything is opened.

    Raises:
        ProblemError: A package that a custom object needs is not installed here.
    """
    apply_settings(settings)
    if settings is not None and settings.custom_objects is not None:
        _register(settings.custom_objects)


def apply_settings(settings: ScriptSettings | None) -> None:
    """Apply the settings of Keras and TensorFlow; Keras loses some when it clears its session.

    Also silence Keras's progress bars: what a trial prints is shown, but they are not.
    """
    keras.config.disable_interactive_logging()
    if settings is None:
        return
    keras.config.set_floatx(settings.floatx)
    keras.config.set_dtype_policy(settings.dtype_policy)
    keras.config.set_image_data_format(settings.image_data_format)
    keras.config.set_epsilon(settings.epsilon)
    tf.config.run_functions_eagerly(settings.runs_functions_eagerly)
    tf.config.experimental.enable_tensor_float_32_execution(settings.uses_tensor_float_32)
    if settings.debugs_datasets:
        tf.data.experimental.enable_debug_mode()
    if settings.is_deterministic:
        tf.config.experimental.enable_op_determinism()


@lru_cache(maxsize=1)
def _register(custom_objects: PickledObject) -> None:
    """Register custom objects under the names that they have in the script."""
    for name, value, is_registered in custom_objects.open():
        if is_registered:
            package, _, own_name = name.partition(">")
            keras.saving.register_keras_serializable(package, own_name)(value)
        else:
            keras.saving.get_custom_objects()[name] = value
