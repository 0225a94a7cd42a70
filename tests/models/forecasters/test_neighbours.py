"""Graphs of correlated returns against slow pairwise correlations of pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factor_ray.models.forecasters.neighbours import NOBODY, most_correlated, significant

# Axes: N assets, M months, K neighbours.


def returns(seed: int, assets: int, months: int, missing: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns of groups of assets that share shocks of either sign, with holes."""
    rng = np.random.default_rng(seed)
    shock_GM = rng.standard_normal((3, months))
    sign_N = rng.choice([-1.0, 1.0], assets)
    r_NM = 0.05 * (sign_N[:, None] * shock_GM[rng.integers(0, 3, assets)] + rng.standard_normal((assets, months)))
    r_NM[rng.random(r_NM.shape) < missing] = np.nan
    return r_NM.astype(np.float32), rng.permutation(assets).astype(np.int64) + 100


def slow(r_NM: np.ndarray, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and their two-sided p-values, pair by pair."""
    assets = len(r_NM)
    corr, p = np.full((assets, assets), np.nan), np.full((assets, assets), np.nan)
    for i in range(assets):
        for j in range(assets):
            both = np.isfinite(r_NM[i]) & np.isfinite(r_NM[j])
            if i == j or both.sum() < overlap:
                continue
            a, b = (pd.Series(r_NM[k][both].astype(np.float64)) for k in (i, j))
            if a.min() < a.max() and b.min() < b.max():
                corr[i, j] = a.corr(b)
                t = corr[i, j] * np.sqrt((both.sum() - 2) / max(1 - corr[i, j] ** 2, 1e-300))
                p[i, j] = 2 * stats.t.sf(abs(t), both.sum() - 2)
    return corr, p


def strongest(value_N: np.ndarray, eligible_N: np.ndarray, asset_N: np.ndarray, count: int) -> list[int]:
    chosen = sorted(np.flatnonzero(eligible_N), key=lambda j: (-round(value_N[j], 9), asset_N[j]))[:count]
    return [int(j) for j in chosen] + [NOBODY] * (count - len(chosen))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    assets=st.integers(1, 14),
    months=st.integers(4, 40),
    missing=st.sampled_from([0.0, 0.2, 0.6]),
    count=st.integers(1, 6),
)
def test_they_are_what_pairwise_correlations_say(seed, assets, months, missing, count):
    r_NM, asset_N = returns(seed, assets, months, missing)
    corr, p = slow(r_NM, overlap=4)
    nearest_NK = most_correlated(r_NM, asset_N, count=count, overlap=4)
    positive_NK, negative_NK = significant(r_NM, asset_N, count=count, overlap=4, level=0.1)
    assert nearest_NK.shape == positive_NK.shape == negative_NK.shape == (assets, count)
    for i in range(assets):
        assert nearest_NK[i].tolist() == strongest(corr[i], np.isfinite(corr[i]), asset_N, count)
        edge = p[i] < 0.1
        assert positive_NK[i].tolist() == strongest(corr[i], edge & (corr[i] > 0), asset_N, count)
        assert negative_NK[i].tolist() == strongest(-corr[i], edge & (corr[i] < 0), asset_N, count)


def test_ties_go_by_the_assets_number_whatever_the_order_of_the_rows():
    rng = np.random.default_rng(0)
    r_M = rng.standard_normal(36).astype(np.float32)
    r_NM = np.stack([r_M * scale for scale in (1.0, 2.0, 0.5, 3.0, 0.1)]).astype(np.float32)
    asset_N = np.array([40, 10, 30, 20, 50])
    found_NK = most_correlated(r_NM, asset_N, count=3, overlap=24)
    assert asset_N[found_NK].tolist() == [[10, 20, 30], [20, 30, 40], [10, 20, 40], [10, 30, 40], [10, 20, 30]]
    order_N = np.array([3, 0, 4, 2, 1])
    turned_NK = most_correlated(r_NM[order_N], asset_N[order_N], count=3, overlap=24)
    np.testing.assert_array_equal(asset_N[order_N][turned_NK], asset_N[found_NK][order_N])


def test_assets_without_enough_months_or_without_movement_have_no_neighbours():
    r_NM, asset_N = returns(1, 6, 36, 0.0)
    r_NM[2, 5:] = np.nan
    r_NM[4] = 0.01
    found_NK = most_correlated(r_NM, asset_N, count=5, overlap=24)
    assert (found_NK[[2, 4]] == NOBODY).all()
    assert not np.isin(found_NK, [2, 4]).any()
    assert sorted(found_NK[0].tolist()) == [NOBODY, NOBODY, 1, 3, 5]


def test_an_asset_is_never_the_neighbour_of_its_own_number():
    r_NM, _ = returns(2, 4, 36, 0.0)
    found_NK = most_correlated(r_NM, np.array([7, 7, 8, 9]), count=3, overlap=24)
    assert found_NK[0].tolist()[2] == NOBODY
    assert 1 not in found_NK[0]


def test_blocks_change_nothing(monkeypatch):
    r_NM, asset_N = returns(3, 40, 36, 0.1)
    whole = significant(r_NM, asset_N, count=5, overlap=24, level=0.05)
    monkeypatch.setattr("factor_ray.models.forecasters.neighbours._BLOCK", 7)
    for one, other in zip(whole, significant(r_NM, asset_N, count=5, overlap=24, level=0.05), strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one != NOBODY).any()


def test_independent_returns_are_linked_as_often_as_the_level_says():
    r_NM = np.random.default_rng(4).standard_normal((300, 36)).astype(np.float32)
    links = significant(r_NM, np.arange(300), count=300, overlap=24, level=0.05)
    share = sum(int((link_NK != NOBODY).sum()) for link_NK in links) / (300 * 299)
    assert share == pytest.approx(0.05, abs=0.006)
