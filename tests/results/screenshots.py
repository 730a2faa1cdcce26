"""Takes the pictures of docs/: of a run's report, and of its learning curves; and its table.

Run by ``make screenshots``; docs/report.md and README.md describe what they show. The table of
README.md is that of ``report.csv``.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    # The root too: folders of the tests are named as packages.
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

from browser import find
from page import DESKTOP, PHONE, shown, started

from results.compare import formats
from results.compare.rows import published_rows, ranked
from results.reading import read_run
from results.record.columns import REPORT_FILE
from results.report.charts import learning_curves
from results.report.pictures import draw
from results.run import row_of

TABLE = "report.csv"
DRAWN = "body[data-drawn]"
# Name, device, colours, and the heading from which on it is taken; None: from the top.
SHOTS = (
    ("report-desktop", DESKTOP, "light", None),
    ("report-dark", DESKTOP, "dark", "Parallel coordinates"),
    ("report-final", DESKTOP, "light", "Confusion matrix"),
    ("report-phone", PHONE, "light", None),
)


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    run = read_run(arguments.run)
    rows = ranked([row_of(run), *published_rows()])
    columns = formats.shown_columns(rows)
    (arguments.folder / TABLE).write_bytes(formats.file_content(rows, formats.Format.CSV, columns))
    print(formats.file_content(rows, formats.Format.MARKDOWN, columns).decode())
    program = find()
    os.environ["BROWSER_PATH"] = str(program)
    draw([learning_curves(run)], arguments.folder, on_file=print)
    with tempfile.TemporaryDirectory() as home, started(program, Path(home)) as browser:
        for name, device, scheme, heading in SHOTS:
            target = arguments.folder / f"{name}.png"
            with shown(
                browser, arguments.run / REPORT_FILE, device=device, color_scheme=scheme
            ) as opened:
                take(opened.page, heading, target)
            print(target)


def take(window, heading, target) -> None:
    """Take what a window shows, from a heading on."""
    window.wait_for_selector(DRAWN)
    if heading:
        place = window.get_by_role("heading", name=heading).first
        place.evaluate("place => place.scrollIntoView()")
    window.screenshot(path=target, animations="disabled")


if __name__ == "__main__":
    main()
