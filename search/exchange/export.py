"""Exports a run into a new folder, as files that other tools open."""

import os
import shlex
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.confirmation import Confirmation
from results.record.files import read_json, replacing, write_json
from results.record.history import EpochRecord
from results.record.journal import describe_damage
from results.record.tables import best_record
from search.errors import RunFolderError, UsageError, one_line
from search.exchange.model_card import model_card
from search.session.run_file import RecordedRun, read_run
from search.storage.folder import RunFolder, why_unwritable
from search.view.view import View

HYPERPARAMETERS_FILE = "hyperparameters.json"
STUDY_FILE = "study.db"
CARD_FILE = "MODEL_CARD.md"


class Part(StrEnum):
    """A part of a run that can be exported."""

    BEST = "best"
    HYPERPARAMETERS = "hyperparameters"
    STUDY = "study"
    MODEL = "model"


# Placeholder of the folder in the description of a file: the folder is renamed when it is complete.
FOLDER = "{folder}"
# Writes files into a folder; returns the description of each by its name.
Writer = Callable[[RecordedRun, Path], dict[str, str]]


def export_run(path: Path, out: Path, view: View, *, only: Collection[Part] = ()) -> None:
    """Export a run into a new folder, whole or not at all.

    A run that is still searched, or was cut off, is exported as far as it has come.

    Args:
        path: The run.
        out: The folder to make; if it exists, it must be empty.
        view: Gets a line for each file.
        only: The parts to export; empty: all.

    Raises:
        SearchError: The folder is no run, has no best yet, or ``out`` cannot be made.
    """
    _check_target(out)
    run = read_run(RunFolder.open(path))
    if run.damaged_lines:
        view.note(describe_damage(run.damaged_lines))
    _best(run)  # raises before anything is written
    parts = [part for part in Part if part in (only or Part)]
    if Part.MODEL in parts and not _has_final(run):
        parts.remove(Part.MODEL)
        if not parts:
            raise UsageError(_no_model(run))
        view.note(_no_model(run))
    with _new_folder(out) as fresh:
        descriptions: dict[str, str] = {}
        for part in parts:
            descriptions |= WRITERS[part](run, fresh)
    for name, description in descriptions.items():
        view.note(f"{out / name}: {description.replace(FOLDER, str(out))}")
    if Part.MODEL in parts:
        _note_other_trial(run, view)


def _best(run: RecordedRun) -> EpochRecord:
    """Return the best epoch of a run.

    Raises:
        UsageError: No trial has reported a value yet.
    """
    best = run.history.best
    if best is None:
        path = str(run.folder.path)
        raise UsageError(
            f"{path!r}: no trial has reported {run.problem.objective.name} yet, so there is "
            "no best to export. Wait for its first epoch, or continue the search: "
            f"`fmnist-search resume {shlex.quote(path)}`."
        )
    return best


def _has_final(run: RecordedRun) -> bool:
    names = (columns.MODEL_FILE, columns.EVALUATION_FILE)
    return all((run.folder.final / name).is_file() for name in names)


def _no_model(run: RecordedRun) -> str:
    path = os.path.relpath(run.folder.path)
    reason = f"{path!r}: nothing was retrained, so there is no model"
    if run.problem.hypermodel is None:  # made by a script, or imported
        return f"{reason}."
    return f"{reason}: `fmnist-search retrain {shlex.quote(path)}` makes one."


