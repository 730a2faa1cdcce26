"""What a worker process runs: one trial after the other, each reported to the driver."""

import contextlib
import os
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import ray
from ray import tune

from results.record.columns import State
from search.engines.ray import messages
from search.engines.ray.messages import TrainTrial, WarmUp, config_of, to_ray
from search.errors import ProblemError
from search.plan import importer
from search.plan.task import FitArguments, Named, Task
from search.ray.checkpoint_server import CheckpointAccess
from search.ray.environment import ENVIRONMENT
from search.ray.nodes import TrialProcess, with_node_name
from search.ray.renewable import fetch
from search.space.parameters import FORMER_TRIAL, Space
from search.worker import process
from search.worker.data import Data
from search.worker.laps import BETWEEN, BUILD, DATA, IMPORT, LAPS, START

if TYPE_CHECKING:
    from search.worker.trial import TrialEnd

WARM_REPORT_SECONDS = 0.2

Content = Data | FitArguments
# Set when the scheduler has stopped the trial of this process, which has executions left.
_is_stopped = threading.Event()


def train(
    fields: dict[str, Any],
    *,
    task: Task,
    stored: "list[ray.ObjectRef[Content]]",
    checkpoints: CheckpointAccess,
    threads: int,
    gpu_share: float | None,
    home: str,
) -> None:
    """Run one trial in a worker process, which then waits, warm, for the next."""
    # A Ray that ran before has settings of its own: Tune reads this one when the trial ends.
    LAPS.lap(BETWEEN if process.is_set_up() else START)
    os.environ |= ENVIRONMENT
    config = config_of(fields)
    if isinstance(config, TrainTrial):
        _report(messages.Started(TrialProcess.of_this_process()))
    with contextlib.suppress(OSError):
        os.chdir(home)  # relative paths are the script's, not those of a folder of Ray's
        importer.search_current_folder()
    has_gpu = bool(ray.get_gpu_ids())
    process.set_up(threads=threads, sees_gpus=has_gpu, gpu_share=gpu_share)
    LAPS.lap(IMPORT)
    from search.worker.trial import TrialEnd

    try:
        if isinstance(config, WarmUp):
            _wait(config, task)
        else:
            lacks_gpu = has_gpu and process.lacks_gpu()
            end = _trial_end(config, task, stored[0], checkpoints, lacks_gpu=lacks_gpu)
    except ProblemError as error:
        end = TrialEnd.of_fatal_error(with_node_name(error))
    # The driver has ended a stopped trial already, unless it had executions left.
    if end.state is not State.STOPPED or task.executions_per_trial > 1:
        _report(messages.Ended(**vars(end)))
    # The way Ray Tune 2.60 ends a stopped function. Returned from, it would report once more and
    # wait for ever, so that its process could not be given to the next trial.
    raise SystemExit(0)


def be_told_to_stop(_trainable: Any) -> None:
    """Note that the scheduler has stopped the trial; the driver calls this in its process."""
    _is_stopped.set()


def _report(message: messages.Report) -> None:
    tune.report(to_ray(message))


def _wait(config: WarmUp, task: Task) -> NoReturn:
    """Wait until the driver ends it, by SystemExit."""
    if config.discovers:
        assert isinstance(task.hypermodel, Named)
        space = process.discover(task.hypermodel.reference)
        LAPS.lap(BUILD)
        _report(messages.Discovered(space.to_json()))
    while True:
        _report(messages.Waiting())
        time.sleep(WARM_REPORT_SECONDS)


def _trial_end(
    config: TrainTrial,
    task: Task,
    stored: "ray.ObjectRef[Content]",
    checkpoints: CheckpointAccess,
    *,
    lacks_gpu: bool,
) -> "TrialEnd":
    from search.worker.trial import run_trial

    data = fetch(stored)
    LAPS.lap(DATA)
    _report(messages.Ready(socket.gethostname() if lacks_gpu else None))
    _is_stopped.clear()
    # Hyperband trains on from another's weights.
    reads = [config.trial] if config.again else []
    reads += [int(config.values[FORMER_TRIAL])] if FORMER_TRIAL in config.values else []
    with checkpoints.open_for_trial(config.trial, reads) as folder:
        return run_trial(
            replace(task, epochs=config.epochs),
            data,
            trial=config.trial,
            values=config.values,
            retries=config.retries,
            report=_may_go_on,
            folder=folder,
            space=Space.from_json(config.space),
        )


def _may_go_on(report: dict[str, Any]) -> bool:
    """Report an epoch or a retry; False when the scheduler stops the trial."""
    if "retry" in report:
        _is_stopped.clear()
        _report(messages.Retried(report["retry"]))
        return True
    epoch = messages.Epoch(report, process.worker_name())
    try:
        _report(epoch)
    except SystemExit:  # how Ray Tune stops a function; fit is to return by itself
        return False
    return not (epoch.is_judged and _is_stopped.is_set())
