"""The whole preparation: a slow reference, blocks, order of rows, and what looks ahead and what does not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factor_ray.data.blocks import plan_preparation, prepare_firms, prepare_months
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare, rows_kept
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.simulation import simulate
from factor_ray.data.universe import Universe
from factor_ray.errors import InputError

seeds = st.integers(0, 100_000)
FIRST = 400
NAMES, CONCEPTS = ["x", "y", "g"], ["c", "d"]
HONEST = [
    Preprocess(),
    Preprocess(rank=False, standardise=True, winsorise=0.1, consensus="impute"),
    Preprocess(lag="none", screen="none", rank=False, winsorise=0.2),
    Preprocess(impute="none", lags={"x": 1, "d": 2}, max_missing=0.5),
    Preprocess(lag="none", screen="none", rank=False, impute="none"),
    Preprocess(universe=Universe(min_price=3, min_cap_percentile=25, min_history=2), consensus="impute", max_missing=1),
]
PAPER = [Preprocess(impute="paper", consensus="impute"), Preprocess(screen="paper"), Preprocess(impute="paper")]
# Screened or not, these are what the reference knows how to do.
REFERENCE = [*HONEST, *PAPER, Preprocess(impute="paper", screen="paper", consensus="impute", max_missing=0.6)]


def draw_frame(seed: int, assets: int = 12, months: int = 18) -> pd.DataFrame:
    """Histories with holes, long gaps in every variable, ties, and a share of firms without any consensus."""
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if stream.random() < 0.8 or a == 0]
    month, asset = np.array(cells).T
    count = len(cells)
    frame = pd.DataFrame({"month": pd.PeriodIndex.from_ordinals(month + FIRST, freq="M"), "asset": asset})
    frame["ret"] = stream.normal(0, 0.1, count)
    frame["prc"] = stream.normal(0, 8, count)
    frame["cap"] = np.exp(stream.normal(0, 2, count))
    for name in [*NAMES, *CONCEPTS]:
        values = stream.integers(-6, 7, count) / 2
        values[stream.random(count) < stream.uniform(0, 0.5)] = np.nan
        frame[name] = values
    silent = (asset > 0) & ((asset % 4 == 0) | (month < asset))
    frame.loc[silent, CONCEPTS] = np.nan
    frame.loc[[0, 1], NAMES] = [[9.0] * 3, [-9.0] * 3]
    frame.loc[frame["asset"] == 0, CONCEPTS] = stream.normal(size=((asset == 0).sum(), 2))
    return frame


def to_panel(frame: pd.DataFrame) -> Panel:
    return Panel.from_frame(
        frame,
        month="month",
        asset="asset",
        returns="ret",
        characteristics=NAMES,
        consensus=CONCEPTS,
        price="prc",
        market_cap="cap",
        frequency={"x": "monthly", "y": "quarterly", "g": "annual", "c": "annual", "d": "monthly"},
        growth=["g"],
    )


def judged(frame: pd.DataFrame) -> tuple[int, int]:
    first = int(frame["month"].min().ordinal)
    return first, first + 9


def slow(frame: pd.DataFrame, chosen: Preprocess) -> pd.DataFrame:
    """Lag, universe, screen, impute and normalise one step after the other, the way one would in a notebook."""
    frame = frame.sort_values(["month", "asset"], ignore_index=True)
    month, asset = frame["month"], frame["asset"]
    known = frame.set_index([month, asset])
    delay = {"y": 3, "g": 6, "c": 6, "d": 6} if chosen.lag == "frequency" else {}
    delay = {**dict.fromkeys([*NAMES, *CONCEPTS], 0), **delay, **chosen.lags}
    values = frame[[*NAMES, *CONCEPTS]].astype(float).copy()
    for name, lag in delay.items():
        values[name] = known[name].reindex(pd.MultiIndex.from_arrays([month - lag, asset])).to_numpy()

    inside = pd.Series(True, index=frame.index)
    if (universe := chosen.universe) is not None:
        inside &= frame["prc"].abs() >= universe.min_price
        inside &= frame["cap"] >= frame.groupby("month")["cap"].transform("quantile", universe.min_cap_percentile / 100)
        inside &= frame["ret"].notna().groupby(asset).cumsum() >= universe.min_history
    covered = values[CONCEPTS].notna().any(axis=1)
    kept = list(NAMES)
    if chosen.screen != "none":
        inside &= covered.groupby(asset).transform("max" if chosen.screen == "paper" else "cummax")
        ordinal = month.map(lambda period: period.ordinal)
        first, last = judged(frame) if chosen.screen == "point_in_time" else (ordinal.min(), ordinal.max())
        for name in NAMES:
            start = ordinal.min() + delay[name]
            rows = values.loc[inside & (ordinal >= max(first, start)) & (ordinal <= last), name]
            starts = ordinal[rows.index][rows.notna()].min()
            sparse = not rows.notna().any() or rows.isna().sum() > chosen.max_missing * len(rows)
            if sparse or starts >= max(first, start) + 12:
                kept.remove(name)

    if chosen.impute != "none":
        for name in ("x", "y"):
            values[name] = values.groupby(asset)[name].ffill()
        growth = values.groupby(asset)["g"]
        paper = chosen.impute == "paper"
        mean = growth.transform("mean") if paper else growth.transform(lambda one: one.expanding().mean())
        values["g"] = values["g"].fillna(mean)
    if chosen.consensus == "impute":
        for name in CONCEPTS:
            if chosen.impute == "paper":
                at = values.groupby(asset)[name]
                values[name] = at.transform(lambda one: line(one, month[one.index]))
            else:
                values[name] = values.groupby(asset)[name].ffill()

    values, month = values[inside][[*kept, *CONCEPTS]].astype(np.float32).astype(float), month[inside]
    by = values.groupby(month)
    if chosen.winsorise:
        values = values.clip(by.transform("quantile", chosen.winsorise), by.transform("quantile", 1 - chosen.winsorise))
    raw = not (chosen.rank or chosen.standardise)
    filled = (kept if raw or chosen.impute != "none" else []) + (CONCEPTS if chosen.consensus == "impute" else [])
    values[filled] = values[filled].fillna(values[filled].groupby(month).transform("mean"))
    values = values.astype(np.float32).astype(float)  # ties are those of what is stored
    by = values.groupby(month)
    if chosen.rank:
        ranks, count = by.rank(), by.transform("count")
        values = (2 * (ranks - 1) / (count - 1) - 1).where(count != 1, values * 0)
    elif chosen.standardise:
        deviation = by.transform("std", ddof=0)
        values = ((values - by.transform("mean")) / deviation).where(deviation > 1e-6, values * 0)
    if not raw:
        values[kept] = values[kept].fillna(0.0)
    return values.assign(month=month, asset=asset[inside])


def line(one: pd.Series, month: pd.Series) -> pd.Series:
    indexed = pd.Series(one.to_numpy(), index=month.map(lambda period: period.ordinal).to_numpy())
    return pd.Series(indexed.interpolate(method="index", limit_area="inside").to_numpy(), index=one.index)


def ready(frame: pd.DataFrame, chosen: Preprocess) -> Panel | None:
    """Prepare; None where nothing is left."""
    try:
        return prepare(to_panel(frame), chosen, judged=judged(frame))
    except InputError as error:
        assert "preprocess" in str(error)  # noqa: PT017 - the refusal is part of the drawn case
        return None


@given(seeds, st.sampled_from(REFERENCE))
@settings(deadline=None, max_examples=80)
def test_preparation_against_a_slow_reference(seed, chosen):
    frame = draw_frame(seed)
    expected = slow(frame, chosen)
    found = ready(frame, chosen)
    if found is None:
        kept = expected.drop(columns=[*CONCEPTS, "month", "asset"])
        assert kept.empty or kept.isna().any(axis=None)
        return
    assert [*found.characteristic_names, *CONCEPTS] == list(expected.columns[:-2])
    np.testing.assert_array_equal(found.row_months, expected["month"].map(lambda period: period.ordinal))
    np.testing.assert_array_equal(found.assets, expected["asset"])
    np.testing.assert_allclose(found.characteristics, expected[list(found.characteristic_names)], atol=2e-5)
    np.testing.assert_allclose(found.consensus, expected[CONCEPTS], atol=2e-5)


@given(seeds, st.sampled_from(REFERENCE))
@settings(deadline=None, max_examples=30)
def test_the_order_of_rows_and_months_in_a_file_is_nothing(seed, chosen):
    frame = draw_frame(seed)
    found = ready(frame, chosen)
    shuffled = ready(frame.sample(frac=1, random_state=seed), chosen)
    if found is not None:
        assert same_bits(found, shuffled)
        assert found.preparation == shuffled.preparation


@given(seeds, st.sampled_from(REFERENCE), st.integers(1, 4), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_blocks_of_firms_and_of_months_give_the_bits_of_the_whole(seed, chosen, firm_blocks, month_blocks):
    frame = draw_frame(seed)
    whole = ready(frame, chosen)
    if whole is None:
        return
    panel = to_panel(frame)
    plan, _ = plan_preparation(panel, chosen, judged(frame))
    blocks = [
        prepare_firms(panel, plan, np.flatnonzero(plan.firm_N % firm_blocks == block)) for block in range(firm_blocks)
    ]
    kept = [NAMES.index(name) for name in whole.characteristic_names]
    parts = np.array_split(panel.months, month_blocks)
    made = [prepare_months(panel, plan, blocks, kept, (int(part[0]), int(part[-1])))[0] for part in parts]
    assert same_bits(Panel.joined([part.table for part in made], None), whole)


def test_large_blocks_are_worked_on_firm_by_firm_to_the_same_bits():
    panel = simulate(slots=60, months=200).panel
    plan, _ = plan_preparation(panel, Preprocess(), None)
    whole = prepare_firms(panel, plan, np.arange(len(panel)))
    for firm in range(0, int(plan.firm_N.max()), 25):
        alone = prepare_firms(panel, plan, np.flatnonzero(plan.firm_N == firm))
        place = [int(np.flatnonzero(whole.rows_n == row)[0]) for row in alone.rows_n]
        assert alone.characteristics_nP.tobytes() == whole.characteristics_nP[place].tobytes()


def test_threads_share_the_work_to_the_same_bits(monkeypatch):
    monkeypatch.setattr("factor_ray.data.blocks._ROWS_AT_ONCE", 150)
    panel = simulate(slots=60, months=100).panel
    chosen = Preprocess(winsorise=0.05, consensus="impute", universe=Universe(min_history=3))
    plan, _ = plan_preparation(panel, chosen, None)
    kept, span = list(range(len(panel.characteristic_names))), (int(panel.months[0]), int(panel.months[-1]))
    made = []
    for threads in (1, 4):
        block = prepare_firms(panel, plan, np.arange(len(panel)), threads)
        ready, tally = prepare_months(panel, plan, [block], kept, span, threads)
        made.append((ready, tally + block.tally, block.census.filled_P.tolist()))
    (alone, *counted), (shared, *counted_shared) = made
    assert same_bits(alone, shared)
    assert counted == counted_shared


def same_bits(one: Panel, two: Panel) -> bool:
    return (
        one.table.drop_columns(["characteristics", "consensus"]).equals(
            two.table.drop_columns(["characteristics", "consensus"])
        )
        and one.characteristics.tobytes() == two.characteristics.tobytes()
        and one.consensus.tobytes() == two.consensus.tobytes()
    )


# Nothing looks ahead, and the variants that do are caught


def noisy(frame: pd.DataFrame, last: pd.Period, seed: int) -> pd.DataFrame:
    """Noise in every number dated after a month, missing where it was missing."""
    stream, changed = np.random.default_rng(seed), frame.copy()
    later = changed["month"] > last
    for name in ["ret", "prc", "cap", *NAMES, *CONCEPTS]:
        noise = np.abs(stream.normal(0, 0.3, later.sum())) if name == "ret" else stream.normal(2, 40, later.sum())
        noise = np.abs(noise) if name == "cap" else noise
        changed.loc[later, name] = np.where(changed.loc[later, name].isna(), np.nan, noise.astype(np.float32))
    return changed


def deleted(frame: pd.DataFrame, last: pd.Period, seed: int) -> pd.DataFrame:
    del seed
    return frame[frame["month"] <= last]


def parts(frame: pd.DataFrame, chosen: Preprocess, last: pd.Period) -> object:
    """What is prepared up to a month, as bytes."""
    panel = ready(frame, chosen)
    if panel is None:
        return None
    early = panel.between(int(panel.months[0]), last.ordinal)
    return (
        panel.characteristic_names,
        early.characteristics.tobytes(),
        early.consensus.tobytes(),
        early.assets.tobytes(),
    )


@given(seeds, st.sampled_from(HONEST), st.sampled_from([noisy, deleted]), st.integers(10, 16))
@settings(deadline=None, max_examples=120)
def test_what_comes_later_changes_nothing_that_was_prepared(seed, chosen, change, after):
    frame = draw_frame(seed)
    last = pd.Period(ordinal=FIRST + after, freq="M")
    assert parts(frame, chosen, last) == parts(change(frame, last, seed), chosen, last)


# Noise with the same gaps cannot move a screen that looks at gaps only.
LEAKS = [pair for pair in itertools.product(PAPER, [noisy, deleted]) if pair != (Preprocess(screen="paper"), noisy)]


@pytest.mark.parametrize(("chosen", "change"), LEAKS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_papers_variants_are_seen_to_look_ahead(chosen, change):
    chosen = chosen.model_copy(update={"lag": "none", "max_missing": 0.35})
    differs = 0
    for seed in range(20):
        frame, last = draw_frame(seed), pd.Period(ordinal=FIRST + 11, freq="M")
        differs += parts(frame, chosen, last) != parts(change(frame, last, seed), chosen, last)
    assert differs > 5


# What it says, what it leaves alone, what it refuses


def test_the_defaults_rank_impute_from_the_past_and_mask_the_consensus():
    panel = simulate(slots=40, months=24).panel
    found = prepare(panel)
    at = rows_kept(panel, found)
    assert found.prepared == Preprocess().model_dump(mode="json")
    assert np.isfinite(found.characteristics).all()
    assert np.abs(found.characteristics).max() == 1
    np.testing.assert_array_equal(np.isnan(found.consensus), np.isnan(panel.consensus[at]))
    for name in ("month", "return", "market_cap"):
        assert found.values(name).tobytes() == panel.values(name)[at].tobytes()
    assert panel.prepared is None
    assert panel.preparation is None


def test_every_step_tells_what_it_did():
    frame = draw_frame(3)
    chosen = Preprocess(universe=Universe(min_price=3), max_missing=0.45, winsorise=0.1)
    panel, found = to_panel(frame), ready(frame, chosen)
    told = found.preparation
    price = int((frame["prc"].abs() < 3).sum())
    assert told["rows"]["read"] == len(panel)
    assert told["rows"]["outside_universe"] == {"price": price}
    assert told["rows"]["kept"] == len(found)
    assert told["rows"]["before_first_consensus"] == len(panel) - price - len(found)
    assert told["lags"] == {"y": 3, "g": 6, "c": 6, "d": 6}
    assert told["judged"] == ["2003-05", "2004-02"]
    kept = len(found.characteristic_names)
    assert told["characteristics"]["kept"] == kept
    assert set(told["characteristics"]["dropped"]) == set(NAMES) - set(found.characteristic_names)
    counts = told["values"]["characteristics"]
    assert counts["winsorised"] > 0
    assert counts["carried"] > 0
    assert told["scale"] == "rank"


def test_a_month_that_lost_all_its_rows_stays_in_the_calendar():
    frame = draw_frame(5)
    panel = to_panel(frame)
    found = prepare(panel, Preprocess(universe=Universe(min_history=4), screen="none"))
    np.testing.assert_array_equal(found.months, panel.months)
    assert found.rows(FIRST, FIRST + 2) == slice(0, 0)
    assert len(found.offsets) == len(panel.offsets)


def test_characteristics_may_be_asked_for_by_name():
    found = prepare(to_panel(draw_frame(3)), characteristics=["g", "x"], judged=(FIRST, FIRST + 9))
    assert found.characteristic_names == ("g", "x")
    assert found.characteristics.shape == (len(found), 2)


def test_rows_kept_finds_each_row_again():
    panel = to_panel(draw_frame(8))
    found = prepare(panel, Preprocess(universe=Universe(min_price=4)))
    at = rows_kept(panel, found)
    np.testing.assert_array_equal(panel.assets[at], found.assets)
    np.testing.assert_array_equal(panel.row_months[at], found.row_months)


def test_preparation_never_writes_into_its_input():
    frame = draw_frame(5)
    panel = to_panel(frame)
    before = panel.characteristics.tobytes(), panel.consensus.tobytes()
    for chosen in REFERENCE:
        prepare(panel, chosen, characteristics=NAMES)
    assert before == (panel.characteristics.tobytes(), panel.consensus.tobytes())


RAW = {"rank": False, "screen": "none", "consensus": "mask"}


def test_raw_characteristics_that_are_missing_are_at_the_months_mean():
    frame = draw_frame(5)
    frame["x"] += 100.0
    panel = to_panel(frame)
    found = prepare(panel, Preprocess(**RAW, lag="none", impute="none"))
    missing = np.isnan(panel.characteristics[rows_kept(panel, found)][:, 0])
    x = pd.Series(found.characteristics[:, 0])
    means = x.where(~missing).groupby(found.row_months).transform("mean")
    assert missing.any()
    np.testing.assert_allclose(x[missing], means[missing], rtol=1e-5)
    counted = found.preparation["values"]["characteristics"]
    assert (counted["month_mean"], counted["missing"]) == (int(np.isnan(panel.characteristics).sum()), 0)


def test_raw_characteristics_that_no_asset_of_a_month_has_are_refused():
    frame = draw_frame(5)
    frame.loc[frame["month"] < frame["month"].min() + 2, "x"] = np.nan
    for scaled in (Preprocess(screen="none"), Preprocess(**{**RAW, "standardise": True})):
        assert not prepare(to_panel(frame), scaled).characteristics[:2, 0].any()
    with pytest.raises(
        InputError, match=r"^x is known of no asset in 2 of 18 months, .*: leave it or these months out, or set preproc"
    ):
        prepare(to_panel(frame), Preprocess(**RAW, lag="none"))
    with pytest.raises(
        InputError, match=r"^y, delayed by 3 months, is known of no asset in 3 of .* preprocess\.lags\.y to 0, or set"
    ):
        prepare(to_panel(frame), Preprocess(**RAW, lags={"x": 0}), characteristics=["y"])


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (Preprocess(lags={"size": 3}), "preprocess.lags names 'size', which is no characteristic"),
        (
            Preprocess(universe=Universe(min_price=1e6, min_history=1)),
            r"preprocess\.universe keeps 0 of \d+ rows: min_price leaves out \d+; loosen",
        ),
        (Preprocess(max_missing=0.0), "preprocess.screen leaves no characteristic: x is missing in"),
    ],
)
def test_what_cannot_be_done_is_refused(chosen, sentence):
    frame = draw_frame(5)
    months = None if chosen.universe else judged(frame)
    with pytest.raises(InputError, match=sentence):
        prepare(to_panel(frame), chosen, judged=months)


def test_a_universe_of_firms_without_consensus_leaves_no_row():
    frame = draw_frame(5)
    frame["prc"] = np.where(frame["month"] == frame["month"].min(), 2e6, 1.0)
    with pytest.raises(InputError, match=r"preprocess leaves no row of .*firms without consensus"):
        prepare(to_panel(frame), Preprocess(universe=Universe(min_price=1e6)))


@pytest.mark.parametrize(
    "wrong",
    [{"impute": "paper_like"}, {"consensus": "drop"}, {"ranks": True}, {"winsorise": 0.5}, {"standardise": True}],
)
def test_unknown_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Preprocess(**wrong)
