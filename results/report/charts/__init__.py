"""The charts of a run, as Plotly figures with their texts: for the report and for PNG files."""

from collections.abc import Sequence

from results.report.charts.audited import audit_chart
from results.report.charts.axes import axes_of
from results.report.charts.chart import COLORS, STATE_COLORS, Chart
from results.report.charts.confirmed import confirmation_chart
from results.report.charts.final import confused, confusion_matrix, per_class, retrained
from results.report.charts.importance import importance_chart
from results.report.charts.progress import best_over_epochs, best_over_time, learning_curves
from results.report.charts.space import parallel_coordinates, slices
from results.report.charts.timeline import timeline
from results.run import Run

__all__ = [
    "COLORS",
    "STATE_COLORS",
    "Chart",
    "audit_chart",
    "axes_of",
    "best_over_epochs",
    "best_over_time",
    "charts_of",
    "confirmation_chart",
    "confused",
    "confusion_matrix",
    "importance_chart",
    "learning_curves",
    "parallel_coordinates",
    "per_class",
    "retrained",
    "slices",
    "timeline",
]


def charts_of(run: Run) -> Sequence[Chart]:
    """Return every chart that can be drawn of a run."""
    found = [
        best_over_time([run]),
        best_over_epochs([run]),
        learning_curves(run),
        importance_chart(run),
        parallel_coordinates(run),
        *slices(run),
        timeline(run),
        audit_chart(run),
        *retrained(run),
        confusion_matrix(run),
        per_class(run),
        confirmation_chart(run),
    ]
    return [chart for chart in found if chart is not None]
