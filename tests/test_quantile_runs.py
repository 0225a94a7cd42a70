"""Quantile models through a whole run: tables, measures, in-sample estimates; the same bytes on slots and on ranks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from factor_ray.data.quantile_simulation import quantile_panel
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.levels import crossing, rearranged
from factor_ray.live import predict, refit
from factor_ray.models.quantile import fit_quantile_factors, index_inference
from factor_ray.models.trivial import trivial_quantiles
from factor_ray.run_directory import Run
from factor_ray.tables import Forecast

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, from threads and sockets that it leaves to the collector

MONTHS, TAUS = 22, [0.1, 0.5, 0.9]
TABLES = ("quantiles", "factors", "loadings", "curves")


def config(folder: Path, name: str = "quantiles") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    panel = quantile_panel(60, MONTHS, seed=2)
    panel.to_frame().to_parquet(folder / "new.parquet")
    panel.between(int(panel.months[0]), int(panel.months[-2])).to_frame().to_parquet(folder / "panel.parquet")
    file = folder / f"{name}.yaml"
    values = {
        "name": name,
        "data": {
            "source": "table",
            "path": str(folder / "panel.parquet"),
            "columns": {"characteristics": ["x1", "x2", "x3"]},
        },
        "preprocess": {"rank": False, "standardise": True},
        "target": {"quantiles": TAUS},
        "windows": {"scheme": "rolling", "length": 11, "validation": 1, "test": 1, "first_train_end": "2000-12"},
        "macro_state": {"kind": "none"},
        "models": [
            {"name": "qcf", "factors": 2, "search": {"order": {"choice": [2, 3]}, "ridge": {"choice": [1e-3, 1e-1]}}},
            {"name": "qfm", "factors": 1, "least": 6, "starts": 1},
        ],
        "search": {"points": 4, "pruner": "none"},
        "ensemble": {"members": 2},
        "portfolios": {"number": 5},
        "tracking": {"mode": "disabled"},
        "output": str(folder / "runs"),
    }
    file.write_text(yaml.safe_dump(values))
    return file


def results(run: Run) -> dict[str, bytes]:
    names = [*(f"{name}.parquet" for name in TABLES), "metrics.json", "selection.json"]
    return {name: (run.path / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def reference(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Run:  # noqa: ARG001
    return Experiment.from_yaml(config(tmp_path_factory.mktemp("reference"))).run()


def test_the_tables_hold_every_level_and_kind(reference: Run) -> None:
    quantiles = pd.read_parquet(reference.path / "quantiles.parquet")
    counts = quantiles.groupby(["model", "kind"], observed=True)["tau"].nunique()
    kinds = {"in_sample", "predictive", "total"}
    expected = {("qcf", kind) for kind in kinds} | {("qfm", kind) for kind in kinds}
    assert set(counts.index) == expected | {("zero", "predictive"), ("historical_quantile", "predictive")}
    assert (counts == 3).all()
    assert not quantiles.duplicated(["month", "asset", "model", "tau", "kind"]).any()
    tested = quantiles[quantiles["kind"] != "in_sample"].groupby("model", observed=True)["month"].agg(["min", "max"])
    assert (tested["min"] == pd.Timestamp("2001-02-28")).all()
    own = quantiles[quantiles["kind"] == "in_sample"]["month"]
    assert (own.min(), own.max()) == (pd.Timestamp("2000-02-29"), pd.Timestamp("2001-09-30"))


def test_nothing_of_means_is_in_a_run_of_quantiles_alone(reference: Run) -> None:
    assert list(reference.metrics) == ["qcf", "qfm", "zero", "historical_quantile"]
    assert not [name for name in ("forecasts", "portfolios") if (reference.path / f"{name}.parquet").exists()]
    with pytest.raises(InputError, match="no table 'forecasts': its models make curves, factors, loadings, q"):
        reference.table("forecasts")


def test_measures_stand_by_level_and_kind_with_crossing_beside_them(reference: Run) -> None:
    measured = reference.metrics["qcf"]["1"]
    assert set(measured["quantiles"]) == {"0.1", "0.5", "0.9"}
    assert set(measured["quantiles"]["0.1"]) == {"in_sample", "predictive", "total"}
    assert measured["quantiles"]["0.5"]["in_sample"]["r2"] > 0
    assert set(measured["crossing"]) == {"in_sample", "predictive", "total"}
    assert reference.metrics["historical_quantile"]["1"]["quantiles"]["0.9"]["predictive"]["qhe"] < 0.1


def test_in_sample_is_one_estimate_of_all_months_with_the_last_selection(reference: Run) -> None:
    chosen = reference.selection["qcf"]["1@0.9"]["points"]["qcf"][-1]
    panel = quantile_panel(60, MONTHS, seed=2)
    x_TND = panel.characteristics.reshape(len(panel.months), 60, 3).astype(float)
    x_TND = (x_TND - x_TND.mean(axis=1, keepdims=True)) / x_TND.std(axis=1, keepdims=True)
    y_TN = panel.values("return").reshape(len(panel.months), 60).astype(float)
    months = [(x_TND[t], y_TN[t + 1]) for t in range(1, MONTHS - 1)]
    model = fit_quantile_factors(months, 0.9, 2, chosen["order"], chosen["ridge"])
    factors = pd.read_parquet(reference.path / "factors.parquet")
    own = factors[(factors["model"] == "qcf") & (factors["tau"] == 0.9)]
    found = own.pivot_table(index="month", columns="factor", values="value").to_numpy()
    np.testing.assert_allclose(found, model.factors, rtol=1e-3, atol=1e-3)
    loadings = pd.read_parquet(reference.path / "loadings.parquet")
    own = loadings[(loadings["model"] == "qcf") & (loadings["tau"] == 0.9)]
    assert own["characteristic"].tolist() == ["x1", "x2", "x3"] * 2
    np.testing.assert_allclose(own["coefficient"].to_numpy().reshape(2, 3), model.thetas, rtol=1e-2, atol=1e-2)
    errors = index_inference(model, months, chosen["ridge"]).standard_errors
    np.testing.assert_allclose(own["standard_error"].to_numpy().reshape(2, 3), errors, rtol=0.1)
    quantiles = pd.read_parquet(reference.path / "quantiles.parquet")
    own = quantiles[(quantiles["model"] == "qcf") & (quantiles["kind"] == "in_sample") & (quantiles["tau"] == 0.9)]
    first = own[own["month"] == own["month"].min()]["prediction"]
    np.testing.assert_allclose(first, model.in_sample(x_TND[1], 0), rtol=1e-3, atol=1e-5)
    curves = pd.read_parquet(reference.path / "curves.parquet")
    assert set(curves.columns) == {"model", "horizon", "tau", "factor", "index", "value", "low", "high"}
    assert set(curves["model"]) == {"qcf"}


def test_the_run_notes_what_its_months_took(reference: Run) -> None:
    (months,) = json.loads((reference.path / "logs" / "cost.json").read_text())["months"]
    assert (months["model"], months["horizon"]) == ("qcf", 1)
    assert months["cells"] == 2 * 2 * len(TAUS) * (MONTHS - 2)  # orders, ridges, levels, months that hold targets
    assert months["seconds"] > 0


def test_one_slot_and_a_second_run_give_the_same_bytes_and_fit_nothing(reference: Run, tmp_path: Path) -> None:
    expected, file = results(reference), config(tmp_path)
    alone = Experiment.from_yaml(file, ["compute.slots=1"]).run()
    assert results(alone) == expected
    again = Experiment.from_yaml(file).run()
    assert results(again) == expected
    assert again.status()["fitted"] == 0
    other = Experiment.from_yaml(file, ["windows.length=8", 'models=[{"name": "qcf", "order": 2, "ridge": 0.1}]']).run()
    assert other.status()["fitted"] == 0


def test_a_worker_group_of_two_gives_the_same_bytes(reference: Run, tmp_path: Path) -> None:
    """Two worker groups, since each takes some ten seconds to start: one point, no search."""
    small = ['models=[{"name": "qcf", "order": 2, "factors": 2, "ridge": 0.1}]']
    shutil.copytree(reference.cells, tmp_path / "runs" / "alone" / "cells")  # all that one worker would fit here
    alone = Experiment.from_yaml(config(tmp_path), [*small, "name=alone"]).run()
    together = Experiment.from_yaml(config(tmp_path), [*small, "name=together", "compute.workers=2"]).run()
    assert (alone.status()["fitted"], together.status()["fitted"]) == (0, 60)
    assert results(together) == results(alone)


def test_rearranged_levels_rise_and_crossing_is_told_as_it_was(reference: Run, tmp_path: Path) -> None:
    shutil.copytree(reference.cells, tmp_path / "runs" / "quantiles" / "cells")  # fits know nothing of rearranging
    run = Experiment.from_yaml(config(tmp_path), ["target.rearrange=true"]).run()
    assert run.status()["fitted"] == 0
    assert run.metrics["qcf"]["1"]["crossing"] == reference.metrics["qcf"]["1"]["crossing"]
    keys = ["kind", "month", "asset", "tau"]
    before, after = (
        frame[(frame["model"] == "qcf") & (frame["kind"] != "in_sample")].sort_values(keys)["prediction"].to_numpy()
        for frame in (pd.read_parquet(each.path / "quantiles.parquet") for each in (reference, run))
    )
    np.testing.assert_array_equal(np.sort(before.reshape(-1, 3), axis=1), after.reshape(-1, 3))
    assert (before != after).any()


def test_refit_and_predict(reference: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(reference.path, tmp_path / "quantiles"))  # runs may be moved
    refit(run)
    recipes = run.live["recipes"]
    assert [(recipe["model"], recipe["tau"]) for recipe in recipes] == [
        (name, tau) for name in ("qcf", "qfm") for tau in TAUS
    ]
    assert all(len(recipe["cells"]) == 1 for recipe in recipes)
    out = predict(run, reference.path.parents[1] / "new.parquet", tmp_path / "out.parquet")
    forecasts = pd.read_parquet(out)
    assert forecasts["month"].max() == pd.Timestamp("2001-11-30")
    assert forecasts["prediction"].notna().all()


def levels(*values: list[float]) -> list[Forecast]:
    rows = np.arange(len(values[0]))
    return [
        Forecast("m", 1, rows, np.array(each, dtype=np.float32), tau=0.1 * (k + 1)) for k, each in enumerate(values)
    ]


def test_crossing_counts_pairs_and_rows_with_all_levels() -> None:
    given = levels([0, 0, 2, np.nan], [1, 3, 1, 0], [2, 2, 0, -1])
    assert crossing(given) == {"predictive": {"crossing_rate": 3 / 6, "crossed": 2 / 3, "observations": 3}}
    assert crossing(given[:1]) == {}
    sorted_up = rearranged(given)
    found = np.stack([forecast.returns for forecast in sorted_up])
    np.testing.assert_array_equal(found, [[0, 0, 0, np.nan], [1, 2, 1, 0], [2, 3, 2, -1]])
    assert [forecast.tau for forecast in sorted_up] == [forecast.tau for forecast in given]
    assert crossing(sorted_up)["predictive"]["crossing_rate"] == 0


def test_a_historical_quantile_is_of_targets_known_at_formation() -> None:
    panel = quantile_panel(5, 6, seed=0)
    target_N = np.arange(len(panel), dtype=np.float32)
    target_N[7] = np.nan
    found = trivial_quantiles(panel, target_N, 2, [0.5], np.arange(len(panel)))["historical_quantile"][0]
    assert np.isnan(found[:10]).all()
    assert set(found[10:15]) == {2.0}
    known = [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert set(found[15:20]) == {float(np.quantile(known, 0.5, method="inverted_cdf"))}
