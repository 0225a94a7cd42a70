"""The whole line on Ray: the same bytes whoever computes, whatever is killed, and nothing fitted twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from factor_ray.data.simulation import simulate
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.live import predict, refit
from factor_ray.models import CBAPM, MacroStateSettings
from factor_ray.run_directory import Run
from factor_ray.runner.cells import CellStore

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, from threads and sockets that it leaves to the collector

TABLES = ("forecasts.parquet", "consensus.parquet", "portfolios.parquet", "coefficients.parquet", "metrics.json")

CONFIG = """
name: tiny
data: {{source: simulated, slots: 60, months: {months}, seed: 3}}
target: {{horizon: [1, 3]}}
windows: {{first_train_end: 2004-12, validation: 12, test: 12}}
macro_state: {{kind: pca, dimension: 2}}
models:
  - name: cbapm
    consensus_weight: [0.0, 0.5]
    hidden: [12, 6]
    epochs: {epochs}
    search: {{learning_rate: {{log_uniform: [1.0e-3, 1.0e-2]}}}}
search: {{points: 3, round: 2, survivors: 1}}
ensemble: {{members: 2}}
tracking: {{mode: disabled}}
output: {output}
"""


def write_config(directory: Path, *, months: int = 118, epochs: int = 4, extra: str = "") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "tiny.yaml"
    file.write_text(CONFIG.format(months=months, epochs=epochs, output=directory) + extra)
    return file


def run(directory: Path, **settings) -> Run:
    return Experiment.from_yaml(write_config(directory, **settings)).run()


def copied(run: Run, directory: Path) -> Run:
    """A finished run of one's own, to spoil or to go on with. Runs may be moved: it need not be fitted again."""
    shutil.copytree(run.path, directory / run.path.name)
    return Run.open(directory / run.path.name)


def results(run: Run) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in TABLES}


def assert_same(run: Run, expected: dict[str, bytes]) -> None:
    """Compare bytes; where measures differ, say which."""
    found = results(run)
    if found["metrics.json"] != expected["metrics.json"]:
        assert json.loads(found["metrics.json"]) == json.loads(expected["metrics.json"])
    assert [name for name in TABLES if found[name] != expected[name]] == []


def cells(run: Run) -> dict[str, float]:
    return {file.name: file.stat().st_mtime_ns for file in sorted(run.cells.rglob("*.safetensors"))}


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


