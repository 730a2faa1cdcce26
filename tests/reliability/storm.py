"""A search whose processes are killed at random, and what is left of it at the end.

By turns SIGKILL goes to the driver, to a worker and to Ray's own process on this machine; the run
is resumed until it ends. Run as a script it prints what it survived; `make storm` does that.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from results.columns import Decision, State
from search.engines.asha import Asha
from search.history import History, Objective
from search.journal import Event, read

TESTS = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("fmnist-search")
VICTIMS = ("driver", "worker", "raylet")
OBJECTIVE = Objective("val_accuracy", "max")
# Longer than anything here takes: a search that stands still is a finding, not a wait.
PATIENCE_SECONDS = 300
POLL_SECONDS = 0.05


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
    """

    kills: int
    trials: int
    epochs: int
    algorithm: str = "random"
    scheduler: str = "none"
    seed: int = 0


@dataclass
class Survived:
    """What came of it.

    Attributes:
        kills: By what was killed.
        events: The journal at the end.
        wall_seconds: From the first start to the end, the time between a kill and the next start
            included.
        start_up_seconds: Of those, what went by from a kill to the next epoch.
        calm: The journal of the same search left alone.
        calm_seconds: How long that took, from its first epoch to its end.
        run: The run folder.
    """

    run: Path
    kills: Counter[str] = field(default_factory=Counter)
    events: tuple[Event, ...] = ()
    wall_seconds: float = 0.0
    start_up_seconds: float = 0.0
    calm: tuple[Event, ...] = ()
    calm_seconds: float = 0.0

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
        """Seconds spent besides starting up, as a share of those of the calm search."""
        starting = self.start_up_seconds + self.half_idle_seconds
        return (self.wall_seconds - starting) / self.calm_seconds

    @property
    def half_idle_seconds(self) -> float:
        """Half the seconds in which one of two workers started while the other trained."""
        lost: dict[int, float] = {}
        seconds = 0.0
        for event in self.events:
            if event["event"] == "worker_lost" and event["by_trial"]:
                lost[event["trial"]] = event["at_seconds"]
            elif event["event"] == "search_resumed" or event.get("by_trial") is False:
                lost.clear()  # all start
            elif event["event"] == "epoch" and event["trial"] in lost:
                seconds += event["at_seconds"] - lost.pop(event["trial"])
        return seconds / 2

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
        asha = Asha(mode="max", max_epochs=weather.epochs, grace_period=1, reduction_factor=3)
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

    def __str__(self) -> str:
        by = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"kills survived   {self.kills.total()} ({by})\n"
            f"epochs repeated  {self.epochs_repeated} of {len(set(self.epochs))}\n"
            f"trials lost      {self.trials_lost}\n"
            f"trials doubled   {self.trials_doubled}\n"
            f"time ratio       {self.time_ratio:.2f} (without the "
            f"{self.start_up_seconds + self.half_idle_seconds:.0f} s in which processes started)"
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


def storm(weather: Weather, folder: Path, *, says: bool = False) -> Survived:
    """Search once undisturbed and once under kills.

    Args:
        weather: What and how.
        folder: Where the runs are made.
        says: Whether each kill is printed.
    """
    calm, run = folder / "calm", folder / "storm"
    _end(_start(weather, "run", calm, folder), calm)
    survived = Survived(run, calm=read(calm / "journal.jsonl").events)
    first = next(event for event in survived.calm if event["event"] == "epoch")
    survived.calm_seconds = survived.calm[-1]["at_seconds"] - first["at_seconds"]
    chance = random.Random(weather.seed)
    began = time.monotonic()
    driver = _start(weather, "run", run, folder)
    idle_since = began
    for number in range(weather.kills):
        victim = VICTIMS[number % len(VICTIMS)]
        # Some drivers are hit while they start, where nothing has moved yet.
        waits = not (victim == "driver" and chance.random() < 0.3)
        seen = _wait_for_epochs(run, 1 + _count(run), driver) if waits else None
        if seen is not None:
            survived.start_up_seconds += seen - idle_since
        if seen is None and driver.poll() is not None:
            break
        time.sleep(chance.uniform(0, 1.5) if waits else chance.uniform(0, 20))
        killed = _kill(victim, driver, run)
        if killed is None:
            continue
        survived.kills[victim] += 1
        idle_since = time.monotonic()
        if says:
            print(
                f"{idle_since - began:7.1f} s  {victim} {killed}; {_count(run)} epochs", flush=True
            )
        if victim == "driver":
            begun = (run / "journal.jsonl").exists()
            if not begun:  # hit before there was anything to go on with
                shutil.rmtree(run, ignore_errors=True)
            driver = _start(weather, "resume" if begun else "run", run, folder)
    seen = _wait_for_epochs(run, 1 + _count(run), driver)
    survived.start_up_seconds += (seen or time.monotonic()) - idle_since
    _end(driver, run)
    survived.wall_seconds = time.monotonic() - began
    survived.events = read(run / "journal.jsonl").events
    return survived


