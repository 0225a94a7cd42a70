"""The simulated market against the closed forms that define it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.simulation import SimulatedMarket, simulate
from factor_ray.data.simulation_settings import SimulationSettings
from factor_ray.data.simulation_truth import Truth, hermite
from factor_ray.data.targets import excess_returns
from factor_ray.data.within_month import ranked
from factor_ray.errors import InputError

SMALL = {"slots": 60, "months": 60}


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate(seed=3)


@pytest.fixture(scope="module")
def wide() -> SimulatedMarket:
    """Many firms and immortal ones: cross-sectional moments are sharp, and every firm is in every month."""
    return simulate(seed=5, slots=2000, months=40, alive_at_start=1.0, death=0.0)


def by_asset(market: SimulatedMarket, values: np.ndarray) -> np.ndarray:
    """Values of a market without births and deaths as months x assets."""
    return values.reshape(len(market.panel.months), -1)


def correlation_across(before: np.ndarray, after: np.ndarray) -> float:
    return float((before * after).mean() / np.sqrt((before**2).mean() * (after**2).mean()))


def same_bytes(one: Panel, two: Panel) -> bool:
    plain = ("month", "asset", "return", "market_cap")
    return (
        all(one.values(name).tobytes() == two.values(name).tobytes() for name in plain)
        and one.characteristics.tobytes() == two.characteristics.tobytes()
        and one.consensus.tobytes() == two.consensus.tobytes()
    )


# Shape and bytes


def test_same_seed_same_bytes_and_another_seed_another_market():
    one, two, other = simulate(seed=1, **SMALL), simulate(seed=1, **SMALL), simulate(seed=2, **SMALL)
    assert same_bytes(one.panel, two.panel)
    assert one.panel.macro.values.tobytes() == two.panel.macro.values.tobytes()
    assert one.truth.loadings_NK.tobytes() == two.truth.loadings_NK.tobytes()
    assert not np.array_equal(one.truth.factors_TK, other.truth.factors_TK)


def test_appending_months_leaves_the_earlier_ones_as_they_are():
    short, long = simulate(seed=1, slots=60, months=50), simulate(seed=1, slots=60, months=62)
    first, last = int(short.panel.months[0]), int(short.panel.months[-1])
    begun = long.panel.between(first, last)
    assert same_bytes(begun, short.panel)
    assert begun.macro.values.tobytes() == short.panel.macro.values.tobytes()
    rows = len(short.panel)
    np.testing.assert_array_equal(long.truth.expected_return(6)[:rows], short.truth.expected_return(6))
    np.testing.assert_array_equal(long.truth.quantile(0.1)[:rows], short.truth.quantile(0.1))


def test_analysts_do_not_move_returns():
    with_nine, with_two = simulate(seed=1, **SMALL), simulate(seed=1, **SMALL, consensus=2)
    assert with_nine.panel.values("return").tobytes() == with_two.panel.values("return").tobytes()
    assert with_nine.panel.characteristics.tobytes() == with_two.panel.characteristics.tobytes()


def test_default_panel_is_what_the_specification_says(market):
    panel = market.panel
    assert (len(panel.months), len(panel.characteristic_names), len(panel.consensus_names)) == (300, 24, 9)
    assert panel.macro.values.shape == (300, 24)
    assert np.isfinite(panel.macro.values).all()
    assert panel.months[0] == parse_month("1998-01") == panel.macro.months[0]
    assert panel.months[-1] == parse_month("2022-12") == panel.macro.months[-1]
    assert panel.has_market_cap
    assert not panel.has_risk_free
    assert len(np.unique(panel.row_months * 10**7 + panel.assets)) == len(panel)


def test_sizes_are_settings():
    panel = simulate(slots=20, months=15, characteristics=11, macro_series=3, consensus=0, start="2001-06").panel
    assert panel.characteristics.shape[1] == 11
    assert panel.consensus.shape[1] == 0
    assert panel.macro.values.shape == (15, 3)
    assert panel.months[0] == parse_month("2001-06")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"slot": 10}, "slot"),
        ({"months": 1}, "months"),
        ({"start": "1998/01"}, "start"),
        ({"characteristics": 8}, "characteristics"),
        ({"premia": (0.1, 0.2)}, "premia"),
        ({"score_persistence": (1.0,) * 9}, "score_persistence"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(InputError, match=named):
        simulate(**settings)


# Alignment of truth and panel


def test_truth_stands_in_the_panels_row_order(market):
    panel, truth = market.panel, market.truth
    np.testing.assert_array_equal(truth.month_N, panel.row_months - panel.months[0])
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        ranks = ranked(truth.scores_NA[start:stop].astype(np.float32))
        seen = panel.characteristics[start:stop, :8]
        known = ~np.isnan(seen)
        np.testing.assert_array_equal(seen[known], ranks[known])


def test_without_idiosyncratic_risk_returns_are_last_months_loadings_times_this_months_factors():
    market = simulate(seed=4, slots=80, months=80, volatility=1e-12, death=0.05, birth=0.3)
    frame = market.panel.to_frame()
    truth = market.truth
    month = market.panel.row_months - market.panel.months[0]
    paid = pd.Series(
        np.clip((truth.loadings_NK * truth.factors_TK[month]).sum(axis=1), -0.95, 5),
        index=pd.MultiIndex.from_arrays([month + 1, market.panel.assets]),
    )
    rows = pd.MultiIndex.from_arrays([month, market.panel.assets])
    expected = paid.reindex(rows).to_numpy()
    np.testing.assert_allclose(frame["return"].to_numpy(), expected.astype(np.float32), rtol=1e-5, atol=1e-8)
    assert 0.02 < np.isnan(expected).mean() < 0.2
    np.testing.assert_allclose(truth.quantile(0.9), truth.systematic_N, atol=1e-10)


def test_loadings_and_volatility_are_the_specified_functions_of_scores(market):
    truth = market.truth
    a1, a2, a3, a4, a5, a6, a7, a8 = truth.scores_NA.T
    z1, z2 = truth.states_TZ[truth.month_N].T
    written = [1 + 0.3 * a1, a2 * z1, a3 * a4, (a5**2 - 1) / np.sqrt(2), a6, -a7]
    np.testing.assert_allclose(truth.loadings_NK, np.column_stack(written), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        truth.volatility_N, 0.105 * np.exp(0.25 * a8 + 0.15 * z2 - 0.25**2 - 0.15**2), rtol=1e-12
    )


# The process


def test_scores_are_standard_normal_with_the_given_persistence(wide):
    persistence = SimulationSettings().score_persistence[:8]
    for position, rho in enumerate(persistence):
        paths = by_asset(wide, wide.truth.scores_NA[:, position])
        assert abs(paths[0].mean()) < 0.1
        assert abs(paths[-1].var() - 1) < 0.15
        assert stats.kstest(paths[-1], "norm").pvalue > 1e-4
        for lag in (1, 6):
            found = correlation_across(paths[:-lag], paths[lag:])
            assert abs(found - rho**lag) < 0.04, (position, lag, found)


def test_every_second_later_score_leans_on_an_early_one(wide):
    ranks = wide.panel.characteristics
    for later in range(9, 24):
        early = ((later - 9) // 2) % 6
        both = ~np.isnan(ranks[:, later]) & ~np.isnan(ranks[:, early])
        found = np.corrcoef(ranks[both, later], ranks[both, early])[0, 1]
        written = 6 / np.pi * np.arcsin(0.5 / 2) if later % 2 else 0.0  # Spearman's rho of two normals
        assert abs(found - written) < 0.06, (later, early, found)


def test_states_factors_and_macro_series_have_the_specified_moments():
    market = simulate(seed=8, slots=2, months=6000, start="1000-01", alive_at_start=1, death=0, missing_consensus=0)
    truth, settings = market.truth, market.truth.settings
    for state, rho in zip(truth.states_TZ.T, settings.state_persistence, strict=True):
        mean_error = np.sqrt((1 + rho) / (1 - rho) / len(state))
        assert abs(state.mean()) < 4 * mean_error
        assert abs(np.corrcoef(state[:-1], state[1:])[0, 1] - rho) < 4 * np.sqrt((1 - rho**2) / len(state))
    np.testing.assert_allclose(truth.factors_TK.std(axis=0), settings.factor_volatility, rtol=0.04)
    error_K = 4 * np.array(settings.factor_volatility) / np.sqrt(6000)
    assert (np.abs(truth.factors_TK.mean(axis=0) - settings.premia) < error_K).all()

    series = market.panel.macro.values.astype(float)
    slopes, *_ = np.linalg.lstsq(truth.states_TZ, series, rcond=None)
    noise = series - truth.states_TZ @ slopes
    np.testing.assert_allclose(noise.std(axis=0), 0.5 * np.sqrt(2), rtol=0.06)
    for position, rho in enumerate((0.6, 0.3, 0.0) * 8):
        assert abs(np.corrcoef(noise[:-1, position], noise[1:, position])[0, 1] - rho) < 0.06
    assert 0.6 < slopes.std() < 1.4


def test_lives_deaths_and_rebirths(market):
    panel = market.panel
    frame = pd.DataFrame({"month": panel.row_months - panel.months[0], "asset": panel.assets})
    lives = frame.groupby("asset")["month"].agg(["min", "max", "count"])
    assert (lives["max"] - lives["min"] + 1 == lives["count"]).all(), "a life has no gap"
    ended = lives[lives["max"] < 299]
    months_at_risk = len(frame) - (frame["month"] == 299).sum()
    assert abs(len(ended) / months_at_risk - 1 / 150) < 4 * np.sqrt((1 / 150) / months_at_risk)
    in_month = frame.groupby("month").size()
    assert abs(in_month.iloc[0] / 300 - 0.94) < 0.06
    assert abs(in_month.mean() / 300 - 0.1 / (0.1 + 1 / 150)) < 0.02
    empty = 300 * 299 - (in_month.iloc[:-1].sum())
    born = (lives["min"] > 0).sum()
    assert abs(born / empty - 0.1) < 0.03
    order_of_entry = lives["min"].to_numpy()
    assert (np.diff(order_of_entry) >= 0).all(), "identifiers are given in order of entry and never again"


def test_a_new_firm_owes_nothing_to_the_one_before_it_in_its_slot():
    market = simulate(seed=9, slots=8, months=1500, start="1900-01", death=0.05, birth=1.0)
    truth = market.truth
    frame = pd.DataFrame({"asset": market.panel.assets, "month": truth.month_N, "row": np.arange(len(market.panel))})
    lives = frame.groupby("asset").agg(entry=("month", "min"), end=("month", "max"), first=("row", "min"))
    lives["last"] = frame.groupby("asset")["row"].max()
    pairs = lives.assign(follows=lives["end"] + 2).merge(lives, left_on="follows", right_on="entry")
    pairs = pairs.drop_duplicates("follows", keep=False)
    assert len(pairs) > 300
    old, new = truth.scores_NA[pairs["last_x"]], truth.scores_NA[pairs["first_y"]]
    for score in range(8):
        assert abs(np.corrcoef(old[:, score], new[:, score])[0, 1]) < 4 / np.sqrt(len(pairs))
    assert stats.kstest(new[:, 0], "norm").pvalue > 1e-3


def test_returns_are_missing_in_a_firms_first_month_only(market):
    panel = market.panel
    entry = pd.Series(panel.row_months).groupby(panel.assets).transform("min").to_numpy()
    np.testing.assert_array_equal(np.isnan(panel.values("return")), panel.row_months == entry)


def test_a_dead_firms_last_target_is_missing_and_the_one_before_is_cut_short(market):
    panel = market.panel
    last = pd.Series(panel.row_months).groupby(panel.assets).transform("max").to_numpy()
    inside = panel.row_months < panel.months[-1] - 12
    target = excess_returns(panel, 12)
    assert np.isnan(target[inside & (panel.row_months == last)]).all()
    assert np.isfinite(target[inside & (panel.row_months < last)]).all()


def test_missing_shares(market):
    panel = market.panel
    assert abs(np.isnan(panel.characteristics).mean() - 0.05) < 0.001
    silent = np.isnan(panel.consensus).all(axis=1)
    assert abs(silent.mean() - 0.10) < 0.005
    assert abs(np.isnan(panel.consensus[~silent]).mean() - 0.03) < 0.001


def test_characteristics_and_consensus_are_ranks_within_the_month():
    panel = simulate(
        seed=2, slots=90, months=30, missing_characteristics=0, missing_consensus=0, missing_variables=0
    ).panel
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        grid = np.linspace(-1, 1, stop - start, dtype=np.float32)
        for block in (panel.characteristics[start:stop], panel.consensus[start:stop]):
            np.testing.assert_allclose(np.sort(block, axis=0), np.tile(grid[:, None], block.shape[1]), atol=1e-6)


def test_consensus_follows_the_drivers_with_the_given_weights_and_not_the_unseen_one():
    market = simulate(
        seed=6, slots=1500, months=40, missing_consensus=0, missing_variables=0, spillover=0, characteristics=30
    )
    truth, consensus = market.truth, market.panel.consensus
    weights = truth.consensus_weights_CM
    np.testing.assert_allclose((weights**2).sum(axis=1), 1, rtol=1e-12)
    named = truth.loadings_NK[:, 1:6] - pd.DataFrame(truth.loadings_NK[:, 1:6]).groupby(truth.month_N).transform("mean")
    found = np.array([[np.corrcoef(column, driver)[0, 1] for driver in named.to_numpy().T] for column in consensus.T])
    # Ranks weaken the correlation with a fat-tailed driver by about a tenth.
    np.testing.assert_allclose(found[:, 1:3], 0.9 * np.sqrt(0.45) * weights[:, 1:3], atol=0.1)
    assert (np.sign(found[:, 0]) == np.sign(weights[:, 0]))[np.abs(weights[:, 0]) > 0.2].all()
    assert (np.abs(found[:, 3:]) < 0.08).all(), "U and F are not seen"


def test_a_fifth_of_the_consensus_weights_is_negative():
    weights = simulate(slots=20, months=2, consensus=400).truth.consensus_weights_CM
    assert abs((weights < 0).mean() - 0.2) < 0.05
    np.testing.assert_allclose((weights**2).mean(axis=0), 1 / 3, atol=0.05)


def test_market_caps_start_from_size_and_move_with_returns(market):
    panel = market.panel
    log_cap = np.log(panel.values("market_cap").astype(float))
    first = np.isnan(panel.values("return"))
    np.testing.assert_allclose(log_cap[first], 5 + 1.5 * market.truth.scores_NA[first, 0], atol=1e-5)
    frame = pd.DataFrame({"asset": panel.assets, "cap": log_cap, "ret": np.log1p(panel.values("return").astype(float))})
    moved = frame.groupby("asset")["cap"].diff()
    np.testing.assert_allclose(moved[~first], frame["ret"][~first] - 0.004, atol=1e-5)


# Expected returns and quantiles


def future_summed_returns(truth: Truth, row: int, horizon: int, draws: int) -> np.ndarray:
    """Draw a row's scores, states and factors forward and sum what they pay (no clipping, no noise)."""
    settings, stream = truth.settings, np.random.default_rng(row)
    rho_a, rho_z = np.array(settings.score_persistence[:8]), np.array(settings.state_persistence)
    a = np.tile(truth.scores_NA[row], (draws, 1))
    z = np.tile(truth.states_TZ[truth.month_N[row]], (draws, 1))
    total = np.zeros(draws)
    for _ in range(horizon):
        beta = [1 + 0.3 * a[:, 0], a[:, 1] * z[:, 0], a[:, 2] * a[:, 3], (a[:, 4] ** 2 - 1) / 2**0.5, a[:, 5], -a[:, 6]]
        total += np.array(beta).T @ np.array(settings.premia)
        a = rho_a * a + np.sqrt(1 - rho_a**2) * stream.standard_normal(a.shape)
        z = rho_z * z + np.sqrt(1 - rho_z**2) * stream.standard_normal(z.shape)
    return total


