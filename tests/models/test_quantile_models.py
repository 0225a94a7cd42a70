"""QCF, QFM and observed factors as models: each says what the library beneath it says, on windows of a panel."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.quantile_simulation import RETURN_SIZE, quantile_panel, simulate_quantiles
from factor_ray.data.sample import Sample, WindowView, asset_numbers, observed_factors_of
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.models.base import Available
from factor_ray.models.by_month import Span, cross_sections
from factor_ray.models.forecasters.mlp import MLP
from factor_ray.models.quantile import (
    Setting,
    fit_latent_factors,
    fit_quantile_factors,
    number_of_factors,
    quantile_regression,
    score_settings,
    step_one,
)
from factor_ray.models.quantile.model_observed import ObservedFactors, ObservedSettings
from factor_ray.models.quantile.model_qcf import QCF, QCFSettings
from factor_ray.models.quantile.model_qfm import QFM, QFMSettings

ASSETS, MONTHS, LENGTH = 40, 24, 12


def view_of(panel: Panel, horizon: int = 1) -> WindowView:
    return WindowView(
        panel=panel,
        horizon=horizon,
        target_N=excess_returns(panel, horizon),
        excess_N=own_excess_returns(panel),
        asset_N=asset_numbers(panel),
        state_Td=np.zeros((len(panel.months), 0), dtype=np.float32),
        factors_TF=observed_factors_of(panel),
        first=int(panel.months[0]),
    )


@cache
def design(assets: int = ASSETS, months: int = MONTHS) -> Panel:
    return quantile_panel(assets, months, seed=3)


def window(first: int, length: int = LENGTH, panel: Panel | None = None) -> Window:
    start = int((panel or design()).months[0]) + first
    return Window(
        train=(start, start + length - 1),
        validation=(start + length,) * 2,
        test=(start + length + 1, start + length + 2),
    )


def samples(view: WindowView, chosen: Window) -> tuple[Sample, Sample]:
    return view.train(chosen), view.validation(chosen)


def fit(family, point, view: WindowView, chosen: Window):
    train, validation = samples(view, chosen)
    return family.fit_pack([point], [1], train, validation, order_seed=0)[0]


def months_of(panel: Panel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every month with targets, as the library takes it."""
    target_N, found = excess_returns(panel, 1), []
    for month in panel.months[:-1]:
        rows = panel.rows(int(month), int(month))
        found.append((panel.characteristics[rows].astype(np.float64), target_N[rows].astype(np.float64)))
    return found


def test_the_panel_of_the_design_dates_outcomes_as_returns_of_the_next_month():
    drawn = simulate_quantiles(ASSETS, MONTHS, 3)
    for (x_ND, y_N), x, y in zip(months_of(design()), drawn.x, drawn.y, strict=True):
        np.testing.assert_allclose(x_ND, x, rtol=1e-6)
        np.testing.assert_allclose(y_N, RETURN_SIZE * y, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["projection", "pure_powers"])
def test_scores_are_those_of_equation_10_in_its_cheap_form(rule):
    months, tau = months_of(design()), 0.5
    coefficients = step_one(months, tau, [2, 3], [1e-3, 1e-2])
    expected = score_settings(months, tau, coefficients, [1, 2, 3], first=LENGTH, window=LENGTH, rule=rule)
    first = int(design().months[0])
    sections = {at + first: section for at, section in cross_sections(_all_rows()).items()}
    spans = [Span(range(first + s, first + s + LENGTH), [first + s + LENGTH]) for s in range(MONTHS - LENGTH)]
    points = [
        QCFSettings(tau=tau, order=order, ridge=ridge, factors=r, recovery=rule)
        for r in (3, 1, 2)
        for order, ridge in coefficients
    ]
    by_settings = {
        QCF.month_settings(point): {first + t: c_P for t, c_P in enumerate(coefficients[point.order, point.ridge])}
        for point in points
    }
    found = QCF.window_losses(points, by_settings, sections, spans)
    for point, losses_W in zip(points, found, strict=True):
        place = expected.settings.index(Setting(point.factors, point.order, point.ridge))
        np.testing.assert_allclose(losses_W, expected.losses[:, place], rtol=1e-9)
        alone = QCF.window_losses([point], by_settings, sections, spans)[0]
        np.testing.assert_allclose(alone, losses_W, rtol=1e-13)


