"""The rules of a panel's columns: what is read as it is meant, and a sentence for every way in which it is wrong."""

import decimal

import numpy as np
import pandas as pd
import pytest
from panel_frames import ROLES, draw_frame, small

from factor_ray.data.panel import Panel
from factor_ray.errors import InputError


@pytest.mark.parametrize(
    "assets", [[1.0, 2.0, 1.0, 2.0], pd.array([1, 2, 1, 2], dtype="Int64"), np.array([1, 2, 1, 2], dtype=np.uint16)]
)
def test_whole_numbers_identify_assets_as_integers(assets):
    assert Panel.from_frame(small(permno=assets), **ROLES).assets.tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "size",
    [
        ["1", "2", "", "4"],
        [decimal.Decimal(1), decimal.Decimal(2), None, decimal.Decimal(4)],
        pd.array([1, 2, None, 4], dtype="Int64"),
        pd.array([1, 2, None, 4], dtype="Float64"),
        pd.Categorical([1.0, 2.0, None, 4.0]),
    ],
)
def test_numbers_in_any_dress(size):
    if isinstance(size, list) and size[2] == "":
        size = [*size[:2], None, size[3]]
    panel = Panel.from_frame(small(size=size), **ROLES)
    np.testing.assert_array_equal(panel.characteristics[:, 0], np.array([1, 2, np.nan, 4], np.float32))


def test_columns_labelled_by_numbers_are_found_by_their_text():
    panel = Panel.from_frame(small().rename(columns={"size": 7}), **{**ROLES, "characteristics": ["7", "momentum"]})
    assert panel.characteristics[:, 0].tolist() == [1, 2, 3, 4]


def test_a_capitalisation_of_zero_is_missing():
    panel = Panel.from_frame(small(cap=[10.0, 0.0, np.nan, 21.0]), **ROLES)
    np.testing.assert_array_equal(panel.values("market_cap"), np.array([10, np.nan, np.nan, 21], np.float32))


def test_a_rate_that_differs_within_a_month_is_told():
    told = Panel.from_frame(small(rf=[0.002, 0.002, 0.001, 0.004]), **ROLES).notes
    assert len(told) == 1
    assert told[0].startswith(
        "Column 'rf' differs between the assets of 1 of 2 months (in 2001-12 from 0.001 to 0.004)"
    )
    assert Panel.from_frame(small(rf=[0.002, np.nan, 0.001, 0.001000001]), **ROLES).notes == ()


def test_low_rates_in_percent_are_seen_and_high_rates_in_decimals_pass():
    frame = draw_frame(0, assets=4, months=60)
    years = frame["date"].str[:4].astype(int)
    with pytest.raises(InputError, match=r"must hold a monthly rate in decimals; it is 0\.4 in 2006-01"):
        Panel.from_frame(frame.assign(rf=np.where(years == 2006, 0.4, 0.01)), **ROLES)
    Panel.from_frame(frame.assign(rf=np.where(years == 2006, 0.09, -0.001)), **ROLES)


