"""How long a search takes to a validation accuracy, from the start of its process.

Run by ``make benchmark``; prints a Markdown table and asserts nothing. Each seed has a split, first
weights and configurations of its own.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from results import columns
from results.reading import Run, read_run

COMMAND = Path(sys.executable).parent / "fmnist-search"


def search(out: Path, *, space: str, target: float, budget_seconds: float, seed: int) -> Run:
    """Run one search that ends at the target or when the budget is spent."""
    subprocess.run(
        [
            COMMAND, "run", "--space", space, "--target", str(target), "--seed", str(seed),
            "--time-budget", str(budget_seconds), "--retrain-epochs", "none", "--out", out,
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return read_run(out)


def seconds_to(run: Run, target: float) -> float | None:
    """Return when a run first reported the target, or None."""
    rows = run.epochs.to_pylist()
    times = [row[columns.AT_SECONDS] for row in rows if (row[columns.OBJECTIVE] or 0) >= target]
    return min(times, default=None)


def first_epoch_seconds(run: Run) -> float:
    """Return when training began: the end of the first epoch less its own length."""
    first = min(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS])
    return first[columns.AT_SECONDS] - first[columns.EPOCH_SECONDS]


def main() -> None:
    """Search once per seed and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="wide")
    parser.add_argument("--target", type=float, default=0.9007)
    parser.add_argument("--budget-seconds", type=float, default=180.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    print(
        f"{asked.space}, val_accuracy {asked.target}; {os.cpu_count()} cores, {platform.platform()}\n"
    )
    print("| seed | training began s | target reached s | best | epochs |")
    print("| --- | --- | --- | --- | --- |")
    reached = []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = search(
                Path(folder) / "run",
                space=asked.space,
                target=asked.target,
                budget_seconds=asked.budget_seconds,
                seed=seed,
            )
        seconds = seconds_to(run, asked.target)
        reached.append(seconds if seconds is not None else float("inf"))
        best = max(row[columns.OBJECTIVE] or 0 for row in run.epochs.to_pylist())
        print(
            f"| {seed} | {first_epoch_seconds(run):.1f} | {f'{seconds:.1f}' if seconds else 'not'} "
            f"| {best:.4f} | {run.epochs.num_rows} |",
            flush=True,
        )
    print(f"\nmedian {statistics.median(reached):.1f} s of {len(reached)} seeds")


if __name__ == "__main__":
    main()