def _all_rows() -> Sample:
    view, first = view_of(design()), int(design().months[0])
    return view.train(Window(train=(first, first + MONTHS - 1), validation=None, test=(first + MONTHS,) * 2))


def test_qcf_forecasts_from_training_and_validation_months_and_is_scored_by_training_months_alone():
    view, chosen = view_of(design()), window(3)
    point = QCFSettings(tau=0.3, order=3, ridge=1e-3, factors=2)
    found, months = fit(QCF, point, view, chosen), months_of(design())
    judged = fit_quantile_factors(months[3 : 3 + LENGTH], 0.3, 2, 3, 1e-3)
    x_ND, y_N = months[3 + LENGTH]
    errors_N = y_N - judged.total(x_ND, y_N)
    loss = np.mean(np.maximum(0.3 * errors_N, -0.7 * errors_N))
    assert found.scores["selection"] == pytest.approx(loss, rel=1e-9)
    model = fit_quantile_factors(months[3 : 4 + LENGTH], 0.3, 2, 3, 1e-3)
    fitted = QCF.fitted(point, found.weights)
    (forecast, *_), (realised, *_) = (
        list(view.forecast_months(chosen.test)),
        list(view.realised_months(chosen.test)),
    )
    x_ND, y_N = months[4 + LENGTH]
    np.testing.assert_allclose(fitted.forecast(forecast).returns, model.predictive(x_ND), rtol=1e-5)
    np.testing.assert_allclose(fitted.total(realised), model.total(x_ND, y_N), rtol=1e-5)
    described = fitted.describe()
    assert described.months.tolist() == list(range(LENGTH + 1))
    np.testing.assert_allclose(described.loadings, model.thetas)


def test_in_a_notebook_qcf_gives_both_kinds_of_quantiles_and_what_it_has_found():
    panel = design()
    chosen = window(3)
    as_they_are = Preprocess(rank=False, standardise=False)
    qcf = QCF(tau=0.3, order=3, ridge=1e-3, factors=2, preprocess=as_they_are)
    with pytest.raises(InputError, match="call fit first"):
        _ = qcf.estimate
    found = qcf.fit(panel, chosen).estimate
    model = fit_quantile_factors(months_of(panel)[3 : 4 + LENGTH], 0.3, 2, 3, 1e-3)
    np.testing.assert_allclose(found.betas, model.betas, rtol=1e-6, atol=1e-9)
    x_ND, y_N = months_of(panel)[4 + LENGTH]
    np.testing.assert_allclose(found.loadings(x_ND), model.loadings(x_ND), rtol=1e-5, atol=1e-7)
    for kind, wanted in (("predictive", model.predictive(x_ND)), ("total", model.total(x_ND, y_N))):
        frame = qcf.predict(panel, (chosen.test[0], chosen.test[0]), kind=kind)
        np.testing.assert_allclose(frame["prediction"], wanted, rtol=1e-4, atol=1e-7)
    with pytest.raises(InputError, match="mlp has no factors that months' targets could tell"):
        MLP(epochs=1).fit(panel, chosen).predict(panel, kind="total")


def test_a_total_needs_as_many_targets_as_factors_and_reads_only_those_it_has():
    view, chosen = view_of(design()), window(3)
    point = QCFSettings(tau=0.5, order=2, factors=2)
    fitted = QCF.fitted(point, fit(QCF, point, view, chosen).weights)
    month = next(iter(view.realised_months(chosen.test)))
    some_N = np.where(np.arange(len(month)) < 10, month.y_N, np.float32(np.nan))
    found = fitted.total(dataclasses.replace(month, y_N=some_N))
    assert np.isfinite(found).all()
    g_nR = fitted.model.loadings(month.x_NP[:10])
    expected = quantile_regression(g_nR, month.y_N[:10].astype(float), 0.5, unpenalised=[]).coefficients
    np.testing.assert_allclose(found, fitted.model.loadings(month.x_NP) @ expected, rtol=1e-4)
    one = np.where(np.arange(len(month)) < 1, month.y_N, np.float32(np.nan))
    assert np.isnan(fitted.total(dataclasses.replace(month, y_N=one))).all()


