"""The environment variables that Ray reads, set before Ray is imported and started."""

import os
import secrets
import sys

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
# Under ``uv run``, Ray 2.60 would ignore ``py_executable`` and start each worker with uv.
WITHOUT_UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def prepare_environment(address: str | None = None) -> None:
    """Set the environment variables that Ray reads; call before Ray is imported.

    Args:
        address: The Ray cluster that will be joined. None: this process starts its own Ray. Its
            ports are on loopback (unless Ray was imported before), and a token known only to this
            process guards them from other users of the machine. No token is written to disk.
    """
    os.environ.update(ENVIRONMENT)
    if address is None:
        # Ray keeps the first token that it reads: use one for the life of this process.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray" in sys.modules:  # too late for the variables that its import reads
        return
    if address is None:
        # Inside a Ray job: its runtime environment must not apply to a Ray of our own.
        os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
        os.environ |= ON_LOOPBACK | WITHOUT_UV | {"RAY_AUTH_MODE": "token"}
    # If a driver's parent is process 1 (in a container, under nohup), Ray 2.60 takes the driver for
    # the child of a dead raylet and ends it silently. This variable names its raylet.
    os.environ[RAYLET_PID] = str(os.getpid())
    import ray  # noqa: F401

    del os.environ[RAYLET_PID]  # Ray's own processes must find their real raylet
