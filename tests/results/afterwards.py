"""What `fmnist-search confirm` and `fmnist-search audit` leave in a run, of made-up values."""

import json
from dataclasses import replace

from results.record import columns
from results.record.audit import Audit
from results.record.confirmation import AccuracyOnTest, Candidate, Confirmation
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


def confirmation_of(
    candidates=CANDIDATES, *, seeds=SEEDS, mode="max", objective="val_accuracy"
) -> Confirmation:
    """Return the confirmation of candidates: name, epochs, value in the search, scores."""
    chosen = [
        Candidate(name, _trial(name), epochs, {"layers": 2, "rate": 0.003}, search_value)
        for name, epochs, search_value, _ in candidates
    ]
    scores = [scores for *_, scores in candidates]
    confirmation = compare_candidates(chosen, seeds, scores, Objective(objective, mode))
    tested = list(confirmation.candidates)
    for candidate in confirmation.tested_candidates:
        place = tested.index(candidate)
        accuracies = tuple(0.9 + seed / 1000 - place / 100 for seed in seeds)
        test = AccuracyOnTest(accuracies, **estimate_mean(accuracies).to_json())
        tested[place] = replace(candidate, test=test)
    return replace(confirmation, candidates=tuple(tested))


def audit_of(
    trials=AUDITED, *, mode="max", objective="val_accuracy", best=0.9112, **fields
) -> Audit:
    """Return the audit of trials, of 120 that were stopped; ``fields`` replaces figures."""
    rows = [_audited(*trial, mode, best) for trial in trials]
    wrong = sum(row["is_wrong"] for row in rows)
    content = {
        "objective": objective, "mode": mode, "search_best": best, "stopped": 120,
        "audited": len(rows), "wrong": wrong, "wrong_share": wrong / len(rows),
        "wrong_low": 0.0456, "wrong_high": 0.6994, "trials": rows, "seconds_saved": 3960.0,
        "seconds_searched": 820.0,
    }  # fmt: skip
    return Audit.from_json(json.dumps(content | fields))


def confirm(run, *candidates, **options) -> Confirmation:
    """Write confirm/confirmation.json of a run, with the arguments of ``confirmation_of``."""
    confirmation = confirmation_of(*candidates, **options)
    return _written(run, columns.CONFIRM_DIR, columns.CONFIRMATION_FILE, confirmation)


def audit(run, *trials, **options) -> Audit:
    """Write audit/audit.json of a run, with the arguments of ``audit_of``."""
    return _written(run, columns.AUDIT_DIR, columns.AUDIT_FILE, audit_of(*trials, **options))


def _written(run, folder, name, record):
    (run / folder).mkdir(exist_ok=True)
    record.write(run / folder / name)
    return record


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
