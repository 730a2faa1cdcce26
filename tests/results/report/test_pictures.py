"""Pictures of a run that need no browser, and the errors without one."""

import shutil
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from in_memory import run_of, trial_of

from results.reading import read_run
from results.record.errors import RunFolderError
from results.report import pictures
from results.report.charts.progress import best_over_time
from results.report.pictures import NoBrowserError, draw, draw_charts, draw_final


@pytest.fixture(scope="module")
def run(retrained_folder):
    return read_run(retrained_folder)


def evaluated(matrix):
    """Return a run with a confusion matrix."""
    classes = [{"name": str(n)} for n in range(len(matrix))]
    evaluation = {"confusion_matrix": matrix, "per_class": classes, "test_accuracy": 0.5}
    return run_of([trial_of(0, 0.5)], evaluation=evaluation)


# --- The final model --------------------------------------------------------------------------


def test_the_confusion_matrix_and_the_mistakes_are_drawn(run, tmp_path):
    paths = list(draw_final(run, tmp_path / "new"))
    assert paths == [tmp_path / "new" / "confusion_matrix.png", tmp_path / "new" / "mistakes.png"]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[1] > 400, path
        assert picture.std() > 0.05, f"{path} is nearly empty"


def test_pictures_go_into_the_run_unless_a_folder_is_named(run, tmp_path):
    folder = shutil.copytree(run.path, tmp_path / "run")
    assert list(draw_final(replace(run, path=folder))) == [
        folder / "final" / "confusion_matrix.png", folder / "pictures" / "mistakes.png",
    ]  # fmt: skip


def colours_of(picture):
    return set(map(tuple, (picture[..., :3].reshape(-1, 3) * 255).round().astype(int).tolist()))


def test_a_cell_of_the_matrix_is_darker_for_a_larger_share_of_its_class(tmp_path):
    # In the first row all samples are of one cell, in the second a half.
    [path] = draw_final(evaluated([[100, 0], [1, 1]]), tmp_path)
    colours = colours_of(matplotlib.image.imread(path))
    for colour in [(8, 48, 107), (247, 251, 255), (106, 174, 214)]:  # 100 %, 0 % and 50 %
        assert any(np.abs(np.subtract(colour, other)).max() <= 2 for other in colours), colour


@pytest.mark.parametrize(("classes", "side"), [(1, 2.5 + 0.6), (2, 2.5 + 1.2), (3, 2.5 + 1.2)])
def test_the_matrix_grows_with_its_classes_up_to_a_limit(tmp_path, monkeypatch, classes, side):
    monkeypatch.setattr(pictures, "MAX_CLASSES", 2)
    [path] = draw_final(evaluated(np.eye(classes, dtype=int).tolist()), tmp_path)
    assert matplotlib.image.imread(path).shape[0] == pytest.approx(120 * side, abs=1)


def test_a_run_without_a_final_model_has_no_pictures_of_it(tmp_path):
    assert list(draw_final(run_of([trial_of(0, 0.5)], path=tmp_path))) == []
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"choose another place with --out\.$"):
        list(draw_final(evaluated([[1]]), tmp_path / "file"))


# --- Without a browser ------------------------------------------------------------------------


def test_charts_need_a_browser(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    with pytest.raises(NoBrowserError):
        draw_charts(run, tmp_path, on_file=lambda path: pytest.fail(f"{path} was drawn"))


def test_a_program_that_is_no_browser_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/bin/false")
    with pytest.raises(RunFolderError) as refused:
        draw([best_over_time([run])], tmp_path, on_file=pytest.fail)
    assert str(refused.value).startswith("the browser failed to draw a chart (")
    assert "set BROWSER_PATH to the path of another browser" in str(refused.value)
