"""What a project folder held before: the newest three stand beside it, nothing else is touched."""

import pytest

from search.errors import UsageError
from search.tuner import former
from search.tuner.former import MAX_FORMER_RUNS, move_away


@pytest.fixture
def runs(tmp_path):
    """Write a folder with a mark of a run for each name and text; return the folder of all."""

    def write(mark="run.json", **texts):
        for name, text in texts.items():
            folder = tmp_path / name.replace("_", ".", 1).replace("_", "-")
            (folder / "checkpoints").mkdir(parents=True)
            (folder / mark).write_text(text)
        return tmp_path

    return write


def texts(folder):
    return {path.name: file.read_text() for path in folder.iterdir() for file in path.glob("*.*")}


def test_the_newest_former_run_is_previous_and_the_oldest_has_the_highest_number(runs):
    folder = runs(run="third", run_previous="second", run_previous_2="first")
    assert move_away(folder / "run", MAX_FORMER_RUNS) == folder / "run.previous"
    assert texts(folder) == {
        "run.previous": "third", "run.previous-2": "second", "run.previous-3": "first",
    }  # fmt: skip


@pytest.mark.parametrize("mark", ["run.json", "journal.jsonl", "oracle.json"])
def test_the_oldest_of_four_is_deleted(runs, mark):
    folder = runs(mark, run="4", run_previous="3", run_previous_2="2", run_previous_3="1")
    move_away(folder / "run", MAX_FORMER_RUNS)
    assert texts(folder) == {"run.previous": "4", "run.previous-2": "3", "run.previous-3": "2"}


def test_without_a_limit_nothing_is_deleted(runs):
    folder = runs(run="4", run_previous="3", run_previous_2="2", run_previous_3="1")
    move_away(folder / "run")
    assert texts(folder) == {
        "run.previous": "4", "run.previous-2": "3", "run.previous-3": "2", "run.previous-4": "1",
    }  # fmt: skip


def test_a_folder_with_anything_else_keeps_its_name_and_content(runs):
    folder = runs("thesis.txt", run_previous_2="years of work")
    runs(run="4", run_previous="3", run_previous_3="2", run_previous_4="1")
    move_away(folder / "run", MAX_FORMER_RUNS)
    assert texts(folder) == {
        "run.previous": "4", "run.previous-2": "years of work", "run.previous-3": "3",
        "run.previous-4": "2",
    }  # fmt: skip


def test_more_former_runs_than_are_kept_now_are_left_alone(runs):
    folder = runs(
        run="5", run_previous="1", run_previous_2="2", run_previous_3="3", run_previous_4="4"
    )
    move_away(folder / "run", MAX_FORMER_RUNS)
    assert texts(folder)["run.previous-4"] == "4"


def test_of_a_link_only_the_link_is_deleted(runs):
    folder = runs(run="4", run_previous="3", run_previous_2="2", elsewhere="1")
    (folder / "run.previous-3").symlink_to(folder / "elsewhere")
    move_away(folder / "run", MAX_FORMER_RUNS)
    assert texts(folder) == {
        "run.previous": "4", "run.previous-2": "3", "run.previous-3": "2", "elsewhere": "1",
    }  # fmt: skip


class KilledError(Exception):
    """Stands for a signal that ends the process."""


@pytest.mark.parametrize("steps", range(8))
def test_a_process_that_is_killed_in_between_loses_at_most_the_oldest(runs, monkeypatch, steps):
    folder = runs(run="4", run_previous="3", run_previous_2="2", run_previous_3="1")
    count = iter(range(steps))

    def killed_after(call):
        def step(*arguments):
            if next(count, None) is None:
                raise KilledError
            return call(*arguments)

        return step

    with monkeypatch.context() as patch:
        for owner, name in (
            (former.Path, "rename"), (former.Path, "unlink"), (former.Path, "rmdir"), (former.shutil, "rmtree"),
        ):  # fmt: skip
            patch.setattr(owner, name, killed_after(getattr(owner, name)))
        if steps < 6:
            with pytest.raises(KilledError):
                move_away(folder / "run", MAX_FORMER_RUNS)
        else:
            move_away(folder / "run", MAX_FORMER_RUNS)
    assert {"2", "3", "4"} <= set(texts(folder).values())
    if (folder / "run").exists():
        move_away(folder / "run", MAX_FORMER_RUNS)
    assert texts(folder) == {"run.previous": "4", "run.previous-2": "3", "run.previous-3": "2"}


def test_a_folder_that_cannot_be_renamed_is_named(runs, monkeypatch):
    folder = runs(run="1")

    def refuse(path, _target):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(former.Path, "rename", refuse)
    with pytest.raises(
        UsageError, match=r"cannot be moved to 'run.previous' \(.*Permission denied"
    ):
        move_away(folder / "run")
