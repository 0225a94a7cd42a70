"""The parts of the report that decide something: labels, numbers, selection by window, failures and the headline."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pyarrow import Table
from pyarrow.parquet import ParquetFile, ParquetWriter

from factor_ray.report import figures, headline, numbers, search
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.labels import Label, swept_numbers

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def contents(make_run: MakeRun) -> Contents:
    return read_contents(make_run())


def test_a_label_is_read_and_written() -> None:
    label = Label.read("cbapm[consensus_weight=0.3,hidden=64-32]")
    assert (label.family, label.variant) == ("cbapm", "λ = 0.3, hidden = 64-32")
    assert Label.read("conditional_autoencoder[hidden=]").variant == "hidden = none"
    assert label.value("consensus_weight") == 0.3
    assert label.value("hidden") is None
    assert Label.read("historical_mean").text == "historical mean"
    assert [Label.read(name).is_model for name in ("cbapm", "zero", "oracle", "market")] == [True, False, False, False]


def test_only_numbers_that_vary_are_swept() -> None:
    labels = [Label.read(f"m[a={a},b=1,c={c}]") for a, c in ((1, "x"), (2, "y"))]
    assert swept_numbers([Label.read("m"), *labels]) == ["a"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (numbers.percent(0.10456), "10.46"),
        (numbers.percent(-0.0024), "−0.24"),
        (numbers.decimal(-0.0001), "0.00"),
        (numbers.decimal(math.nan), "–"),
        (numbers.percent(math.inf), "–"),
        (numbers.count(20330), "20,330"),
        (numbers.plain(0.00353), "0.00353"),
        (numbers.duration(4.25), "4.2 s"),
        (numbers.duration(3599.7), "1 h 0 min"),
        (numbers.duration(725), "12 min 5 s"),
        (numbers.duration(12_000), "3 h 20 min"),
        (numbers.size(912), "912 B"),
        (numbers.size(3_400_000), "3.4 MB"),
    ],
)
def test_numbers_are_written(written: str, wanted: str) -> None:
    assert written == wanted


def test_the_consensus_counts_only_where_it_is_learned(contents: Contents) -> None:
    assert not contents.learns_consensus("cbapm[consensus_weight=0]")
    assert contents.learns_consensus("cbapm[consensus_weight=0.3]")
    assert contents.learns_consensus("cbapm")
    assert math.isnan(contents.mean_consensus_r2("cbapm[consensus_weight=0]", 1))


def test_the_variant_of_a_window_has_the_lowest_mean_score_so_far(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.0, 1.0), windows=3, points=1)
    trials = pd.read_parquet(directory / "trials.parquet")
    scores = {"cbapm[consensus_weight=0]": (1.0, 0.2, 0.9), "cbapm[consensus_weight=1]": (0.9, 0.8, 0.1)}
    trials["validation_score"] = [scores[m][w - 1] for m, w in zip(trials["model"], trials["window"], strict=True)]
    trials.to_parquet(directory / "trials.parquet")
    chosen = search.chosen_by_window(read_contents(directory), "cbapm", 1)
    assert [model[-2] for model in chosen["model"]] == ["1", "0", "1"]
    assert chosen["score_so_far"].tolist() == pytest.approx([0.9, 0.6, 0.6])


def test_ablations_stand_for_nothing_that_was_selected(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.0, 1.0), windows=3, points=1)
    file, lacking = directory / "experiment.yaml", "cbapm[consensus_weight=0]"
    described = yaml.safe_load(file.read_text())
    described["experiment"]["models"] = [{"name": "cbapm", "ablations": {"consensus_weight": 0}}]
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    for name in ("trials.parquet", "portfolios.parquet", "coefficients.parquet"):
        table = pd.read_parquet(directory / name)
        table["model"] = table["model"].replace("cbapm[consensus_weight=1]", "cbapm")
        table.to_parquet(directory / name)
    metrics = json.loads((directory / "metrics.json").read_text())
    del metrics["cbapm[consensus_weight=1]"]
    metrics[lacking]["1"]["returns"]["all"]["r2"] = 0.99
    (directory / "metrics.json").write_text(json.dumps(metrics))
    contents = read_contents(directory)
    contents.trials.loc[contents.trials["model"] == lacking, "validation_score"] = 0.01
    assert [label.full for label in contents.every_model() if contents.is_ablation(label)] == [lacking]
    assert set(search.chosen_by_window(contents, "cbapm", 1)["model"]) == {"cbapm"}
    assert "In hindsight" not in headline.answer(contents)[0][1]
    assert [label.full for label in figures._yearly_series(contents, 1, "returns")] == ["cbapm"]


def test_global_selection_compares_means_over_all_windows(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.0, 1.0), windows=2, points=1)
    trials = pd.read_parquet(directory / "trials.parquet")
    scores = {"cbapm[consensus_weight=0]": (1.0, 0.1), "cbapm[consensus_weight=1]": (0.9, 0.8)}
    trials["validation_score"] = [scores[m][w - 1] for m, w in zip(trials["model"], trials["window"], strict=True)]
    trials.to_parquet(directory / "trials.parquet")
    file = directory / "experiment.yaml"
    file.write_text(file.read_text().replace("selection: per_window", "selection: global"))
    chosen = search.chosen_by_window(read_contents(directory), "cbapm", 1)
    assert [model[-2] for model in chosen["model"]] == ["0", "0"]


def test_failed_cells_are_counted_and_named(contents: Contents) -> None:
    sentence, named = search.failures(contents)
    failed = contents.trials[contents.trials["status"] != "ok"]["cell"].nunique()
    assert sentence.startswith(f"{failed} of {contents.trials['cell'].nunique()} cells diverged")
    assert len(named) == failed
    assert "window 1, point 3, member 0" in named[0]


def test_seconds_count_a_shared_cell_once(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=1, points=1)
    trials = pd.read_parquet(directory / "trials.parquet")
    pd.concat([trials, trials.assign(model="cbapm[consensus_weight=2]")]).to_parquet(directory / "trials.parquet")
    row = search.cost_table(read_contents(directory)).panels[0].rows[0]
    assert row.cells[0].text == str(len(trials))
    assert float(row.cells[1].text) == pytest.approx(trials["seconds"].sum(), abs=0.05)


def test_of_a_model_fitted_by_month_the_months_seconds_count(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1, 3), weights=(0.3,), families=("cbapm", "qcf"), windows=1, points=1)
    file = directory / "logs" / "cost.json"
    months = [{"model": "qcf", "horizon": 3, "cells": 4000, "seconds": 30.0}]
    file.write_text(json.dumps({**json.loads(file.read_text()), "months": months}))
    contents = read_contents(directory)
    table = search.cost_table(contents)
    cells = {row.head: [cell.text for cell in row.cells] for row in table.panels[0].rows}
    own = contents.trials.groupby(["model", "horizon"])["seconds"].sum()
    total = own.sum() - own["qcf", 3] + 30.0
    assert cells["qcf, 3-month horizon"][:2] == ["4,000", "30.0"]
    assert cells["qcf, 3-month horizon"][3] == "0.0075"
    assert float(cells["qcf, 3-month horizon"][2]) == pytest.approx(100 * 30 / total, abs=0.5)
    assert float(cells["qcf, 1-month horizon"][1]) == pytest.approx(own["qcf", 1], abs=0.05)
    assert "Cells of qcf are single months" in table.notes[-1]


def test_the_headline_is_of_what_was_selected_not_of_the_best_variant(contents: Contents) -> None:
    variant = "cbapm[consensus_weight=1]"
    contents.metrics[variant]["1"]["returns"]["all"]["r2"] = 0.99
    assert headline.headline_table(contents).panels[0].rows[0].model == "cbapm"
    lead, text = headline.answer(contents)[0]
    assert lead == "1 month."
    assert "In hindsight the best value of its sweep was λ = 1 (99.00%)" in text


def test_a_model_that_loses_to_the_mean_is_said_to(make_run: MakeRun) -> None:
    contents = read_contents(make_run(horizons=(1,), weights=(0.3,), windows=1))
    contents.metrics["cbapm"]["1"]["returns"]["all"].update(r2_historical_mean=-0.02, ic=0.01, ic_t_statistic=0.4)
    text = headline.answer(contents)[0][1]
    assert "did not beat the historical mean (R² −2.00% against it)" in text
    assert "not told apart from zero" in text


def test_the_embargo_is_read_from_the_windows(contents: Contents) -> None:
    assert headline.embargo(contents) == "0 at h = 1, 2 at h = 3"


def test_a_family_without_returns_is_in_the_consensus_table_only(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), weights=(0.3,), windows=2, families=("cbapm", "other"))
    contents = read_contents(directory)
    for part in ("returns", "portfolios", "long_short"):
        del contents.metrics["other"]["1"][part]
    assert [label.full for label in contents.models(1)] == ["cbapm"]
    assert [label.full for label in contents.models(1, "consensus")] == ["cbapm", "other"]
    assert np.isfinite(contents.mean_consensus_r2("other", 1))


def test_row_groups_that_hold_nothing_wanted_are_not_read(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_run(horizons=(1,), windows=2)
    pieces = [pd.DataFrame({"model": [name] * 2, "tau": tau, "asset": "a"}) for name in "ab" for tau in (0.1, 0.5)]
    with ParquetWriter(directory / "quantiles.parquet", Table.from_pandas(pieces[0]).schema) as writer:
        for piece in pieces:
            writer.write_table(Table.from_pandas(piece))
    read: list[int] = []
    plainly = ParquetFile.read_row_group
    monkeypatch.setattr(
        ParquetFile, "read_row_group", lambda file, at, *a, **k: read.append(at) or plainly(file, at, *a, **k)
    )
    contents = read_contents(directory)
    assert [len(contents.quantiles(*wanted)) for wanted in ([("model", "==", "b")], [("tau", "<=", 0.1)])] == [4, 4]
    assert contents.quantiles(("model", "in", {"b"}), ("tau", "<=", 0.05)) is None
    assert read == [2, 3, 0, 2]


def test_rows_of_a_group_are_asked_where_its_ends_do_not_tell(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=2)
    pieces = [
        pd.DataFrame({"model": ["a", "b"], "tau": [0.1, 0.5], "asset": ["y", "x"], "horizon": 1}),
        pd.DataFrame({"model": "b", "tau": 0.5, "asset": ["x", "z"], "horizon": 1}),
    ]
    with ParquetWriter(directory / "quantiles.parquet", Table.from_pandas(pieces[0]).schema) as writer:
        for piece in pieces:
            writer.write_table(Table.from_pandas(piece))
    contents = read_contents(directory)
    every = pd.concat(pieces, ignore_index=True)
    for wanted, kept in (
        (("model", "==", "b"), every["model"] == "b"),
        (("tau", "<=", 0.3), every["tau"] <= 0.3),
        (("asset", "in", ["x", "y"]), every["asset"].isin(["x", "y"])),
        (("horizon", "==", 1), every["horizon"] == 1),
    ):
        found = contents.quantiles(wanted, columns=["asset", "tau"])
        assert found is not None
        assert found.astype({"asset": str}).to_numpy().tolist() == every.loc[kept, ["asset", "tau"]].to_numpy().tolist()
