"""The commands of fmnist-results, run in this process; in one of their own where it must be."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import afterwards
import made_up
import pyarrow.parquet as pq
import pytest

from results.compare import formats
from results.compare.formats import Format
from results.compare.rows import DATA, published_rows
from results.record import columns
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import refresh
from search.storage.lock import RunLock
from search.storage.recorder import Recorder

SHOWN_FORMATS = [table_format for table_format in Format if table_format is not Format.PARQUET]


def copied(run, path, *, problem=None, **plan):
    """Copy a run and change its plan."""
    shutil.copytree(run, path)
    description = json.loads((path / columns.RUN_FILE).read_text())
    description["plan"] |= plan
    description["plan"]["problem"] |= problem or {}
    (path / columns.RUN_FILE).write_text(json.dumps(description))
    return path


def names(text):
    return [row["name"] for row in json.loads(text)]


@pytest.fixture(scope="module")
def cut_off(plain, tmp_path_factory):
    """A run whose driver was killed long ago, without the end of its journal."""
    run = shutil.copytree(plain, tmp_path_factory.mktemp("runs") / "cut-off")
    journal = run / columns.JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    assert refresh(run) is None
    (run / columns.LOCK_FILE).touch()
    os.utime(run / columns.LOCK_FILE, (0, 0))
    return run


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["compare", "--format", "jsn"], "Did you mean 'json'?"),
        (["shwo", "x"], "Did you mean 'show'?"),
        (["show", "nowhere"], "'nowhere' does not exist: expected a run folder"),
        (["show", "nowhere", "--format", "csv"], "--format 'csv': expected table or json."),
        (["timing", "nowhere", "--format", "csv"], "--format 'csv': expected table or json."),
    ],
)
def test_a_wrong_word_is_answered_with_one_line(results, tmp_path, monkeypatch, arguments, hint):
    monkeypatch.chdir(tmp_path)
    status, out, [error] = results(*arguments)
    assert (status, out) == (2, "")
    assert hint in error


# --- compare: sorting and selecting -----------------------------------------------------------


def test_published_results_are_sorted_and_selected_with_the_runs(results, plain, tmp_path):
    run = copied(plain, tmp_path / "mine", problem={"data": DATA})
    status, out, _ = results("compare", run, "--sort", "best", "--format", "json")
    assert status == 0
    assert names(out)[:2] == ["mine", "published: earlier best of the MLP search"]
    assert len(names(out)) == 1 + len(published_rows())
    conditions = ["--where", "engine=published", "--where", "final_epochs=20"]
    _, out, _ = results("compare", run, *conditions, "--sort", "best", "--format", "json")
    assert names(out) == [
        "published: retrained 20 epochs, first try",
        "published: retrained 20 epochs, final model",
    ]
    _, out, _ = results("compare", run, "--where", "engine!=published", "--format", "json")
    assert names(out) == ["mine"]
    assert names(results("compare", run, "--no-published", "--format", "json")[1]) == ["mine"]


def test_without_a_run_the_published_results_are_shown(results):
    status, out, errors = results("compare", "--format", "json")
    assert (status, errors) == (0, [])
    assert sorted(names(out)) == sorted(row.name for row in published_rows())


def test_published_results_stand_only_beside_runs_on_their_data(results, plain, tmp_path):
    mine = copied(plain, tmp_path / "mine", problem={"data": DATA})
    assert "published" not in results("compare", plain)[1]
    rows = json.loads(results("compare", plain, mine, "--format", "json")[1])
    assert [row["data"] for row in rows] == [DATA] * 8 + ["problems:blobs"]
    assert "problems:blobs" in results("compare", plain, mine)[1]


def test_nothing_left_to_show_is_reported_beside_an_empty_table(results, plain):
    status, out, errors = results("compare", plain, "--where", "engine=rya", "--format", "json")
    assert (status, json.loads(out), errors) == (0, [], ["no row matches --where"])


def test_every_wrong_option_is_reported_at_once_with_the_nearest_value(results, tmp_path):
    status, out, errors = results(
        "compare", tmp_path / "nowhere", "--sort", "-bets", "--where", "trails=3",
        "--where", "trials=many", "--where", "trials", "--format", "parqet",
    )  # fmt: skip
    assert (status, out) == (2, "")
    for error, part in zip(
        errors,
        [
            "--sort '-bets': unknown field 'bets'. Did you mean 'best'?",
            "--where 'trails=3': unknown field 'trails'. Did you mean 'trials'?",
            "--where 'trials=many': expected a number for trials, got 'many'",
            "--where 'trials': expected FIELD=VALUE",
            "--format 'parqet': expected one of table, json, csv, markdown, parquet. Did you mean "
            "'parquet'?",
        ],
        strict=True,
    ):
        assert part in error


# --- compare: confirmation and audit ----------------------------------------------------------


@pytest.fixture(scope="module")
def followed_up(plain, tmp_path_factory):
    """A run that was confirmed and audited; not to be written to."""
    run = shutil.copytree(plain, tmp_path_factory.mktemp("runs") / "run")
    afterwards.confirm(run)
    afterwards.audit(run)
    return run


def cells_of(markdown):
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()
    ]
    return [dict(zip(heads, row, strict=True)) for row in rows]


def test_columns_of_a_follow_up_are_shown_if_any_run_has_one(results, followed_up, plain):
    [alone] = cells_of(results("compare", plain, "--format", "markdown")[1])
    assert not {"confirmed", "new seeds", "wrongly stopped"} & set(alone)
    rows = cells_of(results("compare", followed_up, plain, "--format", "markdown")[1])
    of_run, of_plain = sorted(rows, key=lambda row: row["run"], reverse=True)
    shown = {
        "confirmed": "0.9071", "95 % of confirmed": "0.9065 to 0.9077", "new seeds": "5",
        "confirmed test": "0.9030", "95 % of test": "0.9018 to 0.9042",
        "wrongly stopped": "1 of 4",
    }  # fmt: skip
    assert {name: of_run[name] for name in shown} == shown
    assert {name: of_plain[name] for name in shown} == dict.fromkeys(shown, "")


def test_programs_get_the_figures_of_a_follow_up_as_plain_numbers(results, followed_up, plain):
    _, out, _ = results(
        "compare", plain, followed_up, "--format", "json", "--sort", "-confirmed_mean"
    )
    first, second = json.loads(out)
    assert (first["name"], first["confirmed_mean"]) == ("run", pytest.approx(0.9071))
    assert (first["audit_audited"], second["confirmed_mean"]) == (4, None)
    _, out, _ = results(
        "compare", plain, followed_up, "--format", "csv", "--where", "confirmed_seeds=5"
    )
    [row] = csv.DictReader(io.StringIO(out))
    assert (row["name"], float(row["confirmed_test_mean"])) == ("run", pytest.approx(0.903))


def test_columns_that_do_not_fit_on_the_screen_are_named(results, plain, monkeypatch):
    monkeypatch.setattr(formats, "PLAIN_WIDTH", 60)
    status, out, [error] = results("compare", plain)
    assert status == 0
    assert all(len(line) <= 60 for line in out.splitlines())
    assert error.startswith("hidden columns: ")
    assert error.endswith(", algorithm, workers (use a wider screen or --format csv)")


# --- compare: files ---------------------------------------------------------------------------


@pytest.mark.parametrize("table_format", SHOWN_FORMATS)
def test_a_file_has_what_the_screen_shows(results, plain, tmp_path, table_format):
    file = tmp_path / "rows"
    _, shown, _ = results("compare", plain, "--format", table_format)
    assert "plain" in shown
    status, out, _ = results("compare", plain, "--format", table_format, "--out", file)
    assert (status, Path(out.strip()).resolve()) == (0, file)
    assert file.read_text() == shown
    assert list(tmp_path.iterdir()) == [file]  # nothing is left beside it


def test_a_parquet_file_has_the_rows_of_the_json(results, plain, tmp_path):
    file = tmp_path / "rows.parquet"
    assert results("compare", plain, "--format", "parquet", "--out", file)[0] == 0
    _, out, _ = results("compare", plain, "--format", "json")
    assert pq.read_table(file).to_pylist() == json.loads(out)


def test_parquet_needs_a_file(results, tmp_path):
    status, out, [error] = results("compare", tmp_path / "nowhere", "--format", "parquet")
    assert (status, out) == (2, "")
    assert error == "error: --format parquet needs a file: add --out FILE."


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("a.json", b"[\n"), ("a.CSV", b"name,engine"), ("a.md", b"| run"), ("a.parquet", b"PAR1"),
     ("a.txt", b"run ")],
)  # fmt: skip
def test_the_extension_of_the_file_chooses_the_format(results, plain, tmp_path, name, beginning):
    assert results("compare", plain, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_bytes().startswith(beginning)


def test_an_unknown_extension_needs_a_format(results, plain, tmp_path):
    status, _, [error] = results("compare", plain, "--out", tmp_path / "a.xlsx")
    assert status == 2
    assert "has an unknown extension: expected one of .json, .csv, .md, .parquet, .txt" in error
    status, _, _ = results("compare", plain, "--out", tmp_path / "a.xlsx", "--format", "csv")
    assert status == 0
    assert (tmp_path / "a.xlsx").read_text().startswith("name,")


def test_an_existing_file_stays_as_it_is(results, plain, tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("mine")
    for out, problem in [
        (file, "exists already"),
        (tmp_path, "exists already"),
        (tmp_path / "no" / "a.csv", "does not exist; create it first"),
    ]:
        status, _, [error] = results("compare", plain, "--out", out)
        assert status == 2
        assert problem in error
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


# --- compare: runs that cannot be compared ----------------------------------------------------


def without_results(run, path):
    """Make a run whose search has not begun its first trial."""
    path.mkdir()
    shutil.copy(run / columns.RUN_FILE, path)
    (path / columns.JOURNAL_FILE).touch()


def without_tables(run, path):
    copied(run, path)
    for name in (columns.JOURNAL_FILE, columns.EPOCHS_FILE):
        (path / name).unlink()


def with_a_damaged_audit(run, path):
    copied(run, path)
    afterwards.audit(path)
    (path / columns.AUDIT_DIR / columns.AUDIT_FILE).write_text("17")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda run, path: None, "does not exist"),
        (lambda run, path: path.symlink_to(path), "does not exist"),
        (lambda run, path: path.mkdir(), "has no run.json"),
        (without_tables, "epochs.parquet is missing and cannot be rebuilt"),
        (without_results, "has no results: none of its 0 trials has a value of val_accuracy"),
        (with_a_damaged_audit, "audit.json is damaged or incomplete"),
    ],
)
def test_a_run_that_cannot_be_compared_is_skipped_by_name(results, plain, tmp_path, make, problem):
    make(plain, tmp_path / "other")
    status, out, [error] = results("compare", tmp_path / "other", plain, "--format", "json")
    assert (status, names(out)) == (0, ["plain"])
    assert error.startswith("skipped: ")
    assert "other" in error
    assert problem in error


def test_a_run_that_cannot_be_compared_alone_is_an_error(results, tmp_path):
    status, out, [error] = results("compare", tmp_path / "nowhere")
    assert (status, out) == (2, "")
    assert error.startswith("error: ")
    assert "does not exist: expected a run folder" in error


def test_several_runs_that_cannot_be_compared_are_an_error(results, tmp_path):
    status, out, errors = results("compare", tmp_path / "one", tmp_path / "two")
    assert (status, out) == (2, "")
    assert [error.partition(":")[0] for error in errors] == ["skipped", "skipped", "error"]


def test_a_name_that_no_folder_can_have_is_skipped(results, plain):
    status, out, [error] = results("compare", "x" * 300, plain, "--format", "json")
    assert (status, names(out)) == (0, ["plain"])
    assert error == f"skipped: {'x' * 300!r} cannot be read: File name too long."


def test_a_folder_that_may_not_be_read_is_skipped(commands, plain, tmp_path):
    locked = copied(plain, tmp_path / "locked")
    words = [commands / "fmnist-results", "compare", locked, plain, "--format", "json"]
    if os.geteuid() == 0:  # may read every folder, unless that is taken from the process
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv can read every folder")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    locked.chmod(0)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    finally:
        locked.chmod(0o755)
    assert (done.returncode, names(done.stdout)) == (0, ["plain"])
    assert done.stderr == f"skipped: {str(locked)!r} cannot be read: Permission denied.\n"


def test_a_run_that_is_named_twice_is_shown_once(results, plain, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(plain)
    monkeypatch.chdir(plain.parent)
    same = [plain, f"{plain}/", "plain", tmp_path / "link"]
    status, out, errors = results("compare", *same, "--format", "json")
    assert (status, names(out), errors) == (0, ["plain"], [])


def test_a_search_that_has_not_ended_is_shown_with_its_state(results, plain, cut_off, tmp_path):
    running = copied(plain, tmp_path / "running")
    (running / columns.LOCK_FILE).touch()
    status, out, errors = results("compare", running, cut_off, plain, "--format", "json")
    assert (status, errors) == (0, [])
    assert {row["name"]: row["ended"] for row in json.loads(out)} == {
        "running": "running", "cut-off": "cut off", "plain": "trials done",
    }  # fmt: skip


# --- seeds ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seed_runs(plain, tmp_path_factory):
    """Runs of three seeds by two algorithms, those of one retrained; not to be written to."""
    folder = tmp_path_factory.mktemp("seeds")
    runs = []
    for algorithm in ("tpe", "random"):
        for seed in range(3):
            name = f"{algorithm}-{seed}"
            runs.append(copied(plain, folder / name, problem={"seed": seed}, algorithm=algorithm))
            if algorithm == "tpe":
                evaluation = runs[-1] / columns.FINAL_DIR / columns.EVALUATION_FILE
                evaluation.parent.mkdir()
                evaluation.write_text(json.dumps({"test_accuracy": 0.8 + seed / 100}))
    return runs


def test_seeds_are_compared_in_every_format(results, seed_runs):
    shown = {}
    for table_format in SHOWN_FORMATS:
        status, shown[table_format], notes = results("seeds", *seed_runs, "--format", table_format)
        assert status == 0
        assert [note.split(":")[0] for note in notes] == ["caution"]
    rows = json.loads(shown[Format.JSON])
    assert [(row["group"], row["metric"], row["tie"]) for row in rows] == [
        ("tpe", "val_accuracy", None), ("random", "val_accuracy", True),
        ("tpe", "test accuracy", None),
    ]  # fmt: skip
    assert (rows[2]["mean"], rows[2]["low"], rows[2]["high"]) == pytest.approx((0.81, 0.8, 0.82))
    lines = list(csv.DictReader(io.StringIO(shown[Format.CSV])))
    assert [float(line["mean"]) for line in lines] == [row["mean"] for row in rows]
    for table_format in (Format.TABLE, Format.MARKDOWN):
        line = shown[table_format].splitlines()[-2]
        assert "+0.0000" in line
        assert "tie" in line
    assert shown[Format.MARKDOWN].startswith("| group | metric | seeds | mean | 95 % interval |")


def test_the_same_seeds_always_give_the_same_table(results, seed_runs):
    assert results("seeds", *seed_runs) == results("seeds", *seed_runs)


def test_the_reference_of_seeds_can_be_the_first_group(results, seed_runs):
    rows = json.loads(
        results("seeds", *seed_runs[::-1], "--against", "first", "--format", "json")[1]
    )
    assert {row["group"]: row["against"] for row in rows[:2]} == {"random": None, "tpe": "random"}


def test_seeds_are_written_to_a_file(results, seed_runs, tmp_path):
    file = tmp_path / "seeds.parquet"
    assert results("seeds", *seed_runs, "--out", file)[0] == 0
    assert [row["seeds"] for row in pq.read_table(file).to_pylist()] == [3, 3, 3]
    assert str(pq.read_schema(file).field("tie").type) == "bool"


def test_a_run_that_cannot_stand_for_its_seed_is_skipped_by_name(
    results, cut_off, seed_runs, plain, tmp_path
):
    without_seed = copied(plain, tmp_path / "without seed", problem={"seed": None})
    status, out, errors = results(
        "seeds", cut_off, without_seed, seed_runs[0], tmp_path / "nowhere", "--format", "json"
    )
    assert status == 0
    assert [row["seeds"] for row in json.loads(out)] == [1, 1]
    assert [error.startswith("skipped: ") for error in errors] == [True] * 3
    assert "cut-off' is not complete (search: cut off)" in errors[0]
    assert "its seed is None" in errors[1]


def test_a_run_alone_that_cannot_stand_for_its_seed_is_an_error(results, cut_off):
    status, out, [error] = results("seeds", cut_off)
    assert (status, out) == (2, "")
    assert error.startswith("error: ")


def test_wrong_options_of_seeds_are_reported_with_the_nearest_value(results, tmp_path):
    status, _, errors = results("seeds", tmp_path, "--against", "frist", "--format", "jsn")
    assert status == 2
    assert [error.rpartition("Did you mean ")[2] for error in errors] == ["'first'?", "'json'?"]


# --- show -------------------------------------------------------------------------------------


def test_the_trials_of_a_run_are_shown(results, plain):
    status, out, errors = results("show", plain)
    assert (status, errors) == (0, [])
    heading, *lines = out.splitlines()
    assert heading.startswith("trial  ended")
    assert [line.split()[0] for line in lines] == [str(trial) for trial in range(20)]


def test_the_trials_of_a_run_are_printed_as_json(results, plain):
    trials = json.loads(results("show", plain, "--format", "json")[1])
    assert [trial["trial"] for trial in trials] == list(range(20))
    assert "confirmed" not in trials[0]
    assert "audited" not in trials[0]


def test_a_confirmation_is_shown_after_the_trials(results, plain, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    afterwards.confirm(run)
    status, out, notes = results("show", run)
    assert status == 0
    trials, _, confirmation = out.partition("\nconfirmed on 5 new seeds\n")
    assert len(trials.splitlines()) == 1 + 20
    heading, *rows, sentence = confirmation.splitlines()
    assert heading.split()[:2] == ["configuration", "epochs"]
    assert len(rows) == 6
    assert sentence.startswith("The winner, trial 17 with 20 epochs, has a mean val_accuracy of ")
    assert [note.partition(":")[0] for note in notes] == [
        "The search has continued since the confirmation", "caution",
    ]  # fmt: skip


def test_an_audit_is_shown_after_the_trials(results, plain, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    afterwards.audit(run)
    status, out, notes = results("show", run)
    assert status == 0
    first, *_ = out.partition("\nwhat early stopping cost\n")[2].splitlines()
    assert first.startswith("4 of 120 stopped trials, drawn at random, were trained to the last")
    assert notes == [
        "The search has continued since the audit: it has 14 stopped trials now, and its best is "
        "0.8634."
    ]


def test_a_follow_up_of_the_whole_search_is_shown_without_a_note(results, plain, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    afterwards.confirm(run, [("trial 2", 20, 0.8634, (0.85, 0.86))], seeds=(1, 2))
    best = json.loads((run / "best.json").read_text())["value"]
    afterwards.audit(run, stopped=14, best=best)
    status, out, notes = results("show", run)
    assert (status, notes) == (0, [])
    assert "trial 2 with 20 epochs" in out
    assert "4 of 14 stopped trials" in out


def test_a_run_that_was_cut_off_says_how_to_continue_it(results, cut_off):
    status, out, _ = results("show", cut_off)
    assert status == 0
    assert out.splitlines()[-1] == (
        f"the search was cut off; to continue it, run fmnist-search resume {cut_off}"
    )


def test_a_run_without_a_journal_can_be_read_but_not_continued(results, plain, tmp_path):
    run = copied(plain, tmp_path / "run")
    (run / columns.JOURNAL_FILE).unlink()
    _, out, _ = results("show", run)
    assert out.splitlines()[-1] == (
        "journal.jsonl is missing: the run can be read, but not continued"
    )


def test_damage_of_a_run_is_reported_with_its_folder(results, plain, tmp_path):
    run = copied(plain, tmp_path / "run")
    with (run / columns.JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"torn')
    lines = (run / columns.JOURNAL_FILE).read_bytes().count(b"\n") + 1
    status, _, errors = results("show", run)
    assert (status, errors) == (0, [f"{run}: journal: skipped damaged line {lines}"])


# --- timing -----------------------------------------------------------------------------------


def test_the_time_of_the_workers_is_shown(results, plain):
    status, out, _ = results("timing", plain)
    assert status == 0
    assert out.startswith("2 workers x ")
    seconds = json.loads(results("timing", plain, "--format", "json")[1])
    assert seconds["train"] == pytest.approx(3 * seconds["validate"])


# --- report -----------------------------------------------------------------------------------


def test_the_report_of_a_run_is_written_into_it_and_replaced(results, plain, tmp_path, monkeypatch):
    run = copied(plain, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert results("report", "run") == (0, "run/report.html\n", [])
    assert (run / "report.html").stat().st_size > 1e6


def test_the_report_of_several_runs_is_written_here(results, plain, cut_off, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, [error] = results("report", plain, cut_off, tmp_path / "nothing")
    assert (status, out) == (0, "report.html\n")
    assert error.startswith("skipped: ")
    assert "nothing" in error
    assert not (plain / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [("notes.md", "exists and is not a report: choose another"), ("folder", "is a folder")],
)
def test_what_is_no_report_is_not_replaced(results, plain, tmp_path, name, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.md").write_text("by hand: fmnist-results report runs/first\n")
    status, _, [error] = results("report", plain, "--out", tmp_path / name)
    assert status == 2
    assert problem in error
    assert (tmp_path / "notes.md").read_text().startswith("by hand")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_report_that_cannot_be_written_is_one_line(results, plain, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    status, _, [error] = results("report", plain, "--out", blocked / "report.html")
    assert status == 2
    assert error.startswith("error: ")
    assert "choose another place with --out" in error
    assert blocked.read_text() == "mine"


# --- plot -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """A run with a final model; not to be written to."""
    return made_up.retrained(made_up.made_up_run(tmp_path_factory.mktemp("runs") / "run"))


def test_without_a_browser_the_rest_is_drawn_and_the_browser_named(
    results, retrained, tmp_path, monkeypatch
):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    status, out, [error] = results("plot", retrained, "--out", "pictures")
    assert status == 1
    assert "need Chrome or Chromium" in error
    assert out.splitlines() == ["pictures/confusion_matrix.png", "pictures/mistakes.png"]
    assert len(list((tmp_path / "pictures").iterdir())) == 2


@pytest.mark.parametrize("name", ["folder", "file"])
def test_pictures_never_replace_a_file(results, retrained, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    status, out, [error] = results("plot", retrained, "--out", tmp_path / name)
    assert (status, out) == (2, "")
    assert "exists already: expected a new or empty folder" in error
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_created_is_one_line(results, retrained, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, _, [error] = results("plot", retrained, "--out", tmp_path / "file" / "here")
    assert status == 2
    assert error.startswith("error: ")
    assert "choose another place with --out" in error


# --- show --follow ----------------------------------------------------------------------------


@pytest.fixture
def driven(cut_off, tmp_path):
    """A run that a driver holds, and to which nothing happens."""
    run = shutil.copytree(cut_off, tmp_path / "a run")
    (run / columns.LOCK_FILE).unlink()
    lock = RunLock(run / columns.LOCK_FILE, say=print, beat_seconds=0.2)
    yield run
    lock.release()


def follower(commands, run):
    return subprocess.Popen(
        [commands / "fmnist-results", "show", run, "--follow"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end_search(run):
    journal = Journal(run / columns.JOURNAL_FILE)
    recorder = Recorder(journal, History(Objective("val_accuracy", "max")))
    recorder.search_ended("interrupted")
    journal.close()


def test_following_shows_the_table_and_ctrl_c_ends_it_quietly(commands, driven):
    # A shell makes what runs in the background ignore Ctrl-C, and what that starts too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = follower(commands, driven)
    heading, *trials = [process.stdout.readline() for _ in range(21)]
    assert heading.startswith("trial  ended")
    assert [trial.split()[0] for trial in trials] == [str(trial) for trial in range(20)]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_a_follower_whose_reader_has_gone_ends_quietly(commands, driven):
    with follower(commands, driven) as process:
        process.stdout.readline()
        process.stdout.close()
        end_search(driven)
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""


def test_following_a_run_that_was_cut_off_ends_with_status_1(results, cut_off, tmp_path):
    run = shutil.copytree(cut_off, tmp_path / "run")
    (run / columns.LOCK_FILE).unlink()
    status, out, errors = results("show", run, "--follow")
    assert (status, errors) == (1, [])
    assert out.splitlines()[0].startswith("trial  ended")
    assert out.splitlines()[-1].startswith("the search was cut off; to continue it, run fmnist-")
    assert results("show", run, "--follow", "--format", "json") == (
        1, (run / columns.JOURNAL_FILE).read_text(), ["the search was cut off"],
    )  # fmt: skip


def test_following_an_ended_search_ends_at_once(results, plain):
    status, out, errors = results("show", plain, "--follow")
    assert (status, errors) == (0, [])
    assert out.splitlines()[-1].startswith("search ended (trials done): 20 trials, ")


def test_a_torn_line_that_the_table_has_reported_is_reported_once(results, cut_off, tmp_path):
    run = shutil.copytree(cut_off, tmp_path / "run")
    (run / columns.LOCK_FILE).unlink()
    with (run / columns.JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"torn\n')
    lines = (run / columns.JOURNAL_FILE).read_bytes().count(b"\n")
    _, _, errors = results("show", run, "--follow")
    assert errors == [f"{run}: journal: skipped damaged line {lines}"]