@pytest.mark.parametrize("horizon", [1, 3, 12])
def test_expected_returns_against_drawn_futures(market, horizon):
    truth = market.truth
    expected = truth.expected_return(horizon)
    for row in (5, 40_000, int(np.argmax(expected)), int(np.argmin(expected))):
        drawn = future_summed_returns(truth, row, horizon, 20_000)
        error = drawn.std() / np.sqrt(len(drawn)) + 1e-12
        assert abs(drawn.mean() - expected[row]) < 4 * error, (row, horizon)


def test_one_month_expected_return_is_loadings_times_premia(market):
    truth = market.truth
    np.testing.assert_allclose(
        truth.expected_return(1), truth.loadings_NK @ np.array(truth.settings.premia), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9])
def test_quantiles_cover_their_share_of_returns_in_every_region(market, tau):
    truth, realised = market.truth, excess_returns(market.panel, 1)
    quantile = truth.quantile(tau)
    known = np.isfinite(realised)
    below = (realised < quantile)[known]
    for region in np.array_split(np.argsort(quantile[known]), 4):
        share = below[region].mean()
        assert abs(share - tau) < 4 * np.sqrt(tau * (1 - tau) / len(region))


def test_residuals_are_scaled_t5(market):
    truth, realised = market.truth, excess_returns(market.panel, 1).astype(float)
    standard = (realised - truth.systematic_N) / (truth.volatility_N * np.sqrt(3 / 5))
    standard = standard[np.isfinite(standard) & (realised > -0.949)]
    assert stats.kstest(standard[::10], stats.t(5).cdf).pvalue > 1e-3


