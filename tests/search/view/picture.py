"""Draws the live view of a run as an SVG picture, as it was at a moment of the search.

Run by ``make screenshots``; README.md shows the picture.
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

from results.record.history import History
from search.session.run_file import read_run
from search.storage.folder import RunFolder
from search.view.live import draw_search
from search.view.slots import Slots

COLUMNS, LINES = 118, 20
# Without the fonts that Rich would fetch from a network.
FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#14181c" />
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(run: Path, seconds: float, target: Path) -> None:
    """Draw the live view of a run.

    Args:
        run: The run folder.
        seconds: The moment, in seconds from the start of the run.
        target: The SVG file.
    """
    recorded = read_run(RunFolder.open(run))
    plan = recorded.plan
    history, slots = History(plan.problem.objective), Slots(reuse_workers=plan.reuse_workers)
    for event in recorded.events:
        if event["at_seconds"] > seconds:
            break
        history.apply(event)
        slots.observe(event)
    view = draw_search(plan, history, slots, seconds, width=COLUMNS, height=LINES)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, record=True, width=COLUMNS, color_system="truecolor")
        console.print(view)
    console.save_svg(str(target), title="", code_format=FORMAT, unique_id="live")


def main() -> None:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    draw(arguments.run, arguments.seconds, arguments.target)
    print(arguments.target)


if __name__ == "__main__":
    main()
