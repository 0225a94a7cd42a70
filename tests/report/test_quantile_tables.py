"""Tables of quantiles: the figures on the page against plain computations from quantiles.parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quantile_runs import add_quantiles, number, rows_of

from factor_ray.report import quantile_headline, quantile_tables, write_report
from factor_ray.report.contents import read_contents

MakeRun = Callable[..., Path]

IN_SAMPLE = "1-month excess returns, in sample (a fit)"
TOTAL = "1-month excess returns, out of sample, total (a fit: factors realised in the test month)"
PREDICTIVE = "1-month excess returns, out of sample, predictive (a true forecast)"
HEADINGS = {"in_sample": IN_SAMPLE, "total": TOTAL, "predictive": PREDICTIVE}


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Path:
    directory = make_run(horizons=(1,), windows=3)
    add_quantiles(directory, levels=(0.01, 0.05, 0.5), assets=20, months=30)
    return directory


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def loss(residual: np.ndarray, tau: float) -> float:
    return float(sum(tau * e if e >= 0 else (tau - 1) * e for e in residual))


def plain_measures(own: pd.DataFrame, tau: float) -> list[float]:
    """Hit rate, QHE, AQE and the three R2, by loops."""
    known = own.dropna()
    y, q = known["realized"].to_numpy(dtype=float), known["prediction"].to_numpy(dtype=float)

    def r2(part: pd.DataFrame) -> float:
        a, b = part["realized"].to_numpy(dtype=float), part["prediction"].to_numpy(dtype=float)
        return 1 - loss(a - b, tau) / loss(a, tau)

    hits = float(np.mean(y <= q))
    assets = [(r2(part), len(part)) for _, part in known.groupby("asset")]
    months = [r2(part) for _, part in known.groupby("month")]
    by_asset = sum(value * count for value, count in assets) / len(known)
    return [hits, abs(hits - tau), loss(y - q, tau) / len(y), r2(known), by_asset, sum(months) / len(months)]


@pytest.mark.parametrize("tau", [0.01, 0.05, 0.5])
def test_accuracy_is_that_of_the_table_of_quantiles(run: Path, page: str, tau: float) -> None:
    table = pd.read_parquet(run / "quantiles.parquet")
    rows = rows_of(page, f"quantiles-{tau:g}")
    at_tau = table[table["tau"] == tau]
    assert {(h, m) for h, m in rows} == {
        (HEADINGS[kind], model.replace("_", " "))
        for kind, model in at_tau[["kind", "model"]].drop_duplicates().itertuples(index=False)
    }
    for (kind, model), own in at_tau.groupby(["kind", "model"]):
        found = rows[HEADINGS[kind], model.replace("_", " ")]
        assert [number(text) for text in found[:6]] == pytest.approx(
            [100 * value for value in plain_measures(own, tau)], abs=0.00501
        )
        known = own.dropna()
        assert [number(text) for text in found[-3:]] == [
            len(known), known["asset"].nunique(), known["month"].nunique()
        ]  # fmt: skip


def test_fits_stand_above_the_forecasts_in_the_same_table(page: str) -> None:
    headings = list(dict.fromkeys(heading for heading, _ in rows_of(page, "quantiles-0.05")))
    assert headings == [IN_SAMPLE, TOTAL, PREDICTIVE]


def test_the_best_model_of_each_column_is_shaded_and_no_benchmark(run: Path) -> None:
    table = next(t for t in quantile_tables.quantile_tables(read_contents(run)) if t.key == "quantiles-0.05")
    panel = table.panels[-1]
    assert [row.head for row in panel.rows] == ["qcf", "qfm", "zero", "historical quantile"]
    for column in range(1, 6):
        values = [number(row.cells[column].text) for row in panel.rows[:2]]
        best = min(values) if column < 3 else max(values)
        shaded = [row.head for row in panel.rows if row.cells[column].shade]
        assert len(shaded) == 1
        assert values[[row.head for row in panel.rows].index(shaded[0])] == best


def test_p_values_are_written(run: Path, page: str) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    measured = metrics["qfm"]["1"]["quantiles"]["0.5"]["total"]
    found = rows_of(page, "quantiles-0.5")[TOTAL, "qfm"]
    assert number(found[6]) == pytest.approx(measured["kupiec_p_value"], abs=0.000501)
    assert number(found[7]) == pytest.approx(measured["christoffersen_p_value"], abs=0.000501)
    assert quantile_tables.p_value(1e-9) == "<0.001"
    assert quantile_tables.p_value(float("nan")) == "–"


def test_crossings_are_counted(run: Path, page: str) -> None:
    table = pd.read_parquet(run / "quantiles.parquet")
    own = table[(table["model"] == "qfm") & (table["kind"] == "predictive")]
    wide = own.pivot_table(index=["month", "asset"], columns="tau", values="prediction").to_numpy()
    crossed = np.array([[row[j + 1] < row[j] for j in range(wide.shape[1] - 1)] for row in wide])
    assert crossed.any()
    found = [number(text) for text in rows_of(page, "crossing")[PREDICTIVE, "qfm"]]
    assert found[:2] == pytest.approx([100 * crossed.mean(), 100 * crossed.any(axis=1).mean()], abs=0.00501)
    assert found[2:] == [len(crossed)]


def test_crossings_are_those_before_levels_were_put_in_order(run: Path) -> None:
    contents = read_contents(run)
    told = {"predictive": {"crossing_rate": 0.125, "crossed": 0.25, "observations": 8}}
    contents.metrics["qcf"]["1"]["crossing"] = told  # type: ignore[index]
    contents.description["experiment"]["target"] = {"rearrange": True}
    table = quantile_tables.crossing_table(contents)
    assert table is not None
    row = next(row for row in table.panels[-1].rows if row.head == "qcf")
    assert [cell.text for cell in row.cells] == ["12.50", "25.00", "8"]
    assert any(row.head == "qcf" for row in table.panels[0].rows)
    assert "put in order" in table.notes[0]


def test_the_shortfall_is_that_of_the_two_lowest_levels(run: Path, page: str) -> None:
    table = pd.read_parquet(run / "quantiles.parquet").astype({"prediction": float, "realized": float})
    own = table[(table["model"] == "qcf") & (table["kind"] == "total") & (table["tau"] <= 0.05)]
    expected, came = [], []
    every = []
    for _, part in own.groupby(["month", "asset"]):
        low, high = sorted(part["prediction"])
        shortfall = (low * 0.01 + 0.04 * (low + high) / 2) / 0.05
        realized = part["realized"].iloc[0]
        if np.isfinite(realized):
            every.append(shortfall)
            if realized <= high:
                expected.append(shortfall)
                came.append(realized)
    found = [number(text) for text in rows_of(page, "shortfall")[TOTAL, "qcf"]]
    wanted = [np.mean(every), np.mean(expected), np.mean(came), np.mean(came) - np.mean(expected)]
    assert found[:4] == pytest.approx([100 * value for value in wanted], abs=0.00501)
    assert found[4:] == [len(came), len(every)]


def test_the_headline_names_the_best_forecast_and_its_rival(run: Path, page: str) -> None:
    found = rows_of(page, "headline-quantiles")["", "1 month, τ = 0.05"]
    metrics = json.loads((run / "metrics.json").read_text())
    r2 = {model: metrics[model]["1"]["quantiles"]["0.05"]["predictive"]["r2"] for model in ("qcf", "qfm")}
    best = max(r2, key=lambda model: r2[model])
    benchmark = metrics["historical_quantile"]["1"]["quantiles"]["0.05"]["predictive"]["r2"]
    assert found[0] == best
    assert [number(text) for text in found[1:3]] == pytest.approx([100 * r2[best], 100 * benchmark], abs=0.00501)
    text = quantile_headline.quantile_answer(read_contents(run), 1)
    where = "above" if r2[best] > benchmark else "not above"
    assert "of 2 quantile models" in text
    assert text.count("τ = ") == 3
    best = max(("qcf", "qfm"), key=lambda m: metrics[m]["1"]["quantiles"]["0.01"]["predictive"]["r2"])
    top, other = (metrics[m]["1"]["quantiles"]["0.01"]["predictive"]["r2"] for m in (best, "historical_quantile"))
    where = "above" if top > other else "not above"
    assert f"at τ = 0.01 {best} (R² {100 * top:.2f}%, {where} the historical quantile" in text


def test_a_run_of_quantiles_alone_shows_nothing_else(page: str) -> None:
    ids = set(re.findall(r'<(?:figure|section)[^>]*id="([^"]*)"', page))
    shown = {
        "quantiles-0.01", "quantiles-0.05", "quantiles-0.5", "quantile-levels", "crossing", "shortfall",
        "fan-qcf-1", "fan-qfm-1", "factors-qcf-1", "index-qcf-1", "bars-qcf-1", "curves-qcf-1",
        "tuning-qcf-1", "search-qcf", "selection", "headline-quantiles", "windows", "cost",
    }  # fmt: skip
    absent = {
        "headline", "accuracy", "consensus", "yearly", "yearly-consensus", "by-year", "deciles", "cumulative",
        "long-short", "costs", "coefficients", "comparison", "universes", "forecasts-section", "portfolios-section",
    }  # fmt: skip
    assert shown <= ids
    assert absent.isdisjoint(ids)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", re.sub(r"<[^>]*>", " ", page))


def test_the_page_is_the_same_bytes_and_refers_to_nothing_outside(run: Path, page: str) -> None:
    assert write_report(run).read_text(encoding="utf-8") == page
    assert "http" not in page
    assert "//" not in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_a_run_of_means_shows_no_quantiles(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=1)
    text = write_report(directory).read_text(encoding="utf-8")
    assert "quantiles-section" not in text
    assert "factors-section" not in text
    assert "headline-quantiles" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)


def test_one_level_of_forecasts_has_its_table_alone(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=3)
    add_quantiles(directory, levels=(0.5,), kinds=("predictive",), models=("qcf",), assets=6, months=14)
    for name in ("factors", "loadings", "curves"):
        (directory / f"{name}.parquet").unlink()
    text = write_report(directory).read_text(encoding="utf-8")
    ids = set(re.findall(r'<figure[^>]*id="([^"]*)"', text))
    assert "At 1 month, true forecasts of quantiles were at τ = 0.5 qcf (R² " in text
    assert "quantiles-0.5" in ids
    assert {"crossing", "shortfall", "quantile-levels", "fan-qcf-1", "factors-qcf-1", "bars-qcf-1"}.isdisjoint(ids)
    assert next(heading for heading, _ in rows_of(text, "quantiles-0.5")) == PREDICTIVE


def test_means_and_quantiles_stand_on_one_page(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1, 3), windows=3, weights=(0.0, 1.0), assets=12)
    add_quantiles(directory, only=False, mean_model="cbapm", levels=(0.05, 0.95), assets=8, months=14)
    text = write_report(directory).read_text(encoding="utf-8")
    ids = set(re.findall(r'<figure[^>]*id="([^"]*)"', text))
    assert {"headline", "headline-quantiles", "accuracy", "deciles", "quantiles-0.05", "loadings-cbapm-1"} <= ids
    assert {"search-cbapm", "search-qcf", "losses-cbapm-consensus_weight"} <= ids
    assert ("", "qcf") not in rows_of(text, "accuracy")
    assert "Of 2 quantile models" in text
