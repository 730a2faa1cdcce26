"""A search whose processes are killed at random, and what is left of it at the end.

By turns SIGKILL goes to the driver, to a worker and to Ray's own process on this machine; the run
is resumed until it ends. Run as a script it prints what it survived; `make storm` does that.
"""

import argparse
import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

if __name__ == "__main__":
    # The root too: folders of the tests are named as packages.
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

from processes import have_ended

from results.record.columns import Decision, State
from results.record.history import History, Objective, TrialRecord
from results.record.journal import Event, decode, read
from search.engines.ray.schedulers import AshaScheduler

TESTS = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("fmnist-search")
VICTIMS = ("driver", "worker", "raylet")
OBJECTIVE = Objective("val_accuracy", "max")
# Longer than anything here takes: a search that stands still is a finding, not a wait.
PATIENCE_SECONDS = 300
POLL_SECONDS = 0.05
WORKERS = 2
# Ray's own processes end with their driver at once, its agents a minute or two later.
AGENTS_SECONDS = 5


@dataclass(frozen=True)
class Weather:
    """What is searched, and how it is disturbed.

    Attributes:
        kills: So many processes are killed, if the search lasts that long.
        trials: Of the search.
        epochs: Of a trial.
        algorithm: ``random`` or ``tpe``.
        scheduler: ``none`` or ``asha``.
        seed: Of the search and of the storm.
        between_seconds: The longest that all are left alone after an epoch.
    """

    kills: int
    trials: int
    epochs: int
    algorithm: str = "random"
    scheduler: str = "none"
    seed: int = 0
    between_seconds: float = 1.5


@dataclass(frozen=True)
class Kill:
    """A process that was ended: the driver, a worker or Ray's own."""

    seconds: float
    victim: str
    pid: int

    def ends(self, worker: str) -> bool:
        """Whether a worker ends by it: with the driver or Ray all do."""
        return self.victim != "worker" or worker.endswith(f":{self.pid}")


