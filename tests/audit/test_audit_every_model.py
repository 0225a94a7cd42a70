"""Every registered model passes the audit in a tiny run, and fails it where it is handed what came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray.audit import Verdict, audit_experiment
from factor_ray.data.sample import Sample, WindowView
from factor_ray.data.simulation import simulate
from factor_ray.data.windows import MonthRange, Window
from factor_ray.experiment import Experiment
from factor_ray.models.by_month import CrossSection
from factor_ray.models.registry import model, model_names
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs

MONTHS, CHARACTERISTICS = 28, 3
SMALL: dict[str, Any] = {
    "epochs": 1,
    "warm_up": 0,
    "width": 4,
    "heads": 2,
    "layers": 1,
    "blocks": 1,
    "feedforward": 4,
    "lookback": 3,
    "patch": 2,
    "stride": 1,
    "factors": 2,
    "correlation_months": 12,
    "overlap": 6,
    "neighbours": 2,
    "edges": 2,
    "level": 0.5,
    "window": 12,
    "least": 8,
    "least_months": 8,
    "iterations": 50,
    "starts": 1,
    "order": 2,
}
BLIND: dict[str, set[str]] = {"observed_factors": {"weights"}, "qfm": {"forecasts"}, "qr_observed": {"forecasts"}}
"""What reads nothing: a fit that keeps no weights, and forecasts that are the same in every month of a window."""
OF_ONE: dict[str, dict[str, Any]] = {"cbapm": {"hidden": [4]}, "mlp": {"hidden": [4]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A panel with consensus, macro series and observed factors: files, so that they are perturbed before loading."""
    folder = tmp_path_factory.mktemp("data")
    panel = simulate(seed=3, slots=30, months=MONTHS, characteristics=9, consensus=1, macro_series=2, death=0.005).panel
    panel.to_frame().to_parquet(folder / "panel.parquet")
    assert panel.macro is not None
    months = [str(month) for month in np.asarray(panel.months).astype("datetime64[M]")]
    macro = pd.DataFrame(panel.macro.values, columns=list(panel.macro.names))
    macro.insert(0, "month", [str(month) for month in np.asarray(panel.macro.months).astype("datetime64[M]")])
    macro.to_csv(folder / "macro.csv", index=False)
    draws = np.random.default_rng(0).normal(0, 0.04, (len(months), 2))
    pd.DataFrame({"month": months, "MKT": draws[:, 0], "SMB": draws[:, 1]}).to_csv(folder / "factors.csv", index=False)
    return {
        "source": "table",
        "path": str(folder / "panel.parquet"),
        "columns": {
            "characteristics": list(panel.characteristic_names[:CHARACTERISTICS]),
            "consensus": list(panel.consensus_names),
        },
        "macro": {"source": "monthly_table", "path": str(folder / "macro.csv")},
        "factors": [{"path": str(folder / "factors.csv"), "columns": {"MKT": "decimal", "SMB": "decimal"}}],
    }


@pytest.mark.parametrize("name", model_names())
def test_it_looks_nowhere_ahead(name: str, data: dict[str, Any], tmp_path: Path) -> None:
    verdict = audited(name, data, tmp_path)
    assert verdict.passed, verdict.describe()
    assert len(verdict.months) == 2
    assert len(verdict.refitted) == 1


@pytest.mark.parametrize("name", model_names())
def test_it_is_named_when_it_is_handed_later_months(
    name: str, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both fits and forecasts are under audit, of every model that reads anything in them."""
    monkeypatch.setattr(WindowView, "train", _told_later_targets(WindowView.train))
    monkeypatch.setattr(WindowView, "forecast_months", _told_what_came(WindowView.forecast_months))
    monkeypatch.setattr(Inputs, "cross_section", _of_the_next_month(Inputs.cross_section))
    found = audited(name, data, tmp_path, scheme="single").findings
    stages = {(finding.stage, finding.column.partition(":")[0]) for finding in found}
    expected = {"weights", "forecasts"} - BLIND.get(name, set())
    assert stages == {(stage, name) for stage in expected}


def audited(name: str, data: dict[str, Any], folder: Path, *, scheme: str = "expanding") -> Verdict:
    """Audit a tiny run of one model: two windows, or the first alone with all later months as its test."""
    family = model(name)
    chosen = {key: value for key, value in SMALL.items() if key in family.Settings.model_fields}
    levels = {"quantiles": [0.3]} if family.forecasts == "quantile" else {}
    values: dict[str, Any] = {
        "name": "audited",
        "data": data,
        "target": {"horizon": 2, **levels},
        "windows": {"scheme": scheme, "first_train_end": "1999-10", "validation": 2, "test": 2},
        "macro_state": {"kind": "pca", "dimension": 1},
        "models": [{"name": name, **chosen, **OF_ONE.get(name, {})}],
        "ensemble": {"members": 1},
    }
    return audit_experiment(Experiment.model_validate(values), CellStore(folder / "cells"))


def _told_later_targets(honest: Callable[[WindowView, Window], Sample]) -> Callable[[WindowView, Window], Sample]:
    """Add what follows the window to every training target."""

    def train(self: WindowView, window: Window) -> Sample:
        told, later_N = honest(self, window), self.panel.row_months > window.test[0]
        return replace(told, y_N=told.y_N + np.nansum(self.target_N[later_N], dtype=np.float32))

    return train


def _told_what_came(
    honest: Callable[[WindowView, MonthRange], Iterator[Sample]],
) -> Callable[[WindowView, MonthRange], Iterator[Sample]]:
    """Add a month's targets to its characteristics and own returns, make them known, and the factors that follow."""

    def forecast_months(self: WindowView, months: MonthRange) -> Iterator[Sample]:
        for told, realised in zip(honest(self, months), self.realised_months(months), strict=True):
            assert told.history is not None
            assert realised.history is not None
            own, later_N = slice(len(told.history) - len(told), None), np.nan_to_num(realised.y_N)
            x_HP, r_H, y_H = (values.copy() for values in (told.history.x_HP, told.history.r_H, told.history.y_H))
            x_HP[own] += later_N[:, None]
            r_H[own] += later_N
            y_H[own] = realised.y_N
            yield replace(told, x_NP=x_HP[own], history=replace(realised.history, x_HP=x_HP, r_H=r_H, y_H=y_H))

    return forecast_months


def _of_the_next_month(
    honest: Callable[[Inputs, int, int], CrossSection | None],
) -> Callable[[Inputs, int, int], CrossSection | None]:
    return lambda self, horizon, month: honest(self, horizon, month + 1) or honest(self, horizon, month)
