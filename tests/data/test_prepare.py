"""Preparation: ranks and carried values against slow references, and nothing that looks ahead."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from factor_ray.data.panel import Panel
from factor_ray.data.prepare import Preprocess, carry_forward, prepare, prepare_month, rank_within_month
from factor_ray.data.simulation import simulate

SETTINGS = [
    Preprocess(rank=rank, impute=impute, consensus=consensus)
    for rank in (True, False)
    for impute in ("point_in_time", "none")
    for consensus in ("mask", "impute")
]
seeds = st.integers(0, 100_000)


def block(seed: int, rows: int, columns: int = 3) -> np.ndarray:
    """Values with many ties and many gaps."""
    stream = np.random.default_rng(seed)
    values = stream.integers(-3, 4, (rows, columns)).astype(np.float32) / 2
    values[stream.random(values.shape) < stream.uniform(0, 0.6)] = np.nan
    return values


def draw_panel(seed: int, *, assets: int = 12, months: int = 8) -> Panel:
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if stream.random() < 0.75 or a == 0]
    month, asset = np.array(cells).T
    frame = pd.DataFrame({"month": pd.PeriodIndex.from_ordinals(month + 400, freq="M"), "asset": asset})
    frame["ret"] = stream.normal(0, 0.1, len(frame))
    frame[["x", "y", "z"]] = block(seed + 1, len(frame))
    frame[["c", "d"]] = block(seed + 2, len(frame), 2)
    frame.loc[0, ["x", "y", "z", "c", "d"]] = 9.0
    frame.loc[1, ["x", "y", "z", "c", "d"]] = -9.0
    return Panel.from_frame(
        frame, month="month", asset="asset", returns="ret", characteristics=["x", "y", "z"], consensus=["c", "d"]
    )


# Ranks


@given(seeds, st.integers(1, 40))
@settings(deadline=None, max_examples=150)
def test_ranks_are_scipys_average_ranks_on_minus_one_to_one(seed, rows):
    values = block(seed, rows)
    expected = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        count = known.sum()
        ranks = stats.rankdata(values[known, column], method="average")
        expected[known, column] = 0.0 if count == 1 else 2 * (ranks - 1) / (count - 1) - 1 if count else ranks
    found = rank_within_month(values)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(seeds, st.integers(2, 40))
@settings(deadline=None, max_examples=50)
def test_ranks_know_order_only(seed, rows):
    values = block(seed, rows)
    ranks = rank_within_month(values)
    order = np.random.default_rng(seed).permutation(rows)
    np.testing.assert_array_equal(rank_within_month(values[order]), ranks[order])
    np.testing.assert_array_equal(rank_within_month(np.exp(values)), ranks)
    np.testing.assert_array_equal(rank_within_month(-values), -ranks)
    np.testing.assert_array_equal(rank_within_month(np.asfortranarray(values)), ranks)


def test_ranks_by_hand():
    values = np.array([[3, -0.0, 7, np.nan], [1, 0.0, np.nan, np.nan], [1, 5, np.nan, np.nan]], dtype=np.float32)
    expected = [[1, -0.5, 0, np.nan], [-0.5, -0.5, np.nan, np.nan], [-0.5, 1, np.nan, np.nan]]
    np.testing.assert_array_equal(rank_within_month(values), np.array(expected, dtype=np.float32))


# Values carried forward


@given(seeds, st.integers(1, 60), st.integers(1, 8))
@settings(deadline=None, max_examples=150)
def test_carried_values_are_what_pandas_fills(seed, rows, assets):
    values = block(seed, rows)
    codes = np.random.default_rng(seed).integers(0, assets, rows)
    expected = pd.DataFrame(values).groupby(codes).ffill().to_numpy()
    found = carry_forward(values, codes)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_a_block_of_assets_is_carried_to_the_same_bits(seed):
    values, codes = block(seed, 60), np.random.default_rng(seed).integers(0, 6, 60)
    whole = carry_forward(values, codes)
    for assets in ((0, 3), (1, 2, 5)):
        rows = np.isin(codes, assets)
        assert carry_forward(values[rows], codes[rows]).tobytes() == whole[rows].tobytes()


# The whole preparation


@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_preparation_against_a_slow_reference(chosen):
    panel = draw_panel(3)
    frame = panel.to_frame()
    for names, imputed in ((["x", "y", "z"], chosen.impute != "none"), (["c", "d"], chosen.consensus == "impute")):
        values = frame[names].astype(float)
        if imputed:
            values = values.groupby(frame["asset"]).ffill()
            values = values.fillna(values.groupby(frame["month"]).transform("mean"))
            values = values.fillna(0.0)
        if chosen.rank:
            ranks, count = values.groupby(frame["month"]).rank(), values.groupby(frame["month"]).transform("count")
            values = (2 * (ranks - 1) / (count - 1) - 1).where(count != 1, values * 0)
        if names[0] == "x":
            values = values.fillna(0.0)
        frame[names] = values
    ready = prepare(panel, chosen)
    np.testing.assert_allclose(ready.characteristics, frame[["x", "y", "z"]], atol=1e-5)
    np.testing.assert_allclose(ready.consensus, frame[["c", "d"]], atol=1e-5)
    assert ready.prepared == chosen.model_dump()


def test_the_defaults_rank_impute_from_the_past_and_mask_the_consensus():
    panel = simulate(slots=40, months=24).panel
    ready = prepare(panel)
    assert ready.prepared == {"rank": True, "impute": "point_in_time", "consensus": "mask"}
    assert np.isfinite(ready.characteristics).all()
    assert np.abs(ready.characteristics).max() == 1
    np.testing.assert_array_equal(np.isnan(ready.consensus), np.isnan(panel.consensus))
    for name in ("month", "return", "market_cap"):
        assert ready.values(name).tobytes() == panel.values(name).tobytes()
    assert panel.prepared is None


@given(seeds, st.integers(0, 6), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_noise_in_later_rows_changes_nothing(seed, last, chosen):
    panel = draw_panel(seed)
    rows = panel.offsets[last + 1]
    stream = np.random.default_rng(seed)

    def perturbed(values: np.ndarray) -> np.ndarray:
        noise = values.copy()
        noise[rows:] = stream.normal(size=noise[rows:].shape) * 100
        noise[rows:][stream.random(noise[rows:].shape) < 0.3] = np.nan
        return noise

    noisy = panel.with_columns(
        characteristics=perturbed(panel.characteristics), consensus=perturbed(panel.consensus), prepared={}
    )
    one, two = prepare(panel, chosen), prepare(noisy, chosen)
    assert one.characteristics[:rows].tobytes() == two.characteristics[:rows].tobytes()
    assert one.consensus[:rows].tobytes() == two.consensus[:rows].tobytes()


@given(seeds, st.integers(0, 6), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_deletion_of_later_rows_changes_nothing(seed, last, chosen):
    panel = draw_panel(seed)
    rows = panel.offsets[last + 1]
    cut = prepare(panel.between(int(panel.months[0]), int(panel.months[last])), chosen)
    whole = prepare(panel, chosen)
    assert len(cut) == rows
    assert whole.characteristics[:rows].tobytes() == cut.characteristics.tobytes()
    assert whole.consensus[:rows].tobytes() == cut.consensus.tobytes()


@given(seeds, st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=40)
def test_blocks_of_months_and_assets_give_the_bits_of_the_whole(seed, chosen):
    panel = draw_panel(seed)
    whole = prepare(panel, chosen)
    codes = panel.assets.astype(np.int64)
    carried = [panel.characteristics.copy(), panel.consensus.copy()]
    for assets in (range(5), range(5, 12)):
        rows = np.isin(codes, assets)
        if chosen.impute == "point_in_time":
            carried[0][rows] = carry_forward(panel.characteristics[rows], codes[rows])
        if chosen.consensus == "impute":
            carried[1][rows] = carry_forward(panel.consensus[rows], codes[rows])
    for month in panel.months:
        rows = panel.rows(int(month), int(month))
        ready = prepare_month(carried[0][rows].copy(), carried[1][rows].copy(), chosen)
        assert ready[0].tobytes() == np.ascontiguousarray(whole.characteristics[rows]).tobytes()
        assert ready[1].tobytes() == np.ascontiguousarray(whole.consensus[rows]).tobytes()


def test_preparation_never_writes_into_its_input():
    panel = draw_panel(5)
    before = panel.characteristics.tobytes(), panel.consensus.tobytes()
    for chosen in SETTINGS:
        prepare(panel, chosen)
    assert before == (panel.characteristics.tobytes(), panel.consensus.tobytes())


@pytest.mark.parametrize("wrong", [{"impute": "paper_like"}, {"consensus": "drop"}, {"ranks": True}])
def test_unknown_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Preprocess(**wrong)