class Watch:
    """Reads a journal while it is written, and notes when each epoch was reported.

    The times in the journal itself stand still while nobody writes it; these do not.

    Args:
        journal: The file, which need not be there yet.

    Attributes:
        epochs: Seconds and event of each epoch so far; the seconds are late by a poll at most.
        began_seconds: When the watch began.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._read_bytes = 0
        self.began_seconds = time.monotonic()
        self.epochs: list[tuple[float, Event]] = []

    def look(self) -> None:
        """Take in what was written since the last look."""
        if not self._journal.exists():
            self._read_bytes = 0
            return
        with self._journal.open("rb") as file:
            file.seek(self._read_bytes)
            written, whole, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(written) + len(whole)
        for line in written.splitlines():
            try:
                event = decode(line)
            except ValueError:
                continue  # torn by a kill
            if event["event"] == "epoch":
                self.epochs.append((time.monotonic(), event))

    def wait(
        self, driver: subprocess.Popen, seconds: float, *, new_epochs: float = math.inf
    ) -> None:
        """Watch for so long, or until so many more epochs were reported, or the driver ended."""
        deadline, enough = time.monotonic() + seconds, len(self.epochs) + new_epochs
        while driver.poll() is None and len(self.epochs) < enough and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            self.look()
        self.look()

    def wait_for_epoch(self, driver: subprocess.Popen) -> None:
        """Watch until one more epoch was reported, or the driver ended.

        Raises:
            RuntimeError: None came.
        """
        before = len(self.epochs)
        self.wait(driver, PATIENCE_SECONDS, new_epochs=1)
        if len(self.epochs) == before and driver.poll() is None:
            raise RuntimeError(f"no epoch in {PATIENCE_SECONDS} s")

    def up_seconds(self, kills: Sequence[Kill]) -> float:
        """Return the seconds that workers were up, summed over them.

        A worker is up from the beginning of its first epoch until it was killed, or until the
        search's last epoch: what is lost of an epoch by a kill counts, and so does what was
        trained again; starting Ray, TensorFlow and the trial does not.
        """
        last = self.epochs[-1][0]
        up = 0.0
        for worker, (seconds, event) in self._first_epochs().items():
            ended = (kill.seconds for kill in kills if kill.seconds > seconds and kill.ends(worker))
            up += next(ended, last) - seconds + event["epoch_seconds"]
        return up

    def _first_epochs(self) -> dict[str, tuple[float, Event]]:
        first: dict[str, tuple[float, Event]] = {}
        for seconds, event in self.epochs:
            first.setdefault(event["worker"], (seconds, event))
        return first


@dataclass
class Survived:
    """What came of it.

    Attributes:
        run: The run folder.
        calm: The journal of the same search left alone.
        calm_watch: That search, as it was seen.
        kills: The processes that were ended.
        watch: The storm, as it was seen.
        events: The journal at the end.
        wall_seconds: From the first start to the end.
    """

    run: Path
    calm: tuple[Event, ...]
    calm_watch: Watch
    watch: Watch
    kills: list[Kill] = field(default_factory=list)
    events: tuple[Event, ...] = ()
    wall_seconds: float = 0.0

    @property
    def victims(self) -> Counter[str]:
        """How many were killed of what."""
        return Counter(kill.victim for kill in self.kills)

    @property
    def history(self) -> History:
        return History.replay(OBJECTIVE, self.events)

    @property
    def epochs(self) -> list[tuple[int, int]]:
        """Trial and number of every epoch that was reported, in order."""
        return [(e["trial"], e["epoch"]) for e in self.events if e["event"] == "epoch"]

    @property
    def epochs_repeated(self) -> int:
        return len(self.epochs) - len(set(self.epochs))

    @property
    def trials_lost(self) -> int:
        """Trials that did not come to an end of their own, or are not there at all."""
        good = (State.COMPLETED, State.EARLY_STOPPED, State.STOPPED, State.DIVERGED)
        ended = [trial for trial in self.history.trials.values() if trial.state in good]
        asked = History.replay(OBJECTIVE, self.calm).trials
        return len(asked) - len(ended)

    @property
    def trials_doubled(self) -> int:
        """Trials that were begun or ended twice."""
        counted = Counter(
            (event["event"], event["trial"])
            for event in self.events
            if event["event"] in ("trial_started", "trial_ended")
        )
        return sum(count > 1 for count in counted.values())

    @property
    def is_as_calm(self) -> bool:
        """Whether the tables are those of the calm search, to the bit."""
        return table(self.events) == table(self.calm)

    @property
    def time_ratio(self) -> float:
        """Seconds that workers were up, as a share of those of the calm search."""
        return self.up_seconds / self.calm_watch.up_seconds([])

    @property
    def up_seconds(self) -> float:
        """Seconds that workers were up, summed over them."""
        return self.watch.up_seconds(self.kills)

    def steps_back(self) -> Iterator[tuple[int, int, float]]:
        """Yield a trial, how many epochs it went back, and the seconds they had taken."""
        trained: dict[int, list[Event]] = {}
        for event in self.events:
            if event["event"] != "epoch":
                continue
            before = trained.setdefault(event["trial"], [])
            again = [one for one in before if one["epoch"] >= event["epoch"]]
            if again:
                yield event["trial"], len(again), sum(one["epoch_seconds"] for one in again)
            trained[event["trial"]] = [*before[: len(before) - len(again)], event]

    def wrong_decisions(self, weather: Weather) -> list[Event]:
        """Return the epochs whose decision does not follow from the epochs before them."""
        asha = AshaScheduler(
            mode="max", max_epochs=weather.epochs, grace_period=1, reduction_factor=3
        )
        history = History(OBJECTIVE)
        wrong = []
        for event in self.events:
            history.apply(event)
            if event["event"] == "epoch":
                value = event["metrics"]["val_accuracy"]
                decided = asha.judge(event["trial"], event["epoch"], value, last_epoch=None)
                if decided is not Decision(event["decision"]):
                    wrong.append(event)
        return wrong

    def differing_trials(self, weather: Weather) -> list[int]:
        """Train each trial's configuration undisturbed, here; return those whose epochs differ."""
        return [
            trial.trial
            for trial in self.history.trials.values()
            if undisturbed(trial, weather) != {e.epoch: e.metrics for e in trial.epochs}
        ]

    def __str__(self) -> str:
        by = ", ".join(f"{name} {count}" for name, count in sorted(self.victims.items()))
        return (
            f"kills survived   {len(self.kills)} ({by})\n"
            f"epochs repeated  {self.epochs_repeated} of {len(set(self.epochs))}\n"
            f"trials lost      {self.trials_lost}\n"
            f"trials doubled   {self.trials_doubled}\n"
            f"time ratio       {self.time_ratio:.2f} of the calm search, start-ups apart "
            f"({WORKERS} workers were up for {self.up_seconds:.0f} s in all, and started for "
            f"{WORKERS * self.wall_seconds - self.up_seconds:.0f} s)"
        )


