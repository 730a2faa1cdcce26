"""The charts of the report as PNG files, drawn by a browser; without one these are skipped."""

import shutil

import afterwards
import matplotlib.image
import pytest
from browser import BrowserError, find

from results.reading import read_run
from results.report.charts import charts_of
from results.report.pictures import WIDTH_PIXELS


@pytest.fixture(scope="module")
def run(retrained_folder, tmp_path_factory):
    """A run with every chart."""
    path = shutil.copytree(retrained_folder, tmp_path_factory.mktemp("runs") / "run")
    afterwards.confirm(path)
    afterwards.audit(path)
    return read_run(path)


def test_every_chart_is_drawn_as_a_picture(results, run, monkeypatch):
    try:
        monkeypatch.setenv("BROWSER_PATH", str(find()))
    except BrowserError as error:
        pytest.skip(f"no browser: {error}")
    monkeypatch.chdir(run.path)
    status, out, errors = results("plot", run.path)
    assert (status, errors) == (0, [])
    names = [chart.name for chart in charts_of(run) if chart.name != "confusion-matrix"]
    files = ["final/confusion_matrix.png", "pictures/mistakes.png"]
    files += [f"pictures/{name}.png" for name in names]
    assert out.splitlines() == files
    for name in names:
        picture = matplotlib.image.imread(run.path / "pictures" / f"{name}.png")
        coloured = picture[..., :3].max(axis=2) - picture[..., :3].min(axis=2) > 0.1
        assert coloured.sum() > 50, f"{name} is an empty frame, which is grey"
        assert picture.shape[1] == 2 * WIDTH_PIXELS
