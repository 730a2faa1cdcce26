"""The charts of a run as Plotly figures with descriptions, for the report and for PNG files."""

from collections.abc import Iterable

from results.report.charts.afterwards import audit_chart, confirmation_chart
from results.report.charts.chart import Chart
from results.report.charts.final import confusion_matrix, per_class, retrained
from results.report.charts.importance import importance_chart
from results.report.charts.progress import best_over_epochs, best_over_time, learning_curves
from results.report.charts.space import parallel_coordinates, slices
from results.report.charts.timeline import timeline
from results.run import Run


def charts_by_part(run: Run) -> dict[str, list[Chart]]:
    """Return the charts of a run by part of its section; charts without data are omitted."""
    return {
        "curves": without_none([learning_curves(run)]),
        "space": without_none([importance_chart(run), parallel_coordinates(run)]),
        "slices": slices(run),
        "workers": without_none([timeline(run), audit_chart(run)]),
        "final": without_none([*retrained(run), confusion_matrix(run), per_class(run)]),
        "confirmed": without_none([confirmation_chart(run)]),
    }


def charts_of(run: Run) -> list[Chart]:
    """Return all charts of a run; charts without data are omitted."""
    progress = without_none([best_over_time([run]), best_over_epochs([run])])
    return progress + [chart for charts in charts_by_part(run).values() for chart in charts]


def without_none(charts: Iterable[Chart | None]) -> list[Chart]:
    """Return the charts that are not None."""
    return [chart for chart in charts if chart is not None]
