"""Which hyperparameters the good configurations depend on."""

import warnings
from typing import TYPE_CHECKING, Any

from results import columns
from results.charts.axes import Axis, axes_of
from results.charts.chart import COLORS, Chart, laid_out, plain
from results.reading import Run

if TYPE_CHECKING:
    import optuna

# Fewer trials than this say nothing: its best tenth would be one.
LEAST_TRIALS = 10


def importances(run: Run) -> dict[str, float]:
    """Return the share of each hyperparameter, in 0..1 and 1 in all, the largest first.

    What counts is the best value of a trial, however many epochs it was given. Conditional
    hyperparameters are weighed too. Empty where fewer than ``LEAST_TRIALS`` have a value.

    Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023; ``optuna.importance.PedAnovaImportanceEvaluator``, Optuna 5.0.
    """
    import optuna

    axes = axes_of(run)
    values = run.trials[columns.BEST_OBJECTIVE].to_pylist()
    if sum(value is not None for value in values) < LEAST_TRIALS:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if run.mode == "max" else "minimize")
    study.add_trials(
        _trial(axes, place, value) for place, value in enumerate(values) if value is not None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials too few, or all alike: equal shares then
        found: dict[str, float] = optuna.importance.get_param_importances(study)
    return found


def importance_chart(run: Run) -> Chart | None:
    """Draw the importances; None where there are too few trials for any."""
    import plotly.graph_objects as go

    found = importances(run)
    if not found:
        return None
    names, shares = [plain(name) for name in found][::-1], list(found.values())[::-1]
    figure = go.Figure(
        go.Bar(
            x=shares, y=names, orientation="h", marker={"color": COLORS[0]},
            text=[f"{share:.2f}" for share in shares], textposition="auto",
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )  # fmt: skip
    laid_out(figure, x="share", height=110 + 26 * len(names))
    most = next(iter(found))
    text = (
        f"What the best tenth of the trials have in common: {most} counts most, "
        f"{found[most]:.0%} of all (PED-ANOVA). A stopped trial counts with the best that it had."
    )
    rows = [["hyperparameter", "share"], *([name, f"{share:.3f}"] for name, share in found.items())]
    return Chart("importances", "Importance of the hyperparameters", text, figure, rows)


def _trial(axes: list[Axis], place: int, value: float) -> "optuna.trial.FrozenTrial":
    import optuna

    active = [axis for axis in axes if axis.values[place] is not None]
    return optuna.trial.create_trial(
        params={axis.name: _drawn(axis, axis.values[place]) for axis in active},
        distributions={axis.name: _distribution(axis) for axis in active},
        value=value,
    )


def _drawn(axis: Axis, value: Any) -> Any:
    if axis.choices is not None:
        return axis.choices.index(value)
    return value if isinstance(value, int) and not _is_real(axis) else float(value)


def _distribution(axis: Axis) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if axis.choices is not None and not axis.is_ordered:
        return CategoricalDistribution(range(len(axis.choices)))
    if axis.choices is not None:
        return IntDistribution(0, max(1, len(axis.choices) - 1))
    low, high = min(axis.active), max(axis.active)
    if _is_real(axis):
        return FloatDistribution(float(low), float(high), log=axis.is_log)
    return IntDistribution(int(low), int(high), log=axis.is_log)


def _is_real(axis: Axis) -> bool:
    return any(isinstance(value, float) for value in axis.active)
