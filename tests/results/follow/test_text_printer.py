"""The events of a search as lines of text, as they happen."""

from dataclasses import replace

import pytest
from in_memory import run_of, trial_of

from results.follow.follow import JournalLine
from results.follow.text_printer import TextPrinter
from results.reading import CUT_OFF
from results.record.columns import State
from results.record.history import Objective

VALUES = {"rate": 0.00151234, "units": 8}


@pytest.fixture
def printer(search):
    """A printer for a run that has no tables yet."""
    return TextPrinter(search.run, lambda: None)


def line_of(number, **event):
    return JournalLine(number, "", {"at_seconds": 1.0, **event} if event else None)


def printed(capsys, printer, *lines):
    for line in lines:
        printer.print_line(line)
    return capsys.readouterr()


# --- A search from its start to its end -------------------------------------------------------


def test_each_event_is_a_line_as_it_happens(search, printer, report):
    recorder = search.started()
    reason = search.follow(
        printer,
        [
            lambda: recorder.trial_started(0, VALUES),
            lambda: recorder.trial_started(1, VALUES),
            report(recorder, 0, 1, 0.5),
            report(recorder, 0, 2, 0.4),
            report(recorder, 1, 1, 0.75),
            lambda: recorder.worker_lost(1, "it was killed\nby a person", by_trial=True),
            lambda: recorder.trial_restarted(1),
            lambda: recorder.trial_retried(0, "ValueError: no\nin line 3"),
            lambda: recorder.trial_ended(0, State.FAILED, error="ValueError: no\nin line 3"),
            lambda: recorder.trial_ended(1, State.STOPPED),
            lambda: recorder.search_ended("trials done"),
        ],
    )
    assert reason == "trials done"
    assert search.printed == [
        "so far: 0 trials, 0 epochs\n",
        "    0.5 s  trial 0 started: rate=0.00151 units=8\n",
        "    1.0 s  trial 1 started: rate=0.00151 units=8\n",
        "    1.5 s  trial 0, epoch 1: best val_accuracy so far 0.5000\n",
        "",
        "    2.5 s  trial 1, epoch 1: best val_accuracy so far 0.7500\n",
        "    3.0 s  trial 1 continues after the loss of its process: it was killed\n",
        "    3.5 s  trial 1 continues in another process\n",
        "    4.0 s  trial 0 failed and restarts: ValueError: no\n",
        "    4.5 s  trial 0 failed after 0 epochs: ValueError: no\n",
        "    5.0 s  trial 1 stopped by ASHA after 1 epoch, best val_accuracy 0.7500\n",
        "search ended (trials done): 2 trials, 3 epochs, best val_accuracy 0.7500 in trial 1, "
        "epoch 1, after 2 s\n",
    ]


def test_every_new_best_is_reported_even_after_the_best_was_lost(search, printer, report):
    """The best may become worse: a trial starts over, or its score is worse than its best epoch."""
    search.objective = Objective("val_accuracy", "min")
    recorder = search.started()
    for trial in range(3):
        recorder.trial_started(trial, VALUES)
    report(recorder, 0, 1, 0.3)()
    metrics = {"val_accuracy": 0.4}
    search.follow(
        printer,
        [
            report(recorder, 1, 1, 0.2),
            lambda: recorder.trial_retried(1, "once more"),
            report(recorder, 2, 1, 0.25),
            lambda: recorder.trial_ended(
                2,
                State.COMPLETED,
                score=0.4,
                best_step=3,
                metrics=metrics,
                score_kind="epochs",
            ),
            report(recorder, 1, 1, 0.28),
            report(recorder, 1, 1, 0.1, execution=1),
            report(recorder, 1, 2, None),
            lambda: recorder.worker_lost(1, "gone", by_trial=False),
            lambda: recorder.trial_restarted(1),
            report(recorder, 1, 1, 0.29),
            lambda: recorder.search_ended("trials done"),
        ],
    )
    lines = "".join(search.printed).splitlines()
    assert [line.split()[-1] for line in lines[1:] if "so far" in line] == [
        "0.2000", "0.2500", "0.2800",
    ]  # fmt: skip
    assert "trial 1 interrupted after 1 epoch, best val_accuracy 0.2900" in search.printed[-1]
    assert "best val_accuracy 0.2900 in trial 1, epoch 1" in search.printed[-1]


