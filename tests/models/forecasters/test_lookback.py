"""Windows by index: what a plain loop over rows finds, nothing beyond a row's own month, and little memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.forecasters.lookback import Lookback, lookback_rows


def panel(seed: int, months: int, assets: int, share: float):
    """Assets with gaps, entries and exits; rows in order of month, assets in any order within it."""
    rng = np.random.default_rng(seed)
    here = rng.random((months, assets)) < share
    month, asset = np.nonzero(here)
    shuffled = np.lexsort((rng.random(len(month)), month))
    names = rng.choice(10**9, assets, replace=False)
    return names[asset[shuffled]].astype(np.int64), month[shuffled].astype(np.int32)


def sample_of(asset_H, month_H, own: int, characteristics: int = 3, states: int = 2) -> Sample:
    """Characteristics say which asset and month a row is of; macro states which month."""
    size = len(asset_H)
    x_HP = np.random.default_rng(0).standard_normal((size, characteristics)).astype(np.float32)
    z_Td = np.arange(1, 60, dtype=np.float32)[:, None] * np.ones(states, np.float32)
    nothing = np.full(size, np.nan, np.float32)
    history = History(x_HP, month_H, asset_H, nothing, nothing, np.zeros((0, 0), np.float32))
    mine = slice(size - own, size)
    return Sample(x_HP[mine], month_H[mine], z_Td, nothing[mine], np.zeros((own, 0), np.float32), history)


def slow_rows(asset_H, month_H, own: int, months: int):
    place = {(asset, month): row for row, (asset, month) in enumerate(zip(asset_H, month_H, strict=True))}
    return [
        [place.get((asset_H[row], month_H[row] - lag), -1) for lag in range(months - 1, -1, -1)]
        for row in range(len(asset_H) - own, len(asset_H))
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    months=st.integers(1, 9),
    assets=st.integers(1, 6),
    share=st.sampled_from([0.2, 0.6, 1.0]),
    lookback=st.integers(1, 12),
    own=st.floats(0, 1),
)
def test_rows_are_those_of_a_plain_loop(seed, months, assets, share, lookback, own):
    asset_H, month_H = panel(seed, months, assets, share)
    mine = round(own * len(asset_H))
    found = lookback_rows(asset_H, month_H, mine, lookback)
    assert found.dtype == np.int32
    assert found.shape == (mine, lookback)
    assert found.tolist() == slow_rows(asset_H, month_H, mine, lookback)


def test_a_gathered_batch_is_what_a_plain_loop_lays_out():
    asset_H, month_H = panel(3, 20, 15, 0.7)
    sample = sample_of(asset_H, month_H, own=90)
    lookback = Lookback(sample, 5)
    rows = np.array([0, 89, 3, 3, 40], np.int32)
    x_BLI, observed_BL = lookback.gather(rows)
    wanted, own = slow_rows(asset_H, month_H, 90, 5), len(asset_H) - 90
    for place, row in enumerate(rows):
        for step, source in enumerate(wanted[row]):
            month = month_H[own + row] - 4 + step
            inputs = [*sample.history.x_HP[source], *sample.z_Td[month]] if source >= 0 else [0.0] * 5
            assert x_BLI[place, step].tolist() == [float(value) for value in inputs]
            assert observed_BL[place, step] == (source >= 0)
    assert (~observed_BL).any()
    assert observed_BL[:, -1].all()


def test_the_callers_memory_is_written_to():
    sample = sample_of(*panel(1, 12, 9, 0.6), own=30)
    lookback, out = Lookback(sample, 4), np.full((30, 4, 5), np.nan, np.float32)
    x_BLI, _ = lookback.gather(slice(0, 30), out)
    assert x_BLI is out
    np.testing.assert_array_equal(out, lookback.gather(np.arange(30, dtype=np.int32))[0])


def test_nothing_beyond_a_rows_own_month_is_gathered():
    """Poison in all later months, rows and macro states, reaches no earlier row."""
    asset_H, month_H = panel(5, 16, 12, 0.8)
    sample = sample_of(asset_H, month_H, own=len(asset_H))
    before, _ = Lookback(sample, 6).gather(slice(None))
    for month in range(16):
        later = month_H > month
        x_HP, z_Td = sample.history.x_HP.copy(), sample.z_Td.copy()
        x_HP[later], z_Td[month + 1 :] = np.nan, np.nan
        history = History(x_HP, month_H, asset_H, *[sample.y_N] * 2, sample.history.f_TF)
        poisoned = Sample(x_HP, month_H, z_Td, sample.y_N, sample.c_NC, history)
        x_BLI, _ = Lookback(poisoned, 6).gather(np.flatnonzero(~later).astype(np.int32))
        np.testing.assert_array_equal(x_BLI, before[~later])


def test_the_months_before_the_lookback_are_not_needed():
    """A forecast month finds the same rows with its whole history as with the last months of it."""
    asset_H, month_H = panel(8, 24, 10, 0.7)
    own = int((month_H == 23).sum())
    cut = int(np.searchsorted(month_H, 23 - 5))
    whole = Lookback(sample_of(asset_H, month_H, own), 6).row_NL
    short = Lookback(sample_of(asset_H[cut:], month_H[cut:], own), 6).row_NL
    np.testing.assert_array_equal(np.where(short >= 0, short + cut, -1), whole)


def test_memory_is_a_few_numbers_a_row():
    """605,722 rows of 114 characteristics and 12 months stay far below 2 GB, of which the panel itself is 276 MB."""
    months, assets = 120, 500
    month_H = np.repeat(np.arange(months, dtype=np.int32), assets)
    asset_H = np.tile(np.arange(assets, dtype=np.int64), months)
    sample = sample_of(asset_H, month_H, own=len(asset_H), states=0)
    tracemalloc.start()
    lookback = Lookback(sample, 12)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lookback.row_NL.nbytes == 12 * 4 * len(asset_H)
    assert held <= lookback.row_NL.nbytes + 10_000
    assert peak - held <= 64 * len(asset_H)


def test_rows_alone_are_refused():
    sample = sample_of(*panel(1, 3, 3, 1.0), own=3)
    alone = Sample(sample.x_NP, sample.month_N, sample.z_Td, sample.y_N, sample.c_NC)
    with pytest.raises(InputError, match="needs a sample with its history"):
        Lookback(alone, 3)


def test_the_sampler_needs_no_torch():
    code = "import sys, factor_ray.models.forecasters.lookback; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
