"""The function that a worker process runs for each of its trials."""

import contextlib
import os
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import ray
from ray import tune

from results.record.columns import State
from search.carry.carried import FitArguments
from search.engines.ray import messages
from search.engines.ray.messages import TrainTrial, WarmUp, decode_config, encode
from search.errors import ProblemError
from search.plan import importer
from search.ray.checkpoint_server import CheckpointAccess
from search.ray.environment import ENVIRONMENT
from search.ray.nodes import TrialProcess, with_node_name
from search.ray.renewable import fetch
from search.space.parameters import PARENT_TRIAL, Space
from search.worker import process
from search.worker.data import Data
from search.worker.laps import BETWEEN, BUILD, DATA, IMPORT, LAPS, START
from search.worker.printed import PrintedLines
from search.worker.task import NamedObject, Task

if TYPE_CHECKING:
    from search.worker.trial_end import TrialEnd

WARM_REPORT_SECONDS = 0.2

Content = Data | FitArguments
# Set when the scheduler has stopped this process's trial, which has executions left.
_stop_requested = threading.Event()
# Set when Ray Tune has ended this process's trial: it hears no further report, and waits for ever.
_is_ended = threading.Event()


def train(
    fields: dict[str, Any],
    *,
    task: Task,
    stored: "list[ray.ObjectRef[Content]]",
    checkpoints: CheckpointAccess,
    threads: int,
    gpu_share: float | None,
    working_folder: str,
) -> None:
    """Run one trial in a worker process, which then waits, warm, for the next.

    Args:
        fields: The config, as Ray Tune carries it.
        task: What each trial trains.
        stored: Reference to the data or the arguments of ``fit``, in a list.
        checkpoints: Gives access to the checkpoints of the run.
        threads: CPU threads of the process.
        gpu_share: Share of a GPU that a trial takes; None: no GPU.
        working_folder: The driver's current folder.
    """
    LAPS.lap(BETWEEN if process.is_set_up() else START)
    # A Ray that ran before has other settings; Tune reads this one when the trial ends.
    os.environ |= ENVIRONMENT | (task.script.environment if task.script else {})
    _is_ended.clear()
    config = decode_config(fields)
    if isinstance(config, TrainTrial):
        _report(messages.Started(TrialProcess.of_this_process()))
    with contextlib.suppress(OSError):
        os.chdir(working_folder)  # relative paths refer to the script's folder, not Ray's
        importer.add_current_folder_to_path()
    has_gpu = bool(ray.get_gpu_ids())
    process.set_up(threads=threads, sees_gpus=has_gpu, gpu_share=gpu_share)
    LAPS.lap(IMPORT)
    from search.worker import script
    from search.worker.trial_end import TrialEnd

    printed = PrintedLines()
    try:
        script.take_over(task.script)
        if isinstance(config, WarmUp):
            _warm_up(config, task)
        else:
            lacks_gpu = has_gpu and process.lacks_gpu()
            with contextlib.redirect_stdout(printed):
                end = _run_trial(config, task, stored[0], checkpoints, printed, lacks_gpu=lacks_gpu)
    except ProblemError as error:
        end = TrialEnd.of_fatal_error(with_node_name(error))
    # The driver has already ended a stopped trial, unless it has executions left or returns
    # attributes.
    has_more = task.executions_per_trial > 1 or end.returned is not None
    if end.state is not State.STOPPED or has_more:
        _report(messages.Ended(**vars(end), printed=printed.take_rest()))
    # Ray Tune 2.60 ends a stopped function by SystemExit. If this function returned, Tune would
    # report once more and wait for ever, and no other trial could use its process.
    raise SystemExit(0)


def set_stop_flag(_trainable: Any) -> None:
    """Note that the scheduler has stopped the trial; the driver calls this in the process."""
    _stop_requested.set()


def _report(message: messages.Report) -> None:
    """Report to the driver.

    Raises:
        SystemExit: Ray Tune ends the trial, or has ended it before.
    """
    if _is_ended.is_set():  # code of the user went on after the end, and failed
        raise SystemExit(0)
    try:
        tune.report(encode(message))
    except SystemExit:
        _is_ended.set()
        raise


def _warm_up(config: WarmUp, task: Task) -> NoReturn:
    """Discover the space if told to, then wait until the driver ends this by SystemExit."""
    if config.discovers_space:
        assert isinstance(task.hypermodel, NamedObject)
        space = process.discover(task.hypermodel.reference)
        LAPS.lap(BUILD)
        _report(messages.Discovered(space.to_json()))
    while True:
        _report(messages.Waiting())
        time.sleep(WARM_REPORT_SECONDS)


def _run_trial(
    config: TrainTrial,
    task: Task,
    stored: "ray.ObjectRef[Content]",
    checkpoints: CheckpointAccess,
    printed: PrintedLines,
    *,
    lacks_gpu: bool,
) -> "TrialEnd":
    from search.worker.trial import run_trial

    data = fetch(stored)
    LAPS.lap(DATA)
    _report(messages.Ready(socket.gethostname() if lacks_gpu else None))
    _stop_requested.clear()
    read_trials = [config.trial] if config.is_continued else []
    if PARENT_TRIAL in config.values:  # Hyperband starts from the weights of this trial
        read_trials.append(int(config.values[PARENT_TRIAL]))
    with checkpoints.open_for_trial(config.trial, read_trials) as folder:
        return run_trial(
            replace(task, epochs=config.epochs),
            data,
            trial=config.trial,
            values=config.values,
            retries=config.retries,
            report=partial(_report_progress, printed=printed),
            folder=folder,
            space=Space.from_json(config.space),
        )


def _report_progress(report: dict[str, Any], *, printed: PrintedLines) -> bool:
    """Report an epoch or a retry; return False when the scheduler stops the trial."""
    if "retry" in report:
        _stop_requested.clear()
        _report(messages.Retried(report["retry"], printed.take()))
        return True
    returns = report.pop("returns", False)
    epoch = messages.Epoch(report, process.worker_name(), printed.take(), is_end_reported=returns)
    try:
        _report(epoch)
    except SystemExit:  # raised by Ray Tune to stop a function; let fit return by itself
        return False
    return not (epoch.is_judged and _stop_requested.is_set())
