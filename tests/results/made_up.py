"""Runs of made-up trials, written by the program's own writers: as many as wanted, in no time."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.columns import Decision, State
from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import write_tables
from search.final.mistakes import Mistakes
from search.final.scores import classification_scores
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder

CLASSES = ("<red>", "green", "blue")
ASSET = Path(__file__).parents[1] / "assets" / "version-0.1.0" / "finished" / "run.json"
EPOCHS, RUNGS = 9, (1, 3)
METRICS = ("accuracy", "loss", "val_accuracy", "val_loss")


def _row(name, kind, **fields):
    plain = {"conditions": [], "choices": [], "ordered": True, "low": 0, "high": 0, "step": None}
    return {"name": name, "kind": kind, "default": None, "sampling": "linear"} | plain | fields


ON_SGD = [{"parent": "optimizer", "values": ["sgd"]}]
SPACE = [
    _row("layers", "Int", low=1, high=6, step=1, default=2),
    _row("rate", "Float", low=1e-4, high=1e-1, sampling="log", default=1e-3),
    _row("optimizer", "Choice", choices=["sgd", "adam"], ordered=False, default="adam"),
    _row("momentum", "Float", low=0.0, high=0.9, default=0.0, conditions=ON_SGD),
    _row("dropout", "Boolean", choices=[True, False], ordered=False, default=False),
]


def made_up_run(path, *, trials=30, workers=2, seed=0):
    """Write a run whose objective peaks at a rate of 0.003 and with two layers.

    Trials end as trials do: completed, stopped at the rungs 1 and 3, one diverged, one failed.
    """
    folder = RunFolder.create(path)
    run = json.loads(ASSET.read_text())
    run["plan"] |= {"trials": trials, "workers": workers, "scheduler": "asha"}
    run["plan"]["problem"] |= {"epochs": EPOCHS, "seed": seed}
    write_json(folder.run_file, run | {"space": SPACE})
    ticks = itertools.count(1)
    journal = Journal(folder.journal_file, clock=lambda: 0.0)
    history = History(Objective("val_accuracy", "max"))
    recorder = Recorder(journal, history, clock=lambda: next(ticks) * 0.25, scheduler="asha")
    recorder.search_started(run=run)
    generator = np.random.default_rng(seed)
    for trial in range(trials):
        _trial(recorder, trial, generator, f"host:{100 + trial % workers}")
    recorder.search_ended("trials done")
    journal.close()
    write_tables(folder.path, history)
    return folder.path


def retrained(path, *, mistakes=5):
    """Give a run a final model's files: curves at 2 and 4 epochs, scores, mistakes."""
    final = path / columns.FINAL_DIR
    final.mkdir()
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 60)
    outputs = generator.dirichlet((1, 1, 1), 60) * 0.1
    outputs[np.arange(60), labels] += 0.9
    outputs[:mistakes] = np.roll(outputs[:mistakes], 1, axis=1)
    pictures = generator.random((60, 8, 8))
    wrong = Mistakes()
    wrong.add(pictures, labels, outputs)
    pq.write_table(pa.Table.from_pylist(wrong.rows(CLASSES)), final / columns.MISTAKES_FILE)
    scores = classification_scores(labels, outputs.argmax(1), classes=3, class_names=CLASSES)
    write_json(
        final / columns.EVALUATION_FILE,
        scores | {"test_loss": 0.4, "epochs": 4, "validation_accuracy": 0.8},
    )
    rows = [
        {columns.PLANNED_EPOCHS: planned, columns.EPOCH: epoch}
        | {columns.METRIC_PREFIX + name: generator.random() for name in METRICS}
        for planned in (2, 4)
        for epoch in range(1, planned + 1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), final / columns.HISTORY_FILE)
    return path


def without_pictures(path):
    """Take the pictures out of a table of mistakes, as of samples that are none."""
    rows = pq.read_table(path).to_pylist()
    nothing = dict.fromkeys((columns.PIXELS, columns.HEIGHT, columns.WIDTH, columns.CHANNELS))
    pq.write_table(pa.Table.from_pylist([row | nothing for row in rows]), path)


def _trial(recorder, trial, generator, worker):
    values = {
        "layers": int(generator.integers(1, 7)),
        "rate": float(10 ** generator.uniform(-4, -1)),
        "optimizer": str(generator.choice(["sgd", "adam"])),
        "dropout": bool(generator.integers(2)),
    }
    if values["optimizer"] == "sgd":
        values["momentum"] = float(generator.uniform(0, 0.9))
    recorder.trial_started(trial, values, epochs=EPOCHS)
    if trial == 5:
        recorder.trial_ended(trial, State.FAILED, error="ValueError: <b>made up</b>")
        return
    quality = (
        0.9 - 0.03 * abs(math.log10(values["rate"] / 0.003)) - 0.01 * abs(values["layers"] - 2)
    )
    for epoch in range(1, EPOCHS + 1):
        value = None if trial == 6 else quality - 0.2 / (epoch + 1) + generator.normal(0, 0.002)
        is_poor = epoch in RUNGS and value is not None and generator.random() < 0.6
        report = {
            "epoch": epoch, "epoch_seconds": 0.2, "values": values,
            "metrics": {"val_accuracy": value, "loss": value and 1 - value},
            "laps": {"build": 0.01, "train": 0.15, "validate": 0.05},
        }  # fmt: skip
        decision = Decision.STOP if is_poor else Decision.CONTINUE
        recorder.epoch(trial, report, decision=decision, worker=worker)
        if value is None:
            recorder.trial_ended(trial, State.DIVERGED, error="loss not finite in epoch 1")
            return
        if is_poor:
            recorder.trial_ended(trial, State.STOPPED)
            return
    recorder.trial_ended(trial, State.COMPLETED)
