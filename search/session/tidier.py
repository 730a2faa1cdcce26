"""Removes the files of trials that nobody needs any more."""

from results.record.history import History
from results.record.journal import Event
from search.storage.folder import RunFolder


class Tidier:
    """Removes an ended trial's state, and the weights of those that are not among the best.

    Args:
        folder: The run.
        history: Brought up to date before an event comes here.
        kept: So many of the best keep their weights; None: all do.
    """

    def __init__(self, folder: RunFolder, history: History, kept: int | None) -> None:
        self._folder = folder
        self._history = history
        self._kept = kept
        # Those that may have weights: of thousands of trials, the few that it is worth to look at.
        self._holders = set(history.trials)

    def __call__(self, event: Event) -> None:
        number = event.get("trial")
        if event["event"] == "trial_started":
            self._folder.forget(event["trial"])  # of one whose record was lost
        if number is not None:
            self._holders.add(number)
        if event["event"] != "trial_ended":
            return
        if not self._history.trials[event["trial"]].is_unfinished:
            self._folder.forget_state(event["trial"])
        if self._kept is not None:
            self._forget_weights(self._kept)

    def _forget_weights(self, kept: int) -> None:
        for trial in self._history.ranked(self._holders)[kept:]:
            if not trial.is_unfinished:
                self._folder.forget_weights(trial.trial)
                self._holders.discard(trial.trial)
