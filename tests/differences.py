"""Tests that compare both, and the list of what differs on purpose.

``make docs`` writes the table of docs/keras-tuner.md from that list.
"""

import functools
import tomllib
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "search" / "same" / "differences.toml"
PAGE = Path(__file__).parents[1] / "docs" / "keras-tuner.md"
BEGIN, END = "<!-- begin: made by make docs -->\n", "<!-- end -->\n"
HEAD = "| | in keras-tuner | here | why |\n| --- | --- | --- | --- |\n"


# The scenarios of the short tier, each kind of behaviour once. A scenario costs some seconds.
SHORT = {"black_box", "failing", "grid", "own_oracle", "scored", "trained"}


def read():
    """Return the differences by their names."""
    return tomllib.loads(FILE.read_text())


def same(scenario):
    """Make a test of a case: what it returns of both outcomes of a scenario is equal."""

    def decorate(case):
        @functools.wraps(case)
        def test(searched):
            theirs, ours = searched(scenario)
            _raise_unexpected(theirs, case)
            expected = case(theirs)
            _raise_unexpected(ours, case)
            assert case(ours) == expected

        return _in_its_tier(test, scenario)

    return decorate


def different(scenario):
    """Make a test of a case that differs on purpose: it does so, or the list is out of date."""

    def decorate(case):
        @functools.wraps(case)
        def test(searched):
            theirs, ours = searched(scenario)
            assert case(ours) != case(theirs)

        return _in_its_tier(test, scenario)

    return decorate


def _raise_unexpected(outcome, case):
    if outcome.error is not None and "error" not in case.__code__.co_names:
        raise outcome.error


def _in_its_tier(test, scenario):
    del test.__wrapped__  # pytest reads the fixtures from the signature
    return test if scenario.__name__ in SHORT else pytest.mark.long(test)


def page():
    """Return the page for a keras-tuner user with the table of the differences."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = "".join(
        f"| {row['what']} | {row['keras-tuner']} | {row['here']} | {row['why']} |\n"
        for row in read().values()
    )
    return before + BEGIN + HEAD + rows + END + after


if __name__ == "__main__":
    PAGE.write_text(page())
