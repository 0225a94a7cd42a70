"""Quantile models on the terminal and in tracking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from quantile_runs import add_quantiles

from factor_ray.run_directory import Run
from factor_ray.runner import tracking
from factor_ray.summary import compare_runs, summary_table

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    directory = make_run(horizons=(1,), windows=3, assets=10)
    add_quantiles(directory, levels=(0.05, 0.5), assets=6, months=13)
    return Run(directory)


def test_a_run_of_quantiles_alone_has_one_table(run: Run) -> None:
    blocks = summary_table(run).split("\n\n")
    assert len(blocks) == 2
    lines = blocks[1].splitlines()
    assert lines[0].split("  ")[0] == "horizon"
    measured = run.metrics["qcf"]["1"]["quantiles"]["0.05"]
    row = next(line.split() for line in lines if line.split()[:3] == ["1", "0.05", "qcf"])
    wanted = [measured["predictive"][name] for name in ("hit_rate", "qhe", "aqe", "r2")] + [measured["total"]["r2"]]
    assert [float(text) for text in row[3:8]] == pytest.approx([100 * value for value in wanted], abs=0.00501)
    assert row[8] == f"{measured['predictive']['months']:.0f}"
    zero = next(line.split() for line in lines if line.split()[:3] == ["1", "0.5", "zero"])
    assert zero[7] == "-"


def test_quantiles_stand_below_means(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=3, assets=10)
    add_quantiles(directory, only=False, levels=(0.5,), assets=6, months=13, models=("qcf",))
    _, means, quantiles = summary_table(Run(directory)).split("\n\n")
    assert "qcf" not in means
    assert "cbapm" in means
    assert "cbapm" not in quantiles


def test_runs_are_compared_level_by_level(run: Run, make_run: MakeRun) -> None:
    other = make_run(horizons=(1,), windows=3, assets=10)
    add_quantiles(other, levels=(0.05,), models=("qfm",), assets=6, months=13)
    blocks = compare_runs([run, Run(other)]).split("\n\n")
    block = next(block for block in blocks if "AQE, %" in block)
    rows = {tuple(line.split()[1:3]): line.split()[3:] for line in block.splitlines()[2:]}
    assert set(rows) == {(tau, m) for tau in ("0.05", "0.5") for m in ("qcf", "qfm", "zero", "historical_quantile")}
    ours, theirs = (r.metrics["qfm"]["1"]["quantiles"]["0.05"]["predictive"]["aqe"] for r in (run, Run(other)))
    assert [float(text) for text in rows["0.05", "qfm"]] == pytest.approx([100 * ours, 100 * theirs], abs=0.000501)
    assert rows["0.05", "qcf"][1] == "-"
    assert not any(line.startswith("horizon  months") for line in blocks)


def test_tracking_is_told_of_every_level(run: Run) -> None:
    measured = json.loads(json.dumps(run.metrics["qcf"]["1"]))
    summary = tracking._summary(measured)
    assert summary["quantile_0.05/predictive/aqe"] == measured["quantiles"]["0.05"]["predictive"]["aqe"]
    assert summary["quantile_0.5/total/r2"] == measured["quantiles"]["0.5"]["total"]["r2"]
