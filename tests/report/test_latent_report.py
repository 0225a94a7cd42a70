"""What a report says of latent-factor models: the figures of a tiny run, computed again from the run's own tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray import stages
from factor_ray.audit.line import fit_here, search_line, walk_to_inputs
from factor_ray.conclusion import conclude
from factor_ray.data.load import load
from factor_ray.experiment import Experiment
from factor_ray.pipeline import describe
from factor_ray.report import latent_curves, write_report
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.latent_curves import curve_figures, validation_by_value
from factor_ray.report.latent_figures import correlation_figures
from factor_ray.report.latent_tables import ablation_table, fits_table, loading_portfolios_table
from factor_ray.report.tables import Table
from factor_ray.run_directory import TABLES, Run
from factor_ray.runner.cells import CellStore
from factor_ray.selected_levels import SelectedLevels

MakeRun = Callable[..., Path]

LATENT = {"fits", "ablations", "curve-ipca-factors", "correlations-ipca-1", "loading-portfolios"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of IPCA on a small simulated market, walked in this process."""
    path = tmp_path_factory.mktemp("latent")
    experiment = Experiment.model_validate(
        {
            "name": "latent",
            "data": {"source": "simulated", "slots": 40, "months": 70},
            "windows": {"first_train_end": "2001-06", "validation": 6, "test": 12},
            "macro_state": {"kind": "none"},
            "models": [{"name": "ipca", "factors": [1, 2], "ablations": {"intercept": True}}],
            "search": {"points": 1},
            "ensemble": {"members": 1},
            "portfolios": {"number": 4, "costs": [0, 25]},
            "output": str(path),
        }
    )
    loaded, run = load(experiment.data), Run(experiment.directory)
    windows = stages.lay_windows(experiment, loaded.panel)
    line = walk_to_inputs(experiment, loaded, windows, CellStore(run.cells))
    campaign = search_line(line, fit_here)
    run.write_description({**describe(experiment, loaded, windows), "preparation": line.inputs.panel.preparation})
    for name in TABLES:
        run.write(f"{name}.parquet", b"of an earlier run")
    with SelectedLevels(experiment, line.inputs, campaign.store, pytest.fail) as levels:
        conclude(experiment, run, loaded, line.inputs, campaign, line.targets, levels)
    return run.path


@pytest.fixture(scope="module")
def contents(directory: Path) -> Contents:
    return read_contents(directory)


@pytest.fixture(scope="module")
def forecasts(directory: Path) -> pd.DataFrame:
    """All known forecasts and fits, with squared errors."""
    table = pd.read_parquet(directory / "forecasts.parquet").dropna()
    return table.assign(error=(table["prediction"].astype(float) - table["realized"]) ** 2)


def r2(forecasts: pd.DataFrame, model: str, kind: str) -> float:
    own = forecasts[(forecasts["model"] == model) & (forecasts["kind"] == kind)]
    return float(1 - own["error"].sum() / (own["realized"].astype(float) ** 2).sum())


def rows_of(table: Table | None) -> dict[str, list[str]]:
    assert table is not None
    return {row.model: [cell.text for cell in row.cells] for panel in table.panels for row in panel.rows}


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def test_tables_that_a_run_does_not_have_are_not_left_from_an_earlier_one(directory):
    left = {file.stem for file in directory.glob("*.parquet")}
    assert left == set(TABLES) - {"quantiles", "consensus", "curves", "terms"}
    for name in left:
        pd.read_parquet(directory / f"{name}.parquet")


def test_totals_stand_beside_forecasts(contents, forecasts):
    table = fits_table(contents)
    rows = rows_of(table)
    variants = [f"ipca[factors={k}{without}]" for without in ("", ",intercept=True") for k in (1, 2)]
    assert list(rows) == ["ipca", *variants]
    for model in rows:
        assert number(rows[model][1]) == pytest.approx(100 * r2(forecasts, model, "total"), abs=0.006)
        assert number(rows[model][3]) == pytest.approx(100 * r2(forecasts, model, "predictive"), abs=0.006)
    assert number(rows["ipca"][2]) < number(rows["ipca"][1])
    assert [rows[model][0] for model in variants] == ["1", "2", "1", "2"]
    assert set(rows["ipca"][0]) <= set("12–")


def test_ablations_are_differences_from_the_full_model(contents, forecasts):
    table = ablation_table(contents)
    assert table is not None
    heads = [("ipca, factors = 1", "selected"), ("intercept = True", "variant")]
    heads += [("ipca, factors = 2", "selected"), ("intercept = True", "variant")]
    assert [(row.head, row.kind) for row in table.panels[0].rows] == heads
    rows = rows_of(table)
    assert list(rows) == [f"ipca[factors={k}{without}]" for k in (1, 2) for without in ("", ",intercept=True")]
    for k in (1, 2):
        full, own = rows[f"ipca[factors={k}]"], rows[f"ipca[factors={k},intercept=True]"]
        for column, kind in ((0, "total"), (4, "predictive")):
            labels = (f"ipca[factors={k},intercept=True]", f"ipca[factors={k}]")
            without, complete = (r2(forecasts, label, kind) for label in labels)
            assert number(full[column]) == pytest.approx(100 * complete, abs=0.006)
            assert number(own[column]) == pytest.approx(100 * without, abs=0.006)
            assert number(own[column + 1]) == pytest.approx(100 * (without - complete), abs=0.006)
            significant = abs(number(own[column + 2])) > 1.96
            assert (own[column + 3] != "not told apart") == significant


