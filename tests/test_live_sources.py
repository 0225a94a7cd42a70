"""Live forecasts need a panel file: what other sources and several macro files are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from factor_ray.errors import InputError
from factor_ray.live import predict
from factor_ray.run_directory import Run

TABLE = {"source": "table", "path": "/panel.csv", "columns": {"characteristics": ["size"]}}


def refitted(folder: Path, data: dict[str, object]) -> Run:
    experiment = {
        "name": "x",
        "data": data,
        "windows": {"first_train_end": "2010-12"},
        "models": [{"name": "cbapm", "consensus_weight": 0}],
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump({"experiment": experiment}))
    (folder / "live.json").write_text(json.dumps({"recipes": []}))
    return Run.open(folder)


@pytest.mark.parametrize("source", ["simulated", "french"])
def test_other_sources_are_refused(tmp_path: Path, source: str) -> None:
    run = refitted(tmp_path, {"source": source})
    with pytest.raises(InputError, match=rf"this run's data\.source is {source}: use data\.source table for live use"):
        predict(run, tmp_path / "new.csv", tmp_path / "out.parquet")


@pytest.mark.parametrize("number", [0, 2])
def test_one_macro_file_replaces_one(tmp_path: Path, number: int) -> None:
    run = refitted(tmp_path, {**TABLE, "macro": [{"source": "fred_md", "path": f"/{i}.csv"} for i in range(number)]})
    with pytest.raises(InputError, match=f"this run reads {number}: leave it out"):
        predict(run, tmp_path / "new.csv", tmp_path / "out.parquet", tmp_path / "macro.csv")
