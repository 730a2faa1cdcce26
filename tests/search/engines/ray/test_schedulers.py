"""What every scheduler holds to; and how ASHA decides."""

import random
from pathlib import Path

import pytest

from results.record.columns import Decision
from results.record.history import History, Objective
from search.engines.ray.schedulers import AshaScheduler
from search.plan.plan import Engine, Plan, Problem
from search.plan.registry import Scheduler

EPOCHS, TRIALS = 9, 12
STOP, CONTINUE = Decision.STOP, Decision.CONTINUE


def plan(mode="max", **changes):
    problem = Problem(
        hypermodel="a:b", data="a:c", data_dir=None, space="s", objective=Objective("score", mode),
        epochs=EPOCHS, patience=0, seed=0,
    )  # fmt: skip
    return Plan(
        **{
            "problem": problem, "engine": Engine.RAY, "algorithm": "random", "trials": None, "workers": 1,
            "grace_period": 1, "reduction_factor": 3, "time_budget_seconds": None, "target": None,
            "retrain_epochs": (), "out": Path("nowhere"), **changes,
        }
    )  # fmt: skip


def reports(seed):
    """Epochs of trials that train side by side, each as good as its own number, and some luck."""
    luck = random.Random(seed)
    left = {trial: iter(range(1, EPOCHS + 1)) for trial in range(TRIALS)}
    while left:
        trial = luck.choice(sorted(left))
        epoch = next(left[trial], None)
        if epoch is None:
            del left[trial]
        else:
            yield trial, epoch, trial + epoch / 10 + luck.random()


class Search:
    """A search as its history tells of it, judged by a scheduler."""

    def __init__(self, scheduler, mode="max"):
        self.scheduler = scheduler
        self.history = History(Objective("score", mode))
        self.decisions = []

    def report(self, trial, epoch, value):
        if trial not in self.history.trials:
            self._apply("trial_started", trial, values={}, epochs=EPOCHS)
        elif self.history.trials[trial].was_told_to_stop:
            return
        decision = self.scheduler.judge(trial, epoch, value, last_epoch=EPOCHS)
        self.decisions.append((trial, epoch, decision))
        self._apply(
            "epoch", trial, epoch=epoch, epoch_seconds=1.0, metrics={"score": value},
            decision=decision, worker="",
        )  # fmt: skip

    def _apply(self, kind, trial, **fields):
        self.history.apply({"event": kind, "at_seconds": 0.0, "trial": trial, **fields})


@pytest.mark.parametrize("name", Scheduler)
class TestEveryScheduler:
    def made(self, name, mode="max"):
        return name.load().from_plan(plan(mode))

    def lived(self, name, mode="max", sign=1.0, seed=0):
        search = Search(self.made(name, mode), mode)
        for trial, epoch, value in reports(seed):
            search.report(trial, epoch, sign * value)
        return search

    def test_no_trial_is_stopped_at_its_last_epoch(self, name):
        scheduler = self.made(name)
        for trial in range(TRIALS):
            last_epoch = 3 if trial % 2 else None  # its own, or that of the search
            decision = scheduler.judge(trial, last_epoch or EPOCHS, -trial, last_epoch=last_epoch)
            assert decision is CONTINUE
            assert scheduler.judge(trial, EPOCHS + 1, -trial, last_epoch=99) is CONTINUE

    def test_asha_does_not_stop_a_diverged_trial_which_ends_by_itself(self, name):
        scheduler = self.lived(name).scheduler
        for epoch in range(1, EPOCHS + 1):
            assert scheduler.judge(TRIALS, epoch, None, last_epoch=None) is CONTINUE

    def test_the_best_is_never_stopped(self, name):
        for seed in range(5):
            search = self.lived(name, seed=seed)
            stopped = {trial for trial, _, decision in search.decisions if decision is STOP}
            assert TRIALS - 1 not in stopped

    def test_it_minimizes_as_it_maximizes(self, name):
        assert self.lived(name).decisions == self.lived(name, "min", sign=-1.0).decisions

    def test_a_decision_stands_when_a_lost_process_reports_again(self, name):
        search = self.lived(name)
        for trial, epoch, decision in search.decisions:
            # Trained again, the numbers may differ a little.
            again = search.scheduler.judge(trial, epoch, -1e3, last_epoch=EPOCHS)
            assert again is decision
            if decision is STOP and epoch + 1 < EPOCHS:
                assert search.scheduler.judge(trial, epoch + 1, 1e3, last_epoch=EPOCHS) is STOP

    def test_a_failed_trial_that_is_retried_is_judged_anew(self, name):
        search = self.lived(name)
        for trial, epoch, _ in search.decisions:
            search.scheduler.reset(trial)
            assert search.scheduler.judge(trial, epoch, 1e3, last_epoch=EPOCHS) is CONTINUE

    @pytest.mark.parametrize("cut", [0, 1, 20, 60])
    def test_a_resumed_search_decides_like_one_that_was_never_cut_off(self, name, cut):
        for seed in range(5):
            whole, continued = self.lived(name, seed=seed), Search(self.made(name))
            for number, report in enumerate(reports(seed)):
                if number == cut:
                    fresh = self.made(name)
                    fresh.replay(continued.history)
                    continued.scheduler = fresh
                continued.report(*report)
            assert continued.decisions == whole.decisions

    def test_earlier_decisions_of_a_resumed_search_stand_under_other_settings(self, name):
        lived = self.lived(Scheduler.ASHA)  # others would have decided otherwise
        scheduler = self.made(name)
        scheduler.replay(lived.history)
        for trial, epoch, decision in lived.decisions:
            assert scheduler.judge(trial, epoch, 0.0, last_epoch=EPOCHS) is decision


def test_asha_stops_what_falls_short_at_a_rung_and_nothing_else():
    asha = AshaScheduler.from_plan(plan(grace_period=3, reduction_factor=3))
    for trial, value in enumerate([0.1, 0.5, 0.9]):
        assert asha.judge(trial, 1, value, last_epoch=None) is CONTINUE
        assert asha.judge(trial, 2, value, last_epoch=None) is CONTINUE
    # At the first rung the first is kept, and each that is among the best third so far.
    assert [asha.judge(trial, 3, trial / 10, last_epoch=None) for trial in (1, 0, 2)] == [
        CONTINUE,
        STOP,
        CONTINUE,
    ]


def test_asha_decides_at_the_first_epoch_after_a_rung_that_has_a_value():
    asha = AshaScheduler.from_plan(plan(grace_period=1, reduction_factor=3))
    decisions = []
    for trial, value in enumerate([0.9, 0.1]):
        assert asha.judge(trial, 1, None, last_epoch=None) is CONTINUE
        decisions.append(asha.judge(trial, 2, value, last_epoch=None))
    assert decisions == [CONTINUE, STOP]


def test_asha_takes_its_settings_from_the_plan():
    lenient, strict = (
        AshaScheduler.from_plan(plan(reduction_factor=factor)) for factor in (1.2, 8)
    )
    values = [0.5, 0.9, 0.4, 0.6, 0.3, 0.7]
    stopped = [
        sum(asha.judge(n, 1, value, last_epoch=None) is STOP for n, value in enumerate(values))
        for asha in (lenient, strict)
    ]
    assert stopped[0] < stopped[1]


def test_without_a_scheduler_every_trial_trains_to_its_end():
    search = Search(Scheduler.NONE.load().from_plan(plan()))
    for report in reports(seed=0):
        search.report(*report)
    assert {decision for _, _, decision in search.decisions} == {CONTINUE}
    assert len(search.decisions) == TRIALS * EPOCHS
