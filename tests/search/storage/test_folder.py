"""The run folder: when one is made or opened, what its files are called, and what is removed."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.errors import RunFolderError
from search.storage.folder import (
    RunFolder,
    is_blank,
    locked_run,
    nearest_folder,
    new_run,
    out_exists_message,
    previous_state_file,
    remove_state,
    replace_folder,
    state_weights_file,
    why_unwritable,
)
from search.storage.lock import Owner


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


def names(path):
    return {entry.name for entry in path.iterdir()}


def touch(*paths):
    for path in paths:
        path.touch()


# --- Making and opening -----------------------------------------------------------------------


def test_a_new_folder_is_made_with_its_parents_and_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create(Path("runs/of/today"))
    assert folder.path == tmp_path / "runs" / "of" / "today"
    assert folder.checkpoints.is_dir()


def test_a_folder_whose_search_recorded_nothing_is_used_again(folder):
    touch(folder.lock_file)
    assert RunFolder.create(folder.path) == folder


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl", "notes.txt"])
def test_a_folder_with_anything_else_is_not_made_again(folder, name):
    touch(folder.path / name)
    with pytest.raises(RunFolderError, match=r"exists already: expected a new folder"):
        RunFolder.create(folder.path)


def test_the_message_on_an_existing_run_says_how_to_continue_it(folder):
    touch(folder.run_file)
    assert out_exists_message(folder.path) == (
        f"--out {str(folder.path)!r} exists already: expected a new folder, so that no run is "
        "lost. Name another folder, or continue its run with "
        f"`fmnist-search resume {folder.path}`."
    )


def test_the_message_on_an_existing_folder_that_is_no_run_says_to_move_it(tmp_path):
    assert out_exists_message(tmp_path).endswith("Name another folder, or move it away.")


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path):
    touch(tmp_path / "file")
    with pytest.raises(RunFolderError) as refused:
        RunFolder.create(tmp_path / "file" / "run")
    assert str(refused.value) == (
        f"--out {str(tmp_path / 'file' / 'run')!r} cannot be made (Not a directory). "
        "Name another folder."
    )


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl"])
def test_a_folder_with_one_of_its_records_is_opened(folder, monkeypatch, name):
    touch(folder.path / name)
    monkeypatch.chdir(folder.path.parent)
    assert RunFolder.open(Path("run")) == folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda path: None,
            "'{path}' does not exist: expected a folder with run.json, as `fmnist-search run` "
            "makes it.",
            id="missing",
        ),
        pytest.param(
            lambda path: path.mkdir(),
            "'{path}' is not a run: expected a folder with run.json, as `fmnist-search run` "
            "makes it.",
            id="not-a-run",
        ),
        pytest.param(
            RunFolder.create,
            "'{path}' has no records: its search ended before the first one, so there is nothing "
            "to continue. Run the same command again; it reuses this folder.",
            id="blank",
        ),
    ],
)
def test_a_folder_without_records_is_not_opened(tmp_path, make, message):
    path = tmp_path / "run"
    make(path)
    with pytest.raises(RunFolderError) as refused:
        RunFolder.open(path)
    assert str(refused.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("files", "blank"),
    [
        ([], True),
        (["driver.lock"], True),
        (["checkpoints/trial-00000-best.weights.h5"], False),
        (["driver.lock", "run.json"], False),
    ],
)
def test_a_folder_is_blank_until_something_is_recorded(folder, files, blank):
    touch(*(folder.path / file for file in files))
    assert is_blank(folder.path) is blank


def test_an_empty_folder_of_the_user_is_not_blank(tmp_path):
    assert not is_blank(tmp_path)
    assert not is_blank(tmp_path / "missing")


# --- Names of files, as version 0.1.0 has them --------------------------------------------------


def test_the_files_of_a_run_have_their_names():
    run = RunFolder(Path("run"))
    assert {
        name: str(getattr(run, name).relative_to("run"))
        for name in (
            "run_file", "journal_file", "trials_file", "epochs_file", "checkpoints",
            "confirmation_file", "final", "lock_file",
        )
    } == {
        "run_file": "run.json",
        "journal_file": "journal.jsonl",
        "trials_file": "trials.parquet",
        "epochs_file": "epochs.parquet",
        "checkpoints": "checkpoints",
        "confirmation_file": "confirm/confirmation.json",
        "final": "final",
        "lock_file": "driver.lock",
    }  # fmt: skip


def test_the_files_of_a_trial_have_its_number():
    run = RunFolder(Path("run"))
    state = run.state_file(12)
    assert [
        str(path.relative_to("run/checkpoints"))
        for path in (
            run.best_weights_file(12), run.build_config_file(12), state,
            previous_state_file(state), state_weights_file(state),
            run.retraining_state_file(12, 20),
        )
    ] == [
        "trial-00012-best.weights.h5",
        "trial-00012-build.json",
        "trial-00012-state.npz",
        "trial-00012-state.before.npz",
        "trial-00012-state.best.h5",
        "retraining-00012-00020-state.npz",
    ]  # fmt: skip


# --- Removing files -----------------------------------------------------------------------------


def fill(folder, *trials):
    """Make every checkpoint file of some trials."""
    for trial in trials:
        state = folder.state_file(trial)
        touch(
            folder.best_weights_file(trial),
            folder.build_config_file(trial),
            state,
            previous_state_file(state),
            state_weights_file(state),
            folder.checkpoints / f".4711-{state.name}",
        )


WEIGHTS = {"trial-00001-best.weights.h5", "trial-00001-build.json"}
STATE = {
    "trial-00001-state.npz",
    "trial-00001-state.before.npz",
    "trial-00001-state.best.h5",
    ".4711-trial-00001-state.npz",
}


@pytest.mark.parametrize(
    ("forget", "left"),
    [
        (RunFolder.forget_state, WEIGHTS),
        (RunFolder.forget_weights, STATE),
        (RunFolder.forget, set()),
    ],
)
def test_only_what_is_to_be_forgotten_of_a_trial_is_removed(folder, forget, left):
    fill(folder, 2)
    of_another_trial = names(folder.checkpoints)
    fill(folder, 1)
    assert names(folder.checkpoints) == WEIGHTS | STATE | of_another_trial
    forget(folder, 1)
    assert names(folder.checkpoints) == left | of_another_trial
    forget(folder, 1)  # nothing is left to remove
    assert names(folder.checkpoints) == left | of_another_trial


def test_the_removed_files_of_a_state_are_returned(folder):
    state = folder.state_file(1)
    touch(state)
    assert remove_state(state) == (state, previous_state_file(state), state_weights_file(state))
    assert names(folder.checkpoints) == set()


def test_the_states_of_all_trials_but_some_are_removed(folder):
    fill(folder, 1, 2, 3)
    retraining = folder.retraining_state_file(1, 20)
    touch(retraining)
    folder.forget_states(but=[1, 3])
    left = {name for name in names(folder.checkpoints) if "state" in name}
    state_of_3 = {name.replace("00001", "00003") for name in STATE}
    assert left == STATE | state_of_3 | {retraining.name}
    assert folder.best_weights_file(2).exists()


def test_the_states_of_retrainings_are_removed_alone(folder):
    fill(folder, 1)
    before = names(folder.checkpoints)
    retraining = folder.retraining_state_file(1, 20)
    touch(retraining, previous_state_file(retraining))
    folder.forget_retrainings()
    assert names(folder.checkpoints) == before


def test_temporary_files_of_killed_processes_are_swept_away(folder):
    fill(folder, 1)
    touch(
        folder.run_file,
        folder.lock_file,
        folder.path / ".4711-run.json",
        folder.path / "driver.lock.0123456789abcdef",
        folder.path / ".notes",
    )
    folder.sweep()
    assert names(folder.path) == {"checkpoints", "driver.lock", "run.json", ".notes"}
    assert names(folder.checkpoints) == WEIGHTS | STATE - {".4711-trial-00001-state.npz"}


def test_a_sweep_makes_a_missing_folder_of_checkpoints(folder):
    folder.checkpoints.rmdir()
    folder.sweep()
    assert folder.checkpoints.is_dir()


def test_a_checkpoint_in_the_run_folder_needs_no_more_work(folder):
    fill(folder, 1)
    before = names(folder.checkpoints)
    assert folder.checkpoint_changed(folder.state_file(1)) is None
    assert names(folder.checkpoints) == before


# --- A run that is locked -----------------------------------------------------------------------


def test_a_run_is_locked_while_it_is_used(folder):
    with locked_run(folder, print) as run:
        assert run.folder == folder
        run.lock.check()
        assert folder.lock_file.exists()
        with (
            pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} "),
            locked_run(folder, print),
        ):
            raise AssertionError("a second driver has the run too")
    assert not folder.lock_file.exists()


def test_the_lock_of_a_run_is_released_after_an_error(folder):
    with pytest.raises(ValueError, match="of the search"), locked_run(folder, print):
        raise ValueError("of the search")
    assert not folder.lock_file.exists()


def test_the_line_on_a_dead_driver_is_said(folder):
    owner = replace(Owner.this_process(), boot="before-the-restart")
    folder.lock_file.write_text(json.dumps(asdict(owner) | {"beats": 3}))
    lines = []
    with locked_run(folder, lines.append):
        [line] = lines
    assert "is dead: this process takes over" in line


def test_a_new_run_in_which_nothing_was_recorded_is_removed(tmp_path):
    with new_run(tmp_path / "run", print) as run:
        assert run.folder.lock_file.exists()
    assert names(tmp_path) == set()


def test_a_new_run_with_a_journal_stays_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="of the search"), new_run(tmp_path / "run", print) as run:
        touch(run.folder.journal_file)
        raise ValueError("of the search")
    assert names(tmp_path / "run") == {"checkpoints", "journal.jsonl"}


# --- Where a run may be written -----------------------------------------------------------------


def test_the_nearest_folder_is_the_deepest_that_exists(tmp_path, monkeypatch):
    assert nearest_folder(tmp_path) == tmp_path
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert nearest_folder(Path("a/b")) == tmp_path


def test_a_writable_folder_is_no_problem(tmp_path):
    assert why_unwritable(tmp_path / "runs" / "a") is None


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    file = tmp_path / "a file"
    touch(file)
    out = file / "run"
    assert why_unwritable(out) == (
        f"--out {str(out)!r}: {str(file)!r} is not writable. Name another folder."
    )


@pytest.mark.parametrize("mode", [os.W_OK, os.X_OK])
def test_a_folder_that_lacks_a_permission_is_named(tmp_path, monkeypatch, mode):
    # root, who may run the tests, has every permission.
    monkeypatch.setattr(os, "access", lambda path, wanted: not wanted & mode)
    assert why_unwritable(tmp_path) is not None


# --- Replacing a folder -------------------------------------------------------------------------


def write_folder(path, text):
    path.mkdir()
    (path / "model").write_text(text)
    return path


def test_a_replaced_folder_is_kept_beside_the_new_one(tmp_path):
    target = write_folder(tmp_path / "final", "old")
    replace_folder(write_folder(tmp_path / "final.fresh", "new"), target)
    assert (target / "model").read_text() == "new"
    assert (tmp_path / "final.previous" / "model").read_text() == "old"
    assert names(tmp_path) == {"final", "final.previous"}


def test_only_the_last_replaced_folder_is_kept(tmp_path):
    target = write_folder(tmp_path / "final", "first")
    for text in ("second", "third"):
        replace_folder(write_folder(tmp_path / "final.fresh", text), target)
    assert (tmp_path / "final.previous" / "model").read_text() == "second"


def test_a_folder_without_a_former_one_is_moved_alone(tmp_path):
    replace_folder(write_folder(tmp_path / "final.fresh", "new"), tmp_path / "final")
    assert names(tmp_path) == {"final"}
