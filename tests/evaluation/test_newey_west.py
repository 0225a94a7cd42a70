"""Newey-West tests of a mean, against statsmodels' default, the plain t-test and the written-out sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from factor_ray.evaluation import mean_test


def slow_t(series: np.ndarray, lags: int) -> float:
    n = len(series)
    e = series - series.mean()
    long_run = sum(e[t] ** 2 for t in range(n))
    for lag in range(1, lags + 1):
        long_run += 2 * (1 - lag / (lags + 1)) * sum(e[t] * e[t - lag] for t in range(lag, n))
    return float(series.mean() / math.sqrt(long_run / n**2 * n / (n - 1)))


@pytest.mark.parametrize("lags", [0, 1, 5, 11])
def test_the_written_out_sum(lags: int) -> None:
    series = np.random.default_rng(1).normal(0.2, 1, 60).cumsum() / 5
    assert mean_test(series, lags).t_statistic == pytest.approx(slow_t(series, lags), rel=1e-10)


def test_without_lags_it_is_the_plain_t_test() -> None:
    series = np.random.default_rng(2).normal(0.1, 1, 40)
    assert mean_test(series, 0).t_statistic == pytest.approx(stats.ttest_1samp(series, 0).statistic, rel=1e-12)


def test_p_value_is_two_sided_normal() -> None:
    test = mean_test(np.random.default_rng(3).normal(0.1, 1, 40), 3)
    assert test.p_value == pytest.approx(2 * stats.norm.sf(abs(test.t_statistic)), rel=1e-12)


def test_default_lags_are_the_rule_of_thumb() -> None:
    series = np.random.default_rng(4).normal(size=240)
    assert mean_test(series) == mean_test(series, int(4 * 2.4 ** (2 / 9)))


def test_lags_beyond_the_sample_are_those_of_the_sample() -> None:
    series = np.random.default_rng(5).normal(1, 1, 6)
    assert mean_test(series, 50) == mean_test(series, 5)


def test_missing_months_are_dropped() -> None:
    assert mean_test([0.1, float("nan"), 0.3, 0.2], 1) == mean_test([0.1, 0.3, 0.2], 1)


@pytest.mark.parametrize(("series", "months"), [([], 0), ([0.5], 1), ([0.1, 0.1, 0.1], 3)])
def test_a_series_without_variation_has_no_t_statistic(series: list[float], months: int) -> None:
    test = mean_test(series, 0)
    assert math.isnan(test.t_statistic)
    assert math.isnan(test.p_value)
    assert test.months == months


def test_rounding_is_not_variation() -> None:
    assert math.isnan(mean_test([0.1 + 0.2, 0.3, 0.3], 0).t_statistic)
    assert not math.isnan(mean_test([0.3 + 1e-9, 0.3, 0.3], 0).t_statistic)
