"""What ends a search from outside: signals, and a terminal that is lost."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from processes import have_ended

from results.record.journal import read
from search.signals import SIGNALS, ending_signals, lasting_output, same_handlers

SECONDS = 240

# --- In this process ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_interrupts_what_runs_and_the_handlers_are_as_before_at_its_end(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyboardInterrupt), ending_signals():
        signal.raise_signal(number)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_hangup_that_nohup_ignores_stays_ignored():
    calls = []
    with same_handlers():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with ending_signals(lambda: calls.append("interrupt")):
            signal.raise_signal(signal.SIGHUP)
            assert calls == []
            signal.raise_signal(signal.SIGTERM)
    assert calls == ["interrupt"]


def test_the_inner_of_two_searches_hears_the_signal():
    calls = []
    with ending_signals(lambda: calls.append("outer")):
        with ending_signals(lambda: calls.append("inner")):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert calls == ["inner", "outer"]


def test_another_thread_than_the_main_one_leaves_the_signals_alone():
    seen = []

    def work():
        with ending_signals():
            seen.append([signal.getsignal(each) for each in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[signal.getsignal(each) for each in SIGNALS]]


def test_only_the_error_of_a_lost_terminal_is_passed_over(tmp_path):
    with pytest.raises(FileNotFoundError), lasting_output():
        (tmp_path / "nowhere").read_text()


# --- A terminal that the test closes --------------------------------------------------------------

VIEW = """
import sys
sys.path[:0] = {paths!r}
from made_up_runs import make_plan
from results.record.history import History
from rich.console import Console
from search.view.live import make_view

view = make_view(Console(force_terminal={is_live}))
plan = make_plan("run")
view.begin(plan, History(plan.problem.objective), lambda: 0.0)
view.note("begun")
sys.stdin.readline()
view.note("a line")
view.tick()
view.progress({{20: 10}})
view.end()
print("a script's own line")
open("done", "w").write("done")
"""


@pytest.fixture
def terminal(tmp_path):
    """Start a program in a terminal of its own: returns the process and the screen's end."""
    started = []

    def start(*words, is_ignored=False, **options):
        screen, other = pty.openpty()

        def prepare():
            os.setsid()
            # The terminal of the new session, whose processes get SIGHUP when it is closed.
            os.close(os.open(os.ttyname(other), os.O_RDWR))
            if is_ignored:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = subprocess.Popen(
            [*map(str, words)], cwd=tmp_path, preexec_fn=prepare, stdout=other, stderr=other,
            **{"stdin": other} | options,
        )  # fmt: skip
        os.close(other)
        started.append(process)
        return process, screen

    yield start
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
        process.kill()
        process.wait()


def read_until(screen, text):
    """Read from the screen until it shows a text; return what was read."""
    shown = ""
    while text not in shown:
        shown += os.read(screen, 4096).decode()
    return shown


@pytest.mark.parametrize("is_live", [True, False], ids=["live view", "lines"])
def test_a_view_whose_terminal_is_lost_goes_on_in_silence(terminal, tmp_path, is_live):
    code = VIEW.format(paths=sys.path, is_live=is_live)
    process, screen = terminal(
        sys.executable, "-c", code, is_ignored=True, stdin=subprocess.PIPE, text=True
    )
    read_until(screen, "begun")
    os.close(screen)
    process.communicate("go on\n", timeout=SECONDS)
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


# --- Whole searches -------------------------------------------------------------------------------


def events(folder, kind):
    file = folder / "run" / "journal.jsonl"
    rows = read(file).events if file.exists() else []
    return [event for event in rows if event["event"] == kind]


def wait_until(condition, process):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)


def has_epoch_after_reading(screen, folder):
    """Read what is on the screen, since a full one stops the search; tell whether an epoch is done."""
    with contextlib.suppress(BlockingIOError):
        os.read(screen, 1 << 16)
    return bool(events(folder, "epoch"))


