"""Live forecasts read what a run reads of the same months."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.simulation import simulate
from factor_ray.experiment import Experiment
from factor_ray.live import _tell_what_is_missing, predict
from factor_ray.models.ipca import IPCA
from factor_ray.run_directory import Run
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.stages import on_rows_of, targets_of

HORIZON = 3


def test_targets_count_the_returns_of_firms_that_have_left_the_universe(tmp_path: Path) -> None:
    """They realise the factors of the months since training, from which the next are expected."""
    frame = simulate(seed=3, slots=40, months=48, characteristics=9, consensus=0).panel.to_frame()
    frame["price"] = np.where(np.random.default_rng(0).random(len(frame)) < 0.8, 10.0, 1.0)
    frame.to_parquet(tmp_path / "new.parquet")
    names = [name for name in frame if name.startswith("characteristic")]
    roles = {"month": "month", "asset": "asset", "characteristics": names, "price": "price"}
    settings = {
        "name": "own",
        "data": {"source": "table", "path": str(tmp_path / "new.parquet"), "columns": {**roles, "return": "return"}},
        "preprocess": {"universe": {"min_price": 5.0}},
        "target": {"horizon": HORIZON},
        "windows": {"first_train_end": "2000-06", "validation": 6},
        "macro_state": {"kind": "none"},
        "models": [{"name": "ipca", "factors": 2}],
        "output": str(tmp_path),
    }
    experiment = Experiment.model_validate(settings)
    panel = Panel.from_frame(frame, returns="return", **roles)
    ready = prepare(panel, experiment.preprocess)
    until = panel.months[panel.months <= panel.months[0] + 36].tolist()
    window = experiment.windows.last_window(until, HORIZON)
    nothing = np.zeros((len(panel.months), 0), np.float32)
    targets = on_rows_of(ready, panel, targets_of(experiment, panel))
    view = Inputs.of(ready, targets, {HORIZON: (window,)}, {HORIZON: (nothing,)}).view(HORIZON, 0)
    point, train, validation = IPCA.Settings(factors=2), view.train(window), view.validation(window)
    (fit,) = IPCA.fit_pack([point], [0], train, validation, order_seed=0)

    run = Run(tmp_path / "own")
    run.path.mkdir()
    (run.path / "experiment.yaml").write_text(yaml.safe_dump({"experiment": settings}))
    recipe = {
        "model": "ipca",
        "horizon": HORIZON,
        "tau": None,
        "variant": "ipca",
        "hyperparameters": point.model_dump(mode="json"),
        "window": window.dates(),
        "cells": ["ab" * 16],
        "characteristics": names,
        "macro_state": None,
    }
    (run.path / "live.json").write_text(json.dumps({"recipes": [recipe]}))
    CellStore(run.cells).write("ab" * 16, fit, {})
    found = pd.read_parquet(predict(run, tmp_path / "new.parquet", tmp_path / "out.parquet"))

    months = (window.test[0], int(panel.months[-1]))
    member = IPCA.fitted(point, fit.weights)
    expected = [member.forecast(month).returns for month in view.forecast_months(months)]
    assert found["asset"].tolist() == ready.assets[ready.rows(*months)].tolist()
    np.testing.assert_allclose(found["prediction"], np.concatenate(expected), rtol=1e-5, atol=1e-8)


def test_a_panel_without_history_and_firms_without_forecasts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    panel = simulate(seed=3, slots=20, months=12, characteristics=9, consensus=0).panel
    late = panel.between(int(panel.months[8]), int(panel.months[11]))
    arrays = {"characteristics": late.characteristics[:5], "consensus": late.consensus[:5]}
    few = late.kept(np.arange(5), (int(late.months[0]), int(late.months[-1])), late.characteristic_names, **arrays)
    _tell_what_is_missing(Path("new.parquet"), late, few, int(late.months[0]))
    said = " ".join(capsys.readouterr().err.split())
    begins = "new.parquet begins in 1998-09, with the months to be forecast"
    assert begins in said
    assert f"{len(late) - 5} of {len(late)} firm-months from 1998-09 on have no forecast" in said
    _tell_what_is_missing(Path("new.parquet"), panel, panel, int(late.months[0]))
    assert capsys.readouterr().err == ""