@pytest.fixture(scope="module")
def reference(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Run:  # noqa: ARG001
    return run(tmp_path_factory.mktemp("reference"))


def test_a_run_writes_every_table_and_a_report(reference: Run) -> None:
    forecasts = reference.table("forecasts")
    assert set(forecasts["model"]) == {
        "cbapm",
        "cbapm[consensus_weight=0]",
        "cbapm[consensus_weight=0.5]",
        "zero",
        "historical_mean",
        "last_value",
        "oracle",
    }
    assert set(forecasts["horizon"]) == {1, 3}
    months = forecasts.groupby("horizon")["month"].agg(["min", "max"])
    assert (months["min"] == pd.Timestamp("2006-01-31")).all()
    assert (months["max"] == pd.Timestamp("2007-10-31")).all()
    last = forecasts[(forecasts["month"] == months["max"].iloc[0]) & (forecasts["model"] == "cbapm")]
    assert last["prediction"].notna().all()
    assert last["realized"].isna().all()
    assert reference.report.read_text().startswith("<!DOCTYPE html>")
    assert reference.status()["stage"] == "done"
    assert not reference.status()["alive"]


def test_running_again_fits_nothing_and_writes_the_same_bytes(reference: Run) -> None:
    before, stored = results(reference), cells(reference)
    again = reference.experiment.run()
    assert_same(again, before)
    assert cells(again) == stored


def test_one_slot_and_other_packs_give_the_same_bytes(reference: Run, tmp_path: Path) -> None:
    other = run(tmp_path, extra="compute: {slots: 1}\n")
    assert_same(other, results(reference))
    one_by_one = Experiment.from_yaml(tmp_path / "tiny.yaml", ["search.pack=1", "name=packs"]).run()
    assert_same(one_by_one, results(reference))


def test_a_worker_group_of_two_gives_the_same_bytes(reference: Run, tmp_path: Path) -> None:
    """One window and one round: a single worker group, since each takes some ten seconds to start."""
    config = write_config(tmp_path)
    small = ["target.horizon=3", "windows.scheme=single", "search.points=2", "ensemble.members=1"]
    shutil.copytree(reference.cells, tmp_path / "alone" / "cells")  # among them all that one worker would fit here
    alone = Experiment.from_yaml(config, [*small, "name=alone"]).run()
    together = Experiment.from_yaml(config, [*small, "name=together", "compute.workers=2"]).run()
    assert (alone.status()["fitted"], together.status()["fitted"]) == (0, 4)
    assert_same(together, results(alone))


def test_a_killed_worker_is_replaced(reference: Run, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one_worker() -> None:
        while not killed:
            time.sleep(0.05)
            if any(tmp_path.rglob("*.safetensors")):
                for process in psutil.Process().children(recursive=True):  # other tests' workers are not ours to end
                    if "ImplicitFunc" in command_of(process):
                        killed.append(process.pid)
                        process.send_signal(signal.SIGKILL)
                        return

    killer = threading.Thread(target=kill_one_worker, daemon=True)
    killer.start()
    other = run(tmp_path)
    killer.join(timeout=1)
    assert killed, "no worker was there to be killed"
    assert_same(other, results(reference))


def test_a_killed_driver_loses_nothing(reference: Run, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}
    command = [sys.executable, "-m", "factor_ray.cli", "run", str(config)]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    run_directory = Run(tmp_path / "tiny")
    deadline = time.monotonic() + 120
    while len(cells(run_directory)) < 8 and time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    survived = cells(run_directory)
    assert len(survived) >= 8
    assert not (run_directory.path / "forecasts.parquet").exists()
    assert not run_directory.status()["alive"]

    resumed = Run.open(tmp_path / "tiny").experiment.run()
    assert_same(resumed, results(reference))
    assert {name: cells(resumed)[name] for name in survived} == survived


def test_a_corrupt_cell_is_set_aside_and_fitted_again(reference: Run, tmp_path: Path) -> None:
    own = copied(reference, tmp_path)
    victim = own.cells / sorted(file.relative_to(own.cells) for file in own.cells.rglob("*.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:-7])
    assert_same(own.experiment.run(), results(reference))
    assert (own.cells / "corrupt" / victim.name).is_file()
    CellStore(own.cells).read(victim.stem)


def test_new_months_refit_only_what_is_new(reference: Run, tmp_path: Path) -> None:
    own = copied(reference, tmp_path)
    before = cells(own)
    run(tmp_path, months=118 + 2)  # still inside the second window's test months
    assert cells(own) == before
    run(tmp_path, months=118 + 12)
    after = cells(own)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)
    old, new = results(reference), own.table("forecasts")
    kept = new[new["month"] <= pd.Timestamp("2007-10-31")]
    assert len(old) == len(TABLES)
    pd.testing.assert_series_equal(
        kept["prediction"].reset_index(drop=True), _ordered(reference, new), check_names=False
    )


def _ordered(reference: Run, like: pd.DataFrame) -> pd.Series:
    """The reference's predictions in the order of a longer table's rows."""
    keys = ["model", "horizon", "month", "asset"]
    old = reference.table("forecasts").set_index(keys)["prediction"]
    wanted = like[like["month"] <= pd.Timestamp("2007-10-31")][keys]
    return old.reindex(pd.MultiIndex.from_frame(wanted)).reset_index(drop=True)


def test_a_notebook_fits_the_same_weights_as_a_run(reference: Run) -> None:
    trials = reference.table("trials")
    trial = trials[(trials["horizon"] == 3) & (trials["window"] == 1) & (trials["member"] == 0)].iloc[-1]
    settings = json.loads(trial["hyperparameters"])
    panel = simulate(slots=60, months=118, seed=3).panel
    window = reference.experiment.windows.split(panel.months.tolist(), 3)[0]
    state = MacroStateSettings.model_validate({"kind": "pca", "dimension": 2})
    fitted = CBAPM(horizon=3, macro_state=state, **settings).fit(panel, window).fits[0]
    stored = CellStore(reference.cells).read(trial["cell"])
    assert stored.weights.keys() == fitted.weights.keys()
    for name, values in stored.weights.items():
        np.testing.assert_array_equal(values, fitted.weights[name])


@pytest.mark.usefixtures("ray_cluster")
def test_refit_and_predict_new_months(tmp_path: Path) -> None:
    panel = simulate(slots=60, months=122, seed=3).panel
    frame = panel.to_frame()
    early = frame[frame["month"] <= pd.Timestamp("2007-12-31")]
    early.to_parquet(tmp_path / "panel.parquet")
    frame.to_parquet(tmp_path / "new.parquet")
    config = tmp_path / "file.yaml"
    config.write_text(
        f"""
name: live
data:
  source: table
  path: {tmp_path / "panel.parquet"}
  columns:
    market_cap: market_cap
    characteristics: {list(panel.characteristic_names)}
    consensus: {list(panel.consensus_names)}
target: {{horizon: 3}}
windows: {{first_train_end: 2005-12, validation: 12, test: 12}}
models: [{{name: cbapm, hidden: [8], epochs: 3, consensus_weight: 0.3}}]
ensemble: {{members: 2}}
tracking: {{mode: disabled}}
output: {tmp_path}
"""
    )
    finished = Experiment.from_yaml(config).run()
    refit(finished)
    recipe = finished.live["recipes"][0]
    assert recipe["window"]["validation"][1] == "2007-09"  # its last target is complete at 2007-12
    out = predict(finished, tmp_path / "new.parquet", tmp_path / "out" / "forecasts.parquet")
    forecasts = pd.read_parquet(out)
    assert forecasts["month"].min() == pd.Timestamp("2007-12-31")
    assert forecasts["month"].max() == pd.Timestamp("2008-02-29")
    assert forecasts["prediction"].notna().all()
    assert not forecasts.duplicated(["month", "asset"]).any()


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_group_refuses_is_told_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As without a group: neither retried nor wrapped, and no rank prints a traceback."""
    settings = {
        "name": "refused",
        "data": {"source": "simulated_quantiles", "assets": 5, "months": 20},
        "preprocess": {"rank": False, "standardise": True, "screen": "none"},
        "target": {"quantiles": [0.5]},
        "windows": {"scheme": "single", "first_train_end": "2000-12", "validation": 3},
        "macro_state": {"kind": "none"},
        "models": [{"name": "qcf", "ridge": 0.0}],
        "portfolios": {"number": 2},
        "compute": {"workers": 2},
        "tracking": {"mode": "disabled"},
        "output": str(tmp_path),
    }
    with pytest.raises(InputError, match=r"^qcf: 2000-0. has 5 assets with a target, .* begin later$"):
        Experiment.model_validate(settings).run()
    captured = capfd.readouterr()
    assert "InputError" not in captured.out + captured.err


@pytest.mark.usefixtures("ray_cluster")
def test_ranks_that_share_every_member_store_it_once_and_come_near_one_worker(tmp_path: Path) -> None:
    """NeurIF's months spread over two ranks: sums in another order, so that bits differ from one worker's."""
    settings = {"factors": 2, "width": 8, "heads": 2, "blocks": 1, "epochs": 3, "dropout": 0.0}
    windows = {"scheme": "single", "first_train_end": "2004-12", "validation": 12}
    text = yaml.safe_load(CONFIG.format(months=118, epochs=1, output=tmp_path))
    text |= {"models": [{"name": "neurif", **settings}], "target": {"horizon": 1}, "windows": windows}
    text |= {"macro_state": {"kind": "none"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(text))
    alone = Experiment.from_yaml(tmp_path / "tiny.yaml", ["name=alone", "ensemble.members=1"]).run()
    changed = ["name=shared", "ensemble.members=1", "models.0.workers=2", "compute.workers=2"]
    shared = Experiment.from_yaml(tmp_path / "tiny.yaml", changed).run()
    assert len(cells(shared)) == len(cells(alone)) == 1
    assert set(cells(shared)).isdisjoint(cells(alone))
    tables = [pd.read_parquet(run.path / "forecasts.parquet") for run in (alone, shared)]
    chosen = [table[(table["model"] == "neurif") & (table["kind"] == "predictive")] for table in tables]
    first, second = (table["prediction"].to_numpy() for table in chosen)
    assert np.isfinite(first).all()
    np.testing.assert_allclose(second, first, atol=1e-4)