def table(events: tuple[Event, ...]) -> dict[int, object]:
    """Return what the tables tell of each trial but when it happened."""
    return {
        trial.trial: (
            trial.values,
            trial.state,
            [(epoch.epoch, epoch.metrics, epoch.decision) for epoch in trial.epochs],
        )
        for trial in History.replay(OBJECTIVE, events).trials.values()
    }


def undisturbed(trial: TrialRecord, weather: Weather) -> dict[int, dict[str, float]]:
    """Train a trial's configuration in this process, as long as it was trained in the storm."""
    # TensorFlow is imported by nobody who only kills.
    from search.plan.plan import Problem
    from search.worker.data import load_data
    from search.worker.task import NamedObject, Task
    from search.worker.trial import run_trial

    problem = Problem(
        hypermodel="stormy:Steady", data="problems:blobs", data_dir=None, space="Steady",
        objective=OBJECTIVE, epochs=weather.epochs, patience=0, seed=weather.seed,
    )  # fmt: skip
    told: dict[int, dict[str, float]] = {}

    def report(epoch: dict[str, Any]) -> bool:
        told[epoch["epoch"]] = epoch["metrics"]
        return len(told) < len(trial.epochs)

    task = Task.of(problem)
    assert task.hypermodel == NamedObject("stormy:Steady")
    data = load_data(problem, needs_test=False)
    given = {"trial": trial.trial, "values": trial.values, "report": report, "folder": None}
    run_trial(task, data, **given)
    return told


