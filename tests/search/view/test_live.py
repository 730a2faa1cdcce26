import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import Journal
from search.plan.plan import Engine, Plan, Problem
from search.storage.recorder import Recorder
from search.view.live import REFRESH_SECONDS, LiveView, make_view
from search.view.view import View

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
VALUES = {"activation": "relu", "units": 192, "rate": 0.00151234, "optimizer": "nadam", "layers": 3}
SIZES = [(80, 24), (120, 40)]


def plan_of(objective, **asked):
    problem = Problem(
        hypermodel=None, data="d", data_dir=None, space="s", objective=objective, epochs=30, patience=0, seed=0
    )  # fmt: skip
    return Plan(
        problem=problem, engine=Engine.RAY, algorithm="tpe", workers=2, grace_period=1, reduction_factor=3,
        time_budget_seconds=None, target=None, retrain_epochs=(), out=Path("run"),
        **({"trials": 40} | asked),
    )  # fmt: skip


class Screen:
    """A terminal of some size that shows a search, whose events a recorder tells."""

    def __init__(
        self,
        journal,
        width=80,
        height=24,
        *,
        name="val_accuracy",
        mode="max",
        history=None,
        **asked,
    ):
        self.width, self.height = width, height
        self.now = 0.0
        objective = Objective(name, mode)
        self.history = history or History(objective)
        self.file = io.StringIO()
        console = Console(
            file=self.file, force_terminal=True, width=width, height=height, color_system=None
        )
        self.view = LiveView(console, now=lambda: self.now)
        self.tell = Recorder(
            Journal(journal),
            self.history,
            [self.view.observe],
            clock=lambda: self.now,
            scheduler="asha",
        )
        self.view.begin(plan_of(objective, **asked), self.history, lambda: self.now)

    def epoch(self, trial, epoch, value, worker, decision=Decision.CONTINUE, **more):
        metrics = {self.history.objective.name: value, "loss": 1.0}
        report = {"epoch": epoch, "epoch_seconds": 0.5, "metrics": metrics, **more}
        self.tell.epoch(trial, report, decision=decision, worker=worker)

    def lines(self):
        """Return what stands on the screen when it is drawn anew, and check that it fits."""
        self.now += REFRESH_SECONDS
        self.file.seek(0)
        self.file.truncate()
        self.view.tick()
        # What was there is erased upwards, line by line, before anything is written.
        lines = CONTROL.sub("", self.file.getvalue()).split("\n")
        assert len(lines) <= self.height
        assert max(map(len, lines)) <= self.width
        return lines

    def said(self):
        """Return the lines that were written since the last drawing."""
        return CONTROL.sub("", self.file.getvalue().replace("\r", "\n")).split("\n")


@pytest.fixture
def screen(tmp_path):
    screens = []

    def make(width=80, height=24, **asked):
        screens.append(Screen(tmp_path / "journal.jsonl", width, height, **asked))
        return screens[-1]

    yield make
    for one in screens:
        one.view.end()


def below(lines, heading):
    """Return the rows of the table whose headings begin so, each as its words."""
    start = next(number for number, line in enumerate(lines) if line.startswith(heading))
    rows = lines[start + 1 : lines.index("", start)]
    return [row.split() for row in rows]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_shows_the_workers_the_best_trials_and_the_whole(screen, width, height):
    it = screen(width, height)
    for trial in (0, 1):
        it.tell.trial_started(trial, VALUES, epochs=20)
    it.epoch(0, 1, 0.8, "vm:11")
    it.epoch(1, 1, 0.6, "vm:12", decision=Decision.STOP)
    it.tell.trial_ended(1, State.STOPPED)
    it.tell.trial_started(2, VALUES)
    it.now = 4.0
    it.epoch(0, 2, 0.7, "vm:11")
    it.now = 7.0
    lines = it.lines()
    first, second = below(lines, "worker")
    assert first[:8] == ["vm:11", "0", "0", "2/20", "3", "s", "ago", "0.7000"]
    assert first[8] == "0.8000"
    assert second[:7] == ["vm:12", "1", "2", "0/30", "starting", "-", "-"]
    assert lines[1].endswith("configuration")
    assert lines[2].endswith("…") == (width == 80)
    best, next_best = below(lines, "rank")
    assert best[:5] == ["1", "0", "0.8000", "1", "running"]
    assert next_best[:7] == ["2", "1", "0.6000", "1", "stopped", "by", "ASHA"]
    foot = " ".join(lines[lines.index("", 6) + 1 :])
    assert "8 s · trials of 40: 2 running, 0 finished, 1 stopped by ASHA" in foot
    assert "best val_accuracy 0.8000 · 0.40 epochs/s" in foot


