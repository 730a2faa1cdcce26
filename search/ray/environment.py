"""The environment variables that Ray reads, set before Ray is imported and started."""

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.storage.home import caches_of_workers, prepare_home

# Found by running Ray 2.60, which reads all of these when it is imported or started.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # The journal is the record; Ray's loggers would write five more files a trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # The report that ends a trial carries no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A stopped trial may be inside an epoch: its process is reused once the epoch has ended.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Long messages about a lost process; the line of its trial says the same.
    "RAY_DEDUP_LOGS_SKIP_REGEX": (
        "A worker died or was killed|low on memory|has been marked dead|Raylet is terminated"
    ),
}

RAYLET_PID = "RAY_RAYLET_PID"
# On Linux, Ray 2.60 listens on all network addresses. This setting makes it listen on loopback, as
# on Windows and macOS (ray/_private/services.py).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# Ray starts none before it is asked to: it would be for another driver, and not forked.
WITHOUT_IDLE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
# Under ``uv run``, Ray 2.60 would ignore ``py_executable`` and start each worker with uv.
WITHOUT_UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def prepare_environment(address: str | None = None) -> None:
    """Set the environment variables that Ray reads, and import Ray.

    Args:
        address: The Ray cluster that will be joined. None: this process starts its own Ray. Its
            ports are on loopback, and a token known only to this process and its children guards
            them from other users of the machine. No token is written to disk.
    """
    set_environment(address)
    import_ray()


def import_ray() -> None:
    """Import Ray so that it works in every process, and under ``uv run``."""
    if "ray" in sys.modules:
        return
    # If a driver's parent is process 1 (in a container, under nohup), Ray 2.60 takes the driver for
    # the child of a dead raylet and ends it silently. This variable names its raylet.
    os.environ |= WITHOUT_UV | {RAYLET_PID: str(os.getpid())}
    # Ray 2.60 asks in every notebook for packages that it would draw tables with.
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    import ray  # noqa: F401

    del os.environ[RAYLET_PID]  # Ray's own processes must find their real raylet


def set_environment(address: str | None = None) -> None:
    """Set the environment variables that Ray reads in this process, as ``prepare_environment``."""
    prepare_home()
    os.environ |= ENVIRONMENT
    if address is None:
        _set_token()


def environment_of_a_head() -> dict[str, str]:
    """Return the environment of the process that starts a Ray which this process will join."""
    set_environment()
    environment = {name: value for name, value in os.environ.items() if name != JOB_CONFIG}
    return environment | caches_of_workers() | ON_LOOPBACK | WITHOUT_UV | WITHOUT_IDLE_WORKERS


@contextmanager
def joining_own_ray() -> Iterator[None]:
    """Let ``ray.init`` join a Ray of this process, by its address on loopback.

    Ray 2.60 replaces such an address by another of the machine, unless it was imported with the
    variable of ``ON_LOOPBACK``. A script may import Ray before, and join other machines later.
    Inside a Ray job, the runtime environment of the job does not apply.
    """
    constants: Any = sys.modules["ray"]._private.ray_constants
    previous, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    job_config = os.environ.pop(JOB_CONFIG, None)
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = previous
        if job_config is not None:
            os.environ[JOB_CONFIG] = job_config


def _set_token() -> None:
    """Make sure that this process and the Ray that it starts have the same token."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "ray" in sys.modules:  # which keeps what it has read
        native: Any = sys.modules["ray"]._raylet
        native.Config.initialize("")
        native.AuthenticationTokenLoader.instance().reset_cache()
