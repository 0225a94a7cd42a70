"""Which model the report calls the best: on the rows that all forecast; and what it says of their budgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from quantile_runs import add_quantiles

from factor_ray.report import comparison, headline, quantile_headline
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.quantile_measures import best_model

MakeRun = Callable[..., Path]


def compared(loss: float, least: float, best: str, **more: Any) -> dict[str, Any]:
    rate = {"mean_loss": loss, "dm_t_statistic": 2.5, "dm_p_value": 0.0001, "mcs_p_value": 0.2, "months": 40}
    return {**rate, "in_confidence_set": True, "observations": 900, "best": best, "relative_aqe": loss / least, **more}


@pytest.fixture
def contents(make_run: MakeRun) -> Contents:
    directory = make_run(horizons=(1,), windows=3)
    add_quantiles(directory, levels=(0.05, 0.5), assets=6, months=13)
    contents = read_contents(directory)
    contents.metrics["qcf"]["1"]["quantiles"]["0.05"]["predictive"]["r2"] = 0.9
    for name, loss in (("qcf", 0.0042), ("qfm", 0.004), ("historical_quantile", 0.003)):
        row = compared(loss, 0.003, "historical_quantile", aqe=loss, r2=0.3, hit_rate=0.06)
        contents.metrics[name]["1"]["quantile_comparison"] = {"0.05": row}
    return contents


def test_the_best_quantile_model_is_so_where_all_forecast_and_else_by_its_own_r2(contents: Contents) -> None:
    assert best_model(contents, 1, "0.05").full == "qfm"  # type: ignore[union-attr]
    r2 = {name: contents.metrics[name]["1"]["quantiles"]["0.5"]["predictive"]["r2"] for name in ("qcf", "qfm")}
    assert best_model(contents, 1, "0.5").full == max(r2, key=r2.__getitem__)  # type: ignore[union-attr]
    assert "at τ = 0.05 qfm" in quantile_headline.quantile_answer(contents, 1)


def test_quantile_forecasts_stand_side_by_side_with_their_tests(contents: Contents) -> None:
    table = comparison.quantile_comparison_table(contents)
    assert table is not None
    (panel,) = table.panels
    assert panel.heading.endswith("τ = 0.05; best: historical quantile")
    rows = {row.model: [cell.text for cell in row.cells] for row in panel.rows}
    assert rows["qcf"] == ["1.4000", "2.50", "<0.001", "0.200", "yes", "0.420", "30.00", "6.00", "900"]
    assert set(rows) == {"qcf", "qfm", "historical_quantile"}
    assert "Every searched model could try" in table.notes[1]
    assert "One point alone had qfm" in table.notes[1]
    for by in contents.metrics.values():
        by["1"].pop("quantile_comparison", None)
    assert comparison.quantile_comparison_table(contents) is None


def test_the_best_model_of_means_has_the_least_error_where_all_forecast(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.3,), windows=2, families=("cbapm", "other"))
    contents = read_contents(directory)
    contents.metrics["cbapm"]["1"]["returns"]["all"]["r2"] = 0.5
    assert headline.best_selected(contents, 1).full == "cbapm"  # type: ignore[union-attr]
    for name, loss in (("cbapm", 0.02), ("other", 0.01), ("zero", 0.005)):
        contents.metrics[name]["1"]["comparison"] = compared(loss, 0.005, "zero", relative_rmse=1.1)
    assert headline.best_selected(contents, 1).full == "other"  # type: ignore[union-attr]
    assert "best of 2 models on the rows that all forecast" in headline.answer(contents)[0][1]


def test_the_budget_is_what_was_tried_not_what_was_set(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.3,), windows=2, points=5, families=("cbapm", "other"))
    trials = pd.read_parquet(directory / "trials.parquet")
    few = (trials["model"].str.startswith("other")) & (trials["point"] > 2)
    trials[~few].to_parquet(directory / "trials.parquet")
    text = comparison._budget(read_contents(directory))
    given = read_contents(directory).description["experiment"]["search"]["points"]
    first = trials[~few & (trials["window"] == 1)]
    tried = json.loads(first.groupby("model")["hyperparameters"].nunique().to_json())
    fewer = {name: count for name, count in tried.items() if 1 < count < given}
    assert fewer
    assert text.startswith(f"Every searched model could try {given} points a variant")
    assert f"tried whole: {', '.join(f'{name} {count}' for name, count in fewer.items())}." in text
