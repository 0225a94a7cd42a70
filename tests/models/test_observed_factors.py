"""Observed factors with rolling betas: a slow loop's numbers, planted betas, months missing or not known yet."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from pydantic import ValidationError

from factor_ray.audit import audit_experiment
from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.sample import WindowView, asset_numbers, observed_factors_of
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.models.base import Available
from factor_ray.models.observed_factors import ObservedFactorModel, ObservedFactorSettings, masked_betas
from factor_ray.runner.cells import CellStore
from factor_ray.runner.space import variants

# Axes: T months, A assets, F factors.

T, A, F = 110, 12, 3
RNG = np.random.default_rng(0)
FACTORS_TF = RNG.normal([0.006, 0.002, 0.003], [0.045, 0.03, 0.03], (T, F))
BETAS_AF = RNG.normal([1.0, 0.3, 0.2], 0.5, (A, F))
TURN = 45
"""From this month on every asset's betas have another sign."""


@cache
def market(noise: float = 0.03) -> Panel:
    """Asset 0 comes late, 1 leaves early, 2 misses months in between; all have an alpha, and a risk-free rate."""
    rng = np.random.default_rng(1)
    sign_T = np.where(np.arange(T) < TURN, -1.0, 1.0)
    r_TA = 0.01 + sign_T[:, None] * (FACTORS_TF @ BETAS_AF.T) + noise * rng.standard_normal((T, A))
    rate_T = 0.002 + 0.001 * np.sin(np.arange(T))
    month_N, asset_N = np.divmod(np.arange(T * A), A)
    frame = pd.DataFrame(
        {
            "month": pd.period_range("2000-01", periods=T, freq="M")[month_N].astype(str),
            "asset": [f"asset_{asset:02d}" for asset in asset_N],
            "return": (r_TA + rate_T[:, None]).reshape(-1),
            "rate": rate_T[month_N],
            "x": rng.standard_normal(T * A),
        }
    )
    gone_N = ((asset_N == 0) & (month_N < 84)) | ((asset_N == 1) & (month_N > 103))
    missing_N = (asset_N == 2) & np.isin(month_N, np.arange(60, 96, 3))
    frame.loc[missing_N, "return"] = np.nan
    panel = Panel.from_frame(
        frame[~gone_N], month="month", asset="asset", returns="return", risk_free="rate", characteristics=["x"]
    )
    return panel.with_factors(Macro(panel.months, ("Mkt-RF", "SMB", "HML"), FACTORS_TF.astype(np.float32)))


def view_of(panel: Panel, horizon: int = 1, first: int = 0) -> WindowView:
    return WindowView(
        panel=panel,
        horizon=horizon,
        target_N=excess_returns(panel, horizon),
        excess_N=own_excess_returns(panel),
        asset_N=asset_numbers(panel),
        state_Td=np.zeros((len(panel.months), 0), dtype=np.float32),
        factors_TF=observed_factors_of(panel),
        first=int(panel.months[0]) + first,
    )


def window(horizon: int = 1) -> Window:
    start = int(market().months[0])
    gap = horizon - 1
    return Window(
        train=(start, start + 89), validation=(start + 90 + gap, start + 95 + gap), test=(start + 100, start + 106)
    )


def returns_of(panel: Panel) -> pd.DataFrame:
    """Excess returns, months by assets."""
    frame = panel.to_frame().assign(excess=own_excess_returns(panel).astype(float))
    return frame.pivot_table(index="month", columns="asset", values="excess", dropna=False)


def slow_beta(r_T: np.ndarray, f_TF: np.ndarray, least: int = 24, *, intercept: bool = True) -> np.ndarray:
    known_T = np.isfinite(r_T) & np.isfinite(f_TF).all(axis=1)
    if known_T.sum() < least:
        return np.full(f_TF.shape[1], np.nan)
    X = np.column_stack([f_TF, np.ones(len(f_TF))]) if intercept else f_TF
    return np.linalg.lstsq(X[known_T], r_T[known_T], rcond=None)[0][: f_TF.shape[1]]


def slow(panel: Panel, t: int, horizon: int, *, first: int = 0, length: int = 60) -> tuple[pd.Series, pd.Series]:
    """Forecast and total fit of all assets of a month, one after another, on plain tables cut at the month."""
    returns, f_TF = returns_of(panel).to_numpy(), panel.factors.values.astype(float)
    present = panel.to_frame().groupby("month")["asset"].apply(list).iloc[t]
    start = max(t - length + 1, first)
    blocks = [np.prod(1 + f_TF[s : s + horizon], axis=0) - 1 for s in range(first, t + 2 - horizon)]
    ahead = np.prod(1 + f_TF[t + 1 : t + 1 + horizon], axis=0) - 1
    columns = returns_of(panel).columns
    betas = {asset: slow_beta(returns[start : t + 1, columns.get_loc(asset)], f_TF[start : t + 1]) for asset in present}
    forecast = pd.Series({asset: beta @ np.mean(blocks, axis=0) for asset, beta in betas.items()})
    return forecast, pd.Series({asset: beta @ ahead for asset, beta in betas.items()})


