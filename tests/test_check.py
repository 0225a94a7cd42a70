"""What only the data can tell: the plan of a run, and what is refused before it."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from configurations import SIMULATED

from factor_ray.check import describe_plan
from factor_ray.data.months import parse_month
from factor_ray.data.simulation import simulate
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.measures import portfolio_weights


def table(folder: Path) -> Path:
    panel = simulate(slots=20, months=40, characteristics=9, consensus=1).panel
    file = folder / "panel.parquet"
    panel.to_frame().drop(columns="market_cap").to_parquet(file)
    return file


def table_config(file: Path | str, **sections: object) -> Experiment:
    columns = {"characteristics": ["characteristic_0", "characteristic_1"]}
    values = {
        "name": "small",
        "data": {"source": "table", "path": str(file), "columns": columns},
        "windows": {"first_train_end": "1999-06", "validation": 6, "test": 6},
        "models": [{"name": "cbapm", "hidden": [4], "consensus_weight": 0}],
    }
    return Experiment.model_validate({**values, **sections})


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        (
            {"first_train_end": "2020-01"},
            "windows.first_train_end 2020-01 with 24 validation months leaves no test month",
        ),
        ({"first_train_end": "1990-01"}, "windows.first_train_end 1990-01 leaves the first window no comp"),
        ({"first_train_end": "1999-06", "validation": 40}, "need at least 42 months"),
        ({"first_train_end": "1998-06", "validation": 2, "embargo": 20}, "need at least 44 months"),
        ({"first_train_end": "1998-01", "validation": 6}, "has no training target at horizon 1"),
    ],
)
def test_windows_that_the_panel_cannot_fill(tmp_path, windows, sentence):
    frame = pd.read_parquet(table(tmp_path))
    frame.loc[frame["month"] < "1998-03-15", "return"] = None
    frame.to_parquet(tmp_path / "panel.parquet")
    with pytest.raises(InputError, match=re.escape(sentence)):
        describe_plan(table_config(tmp_path / "panel.parquet", windows=windows))


def test_of_many_windows_the_first_and_the_last_are_told(tmp_path):
    windows = {"first_train_end": "1999-06", "validation": 3, "test": 1}
    said = describe_plan(table_config(table(tmp_path), windows=windows)).splitlines()
    told = [line.split()[0] for line in said if line.startswith("  ")]
    assert "horizon 1: 19 windows, embargo 0 months" in said
    assert told == ["1", "2", "3", "4", "5", "6", "...", "18", "19"]
    assert "  ...  11 more" in said


def test_a_model_for_a_worker_group_is_probed_by_one_worker():
    tiny = {"name": "neurif", "workers": 2, "factors": 1, "width": 8, "heads": 2, "blocks": 1}
    values = yaml.safe_load(SIMULATED) | {"models": [tiny], "compute": {"workers": 2}}
    assert "fits: at most 15 cells of neurif" in describe_plan(Experiment.model_validate(values))


@pytest.mark.parametrize(
    ("searched", "sentence"),
    [
        (
            {"name": "ipca", "search": {"factors": {"integer": [1, 40]}}},
            "ipca: factors 26 need at least as many instruments; there are 25",
        ),
        (
            {"name": "qcf", "search": {"factors": {"integer": [1, 30]}, "order": {"choice": [3, 2]}}},
            "qcf: factors must be no more than the 25 terms that 24 characteristics and order 2 give; got 26",
        ),
    ],
)
def test_a_search_that_the_data_cannot_hold_is_refused_before_a_run(searched, sentence):
    values = yaml.safe_load(SIMULATED) | {"models": [searched]}
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        describe_plan(Experiment.model_validate(values))


def test_data_that_is_not_there(tmp_path):
    file = table(tmp_path)
    with pytest.raises(InputError, match=r"none.parquet must be a file; there is none: check the path"):
        describe_plan(table_config(tmp_path / "none.parquet"))
    with pytest.raises(InputError, match=r"data.path must end in .parquet or .csv; got 'panel.xlsx'"):
        describe_plan(table_config("panel.xlsx"))
    data = {"source": "table", "path": str(file), "columns": {"characteristics": ["Characteristc_5"]}}
    with pytest.raises(InputError, match=r"must have a column 'Characteristc_5'; did you mean 'characteristic_5'\?"):
        describe_plan(table_config(file, data=data))
    data["columns"] = {"characteristics": ["characteristic_0"], "consensus": ["characteristic_0"]}
    with pytest.raises(
        InputError, match="column 'characteristic_0' is named for two roles: a column may play only one"
    ):
        describe_plan(table_config(file, data=data))
    data["columns"] = {"characteristics": ["characteristic_0"], "risk_free": "rf"}
    with pytest.raises(InputError, match="must have a column 'rf'"):
        describe_plan(table_config(file, data=data))
    data["columns"] = {"characteristics": ["characteristic_0"]}
    data["macro"] = {"source": "fred_md", "path": str(tmp_path / "macro.csv")}
    with pytest.raises(InputError, match=r"data.macro.*macro.csv must be a file .*; there is none"):
        describe_plan(table_config(file, data=data))


def test_assets_to_show_must_be_there_in_a_test_month(tmp_path):
    panel = simulate(slots=20, months=40, characteristics=9, consensus=1).panel
    tested = sorted(set(panel.assets[panel.row_months >= parse_month("2000-01")].tolist()))
    gone = next(asset for asset in panel.assets.tolist() if asset not in tested)
    file = table(tmp_path)
    said = describe_plan(table_config(file, report={"assets": tested[:2]}))
    assert "note: report.assets is given and no model forecasts quantiles" in said
    for asset in (gone, "nowhere"):
        sentence = (
            f"^report.assets names '{asset}', and no test month has that asset: write it as the data does, as in "
        )
        with pytest.raises(InputError, match=sentence):
            describe_plan(table_config(file, report={"assets": [tested[0], asset]}))


def test_value_weights_need_market_caps(tmp_path):
    experiment = table_config(table(tmp_path), portfolios={"weights": "value"})
    with pytest.raises(InputError, match=r"portfolios.weights is value and the data has no market capitalisations"):
        describe_plan(experiment)
    panel = simulate(slots=20, months=3).panel
    assert portfolio_weights(experiment.portfolios, panel) == "value"


def test_a_macro_state_that_no_window_allows_is_refused_before_a_run():
    values = yaml.safe_load(SIMULATED)
    with pytest.raises(InputError, match=r"macro_state.dimension must be at most 17 for 18 .* 24 series; got 300"):
        describe_plan(Experiment.model_validate(values | {"macro_state": {"kind": "pca", "dimension": 300}}))
    describe_plan(Experiment.model_validate(values | {"macro_state": {"kind": "autoencoder", "dimension": 300}}))


@pytest.mark.parametrize(
    ("name", "target", "line"),
    [
        ("qcf", {}, "quantiles 0.05, 0.5, 0.95 (default) for qcf"),
        ("qcf", {"quantiles": [0.1, 0.9]}, "quantiles 0.1, 0.9 for qcf"),
        ("ipca", {"quantiles": [0.1, 0.9]}, "note: target.quantiles is given and no model forecasts quantiles"),
        ("ipca", {}, None),
    ],
)
def test_the_plan_says_which_quantiles_are_forecast(name, target, line):
    values = yaml.safe_load(SIMULATED) | {"models": [{"name": name}], "target": target}
    said = describe_plan(Experiment.model_validate(values)).splitlines()
    assert [found for found in said if "quantiles" in found] == ([] if line is None else [line])
