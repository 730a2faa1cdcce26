"""Any text can be printed, whatever the output can encode: in processes with other encodings."""

import json
import os
import subprocess
import sys

import pytest
from made_up_runs import RunWriter

from results.record.columns import State

PRINTING = """
import sys
from results.record.screen import make_console, replace_unprintable
make_console().print("λ · β…", markup=False)
print("trotz é")
"""
COMMANDS = """
import sys
from results.cli import main
commands = [[]]
for word in sys.argv[1:]:
    commands.append([]) if word == "then" else commands[-1].append(word)
for words in commands:
    sys.argv = ["fmnist-results", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"{words}: {end.code}")
"""


def output_of(code, encoding, *words, **changes):
    """Return the bytes that a Python process writes whose standard streams have an encoding."""
    environment = os.environ | {"PYTHONIOENCODING": encoding} | changes
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"\\u03bb - \\u03b2...\ntrotz \\xe9\n"),
        ("latin-1", b"\\u03bb \xb7 \\u03b2...\ntrotz \xe9\n"),
        ("utf-8", "λ · β…\ntrotz é\n".encode()),
        ("ascii:ignore", b"  \ntrotz \n"),  # as the user has chosen
    ],
)
def test_characters_that_the_output_lacks_are_replaced(encoding, expected):
    assert output_of(PRINTING, encoding) == expected


def test_a_file_name_that_is_no_text_is_printed_as_its_bytes():
    code = 'from results.record.screen import *; replace_unprintable(); print("a\\udcff b")'
    assert output_of(code, "utf-8") == b"a\xff b\n"


@pytest.fixture(scope="module")
def greek_run(tmp_path_factory):
    """A run whose folder, hyperparameters and errors hold letters that latin-1 lacks."""
    writer = RunWriter(tmp_path_factory.mktemp("runs") / "läufe-λ")
    writer.trial(0, {"units": 4, "βήμα": "relu"}, [0.5, 0.7], State.COMPLETED)
    writer.trial(1, {"units": 8, "βήμα": "ταχύ"}, [0.6], State.FAILED, error="ValueError: όχι")
    writer.recorder.search_ended("trials done")
    return writer.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_the_commands_print_what_they_can_of_a_run(greek_run, encoding, tmp_path):
    run = greek_run
    words = (
        f"show {run} then show {run} --format json then show {run} --follow "
        f"then compare {run} then compare {run} --format csv then compare {run} --format markdown "
        f"then report {run} --out {tmp_path}/λ.html"
    ).split()
    # As in a container without a locale, and files still are UTF-8.
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    printed = output_of(COMMANDS, encoding, *words, **locale)
    assert rb"\u03b2\u03ae\u03bc\u03b1" in printed
    assert "ταχύ" in (tmp_path / "λ.html").read_text(encoding="utf-8")
    assert json.loads((greek_run / "best.json").read_text(encoding="utf-8"))["value"] == 0.7
