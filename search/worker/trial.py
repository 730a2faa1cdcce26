"""Runs one trial: a keras-tuner search of a single configuration, with a reporter callback.

keras-tuner itself builds, checks, fits, retries, averages and evaluates the result of ``fit``, so
that a trial means the same as in keras-tuner. A tuner of the user's own class is copied for it.
Imports Keras: for workers only.
"""

import contextlib
from dataclasses import replace

import keras_tuner as kt

from results.record.columns import Values
from search.carry.carried import FitArguments
from search.errors import SearchError
from search.space.parameters import Space
from search.storage import scratch
from search.storage.folder import RunFolder
from search.worker.callbacks import Report, TrialStops
from search.worker.data import Data
from search.worker.single_trial import make_tuner
from search.worker.task import Task
from search.worker.training import TrialTraining
from search.worker.trial_end import TrialEnd, failed_end


def run_trial(
    task: Task,
    stored: Data | FitArguments,
    *,
    trial: int,
    values: Values,
    report: Report,
    folder: RunFolder | None,
    space: Space | None = None,
    retries: int = 0,
) -> TrialEnd:
    """Build and fit one configuration, and report every epoch.

    Args:
        task: The settings that all trials share.
        stored: The splits (the test split is not used), or the arguments of ``fit``.
        trial: Number of the trial; with the run's seed it determines all random numbers.
        values: The configuration.
        report: Called after each epoch with its metrics, and with the values and hyperparameters
            of build and fit if they are new; returns False to stop the trial. A
            report has the key ``returns`` if the end of the trial returns attributes. Also called
            with ``{"retry": error}`` when a failed trial starts again.
        folder: The run folder for the weights of the best epoch; None: save no weights.
        space: The space so far, by which TensorBoard names the values.
        retries: How often the trial has failed and started again before.

    Returns:
        How the trial ended. An error in the user's code is returned, not raised.
    """
    with scratch.temporary("trial-") as trial_folder:
        try:
            training = TrialTraining(
                task,
                stored,
                trial=trial,
                values=values,
                report=report,
                folder=folder,
                space=space,
                retries=retries,
                tuner=make_tuner(task, str(trial_folder)),
                scratch=str(trial_folder),
            )
            with contextlib.suppress(TrialStops):
                training.run()
            return replace(training.end(), returned=training.returned.take())
        except (SearchError, kt.errors.FatalError) as error:
            return TrialEnd.of_fatal_error(error)
        except Exception as error:
            return failed_end(error)
