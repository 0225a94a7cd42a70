"""Forecasts compared: the best, those that cannot be told from it, and those that can."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from factor_ray.comparison import compare_forecasts, compare_quantiles
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns
from factor_ray.errors import InputError
from factor_ray.evaluation import compare_losses, diebold_mariano
from factor_ray.tables import Forecast


def losses(seed: int = 0, months: int = 200) -> pd.DataFrame:
    """Models a and b are equally good, c is worse; all share a common shock."""
    rng = np.random.default_rng(seed)
    common = rng.chisquare(3, months)[:, None]
    own = rng.normal(0, 0.1, (months, 3))
    return pd.DataFrame(common + own + np.array([1.0, 1.0, 1.15]), columns=["a", "b", "c"])


def test_a_worse_model_leaves_the_set_and_an_equal_one_stays():
    inside = np.zeros(3)
    for seed in range(20):
        found = compare_losses(losses(seed), horizon=1, repetitions=300)
        inside += found["in_confidence_set"].to_numpy(dtype=float)
        assert found["relative_rmse"].min() == 1
        assert found.loc["c", "dm_t_statistic"] > 5
    assert inside[2] == 0
    assert min(inside[:2]) >= 16  # each is the best with probability .9 at least


def test_it_is_deterministic_and_models_with_the_same_losses_share_their_place():
    table = losses().assign(again=lambda frame: frame["a"])
    one, two = (compare_losses(table, horizon=3) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert one.loc["a", "mcs_p_value"] == one.loc["again", "mcs_p_value"]


def test_few_months_have_no_set_and_missing_losses_are_refused():
    few = compare_losses(losses(months=8), horizon=1)
    assert few["mcs_p_value"].isna().all()
    assert few["dm_t_statistic"].notna().sum() == 2
    with pytest.raises(InputError, match=r"with 1 missing: keep the months that all models forecast"):
        compare_losses(losses().assign(c=lambda frame: frame["c"].where(frame.index != 3)), horizon=1)


def test_forecasts_are_compared_on_common_rows_as_the_pairwise_test_does():
    panel = simulate(seed=2, slots=30, months=40, characteristics=9, consensus=2).panel
    target_N = excess_returns(panel, 2)
    rows = np.flatnonzero(panel.row_months >= panel.months[10])
    rng = np.random.default_rng(1)
    noise = [rng.normal(0, scale, len(rows)).astype(np.float32) for scale in (0.01, 0.2)]
    noise[1][:5] = np.nan
    forecasts = [Forecast(name, 2, rows, values) for name, values in zip(("good", "bad"), noise, strict=True)]
    found = compare_forecasts(panel, forecasts, target_N, 2)
    frame = pd.concat(
        pd.DataFrame(
            {
                "month": panel.row_months[rows] - panel.months[0],
                "asset": panel.assets[rows],
                "model": f.model,
                "horizon": 2,
                "prediction": f.returns,
                "realized": target_N[rows],
            }
        )
        for f in forecasts
    )
    frame["month"] = (np.datetime64("2001-01", "M") + frame["month"].to_numpy()).astype("datetime64[ns]")
    pairwise = diebold_mariano(frame, "bad", "good", horizon=2)
    assert found["bad"]["best"] == "good"
    assert found["bad"]["observations"] == pairwise.observations
    assert found["bad"]["dm_t_statistic"] == pytest.approx(pairwise.t_statistic)
    assert np.isnan(found["good"]["dm_t_statistic"])
    assert compare_forecasts(panel, forecasts[:1], target_N, 2) == {}


def test_quantiles_are_compared_on_common_rows_whatever_else_a_model_forecasts():
    """A model that is worse where all forecast, but spared the hardest assets, is not the best."""
    panel = simulate(seed=2, slots=30, months=40, characteristics=9, consensus=2).panel
    target_N = excess_returns(panel, 1)
    rows = np.flatnonzero((panel.row_months >= panel.months[10]) & np.isfinite(target_N))
    true_n = np.quantile(target_N[rows], 0.1)
    spared = np.abs(target_N[rows]) > np.quantile(np.abs(target_N[rows]), 0.7)
    near, far = np.full(len(rows), true_n, np.float32), np.full(len(rows), 1.3 * true_n, np.float32)
    forecasts = [
        Forecast("whole", 1, rows, near, tau=0.1),
        Forecast("spared", 1, rows, np.where(spared, np.float32("nan"), far), tau=0.1),
    ]
    found = compare_quantiles(panel, forecasts, target_N, 1)
    y_n = target_N[rows][~spared].astype(float)
    months = panel.row_months[rows][~spared]

    def loss(q: np.float32) -> pd.Series:
        e_n = y_n - float(q)
        return pd.Series(np.maximum(0.1 * e_n, -0.9 * e_n))

    assert found["whole"]["aqe"] == pytest.approx(loss(near[0]).mean())
    assert found["spared"]["r2"] == pytest.approx(1 - loss(far[0]).sum() / loss(np.float32(0)).sum())
    assert found["spared"]["hit_rate"] == np.mean(y_n <= far[0])
    by_month = [loss(q).groupby(months).mean() for q in (near[0], far[0])]
    best = min((0, 1), key=lambda k: by_month[k].mean())
    assert found["spared"]["best"] == ("whole", "spared")[best]
    assert found["spared"]["relative_aqe"] == pytest.approx(by_month[1].mean() / by_month[best].mean())
    assert {row["observations"] for row in found.values()} == {int((~spared).sum())}
    assert "relative_rmse" not in found["whole"]
    assert compare_quantiles(panel, forecasts[:1], target_N, 1) == {}
