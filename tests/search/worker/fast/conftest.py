"""What the tests of the fast epoch share: all need Keras, and the modules beside this file."""

import sys
from pathlib import Path

import pytest

# For the modules beside this file, whose tests are not a package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _keras(keras_is_imported):
    """Tracing creates much garbage, whose collection would look at the imports each time."""


@pytest.fixture
def float64():
    """Keras computes in float64."""
    from on_both_paths import in_float64

    with in_float64():
        yield