def _start(weather: Weather, command: str, run: Path, folder: Path) -> subprocess.Popen:
    named = [
        "--hypermodel", "stormy:Steady", "--data", "problems:blobs", "--workers", 2,
        "--trials", weather.trials, "--epochs", weather.epochs, "--patience", 0,
        "--algorithm", weather.algorithm, "--scheduler", weather.scheduler, "--grace-period", 1,
        "--seed", weather.seed, "--checkpoint-seconds", 0, "--retrain-epochs", "none", "--out", run,
    ]  # fmt: skip
    arguments = named if command == "run" else [run]
    with (folder / "screen.txt").open("a") as screen:
        return subprocess.Popen(
            [COMMAND, command, *map(str, arguments)],
            cwd=folder, stdout=screen, stderr=screen, env=os.environ | {"PYTHONPATH": str(TESTS)},
        )  # fmt: skip


def _end(driver: subprocess.Popen, run: Path) -> None:
    status = driver.wait(timeout=4 * PATIENCE_SECONDS)
    if status != 0:
        raise RuntimeError((run.parent / "screen.txt").read_text()[-3000:])


def _events(run: Path, kind: str) -> list[Event]:
    journal = run / "journal.jsonl"
    if not journal.exists():
        return []
    return [event for event in read(journal).events if event["event"] == kind]


def _count(run: Path) -> int:
    return len(_events(run, "epoch"))


def _wait_for_epochs(run: Path, count: int, driver: subprocess.Popen) -> float | None:
    """Return when so many epochs had been reported; None where the driver ended before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while driver.poll() is None:
        if _count(run) >= count:
            return time.monotonic()
        if time.monotonic() > deadline:
            raise RuntimeError(f"no epoch in {PATIENCE_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return None


def _kill(victim: str, driver: subprocess.Popen, run: Path) -> int | None:
    """Kill a process of the search; return its number, or None where there is none of the kind."""
    try:
        family = psutil.Process(driver.pid).children(recursive=True)
        if victim == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            _end_those_left(family)
            return driver.pid
        if victim == "raylet":
            raylet = next((one for one in family if one.name() == "raylet"), None)
            if raylet is not None:
                raylet.kill()
            return raylet.pid if raylet else None
    except psutil.NoSuchProcess:
        return None
    return _kill_worker(family, run)


def _kill_worker(family: list[psutil.Process], run: Path) -> int | None:
    """Kill the process that reported the newest epoch of a trial that still runs."""
    running = {
        trial.trial
        for trial in History.replay(OBJECTIVE, read(run / "journal.jsonl").events).running()
    }
    pids = {one.pid for one in family}
    reported = _events(run, "epoch")
    times = Counter((event["trial"], event["epoch"]) for event in reported)
    for event in reversed(reported):
        if times[event["trial"], event["epoch"]] > 1:
            continue  # a trial that has come no further would be taken for one that kills
        pid = int(event["worker"].rpartition(":")[2])
        if event["trial"] in running and pid in pids:
            try:
                psutil.Process(pid).kill()
            except psutil.NoSuchProcess:
                return None
            return pid
    return None


def _end_those_left(family: list[psutil.Process]) -> None:
    """Wait for what Ray started to end with its driver, and end what does not."""
    _, left = psutil.wait_procs(family, timeout=20)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=20)


def main() -> int:
    """Print what two searches survive: one to be equal to the last bit, one under TPE and ASHA."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
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
            failed |= bool(wrong)
        failed |= bool(survived.trials_lost or survived.trials_doubled)
        shutil.rmtree(folder)
    return int(failed)


def long_weather(kills: int) -> list[Weather]:
    """Return the storms of the long form, which share the kills."""
    share = kills // 2
    size = max(8, share)
    return [
        Weather(kills - share, trials=size, epochs=8),
        Weather(share, trials=2 * size, epochs=9, algorithm="tpe", scheduler="asha", seed=1),
    ]


if __name__ == "__main__":
    sys.exit(main())
