"""A table as text, JSON, CSV, Markdown and parquet; which columns are shown."""

import csv
import io
import json
from dataclasses import fields

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from results.compare import formats
from results.compare.formats import Format
from results.compare.rows import published_rows
from results.compare.seeds import SeedsRow
from results.run import FIELDS, Row

ROWS = [
    Row("a", "ray", objective="accuracy", best=0.5, wall_seconds=30.4, trials=4),
    Row("b|c", "ray", objective="accuracy", best=0.90733, algorithm="tpe"),
]
CONFIRMED = ["confirmed", "95 % of confirmed", "new seeds", "confirmed test", "95 % of test"]


def headings(rows):
    return [heading for heading, _ in formats.shown_columns(rows)]


# --- Formats for programs ---------------------------------------------------------------------


def test_json_has_every_field_of_each_row():
    rows = json.loads(formats.as_json(ROWS))
    assert [list(row) for row in rows] == [list(FIELDS)] * 2
    assert (rows[0]["best"], rows[0]["algorithm"], rows[1]["algorithm"]) == (0.5, None, "tpe")


def test_csv_has_every_field_of_each_row():
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(ROWS))))
    assert [list(row) for row in rows] == [list(FIELDS)] * 2
    assert (rows[1]["best"], rows[1]["name"], rows[1]["trials"]) == ("0.90733", "b|c", "")


def test_parquet_has_every_field_with_its_type_and_value():
    table = pq.read_table(pa.BufferReader(formats.as_parquet(ROWS)))
    assert table.column_names == list(FIELDS)
    types = {name: str(table.schema.field(name).type) for name in FIELDS}
    assert types["engine"] == types["algorithm"] == "string"
    # Nothing is known of these; they have their type all the same.
    assert (types["test_accuracy"], types["final_epochs"]) == ("double", "int64")
    assert table["best"].to_pylist() == [0.5, 0.90733]
    assert table["trials"].to_pylist() == [4, None]


@pytest.mark.parametrize("table_format", [Format.CSV, Format.PARQUET])
def test_rows_of_another_class_have_its_fields(table_format):
    row = SeedsRow("tpe", None, "val_accuracy", "max", 1, 0.5, None, None, tie=True)
    content = formats.file_content([row], table_format, [], SeedsRow)
    if table_format is Format.PARQUET:
        table = pq.read_table(pa.BufferReader(content))
        names, type_ = table.column_names, str(table.schema.field("tie").type)
        assert (type_, table["tie"].to_pylist()) == ("bool", [True])
    else:
        names = content.decode().splitlines()[0].split(",")
    assert names == [field.name for field in fields(SeedsRow)]


@pytest.mark.parametrize(
    ("table_format", "beginning"),
    [(Format.JSON, b'[\n  {\n    "name": "a"'), (Format.CSV, b"name,engine"),
     (Format.MARKDOWN, b"| run | best"), (Format.PARQUET, b"PAR1"), (Format.TABLE, b"run  best")],
)  # fmt: skip
def test_a_file_has_the_content_of_its_format(table_format, beginning):
    columns = formats.shown_columns(ROWS)
    content = formats.file_content(ROWS, table_format, columns)
    assert content.startswith(beginning)
    assert table_format is Format.PARQUET or content.endswith(b"\n")


def test_every_extension_stands_for_a_format_but_that_of_text():
    assert set(formats.SUFFIXES.values()) == set(Format) - {Format.TABLE}


# --- Formats for people -----------------------------------------------------------------------


def test_cells_are_the_texts_below_their_headings():
    columns = [("run", lambda row: row.name), ("best", lambda row: f"{row.best:.2f}")]
    assert formats.cells(ROWS, columns) == [["run", "best"], ["a", "0.50"], ["b|c", "0.91"]]


def test_a_bar_in_a_name_stays_within_its_cell_of_markdown():
    rows = [Row("a|b", "ray")]
    lines = formats.as_markdown(rows, formats.shown_columns(rows)).splitlines()
    assert lines == ["| run | engine |", "| --- | --- |", "| a\\|b | ray |"]


def test_an_empty_comparison_is_a_table_of_its_headings():
    heading, rule = formats.as_markdown([], formats.shown_columns([])).splitlines()
    assert heading.startswith("| run | best | after s | test acc. |")
    assert rule.count("---") == heading.count("|") - 1


