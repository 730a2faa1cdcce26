"""ASHA's decisions, where a trial that is stopped has more to say before it ends."""

from typing import Any


class _Stopped:
    """Runs in a process of its own: which trials ASHA has stopped."""

    def __init__(self) -> None:
        self._trials: set[int] = set()

    def add(self, trial: int) -> None:
        self._trials.add(trial)

    def discard(self, trial: int) -> None:
        self._trials.discard(trial)

    def holds(self, trial: int) -> bool:
        return trial in self._trials


class Verdicts:
    """Tells a trial that it is stopped without Ray Tune ending it, so that it can say more."""

    def __init__(self) -> None:
        import ray

        self._stopped: Any = (
            # Begun anew it has forgotten; a stopped trial is then stopped at its next epoch.
            ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Stopped).remote()
        )

    def stop(self, trial: int) -> None:
        """Stop a trial; it has been told before Ray lets it go on."""
        import ray

        ray.get(self._stopped.add.remote(trial))

    def clear(self, trial: int) -> None:
        """Let a trial that begins again be judged anew."""
        import ray

        ray.get(self._stopped.discard.remote(trial))

    def may_go_on(self, trial: int) -> bool:
        """Tell whether a trial may train another epoch."""
        import ray

        return not ray.get(self._stopped.holds.remote(trial))
