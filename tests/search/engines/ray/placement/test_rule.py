"""Which device suits a model: by the rule here, or by one of the user's own."""

import pytest

from results.record.columns import Device
from search.engines.ray.placement.rule import GPU_FROM_MULTIPLY_ADDS, Placement, apply_rule
from search.errors import ProblemError

CPU, GPU = Device.CPU, Device.GPU


def test_small_models_suit_a_cpu_and_large_ones_a_gpu():
    assert apply_rule("auto", {}, GPU_FROM_MULTIPLY_ADDS - 1) == Placement(
        CPU, GPU_FROM_MULTIPLY_ADDS - 1
    )
    assert apply_rule("auto", {}, GPU_FROM_MULTIPLY_ADDS).device is GPU
    assert apply_rule("auto", {}, None) == Placement(CPU)


def test_a_custom_rule_chooses_the_device_and_an_invalid_one_is_named():
    assert apply_rule("on_devices:small_to_gpu", {"units": 8}, 56).device is GPU
    with pytest.raises(
        ProblemError, match=r"'on_devices:nowhere' returned 'tpu' .* expected 'cpu' or 'gpu'"
    ):
        apply_rule("on_devices:nowhere", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'on_devices:lost' raised KeyError"):
        apply_rule("on_devices:lost", {}, 1)
    with pytest.raises(ProblemError, match="--resources 'no_such:rule': there is no module"):
        apply_rule("no_such:rule", {}, 1)
