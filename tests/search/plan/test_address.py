"""Addresses of Ray, as users give them."""

import pytest

from search.errors import UsageError
from search.plan.address import cluster_address


@pytest.mark.parametrize("text", [None, "", "  ", "local", "LOCAL", " local "])
def test_local_and_nothing_are_a_ray_of_this_machine_alone(text):
    assert cluster_address(text, "--address") is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("auto", "auto"),
        ("AUTO", "auto"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        (" head:6379 ", "head:6379"),
        ("[::1]:6379", "[::1]:6379"),
    ],
)
def test_the_address_of_a_cluster_is_taken_as_it_is(text, address):
    assert cluster_address(text, "--address") == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ray://head:10001", "does not run through Ray Client. Give the HOST:PORT that `ray start"),
        ("http://head:8265", "fmnist-cluster submit --address http://head:8265 -- run"),
        ("junk", "'junk': expected HOST:PORT of a Ray cluster, auto for"),
        ("head", "expected HOST:PORT"),
        (":6379", "expected HOST:PORT"),
        ("head:", "expected HOST:PORT"),
        ("head:0", "expected HOST:PORT"),
        ("head:65536", "expected HOST:PORT"),
        ("other://head:6379", "expected HOST:PORT"),
    ],
)
def test_any_other_address_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError) as raised:
        cluster_address(text, "--address (or RAY_ADDRESS)")
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"--address (or RAY_ADDRESS) {text!r}")
    assert "\n" not in str(raised.value)