def test_before_the_first_trial_it_says_so(screen):
    it = screen()
    lines = it.lines()
    assert "no trial has started yet" in lines
    assert not any(line.startswith(("worker", "rank")) for line in lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_of_many_workers_so_many_are_shown_as_fit(screen, width, height):
    it = screen(width, height)
    for trial in range(64):
        it.tell.trial_started(trial, VALUES)
        it.epoch(trial, 1, trial / 100, f"a-machine-with-a-long-name-{trial}:{10000 + trial}")
    lines = it.lines()
    *workers, more = below(lines, "worker")
    assert more == ["and", str(64 - len(workers)), "more"]
    assert len(workers) >= height - 14
    assert workers[0][0] == "…" + "a-machine-with-a-long-name-0:10000"[-17:]
    assert len(below(lines, "rank")) == 5


@pytest.mark.parametrize(
    ("workers", "last"),
    [
        # Of 24 lines 5 are blank, of the foot, or of the headings; "and 2 more" is one too.
        pytest.param(19, ["-", "0", "18"], id="as-many-as-fit"),
        pytest.param(20, ["and", "2", "more"], id="one-more"),
    ],
)
def test_all_that_fit_are_shown(screen, workers, last):
    it = screen(200, 24)
    for trial in range(workers):
        it.tell.trial_started(trial, VALUES)
    rows = below(it.lines(), "worker")
    assert rows[-1][:3] == last
    assert len(rows) == 19


def test_of_equal_trials_the_first_to_reach_the_value_comes_first(screen):
    it = screen()
    for trial in range(3):
        it.tell.trial_started(trial, VALUES)
    for trial in (2, 0, 1):
        it.now += 1
        it.epoch(trial, 1, 0.5, f"vm:{trial}")
    assert [row[1] for row in below(it.lines(), "rank")] == ["2", "0", "1"]


def test_of_a_thousand_trials_the_five_best_are_shown(screen):
    it = screen(name="val_loss", mode="min")
    for trial in range(1000):
        if trial >= 4:
            it.tell.trial_ended(trial - 4, State.STOPPED)
        it.tell.trial_started(trial, VALUES)
        # Each value twice: of equals the earlier comes first.
        it.epoch(trial, 1, ((trial * 37) % 500) / 1000, f"vm:{trial % 4}")
    rows = below(it.lines(), "rank")
    best = it.history.ranked()[:5]
    assert [(row[1], row[2]) for row in rows] == [
        (str(trial.trial), f"{trial.best_value:.4f}") for trial in best
    ]
    assert [row[2] for row in rows] == ["0.0000", "0.0000", "0.0010", "0.0010", "0.0020"]
    assert [row[1] for row in below(it.lines(), "worker")] == ["249"] * 4


@pytest.mark.parametrize("width", [1, 10, 33, 60, 79, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 9, 12, 16, 60])
def test_it_fits_any_screen(screen, width, height):
    it = screen(width, height, trials=None, name="a_metric_with_a_very_long_name_indeed")
    it.lines()
    for trial in range(9):
        it.tell.trial_started(trial, VALUES | {"text": "over\ntwo lines"})
        it.epoch(trial, 1, 1e9 * trial, f"vm:{trial}")
        it.lines()


def test_what_is_most_wanted_is_shown_on_a_low_screen(screen):
    shown = {}
    for height in (5, 8, 16):
        it = screen(120, height)
        for trial in range(6):
            it.tell.trial_started(trial, VALUES)
            it.epoch(trial, 1, 0.5, f"vm:{trial}")
        lines = it.lines()
        it.view.end()
        shown[height] = [heading for heading in ("worker", "rank", "9") if heading in str(lines)]
        assert "trials of 40: 6 running" in lines[-1]
    assert "rank" not in shown[8]
    assert shown[16][:2] == ["worker", "rank"]
    assert "worker" in shown[8]
    assert "worker" not in shown[5]


def test_a_lost_process_is_said_until_another_has_its_trial(screen):
    it = screen()
    it.tell.trial_started(0, VALUES)
    it.epoch(0, 1, 0.8, "vm:11")
    it.tell.worker_lost(0, "it was killed", by_trial=True)
    expected = "trial 0 continues after the loss of its process: it was killed"
    assert expected in it.file.getvalue()
    [lost] = below(it.lines(), "worker")
    assert lost[:5] == ["vm:11", "0", "0", "1/30", "lost"]
    it.tell.trial_restarted(0)
    [starting] = below(it.lines(), "worker")
    assert starting[:5] == ["-", "0", "0", "1/30", "starting"]
    it.epoch(0, 2, 0.8, "vm:99")
    [again] = below(it.lines(), "worker")
    assert again[:4] == ["vm:99", "0", "0", "2/30"]


def test_a_process_that_its_trial_takes_with_it_is_not_shown_as_idle(screen):
    it = screen()
    for trial, end in enumerate([State.OUT_OF_MEMORY, State.HUNG, State.LOST, State.FAILED]):
        it.tell.trial_started(trial, VALUES)
        it.epoch(trial, 1, 0.8, f"vm:{trial}")
        it.tell.trial_ended(trial, end, error="it ended")
    [idle] = below(it.lines(), "worker")
    assert idle == ["vm:3", "1", "-", "-", "idle", "-", "-"]


def test_a_first_report_corrects_in_which_process_a_trial_is(screen):
    it = screen()
    for trial in (0, 1):
        it.tell.trial_started(trial, VALUES)
        it.epoch(trial, 1, 0.5, f"vm:{trial}")
    it.tell.trial_ended(0, State.COMPLETED)
    it.tell.trial_started(2, VALUES)
    it.epoch(2, 1, 0.5, "vm:0")
    it.tell.trial_ended(2, State.COMPLETED)
    it.tell.trial_ended(1, State.COMPLETED)
    for trial in (3, 4):
        it.tell.trial_started(trial, VALUES)
    guessed = below(it.lines(), "worker")
    assert [row[:3] for row in guessed] == [["vm:0", "2", "3"], ["vm:1", "1", "4"]]
    it.epoch(3, 1, 0.5, "vm:1")
    told = below(it.lines(), "worker")
    assert [row[:3] for row in told] == [["vm:1", "1", "3"], ["vm:0", "2", "4"]]


def test_with_a_process_for_each_trial_none_is_idle(screen):
    it = screen(reuse_workers=False)
    for trial in range(3):
        it.tell.trial_started(trial, VALUES)
        it.epoch(trial, 1, 0.5, f"vm:{trial}")
        it.tell.trial_ended(trial, State.COMPLETED)
    assert "no trial has started yet" not in it.lines()
    assert "vm:" not in str(it.lines())


def test_after_a_break_unfinished_trials_wait_for_a_process(screen, tmp_path):
    before = screen()
    for trial in (0, 1):
        before.tell.trial_started(trial, VALUES)
        before.epoch(trial, 1, 0.5, f"vm:{trial}")
    it = screen(history=before.history)
    it.tell.trial_restarted(1)
    starting, waiting = below(it.lines(), "worker")
    assert starting[:5] == ["-", "0", "1", "1/30", "starting"]
    assert waiting[:5] == ["-", "0", "0", "1/30", "waiting"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.7, "1 s ago"), (119, "119 s ago"), (121, "2 min ago"), (9000, "2 h ago")]
)  # fmt: skip
def test_it_says_since_when_nothing_was_heard(screen, seconds, said):
    it = screen()
    it.tell.trial_started(0, VALUES)
    it.epoch(0, 1, 0.8, "vm:11")
    it.now += seconds
    assert said in str(it.lines())


