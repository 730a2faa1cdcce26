"""Which device suits a model: by the rule here, or by one of the user's own."""

import pytest

from results.record.columns import Device
from search.engines.ray.placement.rule import GPU_FROM_MULTIPLY_ADDS, Judgement, judge
from search.errors import ProblemError

CPU, GPU = Device.CPU, Device.GPU


def test_small_models_suit_a_cpu_and_large_ones_a_gpu():
    assert judge("auto", {}, GPU_FROM_MULTIPLY_ADDS - 1) == Judgement(
        CPU, GPU_FROM_MULTIPLY_ADDS - 1
    )
    assert judge("auto", {}, GPU_FROM_MULTIPLY_ADDS).device is GPU
    assert judge("auto", {}, None) == Judgement(CPU)


def test_a_rule_of_ones_own_is_asked_and_must_name_a_device():
    assert judge("on_devices:small_to_gpu", {"units": 8}, 56).device is GPU
    with pytest.raises(
        ProblemError, match=r"'on_devices:nowhere' returned 'tpu' .* expected 'cpu' or 'gpu'"
    ):
        judge("on_devices:nowhere", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'on_devices:lost' raised KeyError"):
        judge("on_devices:lost", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'no_such:rule': cannot import"):
        judge("no_such:rule", {}, 1)
