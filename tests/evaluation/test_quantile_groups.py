"""The sorting rule: sizes, ties, breakpoints, and indifference to order and scale."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from factor_ray.evaluation.quantile_groups import quantile_groups

SIGNALS = hnp.arrays(np.float64, st.integers(0, 40), elements=st.integers(-8, 8).map(float) | st.just(float("nan")))


def slow_groups(signal: list[float], marked: list[bool], portfolios: int) -> list[int]:
    """One group: read the breakpoints off the sorted marked signals, then count those below each signal."""
    ascending = sorted(s for s, mark in zip(signal, marked, strict=True) if mark and not math.isnan(s))
    n = len(ascending)
    if n < portfolios:
        return [0] * len(signal)
    breakpoints = [ascending[math.ceil(n * j / portfolios) - 1] for j in range(1, portfolios)]
    return [0 if math.isnan(s) else 1 + sum(point < s for point in breakpoints) for s in signal]


def sort_one(signal: np.ndarray, portfolios: int, marked: np.ndarray | None = None) -> np.ndarray:
    everyone = np.ones(len(signal), dtype=bool)
    return quantile_groups(
        np.zeros(len(signal), dtype=np.int64), signal, everyone if marked is None else marked, portfolios
    )


@settings(deadline=None)
@given(data=st.data(), signal=SIGNALS, portfolios=st.integers(2, 10))
def test_several_groups_agree_with_a_loop(data: st.DataObject, signal: np.ndarray, portfolios: int) -> None:
    n = len(signal)
    group = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    marked = data.draw(hnp.arrays(bool, n))
    fast = quantile_groups(group, signal, marked, portfolios)
    for own in range(4):
        rows = group == own
        assert list(fast[rows]) == slow_groups(list(signal[rows]), list(marked[rows]), portfolios)


@settings(deadline=None)
@given(n=st.integers(2, 60), portfolios=st.integers(2, 10), seed=st.integers(0, 1000))
def test_sizes_differ_by_one_at_most_without_ties(n: int, portfolios: int, seed: int) -> None:
    sizes = np.bincount(sort_one(np.random.default_rng(seed).permutation(n).astype(float), portfolios))[1:]
    if n < portfolios:
        assert len(sizes) == 0
    else:
        assert len(sizes) == portfolios
        assert sizes.max() - sizes.min() <= 1


@settings(deadline=None)
@given(data=st.data(), signal=SIGNALS, portfolios=st.integers(2, 10))
def test_order_of_rows_does_not_matter(data: st.DataObject, signal: np.ndarray, portfolios: int) -> None:
    shuffle = np.array(data.draw(st.permutations(range(len(signal)))), dtype=np.int64)
    assert (sort_one(signal, portfolios)[shuffle] == sort_one(signal[shuffle], portfolios)).all()


@settings(deadline=None)
@given(data=st.data(), signal=SIGNALS, portfolios=st.integers(2, 10))
def test_monotone_transformations_change_nothing(data: st.DataObject, signal: np.ndarray, portfolios: int) -> None:
    marked = data.draw(hnp.arrays(bool, len(signal)))
    for transform in (np.exp, np.arctan, lambda s: s**3 - 7):
        assert (sort_one(signal, portfolios, marked) == sort_one(transform(signal), portfolios, marked)).all()


@settings(deadline=None)
@given(signal=SIGNALS, portfolios=st.integers(2, 10))
def test_equal_signals_share_a_portfolio_and_higher_ones_are_never_below(signal: np.ndarray, portfolios: int) -> None:
    assigned = sort_one(signal, portfolios)
    ranked = assigned > 0
    order = np.argsort(signal[ranked], kind="stable")
    assert (np.diff(assigned[ranked][order]) >= 0).all()
    for value in np.unique(signal[ranked]):
        assert len(set(assigned[signal == value])) == 1


def test_signals_all_equal_fall_into_the_lowest_portfolio() -> None:
    assert list(sort_one(np.zeros(10), 5)) == [1] * 10


def test_breakpoints_of_some_sort_all() -> None:
    signal = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0])
    marked = np.array([True, False, False, True, False, False, False])
    assert list(sort_one(signal, 2, marked)) == [1, 2, 2, 2, 2, 2, 2]
