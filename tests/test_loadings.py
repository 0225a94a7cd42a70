"""Loadings of the test months: whose they are, in which order and sign, and the portfolios sorted on them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from toy_model import Toy

from factor_ray import stages
from factor_ray.data.months import month_ends
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, next_returns
from factor_ray.evaluation import long_short, sort_portfolios
from factor_ray.experiment import Experiment, PortfolioSettings
from factor_ray.loadings import Loadings, left_out_r2, loading_portfolios, loadings_of, measure_loading_portfolios
from factor_ray.models import registry
from factor_ray.models.base import Description, RowWise
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, fit_packs
from factor_ray.runner.inputs import Digests, Inputs, month_digests, target_digests


class TwoFactors(Toy):
    """The toy with loadings on two factors: the second varies more and its mean is negative."""

    name: ClassVar[str] = "two_factors"

    @classmethod
    def fitted(cls, point: Any, weights: Any) -> Any:
        plain = Toy.fitted(point, weights)

        class Member(RowWise):
            def loadings(self, month: Any) -> Any:
                assert np.isnan(month.y_N).all()
                return month.x_NP[:, : point.width + 1]

            def describe(self) -> Any:
                factors = np.array([[0.1, -3.0], [0.2, 1.0], [np.nan, 9.0], [0.1, 0.5]])
                wide = np.column_stack([factors, 0.01 * factors])
                return Description(np.arange(4), wide[:, : point.width + 1], np.zeros((point.width + 1, 9)))

        return Member(plain.predict)


def finished(root: Any, name: str, **given: Any) -> tuple[Campaign, Inputs]:
    """A finished campaign of one model on a small simulated panel, whose characteristics are used as they are."""
    experiment = Experiment.model_validate(
        {
            "name": "loads",
            "data": {"source": "simulated"},
            "windows": {"first_train_end": "1999-06", "validation": 6, "test": 6},
            "models": [{"name": name, **given}],
            "ensemble": {"members": 2},
            "search": {"points": 1},
        }
    )
    panel = simulate(seed=3, slots=20, months=40, characteristics=9, missing_characteristics=0).panel
    windows, target_N = experiment.windows.split(panel.months.tolist(), 1), excess_returns(panel, 1)
    nothing = np.zeros((len(panel.months), 0), dtype=np.float32)
    inputs = Inputs.of(panel, {1: target_N}, {1: windows}, {1: tuple(nothing for _ in windows)})
    digests = Digests(int(panel.months[0]), month_digests(panel), {1: target_digests(panel, target_N)}, (), "names")
    campaign = Campaign(stages.quests(experiment, inputs, digests), CellStore(root), slots=2)
    while (pack := campaign.take()) is not None:
        fit_packs([pack], inputs, campaign.store, Context())
        campaign.complete(pack)
    return campaign, inputs


@pytest.fixture
def _two_factors(monkeypatch):
    monkeypatch.setitem(registry._OURS, "two_factors", "test_loadings:TwoFactors")
    monkeypatch.setitem(registry._OURS, "toy", "toy_model:Toy")


@pytest.mark.usefixtures("_two_factors")
def test_columns_go_by_training_variance_and_signs_by_training_means(tmp_path):
    campaign, inputs = finished(tmp_path, "two_factors")
    quest = campaign.quests[0]
    found = loadings_of(quest, inputs, campaign.store)
    assert found is not None
    x_nP = inputs.panel.characteristics[found.rows]
    np.testing.assert_array_equal(found.values_nK, np.stack([-x_nP[:, 1], x_nP[:, 0]], axis=1))
    first = quest.windows[0].test[0]
    np.testing.assert_array_equal(found.rows, np.flatnonzero(inputs.panel.row_months >= first))
    assert (found.model, found.horizon) == ("two_factors", 1)


@pytest.mark.usefixtures("_two_factors")
def test_windows_with_fewer_factors_are_filled_with_nan(tmp_path):
    campaign, inputs = finished(tmp_path, "two_factors", width=[1, 3])
    quest = campaign.quests[0]
    assert quest.selection is not None
    quest.selection.best[:] = [f"two_factors[width={width}]" for width in (3, 1, 3, 1, 3, 1)[: len(quest.windows)]]
    found = loadings_of(quest, inputs, campaign.store)
    assert found is not None
    assert found.values_nK.shape[1] == 4
    second = (inputs.panel.row_months[found.rows] >= quest.windows[1].test[0]) & (
        inputs.panel.row_months[found.rows] <= quest.windows[1].test[1]
    )
    assert np.isnan(found.values_nK[second, 2:]).all()
    assert np.isfinite(found.values_nK[~second][:20]).all()


@pytest.mark.usefixtures("_two_factors")
def test_a_model_without_factors_has_none(tmp_path):
    campaign, inputs = finished(tmp_path, "toy")
    assert loadings_of(campaign.quests[0], inputs, campaign.store) is None


def test_ipca_loads_by_its_identified_gamma(tmp_path):
    campaign, inputs = finished(tmp_path, "ipca", factors=2, constant=False)
    quest = campaign.quests[0]
    found = loadings_of(quest, inputs, campaign.store)
    assert found is not None
    assert quest.selection is not None
    expected = []
    for window, dated in enumerate(quest.windows):
        settings = quest.selection.points["ipca"][window].settings
        gamma_PK = campaign.store.read(quest.cells.name(window, settings, 0)).weights["gamma"]
        expected.append(inputs.panel.characteristics[inputs.panel.rows(*dated.test)] @ gamma_PK)
    np.testing.assert_allclose(found.values_nK, np.concatenate(expected), atol=1e-5)


def test_total_fits_without_own_return_are_slow_regressions():
    panel = simulate(seed=5, slots=12, months=12, characteristics=9, missing_characteristics=0).panel
    rows = np.flatnonzero(panel.row_months >= panel.months[6])
    values_nK = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    values_nK[:, 2] = np.nan
    target_N, errors, squares = excess_returns(panel, 1), 0.0, 0.0
    for month in panel.months[6:-1]:
        own = (panel.row_months[rows] == month) & np.isfinite(target_N[rows])
        x_NK, y_N = values_nK[own, :2].astype(float), target_N[rows][own].astype(float)
        for asset in range(len(y_N)):
            others = np.arange(len(y_N)) != asset
            errors += (y_N[asset] - x_NK[asset] @ np.linalg.lstsq(x_NK[others], y_N[others], rcond=None)[0]) ** 2
        squares += float(y_N @ y_N)
    found = left_out_r2(panel, Loadings("two", 1, rows, values_nK), target_N)
    assert found == pytest.approx(1 - errors / squares)


def test_portfolios_are_those_of_a_plain_sort_on_each_column():
    panel = simulate(seed=1, slots=60, months=30, characteristics=9).panel
    next_N = next_returns(panel)
    rows = np.flatnonzero(panel.row_months >= panel.months[10])
    values_nK = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    values_nK[:, 1] = np.nan
    settings = PortfolioSettings(number=4, costs=(0.0, 50.0), weights="equal")
    formed = loading_portfolios(panel, Loadings("ipca", 1, rows, values_nK), next_N, settings)
    measured = measure_loading_portfolios(formed, settings)
    assert [row["factor"] for row in measured] == [1, 3]
    for row, column in zip(measured, (0, 2), strict=True):
        plain = sort_portfolios(
            pd.DataFrame(
                {
                    "month": month_ends(panel.row_months[rows]),
                    "asset": panel.assets[rows],
                    "prediction": values_nK[:, column],
                    "next_return": next_N[rows].astype(np.float64),
                }
            ),
            portfolios=4,
        )
        own = formed[formed["factor"] == row["factor"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(own.drop(columns=["model", "horizon", "factor"]), plain)
        for found, expected in zip(
            row["long_short"], long_short(plain, costs=(0.0, 50.0)).to_dict("records"), strict=True
        ):
            assert found == pytest.approx(expected, nan_ok=True)


def test_factors_without_loadings_have_no_portfolios():
    panel = simulate(seed=1, slots=20, months=12, characteristics=9).panel
    rows = np.arange(len(panel))
    nothing = Loadings("ipca", 1, rows, np.full((len(rows), 2), np.nan, dtype=np.float32))
    assert loading_portfolios(panel, nothing, next_returns(panel), PortfolioSettings(number=3)).empty


def test_equal_loadings_hold_no_portfolio():
    panel = simulate(seed=1, slots=20, months=14, characteristics=9).panel
    rows = np.arange(len(panel))
    equal = Loadings("ipca", 1, rows, np.ones((len(rows), 1), dtype=np.float32))
    settings = PortfolioSettings(number=3)
    formed = loading_portfolios(panel, equal, next_returns(panel), settings)
    (measured,) = measure_loading_portfolios(formed, settings)
    assert formed.loc[formed["portfolio"] == "high-low", "return"].isna().all()
    assert measured["long_short"][0]["months"] == 0
