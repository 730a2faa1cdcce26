"""The nodes of a Ray; a Ray that runs is listed in jobs/test_job_server.py."""

import json

import pytest

from cluster.errors import ClusterError
from cluster.nodes import Node, live_nodes, missing_hosts, poll_nodes, printed_nodes

HERE = Node("127.0.0.1", 1.0, 0.0, 2.5)
THERE = Node("10.0.0.2", 4.0, 1.0, 8.0)


# --- Clusters that do not answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "[Errno 111] Connection refused"),
        ("127.0.0.1", "invalid literal for int() with base 10: '127.0.0.1'"),
        ("127.0.0.1:a", "invalid literal for int() with base 10: 'a'"),
    ],
)
def test_an_address_at_which_nothing_listens_is_one_line(address, reason):
    with pytest.raises(ClusterError) as error:
        live_nodes(address)
    assert str(error.value) == (
        f"--address {address!r}: no Ray cluster answers ({reason}): expected the HOST:PORT of a "
        "head. Start one with `ray start --head`. (The Ray that a search starts for itself cannot "
        "be joined.)"
    )


# --- Printed nodes ------------------------------------------------------------------------------


def test_printed_nodes_are_read_among_the_lines_of_a_login():
    table = json.dumps([vars(HERE), vars(THERE)], indent=2)
    assert printed_nodes(f"welcome\n[1] 123\n{table}\nbye\n") == [HERE, THERE]


@pytest.mark.parametrize("output", ["", "error: no Ray cluster answers\n", "[1] 123\n"])
def test_an_output_without_a_list_has_no_nodes(output):
    assert printed_nodes(output) == []


def test_an_empty_list_has_no_nodes():
    assert printed_nodes("[]\n") == []


# --- Missing hosts ------------------------------------------------------------------------------


def test_a_host_is_missing_unless_a_node_has_one_of_its_addresses():
    hosts = ["localhost", "127.0.0.2", "no.such.host", "127.0.0.1"]
    assert missing_hosts(hosts, [HERE]) == ["127.0.0.2", "no.such.host"]


def test_a_node_that_is_listed_by_its_name_is_not_missing():
    assert missing_hosts(["no.such.host"], [Node("no.such.host", 1, 0, 1.0)]) == []


# --- Waiting ------------------------------------------------------------------------------------


@pytest.fixture
def lines():
    """What is said while nodes are waited for, a line each."""
    return []


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr("cluster.nodes.POLL_SECONDS", 0.0)


def looks(*listings):
    """Return the listings one after the other; a look too many fails."""
    remaining = iter(listings)
    return lambda: next(remaining)


def test_nodes_are_waited_for_until_they_are_enough_and_each_increase_is_said(lines):
    listings = looks([], [HERE], [HERE], [HERE, THERE])
    assert poll_nodes(listings, 2, lines.append, seconds=600) == [HERE, THERE]
    assert lines == ["1 of 2 nodes have joined", "2 of 2 nodes have joined"]


def test_a_node_that_is_lost_and_back_is_not_said_again(lines):
    poll_nodes(looks([HERE], [], [HERE], [HERE, THERE]), 2, lines.append, seconds=600)
    assert lines == ["1 of 2 nodes have joined", "2 of 2 nodes have joined"]


def test_more_nodes_than_expected_are_enough(lines):
    assert poll_nodes(looks([HERE, THERE]), 1, lines.append, seconds=600) == [HERE, THERE]


def test_waiting_ends_with_the_nodes_that_have_joined_when_the_time_is_over(lines):
    assert poll_nodes(looks([HERE]), 2, lines.append, seconds=0) == [HERE]


def test_waiting_ends_early_when_there_is_no_reason_to_wait(lines):
    over = looks(False, False, True)
    nodes = poll_nodes(looks([], [HERE], [HERE]), 2, lines.append, seconds=600, is_over=over)
    assert nodes == [HERE]
    assert lines == ["1 of 2 nodes have joined"]


def test_nodes_are_looked_at_once_even_if_waiting_is_over(lines):
    nodes = poll_nodes(looks([HERE]), 2, lines.append, seconds=600, is_over=lambda: True)
    assert nodes == [HERE]