def test_month_fits_are_the_same_alone_and_in_company():
    (_, month), *_ = cross_sections(_all_rows()).items()
    points = [
        QCFSettings(tau=tau, order=order, ridge=ridge) for tau in (0.1, 0.5) for order in (2, 3) for ridge in (0, 0.1)
    ]
    settings = [QCF.month_settings(point) for point in points]
    together = QCF.fit_month(settings, month)
    for each, found in zip(settings, together, strict=True):
        assert QCF.fit_month([each], month)[0].tobytes() == found.tobytes()


def collinear(x_NP: np.ndarray) -> np.ndarray:
    return np.column_stack([x_NP[:, 0], 2.0 * x_NP[:, 0], np.zeros(len(x_NP))])


def test_collinear_and_constant_characteristics_are_fitted_as_if_they_were_not_there():
    (_, month), *_ = cross_sections(_all_rows()).items()
    for ridge in (0.0, 1e-3):
        settings = QCF.month_settings(QCFSettings(tau=0.3, order=2, ridge=ridge))
        (found,) = QCF.fit_month([settings], dataclasses.replace(month, x_NP=collinear(month.x_NP)))
        assert np.isfinite(found).all()
        if not ridge:
            (alone,) = QCF.fit_month([settings], dataclasses.replace(month, x_NP=month.x_NP[:, :1]))
            fitted_N = found[0] + collinear(month.x_NP) @ found[1:]
            np.testing.assert_allclose(fitted_N, alone[0] + alone[1] * month.x_NP[:, 0], atol=1e-6)


def test_what_cannot_be_fitted_is_refused_in_words():
    view = view_of(quantile_panel(6, MONTHS, seed=1))
    with pytest.raises(
        InputError, match=r"month \d+ has 6 assets .* fewer than the 10 terms of order 3, which ridge 0"
    ):
        fit(QCF, QCFSettings(order=3, ridge=0.0, factors=1), view, window(0))
    with pytest.raises(InputError, match="fewer than 7 factors"):
        fit(QCF, QCFSettings(order=3, ridge=0.1, factors=7), view, window(0))
    with pytest.raises(InputError, match=r"the 4 months from month 0 to month 3 that hold targets cannot give 5"):
        fit(QCF, QCFSettings(order=3, ridge=0.1, factors=5), view, window(0, length=4))
    sections = {at: section for at, section in cross_sections(_all_rows()).items() if at < 8}
    nothing, point = {at: np.zeros(10) for at in sections}, QCFSettings(order=3, factors=1)
    spans = [Span(range(4), [4, 5]), Span(range(2, 8), [])]
    with pytest.raises(InputError, match=r"qcf: the validation months of the window trained up to month 7 hold no"):
        QCF.window_losses([point], {QCF.month_settings(point): nothing}, sections, spans)
    offered = Available(characteristics=3, consensus=0, factors=0, validation=1)
    with pytest.raises(InputError, match="no more than the 4 terms that 3 characteristics and order 2 give; got 5"):
        QCF.require(QCFSettings(order=2, factors=5), offered)
    with pytest.raises(InputError, match=r"qr_observed needs observed factors.*data\.factors"):
        ObservedFactors.require(ObservedSettings(), offered)
    with pytest.raises(InputError, match="least must be no fewer than the 8 factors"):
        QFM.require(QFMSettings(least=7), offered)


@pytest.mark.parametrize("family", [QCF, QFM])
def test_validation_months_without_targets_are_refused(family):
    view = view_of(design())
    unknown = dataclasses.replace(view, target_N=np.where(view.panel.row_months > window(0).train[1], np.nan, 0.1))
    with pytest.raises(InputError, match=r"the validation months.* hold no known target return"):
        fit(family, family.Settings(factors=1), unknown, window(0))


def gappy() -> Panel:
    """The design with assets that come late, leave early or miss months; and two observed factors."""
    frame = design().to_frame()
    number = frame["asset"].str[-4:].astype(int)
    month = frame.groupby("month").ngroup()
    gone = ((number < 4) & (month < 14)) | ((number == 5) & (month > 5)) | ((number == 7) & (month == 9))
    panel = Panel.from_frame(
        frame[~gone], month="month", asset="asset", returns="return", characteristics=design().characteristic_names
    )
    periods = pd.period_range("2000-01", periods=MONTHS + 1, freq="M")
    values = np.random.default_rng(0).normal(0, 0.05, (len(periods), 2))
    return panel.with_factors(Macro.from_frame(pd.DataFrame(values, periods, ["market", "size"]), lag=0))


