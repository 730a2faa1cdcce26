"""Which settings find more in the same time: searches side by side, on splits the race does not use.

Run by ``make settings``; goes on with what is missing. A variant is this project with one setting
changed. All variants of a split share its first trial to the bit (but "20 epochs", whose schedule
is another), so that what they differ in is what the search found after it. Asserts nothing: it writes
``settings.csv`` and prints tables, which docs/settings.md shows (``--show --report docs``); those of
first configurations and patience are read from ``curves.jsonl`` (``record.py``).
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outcome import markdown, measured, read_lines, sitting, sittings, write_lines
from record import CANDIDATES, SPLITS, has_ended

from results.reading import read_run
from results.record import columns
from results.record.columns import State, Values
from results.record.journal import Event
from search.algorithms.tpe import TPESearcher
from search.session.stopping import TIME_BUDGET_SPENT
from search.space.parameters import fingerprint

BENCHMARKS = Path(__file__).resolve().parent
TARGETS = (0.9007, 0.9055)
SECONDS = 180
MARKS_SECONDS = (60, 120, 180)
DEFAULT = "as it is"
# First word of the process that one variant searches in.
SEARCH = "search-as"


def _as_it_is() -> None:
    return


def _stops_are_ends() -> None:
    """Tell TPE of a stopped trial as Ray Tune 2.60 tells Optuna: complete, with its early value."""
    end = TPESearcher._end

    def ended(searcher: TPESearcher, trial: int, state: State, event: Event) -> None:
        end(searcher, trial, State.COMPLETED if state is State.STOPPED else state, event)

    TPESearcher._end = ended  # type: ignore[method-assign]


def _sampling(**settings: Any) -> Callable[[], None]:
    def change() -> None:
        TPESearcher.sampler_settings = TPESearcher.sampler_settings | settings

    return change


@dataclass(frozen=True)
class Variant:
    """One setting changed.

    Attributes:
        options: Of ``fmnist-search run``.
        change: What is changed in the process of the search, where no option does.
    """

    options: tuple[str, ...] = ()
    change: Callable[[], None] = _as_it_is


VARIANTS = {
    DEFAULT: Variant(),
    "grace period 3": Variant(("--grace-period", "3")),
    "grace period 9": Variant(("--grace-period", "9")),
    "no early stopping": Variant(("--scheduler", "none")),
    "reduction factor 2": Variant(("--reduction-factor", "2")),
    "random search": Variant(("--algorithm", "random")),
    "TPE, a stop told as an end": Variant(change=_stops_are_ends),
    "TPE, blind to running trials": Variant(change=_sampling(constant_liar=False)),
    "TPE, 3 drawn at first": Variant(change=_sampling(n_startup_trials=3)),
    "20 epochs": Variant(("--epochs", "20")),
}


@dataclass(frozen=True)
class Found:
    """What a search found: a line of the committed file.

    Attributes:
        variant: The setting that was changed.
        seed: Of the split and of everything that is drawn.
        best: Best validation accuracy known at each mark, in the order of ``MARKS_SECONDS``.
        trials: Trainings begun.
        epochs: Epochs trained.
        machine: Its cores and their kind.
        date: When its line was written, as ``YYYY-MM-DD``.
    """

    variant: str
    seed: int
    best: tuple[float, ...]
    trials: int
    epochs: int
    machine: str
    date: str


def main() -> None:
    """Run the searches that are missing, in turn; then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/settings"))
    parser.add_argument("--only", nargs="*", choices=VARIANTS, help="variants beside the default")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("runs/settings"),
        help="folder of settings.csv, whose searches are not run again",
    )
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    asked = parser.parse_args()
    report = asked.report / "settings.csv"
    if not asked.show:
        run_missing(asked.folder, report, asked.only or list(VARIANTS))
    trials = recorded()
    print(first_configurations(trials), patiences(trials), sep="\n\n", end="\n\n")
    found = read(measured(report))
    print(sittings(map(asdict, found), "searches"), table(found), sep="\n\n")


