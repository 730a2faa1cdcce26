"""The race: keras-tuner, plain Ray Tune, Optuna and this project, on one machine, in turn.

Run by ``make race``. Each cell of the race, a searcher with a seed, is a process that is given the
same data and the same seconds; then a run folder is kept of it, which ``fmnist-results`` reads like
any other, and a line of ``race.csv``. A race that was ended goes on with the cells that are missing.
Asserts nothing: it draws ``race.svg`` and prints tables, which docs/performance.md shows
(``--show --report docs``).
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from meter import Meter, Use
from outcome import measured, sitting
from peers.rules import EPOCHS, PATIENCE
from standings import (
    BUDGET_SECONDS,
    Outcome,
    Row,
    draw,
    goals,
    paired,
    read_outcomes,
    summary,
    tables,
    write_outcomes,
)

from results.reading import read_run
from results.record import columns
from results.record.columns import Decision
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import write_tables
from results.run import Run
from search.plan.plan import Engine, Plan, Problem
from search.session.run_file import describe
from search.session.stopping import TIME_BUDGET_SPENT
from search.space.parameters import Space
from search.storage.folder import new_run
from search.storage.recorder import Recorder

BENCHMARKS = Path(__file__).resolve().parent
PEERS = BENCHMARKS / "peers"
COMMAND = Path(sys.executable).parent / "fmnist-search"
LONG_SECONDS = 600
# Ours ends by itself; it is given time to write its tables.
CLOSING_SECONDS = 120
FACTS = "race.json"
OURS_ALONE = ("scheduler", "grace_period", "reduction_factor")


@dataclass(frozen=True)
class Racer:
    """A program with its settings.

    Attributes:
        name: As the table has it.
        space: The space that it searches.
        words: The command, seed, seconds and files apart.
        is_ours: Whether it is this project.
        with_first: Whether it is given the builder's defaults as its first configuration. As
            keras-tuner has no setting for one, it is trained before its search begins.
        seeds: How many seeds it is run with.
        seconds: Its budget, from the start of its process.
    """

    name: str
    space: str
    words: tuple[str, ...]
    is_ours: bool = False
    with_first: bool = True
    seeds: int = 3
    seconds: int = BUDGET_SECONDS

    @property
    def row(self) -> Row:
        """What its cells share."""
        return self.name, self.space, self.with_first, self.seconds

    @property
    def slug(self) -> str:
        """A name for files."""
        parts = (*self.name.lower().split(), self.space)
        ending = [] if self.with_first else ["drawn"]
        ending += [f"{self.seconds}s"] if self.seconds != BUDGET_SECONDS else []
        return "-".join((*parts, *ending))


def _racers() -> tuple[Racer, ...]:
    ray, optuna = ("ray_tune_peer.py",), ("optuna_peer.py",)
    reusing = (*ray, "--reuse-actors")
    tuners = {
        "Hyperband": "hyperband",
        "BayesianOptimization": "bayesian",
        "RandomSearch": "random",
    }
    of_keras_tuner = [
        Racer(f"keras-tuner {name}", "published", ("keras_tuner_peer.py", "--tuner", tuner))
        for name, tuner in tuners.items()
    ]
    return (
        Racer("Ray Tune ASHA", "published", ray, seeds=5),
        Racer("fmnist-search", "published", (), is_ours=True, seeds=5),
        *of_keras_tuner,
        Racer("Optuna Hyperband", "published", optuna),
        Racer("Ray Tune ASHA", "wide", ray),
        Racer("Optuna Hyperband", "wide", optuna),
        Racer("fmnist-search", "wide", (), is_ours=True, seeds=5),
        Racer("Ray Tune ASHA reuse_actors", "published", reusing),
        Racer("Ray Tune ASHA reuse_actors", "wide", reusing),
        Racer("Ray Tune ASHA", "published", ray, with_first=False),
        Racer("fmnist-search", "published", (), is_ours=True, with_first=False),
        *(replace(racer, with_first=False) for racer in of_keras_tuner),
        Racer("Optuna Hyperband", "published", optuna, with_first=False),
        Racer("Ray Tune ASHA", "wide", ray, with_first=False),
        Racer("fmnist-search", "wide", (), is_ours=True, with_first=False),
        Racer("fmnist-search", "wide", (), is_ours=True, seeds=1, seconds=LONG_SECONDS),
    )


RACERS = _racers()


def main() -> None:
    """Run the cells that are missing, in turn; then draw the plot and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/race"))
    parser.add_argument("--only", nargs="+", choices=[racer.slug for racer in RACERS])
    parser.add_argument("--seeds", type=seed, nargs="+", help="any seeds; default: the race's own")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("runs/race"),
        help="folder of race.csv, whose cells are not run again",
    )
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    parser.add_argument("--short", action="store_true", help="print the table of README.md alone")
    asked = parser.parse_args()
    report = asked.report / "race.csv"
    if not asked.show:
        run_missing(asked.folder, report, list(cells(asked.only, asked.seeds)))
        plotted = [one for one in read_outcomes(report) if one.budget_seconds == BUDGET_SECONDS]
        if plotted:
            draw(asked.report / "race.svg", plotted)
    outcomes = read_outcomes(measured(report))
    if asked.short:
        print(summary(outcomes))
        return
    of_all = tables(outcomes, len(list(cells(None, None))))
    print(of_all, goals(outcomes), paired(outcomes), sep="\n\n")