def words(commands, epochs=400, retrain="none"):
    return [
        commands / "fmnist-search", "run", "--hypermodel", "problems:slow", "--data", "problems:blobs",
        "--workers", 1, "--trials", 1, "--epochs", epochs, "--scheduler", "none",
        "--retrain-epochs", retrain, "--out", "run",
    ]  # fmt: skip


@pytest.fixture
def own_tmp(tmp_path):
    """A folder for the temporary files of a search, and the environment that names it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder, os.environ | {"TMPDIR": str(folder)}


@pytest.fixture
def begin(tmp_path, own_tmp):
    """Begin a search whose output goes to a file; it ends with the test."""
    started = []

    def start(*command):
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                [*map(str, command)], cwd=tmp_path, env=own_tmp[1], stdout=output, stderr=output
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def family_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def test_a_search_whose_terminal_is_closed_ends_as_by_ctrl_c(commands, terminal, own_tmp, tmp_path):
    process, screen = terminal(*words(commands), env=own_tmp[1])
    read_until(screen, "space slow")
    os.set_blocking(screen, False)
    wait_until(lambda: has_epoch_after_reading(screen, tmp_path), process)
    family = family_of(process)
    os.close(screen)
    assert process.wait(SECONDS) == 130
    assert events(tmp_path, "search_ended")[-1]["reason"] == "interrupted"
    assert have_ended(family, seconds=60)
    assert list(own_tmp[0].iterdir()) == []


@pytest.mark.long
def test_a_search_under_nohup_goes_on_without_its_terminal(commands, terminal, own_tmp, tmp_path):
    process, screen = terminal(*words(commands, 4, "2"), is_ignored=True, env=own_tmp[1])
    read_until(screen, "space slow")
    os.close(screen)
    assert process.wait(SECONDS) == 0
    assert events(tmp_path, "search_ended")[-1]["reason"] == "trials done"
    assert (tmp_path / "run" / "final" / "model.keras").exists()
    assert list(own_tmp[0].iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("phase", ["start", "search", "retraining"])
def test_a_signal_ends_a_search_cleanly_in_each_phase(
    commands, begin, own_tmp, tmp_path, number, times, phase
):
    is_retraining = phase == "retraining"
    process = begin(*(words(commands, 1, "400") if is_retraining else words(commands)))
    output = tmp_path / "output"
    if phase == "search":
        wait_until(lambda: events(tmp_path, "epoch"), process)
    else:
        line = "retraining: epoch 10" if is_retraining else "starting"
        wait_until(lambda: line in output.read_text(), process)
    family = family_of(process)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    assert process.wait(SECONDS) == 130
    assert have_ended(family, seconds=60)
    assert list(own_tmp[0].iterdir()) == []
    if phase == "start":
        assert "interrupted before anything was recorded" in output.read_text()
        assert not (tmp_path / "run").exists()
        return
    assert "to continue: fmnist-search resume run" in output.read_text()
    reason = "trials done" if is_retraining else "interrupted"
    assert events(tmp_path, "search_ended")[-1]["reason"] == reason


SCRIPT = """
import signal
import problems
from search import RayTuner

signal.signal(signal.SIGTERM, lambda *_: print("the script's own handler", flush=True))
tuner = RayTuner(
    problems.slow, "val_accuracy", max_trials=1, scheduler=None, resources_per_trial={"cpu": 1},
    project_name="run",
)
train, validation, _ = problems.blobs()
try:
    tuner.search(*train, validation_data=validation, epochs=400)
except KeyboardInterrupt:
    print("interrupted", flush=True)
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_the_search_of_a_script_cleanly(begin, own_tmp, tmp_path, number, times):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = begin(sys.executable, "script.py")
    wait_until(lambda: events(tmp_path, "epoch"), process)
    family = family_of(process)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    assert process.wait(SECONDS) == 0
    output = (tmp_path / "output").read_text()
    assert "interrupted\nthe script's own handler" in output
    assert events(tmp_path, "search_ended")[-1]["reason"] == "interrupted"
    assert have_ended(family, seconds=60)
    assert list(own_tmp[0].iterdir()) == []
