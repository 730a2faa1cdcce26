"""Save pictures of a run as PNG files; the charts of the report need a browser."""

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
# Pixels of the file per pixel of the page.
SCALE = 2
# Environment variable with the path of the browser to use.
BROWSER_VARIABLE = "BROWSER_PATH"
# A browser connects to its vendor by itself; this proxy does not exist and so blocks that.
BLOCKING_PROXY = "127.0.0.1:9"
# For a single chart.
DRAW_TIMEOUT_SECONDS = 60.0


class NoBrowserError(Exception):
    """Neither Chrome nor Chromium was found; the charts need one of them."""


def draw_charts(run: Run, folder: Path | None = None, *, on_file: Callable[[Path], None]) -> None:
    """Draw the charts of the report, without the confusion matrix.

    Args:
        run: A run.
        folder: Folder of the files, each named after its chart. Default: ``pictures/`` in the run.
        on_file: Called with the path of each finished file.

    Raises:
        NoBrowserError: There is no browser.
        RunFolderError: The browser failed, or a file cannot be written.
    """
    charts = [chart for chart in charts_of(run) if chart.name != "confusion-matrix"]
    draw(charts, folder or run.path / columns.PICTURES_DIR, on_file=on_file)


def draw(charts: Sequence[Chart], folder: Path, *, on_file: Callable[[Path], None]) -> None:
    """Draw charts as files in a folder; for arguments and errors see ``draw_charts``."""
    try:
        asyncio.run(_draw(charts, folder, on_file))
    except errors.ChromeNotFoundError as error:
        raise NoBrowserError(str(error)) from error
    except (
        errors.BrowserFailedError,
        errors.BrowserClosedError,
        errors.KaleidoError,
        errors.JavascriptError,
        TimeoutError,
        ChannelClosedError,
        asyncio.CancelledError,  # raised if the browser is killed
    ) as error:
        raise RunFolderError(
            f"the browser failed to draw a chart ({type(error).__name__}): set {BROWSER_VARIABLE} "
            "to the path of another browser. `fmnist-results report` needs no browser."
        ) from error


async def _draw(charts: Sequence[Chart], folder: Path, on_file: Callable[[Path], None]) -> None:
    async with kaleido.Kaleido(
        path=os.environ.get(BROWSER_VARIABLE) or None,
        mathjax=False,  # it would be loaded from the internet
        proxy_server=BLOCKING_PROXY,
        timeout=DRAW_TIMEOUT_SECONDS,
    ) as browser:
        for chart in charts:
            size = {"width": WIDTH_PIXELS, "height": chart.figure.layout.height, "scale": SCALE}
            png = await browser.calc_fig(figure_on_paper(chart), opts=size | {"format": "png"})
            path = folder / f"{chart.name}.png"
            with replacing_output(path) as new_file:
                new_file.write_bytes(png)
            on_file(path)


def draw_final(run: Run, folder: Path | None = None) -> Iterator[Path]:
    """Draw the confusion matrix and the most confident mistakes of the final model, if present.

    Args:
        run: A run.
        folder: Folder of the files. Default: ``final/`` and ``pictures/`` in the run.

    Yields:
        The path of each finished file.

    Raises:
        RunFolderError: A file cannot be written, or the file with the mistakes is damaged.
    """
    evaluation = run.evaluation or {}
    if "confusion_matrix" in evaluation:
        path = (folder or run.path / columns.FINAL_DIR) / columns.CONFUSION_FILE
        yield _save(_confusion_figure(evaluation), path)
    mistakes = [mistake for mistake in mistakes_of(run) if mistake.pixels is not None]
    if mistakes:
        path = (folder or run.path / columns.PICTURES_DIR) / MISTAKES_PICTURE
        yield _save(_mistakes_figure(mistakes), path)


def _save(figure: Figure, path: Path) -> Path:
    with replacing_output(path) as new_file:
        figure.savefig(new_file, dpi=120, format="png")
    return path


def _mistakes_figure(mistakes: Sequence[Mistake]) -> Figure:
    rows = -(-len(mistakes) // MISTAKES_PER_ROW)
    figure = Figure(figsize=(1.5 * MISTAKES_PER_ROW, 2.1 * rows), layout="constrained")
    grid = list(figure.subplots(rows, MISTAKES_PER_ROW, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, mistake in zip(grid, mistakes, strict=False):
        axes.imshow(mistake.pixels)
        title = (
            f"{mistake.true}\npredicted {mistake.predicted}\nprobability {mistake.confidence:.4f}"
        )
        axes.set_title(title, fontsize=8, parse_math=False)
    return figure


def _confusion_figure(evaluation: dict[str, Any]) -> Figure:
    """Return the confusion matrix of an evaluation as a figure; rows are true classes."""
    matrix = np.asarray(evaluation["confusion_matrix"])
    names = [entry["name"] for entry in evaluation["per_class"]]
    # Colours show the share of the true class, because classes may differ in size.
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