def matrix(panel: Panel, first: int, stop: int) -> pd.DataFrame:
    """Targets of months by assets."""
    frame = panel.to_frame().assign(y=excess_returns(panel, 1).astype(float))
    table = frame.pivot_table(index="month", columns="asset", values="y", dropna=False)
    return table.iloc[first:stop]


def test_qfm_is_the_librarys_on_the_windows_assets_and_knows_nothing_of_new_ones():
    panel = gappy()
    view, chosen = view_of(panel), window(2)
    point = QFMSettings(tau=0.5, factors=2, least=8, starts=1)
    found = fit(QFM, point, view, chosen)
    y = matrix(panel, 2, 3 + LENGTH)
    y = y.loc[:, y.notna().sum() >= 8]
    assert 30 < y.shape[1] < ASSETS
    expected = fit_latent_factors(y.to_numpy(), 0.5, 2, starts=1, seed=1)
    np.testing.assert_allclose(found.weights["factors"], expected.factors, rtol=1e-6)
    fitted = QFM.fitted(point, found.weights)
    month = next(iter(view.forecast_months(chosen.test)))
    rows = panel.rows(chosen.test[0], chosen.test[0])
    forecast = pd.Series(fitted.forecast(month).returns, panel.assets[rows])
    known = pd.Series(expected.predictive(), y.columns)
    np.testing.assert_allclose(
        forecast.reindex(known.index).dropna(), known.reindex(forecast.index).dropna(), rtol=1e-5
    )
    assert forecast[[name for name in forecast.index if name not in known.index]].isna().all()
    assert forecast.isna().any()
    realised = next(iter(view.realised_months(chosen.test)))
    total = pd.Series(fitted.total(realised), panel.assets[rows])
    own = matrix(panel, 3 + LENGTH, 4 + LENGTH).iloc[0].reindex(known.index)
    np.testing.assert_allclose(total.reindex(known.index).dropna(), expected.total(own)[own.notna()], rtol=1e-4)


def test_qfm_takes_the_number_of_factors_from_their_strength():
    view, chosen = view_of(design()), window(2)
    found = fit(QFM, QFMSettings(tau=0.5, most=4, least=8, starts=1), view, chosen)
    y_TN = matrix(design(), 2, 3 + LENGTH).to_numpy()
    assert found.weights["factors"].shape[1] == number_of_factors(y_TN, 0.5, most=4, seed=1)


@pytest.mark.parametrize("intercept", [False, True])
def test_observed_factors_are_those_of_the_months_in_which_targets_are_earned(intercept):
    panel = gappy()
    view, chosen = view_of(panel), window(2)
    point = ObservedSettings(tau=0.3, intercept=intercept, least=6)
    found = fit(ObservedFactors, point, view, chosen)
    factors = panel.factors.values.astype(float)
    X_TR = factors[3 : 4 + LENGTH]
    X_TR = np.column_stack([np.ones(len(X_TR)), X_TR]) if intercept else X_TR
    y = matrix(panel, 2, 3 + LENGTH)["asset_0010"].to_numpy()
    loading = quantile_regression(X_TR, y, 0.3, unpenalised=[]).coefficients
    fitted, month = ObservedFactors.fitted(point, found.weights), next(iter(view.realised_months(chosen.test)))
    rows = panel.rows(chosen.test[0], chosen.test[0])
    position = panel.assets[rows].tolist().index("asset_0010")
    total, forecast = fitted.total(month)[position], fitted.forecast(month).returns[position]
    realised = factors[4 + LENGTH]
    realised = np.concatenate([[1.0], realised]) if intercept else realised
    assert total == pytest.approx(loading @ realised, rel=1e-5)
    assert forecast == pytest.approx(loading @ X_TR.mean(axis=0), rel=1e-5)
    assert np.isnan(fitted.total(month)).any()


def test_a_horizon_of_three_months_compounds_its_factors():
    panel = gappy()
    first = int(panel.months[0])
    chosen = Window(train=(first, first + 9), validation=(first + 12,) * 2, test=(first + 15,) * 2)
    train = view_of(panel, horizon=3).train(chosen)
    from factor_ray.models.quantile.model_observed import _regressors

    found = _regressors(train, np.array([4]), intercept=False)[0]
    np.testing.assert_allclose(found, np.prod(1.0 + panel.factors.values[5:8], axis=0) - 1.0, rtol=1e-6)
