"""The universe against a slow pandas reference, and that it knows nothing later than the month."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factor_ray.data.panel import Panel
from factor_ray.data.universe import Universe, universe_rows
from factor_ray.errors import InputError

seeds = st.integers(0, 100_000)
ROLES = {
    "month": "month",
    "asset": "asset",
    "returns": "ret",
    "characteristics": ["x"],
    "market_cap": "cap",
    "price": "prc",
    "exchange": "exch",
    "share_code": "shr",
}


def draw_frame(seed: int, assets: int = 12, months: int = 6) -> pd.DataFrame:
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if stream.random() < 0.8 or a < 2]
    month, asset = np.array(cells).T
    frame = pd.DataFrame({"month": pd.PeriodIndex.from_ordinals(month + 400, freq="M"), "asset": asset})
    count = len(frame)
    frame["x"] = stream.normal(size=count)
    for name in ("ret", "cap", "prc"):
        frame[name] = stream.normal(0, 0.1, count)
    frame["cap"] = np.exp(30 * frame["cap"])
    frame["prc"] *= 60
    frame["exch"] = stream.choice([1.0, 2.0, 3.0], count)
    frame["shr"] = stream.choice(["10", "11", "73"], count)
    frame.loc[frame["asset"] == 0, ["exch", "cap"]] = [1.0, 5.0]
    for name in ("ret", "cap", "prc", "exch"):
        frame.loc[(stream.random(count) < 0.1) & (frame["asset"] > 0), name] = np.nan
    return frame


def slow(frame: pd.DataFrame, universe: Universe) -> pd.Series:
    inside = pd.Series(True, index=frame.index)
    if universe.min_price is not None:
        inside &= frame["prc"].abs() >= universe.min_price
    if universe.min_cap_percentile is not None:
        judged = frame["cap"].where((frame["exch"] == 1) | (universe.breakpoints == "all"))
        bound = judged.groupby(frame["month"]).quantile(universe.min_cap_percentile / 100)
        inside &= frame["cap"] >= frame["month"].map(bound)
    if universe.exchange is not None:
        inside &= frame["exch"].isin([float(value) for value in universe.exchange])
    if universe.share_code is not None:
        inside &= frame["shr"].isin([str(value) for value in universe.share_code])
    if universe.min_history is not None:
        inside &= frame["ret"].notna().groupby(frame["asset"]).cumsum() >= universe.min_history
    return inside


universes = st.builds(
    Universe,
    min_price=st.sampled_from([None, 5.0]),
    min_cap_percentile=st.sampled_from([None, 20.0, 50.0]),
    breakpoints=st.sampled_from(["nyse", "all"]),
    exchange=st.sampled_from([None, (1, 2), ("3",)]),
    share_code=st.sampled_from([None, (10, 11)]),
    min_history=st.sampled_from([None, 1, 3]),
)


@given(seeds, universes)
@settings(deadline=None, max_examples=80)
def test_the_universe_is_what_pandas_filters(seed, universe):
    frame = draw_frame(seed)
    inside, dropped = universe_rows(Panel.from_frame(frame, **ROLES), universe)
    expected = slow(frame, universe)
    np.testing.assert_array_equal(inside, expected)
    assert sum(dropped.values()) == (~expected).sum()


@given(seeds, universes, st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_later_rows_decide_nothing(seed, universe, months):
    frame = draw_frame(seed)
    early = frame[frame["month"] < frame["month"].min() + months]
    whole, _ = universe_rows(Panel.from_frame(frame, **ROLES), universe)
    cut, _ = universe_rows(Panel.from_frame(early, **ROLES), universe)
    np.testing.assert_array_equal(cut, whole[: len(early)])


def test_without_filters_everything_is_inside():
    panel = Panel.from_frame(draw_frame(1), **ROLES)
    for universe in (None, Universe()):
        inside, dropped = universe_rows(panel, universe)
        assert inside.all()
        assert not dropped


@pytest.mark.parametrize(
    ("universe", "role"),
    [
        (Universe(min_price=5), "price"),
        (Universe(min_cap_percentile=20), "market_cap"),
        (Universe(exchange=["NYSE"]), "exchange"),
        (Universe(share_code=[10]), "share_code"),
    ],
)
def test_a_filter_without_its_column_is_refused(universe, role):
    bare = {name: column for name, column in ROLES.items() if name in ("month", "asset", "returns", "characteristics")}
    panel = Panel.from_frame(draw_frame(1), **bare)
    with pytest.raises(InputError, match=rf"needs a column of the role '{role}'.*data\.columns\.{role}"):
        universe_rows(panel, universe)


def test_a_month_without_nyse_firms_has_no_breakpoint():
    frame = draw_frame(1)
    frame.loc[frame["month"] == "2003-06", "exch"] = 3.0
    with pytest.raises(InputError, match=r"no NYSE firm .* in 2003-06"):
        universe_rows(Panel.from_frame(frame, **ROLES), Universe(min_cap_percentile=20, breakpoints="nyse"))


@pytest.mark.parametrize(
    "wrong", [{"min_price": 0}, {"min_cap_percentile": 100}, {"exchange": []}, {"min_history": 0}, {"price": 5}]
)
def test_filters_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Universe(**wrong)
