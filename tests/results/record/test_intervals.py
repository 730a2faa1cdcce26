"""Intervals of means and of shares, against exact distributions and published figures."""

import dataclasses
import itertools
import math
import statistics

import numpy as np
import pytest

from results.record.intervals import Estimate, estimate_mean, estimate_share, mean_interval

# --- The bootstrap interval of a mean ---------------------------------------------------------


# The mean of n resampled zeros and ones is a binomial share: its quantiles are known exactly.
@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0, 1.0], 0.0, 1.0),
        ([0.25, 1.0, 0.5], 0.25, 1.0),  # (1/3)^3 = 3.7 % at each end, more than 2.5 %
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0.0, 0.6),  # P(no 1) = 0.33; P(<= 2) = 0.942, P(<= 3) = 0.993
        ([1.0, 0.0, 1.0, 0.0, 1.0], 0.2, 1.0),  # P(no 1) = 0.010, P(<= 1) = 0.087; P(5) = 0.078
        ([0.0] * 5 + [1.0] * 5, 0.2, 0.8),  # P(<= 1) = 0.011, P(<= 2) = 0.055, and the same above
        ([0.7, 0.7, 0.7], 0.7, 0.7),
    ],
)
def test_the_interval_of_few_values_is_that_of_the_exact_distribution(values, low, high):
    assert mean_interval(values) == pytest.approx((low, high), abs=1e-12)


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    low, high = mean_interval(list(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    # 9999 resamples leave an end uncertain by 2 % of half; 6 % is three times that.
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_fewer_than_two_values_have_no_interval(values):
    assert mean_interval(values) is None


@pytest.mark.parametrize(
    "differences", list(itertools.product([-0.2, 0.1], repeat=2))
)  # a half of the signs of 2 pairs are equal
def test_the_interval_of_two_pairs_excludes_zero_if_they_agree(differences):
    low, high = mean_interval(differences)
    assert (not low <= 0 <= high) is (len(set(differences)) == 1)


@pytest.mark.parametrize(
    "differences", list(itertools.product([-0.2, 0.1], repeat=3))
)  # a quarter of the signs of 3 pairs are equal
def test_the_interval_of_three_pairs_excludes_zero_if_they_agree(differences):
    low, high = mean_interval(differences)
    assert (not low <= 0 <= high) is (len(set(differences)) == 1)


@pytest.mark.parametrize(("pairs", "share"), [(5, 1 / 7), (10, 1 / 10)])
def test_the_interval_of_few_pairs_excludes_zero_too_often(pairs, share):
    """Two sides that do not differ: a seventh of the comparisons of 5 pairs, a tenth of 10."""
    noise = np.random.default_rng(1).normal(size=(300, pairs))
    intervals = [mean_interval(list(differences)) for differences in noise]
    excluding = statistics.fmean(not low <= 0 <= high for low, high in intervals)
    assert excluding == pytest.approx(share, abs=0.04)  # twice the error of 300 comparisons


def test_the_same_values_give_the_same_interval_today_as_when_figures_were_published():
    values = [math.sqrt(number) for number in range(2, 14)]
    assert mean_interval(values) == pytest.approx(
        (2.262799239265372, 3.0159672135503377), rel=1e-12
    )


# --- A mean with its interval -----------------------------------------------------------------


def test_a_mean_has_the_ends_of_its_interval():
    assert estimate_mean([0.25, 1.0, 0.5]) == Estimate(pytest.approx(1.75 / 3), 0.25, 1.0)


@pytest.mark.parametrize("values", [[0.1] * 7, [0.5, 0.5], [0.9]])
def test_the_interval_of_equal_values_is_exactly_their_mean(values):
    # Resampled, the mean of seven 0.1 would be 0.09999999999999999.
    assert estimate_mean(values) == Estimate(values[0], values[0], values[0])


def test_an_estimate_is_written_as_three_numbers():
    assert Estimate(0.5, 0.25, 0.75).to_json() == {"mean": 0.5, "low": 0.25, "high": 0.75}


def test_an_estimate_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimate(0.5, 0.25, 0.75).low = 0.0


# --- The Wilson interval of a share -----------------------------------------------------------


# Source: Newcombe, Two-sided confidence intervals for the single proportion (1998), table I.
@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_of_a_share_is_the_published_one(part, whole, low, high):
    share = estimate_share(part, whole)
    assert share.mean == part / whole
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("whole", [1, 4, 50])
def test_a_share_of_nothing_and_of_everything_mirror_each_other(whole):
    none, all_of_it = estimate_share(0, whole), estimate_share(whole, whole)
    z_squared = 1.959963985**2
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(z_squared / (whole + z_squared))
    assert all_of_it == Estimate(1.0, pytest.approx(1.0 - none.high), 1.0)
