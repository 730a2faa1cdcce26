"""What a script of seconds takes: keras-tuner, this project, and this project as it was before.

Run by ``make start``: ``peers/start_peer.py``, two searches, for each program in turn and so under
the same load, as many rounds as asked. Asserts nothing: it keeps a line of each
run in ``start.csv`` and prints the table of docs/performance.md (``--show --report docs``).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from outcome import markdown, measured, read_lines, sitting, sittings, write_lines

BENCHMARKS = Path(__file__).resolve().parent
HOME = BENCHMARKS.parents[1]
SCRIPT = BENCHMARKS / "peers" / "start_peer.py"
ROUNDS = 5
EPOCHS = 7
LONGEST_SECONDS = 400


@dataclass(frozen=True)
class Run:
    """One run of the script.

    Attributes:
        program: Which library it used.
        epochs: Of each trial.
        seconds: From the start of its process, with two searches, to its end.
        first_search_seconds: From the start of its process to the end of the first search.
        first_epoch_seconds: From the call of the first ``search`` to the first epoch.
        second_first_epoch_seconds: The same of the second search.
        worker_mib: Mean memory of a process that trains, its share of shared memory included.
        idle_mib: Memory of all processes that still run after the first search, the script apart.
        load: Processes that wanted to run in the minute before, of the whole machine.
        niceness: Of the script: below 0, it comes before the other processes of the machine.
        machine: Its cores and their kind.
        date: When it was measured, as ``YYYY-MM-DD``.
    """

    program: str
    epochs: int
    seconds: float
    first_search_seconds: float
    first_epoch_seconds: float
    second_first_epoch_seconds: float
    worker_mib: float
    idle_mib: float
    load: float
    niceness: int
    machine: str
    date: str


def main() -> None:
    """Run each program in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each trial")
    parser.add_argument("--niceness", type=int, default=0, help="below 0: as administrator")
    parser.add_argument(
        "--report", type=Path, default=Path("runs/start"), help="folder of start.csv"
    )
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    asked = parser.parse_args()
    report = asked.report / "start.csv"
    if not asked.show:
        lines: list[dict[str, object]] = list(read_lines(report))
        for _ in range(asked.rounds):
            for name, home, words in programs(asked.before):
                lines.append(asdict(run(name, home, words, asked.epochs, asked.niceness)))
                print(lines[-1], file=sys.stderr, flush=True)
                write_lines(report, lines)
    shown = list(read_lines(measured(report)))
    print(sittings(shown, "runs"), table(shown), sep="\n\n")


def programs(before: Path | None) -> list[tuple[str, Path, list[str]]]:
    """Return for each program its name, its checkout and the words for the script."""
    ours = ["--library", "search.kt"]
    found = [
        ("keras-tuner", HOME, ["--library", "keras_tuner"]),
        ("search.kt", HOME, ours),
        ("search.kt without forks", HOME, [*ours, "--without-forks"]),
    ]
    return [*found, ("search.kt before", before, ours)] if before else found


def run(name: str, home: Path, words: list[str], epochs: int, niceness: int) -> Run:
    """Run the script, and return what it took."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, SCRIPT, *words, "--epochs", str(epochs), "--folder", folder]
        command = ["nice", "-n", str(niceness), *script] if niceness else script
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, check=False, text=True, capture_output=True,
            timeout=LONGEST_SECONDS,
            env=os.environ | {"PYTHONPATH": str(home), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr[-3000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    first, second = (round(value, 2) for value in told["first_epochs"])
    return Run(
        name,
        epochs,
        round(seconds, 1),
        round(told["first_search"], 1),
        first,
        second,
        round(told["worker_memory"]),
        round(told["idle_memory"]),
        round(load, 1),
        niceness,
        **sitting(),
    )


def table(lines: Iterable[dict[str, str]]) -> str:
    """Return the Markdown table: medians, and in brackets the range of the runs."""
    heads = ["script", "epochs", "niceness", "runs", "two searches s", "one search s", "first epoch s",
             "first epoch of the second s", "MiB a worker", "MiB left running", "load"]  # fmt: skip
    columns = ["seconds", "first_search_seconds", "first_epoch_seconds",
               "second_first_epoch_seconds", "worker_mib", "idle_mib", "load"]  # fmt: skip
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for line in lines:
        group = line["program"], line["epochs"], line["niceness"]
        groups.setdefault(group, []).append(line)

    def order(item: tuple[tuple[str, str, str], list[dict[str, str]]]) -> tuple[int, int]:
        _, epochs, niceness = item[0]
        return int(niceness), int(epochs)

    return markdown(
        heads,
        (
            [*group, len(runs), *(spread(runs, name) for name in columns)]
            for group, runs in sorted(groups.items(), key=order)
        ),
    )


def spread(runs: list[dict[str, str]], column: str) -> str:
    """Return the median and the range of a column."""
    values = sorted(float(run[column]) for run in runs)
    return f"{statistics.median(values):.3g} ({values[0]:g} to {values[-1]:g})"


if __name__ == "__main__":
    main()
