"""Which hyperparameters the good configurations depend on, and how sure that is."""

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

# Fewer trials than this say nothing: their best tenth would be two.
MIN_TRIALS = 20
# How far the shares hang on single trials is seen by drawing the trials anew so often.
RESAMPLES = 20
QUANTILES = (0.1, 0.9)
# A hyperparameter whose share may be less than this does not stand out.
CLEAR_SHARE = 0.1


@dataclass(frozen=True)
class Importance:
    """The share of one hyperparameter in what the best trials have in common.

    Attributes:
        share: In 0..1; the shares of all are 1.
        low: The share that a tenth of the resamples stay below.
        high: The share that a tenth of them exceed.
    """

    name: str
    share: float
    low: float
    high: float


def importances(run: Run) -> list[Importance]:
    """Return the importance of each hyperparameter that was varied, the largest share first.

    What counts is the best value of a trial, however many epochs it was given. Conditional
    hyperparameters are weighed too. Empty where fewer than ``MIN_TRIALS`` have a value, or all
    have the same.

    Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023; ``optuna.importance.PedAnovaImportanceEvaluator``, Optuna 5.0.
    The ranges are our own: the same of trials drawn with replacement.
    """
    axes = [axis for axis in axes_of(run) if len(set(axis.active)) > 1]
    values = run.trials[columns.BEST_OBJECTIVE].to_pylist()
    known = [place for place, value in enumerate(values) if value is not None]
    if not axes or len(known) < MIN_TRIALS or len({values[place] for place in known}) == 1:
        return []
    trials = _trials(axes, [(place, values[place]) for place in known])
    generator = np.random.default_rng(0)
    drawn = [
        _shares([trials[one] for one in generator.integers(0, len(trials), len(trials))], run.mode)
        for _ in range(RESAMPLES)
    ]
    found = []
    for name, share in _shares(trials, run.mode).items():
        low, high = np.quantile([one.get(name, 0.0) for one in drawn], QUANTILES)
        found.append(Importance(name, share, min(float(low), share), max(float(high), share)))
    return found


def importance_chart(run: Run) -> Chart | None:
    """Draw the importances; None where there is nothing to tell."""
    found = importances(run)
    if not found:
        return None
    upwards = found[::-1]
    figure = go.Figure(
        go.Bar(
            x=[one.share for one in upwards], y=[escaped(one.name) for one in upwards],
            orientation="h", marker={"color": COLORS[0]},
            error_x={
                "type": "data", "symmetric": False, "color": "#8a8f98", "thickness": 1.5,
                "array": [one.high - one.share for one in upwards],
                "arrayminus": [one.share - one.low for one in upwards],
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, x="share", height=110 + 26 * len(upwards))
    most = found[0]
    trials = sum(value is not None for value in run.trials[columns.BEST_OBJECTIVE].to_pylist())
    text = f"What the best tenth of {trials} trials have in common, by PED-ANOVA: "
    if most.low < CLEAR_SHARE:
        text += "no hyperparameter stands out yet. "
    else:
        text += f"{most.name} counts most, {most.share:.0%} of all. "
    text += (
        f"Where the trials are drawn anew, the share of {most.name} lies between {most.low:.0%} "
        f"and {most.high:.0%}, as its line shows. A stopped trial counts with the best that it had."
    )
    rows = [["hyperparameter", "share", "80 % of resamples"]]
    rows += [[one.name, f"{one.share:.3f}", f"{one.low:.3f} to {one.high:.3f}"] for one in found]
    return Chart("importances", "Importance of the hyperparameters", text, figure, rows)


def _shares(trials: Sequence[optuna.trial.FrozenTrial], mode: str) -> dict[str, float]:
    with _quietly():
        study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
        study.add_trials(trials)
        found: dict[str, float] = optuna.importance.get_param_importances(study)
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Optuna from saying what it does, and that equal trials have equal shares."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _trials(
    axes: Sequence[Axis], known: Sequence[tuple[int, float]]
) -> list[optuna.trial.FrozenTrial]:
    domains = {axis.name: _distribution(axis) for axis in axes}
    found = []
    for place, value in known:
        active = [axis for axis in axes if axis.values[place] is not None]
        found.append(
            optuna.trial.create_trial(
                params={axis.name: _drawn(axis, axis.values[place]) for axis in active},
                distributions={axis.name: domains[axis.name] for axis in active},
                value=value,
            )
        )
    return found


def _drawn(axis: Axis, value: Any) -> Any:
    if axis.choices is not None:
        return axis.choices.index(value)
    return value if axis.is_integer else float(value)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices is not None and not axis.is_ordered:
        return CategoricalDistribution(range(len(axis.choices)))
    if axis.choices is not None:
        return IntDistribution(0, len(axis.choices) - 1)
    low, high = min(axis.active), max(axis.active)
    if axis.is_integer:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(float(low), float(high), log=axis.is_log)
