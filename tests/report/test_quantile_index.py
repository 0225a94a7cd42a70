"""Index coefficients, loading functions and factors: stars, bands and means against plain computations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from quantile_runs import CHARACTERISTICS, add_quantiles, number

from factor_ray.report import factor_figures, quantile_figures, quantile_index, quantile_tuning, search, window_figures
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.drawing import grid_of
from factor_ray.report.quantile_measures import spread_out

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Path:
    directory = make_run(horizons=(1,), windows=3)
    add_quantiles(directory, levels=(0.05, 0.5), assets=6, months=13, models=("qcf",))
    return directory


@pytest.fixture
def contents(run: Path) -> Contents:
    return read_contents(run)


@pytest.mark.parametrize(
    ("coefficient", "error", "wanted"),
    [(1.64, 1.0, ""), (-1.65, 1.0, "*"), (1.97, 1.0, "**"), (-2.58, 1.0, "***"), (0.5, np.nan, ""), (0.5, 0.0, "")],
)
def test_stars_are_those_of_the_normal(coefficient: float, error: float, wanted: str) -> None:
    assert quantile_index.stars(coefficient, error) == wanted


def test_coefficients_stand_by_level_and_factor(contents: Contents) -> None:
    table = quantile_index.index_tables(contents)[0]
    heads = [f"τ = {tau}, {head}" for tau in ("0.05", "0.5") for head in ("1", "2†", "p of all")]
    assert table.columns == ["Characteristic", *heads]
    assert [row.head for row in table.panels[0].rows] == list(CHARACTERISTICS)
    assert contents.loadings is not None
    by_place = contents.loadings.set_index(["tau", "factor", "characteristic"])
    for row in table.panels[0].rows:
        assert [row.cells[place].text for place in (2, 5)] == ["0.030"] * 2
        for place, (tau, factor) in zip((0, 1, 3, 4), [(0.05, 1), (0.05, 2), (0.5, 1), (0.5, 2)], strict=True):
            at = by_place.loc[tau, factor, row.head]
            z = abs(at["coefficient"] / at["standard_error"])
            wanted = "*" * sum(z > bound for bound in (1.6449, 1.96, 2.5758))
            text = row.cells[place].text
            assert number(text.rstrip("*")) == pytest.approx(at["coefficient"], abs=0.000501)
            assert text.count("*") == wanted.count("*")
            assert row.cells[place].below == f"({at['standard_error']:.3f}) [{at['bootstrap_error']:.3f}]"
    assert "† The factor's strength is within 3 standard errors of another's" in table.notes[3]


def test_terms_tell_how_much_one_index_explains_and_which_are_largest(contents: Contents) -> None:
    table = quantile_index.term_tables(contents)[0]
    first = table.panels[0].rows[0]
    assert first.head == "τ = 0.05, factor 1"
    assert [(cell.text, cell.below) for cell in first.cells] == [
        ("25.0", ""),
        ("b", "−40.000"),
        ("a", "30.000"),
        ("a x b", "0.000"),
        ("–", ""),
    ]
    assert len(table.panels[0].rows) == 4


def test_coefficients_are_drawn_by_window_with_gaps_where_there_is_no_factor(contents: Contents) -> None:
    assert contents.window_loadings is not None
    own = contents.window_loadings.query("tau == 0.05 and factor == 1")
    largest = window_figures.largest_characteristics(contents.window_loadings)
    assert largest == list(CHARACTERISTICS)[::-1][: len(largest)]
    axes = Canvas().subplots()
    months = pd.DatetimeIndex(np.sort(contents.window_loadings["month"].unique()))
    window_figures._paint(axes, own, largest, months)
    drawn = [line.get_ydata() for line in axes.get_lines()[1:]]
    assert len(drawn) == len(largest)
    last = len(CHARACTERISTICS) - 1
    wanted = [-(0.1 * last + 0.01 * window) for window in (1, 2, 3, np.nan, 5)]
    np.testing.assert_allclose(drawn[0], wanted)
    (figure,) = window_figures.window_figures(contents)
    assert figure.title == "Coefficients by window of qcf, 1-month horizon"


def test_without_standard_errors_there_is_neither_star_nor_bracket(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=3)
    add_quantiles(directory, levels=(0.05,), assets=6, months=13, models=("qcf",), standard_errors=False)
    contents = read_contents(directory)
    table = quantile_index.index_tables(contents)[0]
    assert not any("*" in cell.text or cell.below for row in table.panels[0].rows for cell in row.cells)
    assert "not known" in table.notes[0]
    assert "Bands" not in quantile_index.curve_figures(contents)[0].notes[0]


def test_bars_are_light_where_their_interval_holds_zero(contents: Contents) -> None:
    assert contents.loadings is not None
    own = contents.loadings.query("tau == 0.05 and factor == 1")
    axes = grid_of(Canvas(), 1, 1)[0]
    quantile_index._paint_bars(axes, own, "#000000", named=True)
    bars = cast(PolyCollection, axes.collections[0])
    told = np.abs(own["coefficient"] / own["standard_error"]).to_numpy() > 1.959964
    assert told.any()
    assert not told.all()
    assert [colour[0] == 0.0 for colour in bars.get_facecolor()] == told.tolist()
    assert [path.vertices[1, 0] for path in bars.get_paths()] == own["coefficient"].tolist()
    assert list(axes.places("y").values()) == own["characteristic"].tolist()


def test_bars_beside_others_leave_the_names_to_these(contents: Contents) -> None:
    assert contents.loadings is not None
    axes = grid_of(Canvas(), 1, 1)[0]
    own = contents.loadings.query("tau == 0.05 and factor == 2")
    quantile_index._paint_bars(axes, own, "#000000", named=False)
    assert not axes.places("y")


def test_many_characteristics_are_a_map(contents: Contents) -> None:
    assert contents.loadings is not None
    many = pd.concat([contents.loadings.assign(characteristic=f"c{i}") for i in range(31)], ignore_index=True)
    vars(contents)["loadings"] = many.drop_duplicates(["tau", "factor", "characteristic"])
    keys = [figure.key for figure in quantile_index.index_figures(contents)]
    assert keys == ["loadings-qcf-1-0.05", "loadings-qcf-1-0.5"]


def test_factors_are_drawn_as_they_are_and_as_means_of_three_months() -> None:
    months = pd.date_range("2001-01-31", periods=6, freq="ME").delete(3)
    axes = Canvas().subplots()
    series = pd.DataFrame({"month": months, "value": [1.0, 2.0, 6.0, 5.0, 7.0]})
    factor_figures._paint_series(axes, series, "#000000")
    raw, mean = (np.asarray(line.get_ydata(), dtype=float) for line in axes.lines[1:])
    np.testing.assert_array_equal(raw, [1.0, 2.0, 6.0, np.nan, 5.0, 7.0])
    np.testing.assert_array_equal(mean, [np.nan, np.nan, 3.0, np.nan, np.nan, np.nan])


def test_factors_of_a_level_stand_in_rows_of_four() -> None:
    own = pd.DataFrame({"level": ["0.05"] * 5 + ["0.5"], "factor": [1, 2, 3, 4, 5, 1]})
    cells = factor_figures.level_cells(Canvas(), own)
    assert list(cells) == [*(("0.05", k) for k in range(1, 6)), ("0.5", 1)]
    assert factor_figures.rows_of(own) == 3
    assert cells["0.05", 5].get_title() == "τ = 0.05, factor 5"


def test_variants_of_a_sweep_have_no_figures_of_their_own(contents: Contents) -> None:
    assert contents.factors is not None
    variants = contents.factors.assign(model="qcf[ridge=0.1]")
    vars(contents)["factors"] = pd.concat([contents.factors, variants], ignore_index=True)
    assert [label.full for label, _, _ in factor_figures.own_tables(contents.factors)] == ["qcf"]


def test_of_many_levels_the_outermost_and_some_between_are_drawn() -> None:
    assert spread_out([f"{i}" for i in range(9)], 5) == ["0", "2", "4", "6", "8"]
    assert spread_out(["a", "b"], 5) == ["a", "b"]


def test_assets_of_the_fan_have_long_histories_and_spread_from_calm_to_volatile() -> None:
    random = np.random.default_rng(3)
    months = pd.date_range("2001-01-31", periods=40, freq="ME")
    rows = [
        (month, f"A{i:02d}", random.normal() * (20 - i) / 100)
        for i in range(20)
        for month in (months if i % 2 else months[:20])
    ]
    table = pd.DataFrame(rows, columns=["month", "asset", "realized"])
    chosen = quantile_figures.spread_assets(pd.concat([table, table]).sample(frac=1, random_state=1))
    assert len(chosen) == 4
    assert all(int(asset[1:]) % 2 for asset in chosen)
    spread = table.groupby("asset")["realized"].std()
    assert list(spread[chosen]) == sorted(spread[chosen])
    assert spread[chosen].max() > 3 * spread[chosen].min()


def test_the_fan_is_of_the_assets_that_are_asked_for(contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr(quantile_figures, "_paint_fan", lambda axes, *_: drawn[-1].append(axes))
    monkeypatch.setattr(quantile_figures, "draw", lambda *given: given)
    table = contents.quantiles(("kind", "==", "predictive"))
    assert table is not None
    names = sorted(map(str, set(table["asset"])))
    asked = [names[5], names[2]]

    def figure() -> tuple[list[str], list[str]]:
        made: Any = quantile_figures.fan_figures(contents)[0]
        drawn.append([])
        made[3](Canvas())
        return [axes.get_title() for axes in drawn[-1]], made[4]

    titles, notes = figure()
    assert len(titles) == 4
    assert "from calm to volatile" in notes[-1]
    contents.description["experiment"]["report"] = {"assets": [*asked, "nowhere"]}
    titles, notes = figure()
    assert titles == asked
    assert notes[1:] == ["Without a forecast, of the assets asked for: nowhere."]


def test_levels_pair_where_they_leave_as_much_on_either_side() -> None:
    assert quantile_figures._bands([0.05, 0.5, 0.95]) == ([(0.05, 0.95)], [0.5])
    assert quantile_figures._bands([0.01, 0.1, 0.25, 0.75, 0.9]) == ([(0.1, 0.9), (0.25, 0.75)], [0.01])


def test_returns_outside_the_outermost_levels_are_marked() -> None:
    months = pd.date_range("2001-01-31", periods=4, freq="ME")
    own = pd.DataFrame({0.05: -0.1, 0.95: 0.1, "realized": [0.0, -0.2, 0.3, np.nan]}, index=months)
    axes = Canvas().subplots()
    quantile_figures._paint_fan(axes, own, [0.05, 0.95], "#000000")
    inside, outside = (np.asarray(dots.get_ydata())[::3] for dots in axes.lines[:2])
    assert inside[~np.isnan(inside)].tolist() == [0.0]
    assert outside.tolist() == [-0.2, 0.3]


def test_a_search_is_read_level_by_level(contents: Contents) -> None:
    assert search.searches_of(contents, "qcf") == [(1, 0.05), (1, 0.5)]
    for tau in (0.05, 0.5):
        chosen = search.chosen_by_window(contents, "qcf", 1, tau)
        wanted = [json.loads(text)["tau"] for text in chosen["hyperparameters"]]
        assert wanted == [tau] * 3
        assert chosen["point"].tolist() == [round(10 * tau + window) % 3 for window in range(3)]
    table = search.selection_table(contents)
    assert table is not None
    assert [panel.heading for panel in table.panels] == [
        "qcf, 1-month horizon, τ = 0.05", "qcf, 1-month horizon, τ = 0.5"
    ]  # fmt: skip
    assert "tau" not in table.columns
    assert [len(panel.rows) for panel in table.panels] == [3, 3]


def test_neighbouring_windows_that_chose_alike_share_a_row() -> None:
    chosen = pd.DataFrame({"window": range(1, 31), "model": "qcf", "point": [0] * 10 + [1] + [0] * 19})
    found = [(first, row["window"]) for first, row in search._alike(chosen)]
    assert found == [(1, 10), (11, 11), (12, 30)]
    assert len(list(search._alike(chosen.head(24)))) == 24


def test_what_was_tuned_is_drawn_at_the_values_that_were_chosen(contents: Contents) -> None:
    assert [figure.key for figure in quantile_tuning.tuning_figures(contents)] == ["tuning-qcf-1"]
    tables = {"0.05": search.chosen_by_window(contents, "qcf", 1, 0.05)}
    axes = grid_of(Canvas(), 1, 1)[0]
    quantile_tuning._paint_choices(axes, tables, "ridge", [2013.0, 2014.0, 2015.0], 2016.0)
    names = list(axes.places("y").values())
    drawn = [names[round(y)] for y in np.asarray(axes.lines[0].get_ydata())]
    chosen = [f"{json.loads(text)['ridge']:g}" for text in tables["0.05"]["hyperparameters"]]
    assert drawn == [*chosen, chosen[-1]]


def test_points_that_are_scored_without_a_cell_of_their_own_are_neither_cells_nor_seconds(run: Path) -> None:
    contents = read_contents(run)
    trials = contents.trials
    trials.loc[~trials["selected"], "cell"] = None
    sentence, named = search.failures(contents)
    assert sentence == f"No fit diverged: all {trials['selected'].sum()} cells converged."
    row = search.cost_table(contents).panels[0].rows[0]
    assert row.cells[0].text == str(trials["selected"].sum())
    assert row.cells[-1].text == "–"
    trials.loc[trials.index[trials["cell"].isna()][0], "status"] = "diverged"
    sentence, named = search.failures(contents)
    assert sentence.startswith("1 of ")
    assert "τ = 0.05, window 1" in named[0]


def test_the_selection_says_how_much_worse_a_simpler_point_may_be(contents: Contents) -> None:
    table = search.selection_table(contents)
    assert table is not None
    assert not any("simplest" in note for note in table.notes)
    contents.description["experiment"]["search"]["tolerance"] = 0.01
    table = search.selection_table(contents)
    assert table is not None
    assert any("within 1.0% of the lowest" in note for note in table.notes)