def seed(text: str) -> int:
    """Return the seed that was typed: 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number}: expected 0 or more")
    return number


def run_missing(folder: Path, report: Path, asked: list[tuple[Racer, int]]) -> None:
    """Run the cells that neither the report nor the folder of runs holds; keep each as it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {one.cell: one for one in (*read_outcomes(report), *collected(folder))}
    for racer, seed in asked:
        if (racer.row, seed) not in known:
            run_cell(folder, racer, seed)
            known[racer.row, seed] = outcome(run_folder(folder, racer, seed))
        write_outcomes(report, _in_order(known.values()))


def cells(only: list[str] | None, seeds: list[int] | None) -> Iterator[tuple[Racer, int]]:
    """Return racers and seeds, the seeds outermost: a slow hour of the machine hits all alike.

    Args:
        only: Slugs of racers; None: all.
        seeds: Seeds for each of them; None: those of the race, of which some racers have fewer.
    """
    for seed in seeds or range(max(racer.seeds for racer in RACERS)):
        for racer in RACERS:
            if (only is None or racer.slug in only) and (seeds or seed < racer.seeds):
                yield racer, seed


def _in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    rows = [racer.row for racer in RACERS]
    return sorted(outcomes, key=lambda one: (one.seed, rows.index(one.row)))


def run_folder(folder: Path, racer: Racer, seed: int) -> Path:
    """Return where the run of a cell is."""
    return folder / f"{racer.slug}-{seed}"


def run_cell(folder: Path, racer: Racer, seed: int) -> None:
    """Run a cell to the end of its budget and keep its run folder, with what it used."""
    out = run_folder(folder, racer, seed)
    scratch = folder / f".scratch-{out.name}"
    for left in (out, scratch):  # of a race that was ended in this cell
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir()
    lines = scratch / "epochs.jsonl"
    print(f"{time.strftime('%H:%M:%S')} {out.name}", flush=True)
    words = command(racer, seed, out, scratch, lines)
    with (scratch / "output.txt").open("wb") as output:
        started_at = time.time()
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(PEERS), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        meter = Meter(process)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(racer.seconds - (time.time() - started_at))
            use = meter.stop()
            # A peer is ended here: one that has ended before has failed.
            has_failed = not racer.is_ours and process.poll() is not None
            if racer.is_ours:
                has_failed = process.wait(CLOSING_SECONDS) != 0
        finally:
            meter.kill()
            process.wait()
    if has_failed:
        raise SystemExit(f"{out.name} has failed: {scratch / 'output.txt'}")
    if not racer.is_ours:
        keep_run(out, racer, seed, words, reported(lines, scratch), started_at)
    write_facts(out, racer, seed, use)
    shutil.rmtree(scratch)


def command(racer: Racer, seed: int, out: Path, scratch: Path, lines: Path) -> list[str]:
    """Return the words that start a racer."""
    if racer.is_ours:
        drawn = [] if racer.with_first else ["--no-defaults-first"]
        return [
            str(COMMAND), "run", "--space", racer.space, "--seed", str(seed), *drawn,
            "--epochs", str(EPOCHS), "--patience", str(PATIENCE[racer.space]),
            "--time-budget", str(racer.seconds), "--retrain-epochs", "none", "--out", str(out),
        ]  # fmt: skip
    script, *settings = racer.words
    words = [sys.executable, str(PEERS / script), *settings, "--seed", str(seed)]
    words += ["--out", str(lines.resolve()), "--folder", str(scratch.resolve())]
    if racer.with_first:
        words += ["--first", json.dumps(first_configuration(racer.space))]
    if "--tuner" not in settings:
        words += ["--space", racer.space, "--seconds", str(racer.seconds)]
    return words


