"""Tables of what factor models are made of, and the factors' correlations with macro series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from factor_ray.correlations import correlation_frame
from factor_ray.data.macro import Macro
from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.data.simulation import simulate
from factor_ray.descriptions import Described, factor_frame, identified, loading_frame, term_frame
from factor_ray.models.base import Description

T = 30


@pytest.fixture(scope="module")
def panel() -> Panel:
    return simulate(seed=1, slots=12, months=40, characteristics=9).panel


@pytest.fixture
def described() -> Described:
    random = np.random.default_rng(0)
    factors = random.normal(size=(T, 2))
    factors[3] = np.nan
    return Described("ipca", 3, None, Description(np.arange(2, 2 + T), factors, random.normal(size=(2, 9))))


def test_factors_go_by_variance_and_have_positive_means():
    factors = np.array([[0.1, -3.0, 2.0], [0.2, 1.0, -9.0], [np.nan, 9.0, 99.0], [0.1, 0.5, 1.0]])
    order_K, sign_K = identified(Description(np.arange(4), factors, np.zeros((3, 5))))
    assert order_K.tolist() == [2, 1, 0]
    assert sign_K.tolist() == [-1, -1, 1]


def test_no_training_factors_leave_everything_as_it_is():
    order_K, sign_K = identified(Description(np.arange(3), np.full((3, 2), np.nan), np.zeros((2, 5))))
    assert order_K.tolist() == [0, 1]
    assert sign_K.tolist() == [1, 1]


def test_tables_hold_every_factor_month_and_characteristic(panel, described):
    known = {"bootstrap_errors": np.full((1, 9), 0.7), "joint_p": np.arange(9.0), "separation": np.array([np.inf])}
    found = Description(np.arange(2), np.ones((2, 1)), np.ones((1, 9)), np.full((1, 9), 0.5), **known)
    other = Described("qcf", 1, 0.05, found)
    factors, loadings = factor_frame(panel, [described, other]), loading_frame(panel, [described, other])
    assert list(factors) == ["model", "horizon", "tau", "factor", "month", "value"]
    errors = ["standard_error", "bootstrap_error", "joint_p", "separation"]
    assert list(loadings) == ["model", "horizon", "tau", "factor", "characteristic", "coefficient", *errors]
    own = loadings[loadings["model"] == "qcf"]
    assert own["bootstrap_error"].eq(0.7).all()
    assert own["joint_p"].tolist() == list(range(9))
    assert own["separation"].eq(np.inf).all()
    assert loadings.loc[loadings["model"] == "ipca", errors].isna().all(axis=None)
    own = factors[(factors["model"] == "ipca") & (factors["factor"] == 2)]
    assert own["month"].tolist() == pd.to_datetime(month_ends(panel.months[2 : 2 + T])).tolist()
    np.testing.assert_array_equal(own["value"], described.description.factors[:, 1])
    assert own["tau"].isna().all()
    wide = loadings[loadings["model"] == "ipca"].pivot_table(
        index="factor", columns="characteristic", values="coefficient", sort=False
    )
    assert list(wide.columns) == list(panel.characteristic_names)
    np.testing.assert_array_equal(wide, described.description.loadings)
    assert loadings.loc[loadings["model"] == "qcf", "standard_error"].eq(0.5).all()
    assert len(factors) == 2 * T + 2
    assert term_frame(panel, [described, other]).empty


def test_terms_of_the_sieve_are_named_and_stand_beside_what_the_index_explains(panel):
    sieve = np.arange(55.0)[None]  # order 3 of nine characteristics
    found = Description(np.arange(2), np.ones((2, 1)), np.ones((1, 9)), sieve=sieve, sieve_of_index=0.5 * sieve)
    terms = term_frame(panel, [Described("qcf", 1, 0.05, found)])
    first, second = panel.characteristic_names[:2]
    assert terms["term"].tolist()[:3] == ["1", first, second]
    assert {f"h2({first})", f"{first} x {second}"} < set(terms["term"])
    np.testing.assert_array_equal(terms["coefficient"], sieve[0])
    np.testing.assert_array_equal(terms["of_index"], 0.5 * sieve[0])
    assert terms["factor"].eq(1).all()


def test_factors_meet_what_is_known_of_a_series_when_their_return_is(panel, described):
    months = np.arange(panel.months[0], panel.months[0] + 50, dtype=np.int32)
    random = np.random.default_rng(1)
    values = random.normal(size=(50, 4)).astype(np.float32)
    earned = described.description.months + 3
    planted = described.description.factors[:, 0]
    values[earned, 0] = np.where(np.isfinite(planted), -2 * planted, 0.1)
    values[:, 2] = 1.0
    values[:25, 3] = np.nan
    values[earned[7], 1] = np.nan
    found = correlation_frame(panel, Macro(months, ("mirror", "noise", "constant", "late"), values), described)
    assert set(found["series"]) == {"mirror", "noise"}
    table = found.set_index(["factor", "series"])
    assert table.loc[(1, "mirror"), "correlation"] == pytest.approx(-1)
    assert table.loc[(1, "mirror"), "months"] == T - 1
    assert table.loc[(2, "noise"), "months"] == T - 2
    pairs = pd.DataFrame({"a": described.description.factors[:, 1], "b": values[earned, 1]}).dropna()
    assert table.loc[(2, "noise"), "correlation"] == pytest.approx(pairs.corr().iloc[0, 1])
    assert set(found["horizon"]) == {3}