REFUSED = {
    "duplicate": (small(permno=[1, 1, 1, 2]), ["the frame", "asset 1 ", "2001-11", "(1 such rows)"]),
    "code in returns": (
        small(ret=[0.1, "C", 0.1, 0.2]),
        ["'ret'", "asset 2 in 2001-11", "'C'", "numbers", "remove such codes"],
    ),
    "word in characteristic": (small(momentum=[1, 2, "n/a", 3]), ["'momentum'", "asset 1 in 2001-12", "'n/a'"]),
    "decimal comma": (
        small(size=["1,5", "2.0", "3.0", "4.0"]),
        ["'1,5' for asset 1 in 2001-11: write decimals with a point"],
    ),
    "percent sign": (
        small(size=["1.0", "2.0", "3.0", "20.35%"]),
        ["'20.35%'", "asset 2 in 2001-12: write decimals, as"],
    ),
    "rate in percent": (
        small(rf=[0.02, 0.02, 2.0, 2.0]),
        ["'rf' of the frame must hold a monthly rate in decimals; it is 2 in 2001-12", "percent: divide it by 100"],
    ),
    "no rate": (small(rf=[np.nan] * 4), ["'rf' of the frame must hold the month's risk-free rate; it is empty"]),
    "negative capitalisation": (
        small(cap=[10, 20, 11, -1827.8]),
        ["'cap' of the frame must be positive; it is -1827.8 for asset 2 in 2001-12 (1 such values)", "prices"],
    ),
    "date as number": (small(size=pd.to_datetime(["2001-11-01"] * 4)), ["'size'", "holds dates"]),
    "infinite characteristic": (small(size=[1, 2, np.inf, 4]), ["'size'", "finite", "2001-12"]),
    "infinite consensus": (small(feps=[1, -np.inf, 2, 4]), ["'feps'", "finite", "2001-11"]),
    "infinite return": (small(ret=[1, np.inf, 0, 0]), ["'ret'", "finite", "2001-11"]),
    "beyond float32": (small(cap=[1, 1e39, 2, 3]), ["'cap'", "finite", "2001-11"]),
    "month gap": (small(date=["2001-11", "2001-11", "2002-02", "2002-02"]), ["the frame", "2001-12", "no rows"]),
    "constant": (small(size=[3, 3, 3, np.nan]), ["'size'", "vary", "3 in every row"]),
    "empty characteristic": (small(momentum=[None] * 4), ["'momentum'", "vary", "empty"]),
    "constant consensus": (small(feps=[2.0] * 4), ["'feps'", "vary"]),
    "percent": (small(ret=[8.5, -9.1, 7.3, 3.0]), ["'ret'", "decimals", "percent", "7.90", "divide it by 100"]),
    "below -1": (small(ret=[0.1, -1.5, 0.1, 0.2]), ["'ret'", "-1.5", "2001-11", "log returns"]),
    "no return": (small(ret=[np.nan] * 4), ["'ret'", "no return at all"]),
    "bad date": (small(date=["2001-11", "2001-11", "2001-12", "never"]), ["'date'", "'never'"]),
    "missing date": (
        small(date=["2001-11", "2001-11", "2001-12", None]),
        ["'date'", "row 4 below the header is empty"],
    ),
    "missing asset": (small(permno=["a", None, "a", "b"]), ["'permno'", "row 2 below the header"]),
    "missing number of an asset": (small(permno=[1, 2, 1, np.nan]), ["'permno'", "row 4 below the header"]),
    "blank asset": (small(permno=["a", " ", "a", "b"]), ["'permno'", "row 2 below the header"]),
    "no rows": (small().iloc[:0], ["the frame", "no rows"]),
    "no columns": (pd.DataFrame(), ["the frame is empty"]),
    "near miss": (small().rename(columns={"momentum": "momentun"}), ["the frame", "'momentum'", "'momentun'"]),
    "other case": (small().rename(columns={"ret": "RET"}), ["'ret'", "did you mean 'RET'"]),
    "nothing near": (small().rename(columns={"cap": "xyzzy"}), ["'cap'", "its columns are date, permno"]),
    "twice the same column": (pd.concat([small(), small()[["size"]]], axis=1), ["two columns 'size'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_thing(name):
    frame, named = REFUSED[name]
    with pytest.raises(InputError) as caught:
        Panel.from_frame(frame, **ROLES)
    for part in named:
        assert part in str(caught.value), str(caught.value)


def test_a_column_that_is_named_already_is_not_suggested():
    wanted = {**ROLES, "characteristics": ["momentum_1", "momentum_2"]}
    with pytest.raises(InputError, match="must have a column 'momentum_1'; its columns are date"):
        Panel.from_frame(small().rename(columns={"momentum": "momentum_2"}), **wanted)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"characteristics": ["size", "size"]}, "'size' is named for two roles"),
        ({"consensus": ["momentum"]}, "'momentum' is named for two roles"),
        ({"risk_free": "ret"}, "'ret' is named for two roles"),
        ({"characteristics": []}, "at least one characteristic"),
    ],
)
def test_a_column_plays_one_role(changed, named):
    with pytest.raises(InputError, match=named):
        Panel.from_frame(small(), **{**ROLES, **changed})


def stated(**roles: object) -> Panel:
    frame = pd.DataFrame(
        {
            "month": ["2001-02", "2001-01", "2001-01"],
            "asset": [2, 2, 1],
            "ret": [0.1, 0.0, -0.1],
            "x": [1.0, 2.0, 3.0],
            "c": [1.0, 2.0, np.nan],
            "prc": [5.0, -4.0, np.nan],
            "exchcd": [3, 1, np.nan],
            "kind": ["common ", None, "ADR"],
        }
    )
    return Panel.from_frame(
        frame, month="month", asset="asset", returns="ret", characteristics=["x"], consensus=["c"], **roles
    )


def test_frequencies_growth_and_the_columns_of_a_universe_are_kept():
    panel = stated(
        frequency={"x": "quarterly", "c": "annual"}, growth=["x"], price="prc", exchange="exchcd", share_code="kind"
    )
    assert panel.frequency == {"x": "quarterly", "c": "annual"}
    assert panel.growth == ("x",)
    np.testing.assert_array_equal(panel.values("price"), np.array([np.nan, -4, 5], dtype=np.float32))
    assert panel.labels("exchange").tolist() == ["", "1", "3"]
    assert panel.labels("share_code").tolist() == ["ADR", "", "common"]
    assert panel.to_frame()["exchange"].tolist() == ["", "1", "3"]
    assert stated().frequency == {}
    assert stated().growth == ()


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ({"frequency": {"y": "annual"}}, "frequency names 'y', which is no characteristic or consensus variable"),
        ({"frequency": {"x": "yearly"}}, "the frequency of 'x' must be one of monthly, quarterly, half-yearly, annual"),
        ({"growth": ["c"]}, "growth names 'c', which is no characteristic"),
        ({"growth": "x"}, "growth must be a list of columns' names"),
        ({"price": "x"}, "column 'x' is named for two roles"),
        ({"exchange": "nothere"}, "must have a column 'nothere'"),
    ],
)
def test_wrong_marks_are_refused(roles, sentence):
    with pytest.raises(InputError, match=sentence):
        stated(**roles)
