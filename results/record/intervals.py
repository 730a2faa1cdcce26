"""Confidence intervals of means over seeds and of shares."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

CONFIDENCE = 0.95
RESAMPLES = 9999
# Seed of the resampling, so that the same values always give the same interval.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A mean or a share with its 95 % interval; both ends are included."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the estimate as JSON values."""
        return asdict(self)


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Return the mean of at least two values with its bootstrap interval: see mean_interval."""
    mean = statistics.fmean(values)
    # The interval of equal values is exactly their mean, without rounding errors.
    ends = None if max(values) == min(values) else mean_interval(values)
    low, high = ends or (mean, mean)
    return Estimate(mean, low, high)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return both ends of a mean's 95 % bootstrap interval; None for fewer than two values.

    With three values, the interval goes from the smallest to the largest: one resample in 27 has
    that mean, which is more than the 2.5 % outside each end. The interval of few values is too
    narrow. If two sides do not differ and the noise is normal, it excludes zero in about a half
    of all comparisons of 2 pairs, a quarter of 3, a seventh of 5 and a tenth of 10, instead of a
    twentieth.

    Source: the percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13, as implemented by ``scipy.stats.bootstrap``.
    """
    if len(values) < 2:
        return None
    import numpy as np
    from scipy import stats

    ends = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def estimate_share(part: int, whole: int) -> Estimate:
    """Return the share ``part / whole``, in 0..1, with its 95 % Wilson interval.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927),
    as implemented by ``scipy.stats.binomtest``.
    """
    from scipy import stats

    interval = stats.binomtest(part, whole).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(part / whole, float(interval.low), float(interval.high))
