"""The panel: the same bytes from any order of rows, and views of them by month and role."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_frames import FIRST, ROLES, all_bytes, draw_frame, small

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel


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
    assert one.asset_codes.tolist() == frame["permno"].rank(method="dense").sub(1).tolist()


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
