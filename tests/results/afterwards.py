"""Writes what `fmnist-search confirm` and `fmnist-search audit` leave in a run, of made-up values."""

import json
from dataclasses import replace

from results.record import columns
from results.record.confirmation import AccuracyOnTest, Candidate
from results.record.history import Objective
from results.record.intervals import estimate_mean
from search.final.confirm import compare_candidates

SEEDS = (1, 2, 3, 4, 5)
# A winner whose search was lucky, a tie, one that is worse, one that diverged on a seed, and the
# published one beside them at two numbers of epochs.
CANDIDATES = (
    ("trial 17", 20, 0.9112, (0.9070, 0.9062, 0.9081, 0.9066, 0.9076)),
    ("trial 17", 50, 0.9112, (0.9071, 0.9058, 0.9079, 0.9069, 0.9073)),
    ("trial 4", 20, 0.9101, (0.9041, 0.9038, 0.9052, 0.9030, 0.9044)),
    ("trial 9", 50, 0.9098, (0.9060, None, 0.9050, 0.9055, 0.9049)),
    ("published", 20, None, (0.9003, 0.8990, 0.9021, 0.9011, 0.8998)),
    ("published", 50, None, (0.8993, 0.8980, 0.9011, 0.9001, 0.8988)),
)
# Trial, epoch and value at the stop, value at the end.
AUDITED = (
    (2, 1, 0.8528, 0.9050), (7, 1, 0.8610, 0.9124), (8, 3, 0.8821, 0.9081), (11, 1, 0.8003, None),
)  # fmt: skip


def confirm(run, candidates=CANDIDATES, *, seeds=SEEDS, mode="max", objective="val_accuracy"):
    """Write confirm/confirmation.json; return what it says."""
    chosen = [
        Candidate(name, _trial(name), epochs, {"layers": 2, "rate": 0.003}, search_value)
        for name, epochs, search_value, _ in candidates
    ]
    scores = [scores for *_, scores in candidates]
    made = compare_candidates(chosen, seeds, scores, Objective(objective, mode))
    tested = list(made.candidates)
    for one in made.tested_candidates:
        place = tested.index(one)
        accuracies = tuple(0.9 + seed / 1000 - place / 100 for seed in seeds)
        test = AccuracyOnTest(accuracies, **estimate_mean(accuracies).to_json())
        tested[place] = replace(one, test=test)
    made = replace(made, candidates=tuple(tested))
    return put(run, columns.CONFIRM_DIR, columns.CONFIRMATION_FILE, made.to_json())


def audit(run, trials=AUDITED, *, mode="max", objective="val_accuracy", best=0.9112, **others):
    """Write audit/audit.json of 120 stopped trials; return what it says."""
    rows = [_audited(*one, mode, best) for one in trials]
    wrong = sum(row["is_wrong"] for row in rows)
    told = {
        "objective": objective, "mode": mode, "search_best": best, "stopped": 120,
        "audited": len(rows), "wrong": wrong, "wrong_share": wrong / len(rows),
        "wrong_low": 0.0456, "wrong_high": 0.6994, "trials": rows, "seconds_saved": 3960.0,
        "seconds_searched": 820.0,
    }  # fmt: skip
    return put(run, columns.AUDIT_DIR, columns.AUDIT_FILE, told | others)


def put(run, folder, name, told):
    """Write a file of a run; return what it says."""
    (run / folder).mkdir(exist_ok=True)
    (run / folder / name).write_text(told if isinstance(told, str) else json.dumps(told))
    return told


def _trial(name):
    return int(name.split()[1]) if name.startswith("trial ") else None


def _audited(trial, epoch, at_stop, value, mode, best):
    sign = 1 if mode == "max" else -1
    excess = None if value is None else sign * (value - best)
    return {
        "trial": trial,
        "stopped_epoch": epoch,
        "stopped_value": at_stop,
        "epochs": 30 if value is not None else epoch + 1,
        "value": value,
        "state": "completed" if value is not None else "diverged",
        "is_wrong": excess is not None and excess > 0,
        "excess": excess,
        "seconds_to_stop": 1.5 * epoch,
        "seconds_after_stop": 33.0,
        "is_same": True,
    }
