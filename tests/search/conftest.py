"""What tests of several folders of the search share."""

import pytest


@pytest.fixture
def one_thread():
    """Limit linear algebra to one thread: on small matrices, several threads wait for each other."""
    import sklearn.gaussian_process  # noqa: F401  # loads the libraries that are limited
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
        yield
