"""The historical mean knows only the past; Diebold-Mariano is the regression of loss differences on a constant."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import InputError
from factor_ray.evaluation import diebold_mariano, historical_mean


def make_targets(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    months = pd.date_range("2010-01-31", periods=30, freq="ME").delete([7, 8])
    table = pd.MultiIndex.from_product([months, range(6)], names=["month", "asset"]).to_frame(index=False)
    table["realized"] = rng.normal(size=len(table))
    table.loc[rng.random(len(table)) < 0.2, "realized"] = np.nan
    return table.sample(frac=0.9, random_state=seed)


def months_between(early: pd.Timestamp, late: pd.Timestamp) -> int:
    return (late.year - early.year) * 12 + late.month - early.month


@pytest.mark.parametrize("horizon", [1, 3, 12])
def test_historical_mean_agrees_with_a_loop(horizon: int) -> None:
    targets = make_targets()
    wanted = pd.date_range("2010-01-31", periods=36, freq="ME")
    fast = historical_mean(targets, [*wanted, *wanted], horizon=horizon)
    assert list(fast["month"]) == list(wanted)
    for row in fast.itertuples():
        known = targets[[months_between(month, row.month) >= horizon for month in targets["month"]]].dropna()
        assert row.observations == len(known)
        assert row.months == known["month"].nunique()
        if len(known):
            assert row.benchmark == pytest.approx(known["realized"].mean(), rel=1e-10, abs=1e-12)
        else:
            assert math.isnan(row.benchmark)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 29), horizon=st.integers(1, 12))
def test_historical_mean_does_not_see_what_is_not_realised(cut: int, horizon: int) -> None:
    targets = make_targets()
    now = pd.Timestamp("2010-01-31") + pd.offsets.MonthEnd(cut)
    unknown = np.array([months_between(month, now) < horizon for month in targets["month"]])
    changed = targets.assign(realized=np.where(unknown, 1e6, targets["realized"]))
    pd.testing.assert_frame_equal(
        historical_mean(targets, [now], horizon=horizon), historical_mean(changed, [now], horizon=horizon)
    )


def test_historical_mean_refuses_what_it_cannot_use() -> None:
    targets = make_targets()
    with pytest.raises(InputError, match="horizon must be at least 1"):
        historical_mean(targets, targets["month"], horizon=0)
    with pytest.raises(InputError, match="keep one target"):
        historical_mean(pd.concat([targets, targets.iloc[:1]]), targets["month"], horizon=1)


def make_forecasts(horizon: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    targets = make_targets(4)
    return pd.concat(
        [
            targets.assign(model=model, horizon=horizon, prediction=rng.normal(0, scale, len(targets)))
            .sample(frac=0.95, random_state=1)
            .reset_index(drop=True)
            for model, scale in [("good", 0.1), ("bad", 1.0)]
        ]
    )


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_diebold_mariano_agrees_with_a_loop_and_statsmodels(loss: str) -> None:
    forecasts = make_forecasts()
    known = forecasts.dropna()
    rows = {(row.model, row.month, row.asset): row for row in known.itertuples()}
    power = 2 if loss == "squared" else 1
    differences: dict[pd.Timestamp, list[float]] = {}
    for (model, month, asset), row in sorted(rows.items()):
        other = rows.get(("bad", month, asset))
        if model == "good" and other is not None:
            gain = abs(row.realized - row.prediction) ** power - abs(other.realized - other.prediction) ** power
            differences.setdefault(month, []).append(gain)
    monthly = [float(np.mean(gains)) for _, gains in sorted(differences.items())]
    fit = sm.OLS(monthly, np.ones(len(monthly))).fit(cov_type="HAC", cov_kwds={"maxlags": 2, "use_correction": True})

    test = diebold_mariano(forecasts, "good", "bad", horizon=3, loss=loss)
    assert test.loss_difference == pytest.approx(np.mean(monthly), rel=1e-10)
    assert test.t_statistic == pytest.approx(fit.tvalues[0], rel=1e-10)
    assert test.p_value == pytest.approx(fit.pvalues[0], rel=1e-10)
    assert test.observations == sum(map(len, differences.values()))
    assert (test.months, test.assets) == (len(monthly), 6)
    assert test.loss_difference < 0


def test_diebold_mariano_is_antisymmetric() -> None:
    forecasts = make_forecasts()
    one, other = (diebold_mariano(forecasts, *pair, horizon=3) for pair in [("good", "bad"), ("bad", "good")])
    assert one.loss_difference == -other.loss_difference
    assert one.t_statistic == -other.t_statistic


def test_a_model_does_not_differ_from_itself() -> None:
    test = diebold_mariano(make_forecasts(), "good", "good", horizon=3)
    assert test.loss_difference == 0.0
    assert math.isnan(test.t_statistic)


def test_diebold_mariano_refuses_what_it_cannot_compare() -> None:
    forecasts = make_forecasts()
    with pytest.raises(InputError, match="'best' must have forecasts at horizon 3; there are 'bad' at 3, 'good' at 3"):
        diebold_mariano(forecasts, "best", "bad", horizon=3)
    with pytest.raises(InputError, match="keep one kind of forecast"):
        diebold_mariano(pd.concat([forecasts, forecasts.iloc[:1]]), "good", "bad", horizon=3)
    with pytest.raises(InputError, match="they share none"):
        diebold_mariano(forecasts.assign(realized=np.nan), "good", "bad", horizon=3)
    with pytest.raises(InputError, match="loss must be"):
        diebold_mariano(forecasts, "good", "bad", horizon=3, loss="pinball")
    moved = forecasts.assign(realized=forecasts["realized"] + (forecasts["model"] == "bad"))
    with pytest.raises(InputError, match="same realisations"):
        diebold_mariano(moved, "good", "bad", horizon=3)
