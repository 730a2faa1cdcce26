"""What the recorder writes to the journal, and who gets to know of it and when."""

from dataclasses import dataclass, field

import pytest

from results.record.columns import Decision, Device, State
from results.record.history import History, Objective
from results.record.journal import Journal, read
from search.storage.recorder import Recorder

VALUES = {"units": 8}
REPORT = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": 0.8}}


@dataclass
class Recording:
    """A recorder on a clock that stands at 1.23456 s, and its journal."""

    path: object
    scheduler: str | None = "asha"
    listeners: list = field(default_factory=list)

    def __post_init__(self):
        self.history = History(Objective("val_accuracy", "max"))
        self.recorder = Recorder(
            Journal(self.path), self.history, self.listeners, clock=lambda: 1.23456,
            scheduler=self.scheduler,
        )  # fmt: skip

    def events(self):
        return [
            {name: value for name, value in event.items() if name not in ("version", "at_seconds")}
            for event in read(self.path).events
        ]


@pytest.fixture
def recording(tmp_path):
    return Recording(tmp_path / "journal.jsonl")


@pytest.mark.parametrize(
    ("record", "event"),
    [
        pytest.param(
            lambda recorder: recorder.search_started(run={"a": 1}),
            {"event": "search_started", "run": {"a": 1}},
            id="search_started",
        ),
        pytest.param(
            lambda recorder: recorder.search_resumed(run={"a": 1}),
            {"event": "search_resumed", "run": {"a": 1}},
            id="search_resumed",
        ),
        pytest.param(
            lambda recorder: recorder.earlier_trial(VALUES, 0.7, "runs/a"),
            {"event": "earlier_trial", "values": VALUES, "score": 0.7, "source": "runs/a"},
            id="earlier_trial",
        ),
        pytest.param(
            lambda recorder: recorder.trial_started(3, VALUES, epochs=9),
            {"event": "trial_started", "trial": 3, "values": VALUES, "epochs": 9},
            id="trial_started",
        ),
        pytest.param(
            lambda recorder: recorder.trial_started(3, VALUES),
            {"event": "trial_started", "trial": 3, "values": VALUES, "epochs": None},
            id="trial_started-without-epochs",
        ),
        pytest.param(
            lambda recorder: recorder.trial_placed(3, Device.GPU, 1200),
            {"event": "trial_placed", "trial": 3, "device": "gpu", "multiply_adds": 1200},
            id="trial_placed",
        ),
        pytest.param(
            lambda recorder: recorder.worker_lost(3, "killed", by_trial=True),
            {"event": "worker_lost", "trial": 3, "error": "killed", "by_trial": True},
            id="worker_lost",
        ),
        pytest.param(
            lambda recorder: recorder.epoch(3, REPORT, decision=Decision.STOP, worker="vm:1"),
            {"event": "epoch", "trial": 3, "decision": "stop", "worker": "vm:1", **REPORT},
            id="epoch",
        ),
        pytest.param(
            lambda recorder: recorder.trial_retried(3, "ValueError: once"),
            {"event": "trial_retried", "trial": 3, "error": "ValueError: once"},
            id="trial_retried",
        ),
        pytest.param(
            lambda recorder: recorder.trial_restarted(3),
            {"event": "trial_restarted", "trial": 3},
            id="trial_restarted",
        ),
        pytest.param(
            lambda recorder: recorder.trial_ended(3, State.FAILED, error="ValueError"),
            {"event": "trial_ended", "trial": 3, "state": "failed", "error": "ValueError"},
            id="trial_ended",
        ),
        pytest.param(
            lambda recorder: recorder.trial_ended(3, State.STOPPED),
            {"event": "trial_ended", "trial": 3, "state": "stopped", "scheduler": "asha"},
            id="trial_ended-by-the-scheduler",
        ),
        pytest.param(
            lambda recorder: recorder.space_grown([{"name": "units"}]),
            {"event": "space_grown", "parameters": [{"name": "units"}]},
            id="space_grown",
        ),
        pytest.param(
            lambda recorder: recorder.search_ended("trials done"),
            {"event": "search_ended", "reason": "trials done"},
            id="search_ended",
        ),
    ],
)
def test_each_event_is_written_with_its_fields(recording, record, event):
    record(recording.recorder)
    assert recording.events() == [event]


def test_an_event_has_the_time_of_the_search_to_a_millisecond(recording):
    recording.recorder.trial_started(0, VALUES)
    assert read(recording.path).events[0]["at_seconds"] == 1.235


def test_a_stopped_trial_of_a_search_without_scheduler_names_none(tmp_path):
    recording = Recording(tmp_path / "journal.jsonl", scheduler=None)
    recording.recorder.trial_ended(0, State.STOPPED)
    assert recording.events()[0]["scheduler"] is None


def test_a_listener_gets_an_event_that_journal_and_history_have_already(tmp_path):
    seen = []

    def listen(event):
        seen.append((event["event"], len(recording.events()), len(recording.history.trials)))

    recording = Recording(tmp_path / "journal.jsonl", listeners=[listen])
    recording.recorder.trial_started(0, VALUES)
    recording.recorder.trial_started(1, VALUES)
    assert seen == [("trial_started", 1, 1), ("trial_started", 2, 2)]


def test_a_later_listener_gets_the_events_from_then_on_after_the_others(tmp_path):
    first, second, order = [], [], []
    recording = Recording(
        tmp_path / "journal.jsonl", listeners=[lambda event: first.append(event["trial"])]
    )
    recording.recorder.trial_started(0, VALUES)
    recording.recorder.listen(lambda event: second.append(event["trial"]))
    recording.recorder.listen(lambda event: order.append((list(first), list(second))))
    recording.recorder.trial_started(1, VALUES)
    assert (first, second) == ([0, 1], [1])
    assert order == [([0, 1], [1])]


def test_an_event_that_cannot_be_written_changes_nothing(tmp_path):
    def refuse():
        raise RuntimeError("another driver")

    heard = []
    history = History(Objective("val_accuracy", "max"))
    journal = Journal(tmp_path / "journal.jsonl", guard=refuse)
    recorder = Recorder(journal, history, [heard.append], clock=lambda: 1.0)
    with pytest.raises(RuntimeError, match="another driver"):
        recorder.trial_started(0, VALUES)
    assert history.trials == {}
    assert heard == []


def test_the_end_of_a_search_interrupts_the_trials_that_run(recording):
    for trial in range(3):
        recording.recorder.trial_started(trial, VALUES)
    recording.recorder.trial_ended(1, State.COMPLETED)
    recording.recorder.search_ended("time budget spent")
    ends = [(event["event"], event.get("trial")) for event in recording.events()[4:]]
    assert ends == [("trial_ended", 0), ("trial_ended", 2), ("search_ended", None)]
    states = [trial.state for trial in recording.history.trials.values()]
    assert states == [State.INTERRUPTED, State.COMPLETED, State.INTERRUPTED]
