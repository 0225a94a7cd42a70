"""Whatever is wrong in a configuration ends in one sentence with file, line, key and remedy, and with exit code 2."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from factor_ray import cli
from factor_ray.check import describe_plan
from factor_ray.configuration import parse
from factor_ray.data.simulation import simulate
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment, Preprocess
from factor_ray.measures import portfolio_weights
from factor_ray.models.registry import model, model_names
from factor_ray.run_directory import Run
from factor_ray.schema import configuration_schema, describe_models

ROOT = Path(__file__).parents[1]
GOOD = """\
name: small
data:
  source: table
  path: panel.parquet
  columns:
    asset: permno
    characteristics: [size, value]
    consensus: [feps]
  macro: {source: fred_md, path: macro.csv}
target: {horizon: [1, 12]}
windows: {scheme: expanding, first_train_end: 2010-12, validation: 12, test: 12}
macro_state: {kind: pca, dimension: 2}
models:
  - name: cbapm
    hidden: [[4], [8, 4]]
    consensus_weight: [0, 1e-1]
    search:
      learning_rate: {log_uniform: [1e-4, 1e-2]}
      dropout: {choice: [0.1, 0.5]}
search: {points: 2, round: 2}
ensemble: {members: 2}
compute: {slots: 2}
"""
SIMULATED = """\
name: small
data: {source: simulated, slots: 20, months: 40}
windows: {first_train_end: 1999-06, validation: 6, test: 6}
macro_state: {kind: none}
models:
  - {name: cbapm, hidden: [4], epochs: 2}
