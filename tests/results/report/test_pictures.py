"""The charts of the report as PNG files."""

import os
import subprocess

import afterwards
import made_up
import matplotlib.image
import pytest
from browser import BrowserError, find

from results.reading import read_run
from results.report.charts import charts_of
from results.report.pictures import WIDTH_PIXELS


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    run = made_up.retrained(made_up.made_up_run(tmp_path_factory.mktemp("runs") / "run"))
    afterwards.confirm(run)
    afterwards.audit(run)
    return run


def plot(commands, *arguments, browser):
    return subprocess.run(
        [commands / "fmnist-results", "plot", *arguments],
        capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"BROWSER_PATH": str(browser)},
    )  # fmt: skip


def test_every_chart_is_drawn_as_a_picture(commands, run_folder, tmp_path):
    try:
        browser = find()
    except BrowserError as error:
        pytest.skip(f"no browser to be had: {error}")
    done = plot(commands, run_folder, "--out", tmp_path, browser=browser)
    assert (done.returncode, done.stderr) == (0, "")
    names = {chart.name.replace("-matrix", "_matrix") for chart in charts_of(read_run(run_folder))}
    assert {path.stem for path in tmp_path.iterdir()} == names | {"mistakes"}
    for path in tmp_path.iterdir():
        picture = matplotlib.image.imread(path)
        colored = picture[..., :3].max(axis=2) - picture[..., :3].min(axis=2) > 0.1
        # An empty frame is grey, as the pictures of the mistakes are.
        assert path.stem == "mistakes" or colored.sum() > 50, path
        if path.stem not in ("confusion_matrix", "mistakes"):
            assert picture.shape[1] == 2 * WIDTH_PIXELS


def test_without_a_browser_the_confusion_matrix_is_drawn_and_the_rest_named(
    commands, run_folder, tmp_path
):
    done = plot(commands, run_folder, "--out", tmp_path, browser=tmp_path / "nothing")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "need Chrome or Chromium" in line
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["confusion_matrix.png", "mistakes.png"]


def test_a_folder_that_cannot_be_written_is_one_line(commands, run_folder, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    done = plot(commands, run_folder, "--out", blocked / "here", browser=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "choose another place with --out" in line


def test_a_program_that_is_no_browser_is_one_line(commands, run_folder, tmp_path):
    done = plot(commands, run_folder, "--out", tmp_path, browser="/bin/false")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the browser failed")
    assert "BROWSER_PATH" in done.stderr