def _check_target(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise RunFolderError(
            f"--out {str(out)!r} exists already: expected a new or an empty folder, so that "
            "nothing is lost. Name another, or move that one away."
        )
    problem = why_unwritable(out)
    if problem is not None:
        raise RunFolderError(problem)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Provide a folder to write to, which becomes ``out`` if the block succeeds."""
    target = out.resolve()
    fresh = target.with_name(f"{target.name}.fresh-{os.getpid()}")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        fresh.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise RunFolderError(
            f"--out {str(out)!r} cannot be made ({one_line(error)}): nothing is left of it. Try "
            "again, or name another folder."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_best(run: RecordedRun, out: Path) -> dict[str, str]:
    best, objective = _best(run), run.history.objective.name
    write_json(out / columns.BEST_FILE, best_record(run.history, best))
    return {
        columns.BEST_FILE: f"the best hyperparameters (trial {best.trial}, epoch {best.epoch}, "
        f"{objective} {best.objective:.4f})"
    }


def _write_hyperparameters(run: RecordedRun, out: Path) -> dict[str, str]:
    values = run.history.trials[_best(run).trial].values
    write_json(out / HYPERPARAMETERS_FILE, run.space.to_keras_tuner(values))
    return {
        HYPERPARAMETERS_FILE: "the same, for build_model(hp): hp = keras_tuner.HyperParameters"
        f".from_config(json.load(open('{FOLDER}/{HYPERPARAMETERS_FILE}')))"
    }


def _write_study(run: RecordedRun, out: Path) -> dict[str, str]:
    from search.exchange.optuna_study import datetime_converter, write_study

    history = run.history
    try:
        to_datetime = datetime_converter(run.description, run.events)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.folder.run_file} does not say when the search started ({one_line(error)}): "
            "expected the file as `fmnist-search run` writes it."
        ) from error
    attributes = {
        "objective": history.objective.name,
        "best_trial": _best(run).trial,
        "ended": history.end_reason or "not yet",
        "fmnist-search": run.description.get("version"),
    }
    with replacing(out / STUDY_FILE) as fresh:
        write_study(
            fresh,
            run.folder.path.name,
            history,
            run.space,
            to_datetime,
            attributes=attributes,
        )
    return {
        STUDY_FILE: f"the {len(history.trials)} trials for Optuna: "
        f"optuna.load_study(study_name={run.folder.path.name!r}, storage='sqlite:///{FOLDER}/{STUDY_FILE}')"
    }


def _write_model(run: RecordedRun, out: Path) -> dict[str, str]:
    final = run.folder.final
    evaluation = read_json(final / columns.EVALUATION_FILE)
    with replacing(out / columns.MODEL_FILE) as fresh:
        shutil.copyfile(final / columns.MODEL_FILE, fresh)
    try:
        card = model_card(
            run.folder.path.name,
            run.description,
            evaluation,
            out / columns.MODEL_FILE,
            trials=len(run.history.trials),
            was_tested_before=final.with_name(f"{final.name}.previous").exists(),
            confirmation=_confirmation(run, evaluation),
        )
        epochs = evaluation["epochs"]
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise RunFolderError(
            f"{final} cannot be described ({one_line(error)}): expected the files of "
            "`fmnist-search retrain`. Retrain again."
        ) from error
    with replacing(out / CARD_FILE) as fresh:
        fresh.write_text(card, encoding="utf-8")
    return {
        columns.MODEL_FILE: f"the final model, trained for {epochs} epochs: "
        f"keras.models.load_model('{FOLDER}/{columns.MODEL_FILE}')",
        CARD_FILE: "describes that model, its scores and its limits",
    }


def _confirmation(run: RecordedRun, evaluation: Mapping[str, Any]) -> Confirmation | None:
    """Return the confirmation that the final model won; None if it won none."""
    if not run.folder.confirmation_file.exists():
        return None
    confirmation = Confirmation.read(run.folder.confirmation_file)
    winner, seeds = confirmation.winning_candidate, evaluation.get(columns.CONFIRMED_SEEDS, ())
    # Otherwise the run was retrained since, or a later confirmation was cut off.
    is_winner = (winner.values, winner.epochs) == (evaluation["values"], evaluation["epochs"])
    return confirmation if is_winner and confirmation.seeds == tuple(seeds) else None


def _note_other_trial(run: RecordedRun, view: View) -> None:
    """Note if the final model is of another trial than the best one."""
    evaluation = read_json(run.folder.final / columns.EVALUATION_FILE)
    trial, best = evaluation.get("trial"), _best(run).trial
    if trial in (None, best):
        return
    if evaluation.get(columns.CONFIRMED_SEEDS):
        view.note(
            f"the model is of trial {trial}, which won the confirmation; the best of the search "
            f"is trial {best}"
        )
        return
    path = shlex.quote(os.path.relpath(run.folder.path))
    view.note(
        f"the model is of trial {trial}, but the best is now trial {best}: "
        f"`fmnist-search retrain {path}` retrains it"
    )


WRITERS: dict[Part, Writer] = {
    Part.BEST: _write_best,
    Part.HYPERPARAMETERS: _write_hyperparameters,
    Part.STUDY: _write_study,
    Part.MODEL: _write_model,
}