def both(view: WindowView, point: ObservedFactorSettings, months: tuple[int, int]) -> list[tuple[np.ndarray, ...]]:
    member = ObservedFactorModel.fitted(point, {})
    pairs = zip(view.forecast_months(months), view.realised_months(months), strict=True)
    return [(member.forecast(month).returns, member.total(realised)) for month, realised in pairs]


def fit(point: ObservedFactorSettings, view: WindowView, chosen: Window):
    return ObservedFactorModel.fit_pack([point], [1], view.train(chosen), view.validation(chosen), order_seed=0)[0]


@pytest.mark.parametrize("intercept", [True, False])
def test_batched_betas_are_those_of_least_squares_asset_by_asset(intercept):
    rng = np.random.default_rng(2)
    f_TF = rng.normal([0.01, 100.0, 0.0], [0.05, 1.0, 1e-4], (60, 3))  # a level and a tiny factor among them
    r_TN = f_TF @ rng.standard_normal((3, 40)) + rng.standard_normal((60, 40))
    r_TN[rng.random((60, 40)) < 0.4] = np.nan
    f_TF[7, 1] = np.nan
    found = masked_betas(r_TN, f_TF, least=24, intercept=intercept)
    expected = np.array([slow_beta(r_T, f_TF, intercept=intercept) for r_T in r_TN.T])
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    scale, known = np.abs(expected[np.isfinite(expected[:, 0])]).max(), np.isfinite(r_TN[:, 3])
    known[7] = False
    design = sm.add_constant(f_TF[known]) if intercept else f_TF[known]
    library = sm.OLS(r_TN[known, 3], design).fit().params[-3:]
    np.testing.assert_allclose(found[3], library, rtol=1e-6, atol=1e-9 * scale)
    counts = (np.isfinite(r_TN) & np.isfinite(f_TF).all(axis=1)[:, None]).sum(axis=0)
    assert ((counts < 24) == np.isnan(found).all(axis=1)).all()


def test_factors_that_cannot_be_told_apart_share_what_they_explain():
    rng = np.random.default_rng(3)
    f_T = rng.normal(0.01, 0.05, 40)
    found = masked_betas(np.outer(f_T, [1.0, -2.0]), np.column_stack([f_T, f_T]), least=24, intercept=True)
    np.testing.assert_allclose(found, [[0.5, 0.5], [-1.0, -1.0]], rtol=1e-6)
    constant = masked_betas(np.outer(f_T, [1.0]), np.column_stack([f_T, np.full(40, 0.3)]), least=24, intercept=True)
    np.testing.assert_allclose(constant, [[1.0, 0.0]], atol=1e-9)


