"""A Ray that is lost is started again, with the data in its memory."""

from contextlib import contextmanager

import pytest
import ray as ray_itself

from search.errors import RayLostError
from search.ray.renewable import RenewableRay


class MadeUpRay:
    """Counts how often Ray was started and ended; its data are numbered in the same way."""

    def __init__(self):
        self.started = self.ended = 0
        self.notes = []

    @contextmanager
    def start(self):
        self.started += 1
        yield
        self.ended += 1

    def renewable(self):
        return RenewableRay(self.start, lambda: f"data {self.started}", say=self.notes.append)


class Search:
    """A search that loses its Ray, after some progress each time.

    Args:
        progress: How many epochs are trained before each loss; then the search ends.
    """

    def __init__(self, *progress):
        self.left = list(progress)
        self.epochs = 0
        self.data = []

    def __call__(self, stored):
        self.data.append(stored)
        if self.left:
            self.epochs += self.left.pop(0)
            raise RayLostError("Ray has ended")

    def run_on(self, ray):
        ray.run_search(self, lambda: self.epochs)


@pytest.fixture
def made_up(monkeypatch):
    """A Ray that this process starts, whatever runs in it for other tests."""
    monkeypatch.setattr(ray_itself, "is_initialized", lambda: False)
    return MadeUpRay()


def test_a_search_runs_on_the_data_of_the_started_ray(made_up):
    search = Search()
    with made_up.renewable() as ray:
        search.run_on(ray)
    assert search.data == ["data 1"]
    assert (made_up.started, made_up.ended, made_up.notes) == (1, 1, [])


def test_a_lost_ray_is_started_again_with_the_data(made_up):
    search = Search(1)
    with made_up.renewable() as ray:
        search.run_on(ray)
    assert search.data == ["data 1", "data 2"]
    assert (made_up.started, made_up.ended) == (2, 2)
    assert made_up.notes == ["Ray has ended: Ray is started again, and unfinished trials continue"]


def test_a_search_that_makes_progress_may_lose_its_ray_without_limit(made_up):
    search = Search(1, 2, 1, 1)
    with made_up.renewable() as ray:
        search.run_on(ray)
    assert made_up.started == 5


def test_one_loss_without_progress_is_tried_again(made_up):
    search = Search(0, 1)
    with made_up.renewable() as ray:
        search.run_on(ray)
    assert made_up.started == 3


@pytest.mark.parametrize("progress", [(0, 0, 1), (1, 0, 1), (1, 2, 0, 1)])
def test_two_losses_without_progress_between_them_end_the_search(made_up, progress):
    search = Search(*progress)
    with pytest.raises(RayLostError, match="Ray has ended"), made_up.renewable() as ray:
        search.run_on(ray)
    assert search.left == [1]


def test_a_ray_that_a_script_has_started_is_not_restarted(made_up, monkeypatch):
    monkeypatch.setattr(ray_itself, "is_initialized", lambda: True)
    search = Search(1)
    with pytest.raises(RayLostError, match="Ray has ended"), made_up.renewable() as ray:
        search.run_on(ray)
    assert made_up.started == 1
