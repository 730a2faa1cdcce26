"""Pictures of a run, as PNG files: the report's charts, and what needs no browser."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kaleido
import numpy as np
from choreographer.channels import ChannelClosedError
from kaleido import errors
from matplotlib.figure import Figure

from results.record import columns
from results.record.errors import RunFolderError
from results.record.files import replacing_output
from results.report.charts import charts_of
from results.report.charts.chart import Chart, figure_on_paper
from results.report.charts.final import MAX_CLASSES, Mistake, mistakes_of
from results.run import Run

WIDTH_PIXELS = 1000
MISTAKES_PICTURE = "mistakes.png"
MISTAKES_PER_ROW = 6
# So many pixels of the file are one of the page.
SCALE = 2
# Names the browser where several are installed, or one is where nobody looks.
BROWSER_VARIABLE = "BROWSER_PATH"
# A browser calls its makers, which no picture asked for: nobody is behind this proxy.
NOBODY = "127.0.0.1:9"
# To draw one chart.
DRAW_TIMEOUT_SECONDS = 60.0


class NoBrowserError(Exception):
    """The charts are drawn by Chrome or Chromium, and neither was found."""


def draw_charts(run: Run, folder: Path | None = None, *, on_file: Callable[[Path], None]) -> None:
    """Draw the report's charts, all but the confusion matrix.

    Args:
        run: A run.
        folder: Where the files are made, each named as its chart. Default: ``pictures/`` of it.
        on_file: Told of each file, when it is whole.

    Raises:
        NoBrowserError: There is no browser to draw them.
        RunFolderError: They could not be written.
    """
    shown = [chart for chart in charts_of(run) if chart.name != "confusion-matrix"]
    draw(shown, folder or run.path / columns.PICTURES_DIR, on_file=on_file)


def draw(shown: Sequence[Chart], folder: Path, *, on_file: Callable[[Path], None]) -> None:
    """Draw charts as files of a folder; as ``draw_charts``."""
    try:
        asyncio.run(_draw(shown, folder, on_file))
    except errors.ChromeNotFoundError as error:
        raise NoBrowserError(str(error)) from error
    except (
        errors.BrowserFailedError,
        errors.BrowserClosedError,
        errors.KaleidoError,
        errors.JavascriptError,
        TimeoutError,
        ChannelClosedError,
        asyncio.CancelledError,  # of a browser that was ended
    ) as error:
        raise RunFolderError(
            f"the browser did not draw ({type(error).__name__}): name another in "
            f"{BROWSER_VARIABLE}. `fmnist-results report` needs none."
        ) from error


async def _draw(shown: Sequence[Chart], folder: Path, on_file: Callable[[Path], None]) -> None:
    async with kaleido.Kaleido(
        path=os.environ.get(BROWSER_VARIABLE) or None,
        mathjax=False,  # it would be fetched from the internet
        proxy_server=NOBODY,
        timeout=DRAW_TIMEOUT_SECONDS,
    ) as browser:
        for chart in shown:
            size = {"width": WIDTH_PIXELS, "height": chart.figure.layout.height, "scale": SCALE}
            png = await browser.calc_fig(figure_on_paper(chart), opts=size | {"format": "png"})
            path = folder / f"{chart.name}.png"
            with replacing_output(path) as fresh:
                fresh.write_bytes(png)
            on_file(path)


def draw_final(run: Run, folder: Path | None = None) -> Iterator[Path]:
    """Draw the confusion matrix of the final model and its most confident mistakes, if it has any.

    Args:
        run: A run.
        folder: Where the files are made. Default: ``final/`` and ``pictures/`` of it.

    Yields:
        Each file, when it is whole.

    Raises:
        RunFolderError: It could not be written, or the file of the mistakes is damaged.
    """
    evaluation = run.evaluation or {}
    if "confusion_matrix" in evaluation:
        place = folder or run.path / columns.FINAL_DIR
        yield _saved(_confusion_figure(evaluation), place / columns.CONFUSION_FILE)
    mistakes = [mistake for mistake in mistakes_of(run) if mistake.pixels is not None]
    if mistakes:
        place = folder or run.path / columns.PICTURES_DIR
        yield _saved(_mistakes_figure(mistakes), place / MISTAKES_PICTURE)


def _saved(figure: Figure, path: Path) -> Path:
    with replacing_output(path) as fresh:
        figure.savefig(fresh, dpi=120, format="png")
    return path


def _mistakes_figure(mistakes: Sequence[Mistake]) -> Figure:
    rows = -(-len(mistakes) // MISTAKES_PER_ROW)
    figure = Figure(figsize=(1.5 * MISTAKES_PER_ROW, 2.1 * rows), layout="constrained")
    grid = list(figure.subplots(rows, MISTAKES_PER_ROW, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, mistake in zip(grid, mistakes, strict=False):
        axes.imshow(mistake.pixels)
        said = (
            f"{mistake.true}\ntaken for {mistake.predicted}\nprobability {mistake.confidence:.4f}"
        )
        axes.set_title(said, fontsize=8, parse_math=False)
    return figure


def _confusion_figure(evaluation: dict[str, Any]) -> Figure:
    """Return the matplotlib figure of an evaluation's confusion matrix; rows are true classes."""
    matrix = np.asarray(evaluation["confusion_matrix"])
    names = [entry["name"] for entry in evaluation["per_class"]]
    # Coloured by the share of the true class, so that classes of any size can be read.
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    has_numbers = len(names) <= MAX_CLASSES
    side = 2.5 + 0.6 * min(len(names), MAX_CLASSES)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (true, predicted), count in np.ndenumerate(matrix) if has_numbers else ():
        colour = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(count), ha="center", va="center", color=colour, size=9)
    if has_numbers:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix, test accuracy {evaluation['test_accuracy']:.4f}")
    return figure
