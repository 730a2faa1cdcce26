"""What goes between the driver and a process arrives as it was sent."""

import pytest

from results.record.columns import Device, State
from search.engines.ray.messages import (
    Discovered,
    Ended,
    Epoch,
    Ready,
    Retried,
    Started,
    TrainTrial,
    Waiting,
    WarmUp,
    decode_config,
    decode_report,
    encode,
)
from search.ray.nodes import TrialProcess

CONFIGS = [
    TrainTrial(
        trial=3,
        values={"units": 8, "rate": 0.1, "on": True, "kind": "a/b", "none": None},
        epochs=None,
        device=Device.GPU,
        space=[{"name": "units", "choices": [1, 2]}],
        is_continued=True,
        retries=2,
    ),
    WarmUp(Device.CPU, discovers_space=True),
]
REPORTS = [
    Started(TrialProcess("host:1", "node", 1, oom_kills=4)),
    Ready("host"),
    Ready(),
    Epoch({"epoch": 1, "metrics": {"loss": 0.1 + 0.2, "acc": None}, "objective": None}, "host:1"),
    Epoch({"epoch": 2}, "host:1", ["a line", ""], is_end_reported=True),
    Retried("ValueError: no", ["a line"]),
    Ended(
        State.OUT_OF_MEMORY,
        "error",
        "traceback",
        "ProblemError",
        {"score": 0.5},
        {"A": {"b": [1]}},
        ["a line"],
    ),
    Waiting(),
    Discovered([{"name": "units"}]),
]


@pytest.mark.parametrize(
    ("message", "read"),
    [(config, decode_config) for config in CONFIGS]
    + [(report, decode_report) for report in REPORTS],
)
def test_a_message_arrives_as_it_was_sent(message, read):
    sent = encode(message)
    # Ray Tune flattens what is nested, and adds fields of its own.
    assert {type(value) for value in sent.values()} == {str}
    received = read(sent | {"trial_id": "x", "training_iteration": 1})
    assert received == message
    for name, value in vars(message).items():
        assert type(getattr(received, name)) is type(value)


def test_the_scheduler_decides_on_the_first_execution_alone():
    assert Epoch({"epoch": 1}, "w").is_judged
    assert not Epoch({"epoch": 1, "execution": 1}, "w").is_judged
