"""Windows as properties of a calendar: whatever the scheme, nothing is learned that is not known yet."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factor_ray.data.months import format_month, parse_month
from factor_ray.data.windows import Window, Windows
from factor_ray.errors import InputError

START = parse_month("1994-01")


@st.composite
def calendars(draw, embargo=None):
    """A scheme, a calendar on which it has at least one window, and a horizon."""
    horizon = draw(st.integers(1, 13))
    validation = draw(st.integers(0, 24))
    chosen = "auto" if embargo is None else draw(embargo)
    gap = horizon - 1 if chosen == "auto" else chosen
    needed = 1 + 2 * gap
    length = draw(st.integers(needed, needed + 60))
    first_end = START + length - 1 + draw(st.integers(0, 24))
    scheme = draw(st.sampled_from(["expanding", "rolling", "single"]))
    common = {"first_train_end": format_month(first_end), "validation": validation, "embargo": chosen}
    if scheme == "single":
        windows = Windows.single(**common)
    elif scheme == "expanding":
        windows = Windows.expanding(**common, test=draw(st.integers(1, 14)))
    else:
        windows = Windows.rolling(**common, length=length, test=draw(st.integers(1, 14)))
    tested = draw(st.integers(1, 60))
    months = range(START, first_end + validation + tested + 1)
    return windows, months, horizon


@given(calendars())
@settings(deadline=None, max_examples=200)
def test_test_months_follow_each_other_to_the_last_month(calendar):
    windows, months, horizon = calendar
    laid = windows.split(months, horizon)
    tested = [month for window in laid for month in range(window.test[0], window.test[1] + 1)]
    begun = parse_month(windows.first_train_end) + windows.validation + 1
    assert tested == list(range(begun, months[-1] + 1))
    if windows.scheme == "single":
        assert len(laid) == 1
    else:
        assert all(window.test[1] - window.test[0] + 1 == windows.test for window in laid[:-1])
        assert laid[-1].test[1] - laid[-1].test[0] + 1 <= windows.test


@given(calendars())
@settings(deadline=None, max_examples=200)
def test_every_target_learned_from_is_complete_before_it_is_used(calendar):
    windows, months, horizon = calendar
    for window in windows.split(months, horizon):
        assert months[0] <= window.train[0] <= window.train[1]
        follows = window.test[0]
        if window.validation is not None:
            assert window.validation[0] <= window.validation[1]
            assert window.validation[1] + horizon <= window.test[0]
            assert window.validation[1] - window.validation[0] + 1 == windows.validation
            follows = window.validation[0]
        else:
            assert windows.validation == 0
        assert window.train[1] + horizon <= follows
        assert window.train[1] + horizon == follows, "and not a month is given away"
    assert not windows.looks_ahead(horizon)


@given(calendars(embargo=st.integers(0, 15)))
@settings(deadline=None, max_examples=200)
def test_an_embargo_is_left_out_before_validation_and_before_test(calendar):
    windows, months, horizon = calendar
    for window in windows.split(months, horizon):
        follows = window.test[0]
        if window.validation is not None:
            assert window.validation[1] + 1 + windows.embargo == window.test[0]
            follows = window.validation[0]
        assert window.train[1] + 1 + windows.embargo == follows
    assert windows.looks_ahead(horizon) == (windows.embargo < horizon - 1)


@given(calendars(), st.integers(1, 13), st.one_of(st.just("auto"), st.integers(0, 12)))
@settings(deadline=None, max_examples=200)
def test_test_months_move_neither_with_horizon_nor_with_embargo(calendar, horizon, embargo):
    windows, months, first_horizon = calendar
    other = windows.model_copy(update={"embargo": embargo})
    try:
        laid = other.split(months, horizon)
    except InputError:
        assume(False)
    assert [window.test for window in laid] == [window.test for window in windows.split(months, first_horizon)]


@given(calendars(), st.integers(1, 30))
@settings(deadline=None, max_examples=200)
def test_appending_months_leaves_earlier_windows_as_they_are(calendar, appended):
    windows, months, horizon = calendar
    before = windows.split(months, horizon)
    after = windows.split(range(months[0], months[-1] + 1 + appended), horizon)
    assert after[: len(before) - 1] == before[:-1]
    grown, last = after[len(before) - 1], before[-1]
    assert (grown.train, grown.validation, grown.test[0]) == (last.train, last.validation, last.test[0])
    assert grown.test[1] >= last.test[1]


@given(calendars())
@settings(deadline=None, max_examples=200)
def test_schemes_differ_in_the_training_start_only(calendar):
    windows, months, horizon = calendar
    laid = windows.split(months, horizon)
    if windows.scheme == "rolling":
        starts = [window.test[0] - windows.validation - windows.length for window in laid]
        assert [window.train[0] for window in laid] == starts
        expanding = Windows.expanding(
            first_train_end=windows.first_train_end, validation=windows.validation, test=windows.test
        ).split(months, horizon)
        assert [(w.train[1], w.validation, w.test) for w in laid] == [
            (w.train[1], w.validation, w.test) for w in expanding
        ]
    else:
        assert all(window.train[0] == months[0] for window in laid)


@given(calendars())
@settings(deadline=None, max_examples=100)
def test_the_last_window_learns_from_all_that_is_known_at_the_last_month(calendar):
    windows, months, horizon = calendar
    live = windows.last_window(months, horizon)
    assert live.test == (months[-1], months[-1])
    end = live.train[1] if live.validation is None else live.validation[1]
    assert end + horizon == months[-1]


def test_the_papers_calendar():
    """CB-APM with h = 12: test months 2013, validation ends 2012-01, training h-1 months before validation."""
    months = range(parse_month("1994-01"), parse_month("2022-12") + 1)
    windows = Windows.expanding(first_train_end="2010-12", validation=24, test=12)
    laid = windows.split(months, 12)
    assert len(laid) == 10
    assert laid[0].label() == "2013-01..2013-12"
    assert laid[-1].label() == "2022-01..2022-12"
    assert laid[0].dates() == {
        "train": ["1994-01", "2009-02"],
        "validation": ["2010-02", "2012-01"],
        "test": ["2013-01", "2013-12"],
    }
    as_published = windows.model_copy(update={"embargo": 0}).split(months, 12)[0]
    assert as_published.dates()["train"] == ["1994-01", "2010-12"]
    assert as_published.dates()["validation"] == ["2011-01", "2012-12"]
    assert windows.split(months, 1)[0] == as_published


def test_neurif_and_qcf_calendars():
    neurif = Windows.single(first_train_end="1999-12", validation=60)
    (window,) = neurif.split(range(parse_month("1980-01"), parse_month("2020-12") + 1))
    assert window.dates() == {
        "train": ["1980-01", "1999-12"],
        "validation": ["2000-01", "2004-12"],
        "test": ["2005-01", "2020-12"],
    }
    qcf = Windows.rolling(length=36, first_train_end="2004-12", validation=0, test=1)
    laid = qcf.split(range(parse_month("2002-01"), parse_month("2005-06") + 1))
    assert [window.dates() for window in laid][1] == {
        "train": ["2002-02", "2005-01"],
        "validation": None,
        "test": ["2005-02", "2005-02"],
    }
    assert len(laid) == 6


def test_a_calendar_without_a_window_says_what_to_change():
    months = range(parse_month("2000-01"), parse_month("2010-12") + 1)
    with pytest.raises(InputError, match=r"12 validation .* 2000-01..2010-12; choose one from 2000-01 to 2009-11$"):
        Windows.expanding(first_train_end="2009-12", validation=12).split(months)
    with pytest.raises(InputError, match=r"horizon 12 \(embargo 11\): .*; choose one from 2001-11 to 2009-11$"):
        Windows.expanding(first_train_end="2000-06", validation=12).split(months, 12)
    with pytest.raises(InputError, match=r"horizon 1 \(embargo 0\): .*; choose one from 2001-01 to 2009-11$"):
        Windows.rolling(length=13, first_train_end="2000-06", validation=12).split(months)


@given(calendars(embargo=st.one_of(st.just("auto"), st.integers(0, 15))), st.integers(-40, 40))
@settings(deadline=None, max_examples=200)
def test_the_ends_that_a_refusal_names_are_all_that_work(calendar, moved):
    windows, months, horizon = calendar
    earliest, latest = windows._possible_ends(months[0], months[-1], horizon)
    end = parse_month(windows.first_train_end) + moved
    other = windows.model_copy(update={"first_train_end": format_month(end)})
    if earliest <= end <= latest:
        first = other.split(months, horizon)[0]
        assert months[0] <= first.train[0] <= first.train[1]
        assert first.test[0] <= months[-1]
    else:
        with pytest.raises(InputError, match="choose one from"):
            other.split(months, horizon)


@pytest.mark.parametrize(
    ("windows", "horizon", "sentence"),
    [
        (
            Windows.expanding(first_train_end="2002-06", validation=500),
            1,
            "windows at horizon 1 need at least 502 months (1 of training with an embargo of 0, 500 of validation, 1 "
            "of test); the panel has 90: choose fewer windows.validation months or a longer panel",
        ),
        (
            Windows.expanding(first_train_end="2002-06", validation=12),
            100,
            "windows at horizon 100 need at least 212 months (199 of training with an embargo of 99, 12 of validation, "
            "1 of test); the panel has 90: choose a shorter target.horizon or a longer panel",
        ),
        (
            Windows.expanding(first_train_end="2002-06", validation=0, embargo=90),
            1,
            "windows at horizon 1 need at least 92 months (91 of training with an embargo of 90, 0 of validation, 1 of "
            "test); the panel has 90: choose windows.embargo auto or a longer panel",
        ),
        (
            Windows.rolling(length=80, first_train_end="2002-06", validation=12),
            1,
            "windows at horizon 1 need at least 93 months (80 of training with an embargo of 0, 12 of validation, 1 of "
            "test); the panel has 90: choose fewer windows.validation months or a shorter windows.length or a longer "
            "panel",
        ),
        (
            Windows.rolling(length=22, first_train_end="2002-06", validation=12),
            12,
            "windows.length must be more than 22 at horizon 12, whose embargo of 11 takes as many training months; got "
            "22: choose a longer one or a shorter target.horizon",
        ),
    ],
)
def test_a_panel_that_no_end_suits_is_told_what_helps_without_looking_ahead(windows, horizon, sentence):
    months = range(parse_month("1998-01"), parse_month("2005-06") + 1)
    for lay in (windows.split, windows.last_window):
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            lay(months, horizon)


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"first_train_end": "2010-13"}, "YYYY-MM"),
        ({"first_train_end": "2010-12", "step": 6, "test": 12}, "step must equal test"),
        ({"first_train_end": "2010-12", "length": 6}, "belongs to the rolling scheme"),
        ({"first_train_end": "2010-12", "scheme": "rolling"}, "rolling needs windows.length"),
        ({"first_train_end": "2010-12", "embargo": -1}, "at least 0"),
        ({"first_train_end": "2010-12", "embargo": "none"}, "embargo"),
        ({"first_train_end": "2010-12", "validation": -1}, "validation"),
        ({"first_train_end": "2010-12", "test": 0}, "test"),
        ({"first_train_end": "2010-12", "tests": 3}, "tests"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(settings_, named):
    with pytest.raises(ValidationError, match=named):
        Windows(**settings_)


def test_windows_are_values():
    window = Window(train=(0, 5), validation=None, test=(7, 8))
    assert window == Window(train=(0, 5), validation=None, test=(7, 8))
    with pytest.raises(ValidationError, match="frozen"):
        window.test = (8, 9)
