"""Trains configurations of the ``wide`` space to their end, on splits that the race does not use.

Run by hand, for an hour; goes on with what is missing, and writes ``curves.jsonl`` anew, which
``make settings`` and ``make scale`` read. Random configurations, and the candidates for the first
one (``candidates.py``), are trained by this project itself, without early stopping.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from results import RunError
from results.reading import read_run
from results.record import columns
from search.session.stopping import TRIALS_DONE

BENCHMARKS = Path(__file__).resolve().parent
CURVES = BENCHMARKS / "curves.jsonl"
COMMAND = Path(sys.executable).parent / "fmnist-search"
SPLITS = (101, 102, 103, 104, 105)
RANDOM_EPOCHS = 30


class Candidate(NamedTuple):
    """Two hidden layers, relu, adam with learning rate 0.0015 at first, a cosine schedule."""

    neurons: int
    batch_size: int
    dropout: float
    epochs: int

    @property
    def name(self) -> str:
        """What the parameter's value is."""
        return f"{self.neurons} neurons, batch {self.batch_size}, dropout {self.dropout}, {self.epochs} epochs"

    @property
    def values(self) -> dict[str, Any]:
        """The configuration, as the ``wide`` space has it."""
        return {
            "activation": "relu",
            "batch_size": self.batch_size,
            "dropout": self.dropout,
            "hidden_layers": 2,
            "learning_rate": 0.0015,
            "neurons": self.neurons,
            "optimizer": "adam",
            "penalize_weights": False,
            "schedule": "cosine",
        }


_LONG = [(192, 96, 0.1), (256, 128, 0.1), (320, 192, 0.05), (384, 128, 0.2)]
_SHORT = [(192, 96, 0.1), (384, 128, 0.2)]
CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        *(Candidate(*one, epochs=10) for one in _SHORT),
        *(Candidate(*one, epochs=20) for one in _LONG),
        *(Candidate(*one, epochs=30) for one in _LONG),
    )
}
KINDS = {
    "candidates": [
        "--hypermodel", "candidates:Candidates", "--data", "fmnist_model.data:load_data",
        "--trials", str(len(CANDIDATES)), "--epochs", "30",
    ],
    "random": [
        "--space", "wide", "--trials", "12", "--epochs", str(RANDOM_EPOCHS), "--no-defaults-first",
    ],
}  # fmt: skip


def main() -> None:
    """Record what is missing and add it to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--folder", type=Path, default=Path("runs/recorded"))
    asked = parser.parse_args()
    known = {_key(line): line for line in map(json.loads, CURVES.read_text().splitlines())}
    for seed in SPLITS:
        out = asked.folder / f"{asked.kind}-{seed}"
        if not has_ended(out, TRIALS_DONE):
            shutil.rmtree(out, ignore_errors=True)  # of a sitting that was ended in it
            record(asked.kind, seed, out)
        known |= {_key(line): line for line in trained(out, seed)}
    written = CURVES.with_suffix(".new")
    written.write_text("".join(f"{json.dumps(line, sort_keys=True)}\n" for line in known.values()))
    written.replace(CURVES)


def has_ended(out: Path, reason: str) -> bool:
    """Tell whether a search has run to its proper end; one that was cut off has not."""
    with contextlib.suppress(RunError):
        return read_run(out).ended == reason
    return False


def record(kind: str, seed: int, out: Path) -> None:
    """Train every configuration of a kind on a split."""
    print(out, flush=True)
    words = [
        str(COMMAND), "run", *KINDS[kind], "--algorithm", "random", "--scheduler", "none",
        "--patience", "0", "--seed", str(seed), "--retrain-epochs", "none", "--out", str(out),
    ]  # fmt: skip
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(BENCHMARKS)})


def trained(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Return a line for each trial that was trained to its end."""
    run = read_run(out)
    rows = run.epochs.to_pylist()
    for trial in run.trials.to_pylist():
        values = _behind(columns.HP_PREFIX, trial)
        candidate = CANDIDATES.get(values.get("candidate", ""))
        of_epochs = candidate.epochs if candidate else RANDOM_EPOCHS
        epochs = [
            {
                "epoch_seconds": round(row[columns.EPOCH_SECONDS], 2),
                "metrics": {
                    name: round(value, 4)
                    for name, value in _behind(columns.METRIC_PREFIX, row).items()
                    if name != "learning_rate"
                },
            }
            for row in rows
            if row[columns.TRIAL] == trial[columns.TRIAL]
        ]
        if len(epochs) == of_epochs:
            values = candidate.values if candidate else values
            yield {"seed": seed, "of_epochs": of_epochs, "values": values, "epochs": epochs}


def _behind(prefix: str, row: dict[str, Any]) -> dict[str, Any]:
    found = ((name.removeprefix(prefix), name, value) for name, value in row.items())
    return {short: value for short, name, value in found if short != name and value is not None}


def _key(line: dict[str, Any]) -> str:
    return json.dumps([line["seed"], line["of_epochs"], line["values"]], sort_keys=True)


if __name__ == "__main__":
    main()