@pytest.mark.parametrize(
    ("difference", "p_value", "verdict"),
    [
        (-0.01, 0.2, "not told apart"),
        (-0.01, 0.01, "worse"),
        (0.01, 0.01, "better"),
        (0.0, None, "the same"),
        (0.01, None, ""),
    ],
)
def test_what_may_be_chance_is_not_told_apart(contents, difference, p_value, verdict):
    metrics = json.loads(json.dumps(contents.metrics))
    label = "ipca[factors=2,intercept=True]"
    metrics[label]["1"]["ablation"]["total"] |= {"difference": difference, "p_value": p_value}
    assert rows_of(ablation_table(replace(contents, metrics=metrics)))[label][3] == verdict


def test_portfolios_on_loadings_are_those_of_the_monthly_file(contents, directory):
    monthly = pd.read_parquet(directory / "loading_portfolios.parquet")
    table = loading_portfolios_table(contents)
    assert table is not None
    assert table.columns[:5] == ["", "Mean, %", "t", "Sharpe, 0 bp", "Sharpe, 25 bp"]
    assert [panel.heading for panel in table.panels] == ["ipca, 1-month horizon"]
    for row in table.panels[0].rows:
        own = monthly[(monthly["factor"] == int(row.head.split()[1])) & (monthly["portfolio"] == "high-low")]
        gross, paid = own["return"], 0.0025 * own["turnover"].fillna(0.0)
        texts = [cell.text for cell in row.cells]
        assert number(texts[0]) == pytest.approx(100 * gross.mean(), abs=0.006)
        for text, net in zip(texts[2:4], (gross, gross - paid), strict=True):
            assert number(text) == pytest.approx(np.sqrt(12) * net.mean() / net.std(), abs=0.006)
        assert number(texts[-1]) == gross.notna().sum()
    assert [row.head for row in table.panels[0].rows] == [f"Factor {k}" for k in sorted(set(monthly["factor"]))]


def test_the_page_shows_them_and_is_the_same_twice(directory):
    page = write_report(directory).read_text()
    assert set(re.findall(r'<figure class="[^"]*" id="([^"]*)"', page)) >= LATENT
    again = write_report(directory).read_text()
    assert again == page
    assert "nan" not in re.sub(r"<[^>]*>", "", page).lower().split()


def test_a_run_without_latent_factors_has_none_of_it(make_run: MakeRun):
    contents = read_contents(make_run(windows=2))
    assert fits_table(contents) is None
    assert ablation_table(contents) is None
    assert loading_portfolios_table(contents) is None
    assert curve_figures(contents) == []
    assert correlation_figures(contents) == []


def trials(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "hyperparameters": json.dumps({"factors": factors, "ridge": score}),
            "window": window,
            "validation_score": score,
            "member": 0,
            "status": "ok",
        }
        for window, factors, score in rows
    )


def test_a_curve_joins_the_best_of_each_value_over_windows_in_which_all_were_tried():
    table = trials([(1, 2, 0.9), (1, 1, 0.97), (1, 1, 0.95), (2, 2, 0.8), (2, 1, 0.7), (3, 2, 0.5), (2, 3, 0.1)])
    table = pd.concat([table, table.assign(member=1, validation_score=0.0), table.assign(status="diverged")])
    table.loc[table["status"] == "diverged", "validation_score"] = np.inf
    assert validation_by_value(table, "factors") == {1: [0.95, 0.7], 2: [0.9, 0.8]}
    assert validation_by_value(table[table["status"] == "diverged"], "factors") == {}


def test_ablations_are_no_points_of_a_curve(contents):
    drawn = latent_curves._r2_by_value(contents, "ipca", "factors", 1, "total")
    full = {k: contents.number(f"ipca[factors={k}]", 1, "total", "all", "r2") for k in (1, 2)}
    assert drawn == {k: [value] for k, value in full.items()}
    trials = latent_curves._trials(contents, "ipca", 1)
    assert set(trials["model"]) == {"ipca[factors=1]", "ipca[factors=2]"}


def test_only_whole_numbers_that_vary_have_a_curve(contents):
    assert [figure.key for figure in curve_figures(contents)] == ["curve-ipca-factors"]
    searched = contents.trials.copy()
    searched["hyperparameters"] = [
        json.dumps({"factors": 2, "ridge": 0.1 * place, "blocks": place % 3, "switch": place % 2 == 0})
        for place in range(len(searched))
    ]
    assert [figure.key for figure in curve_figures(replace(contents, trials=searched))] == ["curve-ipca-blocks"]


def _correlated(contents: Contents, directory: Path, table: pd.DataFrame) -> list[Any]:
    table.to_parquet(directory / "correlations.parquet")
    return correlation_figures(replace(contents, directory=directory))


def test_the_strongest_series_are_drawn_beside_the_factor_that_they_move_with(contents, tmp_path):
    series = [f"S{place:02d}" for place in range(30)]
    strength = np.linspace(0.9, 0.03, 30)
    rows = [
        ("ipca", 1, np.nan, factor, name, float(value) * (-1 if place % 4 == 0 else 1), 100)
        for place, (name, value) in enumerate(zip(series, strength, strict=True))
        for factor, value in ((1 + place % 2, value), (2 - place % 2, 0.01))
    ]
    columns = ["model", "horizon", "tau", "factor", "series", "correlation", "months"]
    table = pd.DataFrame(rows, columns=columns)
    (figure,) = _correlated(contents, tmp_path, table)
    assert figure.key == "correlations-ipca-1"
    drawn = [text for text in re.findall(r">([^<>\n]+)<", figure.svg) if text in series]
    assert drawn == [*series[0:20:2], *series[1:20:2]]
    assert "−.90" in figure.svg
    assert _correlated(contents, tmp_path, table.assign(model="ipca[factors=2]")) == []
