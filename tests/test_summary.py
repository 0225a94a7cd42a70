"""What a run says on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from factor_ray.errors import InputError
from factor_ray.run_directory import Run
from factor_ray.summary import compare_runs, describe_status, summary_table

_RETURNS = {"r2": 0.1046, "r2_historical_mean": -0.0123, "ic": 0.0512, "ic_t_statistic": 3.21, "months": 108}
_SHARPES = [{"cost_bp": 0, "sharpe": 1.4375}, {"cost_bp": 50, "sharpe": 0.912}]

SECTIONS: dict[str, Any] = {
    "data": {"source": "table", "columns": {"return": "return", "risk_free": None, "price": None}},
    "preprocess": {"universe": None, "screen": "point_in_time", "rank": True},
    "portfolios": {"number": 10, "costs": [0, 50]},
}


def write(
    directory: Path,
    *,
    test: tuple[str, str] = ("2013-01", "2013-12"),
    models: tuple[str, ...] = ("cbapm",),
    sections: Mapping[str, Any] | None = None,
    weights: str = "value",
    kept: int = 900,
) -> Run:
    """Write the few files that a summary reads."""
    metrics: dict[str, Any] = {
        model: {
            "12": {
                "returns": {"all": _RETURNS, "by_year": {}},
                "long_short": _SHARPES,
                "consensus": {"FEPS": {"all": {"r2": 0.7}}, "AOP": {"all": {"r2": 0.3}}},
            }
        }
        for model in models
    }
    metrics["zero"] = {"12": {"returns": {"all": {**_RETURNS, "r2": 0.0, "ic": None, "ic_t_statistic": None}}}}
    description = {
        "experiment": {**SECTIONS, **(sections or {})},
        "data": {
            "lineage": {},
            "rows": 1000,
            "first_month": "1994-01",
            "last_month": "2013-12",
            "portfolio_weights": weights,
        },
        "preparation": {"rows": {"kept": kept}},
        "looks_ahead": [],
        "windows": {12: [{"train": ["1994-01", "2010-01"], "validation": ["2011-01", "2012-01"], "test": list(test)}]},
    }
    (directory / "logs").mkdir(parents=True)
    (directory / "experiment.yaml").write_text(yaml.safe_dump(description))
    (directory / "metrics.json").write_text(json.dumps(metrics))
    for name in ("portfolios", "coefficients"):
        pd.DataFrame({"model": ["cbapm"]}).to_parquet(directory / f"{name}.parquet")
    settings = json.dumps({"consensus_weight": 0.3})
    pd.DataFrame({"model": list(models), "hyperparameters": settings}).to_parquet(directory / "trials.parquet")
    return Run(directory)


def write_status(run: Run, **status: Any) -> None:
    (run.path / "logs" / "status.json").write_text(json.dumps(status))


def test_the_table_has_a_row_for_each_model_and_horizon(tmp_path: Path) -> None:
    lines = summary_table(write(tmp_path / "a")).splitlines()
    assert lines[0] == "a: Test months 2013-01 to 2013-12, 1 window"
    assert lines[2].split("  ")[0] == "horizon"
    assert lines[4].split() == ["12", "cbapm", "10.46", "-1.23", "0.051", "3.2", "50.0", "1.44", "0.91", "108"]
    assert lines[5].split() == ["12", "zero", "0.00", "-1.23", "-", "-", "-", "-", "-", "108"]
    assert len(lines) == 6
    assert "\x1b" not in "".join(lines)


def test_columns_line_up(tmp_path: Path) -> None:
    lines = summary_table(write(tmp_path / "a", models=("cbapm", "cbapm[consensus_weight=0.3]"))).splitlines()[4:]
    assert len({line.index("10.46") for line in lines[:2]}) == 1
    assert len({len(line) for line in lines}) == 1


def test_a_measure_that_nobody_has_takes_no_column(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    metrics = run.metrics
    del metrics["cbapm"]["12"]["consensus"]
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    assert "consensus" not in summary_table(run)


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    (run.path / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"metrics\.json.*factor-ray resume"):
        summary_table(run)


def test_a_run_at_work_says_how_long_it_may_take(tmp_path: Path) -> None:
    run, now = write(tmp_path / "a"), time.time()
    with run.lock():
        written = {"planned": 60, "fitted": 20, "reused": 10, "started": now - 100, "updated": now}
        write_status(run, stage="fitting", **written, left=150.0)
        text = describe_status(run)
    assert "30 of at most 60 (20 fitted, 10 reused)" in text
    assert "1 min 40 s" in text.split("elapsed")[1].splitlines()[0]
    assert "about 2 min 30 s at this pace" in text
    assert "alive" in text


def test_time_left_is_not_known_before_the_first_fit(tmp_path: Path) -> None:
    run, now = write(tmp_path / "a"), time.time()
    with run.lock():
        written = {"planned": 60, "fitted": 0, "reused": 10, "started": now - 100, "updated": now}
        write_status(run, stage="fitting", **written, left=None)
        assert "not known before the first cell is fitted" in describe_status(run)


def test_a_run_that_was_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    write_status(run, stage="fitting", planned=60, fitted=20, reused=0, started=1000.0, updated=1075.0)
    text = describe_status(run)
    assert f"stopped: go on with `factor-ray resume {run.path}`" in text
    assert "1 min 15 s" in text
    assert "left" not in text


def test_a_finished_run_names_its_report(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    run.report.write_text("")
    write_status(run, stage="done", planned=60, fitted=60, reused=0, started=1000.0, updated=1075.0)
    assert f"finished; report: {run.report}" in describe_status(run)


def test_a_run_that_has_not_begun_to_fit_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not started fitting"):
        describe_status(write(tmp_path / "a"))


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", models=("neurif",))
    text = compare_runs([first, second])
    assert "not comparable" not in text
    block = next(block for block in text.split("\n\n") if block.startswith("horizon  R2, %"))
    rows = [line.split() for line in block.splitlines()]
    assert rows[0][-2:] == ["a", "b"]
    assert rows[2:] == [["12", "cbapm", "10.46", "-"], ["12", "zero", "0.00", "0.00"], ["12", "neurif", "-", "10.46"]]


def test_runs_judged_on_other_months_are_not_comparable(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", test=("2014-01", "2014-12"))
    assert "not judged on the same data, assets and months" in compare_runs([first, second])


@pytest.mark.parametrize(
    "other",
    [
        {"sections": {"preprocess": {**SECTIONS["preprocess"], "universe": {"min_price": 5.0}}}},
        {"sections": {"preprocess": {**SECTIONS["preprocess"], "screen": "none"}}},
        {"sections": {"data": {"source": "table", "columns": {"return": "ret_gross", "risk_free": None}}}},
        {"sections": {"data": {"source": "table", "columns": {"return": "return", "risk_free": "rf"}}}},
        {"sections": {"data": {**SECTIONS["data"], "missing_delisting_return": -0.3}}},
        {"kept": 899},
    ],
    ids=["universe", "screen", "return", "risk-free", "delisting", "rows"],
)
def test_runs_judged_on_other_assets_or_returns_are_not_comparable(tmp_path: Path, other: dict[str, Any]) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", **other)
    assert "not judged on the same data, assets and months" in compare_runs([first, second])


def test_runs_of_other_inputs_are_comparable(tmp_path: Path) -> None:
    columns = {**SECTIONS["data"]["columns"], "price": "prc"}
    other = {"data": {**SECTIONS["data"], "columns": columns}, "preprocess": {**SECTIONS["preprocess"], "rank": False}}
    assert "not comparable" not in compare_runs([write(tmp_path / "a"), write(tmp_path / "b", sections=other)])


@pytest.mark.parametrize(
    "other",
    [{"weights": "equal"}, {"sections": {"portfolios": {"number": 5, "costs": [0, 50]}}}],
    ids=["weights", "number"],
)
def test_sharpe_ratios_of_other_portfolios_are_not_comparable(tmp_path: Path, other: dict[str, Any]) -> None:
    text = compare_runs([write(tmp_path / "a"), write(tmp_path / "b", **other)])
    assert "their Sharpe ratios are not comparable" in text
    assert "their measures are not comparable" not in text


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = write(tmp_path / "x" / "a"), write(tmp_path / "y" / "a")
    text = compare_runs([first, second])
    assert str(first.path) in text
    assert str(second.path) in text


def test_comparing_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run"):
        compare_runs([])
