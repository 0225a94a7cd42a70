"""NeurIF looks nowhere ahead: loadings, realised factors and forecasts use nothing that was not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from factor_ray.audit import audit_experiment
from factor_ray.configuration import parse
from factor_ray.experiment import Experiment
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, Pack
from factor_ray.runner.inputs import Inputs

SETTINGS: dict[str, Any] = {
    "name": "audited",
    "data": {"source": "simulated", "slots": 24, "months": 60, "characteristics": 9, "macro_series": 6},
    "target": {"horizon": [1, 3]},
    "windows": {"first_train_end": "2000-06", "validation": 6, "test": 8},
    "macro_state": {"kind": "none"},
    "models": [{"name": "neurif", "factors": 2, "width": 8, "heads": 2, "blocks": 1, "epochs": 2}],
    "ensemble": {"members": 2},
}


def test_neurif_passes_the_audit(tmp_path: Path) -> None:
    experiment = Experiment.from_configuration(parse(yaml.safe_dump(SETTINGS), "audited.yaml"))
    verdict = audit_experiment(experiment, CellStore(tmp_path / "cells"))
    assert verdict.passed, verdict.describe()
    assert len(verdict.months) == 3


def test_attention_along_realised_factors_passes_the_audit(tmp_path: Path) -> None:
    models = [{**SETTINGS["models"][0], "factor_forecast": "attention"}]
    windows = {**SETTINGS["windows"], "first_train_end": "2001-03"}  # months enough for it to learn from
    settings = {**SETTINGS, "models": models, "windows": windows, "target": {"horizon": 1}}
    experiment = Experiment.from_configuration(parse(yaml.safe_dump(settings), "audited.yaml"))
    verdict = audit_experiment(experiment, CellStore(tmp_path / "cells"))
    assert verdict.passed, verdict.describe()


def fit_as_a_group(campaign: Campaign, inputs: Inputs) -> None:
    """Fit one worker's members and store them under the names of those that a group of two would have fitted."""
    while (pack := campaign.take()) is not None:
        assert isinstance(pack, Pack)
        alone = replace(pack, points=[{**point, "workers": 1} for point in pack.points])
        alone.fit(inputs, campaign.store, Context())
        campaign.complete(pack)


def test_what_a_worker_group_fitted_is_refitted_by_one_worker_as_proof(tmp_path: Path) -> None:
    shared = {**SETTINGS["models"][0], "workers": 2}
    settings = {**SETTINGS, "models": [shared], "compute": {"workers": 2}, "target": {"horizon": 1}}
    experiment = Experiment.from_configuration(parse(yaml.safe_dump(settings), "audited.yaml"))
    verdict = audit_experiment(experiment, CellStore(tmp_path / "cells"), fit=fit_as_a_group)
    assert verdict.passed, verdict.describe()
    assert len(verdict.refitted) == 1