def screen(table, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()


def test_a_table_on_the_screen_has_a_line_for_each_row():
    columns = formats.shown_columns(ROWS)
    lines = [line.split() for line in screen(formats.as_table(ROWS, columns), 200)]
    assert lines == [
        ["run", "best", "accuracy", "trials", "wall", "s", "engine", "algorithm"],
        ["a", "0.5000", "4", "30", "ray"],
        ["b|c", "0.9073", "ray", "tpe"],
    ]


def test_a_published_row_is_dimmed():
    table = formats.as_table([*ROWS, published_rows()[0]], formats.shown_columns(ROWS))
    assert [row.style for row in table.rows] == [None, None, "dim"]


# --- Columns that are shown -------------------------------------------------------------------


def test_empty_columns_are_not_shown():
    assert headings(ROWS) == ["run", "best accuracy", "trials", "wall s", "engine", "algorithm"]


def test_optional_columns_are_shown_if_any_row_has_them():
    assert not {*CONFIRMED, "wrongly stopped"} & set(headings([]))
    row = Row(
        "a", "ray", best=0.9, confirmed_mean=0.8, confirmed_low=0.7, confirmed_high=0.85,
        confirmed_seeds=5, confirmed_test_mean=0.6, confirmed_test_low=0.5,
        confirmed_test_high=0.65, audit_wrong=0, audit_audited=4,
    )  # fmt: skip
    assert headings([row, ROWS[0]])[1:8] == [
        "best accuracy", *CONFIRMED, "wrongly stopped",
    ]  # fmt: skip
    first, second = formats.cells([row, ROWS[0]], formats.shown_columns([row, ROWS[0]]))[1:]
    assert first[2:8] == ["0.8000", "0.7000 to 0.8500", "5", "0.6000", "0.5000 to 0.6500", "0 of 4"]
    assert second[2:8] == [""] * 6


def test_several_objectives_have_a_column_of_their_own():
    assert headings([*ROWS, Row("c", "ray", objective="loss", mode="min", best=0.1)])[:3] == [
        "run", "objective", "best",
    ]  # fmt: skip


def test_several_data_have_a_column_of_their_own():
    rows = [Row("a", "ray", data="one:load", best=0.5), Row("b", "ray", data="two:load", best=0.5)]
    assert headings(rows)[:3] == ["run", "data", "best"]
    assert "data" not in headings(rows[:1])


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_number_is_cut_however_narrow_the_screen(width):
    rows = [
        Row("a run with quite a long name that goes on", "ray", objective="val_accuracy", best=0.90733, reached_seconds=1234.0, test_accuracy=0.9023, precision_macro=0.9, recall_macro=0.8387, ended="time budget spent", trials=1000, epochs=12345, space="wide", algorithm="tpe", workers=2),
        Row("b", "keras-tuner", objective="val_accuracy", best=0.9),
    ]  # fmt: skip
    columns = formats.shown_columns(rows)
    fitting = formats.fitting_columns(columns, rows, width)
    assert fitting == columns[: len(fitting)]
    assert len(fitting) >= 3
    if width == 200:
        assert fitting == columns
    lines = screen(formats.as_table(rows, fitting), width)
    assert all(len(line) <= width for line in lines)
    for heading, text in fitting[1:]:
        assert text(rows[0]) in " ".join(lines), heading
    assert "0.9073" in " ".join(lines).split()


def test_as_many_columns_fit_as_the_width_holds():
    columns = [(name, lambda row: "12345") for name in ("a", "b", "c")]
    # A column of 5 characters, then 2 for the gap and 5 more for each other.
    assert [len(formats.fitting_columns(columns, ROWS, width)) for width in (11, 12, 18, 19)] == [
        1, 2, 2, 3,
    ]  # fmt: skip


def test_a_long_first_column_leaves_room_for_others():
    columns = [("run", lambda row: "x" * 100), ("b", lambda row: "1")]
    assert len(formats.fitting_columns(columns, ROWS, 33)) == 2  # 30, the gap and 1
    assert len(formats.fitting_columns(columns, ROWS, 32)) == 1