@pytest.mark.parametrize("horizon", [1, 3])
def test_forecasts_and_totals_are_a_slow_loops(horizon):
    panel, first = market(), int(market().months[0])
    view = view_of(panel, horizon)
    months = (first + 100, first + 106)
    for t, (forecast, total) in zip(range(100, 107), both(view, ObservedFactorSettings(), months), strict=True):
        expected_forecast, expected_total = slow(panel, t, horizon)
        np.testing.assert_allclose(forecast, expected_forecast, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(total, expected_total, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_score_is_the_loss_of_totals_whose_betas_end_with_their_month(horizon):
    panel, chosen = market(), window(horizon)
    view, first = view_of(panel, horizon), int(panel.months[0])
    target = panel.to_frame().assign(y=excess_returns(panel, horizon).astype(float))
    target = target.pivot_table(index="month", columns="asset", values="y", dropna=False)
    errors = squares = 0.0
    for t in range(chosen.validation[0] - first, chosen.validation[1] - first + 1):
        _, total = slow(panel, t, horizon)
        y = target.iloc[t].reindex(total.index)
        errors += ((y - total.fillna(0.0)) ** 2).sum()
        squares += (y**2).sum()
    found = fit(ObservedFactorSettings(), view, chosen)
    assert found.scores["selection"] == pytest.approx(errors / squares, rel=1e-4)
    assert found.scores["total_r2"] == 1 - found.scores["selection"]
    assert found.weights == {}


def test_planted_betas_are_those_of_the_last_months_and_no_alpha_is_forecast():
    """The betas' sign turns in month 45: 60 months later nothing of the old ones is left, 30 months later half."""
    view, first = view_of(market(noise=0.0)), int(market().months[0])
    ((forecast, total),) = both(view, ObservedFactorSettings(), (first + 106,) * 2)
    own = [2, *range(3, A)]  # asset 1 is gone
    np.testing.assert_allclose(forecast[1:], BETAS_AF[own] @ FACTORS_TF[:107].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(total[1:], BETAS_AF[own] @ FACTORS_TF[107], rtol=1e-4)
    ((early, _),) = both(view, ObservedFactorSettings(), (first + 75,) * 2)
    assert np.abs(early[2:] - BETAS_AF[3:] @ FACTORS_TF[:76].mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("horizon", [1, 3])
def test_nothing_after_a_month_is_read(horizon):
    panel, t = market(), 100
    first = int(panel.months[0])
    view, later_N = view_of(panel, horizon), panel.row_months > first + t
    changed = dataclasses.replace(
        view,
        target_N=np.full_like(view.target_N, 9.0),
        excess_N=np.where(later_N, np.float32(7.0), view.excess_N),
        factors_TF=np.where(np.arange(T)[:, None] > t, np.float32(0.5), view.factors_TF),
    )
    point, months = ObservedFactorSettings(), (first + t,) * 2
    ((forecast, total),) = both(view, point, months)
    ((forecast_again, total_again),) = both(changed, point, months)
    assert forecast.tobytes() == forecast_again.tobytes()
    # The total fit reads the factors that came, and only through these: not the betas.
    returns, f_TF = returns_of(panel).to_numpy()[t - 59 : t + 1], panel.factors.values[t - 59 : t + 1].astype(float)
    betas_AF = np.array([slow_beta(r_T, f_TF) for r_T in returns.T])
    np.testing.assert_allclose(total_again, betas_AF @ np.full(F, 1.5**horizon - 1), rtol=1e-4)
    assert not np.allclose(total, total_again, equal_nan=True)


def test_nothing_before_the_windows_first_month_is_read():
    panel, begin = market(), 61
    first = int(panel.months[0])
    view = view_of(panel, first=begin)
    early_N = panel.row_months < first + begin
    changed = dataclasses.replace(
        view,
        excess_N=np.where(early_N, np.float32(7.0), view.excess_N),
        factors_TF=np.where(np.arange(T)[:, None] < begin, np.float32(0.5), view.factors_TF),
    )
    months = (first + 100,) * 2
    ((forecast, total),) = both(view, ObservedFactorSettings(), months)
    ((forecast_again, total_again),) = both(changed, ObservedFactorSettings(), months)
    assert (forecast.tobytes(), total.tobytes()) == (forecast_again.tobytes(), total_again.tobytes())
    expected, _ = slow(panel, 100, 1, first=begin)
    np.testing.assert_allclose(forecast, expected, rtol=1e-4, atol=1e-8)


def test_fewer_than_24_returns_in_the_window_give_no_forecast():
    """Asset 0 has its first return in month 84, and its 24th in month 107."""
    view, first = view_of(market()), int(market().months[0])
    found = both(view, ObservedFactorSettings(), (first + 104, first + 108))
    assert [np.isnan(forecast[0]) for forecast, _ in found] == [True, True, True, False, False]
    assert [np.isnan(total[0]) for _, total in found] == [True, True, True, False, False]
    assert all(np.isfinite(forecast[1:]).all() for forecast, _ in found)
    # Asset 2 has 48 returns in 60 months, but at most 20 in the 24 before month 95.
    ((forecast, _),) = both(view, ObservedFactorSettings(window=24), (first + 95,) * 2)
    assert np.isnan(forecast[[0, 2]]).all()
    assert np.isfinite(forecast[3:]).all()


def test_months_without_a_factor_are_left_out():
    panel, first = market(), int(market().months[0])
    factors_TF = panel.factors.values.copy()
    factors_TF[[70, 101], 1] = np.nan
    gappy = panel.with_factors(Macro(panel.months, panel.factors.names, factors_TF))
    found = both(view_of(gappy), ObservedFactorSettings(), (first + 100, first + 101))
    assert np.isnan(found[0][1]).all()
    assert np.isfinite(found[1][1][1:]).all()
    returns = returns_of(panel).to_numpy()[:, 5]
    known_T = np.isfinite(factors_TF[:102]).all(axis=1)
    beta_F = slow_beta(returns[42:102], factors_TF[42:102].astype(float))
    assert found[1][0][5] == pytest.approx(beta_F @ factors_TF[:102][known_T].mean(axis=0), rel=1e-4)
    alone = both(view_of(gappy), ObservedFactorSettings(columns=(1, 3)), (first + 100,) * 2)
    assert np.isfinite(alone[0][1][1:]).all()


def test_columns_choose_factors_in_any_order():
    panel, first = market(), int(market().months[0])
    months = (first + 100, first + 103)
    names, values = panel.factors.names, panel.factors.values
    two = panel.with_factors(Macro(panel.months, (names[0], names[2]), values[:, [0, 2]]))
    expected = both(view_of(two), ObservedFactorSettings(), months)
    for columns in ((1, 3), (3, 1)):
        found = both(view_of(panel), ObservedFactorSettings(columns=columns), months)
        np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-4, atol=1e-8)
    everything = both(view_of(panel), ObservedFactorSettings(columns=(1, 2, 3)), months)
    np.testing.assert_array_equal(everything, both(view_of(panel), ObservedFactorSettings(), months))


def test_several_models_in_one_run_are_a_sweep():
    spaces = variants("observed_factors", ObservedFactorSettings, {"columns": [[1, 2, 3], [1]]}, {})
    assert {label: space.first_point().columns for label, space in spaces.items()} == {
        "observed_factors[columns=1-2-3]": (1, 2, 3),
        "observed_factors[columns=1]": (1,),
    }
    (alone,) = variants("observed_factors", ObservedFactorSettings, {"columns": [1, 2, 3]}, {}).values()
    assert alone.first_point().columns == (1, 2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"columns": (1, 1)}, r"columns must name each column once; got [1, 1]"),
        ({"columns": (0,)}, "greater than 0"),
        ({"least": 61}, "least must be at most window; got 61 and 60"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        ObservedFactorSettings(**given)


def test_what_cannot_be_fitted_is_refused():
    offered = Available(characteristics=9, consensus=0, factors=3, validation=4)
    ObservedFactorModel.require(ObservedFactorSettings(columns=(3, 1)), offered)
    with pytest.raises(InputError, match=r"observed_factors needs observed factors.*data\.factors"):
        ObservedFactorModel.require(ObservedFactorSettings(), dataclasses.replace(offered, factors=0))
    with pytest.raises(InputError, match=r"columns must be among the 3 that data\.factors names.*; got 5"):
        ObservedFactorModel.require(ObservedFactorSettings(columns=(1, 5)), offered)
    with pytest.raises(InputError, match="least must be no fewer than an asset's 4 coefficients; got 3"):
        ObservedFactorModel.require(ObservedFactorSettings(least=3), offered)
    ObservedFactorModel.require(ObservedFactorSettings(least=3, intercept=False), offered)


def test_a_window_in_which_no_asset_has_betas_is_refused():
    first = int(market().months[0])
    early = Window(train=(first, first + 15), validation=(first + 16, first + 18), test=(first + 19,) * 2)
    with pytest.raises(
        InputError, match=r"no asset of the validation months has 24 returns .*: train on more months, lower least"
    ):
        fit(ObservedFactorSettings(), view_of(market()), early)


def test_months_without_factors_are_refused():
    view = view_of(market().with_factors(None))
    month = next(view.forecast_months((int(market().months[100]),) * 2))
    with pytest.raises(InputError, match=r"reads column 1 of the observed factors.*come with 0"):
        ObservedFactorModel.fitted(ObservedFactorSettings(), {}).forecast(month)


def test_the_audit_passes(tmp_path: Path):
    panel = market()
    frame = panel.to_frame().assign(month=lambda table: table["month"].astype(str))
    frame.to_parquet(tmp_path / "panel.parquet")
    lines = [f"{200000 + 100 * (t // 12) + t % 12 + 1},{','.join(map(str, FACTORS_TF[t]))}" for t in range(T)]
    (tmp_path / "factors.csv").write_text("month,MKT,SMB,HML\n" + "\n".join(lines) + "\n")
    experiment = Experiment.model_validate(
        {
            "name": "audited",
            "data": {
                "source": "table",
                "path": str(tmp_path / "panel.parquet"),
                "columns": {"risk_free": "risk_free", "characteristics": ["x"]},
                "factors": [
                    {
                        "path": str(tmp_path / "factors.csv"),
                        "columns": {"MKT": "decimal", "SMB": "decimal", "HML": "decimal"},
                    }
                ],
            },
            "target": {"horizon": [1, 3]},
            "windows": {"first_train_end": "2007-06", "validation": 6, "test": 6},
            "macro_state": {"kind": "none"},
            "models": [{"name": "observed_factors", "columns": [[1, 2, 3], [1]]}],
        }
    )
    verdict = audit_experiment(experiment, CellStore(tmp_path / "cells"))
    assert verdict.passed, verdict.describe()
    assert verdict.perturbed == "a copy of panel.parquet and a copy of factors.csv"
