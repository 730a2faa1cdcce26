"""How far one driver goes: recorded learning curves, replayed by trivial trials on many slots.

Run by ``make scale``. Everything is real but the training: Ray Tune's controller, our scheduler,
searcher, recorder, journal and tables; a trial sleeps where it would train, and reports the
recorded epochs of ``curves.jsonl``. Asserts nothing: it writes ``scale.csv`` and prints its table, which
docs/performance.md shows (``--show --report docs``).
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from outcome import markdown, measured, read_lines, sitting, sittings, write_lines

from results.record import columns

BENCHMARKS = Path(__file__).resolve().parent
EPOCHS = 30
# Seconds after which a case is given up.
LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Case:
    """What is replayed.

    Attributes:
        slots: Trials at once.
        epoch_seconds: What an epoch of the replay takes.
        trials: How many there are.
        algorithm: How configurations are chosen.
        scheduler: What stops trials early.
        epochs: Most epochs of a trial.
    """

    slots: int
    epoch_seconds: float
    trials: int
    algorithm: str = "tpe"
    scheduler: str = "asha"
    epochs: int = EPOCHS


# As many reports a second as 1,000 workers give with epochs of 60 s: 16.7.
LIKE_1000_WORKERS = Case(slots=96, epoch_seconds=5.76, trials=1000)
# Ray's own figure: 10,000 trials of a second on 16 slots in 715 s, where 625 s were ideal. Source:
# Ray 2.60's documentation, "Scalability and overhead benchmarks for Ray Tune".
LIKE_RAYS_OWN = Case(
    slots=16, epoch_seconds=1.0, trials=2000, algorithm="random", scheduler="none", epochs=1
)
CASES = (
    Case(slots=4, epoch_seconds=0.0, trials=1000, algorithm="random"),
    Case(slots=4, epoch_seconds=0.0, trials=1000),
    Case(slots=12, epoch_seconds=0.1, trials=500),
    Case(slots=12, epoch_seconds=1.0, trials=200),
    Case(slots=12, epoch_seconds=5.0, trials=60),
    Case(slots=96, epoch_seconds=1.0, trials=1000),
    LIKE_1000_WORKERS,
    LIKE_RAYS_OWN,
    Case(slots=4, epoch_seconds=0.0, trials=5000, algorithm="random"),
)


@dataclass(frozen=True)
class Measured:
    """What a case took; of one that was given up, what it took is None.

    Attributes:
        slots: Trials at once.
        epoch_seconds: What an epoch took.
        epochs: Most epochs of a trial.
        trials: How many there were.
        algorithm: How configurations were chosen.
        scheduler: What stopped trials early.
        reports: Epochs reported.
        processes: Processes that trained.
        seconds: From the beginning of the search to its last report.
        all_at_work_seconds: Until every process had reported.
        reports_per_second: From then until the last trial began; of all the time, where the
            last trial had begun before. So the two that follow.
        trials_per_second: Trials that ended.
        busy_share: Of the time of all slots, what was spent in epochs, in 0..1.
        driver_cpu_seconds: From the beginning of the search until its tables were written.
        machine: Its cores and their kind.
        date: When it was measured, as ``YYYY-MM-DD``.
    """

    slots: int
    epoch_seconds: float
    epochs: int
    trials: int
    algorithm: str
    scheduler: str
    reports: int | None = None
    processes: int | None = None
    seconds: float | None = None
    all_at_work_seconds: float | None = None
    reports_per_second: float | None = None
    trials_per_second: float | None = None
    busy_share: float | None = None
    driver_cpu_seconds: float | None = None
    machine: str = ""
    date: str = ""


def main() -> None:
    """Replay every case, each in a process of its own, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=json.loads, help="one case, as JSON: prints its figures")
    parser.add_argument(
        "--report", type=Path, default=Path("runs/scale"), help="folder of scale.csv"
    )
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    asked = parser.parse_args()
    report = asked.report / "scale.csv"
    if asked.case:
        print(json.dumps(asdict(replayed(Case(**asked.case)))))
        return
    if not asked.show:
        found: list[Measured] = []
        for case in CASES:
            print(f"{case}", file=sys.stderr, flush=True)
            found.append(in_a_process(case))
            write_lines(report, [asdict(one) for one in found])
    lines = list(read_lines(measured(report)))
    print(sittings(lines, "cases"), table(lines), sep="\n\n")


def in_a_process(case: Case) -> Measured:
    """Replay a case in a process of its own."""
    words = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            return Measured(**asdict(case), **sitting())
    if process.returncode != 0:
        raise SystemExit(f"{case} has failed")
    return Measured(**json.loads(said.splitlines()[-1]))


def curves() -> list[list[dict[str, float]]]:
    """Return the metrics of each epoch of the recorded trials."""
    lines = map(json.loads, (BENCHMARKS / "curves.jsonl").read_text().splitlines())
    of_this_length = (trial for trial in lines if trial["of_epochs"] == EPOCHS)
    return [[epoch["metrics"] for epoch in trial["epochs"]] for trial in of_this_length]


