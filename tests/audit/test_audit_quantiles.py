"""The audit of quantile models: months' cells, observed factors and trivial quantiles are walked like all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray.audit import Verdict, audit_experiment
from factor_ray.data.quantile_simulation import quantile_panel
from factor_ray.data.sample import WindowView
from factor_ray.experiment import Experiment
from factor_ray.models import trivial
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs

MONTHS = 22


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., Verdict]:
    quantile_panel(20, MONTHS, seed=2).to_frame().to_parquet(tmp_path / "panel.parquet")
    rows = [
        f"{200000 + 100 * (k // 12) + k % 12 + 1},{np.sin(k) * 4:.2f},{np.cos(k) * 3:.2f}" for k in range(MONTHS + 3)
    ]
    (tmp_path / "factors.csv").write_text("month,MKT,SMB\n" + "\n".join(rows) + "\n")
    values: dict[str, Any] = {
        "name": "audited",
        "data": {
            "source": "table",
            "path": str(tmp_path / "panel.parquet"),
            "columns": {"characteristics": ["x1", "x2", "x3"]},
            "factors": [{"path": str(tmp_path / "factors.csv"), "columns": {"MKT": "percent", "SMB": "percent"}}],
        },
        "preprocess": {"rank": False, "standardise": True},
        "target": {"quantiles": [0.2, 0.5]},
        "windows": {"scheme": "rolling", "length": 9, "validation": 1, "test": 1, "first_train_end": "2000-10"},
        "macro_state": {"kind": "none"},
        "models": [
            {"name": "qcf", "factors": 2, "search": {"order": {"choice": [2, 3]}, "ridge": {"choice": [1e-3, 1e-1]}}},
            {"name": "qfm", "factors": 2, "least": 6, "starts": 1},
            {"name": "qr_observed", "least": 6},
        ],
        "search": {"points": 4, "pruner": "none"},
    }
    return lambda **changes: audit_experiment(
        Experiment.model_validate({**values, **changes}), CellStore(tmp_path / "cells")
    )


def test_honest_quantile_models_pass(audit: Callable[..., Verdict]) -> None:
    verdict = audit()
    assert verdict.passed, verdict.describe()
    assert verdict.perturbed == "a copy of panel.parquet and a copy of factors.csv"
    assert len(verdict.refitted) == 3


def test_a_month_that_reads_the_next_is_named(audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Inputs.cross_section

    def leaking(self: Inputs, horizon: int, month: int) -> Any:
        return honest(self, horizon, month + 1) or honest(self, horizon, month)

    monkeypatch.setattr(Inputs, "cross_section", leaking)
    found = audit(models=[{"name": "qcf", "order": 2, "factors": 2}])
    assert {(finding.stage, finding.column.split(":")[0]) for finding in found.findings} == {("weights", "qcf")}


def test_a_forecast_that_reads_outcomes_is_named(
    audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = WindowView.forecast_months

    def leaking(self: WindowView, months: Any) -> Any:
        for known, told in zip(self.realised_months(months), honest(self, months), strict=True):
            yield replace(told, x_NP=told.x_NP + np.nan_to_num(known.y_N)[:, None])

    monkeypatch.setattr(WindowView, "forecast_months", leaking)
    found = audit(models=[{"name": "qcf", "order": 2, "factors": 2}])
    assert {(finding.stage, finding.column) for finding in found.findings} == {("forecasts", "qcf")}


def test_a_historical_quantile_of_the_future_is_named(
    audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(_panel: Any, target_N: Any, _horizon: int, taus: Any, rows: Any) -> dict[str, Any]:
        known = target_N[np.isfinite(target_N)]
        values = np.tile(np.quantile(known, taus)[:, None], (1, len(rows))).astype(np.float32)
        return {"historical_quantile": values}

    monkeypatch.setattr("factor_ray.levels.trivial_quantiles", leaking)
    assert trivial.trivial_quantiles is not leaking
    found = audit(models=[{"name": "qcf", "order": 2, "factors": 2}])
    assert {(finding.stage, finding.column) for finding in found.findings} == {("forecasts", "historical_quantile")}


def test_factors_that_were_moved_a_month_are_named(audit: Callable[..., Verdict], tmp_path: Path, monkeypatch) -> None:
    from factor_ray.data import load as loading

    honest = loading.observed_factors

    def leaking(files: Any) -> pd.DataFrame:
        frame = honest(files)
        moved = frame.shift(-2)
        moved.attrs = frame.attrs
        return moved

    monkeypatch.setattr(loading, "observed_factors", leaking)
    found = audit(models=[{"name": "qr_observed", "least": 6}])
    assert not found.passed
    assert {finding.column for finding in found.findings} <= {"observed factor MKT", "data"}
    assert (tmp_path / "factors.csv").is_file()
