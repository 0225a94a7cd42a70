"""Macro series: dated by publication, on every month, monthly or refused."""

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.macro import Macro
from factor_ray.data.months import parse_month
from factor_ray.errors import InputError


def frame(index: list[str], **series: list) -> pd.DataFrame:
    return pd.DataFrame(series, index=pd.PeriodIndex(index, freq="M"))


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_value_is_known_lag_months_after_the_month_it_describes(lag):
    macro = Macro.from_frame(frame(["2001-03", "2001-01"], rate=[3.0, 1.0], growth=[np.nan, 5.0]), lag=lag)
    first = parse_month("2001-01") + lag
    assert macro.months.tolist() == [first, first + 1, first + 2]
    assert macro.names == ("rate", "growth")
    assert macro.values.dtype == np.float32
    np.testing.assert_array_equal(macro.values, np.array([[1, 5], [np.nan, np.nan], [3, np.nan]], np.float32))


def test_on_other_months_nothing_is_invented():
    macro = Macro.from_frame(frame(["2001-01", "2001-02"], rate=[1.0, 2.0]), lag=0)
    first = parse_month("2001-01")
    moved = macro.on(np.arange(first - 1, first + 4, dtype=np.int32))
    np.testing.assert_array_equal(moved.values[:, 0], [np.nan, 1, 2, np.nan, np.nan])


@pytest.mark.parametrize(
    ("series", "lag", "named"),
    [
        (pd.DataFrame({"rate": [1.0]}, index=["2001-01"]), 0, "indexed by month"),
        (pd.DataFrame({"gdp": [1.0]}, index=pd.PeriodIndex(["2001Q1"], freq="Q")), 1, "indexed by month"),
        (frame(["2001-01", "2001-01"], rate=[1.0, 2.0]), 1, "2001-01 repeats"),
        (frame(["2001-01", "2001-02"], rate=[1.0, 2.0], spread=[0.0, np.inf]), 1, "'spread' must be finite"),
        (frame(["2001-01"], rate=["high"]), 1, "'rate' must hold numbers"),
        (frame(["2001-01"], rate=[1.0]), -1, "at least 0 months; got -1"),
        (frame([], rate=[]), 1, "at least one series and one month"),
    ],
)
def test_a_refusal_names_the_thing(series, lag, named):
    with pytest.raises(InputError, match=named):
        Macro.from_frame(series, lag=lag)
