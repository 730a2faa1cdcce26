"""Whole searches in this process: a searcher, ASHA and a run folder, with nothing that trains."""

from made_up_runs import ACCURACY, EPOCHS, make_plan

from results.record.columns import Decision, State
from results.record.files import write_json
from results.record.journal import Journal
from search.algorithms.base import Pause
from search.session.origin import teach_searcher
from search.session.run_file import describe
from search.space.parameters import Kind, Parameter, Space
from search.storage.recorder import Recorder

SPACE = Space(
    (
        Parameter("units", Kind.INT, 8, low=2, high=64),
        Parameter("rate", Kind.FLOAT, 1e-3, low=1e-4, high=1e-1, sampling="log"),
        Parameter("activation", Kind.CHOICE, "relu", choices=("relu", "tanh"), ordered=False),
    )
)
# Units go only to 32, the activation is gone, dropout is new.
CHANGED_SPACE = Space(
    (
        Parameter("units", Kind.INT, 8, low=2, high=32),
        SPACE.parameters[1],
        Parameter("dropout", Kind.FLOAT, 0.0, low=0.0, high=0.5),
    )
)
TRIALS, WORKERS = 7, 2


def objective_value(trial, epoch):
    """Return the objective of an epoch: a learning curve of its own for each trial."""
    return round(((trial * 37) % 11) / 20 + 0.4 * epoch / (epoch + 1 + trial % 3), 6)


class MadeUpSearch:
    """A search as the driver runs it, two trials at a time.

    Args:
        folder: The run folder.
        searcher: Chooses the configurations.
        history: Empty, or that of the previous run.
        previous: The run that is resumed; None: a new run.
    """

    def __init__(self, folder, searcher, history, *, previous=None):
        from search.engines.ray.schedulers import AshaScheduler  # imports Ray

        self.searcher, self.history = searcher, history
        self.asha = AshaScheduler(mode="max", max_epochs=EPOCHS, grace_period=1, reduction_factor=3)
        if previous is not None:
            assert list(teach_searcher(searcher, previous)) == []
            self.asha.replay(history)
        self._journal = Journal(folder.journal_file)
        clock = (lambda: previous.seconds) if previous else (lambda: 0.0)
        self._recorder = Recorder(
            self._journal, history, [searcher.observe], clock=clock, scheduler="asha"
        )
        description = describe(make_plan(folder.path), SPACE)
        if previous is None:
            write_json(folder.run_file, description)
            self._recorder.search_started(run=description)
        else:
            self._recorder.search_resumed(run=description)
            for trial in history.unfinished():
                if trial.was_told_to_stop:
                    self._recorder.trial_ended(trial.trial, State.STOPPED)
                else:
                    self._recorder.trial_restarted(trial.trial)

    def run(self):
        """Train every trial, an epoch of each in turn; return the history."""
        while True:
            running = self.history.running()
            while len(running) < WORKERS and self.history.next_trial < TRIALS:
                number = self.history.next_trial
                values = self.searcher.propose(number)
                assert values is not Pause.WAIT
                self._recorder.trial_started(number, values, epochs=EPOCHS)
                running = self.history.running()
            if not running:
                break
            for trial in running:
                self._train(trial)
        self._recorder.search_ended("trials done")
        self._journal.close()
        return self.history

    def _train(self, trial):
        epoch, number = len(trial.epochs) + 1, trial.trial
        if epoch > EPOCHS:  # its last epoch was recorded, its end was not
            self._recorder.trial_ended(number, State.COMPLETED)
            return
        value = objective_value(number, epoch)
        decision = self.asha.judge(number, epoch, value, last_epoch=EPOCHS)
        report = {
            "epoch": epoch,
            "epoch_seconds": 1.0,
            "metrics": {ACCURACY.name: value, "loss": 1.0},
        }
        self._recorder.epoch(number, report, decision=decision, worker="w")
        if decision is Decision.STOP:
            self._recorder.trial_ended(number, State.STOPPED)
        elif epoch == EPOCHS:
            self._recorder.trial_ended(number, State.COMPLETED)


def outcome(history):
    """Return of each trial its configuration, its end, and the value and decision of each epoch."""
    return {
        trial.trial: (trial.values, trial.state, [(e.epoch, e.objective, e.decision) for e in trial.epochs])
        for trial in history.trials.values()
    }  # fmt: skip
