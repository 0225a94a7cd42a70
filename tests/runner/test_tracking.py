"""Weights & Biases without an account: what its run files say, and that they say nothing of the panel's rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factor_ray.data.simulation import simulate
from factor_ray.errors import InputError, WorkError
from factor_ray.experiment import Experiment
from factor_ray.runner.settings import TrackingSettings
from factor_ray.runner.tracking import Tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # wandb's own, from sockets that it leaves to the collector

WANDB = Path(sys.executable).parent / "wandb"
CONFIG = {"name": "tiny", "data": {"source": "simulated"}, "models": [{"name": "cbapm"}]}
METRICS: dict[str, Any] = {
    "cbapm": {
        "12": {
            "returns": {
                "all": {"r2": 0.125, "ic": 0.25, "observations": 4321},
                "by_year": {"2020": {"r2": 0.0625, "ic": 0.5}, "2021": {"r2": 0.1875, "ic": 0.75}},
            },
            "consensus": {"analysts_0": {"all": {"r2": 0.375}}},
            "long_short": [{"cost_bp": 0.0, "mean_return": 0.015625, "sharpe": 1.25}],
        }
    },
    "market": {"12": {"portfolio": {"mean_return": 0.0078125, "sharpe": 0.5}}},
}


@pytest.fixture(scope="module", autouse=True)
def without_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No key in the environment and no settings of the user's."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patched.delenv(name)
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
            patched.setenv(name, str(home))
        yield


@pytest.fixture(scope="module")
def run_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Offline runs of one small experiment."""
    directory = tmp_path_factory.mktemp("run")
    with track("offline", directory) as tracker:
        tracker.note(0, 3)
        tracker.note(0, 8)
        tracker.finish(METRICS)
    return directory / "wandb"


def track(mode: str, directory: Path) -> Tracker:
    settings = TrackingSettings.model_validate({"mode": mode, "project": "tests"})
    return Tracker(settings, "tiny", CONFIG, directory)


def logs(run_files: Path) -> list[Path]:
    return sorted(run_files.glob("offline-run-*/run-*.wandb"))


def inspect(path: Path, *options: str) -> str:
    """Read a run back with W&B's own viewer."""
    done = subprocess.run(
        [WANDB, "leet", "inspect", *options, path], capture_output=True, text=True, check=False, timeout=60
    )
    if "No such command" in done.stderr:
        pytest.skip("this wandb has no `leet inspect`")
    assert done.returncode == 0, done.stderr
    return done.stdout


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in inspect(path, "--json").splitlines() if line]


def summaries(run_files: Path) -> dict[str, dict[str, Any]]:
    """Every run's state and measures, by the run's name."""
    found = [json.loads(inspect(path, "--summary", "--json")) for path in logs(run_files)]
    return {summary["name"]: summary for summary in found}


def test_measures_are_read_back_from_the_run_files(run_files):
    found = summaries(run_files)
    assert set(found) == {"search", "cbapm h=12"}, "the market portfolio is no forecast and has no run"
    assert {summary["state"] for summary in found.values()} == {"finished"}
    assert {summary["project"] for summary in found.values()} == {"tests"}
    assert found["search"]["summary"].items() >= {"cells_fitted": 8, "cells_reused": 0}.items()
    assert found["cbapm h=12"]["config"].items() >= {**CONFIG, "model": "cbapm", "horizon": 12}.items()
    expected = {
        "return/r2": 0.125,
        "return/ic": 0.25,
        "return/observations": 4321,
        "consensus_r2/analysts_0": 0.375,
        "long_short_0bp/mean_return": 0.015625,
        "long_short_0bp/sharpe": 1.25,
    }
    assert found["cbapm h=12"]["summary"].items() >= expected.items()


def test_test_years_are_a_forecasts_history_and_runs_are_grouped(run_files):
    kept = {record["run"]["display_name"]: path for path in logs(run_files) for record in records(path)[:2][1:]}
    told = records(kept["cbapm h=12"])
    assert told[1]["run"]["run_group"] == "tiny"
    assert told[1]["run"]["job_type"] == "forecast"
    history = [record["history"]["item"] for record in told if record["type"] == "history"]
    assert [(item["test_year"], item["r2"], item["ic"]) for item in history] == [
        (2020, 0.0625, 0.5),
        (2021, 0.1875, 0.75),
    ]


def test_an_error_leaves_a_finished_run_file_that_says_so(tmp_path):
    with pytest.raises(WorkError), track("offline", tmp_path):
        raise WorkError("the disk is full")
    (found,) = summaries(tmp_path / "wandb").values()
    assert found["exit_code"] == 1


def test_disabled_makes_no_files(tmp_path):
    with track("disabled", tmp_path) as tracker:
        tracker.note(0, 1)
        tracker.finish(METRICS)
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_auto_is_offline_and_online_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # no netrc file either
    assert track("auto", tmp_path).mode == "offline"
    with pytest.raises(InputError, match=r"there is no W&B key: run `wandb login`, set WANDB_API_KEY, or set"):
        track("online", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_tells_its_measures_and_never_a_row_of_the_panel(tmp_path: Path) -> None:
    """Assets bear a name that occurs nowhere else; returns and forecasts are looked for as text and as bytes."""
    panel = simulate(slots=30, months=60, seed=3).panel
    frame = panel.to_frame()
    frame["asset"] = [f"HOLDING{asset}" for asset in frame["asset"]]
    frame.to_parquet(tmp_path / "panel.parquet")
    columns = {"characteristics": list(panel.characteristic_names), "consensus": list(panel.consensus_names)}
    run = Experiment.model_validate(
        {
            "name": "tracked",
            "data": {"source": "table", "path": str(tmp_path / "panel.parquet"), "columns": columns},
            "windows": {"scheme": "single", "first_train_end": "2001-06", "validation": 6},
            "macro_state": {"kind": "none"},
            "models": [{"name": "cbapm", "hidden": [4], "epochs": 1}],
            "ensemble": {"members": 1},
            "portfolios": {"number": 3},
            "tracking": {"mode": "offline"},
            "output": str(tmp_path),
        }
    ).run()
    found = summaries(run.path / "wandb")
    measured = json.loads((run.path / "metrics.json").read_text())
    assert set(found) == {"search", *(f"{model} h=1" for model in measured if model != "market")}
    assert found["cbapm h=1"]["summary"]["return/r2"] == measured["cbapm"]["1"]["returns"]["all"]["r2"]

    everything = b"".join(path.read_bytes() for path in (run.path / "wandb").rglob("*") if path.is_file())
    assert b"HOLDING" not in everything
    said = "".join(inspect(path, "--json") for path in logs(run.path / "wandb"))
    assert "HOLDING" not in said
    assert '"type":"artifact"' not in said
    history = [line for line in said.splitlines() if '"type":"history"' in line]
    assert len(history) < 10 * len(found), "a few counts and years, not rows"
    for name, column in (("forecasts", "prediction"), ("forecasts", "realized"), ("portfolios", "return")):
        for value in run.table(name)[column].dropna().iloc[:200]:
            assert repr(float(value)) not in said
