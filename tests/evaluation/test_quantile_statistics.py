"""Quantile measures against loops over rows, coverage tests against their published formulas, levels against hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

from factor_ray.errors import InputError
from factor_ray.evaluation import (
    christoffersen_test,
    conditional_coverage_test,
    crossing_rates,
    expected_shortfall,
    kupiec_test,
    quantile_statistics,
    rearrange,
)


def quantile_table(seed=0, months=9, assets=7):
    """Two models at three levels on an unbalanced panel with missing predictions and realisations, rows shuffled."""
    rng = np.random.default_rng(seed)
    rows = []
    for month in pd.date_range("2001-01-31", periods=months, freq="ME"):
        for asset in rng.permutation(assets)[: rng.integers(3, assets + 1)]:
            realized = rng.normal(0.01, 0.1) if rng.random() > 0.1 else np.nan
            for model in ("qcf", "qfm"):
                for tau in (0.05, 0.5, 0.95):
                    guess = 0.1 * norm.ppf(tau) + 0.08 * rng.normal() if rng.random() > 0.1 else np.nan
                    rows.append((month, f"a{asset}", model, 1, tau, "total", guess, realized))
    columns = ["month", "asset", "model", "horizon", "tau", "kind", "prediction", "realized"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1.0, random_state=seed)


def slow_loss(row, quantile):
    error = row.realized - quantile
    return row.tau * error if error >= 0 else (row.tau - 1.0) * error


def slow_r2(rows):
    fitted = sum(slow_loss(row, row.prediction) for row in rows.itertuples())
    return 1.0 - fitted / sum(slow_loss(row, 0.0) for row in rows.itertuples())


def test_measures_agree_with_loops():
    table = quantile_table()
    found = quantile_statistics(table)
    assert list(zip(found["model"], found["tau"], strict=True)) == [
        (model, tau) for model in ("qcf", "qfm") for tau in (0.05, 0.5, 0.95)
    ]
    for row in found.itertuples():
        every = table[(table["model"] == row.model) & (table["tau"] == row.tau)]
        rows = every.dropna()
        assert row.observations == len(rows)
        assert row.skipped == len(every) - len(rows)
        assert (row.assets, row.months) == (rows["asset"].nunique(), rows["month"].nunique())
        hits = np.mean([r.realized <= r.prediction for r in rows.itertuples()])
        assert row.hit_rate == pytest.approx(hits)
        assert row.qhe == pytest.approx(abs(hits - row.tau))
        assert row.aqe == pytest.approx(np.mean([slow_loss(r, r.prediction) for r in rows.itertuples()]))
        assert row.r2 == pytest.approx(slow_r2(rows))
        by_asset = [(len(part), slow_r2(part)) for _, part in rows.groupby("asset")]
        assert row.r2_time_series == pytest.approx(sum(n * r for n, r in by_asset) / sum(n for n, _ in by_asset))
        assert row.r2_cross_section == pytest.approx(np.mean([slow_r2(part) for _, part in rows.groupby("month")]))
        assert row.kupiec_p_value == pytest.approx(kupiec_test(rows["realized"] <= rows["prediction"], row.tau).p_value)
        codes = rows["month"].dt.year * 12 + rows["month"].dt.month
        chain = christoffersen_test(rows["realized"] <= rows["prediction"], codes, rows["asset"])
        assert row.christoffersen_p_value == pytest.approx(chain.p_value)
        both = conditional_coverage_test(rows["realized"] <= rows["prediction"], codes, rows["asset"], row.tau)
        assert row.conditional_coverage_p_value == pytest.approx(both.p_value)


def test_outcomes_that_a_fit_goes_through_are_hits_in_single_precision_too():
    table = quantile_table().dropna().assign(realized=lambda rows: rows["prediction"].astype(np.float32) * (1 - 1e-7))
    assert (quantile_statistics(table)["hit_rate"] == 1.0).all()
    above = table.assign(realized=table["prediction"] + 1e-4 * table["prediction"].abs())
    assert (quantile_statistics(above)["hit_rate"] == 0.0).all()


def test_statistics_by_year_and_of_nothing():
    table = quantile_table(months=14)
    found = quantile_statistics(table, by=("year", "model", "tau"))
    assert set(found["year"]) == {2001, 2002}
    alone = quantile_statistics(table[table["month"].dt.year == 2002])
    late = found[found["year"] == 2002]
    np.testing.assert_allclose(late["aqe"], alone["aqe"])
    np.testing.assert_allclose(late["r2_time_series"], alone["r2_time_series"])
    empty = quantile_statistics(table.assign(realized=np.nan))
    assert (empty["observations"] == 0).all()
    assert empty[["aqe", "r2", "r2_time_series", "r2_cross_section", "kupiec_p_value"]].isna().all(axis=None)


def test_assets_with_only_zero_returns_have_no_r2():
    table = quantile_table().dropna()
    added = table[table["asset"] == "a0"].assign(asset="zero", realized=0.0)
    both, without = quantile_statistics(pd.concat([table, added])), quantile_statistics(table)
    np.testing.assert_allclose(both["r2_time_series"], without["r2_time_series"])


@pytest.mark.parametrize(("hits", "total", "tau"), [(0, 40, 0.05), (7, 100, 0.05), (40, 40, 0.5), (93, 100, 0.95)])
def test_kupiec_is_the_likelihood_ratio_of_the_binomial(hits, total, tau):
    found = kupiec_test(np.arange(total) < hits, tau)
    share = hits / total
    free = (share**hits) * ((1 - share) ** (total - hits))
    expected = -2 * np.log(tau**hits * (1 - tau) ** (total - hits) / free)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(chi2.sf(expected, 1))
    assert found.observations == total


def test_christoffersen_counts_transitions_between_adjacent_months_only():
    hits = [True, True, False, False, True, True, True, False, False, False]
    months = [1, 2, 3, 4, 6, 7, 8, 9, 1, 2]
    assets = ["a"] * 8 + ["b"] * 2
    # a: 11 10 00 | 11 11 10; b: 00
    n00, n01, n10, n11 = 2, 0, 2, 3
    p = (n01 + n11) / 7
    restricted = (n00 + n10) * np.log(1 - p) + (n01 + n11) * np.log(p)
    free = n10 * np.log(n10 / 5) + n11 * np.log(n11 / 5)
    order = np.random.default_rng(0).permutation(10)
    found = christoffersen_test(np.array(hits)[order], np.array(months)[order], np.array(assets)[order])
    assert found.observations == 7
    assert found.statistic == pytest.approx(2 * (free - restricted))
    both = conditional_coverage_test(np.array(hits)[order], np.array(months)[order], np.array(assets)[order], 0.3)
    at_level = (n00 + n10) * np.log(0.7) + (n01 + n11) * np.log(0.3)
    assert both.statistic == pytest.approx(2 * (free - at_level))
    assert both.p_value == pytest.approx(chi2.sf(both.statistic, 2))


def test_coverage_tests_have_the_size_they_claim():
    rng = np.random.default_rng(1)
    draws = rng.random((400, 500)) < 0.1
    months, assets = np.arange(500), np.zeros(500, dtype=int)
    assert 0.02 < np.mean([kupiec_test(hits, 0.1).p_value < 0.05 for hits in draws]) < 0.09
    assert 0.02 < np.mean([christoffersen_test(hits, months, assets).p_value < 0.05 for hits in draws]) < 0.09
    both = [conditional_coverage_test(hits, months, assets, 0.1).p_value < 0.05 for hits in draws]
    assert 0.02 < np.mean(both) < 0.09
    wrong = rng.random(500) < 0.2
    assert conditional_coverage_test(wrong, months, assets, 0.1).p_value < 1e-4
    clustered = np.repeat(rng.random(125) < 0.1, 4)
    assert christoffersen_test(clustered, months, assets).p_value < 1e-4
    assert conditional_coverage_test(clustered, months, assets, 0.1).p_value < 1e-4


def test_crossings_and_their_rearrangement_agree_with_loops():
    table = quantile_table(3)
    found = crossing_rates(table).set_index("model")
    for model, rows in table.groupby("model"):
        crossings = pairs = crossed = observations = 0
        for _, few in rows.dropna(subset="prediction").groupby(["month", "asset"]):
            values = few.sort_values("tau")["prediction"].to_numpy()
            below = [upper < lower for lower, upper in pairwise(values)]
            crossings, pairs = crossings + sum(below), pairs + len(below)
            crossed, observations = crossed + any(below), observations + bool(below)
        assert crossings > 0
        assert found.loc[model, "crossing_rate"] == pytest.approx(crossings / pairs)
        assert found.loc[model, "crossed"] == pytest.approx(crossed / observations)
        assert (found.loc[model, "pairs"], found.loc[model, "observations"]) == (pairs, observations)
    sorted_table = rearrange(table)
    assert (crossing_rates(sorted_table)["crossing_rate"] == 0.0).all()
    pd.testing.assert_frame_equal(sorted_table.drop(columns="prediction"), table.drop(columns="prediction"))
    assert (sorted_table["prediction"].isna() == table["prediction"].isna()).all()
    keys = ["model", "month", "asset"]
    for key, rows in table.groupby(keys):
        mine = sorted_table[(sorted_table[keys] == list(key)).all(axis=1)].sort_values("tau")["prediction"].dropna()
        np.testing.assert_array_equal(mine, np.sort(rows["prediction"].dropna()))


def test_expected_shortfall_of_many_levels_is_the_normal_one():
    levels = np.concatenate([np.arange(1, 20) / 10_000, np.arange(2, 51) / 1_000])
    table = pd.DataFrame({"tau": levels, "prediction": 0.01 + 0.1 * norm.ppf(levels)}).assign(
        month="2001-01", asset="a", model="m", horizon=1, kind="total"
    )
    exact = 0.01 - 0.1 * norm.pdf(norm.ppf(0.05)) / 0.05
    found = expected_shortfall(table.sample(frac=1.0, random_state=0), 0.05)
    assert found["expected_shortfall"].item() == pytest.approx(exact, rel=2e-3)
    two = table[table["tau"].isin([0.01, 0.05])]
    q = two.sort_values("tau")["prediction"].to_numpy()
    expected = (q[0] * 0.01 + 0.04 * (q[0] + q[1]) / 2) / 0.05
    assert expected_shortfall(two, 0.05)["expected_shortfall"].item() == pytest.approx(expected)
    swapped = two.assign(prediction=two["prediction"].to_numpy()[::-1])
    assert expected_shortfall(swapped, 0.05)["expected_shortfall"].item() == pytest.approx(expected)


def test_refuses_in_words():
    table = quantile_table()
    with pytest.raises(InputError, match="one tau between 0 and 1"):
        quantile_statistics(table[table["tau"] == 0.5].assign(tau=1.0))
    with pytest.raises(InputError, match="one row for each"):
        quantile_statistics(table, by=("model",))
    with pytest.raises(InputError, match="lacks tau"):
        quantile_statistics(table.drop(columns="tau"))
    with pytest.raises(InputError, match="rows repeat another"):
        rearrange(pd.concat([table, table]))
    with pytest.raises(InputError, match=r"one of the levels of the quantiles; got 0\.1"):
        expected_shortfall(table, 0.1)
    with pytest.raises(InputError, match="tau must lie between 0 and 1"):
        kupiec_test([True], 1.0)
    with pytest.raises(InputError, match="tau must lie between 0 and 1"):
        conditional_coverage_test([True], [1], [0], 0.0)
    with pytest.raises(InputError, match="one value for each observation"):
        christoffersen_test([True], [1, 2], [0, 0])
