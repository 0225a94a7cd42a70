"""What is wrong in the sections `target` and `windows` of a configuration ends in one sentence."""

import pytest
from configurations import assert_refused, build, changed

REFUSED = [
    (
        "first_train_end: 2010-12",
        "first_trian_end: 2010-12",
        11,
        "unknown key windows.first_trian_end; did you mean fi",
    ),
    ("first_train_end: 2010-12, ", "", 11, "windows.first_train_end is required: add it"),
    ("[1, 12]", "[1, 1]", 10, "target.horizon: horizons must differ from each other; got [1, 1]"),
    ("[1, 12]", "[]", 10, "target.horizon must be a list of at least 1; got []"),
    ("[1, 12]", "[1, 0]", 10, "target.horizon.1 must be at least 1; got 0"),
    ("[1, 12]", "121", 10, "target.horizon must be at most 120; got 121"),
    ("[1, 12]", "year", 10, "target.horizon: must be a whole number of months, or a list of them; got 'year'"),
    ("[1, 12]", "true", 10, "target.horizon: must be a whole number of months, or a list of them; got true"),
    ("2010-12", "2010", 11, "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010'"),
    (
        "2010-12",
        "2010-13",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010-13'",
    ),
    (
        "2010-12",
        "2010-12-31",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010-1",
    ),
    (
        "2010-12",
        "Dec 2010",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got 'Dec 2010'",
    ),
    (
        "scheme: expanding",
        "scheme: growing",
        11,
        "windows.scheme must be 'expanding', 'rolling' or 'single'; got 'growing'",
    ),
    ("scheme: expanding", "scheme: rolling", 11, "windows: rolling needs windows.length, its tr"),
    ("validation: 12", "validation: -1", 11, "windows.validation must be at least 0; got -1"),
    ("validation: 12", "validation: 1.5", 11, "windows.validation must be a whole number; got 1.5"),
    (
        "test: 12}",
        "test: 12, step: 6}",
        11,
        "windows: step must equal test, so that every month is forecast once; got 6",
    ),
    ("test: 12}", "test: 12, embargo: -1}", 11, "windows.embargo: embargo must be auto or at least 0; got -1"),
    ("test: 12}", "test: 12, embargo: some}", 11, "windows.embargo must be a whole number or 'auto'; got 'some'"),
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), REFUSED)
def test_what_is_wrong_in_target_and_windows_is_one_sentence(old, new, line, sentence):
    assert_refused(old, new, line, sentence)


@pytest.mark.parametrize("horizon", ["3", "[3]"])
def test_a_horizon_is_one_number_or_a_list(horizon):
    assert build(changed("[1, 12]", horizon)).target.horizon == (3,)
