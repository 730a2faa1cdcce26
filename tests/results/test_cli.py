import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from results.compare import formats
from results.compare.formats import Format
from results.compare.rows import Condition, Order, published_rows
from results.reading import read_run
from results.record import columns
from results.record.tables import is_current, refresh
from results.run import FIELDS, Row, row_of

ASSETS = Path(__file__).parents[1] / "assets" / "version-0.1.0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of an older version, its tables made anew once for all tests."""
    return fresh(ASSETS / "finished", tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A run whose driver was killed long ago."""
    run = fresh(ASSETS / "cut-off", tmp_path_factory.mktemp("runs") / "cut-off")
    os.utime(run / columns.LOCK_FILE, (0, 0))
    return run


def fresh(asset, path):
    shutil.copytree(asset, path)
    assert refresh(path) is None
    assert is_current(path)
    return path


def copied(run, path, **plan):
    """Copy a run; what is given changes its plan, ``data`` its problem."""
    shutil.copytree(run, path)
    asked = json.loads((path / columns.RUN_FILE).read_text())
    if "data" in plan:
        asked["plan"]["problem"]["data"] = plan.pop("data")
    asked["plan"] |= plan
    (path / columns.RUN_FILE).write_text(json.dumps(asked))
    return path


def names(text):
    return [row["name"] for row in json.loads(text)]


ROWS = [
    Row("a", "ray", objective="accuracy", best=0.5, wall_seconds=30.0, trials=4),
    Row("b", "ray", objective="accuracy", best=0.9, wall_seconds=20.0, algorithm="tpe"),
    Row("c", "keras-tuner", objective="accuracy", wall_seconds=20.0, trials=10),
    Row("d", "ray", objective="accuracy", best=0.7, test_loss=float("nan"), algorithm="random"),
]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sign", ["", "-"])
def test_rows_are_sorted_by_any_field_those_without_a_value_last(field, sign):
    rows = [*ROWS, *published_rows()]
    found = Order.parse(f"{sign}{field}").sort(rows)
    assert sorted(map(repr, found)) == sorted(map(repr, rows))
    values = [getattr(row, field) for row in found]
    known = [value for value in values if value is not None and value == value]
    assert known == values[: len(known)]
    assert known == sorted(known, reverse=sign == "-")


def test_rows_that_are_equal_by_the_sorted_field_stay_ranked():
    assert [row.name for row in Order.parse("-wall_seconds").sort(ROWS)] == ["a", "b", "c", "d"]
    assert [row.name for row in Order.parse("wall_seconds").sort(ROWS)] == ["b", "c", "a", "d"]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("engine=ray", "abd"),
        ("engine!=ray", "c"),
        ("trials=10", "c"),
        ("trials = 4.0", "a"),  # a number, however it is written
        ("best=5e-1", "a"),
        ("best!=0.5", "bcd"),
        ("algorithm=", "ac"),  # what is not known
        ("algorithm!=", "bd"),
        ("name=4", ""),
    ],
)
def test_a_condition_compares_as_text_or_as_a_number(condition, kept):
    assert "".join(row.name for row in ROWS if Condition.parse(condition).holds(row)) == kept


def test_published_rows_are_sorted_and_chosen_with_the_others(results, finished, tmp_path):
    run = copied(finished, tmp_path / "mine", data="fmnist_model.data:load_data")
    status, out, _ = results("compare", run, "--sort", "-best", "--format", "json")
    assert status == 0
    assert names(out)[:2] == ["mine", "published: retrained 20 epochs, final model"]
    assert len(names(out)) == 1 + len(published_rows())
    asked = ["--where", "engine=published", "--where", "final_epochs=20"]
    _, out, _ = results("compare", run, *asked, "--sort", "best", "--format", "json")
    assert names(out) == [
        "published: retrained 20 epochs, first try",
        "published: retrained 20 epochs, final model",
    ]
    _, out, _ = results("compare", run, "--where", "engine!=published", "--format", "json")
    assert names(out) == ["mine"]


def test_where_nothing_is_left_that_is_said_beside_an_empty_table(results, finished):
    status, out, errors = results("compare", finished, "--where", "engine=rya", "--format", "json")
    assert (status, json.loads(out), errors) == (0, [], ["no row matches --where"])


def test_all_that_is_wrong_with_the_options_is_said_at_once_with_the_nearest(results, tmp_path):
    status, out, errors = results(
        "compare", tmp_path / "nowhere", "--sort", "-bets", "--where", "trails=3",
        "--where", "trials=many", "--where", "trials", "--format", "parqet",
    )  # fmt: skip
    assert (status, out) == (2, "")
    said = [
        "'best'?",
        "'trials'?",
        "expected a number for trials, got 'many'",
        "FIELD=VALUE",
        "'parquet'?",
    ]
    assert len(errors) == len(said)
    for line, expected in zip(errors, said, strict=True):
        assert expected in line
    assert ", ".join(FIELDS) in errors[0]


def test_parquet_keeps_the_type_of_every_field_and_every_value(results, finished, tmp_path):
    file = tmp_path / "rows.parquet"
    status, out, _ = results("compare", finished, "--format", "parquet", "--out", file)
    assert (status, Path(out.strip()).resolve()) == (0, file)
    table = pq.read_table(file)
    assert table.column_names == list(FIELDS)
    types = {name: str(table.schema.field(name).type) for name in FIELDS}
    assert types["engine"] == types["algorithm"] == "string"
    # Nothing is known of these here: the type is there all the same.
    assert (types["test_accuracy"], types["final_epochs"]) == ("double", "int64")
    _, out, _ = results("compare", finished, "--format", "json")
    assert table.to_pylist() == json.loads(out)


def test_parquet_without_a_file_is_one_clear_line(results, tmp_path):
    status, out, errors = results("compare", tmp_path / "nowhere", "--format", "parquet")
    assert (status, out) == (2, "")
    [line] = errors
    assert "--out FILE" in line


@pytest.mark.parametrize("output", [one for one in Format if one is not Format.PARQUET])
def test_a_file_holds_what_the_screen_shows(results, finished, tmp_path, output):
    _, shown, _ = results("compare", finished, "--format", output)
    assert "finished" in shown
    status, _, _ = results("compare", finished, "--format", output, "--out", tmp_path / "rows")
    assert status == 0
    assert (tmp_path / "rows").read_text() == shown
    assert list(tmp_path.iterdir()) == [tmp_path / "rows"]  # nothing is left beside it


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.json", b"[\n"), ("a.csv", b"name,engine"), ("a.md", b"| run"), ("a.parquet", b"PAR1"),
     ("a.txt", b"run ")],
)  # fmt: skip
def test_the_ending_of_the_file_says_its_format_where_none_is_asked_for(
    results, finished, tmp_path, name, begins
):
    assert results("compare", finished, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_file_that_is_there_stays_as_it_is(results, finished, tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("mine")
    for where, said in [(file, "exists already"), (tmp_path, "exists already"),
                        (tmp_path / "no" / "a.csv", "does not exist")]:  # fmt: skip
        status, _, [line] = results("compare", finished, "--out", where)
        assert status == 2
        assert said in line
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_an_ending_that_says_no_format_is_refused(results, finished, tmp_path):
    status, _, [line] = results("compare", finished, "--out", tmp_path / "a.xlsx")
    assert status == 2
    assert "has an unknown extension: expected one of .json, .csv, .md, .parquet, .txt" in line
    status, _, _ = results("compare", finished, "--out", tmp_path / "a.xlsx", "--format", "csv")
    assert status == 0
    assert (tmp_path / "a.xlsx").read_text().startswith("name,")


def test_a_bar_in_a_name_stays_within_its_cell_of_markdown():
    rows = [Row("a|b", "ray")]
    row = formats.as_markdown(rows, formats.shown_columns(rows)).splitlines()[-1]
    assert row == "| a\\|b | ray |"


def a_file(run, path):
    path.write_text("a file")


def foreign(run, path):
    path.mkdir()
    (path / columns.RUN_FILE).write_text('{"plan": ["of", "another", "program"]}')


def of_the_wrong_type(run, path):
    copied(run, path, workers="two")


def a_wrong_score(run, path):
    copied(run, path)
    (path / columns.FINAL_DIR).mkdir()
    (path / columns.FINAL_DIR / columns.EVALUATION_FILE).write_text('{"test_accuracy": "high"}')


def without_its_tables(run, path):
    copied(run, path)
    for name in (columns.JOURNAL_FILE, columns.EPOCHS_FILE):
        (path / name).unlink()


def before_its_first_trial(run, path):
    path.mkdir()
    shutil.copy(run / columns.RUN_FILE, path)
    (path / columns.JOURNAL_FILE).touch()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda run, path: None, "does not exist"),
        (a_file, "is not a folder"),
        (lambda run, path: path.mkdir(), "has no run.json"),
        (foreign, "is not a run of this program: its run.json does not name the objective"),
        (of_the_wrong_type, "gives workers 'two'"),
        (a_wrong_score, "gives test_accuracy 'high'"),
        (without_its_tables, "epochs.parquet is missing and cannot be rebuilt"),
        (
            before_its_first_trial,
            "has no results: none of its 0 trials has a value of val_accuracy",
        ),
        (lambda run, path: path.symlink_to(path), "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_left_out_by_name_and_the_rest_is_shown(
    results, finished, tmp_path, make, said
):
    make(finished, tmp_path / "other")
    status, out, errors = results("compare", tmp_path / "other", finished, "--format", "json")
    assert (status, names(out)) == (0, ["finished"])
    [line] = errors
    assert line.startswith("skipped: ")
    assert "other" in line
    assert said in line


def test_a_name_that_no_folder_can_have_is_left_out(results, finished):
    status, out, [line] = results("compare", "x" * 300, finished, "--format", "json")
    assert (status, names(out)) == (0, ["finished"])
    assert line == f"skipped: {'x' * 300!r} cannot be read: File name too long."


def test_a_folder_that_may_not_be_read_is_left_out(commands, finished, tmp_path):
    locked = copied(finished, tmp_path / "locked")
    words = [commands / "fmnist-results", "compare", locked, finished, "--format", "json"]
    if os.geteuid() == 0:  # whom no mode of a folder keeps out, unless that is taken from him
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv can read every folder")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    locked.chmod(0)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    finally:
        locked.chmod(0o755)
    assert (done.returncode, names(done.stdout)) == (0, ["finished"])
    assert done.stderr == f"skipped: {str(locked)!r} cannot be read: Permission denied.\n"


def test_a_run_that_is_named_twice_is_shown_once(results, finished, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(finished)
    monkeypatch.chdir(finished.parent)
    again = [finished, f"{finished}/", "finished", tmp_path / "link"]
    status, out, errors = results("compare", *again, "--format", "json")
    assert (status, names(out), errors) == (0, ["finished"], [])


def test_a_search_that_is_not_over_is_shown_with_its_state(results, finished, cut_off, tmp_path):
    running = copied(finished, tmp_path / "running")
    (running / columns.LOCK_FILE).touch()
    status, out, errors = results("compare", running, cut_off, finished, "--format", "json")
    assert (status, errors) == (0, [])
    ended = {row["name"]: row["ended"] for row in json.loads(out)}
    assert ended == {"running": "running", "cut-off": "cut off", "finished": "trials done"}
    assert row_of(read_run(cut_off)).best is not None


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_number_is_cut_however_narrow_the_screen(width):
    rows = [
        Row("a run with quite a long name that goes on", "ray", objective="val_accuracy", best=0.90733, reached_seconds=1234.0, test_accuracy=0.9023, precision_macro=0.9, recall_macro=0.8387, ended="time budget spent", trials=1000, epochs=12345, space="wide", algorithm="tpe", workers=2),
        Row("b", "keras-tuner", objective="val_accuracy", best=0.9),
    ]  # fmt: skip
    columns = formats.shown_columns(rows)
    kept = formats.fitting_columns(columns, rows, width)
    assert kept == columns[: len(kept)]
    assert len(kept) >= 3
    if width == 200:
        assert kept == columns
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(formats.as_table(rows, kept))
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    assert [text(rows[0]) in " ".join(lines) for _, text in kept[1:]] == [True] * (len(kept) - 1)
    assert "0.9073" in words