@lru_cache
def first_configuration(space: str) -> dict[str, Any]:
    """Return the builder's defaults."""
    from search.cli.options import SHIPPED_SPACES
    from search.worker.process import discover

    return dict(discover(SHIPPED_SPACES[space]).defaults())


def reported(lines: Path, scratch: Path) -> list[dict[str, Any]]:
    """Return what a peer reported, in the order of time; a torn last line is left out."""
    if not lines.exists():
        raise SystemExit(f"a peer has reported nothing: {scratch / 'output.txt'}")
    found = []
    for line in lines.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return sorted(found, key=lambda line: line["at"])


def keep_run(
    out: Path,
    racer: Racer,
    seed: int,
    words: list[str],
    lines: Iterable[dict[str, Any]],
    started_at: float,
) -> None:
    """Make a run folder of what a peer reported."""
    clock = Replayed()
    plan = Plan(
        problem=Problem(
            hypermodel=None,
            data="fmnist_model.data:load_data",
            data_dir=None,
            space=racer.space,
            objective=Objective("val_accuracy", "max"),
            epochs=EPOCHS,
            patience=PATIENCE[racer.space],
            seed=seed,
        ),
        engine=Engine.KERAS_TUNER,
        algorithm=racer.name,
        trials=None,
        workers=1 if "keras-tuner" in racer.name else os.cpu_count() or 1,
        grace_period=1,
        reduction_factor=3,
        time_budget_seconds=racer.seconds,
        target=None,
        retrain_epochs=(),
        out=out,
    )
    with new_run(out, print) as run:
        asked = describe(plan, Space(()))
        asked["command"] = words
        asked["plan"] |= {"engine": racer.name.split(" ")[0], "algorithm": racer.name}
        for setting in OURS_ALONE:  # a peer's are in its script
            del asked["plan"][setting]
        write_json(run.folder.run_file, asked)
        journal = Journal(run.folder.journal_file)
        recorder = Recorder(journal, History(plan.problem.objective), clock=clock)
        recorder.search_started(run=asked)
        numbers: dict[str, int] = {}
        for line in lines:
            clock.seconds = line["at"] - started_at
            number = numbers.setdefault(line["training"], len(numbers))
            if line["epoch"] == 0:
                recorder.trial_started(number, line["values"])
                continue
            report = {name: line[name] for name in ("epoch", "epoch_seconds", "metrics")}
            recorder.epoch(number, report, decision=Decision.CONTINUE, worker=line["training"])
        clock.seconds = racer.seconds
        recorder.search_ended(TIME_BUDGET_SPENT)
        journal.close()
        write_tables(run.folder.path, recorder.history)


class Replayed:
    """A clock that shows what it is set to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def write_facts(out: Path, racer: Racer, seed: int, use: Use) -> None:
    """Write beside a run what the race knows of it: the cell counts as run from then on."""
    facts = {
        "racer": racer.name,
        "space": racer.space,
        "first": racer.with_first,
        "seed": seed,
        "budget_seconds": racer.seconds,
        "cpu_seconds": use.cpu_seconds,
        "peak_memory_mib": use.peak_memory_bytes // 2**20,
        **sitting(),
    }
    write_json(out / FACTS, facts)


def collected(folder: Path) -> Iterator[Outcome]:
    """Read the cells that have been run."""
    for facts in sorted(folder.glob(f"*/{FACTS}")):
        yield outcome(facts.parent)


def outcome(path: Path) -> Outcome:
    """Read a cell that has been run."""
    facts = json.loads((path / FACTS).read_text())
    return Outcome(**facts, **_curve(read_run(path), facts["budget_seconds"]))


def _curve(run: Run, seconds: float) -> dict[str, Any]:
    rows = [row for row in run.epochs.to_pylist() if row[columns.AT_SECONDS] <= seconds]
    best, curve = 0.0, []
    for row in sorted(rows, key=lambda row: row[columns.AT_SECONDS]):
        if (row[columns.OBJECTIVE] or 0.0) > best:
            best = row[columns.OBJECTIVE]
            curve.append((round(row[columns.AT_SECONDS], 1), round(best, 5)))
    return {"curve": tuple(curve), "trials": run.trials.num_rows, "epochs": len(rows)}


if __name__ == "__main__":
    main()
