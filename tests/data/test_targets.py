"""Targets against a slow loop over firms and months, and the promise that month t's target stops at t + h."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.targets import excess_returns
from factor_ray.errors import InputError

FIRST = parse_month("2000-01")
seeds = st.integers(0, 100_000)
horizons = st.integers(1, 6)


def draw_frame(seed: int, *, assets: int = 8, months: int = 10, risk_free: bool = True) -> pd.DataFrame:
    """Entries, exits, rows that are left out and returns that are missing."""
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if a == 0 or stream.random() < 0.85]
    month, asset = np.array(cells).T
    frame = pd.DataFrame({"month": pd.PeriodIndex.from_ordinals(month + FIRST, freq="M"), "asset": asset})
    frame["ret"] = np.clip(stream.normal(0.01, 0.1, len(frame)), -1, None)
    frame.loc[stream.random(len(frame)) < 0.08, "ret"] = np.nan
    last = stream.integers(2, months + 4, assets)
    frame = frame[(month <= last[asset]) | (asset == 0)].reset_index(drop=True)
    frame["x"] = stream.normal(size=len(frame))
    if risk_free:
        rate = stream.uniform(0, 0.01, months)
        frame["rf"] = rate[np.asarray(frame["month"].astype("int64")) - FIRST].astype(np.float32)
    return frame


def build(frame: pd.DataFrame) -> Panel:
    return Panel.from_frame(
        frame,
        month="month",
        asset="asset",
        returns="ret",
        characteristics=["x"],
        risk_free="rf" if "rf" in frame else None,
    )


def slow_targets(panel: Panel, horizon: int) -> np.ndarray:
    """The definition, read aloud: one firm, one month at a time."""
    frame = panel.to_frame()
    months, assets = panel.row_months.tolist(), panel.assets.tolist()
    earned = dict(zip(zip(assets, months, strict=True), frame["return"].astype(float), strict=True))
    rates = frame["risk_free"].astype(float).groupby(months).mean() if panel.has_risk_free else None
    last_month = months[-1]
    targets = []
    for asset, month in zip(assets, months, strict=True):
        ahead = range(month + 1, month + horizon + 1)
        if month + horizon > last_month:
            targets.append(np.nan)
            continue
        path = [earned.get((asset, later), np.nan) for later in ahead]
        known = [not np.isnan(value) for value in path]
        delisted_after = max((i for i, value in enumerate(known) if value), default=-1) + 1
        if not known[0] or not all(known[:delisted_after]):
            targets.append(np.nan)
            continue
        wealth = safe = 1.0
        for later, value in zip(ahead, path, strict=True):
            rate = 0.0 if rates is None else rates[later]
            wealth *= 1 + (rate if np.isnan(value) else value)
            safe *= 1 + rate
        targets.append(wealth - safe)
    return np.array(targets)


@given(seeds, horizons, st.booleans())
@settings(deadline=None, max_examples=100)
def test_targets_against_a_slow_loop(seed, horizon, risk_free):
    panel = build(draw_frame(seed, risk_free=risk_free))
    found = excess_returns(panel, horizon)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_targets(panel, horizon), atol=1e-6)


@given(seeds, horizons, st.integers(2, 8))
@settings(deadline=None, max_examples=100)
def test_deleting_what_came_later_leaves_known_targets_as_they_are(seed, horizon, last):
    panel = build(draw_frame(seed))
    whole = excess_returns(panel, horizon)
    cut = panel.between(FIRST, FIRST + last)
    short = excess_returns(cut, horizon)
    known = cut.row_months + horizon <= FIRST + last
    assert short[known].tobytes() == whole[: len(cut)][known].tobytes()
    assert np.isnan(short[~known]).all()


@given(seeds, horizons, st.integers(2, 8))
@settings(deadline=None, max_examples=50)
def test_noise_in_what_came_later_leaves_known_targets_as_they_are(seed, horizon, last):
    frame = draw_frame(seed)
    noisy = frame.copy()
    later = np.asarray(frame["month"].astype("int64")) > FIRST + last
    noisy.loc[later, "ret"] = np.random.default_rng(seed).uniform(-0.9, 0.4, int(later.sum()))
    noisy.loc[later, "rf"] = 0.1
    one, two = excess_returns(build(frame), horizon), excess_returns(build(noisy), horizon)
    known = build(frame).row_months + horizon <= FIRST + last
    assert one[known].tobytes() == two[known].tobytes()


def by_hand(returns: dict[str, list[float | None]], rates: list[float] | None = None) -> Panel:
    """One row a firm and month; None leaves the row out. A long-lived firm keeps the calendar."""
    rows = []
    for name, path in returns.items():
        for t, value in enumerate(path):
            if value is not None:
                rate = {} if rates is None else {"rf": rates[t]}
                rows.append({"month": f"2000-{t + 1:02d}", "asset": name, "ret": value, "x": len(rows), **rate})
    return build(pd.DataFrame(rows))


ALIVE = [0.0, 0.1, 0.2, -0.1, 0.05]
RATES = [0.01, 0.01, 0.02, 0.01, 0.03]


def first_target(path: list[float | None], horizon: int, rates: list[float] | None) -> float:
    panel = by_hand({"alive": ALIVE, "tested": path}, rates)
    return float(excess_returns(panel, horizon)[panel.assets == "tested"][0])


def test_compounding_by_hand():
    panel = by_hand({"alive": ALIVE}, RATES)
    one = [0.1 - 0.01, 0.2 - 0.02, -0.1 - 0.01, 0.05 - 0.03, np.nan]
    np.testing.assert_allclose(excess_returns(panel, 1), one, atol=1e-7)
    two = [1.1 * 1.2 - 1.01 * 1.02, 1.2 * 0.9 - 1.02 * 1.01, 0.9 * 1.05 - 1.01 * 1.03, np.nan, np.nan]
    np.testing.assert_allclose(excess_returns(panel, 2), two, atol=1e-7)
    assert np.isnan(excess_returns(panel, 5)).all()
    assert np.isnan(excess_returns(panel, 50)).all()


def test_after_a_delisting_the_risk_free_rate_is_earned():
    delisted = [0.0, -0.6, None, None, None]
    assert first_target(delisted, 3, RATES) == pytest.approx(0.4 * 1.02 * 1.01 - 1.01 * 1.02 * 1.01, abs=1e-6)
    assert first_target(delisted, 3, None) == pytest.approx(-0.6, abs=1e-6)
    last_return_missing = [0.0, -0.6, np.nan, None, None]
    assert first_target(last_return_missing, 3, RATES) == first_target(delisted, 3, RATES)


def test_a_total_loss_stays_one():
    assert first_target([0.0, -1.0, None, None, None], 3, RATES) == pytest.approx(-1 * 1.01 * 1.02 * 1.01, abs=1e-6)


@pytest.mark.parametrize("hole", [None, np.nan])
def test_a_hole_inside_the_horizon_makes_the_target_missing_and_one_after_it_does_not(hole):
    path = [0.0, 0.1, hole, 0.1, 0.1]
    assert np.isnan(first_target(path, 3, RATES))
    assert first_target(path, 1, RATES) == pytest.approx(0.09, abs=1e-6)
    resumes_after_the_horizon = first_target(path, 2, RATES)
    assert resumes_after_the_horizon == first_target([0.0, 0.1, None, None, None], 2, RATES)
    assert np.isnan(first_target([0.0, hole, 0.1, 0.1, 0.1], 3, RATES))


def test_a_month_without_any_risk_free_rate_is_unknown_and_not_zero():
    panel = by_hand({"alive": ALIVE, "other": ALIVE}, [0.01, 0.01, np.nan, 0.01, 0.03])
    one = excess_returns(panel, 1)[panel.assets == "alive"]
    np.testing.assert_allclose(one, [0.09, np.nan, -0.11, 0.02, np.nan], atol=1e-6)
    two = excess_returns(panel, 2)[panel.assets == "alive"]
    assert np.isnan(two).tolist() == [True, True, False, True, True]


def test_one_rate_a_month_is_enough():
    frame = pd.concat([build_rows("a", RATES), build_rows("b", [np.nan] * 5)], ignore_index=True)
    targets = excess_returns(build(frame), 2)
    panel = build(frame)
    np.testing.assert_array_equal(targets[panel.assets == "a"], targets[panel.assets == "b"])


def build_rows(asset: str, rates: list[float]) -> pd.DataFrame:
    months = [f"2000-{t + 1:02d}" for t in range(5)]
    return pd.DataFrame({"month": months, "asset": asset, "ret": ALIVE, "x": range(5), "rf": rates})


@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_is_at_least_a_month(horizon):
    with pytest.raises(InputError, match=f"at least 1 month; got {horizon}"):
        excess_returns(by_hand({"alive": ALIVE}), horizon)
