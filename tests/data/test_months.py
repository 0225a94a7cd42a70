"""Months: written, read from whatever a file holds, and refused where a guess would be wrong."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.months import format_month, month_ends, parse_month, to_months
from factor_ray.errors import InputError

DECEMBER_2010 = (2010 - 1970) * 12 + 11
months = st.integers(min_value=-600, max_value=1800)  # 1920-01..2119-12


@given(months)
@settings(deadline=None, max_examples=100)
def test_a_month_survives_being_written_and_read(month):
    text = format_month(month)
    assert parse_month(text) == month
    year, number = int(text[:4]), int(text[5:])
    last = month_ends([month])[0].astype(object)
    assert (last.year, last.month) == (year, number)
    assert (last + datetime.timedelta(days=1)).day == 1
    forms = (
        [text],
        [f"{text}-17"],
        [f"{text}-17 23:59:59"],
        [f"{number}/17/{year}"],
        [f"{year}{number:02d}"],
        [year * 100 + number],
        [float(year * 100 + number)],
        [year * 10_000 + number * 100 + 17],
        [datetime.date(year, number, 17)],
        pd.PeriodIndex([text], freq="M"),
        pd.DatetimeIndex([last]),
        pd.Series([year * 100 + number], dtype="Int64"),
        pd.Series([text], dtype="category"),
    )
    for form in forms:
        read = to_months(form)
        assert read.dtype == np.int32
        assert read.tolist() == [month], form


@given(st.lists(months, min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_months_are_read_in_the_order_of_the_rows(row_months):
    assert to_months([format_month(month) for month in row_months]).tolist() == row_months
    assert to_months(month_ends(row_months)).tolist() == row_months


def test_a_zoned_time_belongs_to_the_month_of_its_own_clock():
    zoned = pd.to_datetime(["2010-12-31 22:00"]).tz_localize("US/Eastern")
    assert to_months(zoned).tolist() == [DECEMBER_2010]
    assert to_months(["2010-12-31T22:00:00-05:00"]).tolist() == [DECEMBER_2010]


def test_no_rows_are_no_months():
    assert to_months([]).tolist() == []


@pytest.mark.parametrize(
    "text", ["2010-13", "2010-00", "2010", "201012", "2010-1", "10-12", "2010-12-31", "", "abcd-ef"]
)
def test_a_month_in_a_setting_has_one_form(text):
    with pytest.raises(InputError, match="must be written YYYY-MM") as caught:
        parse_month(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([40544], "40544"),  # a serial day of a spreadsheet
        ([20101], "20101"),
        ([201013], "201013"),
        ([20101232], "20101232"),
        ([201012.5], "201012.5"),
        ([np.inf], "inf"),
        ([2010], "2010"),  # a year: what it holds is not known in its January
        (["2010"], "'2010'"),
        (["2010Q4"], "'2010Q4'"),
        (pd.PeriodIndex(["2010Q4"], freq="Q"), "2010Q4"),
        (pd.PeriodIndex(["2010"], freq="Y"), "2010"),
        (["201012", "2010-11"], "'2010-11'"),
        (["01/02/2010", "13/02/2010"], "'13/02/2010'"),  # day first
        (["2010-12", "soon"], "'soon'"),
        (["2010-02-30"], "'2010-02-30'"),
        ([True], "True"),
    ],
)
def test_what_is_no_month_is_named_with_its_column(values, named):
    with pytest.raises(InputError, match="column 'when' must hold months") as caught:
        to_months(values, column="when")
    assert f"got {named}" in str(caught.value)


@pytest.mark.parametrize("values", [["2010-12", None], [201012, np.nan], pd.to_datetime(["2010-12-31", None])])
def test_a_missing_month_is_named_by_its_row(values):
    with pytest.raises(
        InputError, match="column 'when' must hold a month in every row; row 2 below the header is empty"
    ):
        to_months(values, column="when")