def replay_trial(fields: dict[str, Any], *, stored: list[Any], **_: Any) -> None:
    """Stand for the training of a trial: report recorded epochs, one after the other."""
    import ray
    from ray import tune

    from results.record.columns import State
    from search.engines.ray.messages import Ended, Epoch, Ready, Started, decode_config, encode
    from search.ray.nodes import TrialProcess

    config = decode_config(fields)
    content = ray.get(stored[0])
    process = TrialProcess.of_this_process()
    tune.report(encode(Started(process)))
    tune.report(encode(Ready()))
    curve = content["curves"][config.trial % len(content["curves"])]
    for epoch, metrics in enumerate(curve[: config.epochs], start=1):
        time.sleep(content["epoch_seconds"])
        report = {
            "epoch": epoch, "epoch_seconds": content["epoch_seconds"], "metrics": metrics,
            "objective": metrics["val_accuracy"],
        }  # fmt: skip
        tune.report(encode(Epoch(report, process.worker)))
    tune.report(encode(Ended(State.COMPLETED)))
    raise SystemExit(0)


def replayed(case: Case) -> Measured:
    """Replay a case in this process."""
    from search.ray.runtime import local_cluster

    with tempfile.TemporaryDirectory() as scratch, local_cluster(case.slots):
        import ray

        stored = ray.put({"curves": curves(), "epoch_seconds": case.epoch_seconds})
        cpu_before = cpu_seconds()
        run = _search(case, stored, Path(scratch) / "run")
        cpu = cpu_seconds() - cpu_before
        epochs = run.epochs.to_pylist()
    return Measured(
        **asdict(case),
        reports=len(epochs),
        processes=len({row[columns.WORKER] for row in epochs}),
        seconds=round(max(row[columns.AT_SECONDS] for row in epochs), 1),
        driver_cpu_seconds=round(cpu, 1),
        **_steady(case, epochs),
        **sitting(),
    )


def _steady(case: Case, epochs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the rates while every process works and there are trials left."""
    first_of_process = _ends(epochs, columns.WORKER, min)
    begun = [at - case.epoch_seconds for at in _ends(epochs, columns.TRIAL, min)]
    all_at_work, last_begun = max(first_of_process), max(begun)
    whole = (
        min(first_of_process) - case.epoch_seconds,
        max(row[columns.AT_SECONDS] for row in epochs),
    )
    since, until = (all_at_work, last_begun) if all_at_work < last_begun else whole
    reports = sum(since < row[columns.AT_SECONDS] <= until for row in epochs)
    within = [
        min(row[columns.AT_SECONDS], until)
        - max(row[columns.AT_SECONDS] - case.epoch_seconds, since)
        for row in epochs
    ]
    trials = sum(since < at <= until for at in _ends(epochs, columns.TRIAL, max))
    seconds = until - since
    return {
        "all_at_work_seconds": round(all_at_work, 1),
        "reports_per_second": round(reports / seconds, 1),
        "trials_per_second": round(trials / seconds, 1),
        "busy_share": round(sum(max(0.0, one) for one in within) / (case.slots * seconds), 3),
    }


def _ends(
    epochs: Sequence[dict[str, Any]], column: str, end: Callable[[list[float]], float]
) -> list[float]:
    """Return when each worker, or trial, reported first, or last."""
    times: dict[Any, list[float]] = {}
    for row in epochs:
        times.setdefault(row[column], []).append(row[columns.AT_SECONDS])
    return [end(group) for group in times.values()]


def _search(case: Case, stored: Any, out: Path) -> Any:
    from rich.console import Console

    from results.reading import read_run
    from results.record.history import History, Objective
    from search.engines.ray.engine import search_on_ray
    from search.plan.plan import Engine, Plan, Problem
    from search.plan.registry import Scheduler
    from search.session.origin import NewRun
    from search.session.session import DeferredSession
    from search.session.stopping import TRIALS_DONE, Stopping
    from search.space.parameters import Space
    from search.storage.clock import start_clock
    from search.storage.folder import new_run
    from search.view.view import SilentView
    from search.worker.task import Task

    problem = Problem(
        hypermodel="fmnist_model.mlp:Wide", data="recorded", data_dir=None, space="wide",
        objective=Objective("val_accuracy", "max"), epochs=case.epochs, patience=0, seed=0,
    )  # fmt: skip
    plan = Plan(
        problem=problem, engine=Engine.RAY, algorithm=case.algorithm, trials=case.trials,
        workers=case.slots, scheduler=Scheduler(case.scheduler), grace_period=1,
        reduction_factor=3, time_budget_seconds=None, target=None, retrain_epochs=(), out=out,
    )  # fmt: skip
    history, clock = History(problem.objective), start_clock()
    space = Space.from_json(json.loads((BENCHMARKS / "space.json").read_text()))
    with new_run(out, print) as run:
        deferred = DeferredSession(
            plan=plan, run=run, origin=NewRun(history), view=SilentView(Console()), clock=clock
        )
        search_on_ray(
            plan, Task.of(problem), stored, deferred=deferred,
            stopping=Stopping(plan, history, clock), space=space, train=replay_trial,
        )  # fmt: skip
        assert deferred.session is not None
        deferred.session.close(TRIALS_DONE)
    return read_run(out)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(lines: Iterable[dict[str, str]]) -> str:
    """Return the Markdown table."""
    heads = ["slots", "epoch s", "epochs ≤", "trials", "algorithm", "stopping", "reports", "processes",
             "seconds", "all at work s", "reports/s", "trials/s", "busy", "driver CPU s"]  # fmt: skip
    given_up = f"over {LONGEST_SECONDS}"
    rows = ([value or given_up for value in list(line.values())[: len(heads)]] for line in lines)
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
