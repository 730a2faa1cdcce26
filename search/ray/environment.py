"""What Ray reads from the environment when it is imported and started, set before it is."""

import os
import secrets
import sys

# Found by running Ray 2.60: all of these are read when Ray is imported or started.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Our own journal is the record; Ray's loggers would write five files a trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # The report that ends a trial carries no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A stopped trial may be inside an epoch: its process is reused when that has ended.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Paragraphs on what a trial's line says: which process was lost, and why.
    "RAY_DEDUP_LOGS_SKIP_REGEX": (
        "A worker died or was killed|low on memory|has been marked dead|Raylet is terminated"
    ),
}

RAYLET_PID = "RAY_RAYLET_PID"
# Ray 2.60 takes this machine's address in the network for its own on Linux, and then listens on
# all; this makes it do as it does on Windows and macOS (ray/_private/services.py).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Under ``uv run`` Ray 2.60 would start each worker by uv, whatever it is told to start it by.
NOT_BY_UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def prepare_environment(address: str | None = None) -> None:
    """Set what Ray reads from the environment; call before Ray is imported.

    Args:
        address: The Ray that will be joined; None: one of this process. All its ports are on
            loopback, unless Ray was imported before; a token of this process alone guards them
            from the other users of the machine, and none is left in the user's home.
    """
    os.environ.update(ENVIRONMENT)
    if address is None:
        # Ray keeps the token that it saw first: one for the life of this process.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray" in sys.modules:  # what is read when it is imported is settled
        return
    if address is None:
        # In a job of Ray's: what it brings to nodes is not for a Ray of our own.
        os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
        os.environ |= ON_LOOPBACK | NOT_BY_UV | {"RAY_AUTH_MODE": "token"}
    # A driver whose parent is process 1 (in a container, under nohup) Ray 2.60 takes for the child
    # of a raylet that has ended, and ends it without a word. By this name it looks for ours.
    os.environ[RAYLET_PID] = str(os.getpid())
    import ray  # noqa: F401

    del os.environ[RAYLET_PID]  # Ray's own processes must look for their own