def run_missing(folder: Path, report: Path, asked: Sequence[str]) -> None:
    """Run the searches that neither the report nor the folder holds; keep each as it ends."""
    known = {(one.variant, one.seed): one for one in read(report)}
    order = [(name, seed) for name in VARIANTS for seed in SPLITS]
    for seed in SPLITS:
        for name in dict.fromkeys([DEFAULT, *asked]):
            if (name, seed) not in known:
                known[name, seed] = run(folder, name, seed)
                write(report, [known[one] for one in order if one in known])


def search(variant: str, words: Sequence[str]) -> None:
    """Be the command with something changed in it."""
    from search.cli import main as command

    VARIANTS[variant].change()
    sys.argv = ["fmnist-search", "run", *words, *VARIANTS[variant].options]
    command()


def run(folder: Path, variant: str, seed: int) -> Found:
    """Search, or read what was searched."""
    out = folder / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
    if not has_ended(out, TIME_BUDGET_SPENT):
        shutil.rmtree(out, ignore_errors=True)  # of a sitting that was ended in it
        print(out, file=sys.stderr, flush=True)
        words = [
            "--space", "wide", "--seed", str(seed), "--time-budget", str(SECONDS),
            "--retrain-epochs", "none", "--out", str(out),
        ]  # fmt: skip
        subprocess.run(
            [sys.executable, __file__, SEARCH, variant, *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    searched = read_run(out)
    rows = searched.epochs.to_pylist()
    values = [(row[columns.AT_SECONDS], row[columns.OBJECTIVE] or 0.0) for row in rows]
    best = [
        max((value for at, value in values if at <= mark), default=0.0) for mark in MARKS_SECONDS
    ]
    return Found(
        variant=variant,
        seed=seed,
        best=tuple(round(value, 5) for value in best),
        trials=searched.trials.num_rows,
        epochs=len(rows),
        **sitting(),
    )


def write(path: Path, found: Sequence[Found]) -> None:
    """Write a line for each search."""
    write_lines(path, [asdict(one) | {"best": " ".join(map(str, one.best))} for one in found])


def read(path: Path) -> list[Found]:
    """Read what ``write`` wrote; nothing where there is no file yet."""
    return [
        Found(
            variant=line["variant"],
            seed=int(line["seed"]),
            best=tuple(map(float, line["best"].split())),
            trials=int(line["trials"]),
            epochs=int(line["epochs"]),
            machine=line["machine"],
            date=line["date"],
        )
        for line in read_lines(path)
    ]


def table(found: Sequence[Found]) -> str:
    """Return a Markdown table: means over the splits, and what a change gained on the same ones."""
    default = {one.seed: one for one in found if one.variant == DEFAULT}
    heads = ["setting", "splits", *(f"best at {mark} s" for mark in MARKS_SECONDS)]
    heads += [f"gained at {MARKS_SECONDS[-1]} s", "trials", "epochs"]
    rows = []
    for variant in dict.fromkeys(one.variant for one in found):
        group = [one for one in found if one.variant == variant]
        gains = [one.best[-1] - default[one.seed].best[-1] for one in group]
        cells = [variant, str(len(group))]
        cells += [
            f"{statistics.mean(at):.4f}" for at in zip(*(one.best for one in group), strict=True)
        ]
        cells.append("" if variant == DEFAULT else f"{statistics.mean(gains):+.4f}{_error(gains)}")
        cells += [f"{statistics.median(one.trials for one in group):.0f}"]
        cells += [f"{statistics.median(one.epochs for one in group):.0f}"]
        rows.append(cells)
    return markdown(heads, rows)


def _error(values: Sequence[float]) -> str:
    """Return the standard error of a mean; nothing of a single value."""
    if len(values) < 2:
        return ""
    return f" ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}"


@dataclass(frozen=True)
class Recorded:
    """A configuration that was trained to its end.

    Attributes:
        seed: Of the split.
        values: The configuration.
        accuracies: Validation accuracy after each epoch.
        losses: Validation loss after each epoch.
        epoch_seconds: Median of an epoch.
        epochs: What it was given, and where its schedule ended.
    """

    seed: int
    values: Values
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    epoch_seconds: float
    epochs: int

    @property
    def name(self) -> str:
        """What trials of one configuration on several splits share."""
        return f"{fingerprint(self.values)} {self.epochs}"

    @property
    def best(self) -> float:
        """The best validation accuracy of all epochs."""
        return max(self.accuracies)

    def under(self, patience: int) -> tuple[float, int]:
        """Return the best, and the epochs trained, under a patience with the validation loss."""
        best, last = math.inf, 0
        for epoch, loss in enumerate(self.losses):
            best, last = (loss, epoch) if loss < best else (best, last)
            if patience and epoch - last >= patience:
                return max(self.accuracies[: epoch + 1]), epoch + 1
        return self.best, len(self.losses)

    def epochs_to(self, target: float) -> int | None:
        """Return after how many epochs the target was reached; None if never."""
        reached = (at for at, value in enumerate(self.accuracies, start=1) if value >= target)
        return next(reached, None)


def recorded() -> list[Recorded]:
    """Read the recorded trials."""
    found = []
    for line in (BENCHMARKS / "curves.jsonl").read_text().splitlines():
        trial = json.loads(line)
        metrics = [epoch["metrics"] for epoch in trial["epochs"]]
        found.append(
            Recorded(
                seed=trial["seed"],
                values=trial["values"],
                accuracies=tuple(one["val_accuracy"] for one in metrics),
                losses=tuple(one.get("val_loss", math.inf) for one in metrics),
                epoch_seconds=statistics.median(
                    epoch["epoch_seconds"] for epoch in trial["epochs"]
                ),
                epochs=trial["of_epochs"],
            )
        )
    return found


def first_configurations(trials: Sequence[Recorded]) -> str:
    """Return the table of the configurations that were trained on every split."""
    found: dict[str, list[Recorded]] = {}
    for one in sorted(trials, key=lambda one: one.seed):
        found.setdefault(one.name, []).append(one)
    common = [group for group in found.values() if [one.seed for one in group] == list(SPLITS)]
    common.sort(key=lambda group: -statistics.mean(one.best for one in group))
    heads = ["configuration", "epochs", "mean of the best", "by split", "s an epoch"]
    heads += [f"epochs to {target}" for target in TARGETS]
    rows = []
    for group in common:
        mean = statistics.mean(one.best for one in group)
        seconds = statistics.median(one.epoch_seconds for one in group)
        cells = [_named(group[0].values), str(group[0].epochs), f"{mean:.4f}"]
        cells += [" ".join(f"{one.best:.4f}" for one in group), f"{seconds:.2f}"]
        cells += [
            " ".join(str(one.epochs_to(target) or "-") for one in group) for target in TARGETS
        ]
        rows.append(cells)
    return markdown(heads, rows)


def patiences(trials: Sequence[Recorded]) -> str:
    """Return the table of what patience costs the trials of most epochs, and what it saves."""
    longest = [one for one in trials if one.epochs == max(one.epochs for one in trials)]
    candidates = [
        one for one in longest if one.values in [each.values for each in CANDIDATES.values()]
    ]
    groups = {
        "candidates": candidates,
        "random": [one for one in longest if one not in candidates],
    }
    rows = []
    for name, group in groups.items():
        for patience in (5, 10, 15, 0):
            best, epochs = zip(*(one.under(patience) for one in group), strict=True)
            told = str(patience or "none")
            means = f"{statistics.mean(best):.4f}", f"{statistics.mean(epochs):.1f}"
            rows.append([f"{len(group)} {name}", told, *means])
    return markdown(["trials", "patience", "mean of the best", "epochs"], rows)


def _named(values: Values) -> str:
    rate = values.get("learning_rate", values.get("sgd_learning_rate"))
    return (
        f"{values['hidden_layers']} x {values['neurons']}, {values['optimizer']} {rate:g}, "
        f"batch {values['batch_size']}, dropout {values['dropout']:g}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == [SEARCH]:
        search(sys.argv[2], sys.argv[3:])
    else:
        main()
