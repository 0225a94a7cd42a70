"""The panel: the same bytes from any order and any file, and a sentence for every way in which a file can be wrong."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.macro import Macro
from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel
from factor_ray.errors import InputError

ROLES = {
    "month": "date",
    "asset": "permno",
    "returns": "ret",
    "characteristics": ["size", "momentum"],
    "consensus": ["feps"],
    "risk_free": "rf",
    "market_cap": "cap",
}
FIRST = parse_month("2001-11")


def draw_frame(seed: int = 0, *, assets: int = 7, months: int = 5) -> pd.DataFrame:
    """An unbalanced frame, sorted as panels are, with at least one row a month and missing values everywhere."""
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if a == 0 or stream.random() < 0.7]
    frame = pd.DataFrame(cells, columns=["t", "permno"])
    frame.insert(0, "date", pd.PeriodIndex.from_ordinals(frame.pop("t") + FIRST, freq="M").astype(str))
    frame["ret"] = stream.normal(0, 0.1, len(frame))
    frame["rf"] = 0.002
    frame["cap"] = stream.lognormal(5, 1, len(frame))
    for name in ("size", "momentum", "feps"):
        frame[name] = stream.normal(size=len(frame))
        frame.loc[stream.random(len(frame)) < 0.2, name] = np.nan
    frame.loc[stream.random(len(frame)) < 0.1, "ret"] = np.nan
    return frame


def small(**columns: list) -> pd.DataFrame:
    """Four good rows, with columns replaced by the given ones."""
    good = {
        "date": ["2001-11", "2001-11", "2001-12", "2001-12"],
        "permno": [1, 2, 1, 2],
        "ret": [0.1, -0.1, 0.05, 0.0],
        "rf": [0.002] * 4,
        "cap": [10.0, 20.0, 11.0, 21.0],
        "size": [1.0, 2.0, 3.0, 4.0],
        "momentum": [4.0, 3.0, 2.0, 1.0],
        "feps": [0.5, np.nan, 0.7, 0.1],
    }
    return pd.DataFrame({**good, **columns})


def all_bytes(panel: Panel) -> list[bytes]:
    plain = [panel.values(name).tobytes() for name in ("month", "return", "risk_free", "market_cap")]
    return [*plain, str(panel.assets.tolist()).encode(), panel.characteristics.tobytes(), panel.consensus.tobytes()]


# What a panel is


@given(st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_shuffled_rows_and_columns_give_the_same_bytes(seed, named_assets):
    frame = draw_frame(seed)
    if named_assets:
        frame["permno"] = "firm" + frame["permno"].astype(str)
    shuffled = frame.sample(frac=1, random_state=seed)[sorted(frame.columns)]
    one, two = Panel.from_frame(frame, **ROLES), Panel.from_frame(shuffled, **ROLES)
    assert all_bytes(one) == all_bytes(two)
    assert one.table.schema.equals(two.table.schema, check_metadata=True)
    np.testing.assert_array_equal(one.values("return"), frame["ret"].to_numpy(np.float32))
    np.testing.assert_array_equal(one.characteristics, frame[["size", "momentum"]].to_numpy(np.float32))
    np.testing.assert_array_equal(one.consensus, frame[["feps"]].to_numpy(np.float32))
    assert one.assets.tolist() == frame["permno"].tolist()


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_rows_of_a_month(seed):
    panel = Panel.from_frame(draw_frame(seed), **ROLES)
    assert panel.months.tolist() == list(range(FIRST, FIRST + 5))
    assert panel.offsets[0] == 0
    assert panel.offsets[-1] == len(panel)
    for position, month in enumerate(panel.months):
        rows = slice(panel.offsets[position], panel.offsets[position + 1])
        assert rows == panel.rows(month, month)
        assert (panel.row_months[rows] == month).all()
        assert (np.diff(panel.assets[rows]) > 0).all()
    assert panel.rows(FIRST + 1, FIRST + 3) == slice(panel.offsets[1], panel.offsets[4])


def test_files_and_frames_give_the_same_bytes(tmp_path):
    frame = draw_frame(1)
    shuffled = frame.sample(frac=1, random_state=1).assign(unused="x")
    shuffled.to_parquet(tmp_path / "panel.parquet", index=False)
    shuffled.to_csv(tmp_path / "panel.csv", index=False)
    shuffled.to_csv(tmp_path / "marked.csv", index=False, encoding="utf-8-sig")
    expected = all_bytes(Panel.from_frame(frame, **ROLES))
    assert all_bytes(Panel.from_parquet(tmp_path / "panel.parquet", **ROLES)) == expected
    assert all_bytes(Panel.from_csv(str(tmp_path / "panel.csv"), **ROLES)) == expected
    assert all_bytes(Panel.from_csv(tmp_path / "marked.csv", **ROLES)) == expected


def test_a_panel_survives_its_own_frame():
    panel = Panel.from_frame(draw_frame(2), **ROLES)
    roles = {**ROLES, "month": "month", "asset": "asset", "returns": "return"}
    again = Panel.from_frame(panel.to_frame(), **{**roles, "risk_free": "risk_free", "market_cap": "market_cap"})
    assert all_bytes(again) == all_bytes(panel)


def test_missing_is_nan_and_never_null_and_numbers_are_float32():
    table = Panel.from_frame(draw_frame(3), **ROLES).table
    assert all(table.column(name).null_count == 0 for name in table.column_names)
    assert table.schema.field("month").type == pa.int32()
    assert table.schema.field("asset").type == pa.int64()
    assert table.schema.field("return").type == pa.float32()
    assert table.schema.field("characteristics").type.list_size == 2
    assert Panel.from_frame(small(permno=list("abab")), **ROLES).table.schema.field("asset").type == pa.string()


def test_columns_are_views_that_cannot_be_written_to():
    panel = Panel.from_frame(draw_frame(4), **ROLES)
    later = panel.between(FIRST + 2, FIRST + 3)
    assert np.shares_memory(panel.characteristics, later.characteristics)
    np.testing.assert_array_equal(later.characteristics, panel.characteristics[panel.rows(FIRST + 2, FIRST + 3)])
    np.testing.assert_array_equal(later.consensus, panel.consensus[panel.rows(FIRST + 2, FIRST + 3)])
    assert later.months.tolist() == [FIRST + 2, FIRST + 3]
    for view in (panel.characteristics, panel.values("return"), later.consensus):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1


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


def test_optional_roles_may_be_absent():
    plain = Panel.from_frame(small(), month="date", asset="permno", returns="ret", characteristics=["size"])
    assert not plain.has_risk_free
    assert not plain.has_market_cap
    assert plain.macro is None
    assert plain.prepared is None
    assert plain.consensus.shape == (4, 0)
    assert plain.between(FIRST, FIRST).consensus.shape == (2, 0)
    assert list(plain.to_frame().columns) == ["month", "asset", "return", "size"]
    full = Panel.from_frame(small(), **ROLES)
    assert full.has_risk_free
    assert full.has_market_cap
    assert (full.characteristic_names, full.consensus_names) == (("size", "momentum"), ("feps",))


def test_with_columns_leaves_the_original():
    panel = Panel.from_frame(small(), **ROLES)
    other = panel.with_columns(characteristics=np.zeros((4, 2), np.float32), consensus=np.ones((4, 1), np.float32))
    assert other.prepared is None
    marked = other.with_preparation({"rank": True}, {"rows": {"kept": 4}})
    assert (marked.prepared, marked.preparation) == ({"rank": True}, {"rows": {"kept": 4}})
    assert panel.prepared is None
    assert (other.characteristics == 0).all()
    assert (other.consensus == 1).all()
    assert panel.characteristics[0, 0] == 1
    assert other.characteristic_names == panel.characteristic_names
    assert other.values("return").tobytes() == panel.values("return").tobytes()


def test_macro_series_are_laid_on_the_panels_months_even_where_a_block_reaches_beyond():
    months = np.arange(FIRST - 3, FIRST + 1, dtype=np.int32)
    macro = Macro(months, ("rate",), np.arange(4, dtype=np.float32)[:, None])
    panel = Panel.from_frame(small(), **ROLES, macro=macro)
    assert panel.macro.months.tolist() == [FIRST, FIRST + 1]
    np.testing.assert_array_equal(panel.macro.values[:, 0], [3, np.nan])
    block = panel.between(FIRST - 2, FIRST)
    assert block.months.tolist() == block.macro.months.tolist() == [FIRST]


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


# What a panel refuses

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


def test_files_that_cannot_be_used_are_named(tmp_path):
    absent = tmp_path / "absent.parquet"
    for build in (Panel.from_parquet, Panel.from_csv):
        with pytest.raises(InputError, match=r"absent\.parquet must be a file; there is none"):
            build(absent, **ROLES)
        with pytest.raises(InputError, match="must be a file"):
            build(tmp_path, **ROLES)
    text = tmp_path / "text.parquet"
    text.write_text("date,permno\n2001-11,1\n")
    with pytest.raises(InputError, match=r"text\.parquet must be a Parquet file"):
        Panel.from_parquet(text, **ROLES)
    other = tmp_path / "other.parquet"
    small().rename(columns={"feps": "FEPS"}).to_parquet(other)
    with pytest.raises(InputError, match=r"other\.parquet must have a column 'feps'; did you mean 'FEPS'"):
        Panel.from_parquet(other, **ROLES)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "file.csv is empty"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n", "file.csv has no rows"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n2001-11,1,.1\n", "must be a comma-separated UTF-8 file"),
        (b"date,permno,ret,rf,cap,size,momentum,feps,size\n2001-11,1,.1,0,1,1,1,1,1\n", "two columns 'size'"),
        (b"date;permno;ret\n2001-11;1;.1\n", "must have a column 'date'"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n2001-11,\xff\xfe,.1,0,1,1,1,1\n", "UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_used_are_named(tmp_path, content, named):
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.csv") as caught:
        Panel.from_csv(file, **ROLES)
    assert named in str(caught.value)


def test_a_csv_column_that_is_not_utf8_far_into_the_file_is_named(tmp_path):
    file = tmp_path / "file.csv"
    row = b"2001-11,%d,.1,0,1,1,1,1\n"
    rows = b"".join(row % number for number in range(2000))
    file.write_bytes(b"date,permno,ret,rf,cap,size,momentum,feps\n" + rows + b"2001-11,\xff,.1,0,1,1,1,1\n")
    with pytest.raises(InputError, match="column 'permno' is not: save the file as UTF-8"):
        Panel.from_csv(file, **ROLES)


def test_dates_of_arrow_files_are_read(tmp_path):
    frame = small(date=[datetime.date(2001, 11, 30)] * 2 + [datetime.date(2001, 12, 31)] * 2)
    pa_parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "dates.parquet")
    assert Panel.from_parquet(tmp_path / "dates.parquet", **ROLES).months.tolist() == [FIRST, FIRST + 1]


@pytest.mark.parametrize("role", ["characteristics", "consensus"])
def test_a_bare_name_is_not_taken_for_a_list_of_letters(tmp_path, role):
    frame, file = small(), tmp_path / "panel.parquet"
    frame.to_parquet(file)
    roles = {**ROLES, role: "size"}
    for build in (lambda: Panel.from_frame(frame, **roles), lambda: Panel.from_parquet(file, **roles)):
        with pytest.raises(InputError, match=rf"{role} must be a list of columns' names; got the single text 'size'"):
            build()


# Frequencies, growth rates and the columns of a universe


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
