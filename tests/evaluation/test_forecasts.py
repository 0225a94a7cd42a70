"""Forecast and consensus statistics, against explicit loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factor_ray.errors import InputError
from factor_ray.evaluation import consensus_statistics, forecast_statistics, mean_test


def make_forecasts(seed: int = 0, models: tuple[str, ...] = ("cbapm", "ols"), horizon: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    months = pd.date_range("2013-01-31", periods=20, freq="ME")
    index = pd.MultiIndex.from_product([models, months, [f"s{i:02d}" for i in range(15)]])
    table = index.set_names(["model", "month", "asset"]).to_frame(index=False)
    table["horizon"] = horizon
    table["realized"] = rng.normal(0.01, 0.1, len(table))
    table["prediction"] = (0.1 * table["realized"] + rng.normal(0, 0.02, len(table))).round(2)
    table["benchmark"] = 0.008
    table.loc[rng.random(len(table)) < 0.1, "realized"] = np.nan
    table.loc[rng.random(len(table)) < 0.05, "prediction"] = np.nan
    table.loc[table["month"] < "2013-03-01", "benchmark"] = np.nan
    return table[rng.random(len(table)) < 0.9].reset_index(drop=True)


def slow_statistics(rows: pd.DataFrame, horizon: int) -> dict[str, float]:
    """Everything in one loop over rows and one over months."""
    squared = absolute = against_zero = own = against_mean = 0.0
    known, with_benchmark = [], 0
    for row in rows.itertuples():
        if math.isnan(row.prediction) or math.isnan(row.realized):
            continue
        known.append(row)
        error = row.realized - row.prediction
        squared, absolute, against_zero = squared + error**2, absolute + abs(error), against_zero + row.realized**2
        if not math.isnan(row.benchmark):
            with_benchmark += 1
            own, against_mean = own + error**2, against_mean + (row.realized - row.benchmark) ** 2
    ics = []
    for month in sorted({row.month for row in known}):
        pairs = [(row.prediction, row.realized) for row in known if row.month == month]
        if min(len(set(side)) for side in zip(*pairs, strict=True)) > 1:
            ics.append(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    test = mean_test(ics, horizon - 1)
    n = len(known)
    return {
        "r2": 1 - squared / against_zero,
        "r2_historical_mean": 1 - own / against_mean,
        "rmse": math.sqrt(squared / n),
        "mae": absolute / n,
        "ic": float(np.mean(ics)),
        "ic_t_statistic": test.t_statistic,
        "observations": n,
        "assets": len({row.asset for row in known}),
        "months": len({row.month for row in known}),
        "ic_months": len(ics),
        "benchmark_observations": with_benchmark,
        "skipped": len(rows) - n,
    }


@pytest.mark.parametrize("by", [("model", "horizon"), ("model", "horizon", "year"), ("model",)])
def test_agrees_with_a_loop(by: tuple[str, ...]) -> None:
    forecasts = make_forecasts()
    fast = forecast_statistics(forecasts, by=by)
    groups = forecasts.assign(year=forecasts["month"].dt.year).groupby(list(by))
    assert list(fast.columns[: len(by)]) == list(by)
    assert [tuple(row) for row in fast[list(by)].itertuples(index=False)] == [key for key, _ in groups]
    for (_, own), (_, row) in zip(groups, fast.iterrows(), strict=True):
        for measure, value in slow_statistics(own, horizon=3).items():
            assert row[measure] == pytest.approx(value, rel=1e-10), measure


def test_a_perfect_forecast() -> None:
    forecasts = make_forecasts().dropna()
    row = forecast_statistics(forecasts.assign(prediction=forecasts["realized"])).iloc[0]
    assert (row["r2"], row["rmse"], row["mae"]) == (1.0, 0.0, 0.0)
    assert row["ic"] == pytest.approx(1.0, abs=1e-15)


def test_a_forecast_of_zero_explains_nothing() -> None:
    assert (forecast_statistics(make_forecasts().assign(prediction=0.0))["r2"] == 0.0).all()


def test_the_benchmark_explains_nothing_beyond_itself() -> None:
    forecasts = make_forecasts()
    statistics = forecast_statistics(forecasts.assign(prediction=forecasts["benchmark"]))
    assert (statistics["r2_historical_mean"] == 0.0).all()


def test_a_forecast_that_is_the_same_for_all_has_no_rank_correlation() -> None:
    row = forecast_statistics(make_forecasts().assign(prediction=0.01)).iloc[0]
    assert math.isnan(row["ic"])
    assert row["ic_months"] == 0


def test_without_benchmark_the_column_is_empty() -> None:
    statistics = forecast_statistics(make_forecasts().drop(columns="benchmark"))
    assert statistics["r2_historical_mean"].isna().all()
    assert (statistics["benchmark_observations"] == 0).all()


def test_a_model_whose_outcomes_are_all_unknown_keeps_its_row() -> None:
    forecasts = make_forecasts()
    forecasts.loc[forecasts["model"] == "ols", "realized"] = np.nan
    row = forecast_statistics(forecasts).set_index("model").loc["ols"]
    assert row["observations"] == row["assets"] == row["months"] == 0
    assert row["skipped"] == (forecasts["model"] == "ols").sum()
    assert row[["r2", "rmse", "mae", "ic"]].isna().all()


def test_an_empty_table_has_no_groups() -> None:
    assert forecast_statistics(make_forecasts().iloc[:0]).empty


def test_nullable_columns_are_read() -> None:
    forecasts = make_forecasts()
    pd.testing.assert_frame_equal(
        forecast_statistics(forecasts),
        forecast_statistics(forecasts.astype({"realized": "Float64", "prediction": "double[pyarrow]"})),
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    forecasts = make_forecasts()
    shuffled = forecasts.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(forecast_statistics(forecasts), forecast_statistics(shuffled), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-1, 1))
def test_rank_correlation_ignores_the_scale_of_forecasts(scale: float, shift: float) -> None:
    forecasts = make_forecasts()
    forecasts["prediction"] = (forecasts["prediction"] * 100).round()
    moved = forecasts.assign(prediction=forecasts["prediction"] * scale + shift)
    columns = ["ic", "ic_t_statistic", "ic_months"]
    pd.testing.assert_frame_equal(forecast_statistics(forecasts)[columns], forecast_statistics(moved)[columns])


def test_repeated_rows_are_refused() -> None:
    forecasts = make_forecasts()
    with pytest.raises(InputError, match=r"one row for each \(model, horizon, month, asset\).*cbapm.*2013-"):
        forecast_statistics(pd.concat([forecasts, forecasts.iloc[[3]]]))


def test_several_horizons_in_a_group_are_refused() -> None:
    forecasts = make_forecasts()
    forecasts.loc[forecasts["month"] > "2013-06-01", "horizon"] = 1
    with pytest.raises(InputError, match="one horizon"):
        forecast_statistics(forecasts, by=("model",))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="lacks realized"):
        forecast_statistics(make_forecasts().drop(columns="realized"))


def test_infinite_forecasts_are_refused() -> None:
    forecasts = make_forecasts()
    forecasts.loc[0, "prediction"] = np.inf
    with pytest.raises(InputError, match="1 values are infinite"):
        forecast_statistics(forecasts)


def test_by_must_name_something() -> None:
    with pytest.raises(InputError, match="by must name at least one column"):
        forecast_statistics(make_forecasts(), by=())


def test_consensus_agrees_with_a_loop() -> None:
    forecasts = make_forecasts(models=("FEPS", "REV6"))
    consensus = forecasts.rename(columns={"model": "variable", "realized": "actual"}).assign(model="cbapm")
    fast = consensus_statistics(consensus)
    assert list(fast["variable"]) == ["FEPS", "REV6"]
    for variable, row in fast.set_index("variable").iterrows():
        slow = slow_statistics(forecasts[forecasts["model"] == variable], horizon=1)
        for measure in fast.columns.drop(["model", "horizon", "variable"]):
            assert row[measure] == pytest.approx(slow[measure], rel=1e-10), measure


def test_consensus_by_year_of_a_variable_never_observed() -> None:
    consensus = make_forecasts().rename(columns={"realized": "actual"}).assign(variable="FEPS", actual=np.nan)
    statistics = consensus_statistics(consensus, by=("model", "variable", "year"))
    assert list(statistics["year"]) == [2013, 2014, 2013, 2014]
    assert (statistics["ic_months"] == 0).all()
    assert statistics["ic"].isna().all()
