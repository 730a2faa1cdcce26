import csv
import io
import json
import shutil
import subprocess

import matplotlib.image
import pytest

from results import RunError
from results.compare.formats import as_markdown, shown_columns
from results.compare.rows import published_rows, ranked
from results.reading import read_run
from results.record import columns
from results.run import Row, row_of


def results(commands, *arguments, cwd=None):
    return subprocess.run(
        [commands / "fmnist-results", *(str(argument) for argument in arguments)],
        capture_output=True, text=True, check=False, timeout=60, cwd=cwd,
    )  # fmt: skip


def test_a_row_says_what_the_run_found(real_run):
    run, _ = real_run
    row = row_of(read_run(run))
    best = json.loads((run / "best.json").read_text())
    evaluation = json.loads((run / "final" / "evaluation.json").read_text())
    assert (row.best, row.reached_seconds) == (best["value"], best["at_seconds"])
    assert row.test_accuracy == evaluation["test_accuracy"]
    assert (row.engine, row.space, row.algorithm, row.workers) == ("ray", "wide", "tpe", 2)
    assert row.ended == "trials done"
    assert row.trials == 6
    assert row.epochs < 6 * 3
    assert row.reached_seconds < row.wall_seconds


def test_the_table_ranks_a_run_among_the_published_rows(commands, real_run):
    run, _ = real_run
    done = results(commands, "compare", run)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "best val_accuracy" in lines[0]
    assert len(lines) == 1 + 1 + len(published_rows())
    names = [
        row["name"]
        for row in json.loads(results(commands, "compare", run, "--format", "json").stdout)
    ]
    values = [
        row["best"]
        for row in json.loads(results(commands, "compare", run, "--format", "json").stdout)
    ]
    assert "a real run" in names
    assert [v for v in values if v] == sorted((v for v in values if v), reverse=True)


def test_csv_holds_every_field(commands, real_run):
    done = results(commands, "compare", real_run[0], "--format", "csv", "--no-published")
    [row] = csv.DictReader(io.StringIO(done.stdout))
    assert float(row["best"]) == row_of(read_run(real_run[0])).best
    assert set(row) == set(Row.__dataclass_fields__)


def test_the_published_figures_are_those_of_the_design():
    rows = {row.name.removeprefix("published: "): row for row in published_rows()}
    final = rows["retrained 20 epochs, final model"]
    assert (final.best, final.test_accuracy, final.test_loss) == (0.9055, 0.8950, 0.3074)
    assert rows["best of the search"].best == 0.9007
    assert rows["best of the search"].wall_seconds == 9 * 60 + 4


def test_rows_are_ranked_in_the_direction_of_their_objective():
    rows = [
        Row("a", "ray", objective="quality", mode="min", best=0.5), Row("b", "ray", objective="quality", mode="min", best=0.2),
        Row("c", "ray", objective="accuracy", best=0.5), Row("d", "ray", objective="accuracy", best=0.9),
        Row("e", "ray", objective="accuracy"),
    ]  # fmt: skip
    assert [row.name for row in ranked(rows)] == ["d", "c", "e", "b", "a"]
    assert shown_columns(rows)[1][0] == "objective"


def test_an_empty_comparison_is_a_table_of_its_headings():
    heading, rule = as_markdown([], shown_columns([])).splitlines()
    assert heading.startswith("| run | best | after s | test acc. |")
    assert rule.count("---") == heading.count("|") - 1


def test_show_lists_every_trial_and_how_it_ended(commands, real_run):
    done = results(commands, "show", real_run[0])
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 6
    assert any("stopped by ASHA" in line for line in lines)
    trials = json.loads(results(commands, "show", real_run[0], "--format", "json").stdout)
    assert trials[0]["hyperparameters"]["batch_size"] == 96


def test_plot_draws_the_confusion_matrix(commands, real_run, tmp_path):
    run, out = tmp_path / "run", tmp_path / "pictures"
    shutil.copytree(real_run[0], run)
    results(commands, "plot", run, "--out", out)  # the others need a browser
    picture = matplotlib.image.imread(out / columns.CONFUSION_FILE)
    assert picture.shape[0] > 600
    assert picture.std() > 0.05
    results(commands, "plot", run)
    assert (run / "final" / columns.CONFUSION_FILE).exists()


def damaged(run, tmp_path, name, content=b"{"):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", b"{", "damaged"),
        ("run.json", b"{}", "not a run of this program"),
        ("run.json", None, "is not a run folder: it has no run.json"),
        ("trials.parquet", b"PAR1 cut", "damaged"),
        ("epochs.parquet", None, "is missing and cannot be rebuilt"),
        ("final/evaluation.json", b"[]", "expected a JSON object, got list"),
    ],
)
def test_a_damaged_run_is_refused_by_name(real_run, tmp_path, name, content, said):
    with pytest.raises(RunError, match=said) as caught:
        read_run(damaged(real_run[0], tmp_path, name, content))
    assert "copy" in str(caught.value)


def test_what_cannot_be_compared_is_named_and_left_out(commands, real_run, tmp_path):
    copy = damaged(real_run[0], tmp_path, "run.json")
    (copy / "journal.jsonl").unlink()  # from which it would be made anew
    done = results(commands, "compare", real_run[0], copy, tmp_path / "nowhere")
    assert done.returncode == 0
    assert "a real run" in done.stdout
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["skipped:"] * 2
    alone = results(commands, "compare", tmp_path / "nowhere")
    assert alone.returncode == 2
    assert "does not exist: expected a run folder" in alone.stderr
    assert alone.stdout == ""


def test_published_figures_stand_beside_runs_on_the_same_data_alone(commands, real_run, tmp_path):
    other = tmp_path / "toy"
    shutil.copytree(real_run[0], other)
    asked = json.loads((other / "run.json").read_text())
    asked["plan"]["problem"]["data"] = "my_data:load"
    (other / "run.json").write_text(json.dumps(asked))
    assert "published" not in results(commands, "compare", other).stdout
    both = results(commands, "compare", other, real_run[0], "--format", "json")
    rows = json.loads(both.stdout)
    assert [row["data"] for row in rows] == sorted(row["data"] for row in rows)
    assert "my_data:load" in results(commands, "compare", other, real_run[0]).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--format", "jsn"], "Did you mean 'json'?"),
        (["shwo", "x"], "Did you mean 'show'?"),
        (["show", "nowhere"], "'nowhere' does not exist"),
    ],
)
def test_a_typo_gets_one_line(commands, tmp_path, arguments, said):
    done = results(commands, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