def test_the_end_of_a_trial_is_a_line_and_an_error_is_said_whole(screen):
    it = screen()
    it.tell.trial_started(0, VALUES)
    it.epoch(0, 1, 0.8, "vm:11")
    it.tell.trial_started(1, VALUES)
    it.epoch(1, 1, 0.7, "vm:12")
    it.lines()
    it.tell.trial_ended(0, State.COMPLETED)
    [ended] = [line for line in it.said() if "trial 0 completed" in line]
    assert ended.startswith("    0.5 s  trial 0 completed after 1 epoch, best val_accuracy 0.8000")
    assert len(ended) == it.width
    assert ended.endswith("…")
    error = "ValueError: " + "a long reason, " * 9 + "which ends here"
    it.tell.trial_ended(1, State.FAILED, error=f"{error}\nin line 3")
    assert error in it.file.getvalue()
    assert "in line 3" not in it.file.getvalue()


def test_it_is_drawn_twice_a_second_at_most(screen):
    it = screen()
    it.lines()
    written = it.file.tell()
    it.now += REFRESH_SECONDS * 0.9
    it.view.tick()
    assert it.file.tell() == written
    it.now += REFRESH_SECONDS * 0.2
    it.view.tick()
    assert it.file.tell() > written


def test_a_terminal_gets_the_live_view_and_a_pipe_plain_lines(tmp_path):
    assert isinstance(make_view(Console(file=io.StringIO(), force_terminal=True)), LiveView)
    file = io.StringIO()
    view = make_view(Console(file=file, width=80))
    assert type(view) is View
    objective = Objective("val_accuracy", "max")
    history = History(objective)
    tell = Recorder(Journal(tmp_path / "j"), history, [view.observe], clock=lambda: 1.0)
    view.begin(plan_of(objective), history, lambda: 1.0)
    tell.trial_started(0, VALUES)
    report = {"epoch": 1, "epoch_seconds": 0.5, "metrics": {"val_accuracy": 0.5}}
    tell.epoch(0, report, decision=Decision.CONTINUE, worker="vm:1")
    tell.trial_ended(0, State.COMPLETED)
    assert file.getvalue().splitlines() == [
        "    1.0 s  trial 0, epoch 1: best val_accuracy so far 0.5000",
        "    1.0 s  trial 0 completed after 1 epoch, best val_accuracy 0.5000  activation=relu "
        "units=192 rate=0.00151 optimizer=nadam layers=3",
    ]