def storm(weather: Weather, folder: Path, *, says: bool = False) -> Survived:
    """Search once undisturbed and once under kills.

    Args:
        weather: What and how.
        folder: Where the runs are made. The undisturbed one, ``calm``, may be there already; how
            long its workers were up is then not known.
        says: Whether each kill is printed.
    """
    calm, run = folder / "calm", folder / "storm"
    calm_watch, watch = Watch(calm / "journal.jsonl"), Watch(run / "journal.jsonl")
    if not calm.exists():
        _end(_start(weather, "run", calm, folder), calm_watch, folder)
    survived = Survived(run, read(calm / "journal.jsonl").events, calm_watch, watch)
    chance = random.Random(weather.seed)
    watch.began_seconds = time.monotonic()
    driver = _start(weather, "run", run, folder)
    while len(survived.kills) < weather.kills:
        # In turn: one who has ended by himself is looked for again.
        victim = VICTIMS[len(survived.kills) % len(VICTIMS)]
        # Some drivers are hit while they start, where nothing has moved yet.
        waits = not (victim == "driver" and chance.random() < 0.3)
        if waits:
            watch.wait_for_epoch(driver)
        watch.wait(driver, chance.uniform(0, weather.between_seconds if waits else 20))
        if driver.poll() is not None:
            break
        try:
            family = psutil.Process(driver.pid).children(recursive=True)
            pid = _find(victim, driver, family, run)
            os.kill(pid, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue  # it ended by itself
        kill = Kill(time.monotonic(), victim, pid)
        survived.kills.append(kill)
        watch.look()
        if says:
            passed, epochs = kill.seconds - watch.began_seconds, len(watch.epochs)
            print(f"{passed:7.1f} s  {victim} {pid}; {epochs} epochs", flush=True)
        if victim == "driver":
            driver.wait()
            end_those_left(family)
            begun = (run / "journal.jsonl").exists()
            if not begun:  # hit before there was anything to go on with
                shutil.rmtree(run, ignore_errors=True)
            driver = _start(weather, "resume" if begun else "run", run, folder)
    _end(driver, watch, folder)
    survived.wall_seconds = time.monotonic() - watch.began_seconds
    survived.events = read(run / "journal.jsonl").events
    return survived


def asked(weather: Weather) -> list[str]:
    """Return the arguments of the search, but for where it runs."""
    arguments = [
        "--hypermodel", "stormy:Steady", "--data", "problems:blobs",
        "--trials", weather.trials, "--epochs", weather.epochs, "--patience", 0,
        "--algorithm", weather.algorithm, "--scheduler", weather.scheduler, "--grace-period", 1,
        "--seed", weather.seed, "--checkpoint-seconds", 0, "--retrain-epochs", "none",
    ]  # fmt: skip
    return [str(argument) for argument in arguments]


def _start(weather: Weather, command: str, run: Path, folder: Path) -> subprocess.Popen:
    named = [*asked(weather), "--workers", str(WORKERS), "--out", str(run)]
    arguments = named if command == "run" else [str(run)]
    with (folder / "screen.txt").open("a") as screen:
        return subprocess.Popen(
            [COMMAND, command, *arguments],
            cwd=folder, stdout=screen, stderr=screen, env=os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        )  # fmt: skip


def _end(driver: subprocess.Popen, watch: Watch, folder: Path) -> None:
    watch.wait(driver, 4 * PATIENCE_SECONDS)
    if driver.poll() is None:
        raise RuntimeError("the search does not end")
    if driver.returncode != 0:
        raise RuntimeError((folder / "screen.txt").read_text()[-3000:])


def _find(victim: str, driver: subprocess.Popen, family: list[psutil.Process], run: Path) -> int:
    """Return a process of the search by its kind.

    Raises:
        ProcessLookupError: There is none.
        psutil.NoSuchProcess: One ended meanwhile.
    """
    if victim == "driver":
        return driver.pid
    if victim == "worker":
        return _newest_worker({one.pid for one in family}, run)
    for one in family:
        if one.name() == "raylet":
            return one.pid
    raise ProcessLookupError("no raylet")


def _newest_worker(pids: set[int], run: Path) -> int:
    """Return the process that reported the newest epoch of a trial that still runs."""
    events = read(run / "journal.jsonl").events
    running = {trial.trial for trial in History.replay(OBJECTIVE, events).running()}
    reported = [event for event in events if event["event"] == "epoch"]
    times = Counter((event["trial"], event["epoch"]) for event in reported)
    for event in reversed(reported):
        if times[event["trial"], event["epoch"]] > 1:
            continue  # a trial that has come no further would be taken for one that kills
        pid = int(event["worker"].rpartition(":")[2])
        if event["trial"] in running and pid in pids:
            return pid
    raise ProcessLookupError("no worker")


def end_those_left(family: list[psutil.Process]) -> None:
    """Wait for what Ray started to end with its driver, and end what does not."""
    if not have_ended(family, AGENTS_SECONDS):
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        have_ended(family, AGENTS_SECONDS)


def main() -> int:
    """Print what two searches survive: one to be equal to the last bit, one under TPE and ASHA."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
    import stormy

    stormy.EPOCH_SECONDS = 0.0  # in this process, where nothing is killed
    failed = False
    for weather in long_weather(kills):
        folder = Path(tempfile.mkdtemp(prefix="storm-"))
        print(f"{weather.algorithm} search, scheduler {weather.scheduler}:", flush=True)
        survived = storm(weather, folder, says=True)
        print(survived, flush=True)
        if weather.algorithm == "random":
            print(f"table            {'as calm' if survived.is_as_calm else 'DIFFERS'}", flush=True)
            failed |= not survived.is_as_calm
        else:
            wrong = len(survived.wrong_decisions(weather))
            print(f"wrong decisions  {wrong}", flush=True)
            differing = len(survived.differing_trials(weather))
            print(f"trials differing {differing} from their configurations trained alone")
            failed |= bool(wrong or differing)
        failed |= bool(survived.trials_lost or survived.trials_doubled)
        shutil.rmtree(folder)
    return int(failed)


def long_weather(kills: int) -> list[Weather]:
    """Return the storms of the long form, which share the kills."""
    share = kills // 2
    size = max(8, share * 5 // 4)
    random = Weather(kills - share, size, epochs=8, between_seconds=5)
    return [
        random,
        replace(
            random,
            kills=share,
            trials=2 * size,
            epochs=9,
            algorithm="tpe",
            scheduler="asha",
            seed=1,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
