"""How sure a figure is: intervals of means over seeds, and of shares."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

CONFIDENCE = 0.95
RESAMPLES = 9999
# Of the resampling: the same values have the same interval.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % interval, both ends included."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return it as JSON values."""
        return asdict(self)


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of two values or more with its bootstrap interval.

    Of few values the interval is narrow: of three it goes from the least to the largest.

    Source: the percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13, as ``scipy.stats.bootstrap`` has it.
    """
    import numpy as np
    from scipy import stats

    mean = statistics.fmean(values)
    if max(values) == min(values):
        return Mean(mean, mean, mean)
    found = stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return Mean(mean, float(found.low), float(found.high))


def share_of(part: int, whole: int) -> Mean:
    """Return a share in 0..1 with its Wilson interval.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927),
    as ``scipy.stats.binomtest`` has it.
    """
    from scipy import stats

    found = stats.binomtest(part, whole).proportion_ci(CONFIDENCE, method="wilson")
    return Mean(part / whole, float(found.low), float(found.high))
