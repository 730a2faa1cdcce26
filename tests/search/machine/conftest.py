"""Real limits, for tests that need some."""

import pytest
from limited_machines import Groups


@pytest.fixture
def groups():
    """Make real control groups: ``groups({("memory", "memory.limit_in_bytes"): "1000000000"})``.

    A test that needs them is skipped where none can be made: they need root, and version 1. Version
    2 is read in trees of files.
    """
    made = []

    def make(limits):
        try:
            made.append(Groups(limits))
        except OSError:
            pytest.skip("no control group of version 1 can be made: run the tests as root")
        return made[-1]

    yield make
    for each in made:
        each.remove()
