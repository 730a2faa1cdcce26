"""Which of the processes of a node its kernel has killed to free memory."""

import os
import subprocess

import pytest

from search.ray import nodes


@pytest.fixture
def vmstat(tmp_path, monkeypatch):
    """Write how many processes the kernel has killed so far: ``vmstat(3)``."""
    monkeypatch.setattr(nodes, "VMSTAT", tmp_path / "vmstat")

    def write(kills):
        nodes.VMSTAT.write_text(f"nr_free_pages 7\noom_kill {kills}\n")

    write(3)
    return write


class Trial:
    """A process of this machine that stands for that of a trial."""

    def __init__(self, detector):
        self._process = subprocess.Popen(["sleep", "1000"])
        self.place = nodes.TrialProcess("w", "node", self._process.pid, nodes.oom_kills())
        detector.note_start(self.place)

    def end(self, *, reaped=True):
        self._process.kill()
        if reaped:
            self._process.wait()
        else:  # it has ended, and is still listed
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def detector(vmstat):
    return nodes.OomKillDetector(lambda _where, function, *arguments: function(*arguments))


@pytest.fixture
def begin(detector):
    """Begin a trial; its process ends with the test."""
    trials = []

    def make():
        trials.append(Trial(detector))
        return trials[-1]

    yield make
    for trial in trials:
        trial.end()


def test_a_process_that_ends_is_not_oom_killed_if_the_kernel_has_killed_none(detector, begin):
    one, two = begin(), begin()
    one.end()
    assert not detector.was_oom_killed(one.place, [two.place])


def test_the_one_process_that_ended_is_the_one_that_the_kernel_killed(detector, begin, vmstat):
    one, two = begin(), begin()
    vmstat(4)
    one.end()
    assert detector.was_oom_killed(one.place, [two.place])


def test_a_kill_of_the_kernel_is_counted_once(detector, begin, vmstat):
    one, two, three = begin(), begin(), begin()
    vmstat(4)
    one.end()
    assert detector.was_oom_killed(one.place, [two.place, three.place])
    two.end()
    assert not detector.was_oom_killed(two.place, [three.place])


@pytest.mark.parametrize("is_reaped", [True, False])
def test_of_two_processes_that_ended_none_is_said_to_be_oom_killed(
    detector, begin, vmstat, is_reaped
):
    one, two = begin(), begin()
    vmstat(4)
    one.end()
    two.end(reaped=is_reaped)
    assert not detector.was_oom_killed(one.place, [two.place])
    assert not detector.was_oom_killed(two.place, [])


def test_a_kill_before_a_trial_began_is_not_laid_to_it(detector, begin, vmstat):
    vmstat(9)
    trial = begin()
    trial.end()
    assert not detector.was_oom_killed(trial.place, [])


def test_a_process_on_another_node_does_not_matter(detector, begin, vmstat):
    one, two = begin(), begin()
    elsewhere = nodes.TrialProcess("w", "other node", two.place.pid, two.place.oom_kills)
    vmstat(4)
    one.end()
    two.end()
    assert detector.was_oom_killed(one.place, [elsewhere])
