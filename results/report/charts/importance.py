"""The importance of the hyperparameters for the best trials, with its uncertainty."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from results.record import columns
from results.report.charts.axes import Axis, axes_of
from results.report.charts.chart import COLORS, Chart, escaped, lay_out
from results.run import Run

# With fewer trials, the best tenth would be only one or two.
MIN_TRIALS = 20
# Number of resamples of the trials, which show how much the shares depend on single trials.
RESAMPLES = 20
QUANTILES = (0.1, 0.9)
# A hyperparameter stands out if the lower end of its share is at least this.
CLEAR_SHARE = 0.1
# Larger whole numbers are no floats any more, as Optuna needs them.
MAX_INTEGER = 2**53


@dataclass(frozen=True)
class Importance:
    """The importance of a hyperparameter for the best trials.

    Attributes:
        name: Name of the hyperparameter.
        share: Its importance, in 0..1; the shares of all hyperparameters sum to 1.
        low: First decile of its share over the resamples.
        high: Ninth decile of its share over the resamples.
    """

    name: str
    share: float
    low: float
    high: float


def importances(run: Run) -> list[Importance]:
    """Return the importance of each hyperparameter that varies, largest share first.

    A trial counts with its best value, whatever its number of epochs. Conditional hyperparameters
    are included. The result is empty if fewer than ``MIN_TRIALS`` trials have a value, or all have
    the same value.

    Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023; ``optuna.importance.PedAnovaImportanceEvaluator``, Optuna 5.0.
    The ranges are our own addition: the shares of trials drawn with replacement.
    """
    axes = [axis for axis in axes_of(run) if len(set(axis.active)) > 1]
    values = run.trials[columns.BEST_OBJECTIVE].to_pylist()
    scored = [index for index, value in enumerate(values) if value is not None]
    if not axes or len(scored) < MIN_TRIALS or len({values[index] for index in scored}) == 1:
        return []
    trials = _optuna_trials(axes, [(index, values[index]) for index in scored])
    generator = np.random.default_rng(0)
    count = len(trials)
    resampled = [
        _shares([trials[index] for index in generator.integers(0, count, count)], run.mode)
        for _ in range(RESAMPLES)
    ]
    results = []
    for name, share in _shares(trials, run.mode).items():
        low, high = np.quantile([shares.get(name, 0.0) for shares in resampled], QUANTILES)
        results.append(Importance(name, share, min(float(low), share), max(float(high), share)))
    return results


def importance_chart(run: Run) -> Chart | None:
    """Draw the importances; None if there are none."""
    by_share = importances(run)
    if not by_share:
        return None
    bars = by_share[::-1]  # Plotly draws the first bar at the bottom
    figure = go.Figure(
        go.Bar(
            x=[bar.share for bar in bars], y=[escaped(bar.name) for bar in bars],
            orientation="h", marker={"color": COLORS[0]},
            error_x={
                "type": "data", "symmetric": False, "color": "#8a8f98", "thickness": 1.5,
                "array": [bar.high - bar.share for bar in bars],
                "arrayminus": [bar.share - bar.low for bar in bars],
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, x="share", height=110 + 26 * len(bars))
    top = by_share[0]
    trials = sum(value is not None for value in run.trials[columns.BEST_OBJECTIVE].to_pylist())
    text = f"Importance for the best tenth of {trials} trials, by PED-ANOVA: "
    if top.low < CLEAR_SHARE:
        text += "no hyperparameter stands out yet. "
    else:
        text += f"{top.name} matters most, with a share of {top.share:.0%}. "
    text += (
        f"In 80 % of resamples of the trials, the share of {top.name} is between {top.low:.0%} and "
        f"{top.high:.0%}, as the line on its bar shows. Stopped trials count with their best value."
    )
    rows = [["hyperparameter", "share", "80 % of resamples"]]
    rows += [[row.name, f"{row.share:.3f}", f"{row.low:.3f} to {row.high:.3f}"] for row in by_share]
    return Chart("importances", "Importance of the hyperparameters", text, figure, rows)


def _shares(trials: Sequence[optuna.trial.FrozenTrial], mode: str) -> dict[str, float]:
    with _quietly():
        study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
        study.add_trials(trials)
        shares: dict[str, float] = optuna.importance.get_param_importances(study)
    return shares


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the log and the warnings of Optuna."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optuna_trials(
    axes: Sequence[Axis], scores: Sequence[tuple[int, float]]
) -> list[optuna.trial.FrozenTrial]:
    """Return Optuna trials from the index and the value of each trial."""
    distributions = {axis.name: _distribution(axis) for axis in axes}
    trials = []
    for index, value in scores:
        active = [axis for axis in axes if axis.values[index] is not None]
        trials.append(
            optuna.trial.create_trial(
                params={axis.name: _parameter(axis, axis.values[index]) for axis in active},
                distributions={axis.name: distributions[axis.name] for axis in active},
                value=value,
            )
        )
    return trials


def _parameter(axis: Axis, value: Any) -> Any:
    if axis.choices is not None:
        return axis.choices.index(value)
    return value if axis.is_integer and abs(value) <= MAX_INTEGER else float(value)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices is not None and not axis.is_ordered:
        return CategoricalDistribution(range(len(axis.choices)))
    if axis.choices is not None:
        return IntDistribution(0, len(axis.choices) - 1)
    low, high = min(axis.active), max(axis.active)
    if axis.is_integer and max(abs(low), abs(high)) <= MAX_INTEGER:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(float(low), float(high), log=axis.is_log)