def test_truth_refuses_what_has_no_meaning(market):
    with pytest.raises(InputError, match="horizon must be at least 1"):
        market.truth.expected_return(0)
    with pytest.raises(InputError, match="tau must be between 0 and 1"):
        market.truth.quantile(1.0)


def test_hermite_product_has_mean_zero_and_variance_one():
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    assert abs(weights @ hermite(nodes)) < 1e-12
    assert abs(weights @ hermite(nodes) ** 2 - 1) < 1e-12


def oracle_r2(market: SimulatedMarket, horizon: int) -> float:
    realised = excess_returns(market.panel, horizon).astype(float)
    known = np.isfinite(realised)
    error = (realised - market.truth.expected_return(horizon))[known]
    return float(1 - (error**2).sum() / (realised[known] ** 2).sum())


@pytest.fixture(scope="module")
def oracle_1_12() -> np.ndarray:
    """Oracle R2 of eight default markets at 1 and 12 months, (8, 2)."""
    markets = (simulate(seed=seed) for seed in range(8))
    return np.array([[oracle_r2(market, horizon) for horizon in (1, 12)] for market in markets])


def test_oracle_r2_at_one_month_is_the_closed_form(oracle_1_12):
    """Uncentred, as the evaluation has it: E[(beta' premia)^2] / E[r^2], with E[beta beta'] the identity but for a1."""
    settings = SimulationSettings()
    premia, spread = np.array(settings.premia), np.array(settings.factor_volatility)
    second_moment = np.array([1 + 0.3**2, 1, 1, 1, 1, 1])
    explained = second_moment @ premia**2
    in_population = explained / (explained + second_moment @ spread**2 + 0.105**2)
    assert abs(in_population - 0.0218) < 1e-4
    found = oracle_1_12[:, 0]
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - in_population) < 3 * error
    assert abs(found.mean() - 0.024) < 3 * np.hypot(0.002, error), "the specification measured 2.4 +- .2 %"


def test_oracle_r2_at_twelve_months_is_what_was_measured(oracle_1_12):
    found = oracle_1_12[:, 1]
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - 0.127) < 3 * np.hypot(0.007, error), "the specification measured 12.7 +- .7 %"
