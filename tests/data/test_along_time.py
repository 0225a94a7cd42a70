"""Steps along a firm's months against slow pandas references."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.along_time import Histories, carried_forward, interpolated, lagged, mean_of_all, mean_so_far

seeds = st.integers(0, 100_000)


def block(seed: int, rows: int, columns: int = 3) -> np.ndarray:
    """Values with many gaps, some of them long."""
    stream = np.random.default_rng(seed)
    values = stream.integers(-30, 40, (rows, columns)).astype(np.float32) / 8
    values[stream.random(values.shape) < stream.uniform(0, 0.8)] = np.nan
    return values


def draw(seed: int, firms: int = 5, months: int = 14) -> tuple[np.ndarray, Histories]:
    """Firms whose histories have holes: a month may be without a row."""
    stream = np.random.default_rng(seed)
    there = stream.random((firms, months)) < 0.7
    there[0, 0] = True
    firm, month = np.nonzero(there)
    return block(seed, len(firm)), Histories(firm * 7, (month + 300).astype(np.int32))


def reference(values: np.ndarray, histories: Histories, function) -> np.ndarray:
    frame = pd.DataFrame(values.astype(float), index=histories.month_n)
    parts = [function(part) for _, part in frame.groupby(histories.firm_n)]
    return pd.concat(parts).to_numpy()


@given(seeds)
@settings(deadline=None, max_examples=60)
def test_values_are_carried_forward_as_pandas_fills(seed):
    values, histories = draw(seed)
    found = carried_forward(values, histories)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, reference(values, histories, lambda part: part.ffill()))


@given(seeds)
@settings(deadline=None, max_examples=60)
def test_gaps_take_the_mean_so_far(seed):
    values, histories = draw(seed)
    expected = reference(values, histories, lambda part: part.fillna(part.expanding().mean()))
    np.testing.assert_allclose(mean_so_far(values, histories), expected, rtol=1e-6, atol=1e-6)


@given(seeds)
@settings(deadline=None, max_examples=60)
def test_gaps_take_the_mean_of_all(seed):
    values, histories = draw(seed)
    expected = reference(values, histories, lambda part: part.fillna(part.mean()))
    np.testing.assert_allclose(mean_of_all(values, histories), expected, rtol=1e-6, atol=1e-6)


@given(seeds)
@settings(deadline=None, max_examples=60)
def test_gaps_between_neighbours_are_interpolated_by_calendar_month(seed):
    values, histories = draw(seed)
    expected = reference(values, histories, lambda part: part.interpolate(method="index", limit_area="inside"))
    np.testing.assert_allclose(interpolated(values, histories), expected, rtol=1e-6, atol=1e-6)


@given(seeds, st.lists(st.integers(0, 6), min_size=3, max_size=3))
@settings(deadline=None, max_examples=60)
def test_a_lag_moves_values_by_calendar_months_within_a_firm(seed, lags):
    values, histories = draw(seed)
    known = {
        (firm, month): row for row, (firm, month) in enumerate(zip(histories.firm_n, histories.month_n, strict=True))
    }
    expected = np.full(values.shape, np.nan)
    for (firm, month), row in known.items():
        for column, lag in enumerate(lags):
            if (before := known.get((firm, month - lag))) is not None:
                expected[row, column] = values[before, column]
    found = lagged(values, histories, np.array(lags))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@given(seeds, st.sampled_from([carried_forward, mean_so_far, mean_of_all, interpolated]))
@settings(deadline=None, max_examples=60)
def test_a_firm_has_the_same_bits_whatever_its_companions(seed, step):
    values, histories = draw(seed)
    whole = step(values, histories)
    for firm in np.unique(histories.firm_n):
        rows = histories.firm_n == firm
        alone = step(values[rows], Histories(histories.firm_n[rows], histories.month_n[rows]))
        assert alone.tobytes() == whole[rows].tobytes()


def test_no_rows_are_no_trouble():
    nothing = np.zeros((0, 2), dtype=np.float32)
    histories = Histories(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32))
    for step in (carried_forward, mean_so_far, mean_of_all, interpolated):
        assert step(nothing, histories).shape == (0, 2)
    assert lagged(nothing, histories, np.array([3, 0])).shape == (0, 2)
