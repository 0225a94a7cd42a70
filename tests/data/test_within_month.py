"""Steps within a month against SciPy and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factor_ray.data.within_month import filled_with_mean, ranked, standardised, winsorised

seeds = st.integers(0, 100_000)


def block(seed: int, rows: int, columns: int = 3) -> np.ndarray:
    """Values with many ties and many gaps."""
    stream = np.random.default_rng(seed)
    values = stream.integers(-3, 4, (rows, columns)).astype(np.float32) / 2
    values[stream.random(values.shape) < stream.uniform(0, 0.6)] = np.nan
    return values


@given(seeds, st.integers(1, 40))
@settings(deadline=None, max_examples=150)
def test_ranks_are_scipys_average_ranks_on_minus_one_to_one(seed, rows):
    values = block(seed, rows)
    expected = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        count = known.sum()
        ranks = stats.rankdata(values[known, column], method="average")
        expected[known, column] = 0.0 if count == 1 else 2 * (ranks - 1) / (count - 1) - 1 if count else ranks
    found = ranked(values)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@given(seeds, st.integers(2, 40))
@settings(deadline=None, max_examples=50)
def test_ranks_know_order_only(seed, rows):
    values = block(seed, rows)
    ranks = ranked(values)
    order = np.random.default_rng(seed).permutation(rows)
    np.testing.assert_array_equal(ranked(values[order]), ranks[order])
    np.testing.assert_array_equal(ranked(np.exp(values)), ranks)
    np.testing.assert_array_equal(ranked(-values), -ranks)
    np.testing.assert_array_equal(ranked(np.asfortranarray(values)), ranks)


def test_ranks_by_hand():
    values = np.array([[3, -0.0, 7, np.nan], [1, 0.0, np.nan, np.nan], [1, 5, np.nan, np.nan]], dtype=np.float32)
    expected = [[1, -0.5, 0, np.nan], [-0.5, -0.5, np.nan, np.nan], [-0.5, 1, np.nan, np.nan]]
    np.testing.assert_array_equal(ranked(values), np.array(expected, dtype=np.float32))


def test_the_sign_of_a_missing_value_and_infinities_change_nothing():
    values = np.array([-np.nan, -np.inf, 2, np.nan, -1e-45, np.inf, -3e38, 0], dtype=np.float32)[:, None]
    expected = np.array([np.nan, -1, 0.6, np.nan, -0.2, 1, -0.6, 0.2], dtype=np.float32)[:, None]
    np.testing.assert_array_equal(ranked(values), expected)


@given(seeds, st.integers(1, 40))
@settings(deadline=None, max_examples=80)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
def test_standardised_values_have_mean_zero_and_variance_one(seed, rows):
    values = block(seed, rows)
    mean, deviation = np.nanmean(values.astype(float), axis=0), np.nanstd(values.astype(float), axis=0)
    expected = np.where(deviation > 0, (values - mean) / np.where(deviation > 0, deviation, 1), values * 0)
    np.testing.assert_allclose(standardised(values), expected, atol=1e-5)


def test_a_column_that_does_not_vary_is_standardised_to_zero():
    values = np.array([[0.1, np.nan], [0.1, np.nan], [0.1, 3e8]], dtype=np.float32)
    np.testing.assert_array_equal(standardised(values), np.array([[0, np.nan], [0, np.nan], [0, 0]], dtype=np.float32))


@given(seeds, st.integers(1, 40), st.sampled_from([0.01, 0.1, 0.3]))
@settings(deadline=None, max_examples=80)
def test_tails_are_pulled_in_to_numpys_quantiles(seed, rows, share):
    values = block(seed, rows)
    expected = values.astype(float)
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        if known.any():
            low, high = np.quantile(expected[known, column], [share, 1 - share])
            expected[known, column] = expected[known, column].clip(low, high)
    np.testing.assert_allclose(winsorised(values, share), expected, atol=1e-6)


@given(seeds, st.integers(1, 40))
@settings(deadline=None, max_examples=50)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_gaps_take_the_months_mean_where_it_has_one(seed, rows):
    values = block(seed, rows)
    expected = np.where(np.isnan(values), np.nanmean(values.astype(float), axis=0), values)
    np.testing.assert_allclose(filled_with_mean(values), expected, atol=1e-6)


def test_a_month_without_rows_is_no_trouble():
    nothing = np.zeros((0, 3), dtype=np.float32)
    for step in (ranked, standardised, filled_with_mean, lambda values: winsorised(values, 0.1)):
        assert step(nothing).shape == (0, 3)