"""


def build(text: str) -> Experiment:
    return Experiment.from_configuration(parse(text, "run.yaml"))


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_a_good_configuration_is_what_it_says():
    experiment = build(GOOD)
    assert experiment.target.horizon == (1, 12)
    assert experiment.models[0].search["learning_rate"].log_uniform == (1e-4, 1e-2)
    assert list(experiment.models[0].spaces()) == [
        "cbapm[hidden=4,consensus_weight=0]",
        "cbapm[hidden=4,consensus_weight=0.1]",
        "cbapm[hidden=8-4,consensus_weight=0]",
        "cbapm[hidden=8-4,consensus_weight=0.1]",
    ]


@pytest.mark.parametrize("horizon", ["3", "[3]"])
def test_a_horizon_is_one_number_or_a_list(horizon):
    assert build(changed("[1, 12]", horizon)).target.horizon == (3,)


@pytest.mark.parametrize(("written", "costs"), [("[50]", (0, 50)), ("[75, 0, 25, 25]", (0, 25, 75)), ("[0]", (0,))])
def test_what_trading_without_costs_was_worth_is_always_measured(written, costs):
    experiment = build(f"{GOOD}portfolios: {{costs: {written}}}\n")
    assert experiment.portfolios.costs == costs


UNKNOWN_KEYS = [
    ("name: small", "nam: small", 1, "unknown key nam; did you mean name?"),
    ("compute: {slots: 2}", "computer: {slots: 2}", 22, "unknown key computer; did you mean compute?"),
    ("compute: {slots: 2}", "compute: {slot: 2}", 22, "unknown key compute.slot; did you mean slots?"),
    ("compute: {slots: 2}", "zzz: 1", 22, "unknown key zzz; valid are name, data, preprocess, target, windows, "),
    ("source: table", "sorce: table", 3, "unknown key data.sorce; did you mean source?"),
    ("  path: panel.parquet", "  pth: panel.parquet", 4, "unknown key data.pth; did you mean path?"),
    ("    asset: permno", "    aset: permno", 6, "unknown key data.columns.aset; did you mean asset?"),
    ("    asset: permno", "    retrun: ret", 6, "unknown key data.columns.retrun; did you mean return?"),
    ("path: macro.csv", "path: macro.csv, lags: 1", 9, "unknown key data.macro.lags; did you mean lag?"),
    (
        "first_train_end: 2010-12",
        "first_trian_end: 2010-12",
        11,
        "unknown key windows.first_trian_end; did you mean fi",
    ),
    ("points: 2", "point: 2", 20, "unknown key search.point; did you mean points?"),
    ("    hidden: [[4]", "    hiden: [[4]", 15, "cbapm has no hyperparameter 'hiden'; did you mean hidden?"),
    ("    search:\n", "    serch:\n", 17, "cbapm has no hyperparameter 'serch'; did you mean search?"),
    ("      dropout:", "      droput:", 19, "cbapm has no hyperparameter 'droput'; did you mean dropout?"),
    (
        "log_uniform:",
        "loguniform:",
        18,
        "unknown key models.0.search.learning_rate.loguniform; did you mean log_uniform",
    ),
    ("  - name: cbapm", "  - name: cbpam", 14, "there is no model 'cbpam'; did you mean cbapm?"),
    ("source: fred_md", "source: fredmd", 9, "data.macro.source is 'fredmd'; did you mean fred_md?"),
    ("source: fred_md, ", "", 9, "data.macro.source is required: add it, one of fred_md, goyal_welch, monthly_table"),
    ("source: table", "source: tables", 3, "data.source is 'tables'; did you mean table?"),
    ("source: table", "source: 5", 3, "data.source is 5; valid are simulated, simulated_quantiles, table, "),
    ("  source: table\n", "", 2, "data.source is required: add it, one of simulated, simulated_quantiles, table, "),
    ("name: small", "12: small", 1, "unknown key 12; valid are name, data,"),
]

MISSING_KEYS = [
    ("name: small\n", "", None, "name is required: add it"),
    ("first_train_end: 2010-12, ", "", 11, "windows.first_train_end is required: add it"),
    ("    characteristics: [size, value]\n", "", 5, "data.columns.characteristics is required: add it"),
    ("  - name: cbapm", "  - nane: cbapm", 14, "models.0.name is required: add it (is nane meant?)"),
]

WRONG_VALUES = [
    ("name: small", "name: 5", 1, "name must be text (in quotes where it looks like a number); got 5"),
    ("name: small", "name:", 1, "name must be text (in quotes where it looks like a number); got nothing"),
    ("name: small", "name: a/b", 1, "name must be text of the form ^[A-Za-z0-9][A-Za-z0-9._-]*$; got 'a/b'"),
    ("name: small", "name: ..", 1, "name must be text of the form"),
    ("[1, 12]", "[1, 1]", 10, "target.horizon: horizons must differ from each other; got [1, 1]"),
    ("[1, 12]", "[]", 10, "target.horizon must be a list of at least 1; got []"),
    ("[1, 12]", "[1, 0]", 10, "target.horizon.1 must be at least 1; got 0"),
    ("[1, 12]", "121", 10, "target.horizon must be at most 120; got 121"),
    ("[1, 12]", "year", 10, "target.horizon: must be a whole number of months, or a list of them; got 'year'"),
    ("[1, 12]", "true", 10, "target.horizon: must be a whole number of months, or a list of them; got true"),
    ("2010-12", "2010", 11, "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010'"),
    (
        "2010-12",
        "2010-13",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010-13'",
    ),
    (
        "2010-12",
        "2010-12-31",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got '2010-1",
    ),
    (
        "2010-12",
        "Dec 2010",
        11,
        "windows.first_train_end: a month must be written YYYY-MM, as in 2010-12; got 'Dec 2010'",
    ),
    (
        "scheme: expanding",
        "scheme: growing",
        11,
        "windows.scheme must be 'expanding', 'rolling' or 'single'; got 'growing'",
    ),
    ("scheme: expanding", "scheme: rolling", 11, "windows: rolling needs windows.length, its tr"),
    ("validation: 12", "validation: -1", 11, "windows.validation must be at least 0; got -1"),
    ("validation: 12", "validation: 1.5", 11, "windows.validation must be a whole number; got 1.5"),
    (
        "test: 12}",
        "test: 12, step: 6}",
        11,
        "windows: step must equal test, so that every month is forecast once; got 6",
    ),
    ("test: 12}", "test: 12, embargo: -1}", 11, "windows.embargo: embargo must be auto or at least 0; got -1"),
    ("test: 12}", "test: 12, embargo: some}", 11, "windows.embargo must be a whole number or 'auto'; got 'some'"),
    ("slots: 2", "slots: 0", 22, "compute.slots must be at least 1 or 'auto'; got 0"),
    ("slots: 2", "slots: many", 22, "compute.slots must be a whole number or 'auto'; got 'many'"),
    ("slots: 2", "slots: [2]", 22, "compute.slots must be a whole number or 'auto'; got [2]"),
    ("compute: {slots: 2}", "compute: 2", 22, "compute must be a mapping of keys to values; got 2"),
    ("compute: {slots: 2}", "compute:", 22, "compute must be a mapping of keys to values; got nothing"),
    ("compute: {slots: 2}", "portfolios: {costs: 25}", 22, "portfolios.costs must be a list; got 25"),
    ("compute: {slots: 2}", "portfolios: {costs: []}", 22, "portfolios.costs must be a list of at least 1; got []"),
    (
        "compute: {slots: 2}",
        "portfolios: {costs: [0, .inf]}",
        22,
        "portfolios.costs.1 must be a finite number; got inf",
    ),
    ("compute: {slots: 2}", "preprocess: {rank: maybe}", 22, "preprocess.rank must be true or false; got 'maybe'"),
    ("points: 2, round", "pack: 0, round", 20, "search.pack must be at least 1 or 'auto'; got 0"),
    ("points: 2, round", "points: [2, 3], round", 20, "search.points must be a whole number; got [2, 3]"),
    ("[size, value]", "size", 7, "data.columns.characteristics must be a list; got 'size'"),
    ("[size, value]", "[]", 7, "data.columns.characteristics must be a list of at least 1; got []"),
    (
        "[size, value]",
        "[size, 3]",
        7,
        "data.columns.characteristics.1 must be text (in quotes where it looks like a nu",
    ),
    ("path: macro.csv", "path: macro.csv, series: few", 9, "data.macro.series must be a list or 'cbapm' or 'all'; got"),
    ("path: macro.csv", "path: macro.csv, lag: -1", 9, "data.macro.lag must be at least 0; got -1"),
    ("kind: pca", "kind: ica", 12, "macro_state.kind must be 'autoencoder', 'pca', 'raw' or 'none'; got 'ica'"),
    ("dimension: 2", "dimension: 0", 12, "macro_state.dimension must be greater than 0; got 0"),
    ("[[4], [8, 4]]", "[[4], [8, 0]]", 15, "cbapm: hidden.1 must be greater than 0; got 0"),
    ("[[4], [8, 4]]", "[[4], 8]", 15, "cbapm: hidden must be a list; got 8"),
    ("[[4], [8, 4]]", "[4, wide]", 15, "cbapm: hidden.1 must be a whole number; got 'wide'"),
    ("[[4], [8, 4]]", "[]", 15, "cbapm: hidden must be a list of at least 1; got []"),
    ("[[4], [8, 4]]", "[[4], [4]]", 15, "hidden lists 4 twice: keep one"),
    ("[[4], [8, 4]]", "8", 15, "cbapm: hidden must be a list; got 8"),
    ("[0, 1e-1]", "[0, -1]", 16, "cbapm: consensus_weight must be at least 0; got -1"),
    ("[0, 1e-1]", "[]", 16, "consensus_weight is an empty list: give at least one value, or leave it out"),
    ("[0, 1e-1]", "[0.5, 0.5]", 16, "consensus_weight lists 0.5 twice: keep one"),
    ("[0, 1e-1]", "[1, 1.0]", 16, "consensus_weight lists 1 twice: keep one"),
    ("[0, 1e-1]", "[[0, 1], 2]", 16, "cbapm: consensus_weight must be a number; got [0, 1]"),
    ("[0, 1e-1]", "{a: 1}", 16, "cbapm: consensus_weight must be a number; got {'a': 1}"),
    ("[0, 1e-1]", "high", 16, "cbapm: consensus_weight must be a number; got 'high'"),
    ("[0, 1e-1]", "null", 16, "cbapm: consensus_weight must be a number; got nothing"),
    ("[0, 1e-1]", ".inf", 16, "cbapm: consensus_weight must be a finite number; got inf"),
    ("[0, 1e-1]", ".nan", 16, "cbapm: consensus_weight must be a finite number; got nan"),
    ("{log_uniform: [1e-4, 1e-2]}", "[1e-4, 1e-2]", 18, "models.0.search.learning_rate: a range must be written as {"),
    ("{log_uniform: [1e-4, 1e-2]}", "{}", 18, "models.0.search.learning_rate: a range must be one of uniform, log_un"),
    ("[1e-4, 1e-2]", "[1e-4]", 18, "models.0.search.learning_rate.log_uniform.1 is required: add it"),
    ("[1e-4, 1e-2]", "[1e-4, 1e-2, 1]", 18, "models.0.search.learning_rate.log_uniform must be a list of at most 2"),
    ("[1e-4, 1e-2]", "[low, 1e-2]", 18, "models.0.search.learning_rate.log_uniform.0 must be a number; got 'low'"),
    (
        "[1e-4, 1e-2]",
        "[0, 1e-2]",
        18,
        "models.0.search.learning_rate: a log_uniform range must start above 0; got [0.0,",
    ),
    ("[1e-4, 1e-2]", "[1e-2, 1e-4]", 18, "models.0.search.learning_rate: a range must be [low, high], two finite numb"),
    ("[1e-4, 1e-2]", "[1e-4, .inf]", 18, "models.0.search.learning_rate: a range must be [low, high], two finite numb"),
    ("{choice: [0.1, 0.5]}", "{uniform: [0.1, 1.0]}", 19, "cbapm: dropout must be less than 1; got 1.0"),
    ("{choice: [0.1, 0.5]}", "{choice: [0.1, 1.5]}", 19, "cbapm: dropout must be less than 1; got 1.5"),
    ("{choice: [0.1, 0.5]}", "{choice: []}", 19, "models.0.search.dropout.choice must be a list of at least 1; got []"),
    ("      dropout:", "      consensus_weight:", 19, "consensus_weight is both fixed and searched: keep one"),
    ("dropout: {choice: [0.1, 0.5]}", "epochs: {uniform: [5, 50]}", 19, "cbapm: epochs must be a whole number; got"),
    (
        "  - name: cbapm",
        "  - name: cbapm\n  - name: cbapm",
        13,
        "models: a model may be listed once (sweep its hyperpara",
    ),
    (
        "  - name: cbapm",
        "  - name: 7",
        14,
        "models.0.name must be text (in quotes where it looks like a number); got 7",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), UNKNOWN_KEYS + MISSING_KEYS + WRONG_VALUES)
def test_one_sentence_with_file_line_key_and_remedy(old, new, line, sentence):
    with pytest.raises(InputError) as refused:
        build(changed(old, new))
    where = "run.yaml" if line is None else f"run.yaml, line {line}"
    assert str(refused.value).startswith(f"{where}: {sentence}")
    assert "\n" not in str(refused.value)
    assert "Input should" not in str(refused.value)


def test_a_list_of_models_is_wanted():
    head = GOOD[: GOOD.index("models:")]
    for written, got in [("cbapm", "'cbapm'"), ("{name: cbapm}", "{'name': 'cbapm'}")]:
        with pytest.raises(InputError, match=re.escape(f"line 13: models must be a list; got {got}")):
            build(f"{head}models: {written}\n")
    with pytest.raises(InputError, match="models must be a list of at least 1"):
        build(f"{head}models: []\n")


def test_an_override_is_named_instead_of_a_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    with pytest.raises(InputError, match=r"^--set search.points: search.points must be at least 1; got 0$"):
        Experiment.from_yaml(file, ["search.points=0"])
    with pytest.raises(InputError, match=r"^--set models.0.dropuot: cbapm has no hyperparameter 'dropuot'; did"):
        Experiment.from_yaml(file, ["models.0.dropuot=0.5"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "windows.scheme=rolling",
            "line 11 with --set windows.scheme: windows: rolling needs windows.length, its train",
        ),
        ("windows.length=12", "line 11 with --set windows.length: windows: length (training months) belongs to the r"),
        ("models.0.dropout=0.5", "line 19 with --set models.0.dropout: dropout is both fixed and searched: keep one"),
    ],
)
def test_a_conflict_that_an_override_makes_names_both_places(tmp_path, override, sentence):
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    with pytest.raises(InputError) as refused:
        Experiment.from_yaml(file, [override, "name=other"])
    assert str(refused.value).startswith(f"{file}, {sentence}")
    assert "{" not in str(refused.value)


def test_a_key_of_another_source_is_told_from_a_misspelt_one(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(SIMULATED)
    with pytest.raises(InputError) as refused:
        Experiment.from_yaml(file, ["data.path=panel.parquet"])
    assert str(refused.value) == (
        "--set data.path: unknown key data.path; data.source simulated has none, path belongs to table, french, "
        "daily_prices"
    )
    with pytest.raises(InputError, match=r"data.slot; did you mean slots\?$"):
        Experiment.from_yaml(file, ["data.slot=3"])


def test_a_rule_between_hyperparameters_is_told_without_the_configuration():
    with pytest.raises(InputError) as refused:
        build(changed("{name: cbapm, hidden: [4], epochs: 2}", "{name: patchtst, width: 9, heads: 2}", SIMULATED))
    said = "run.yaml, line 6: patchtst: width must be a multiple of heads; got width 9 and heads 2: take width 8"
    assert str(refused.value) == said


def test_huge_values_are_shown_in_brief():
    with pytest.raises(InputError) as refused:
        build(changed("slots: 2", f"slots: {'x' * 100_000}"))
    assert len(str(refused.value)) < 300


def test_values_that_agree_in_six_digits_stay_apart():
    entry = build(changed("[0, 1e-1]", "[0.1, 0.10000001]")).models[0]
    assert len(entry.spaces()) == 4
    assert "cbapm[hidden=4,consensus_weight=0.10000001]" in entry.spaces()


def test_keywords_are_checked_as_files_are():
    with pytest.raises(ValidationError, match=r"cbapm has no hyperparameter 'dropuot'; did you mean dropout\?"):
        Experiment(
            name="x",
            data={"source": "simulated"},
            windows={"first_train_end": "2010-12"},
            models=[{"name": "cbapm", "dropuot": 0.1}],
        )


@pytest.mark.parametrize("text", [GOOD, SIMULATED, changed("[[4], [8, 4]]", "[8, 4]"), changed("[1, 12]", "12")])
def test_what_a_run_writes_down_is_the_experiment_again(tmp_path, text):
    experiment = build(f"{text}output: {tmp_path}\n")
    run = Run(experiment.directory)
    run.write_description({"experiment": experiment.model_dump(mode="json", by_alias=True), "windows": {12: []}})
    again = Run.open(run.path).experiment
    assert again == experiment
    # To the byte: 0 and 0.0 are equal, but a resumed run would write its tables differently.
    assert repr(again) == repr(experiment)


def test_settings_of_a_notebook_say_what_they_want():
    with pytest.raises(ValidationError, match="a month must be written YYYY-MM, as in 2010-12; got '201012'"):
        Windows(first_train_end=201012)
    with pytest.raises(ValidationError, match=r"length \(training months\) belongs to the rolling scheme"):
        Windows(first_train_end="2010-12", length=60)
    with pytest.raises(ValidationError, match="validation"):
        Windows.expanding(first_train_end="2010-12", validation=-1)
    with pytest.raises(ValidationError, match=r"rank\n.*valid boolean"):
        Preprocess(rank="maybe")
    with pytest.raises(ValidationError, match=r"imput\n.*not permitted"):
        Preprocess(imput="none")


# What only the data can tell


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


def test_a_job_wants_absolute_paths(monkeypatch, tmp_path):
    relative = build(GOOD)
    relative.require_readable_paths()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(InputError, match=r"data.path must be absolute in .*--set data.path=/data/panel.parquet"):
        relative.require_readable_paths()
    half = build(changed("path: panel.parquet", f"path: {tmp_path}/panel.parquet"))
    with pytest.raises(InputError, match=r"data.macro.path must be absolute in a Ray job.*got 'macro.csv'"):
        half.require_readable_paths()
    build(SIMULATED).require_readable_paths()
    with pytest.raises(InputError, match=r"output must be absolute in a Ray job.*got 'here'.*--set output=/data/runs"):
        _ = build(f"{SIMULATED}output: here\n").directory
    assert build(f"{SIMULATED}output: {tmp_path}\n").directory == tmp_path / "small"
    assert build(SIMULATED).directory == Path.home() / "factor_ray" / "runs" / "small"


def test_runs_are_kept_where_the_output_says(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert build(SIMULATED).directory == Path("runs/small")
    assert build(f"{SIMULATED}output: ~/kept\n").directory == Path.home() / "kept" / "small"


# The command line


def call(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["factor-ray", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_check_prints_the_plan_and_writes_nothing(monkeypatch, capsys, tmp_path):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "check", "run.yaml", "--set", "ensemble.members=2") == 0
    said = capsys.readouterr().out
    assert "horizon 1: 3 windows, embargo 0 months" in said
    assert "fits: at most 6 cells of cbapm" in said
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.yaml"], "factor-ray: there is no configuration none.yaml: check the path (it is taken from "),
        (
            ["run.yaml", "--set", "serch.points=2"],
            "factor-ray: --set serch.points: unknown key serch; did you mean search?\n",
        ),
        (
            ["run.yaml", "--set", "search.points"],
            "factor-ray: --set must have the form key.sub=value; got 'search.points'",
        ),
        (
            ["run.yaml", "--set", "models.0.name=nosuch"],
            "factor-ray: --set models.0.name: there is no model 'nosuch'; ",
        ),
        (
            ["run.yaml", "--set", "windows.first_train_end=2030-01"],
            "factor-ray: windows.first_train_end 2030-01 with 6",
        ),
        (
            ["run.yaml", "--set", "output=/proc/nope"],
            "factor-ray: /proc/nope/small cannot be written (No such file or directory): choose another directory with",
        ),
        (
            ["run.yaml", "--set", "output=run.yaml"],
            "factor-ray: run.yaml/small cannot be written (Not a directory): choose another directory with --set",
        ),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(monkeypatch, capsys, tmp_path, command, arguments, sentence):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, command, *arguments) == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines(keepends=True)[-1]
    assert last.startswith(sentence)
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_a_real_process_says_the_same(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: x\ndata: !!python/object/apply:os.system ['touch marker']\n")
    command = [sys.executable, "-m", "factor_ray.cli", "run", "run.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "factor-ray: run.yaml, line 2: not a plain YAML file (the tag tag:yaml.org,2002:python/object/apply:os.system "
        "is not allowed: write plain values)\n"
    )
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["resume", "none"],
        ["status", "none"],
        ["report", "none"],
        ["compare", "none"],
        ["refit", "none"],
        ["predict", "none", "--panel", "new.parquet", "--out", "out.parquet"],
    ],
)
def test_a_run_that_is_none_ends_with_code_2(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    assert "factor-ray: none is not a run: it has no experiment.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("content", [GOOD, "experiment: [1]\n", "experiment: {name: x}\n", "a: [\n", ""])
def test_a_run_whose_description_was_spoilt_ends_with_code_2(monkeypatch, capsys, tmp_path, content):
    (tmp_path / "experiment.yaml").write_text(content)
    assert call(monkeypatch, "resume", tmp_path) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "experiment.yaml") in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x.csv"], "--out must end in .parquet; got x.csv"),
        (["--out", "run.yaml"], "--out must end in .parquet; got run.yaml"),
        (["--out", "folder.parquet"], "--out folder.parquet is a folder; give a file's name"),
        (
            ["--out", "/proc/nope/x.parquet"],
            "--out /proc/nope/x.parquet cannot be written (No such file or directory): ",
        ),
        (["--out", "run.yaml", "--format", "openap"], "--out run.yaml is a file; --format openap needs a folder"),
        (["--out", "run.yaml/x", "--format", "openap"], "--out run.yaml/x cannot be written (Not a directory): "),
        (["--out", "new", "--format", "openap", "--slots", "10"], "--format openap takes no --slots: leave it out"),
        (["--out", "new.parquet", "--size", "small"], "--format table takes no --size: leave it out"),
        (["--out", "new.parquet", "--slots", "-1"], "the simulated market: slots must be at least 2; got -1"),
    ],
)
def test_simulate_writes_nothing_where_its_options_cannot_be_used(monkeypatch, capsys, tmp_path, arguments, sentence):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    (tmp_path / "folder.parquet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "simulate", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"factor-ray: {sentence}")
    assert len(said.splitlines()) == 1
    assert (tmp_path / "run.yaml").read_text() == SIMULATED
    assert {file.name for file in tmp_path.iterdir()} == {"run.yaml", "folder.parquet"}


def test_simulate_writes_a_panel_of_the_size_that_was_asked_for(monkeypatch, tmp_path):
    out = tmp_path / "new" / "panel.parquet"
    assert call(monkeypatch, "simulate", "--out", out, "--slots", 5, "--months", 8) == 0
    assert pd.read_parquet(out)["month"].nunique() == 8


def test_predict_refuses_where_it_could_not_write(monkeypatch, capsys, tmp_path):
    (tmp_path / "experiment.yaml").write_text("experiment: {}\n")
    assert call(monkeypatch, "predict", tmp_path, "--panel", "p.parquet", "--out", tmp_path) == 2
    assert capsys.readouterr().err == f"factor-ray: --out must end in .parquet; got {tmp_path}\n"


# The published schema


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_up_to_date():
    published = (ROOT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert published == configuration_schema() + "\n", (
        "write it again: factor-ray models --schema > configs/schema.json"
    )


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_our_configurations_are_valid_for_both(file):
    values = parse(file.read_text(encoding="utf-8"), file.name).values
    if "cluster_name" in values:
        pytest.skip("a cluster's configuration is Ray's")
    validator().validate(values)
    Experiment.from_yaml(file)


@pytest.mark.parametrize("text", [GOOD, SIMULATED, changed("[1, 12]", "3"), changed("[[4], [8, 4]]", "[8, 4]")])
def test_the_schema_takes_what_the_program_takes(text):
    validator().validate(parse(text, "run.yaml").values)
    build(text)


# What a schema cannot say: rules between keys, and bounds of what a range may hold.
BEYOND_A_SCHEMA = (
    "step must equal",
    "length (training",
    "twice: keep one",
    "both fixed and searched",
    "listed once",
    "must start above 0",
    "low < high",
    "horizons must differ",
    "cbapm: dropout must",
    "cbapm: epochs must",
    "embargo: embargo must be",
    "rolling needs windows.length",
    "low, high], two fin",
    "must be a finite number",
)


@pytest.mark.parametrize(("old", "new"), [case[:2] for case in UNKNOWN_KEYS + MISSING_KEYS + WRONG_VALUES])
def test_the_schema_refuses_what_the_program_refuses(old, new):
    with pytest.raises(InputError) as refused:
        build(changed(old, new))
    values = json.loads(json.dumps(parse(changed(old, new), "run.yaml").values))
    assert validator().is_valid(values) == any(rule in str(refused.value) for rule in BEYOND_A_SCHEMA)


def test_every_hyperparameter_is_described_once():
    said = describe_models()
    for name in model_names():
        settings = model(name).Settings
        assert set(settings.shape_names()) | set(settings.free_names()) == set(settings.model_fields)
        for field, info in settings.model_fields.items():
            assert info.description
            assert len(re.findall(rf"^  {field} \((?:shape|free), default ", said, re.M)) >= 1
    properties = yaml.safe_load(configuration_schema())["$defs"]["ModelEntry"]["oneOf"][0]["properties"]
    assert all(described.get("description") for name, described in properties.items() if name != "name")
