"""Programs written for keras-tuner come to the same under ``keras_tuner`` and ``search.kt``."""

import contextlib
import io
import json
import runpy
import warnings
from pathlib import Path

import pytest

PROGRAMS = sorted(Path(__file__).parent.glob("programs/*.py"))
IMPORT = "import keras_tuner as kt\n"
REPLACED = "import search.kt as kt\n"
# The programs of the short tier; the others run in the long one.
SHORT = {"cross_validation", "repeated_pipeline"}


def run(program, line, folder):
    """Run a program in a folder of its own, with its import replaced; return what it tells last."""
    folder.mkdir()
    source = program.read_text()
    assert source.count(IMPORT) == 1
    script = folder / program.name
    script.write_text(source.replace(IMPORT, line))
    output = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        warnings.catch_warnings(action="ignore"),  # errors in a test, not in a program
    ):
        runpy.run_path(str(script), run_name="__main__")
    return json.loads(output.getvalue().splitlines()[-1])


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in SHORT else pytest.mark.long)
        for path in PROGRAMS
    ],
)
def test_a_program_tells_the_same_with_one_import_changed(
    program, running_ray, one_by_one, tmp_path
):
    expected = run(program, IMPORT, tmp_path / "theirs")
    assert run(program, REPLACED, tmp_path / "ours") == expected
