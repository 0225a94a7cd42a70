"""Ablations: which variant is compared with which, and differences of R2 as a plain computation has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.linear_model import OLS

from factor_ray.ablation import measure_ablations, monthly_losses
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns
from factor_ray.experiment import ModelEntry
from factor_ray.tables import Forecast

MONTHS = range(500, 560)


def losses(seed: int, months: Any = MONTHS, rows: int = 20) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    columns = {"errors": random.uniform(1, 2, len(months)), "returns": np.full(len(months), 2.0), "rows": rows}
    frame = pd.DataFrame(columns, index=list(months))
    return {"predictive": frame, "total": frame.assign(errors=frame["errors"] / 2)}


def test_losses_are_sums_over_the_rows_that_are_known():
    panel = simulate(seed=1, slots=20, months=12, characteristics=9).panel
    target_N = excess_returns(panel, 3)
    rows = np.flatnonzero(panel.row_months >= panel.months[2])
    values = np.random.default_rng(0).normal(size=(2, len(rows))).astype(np.float32)
    values[1, :7] = np.nan
    found = monthly_losses(panel, Forecast("ipca", 3, rows, values[0], total=values[1]), target_N)
    for kind, forecast_n in (("predictive", values[0]), ("total", values[1])):
        for month in panel.months[2:]:
            own = [
                (float(v), float(target_N[row]))
                for v, row in zip(forecast_n, rows, strict=True)
                if panel.row_months[row] == month and np.isfinite(v) and np.isfinite(target_N[row])
            ]
            if not own:
                assert month not in found[kind].index
                continue
            line = found[kind].loc[month]
            assert line["rows"] == len(own)
            assert line["errors"] == pytest.approx(sum((v - y) ** 2 for v, y in own))
            assert line["returns"] == pytest.approx(sum(y**2 for _, y in own))
    assert "total" not in monthly_losses(panel, Forecast("ipca", 3, rows, values[0]), target_N)


def test_differences_are_those_of_r2_with_newey_west_errors():
    entry = ModelEntry.model_validate({"name": "ipca", "intercept": [False, True]})
    full, without = "ipca[intercept=False]", "ipca[intercept=True]"
    own = {full: losses(1), without: losses(2)}
    own[without]["predictive"].loc[505, "rows"] = 19  # another universe in that month, which is left out
    found = measure_ablations([entry], own, 3)
    assert list(found) == [without]
    assert found[without]["full"] == full
    measured = found[without]["predictive"]
    kept = [month for month in MONTHS if month != 505]
    errors = {label: own[label]["predictive"].loc[kept, "errors"].to_numpy() for label in own}
    r2 = {label: 1 - values.sum() / (2.0 * len(kept)) for label, values in errors.items()}
    assert measured["r2"] == pytest.approx(r2[without])
    assert measured["full_r2"] == pytest.approx(r2[full])
    assert measured["difference"] == pytest.approx(r2[without] - r2[full])
    fit = OLS((errors[full] - errors[without]) / 2.0, np.ones(len(kept))).fit(
        cov_type="HAC", cov_kwds={"maxlags": 2, "use_correction": True}
    )
    assert measured["standard_error"] == pytest.approx(fit.bse[0])
    assert measured["p_value"] == pytest.approx(fit.pvalues[0])
    assert (measured["months"], measured["observations"]) == (59, 59 * 20)
    assert found[without]["total"]["difference"] != pytest.approx(measured["difference"])


def test_equal_losses_have_no_test():
    entry = ModelEntry.model_validate({"name": "ipca", "intercept": [False, True]})
    found = measure_ablations([entry], {f"ipca[intercept={value}]": losses(1) for value in (False, True)}, 1)
    measured = found["ipca[intercept=True]"]["total"]
    assert measured["difference"] == 0
    assert np.isnan(measured["t_statistic"])


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({"factors": [1, 2]}, {}),
        ({"intercept": [True, False]}, {"intercept=True": "intercept=False"}),
        ({"ridge": [0.1, 0.0]}, {}),
        ({"expected": ["ewma", "ar1"]}, {}),
        ({"constant": [False]}, {}),
        (
            {"factors": [1, 2], "constant": [True, False], "intercept": [False, True]},
            {
                f"factors={k},constant={c},intercept={i}": f"factors={k},constant=True,intercept=False"
                for k in (1, 2)
                for c in (True, False)
                for i in (False, True)
                if not c or i
            },
        ),
    ],
)
def test_the_full_model_has_what_is_the_default(given, pairs):
    entry = ModelEntry.model_validate({"name": "ipca", **given})
    found = measure_ablations([entry], {label: losses(0) for label in entry.spaces()}, 1)
    assert {label: own["full"] for label, own in found.items()} == {
        f"ipca[{label}]": f"ipca[{full}]" for label, full in pairs.items()
    }


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({"ridge": 0.1, "ablations": {"ridge": 0, "constant": False}}, {"ridge=0": "", "constant=False": ""}),
        (
            {"factors": [1, 2], "ablations": {"expected": "ar1"}},
            {f"factors={k},expected=ar1": f"factors={k}" for k in (1, 2)},
        ),
        (
            {"intercept": [True, False], "ablations": {"constant": False}},
            {
                "intercept=True": "intercept=False",
                "intercept=True,constant=False": "intercept=False",
                "intercept=False,constant=False": "intercept=False",
            },
        ),
    ],
)
def test_what_an_entry_lists_as_ablations_is_compared_with_the_full_model(given, pairs):
    entry = ModelEntry.model_validate({"name": "ipca", **given})
    found = measure_ablations([entry], {label: losses(0) for label in entry.spaces()}, 1)
    assert {label: own["full"] for label, own in found.items()} == {
        f"ipca[{label}]": f"ipca[{full}]" if full else "ipca" for label, full in pairs.items()
    }


def test_sweeps_of_lists_are_no_ablations():
    columns = [[1, 2, 3, 4, 5], [1, 2, 3], [1]]
    entry = ModelEntry.model_validate({"name": "observed_factors", "columns": columns})
    assert measure_ablations([entry], {label: losses(0) for label in entry.spaces()}, 1) == {}


def test_variants_that_were_not_measured_are_left_out():
    entry = ModelEntry.model_validate({"name": "ipca", "intercept": [False, True]})
    assert measure_ablations([entry], {"ipca[intercept=True]": losses(0)}, 1) == {}