def test_damaged_lines_are_reported_once(search, printer):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    first, second = search.journal.read_bytes().splitlines(keepends=True)
    altered = second.replace(b'"units":8', b'"units":9')
    search.journal.write_bytes(first + altered + second)
    # Whoever continues a torn journal ends its last line.
    actions = [lambda: search.append(b"\xff\x00\n[]\n{}\n" + b'{"torn'), search.recorder]
    assert search.follow(printer, [*actions, search.remove_lock]) == CUT_OFF
    assert search.notes.splitlines() == [
        f"journal: skipped damaged line {number}" for number in (2, 4, 5, 6, 7)
    ]
    assert search.printed[0] == "so far: 1 trial, 0 epochs\n"
    assert search.printed[1:-1] == [""] * (len(search.printed) - 2)


# --- What happened before ---------------------------------------------------------------------


def test_earlier_events_are_a_table_and_only_new_ones_are_lines(search, capsys):
    run = run_of([trial_of(0, 0.5)])
    tables = []
    printer = TextPrinter(search.run, lambda: tables.append("shown") or run)
    epoch = line_of(
        3, event="epoch", trial=0, epoch=1, epoch_seconds=0.5, decision="continue", worker="w",
        metrics={"val_accuracy": 0.5},
    )  # fmt: skip
    printer.begin([line_of(2, event="trial_started", trial=0, values=VALUES), epoch])
    assert (tables, capsys.readouterr()) == (["shown"], ("", ""))
    better = line_of(4, **(epoch.event | {"epoch": 2, "metrics": {"val_accuracy": 0.75}}))
    assert printed(capsys, printer, better).out == (
        "    1.0 s  trial 0, epoch 2: best val_accuracy so far 0.7500\n"
    )


def test_without_a_table_earlier_events_are_a_line_of_totals(search, printer, report):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    report(recorder, 0, 1, 0.5)()
    search.follow(printer, [lambda: recorder.search_ended("trials done")])
    assert search.printed[0] == (
        "so far: 1 trial, 1 epoch, best val_accuracy 0.5000 in trial 0, epoch 1, after 0 s\n"
    )


def test_damage_that_the_table_has_reported_is_not_reported_again(search, capsys):
    run = run_of([trial_of(0, 0.5)])
    with_damage = run.trials.replace_schema_metadata({"damaged_lines": "2, 6"})
    printer = TextPrinter(search.run, lambda: replace(run, trials=with_damage))
    printer.begin([line_of(2)])
    assert printed(capsys, printer, line_of(6), line_of(7), line_of(7)).err == (
        "journal: skipped damaged line 7\n"
    )


# --- Single events ----------------------------------------------------------------------------


def test_a_search_without_a_number_of_trials_is_described_without_it(search, capsys, printer):
    plan = search.description["plan"] | {"trials": None}
    for kind in ("search_started", "search_resumed"):
        line = line_of(1, event=kind, run={"plan": plan})
        assert printed(capsys, printer, line).out == (
            f"    1.0 s  {kind.replace('_', ' ')}: space small, tpe\n"
        )


def test_a_search_is_described_with_its_number_of_trials(search, capsys, printer):
    line = line_of(1, event="search_started", run=search.description)
    assert printed(capsys, printer, line).out == (
        "    1.0 s  search started: space small, tpe, 4 trials\n"
    )


def test_a_process_may_be_lost_with_its_node(capsys, printer):
    start = line_of(1, event="trial_started", trial=0, values=VALUES)
    loss = line_of(2, event="worker_lost", trial=0, by_trial=False, error="gone")
    assert printed(capsys, printer, start, loss).out.splitlines()[1] == (
        "    1.0 s  trial 0 continues after the loss of its node or Ray: gone"
    )


def test_an_event_of_a_trial_whose_start_was_lost_is_not_printed(capsys, printer):
    line = line_of(1, event="trial_ended", trial=3, state="completed")
    assert printed(capsys, printer, line) == ("", "")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("trials done", "search ended (trials done): 0 trials, 0 epochs\n"),
        ("interrupted", "search ended (interrupted): 0 trials, 0 epochs\n"
                        "to continue it, run fmnist-search resume 'a run'\n"),
        (CUT_OFF, "the search was cut off; to continue it, run fmnist-search resume 'a run'\n"),
    ],
)  # fmt: skip
def test_the_end_says_how_to_continue_a_search_that_is_not_done(capsys, reason, text):
    TextPrinter("a run", lambda: None).end(reason)
    assert capsys.readouterr().out == text
