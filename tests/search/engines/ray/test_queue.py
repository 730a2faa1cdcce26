"""Which trial is given to a device that is free."""

from collections import deque

import hypothesis.strategies as st
from hypothesis import given

from results.record.columns import Device
from search.engines.ray.placement.rule import Placement
from search.engines.ray.suggestions import DRAWN_AHEAD, QueuedTrial, TrialQueue

CPU, GPU = Device.CPU, Device.GPU


def queue(devices, *, has_gpus=lambda: True):
    """A queue that draws trials which suit these devices, and those it has drawn."""
    left = deque(enumerate(devices))
    drawn = []

    def draw():
        if not left:
            return None
        trial, device = left.popleft()
        drawn.append(trial)
        return QueuedTrial(trial, {}, 1, Placement(device))

    return TrialQueue(draw, has_gpus=has_gpus), drawn


DEVICES = st.lists(st.sampled_from([CPU, GPU]), max_size=40)
FREE = st.lists(st.lists(st.sampled_from([CPU, GPU]), unique=True, max_size=2), max_size=60)


@given(DEVICES, FREE)
def test_each_trial_is_handed_out_once_and_the_longest_waiting_first(devices, asked):
    trials, drawn = queue(devices)
    given_out = {CPU: [], GPU: []}
    for free in asked:
        taken = trials.take(free)
        if taken is None:
            # None is kept waiting for a device that is free, unless enough wait for the other.
            waiting = [n for n in drawn if n not in given_out[CPU] + given_out[GPU]]
            assert not any(devices[n] in free for n in waiting)
            assert not free or len(waiting) == DRAWN_AHEAD or len(drawn) == len(devices)
            continue
        one, device = taken
        assert device in free
        assert devices[one.trial] is device
        given_out[device].append(one.trial)
    for numbers in given_out.values():
        assert numbers == sorted(numbers)
    assert len(drawn) - sum(map(len, given_out.values())) == len(trials) <= DRAWN_AHEAD


def test_without_a_gpu_every_trial_runs_on_cpus_waiting_ones_too():
    there = True
    trials, _ = queue([GPU, GPU, CPU], has_gpus=lambda: there)
    assert trials.take([CPU])[0].trial == 2
    there = False
    assert [trials.take([CPU])[0].trial for _ in range(2)] == [0, 1]
    assert trials.take([CPU]) is None
