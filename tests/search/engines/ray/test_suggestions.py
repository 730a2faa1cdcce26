"""What is given out to be trained, in what order, and when there is no more."""

import pytest

from results.record.columns import Device, State
from search.engines.ray.messages import Ended, WarmUp
from search.engines.ray.suggestions import NoTrial
from search.errors import ProblemError
from search.space.parameters import Kind, Parameter, Space

GPUS = {"other_resources": {"gpu": 0.5}, "device_rule": "auto", "address": "auto", "gpus": 1.0}


def complete(engine, config):
    engine.epoch(config, 1)
    engine.tell(config, Ended(State.COMPLETED))


# --- Before the space is known ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        pytest.param({"workers": 3}, 3, id="one-for-each-trial-at-once"),
        pytest.param({"workers": 3, "trials": 2}, 2, id="no-more-than-there-are-trials"),
        pytest.param({"workers": 3, "trials": None}, 3, id="trials-without-end"),
        pytest.param({"workers": 3, "reuse_workers": False}, 1, id="those-not-kept-need-no-warmth"),
    ],
)
def test_each_worker_warms_up_and_the_first_discovers_the_space(make, asked, processes):
    engine = make(space=None, **asked)
    answers = [engine.suggestions.suggest(f"ray-{number}") for number in range(5)]
    warm = [WarmUp(Device.CPU, discovers_space=number == 0) for number in range(processes)]
    assert answers == warm + [NoTrial.FOR_NOW] * (5 - processes)


@pytest.mark.parametrize(
    ("asked", "device"),
    [
        ({"other_resources": {"gpu": 0.5}}, Device.GPU),
        (GPUS, Device.CPU),  # a rule may keep every trial from the GPU
    ],
)
def test_processes_warm_up_on_the_devices_of_the_trials(make, asked, device):
    assert make(space=None, **asked).suggestions.suggest("ray-0").device is device


# --- Trials -----------------------------------------------------------------------------------


def test_trials_are_numbered_and_recorded_when_they_are_handed_out(make):
    engine = make()
    configs = [engine.begun() for _ in range(2)]
    assert [config.trial for config in configs] == [0, 1]
    started = engine.recorded("trial_started")
    assert [event["values"] for event in started] == [config.values for config in configs]
    assert [event["epochs"] for event in started] == [9, 9]
    assert [config.epochs for config in configs] == [9, 9]
    assert configs[0].space == engine.state.open_session.searcher.space.to_json()
    assert engine.recorded("trial_placed") == []  # all are alike


def test_no_more_trials_are_handed_out_than_fit(make):
    engine = make()
    config = engine.begun()
    engine.begun()
    assert engine.suggestions.suggest("ray-2") is NoTrial.FOR_NOW
    complete(engine, config)
    assert engine.begun().trial == 2


def test_unfinished_trials_come_before_new_ones(make):
    engine = make()
    lost, _ = engine.begun(), engine.begun()
    engine.lose(lost)
    again = engine.begun()
    assert (again.trial, again.is_continued, again.values) == (lost.trial, True, lost.values)
    assert [event["trial"] for event in engine.recorded("trial_started")] == [0, 1]


def test_there_are_no_more_suggestions_once_all_trials_have_ended(make):
    engine = make(trials=2)
    config, other = engine.begun(), engine.begun()
    complete(engine, config)
    # The one that runs may lose its process, and be begun again.
    assert engine.suggestions.suggest("ray-2") is NoTrial.FOR_NOW
    engine.lose(other)
    again = engine.begun()
    assert again.trial == other.trial
    complete(engine, again)
    assert engine.suggestions.suggest("ray-4") is NoTrial.LEFT


def test_there_are_no_more_suggestions_when_every_configuration_has_been_tried(make):
    engine = make(trials=None)
    tried = []
    while (config := engine.suggestions.suggest("ray-0")) is not NoTrial.LEFT:
        tried.append(config.values["units"])
        engine.take("ray-0", config)
        complete(engine, config)
    assert len(set(tried)) == len(tried) > 30  # of 63, until draws collide too often


def test_no_second_trial_starts_until_the_first_has_registered_a_parameter(make):
    engine = make(space=Space(()))
    config = engine.begun()
    assert config.values == {}
    assert engine.suggestions.suggest("ray-1") is NoTrial.FOR_NOW
    units = Parameter("units", Kind.INT, 8, low=2, high=64)
    engine.epoch(config, 1, space=Space((units,)).to_json(), values={"units": 8})
    assert "units" in engine.begun().values


def test_a_space_that_stays_empty_is_exhausted_when_its_trial_has_ended(make):
    engine = make(space=Space(()))
    complete(engine, engine.begun())
    assert engine.suggestions.suggest("ray-1") is NoTrial.LEFT


# --- Devices ----------------------------------------------------------------------------------


def test_each_trial_is_recorded_with_the_device_that_suits_it(make):
    engine = make(trials=20, workers=4, **GPUS)
    engine.gpu_slots = 2
    engine.now = 10.0
    configs = [engine.begun() for _ in range(4)]
    for config, placed in zip(configs, engine.recorded("trial_placed"), strict=True):
        assert config.device is (Device.GPU if config.values["units"] > 8 else Device.CPU)
        assert (placed["trial"], placed["device"]) == (config.trial, config.device)
        assert placed["multiply_adds"] == config.values["units"]
    assert {config.device for config in configs} == {Device.CPU, Device.GPU}


def test_trials_that_wait_for_a_lost_gpu_are_handed_out_again(make):
    engine = make(trials=20, workers=4, **(GPUS | {"gpus": None}))
    engine.gpu_slots = 2
    engine.now = 10.0
    suggestions = engine.suggestions
    configs = {name: suggestions.suggest(name) for name in ("a", "b", "c")}
    on_gpu = [name for name, config in configs.items() if config.device is Device.GPU]
    assert on_gpu
    assert suggestions.stranded_ids() == []
    engine.gpu_slots = 0
    engine.now = 20.0
    suggestions.suggest("d")
    assert suggestions.stranded_ids() == on_gpu
    suggestions.requeue(on_gpu[0])
    assert suggestions.stranded_ids() == on_gpu[1:]
    again = suggestions.suggest("e")
    assert (again.trial, again.device, again.is_continued) == (
        configs[on_gpu[0]].trial,
        Device.CPU,
        True,
    )


def test_an_error_of_the_rule_is_passed_on(make, monkeypatch):
    engine = make(**GPUS)

    def place(values):
        raise ProblemError("--resources: no")

    monkeypatch.setattr(engine.suggestions, "place", place)
    with pytest.raises(ProblemError, match="--resources: no"):
        engine.suggestions.suggest("ray-0")
