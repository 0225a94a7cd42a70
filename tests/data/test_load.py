from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray.configuration import parse
from factor_ray.data.load import load
from factor_ray.data.macro_sources import read_macro
from factor_ray.data.months import parse_month
from factor_ray.data.settings import FrenchData, MonthlyTable, OpenapData, TableData
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment

MONTHS = pd.period_range("2000-01", periods=4, freq="M")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rows = [(firm, str(month)) for firm in (1, 2) for month in MONTHS]
    frame = pd.DataFrame(rows, columns=["asset", "month"]).assign(ret=np.arange(8) / 100, size=np.arange(8.0))
    frame.to_csv(tmp_path / "panel.csv", index=False)
    monthly = pd.DataFrame({"month": [str(m) for m in MONTHS], "x": [1.0, 2.0, 3.0, 4.0], "y": [5.0, 6.0, 7.0, 8.0]})
    monthly.to_csv(tmp_path / "macro.csv", index=False)
    monthly[["month", "y"]].rename(columns={"y": "z"}).to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "goyal.csv").write_text(
        "yyyymm,Index,D12,tbl,lty,UN\n" + "".join(f"{m:%Y%m},100,{2 + i},0.05,0.06,1\n" for i, m in enumerate(MONTHS))
    )
    return tmp_path


def table(files: Path, macro: Any = None) -> TableData:
    columns = {"return": "ret", "characteristics": ["size"]}
    return TableData.model_validate(
        {"source": "table", "path": str(files / "panel.csv"), "columns": columns, "macro": macro}
    )


def test_macro_sources_are_joined_by_month_each_with_its_lag(files: Path) -> None:
    macro = [
        {"source": "monthly_table", "path": str(files / "macro.csv"), "series": ["y", "x"], "lag": 0},
        {"source": "goyal_welch", "path": str(files / "goyal.csv"), "series": ["dp", "tms"], "lag": 2},
    ]
    loaded = load(table(files, macro))
    known = loaded.panel.macro
    assert known is not None
    assert known.names == ("y", "x", "dp", "tms")
    np.testing.assert_array_equal(known.values[:, 1], [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(known.values[:, 2], [np.nan, np.nan, np.log(0.02), np.log(0.03)], rtol=1e-6)
    assert not any("goyal.csv" in note for note in loaded.notes)  # its column UN is not asked for
    every = load(table(files, [{**macro[1], "series": "all"}]))
    assert every.panel.macro is not None
    assert every.panel.macro.names == ("Index", "D12", "tbl", "lty", "dp", "dy", "tms", "UN")
    assert "goyal.csv: columns that are not Goyal and Welch's are used as they stand: UN." in every.notes
    assert any("macro.csv are used in the file's own units" in note for note in loaded.notes)


def test_one_macro_source_may_stand_without_a_list(files: Path) -> None:
    one = {"source": "monthly_table", "path": str(files / "macro.csv")}
    alone, listed = load(table(files, one)).panel.macro, load(table(files, [one])).panel.macro
    assert alone is not None
    assert listed is not None
    np.testing.assert_array_equal(alone.values, listed.values)
    assert table(files).macro_sources == ()


def test_macro_series_that_end_before_the_panel_are_noted(files: Path) -> None:
    text = (files / "macro.csv").read_text()
    (files / "macro.csv").write_text(text[: text.index("2000-03")])
    one = {"source": "monthly_table", "path": str(files / "macro.csv")}
    assert "macro.csv ends in 2000-02; the panel ends in 2000-04." in load(table(files, one)).notes
    assert not any("ends in" in note for note in load(table(files, {**one, "lag": 2})).notes)


def factors(files: Path, first: str, months: int) -> tuple[str, ...]:
    index = pd.period_range(first, periods=months, freq="M").astype(str)
    pd.DataFrame({"month": index, "f": np.arange(months) / 100}).to_csv(files / "f.csv", index=False)
    given = {**table(files).model_dump(by_alias=True), "path": str(files / "long.csv")}
    given["factors"] = [{"path": str(files / "f.csv"), "columns": {"f": "decimal"}}]
    return load(TableData.model_validate(given)).notes


def test_factors_that_end_before_the_panel_are_noted_and_those_of_other_years_refused(files: Path) -> None:
    index = pd.period_range("2000-01", periods=30, freq="M").astype(str)
    frame = pd.DataFrame({"month": index, "asset": 1, "ret": np.arange(30) / 100, "size": np.arange(30.0)})
    frame.to_csv(files / "long.csv", index=False)
    assert "f.csv ends in 2000-12; the panel ends in 2002-06." in factors(files, "1999-01", 24)
    assert not any("ends in" in note for note in factors(files, "1999-01", 42))
    with pytest.raises(InputError, match=r"2000-01 to 2002-06; 11 of these 30 have all factors \(.*f\.csv 1999-01 to"):
        factors(files, "1999-01", 23)
    with pytest.raises(InputError, match="0 of these 30 have all factors"):
        factors(files, "1990-01", 60)


def test_a_series_in_two_sources_is_refused(files: Path) -> None:
    macro = [{"source": "monthly_table", "path": str(files / "macro.csv")}] * 2
    with pytest.raises(InputError, match=r"macro series 'x' is in two of .*macro\.csv.*: choose by `series`"):
        load(table(files, macro))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"path": "none.csv"}, r"none\.csv must be a file .*; there is none: check the path \(it is taken from"),
        ({"series": ["q"]}, r"macro\.csv has no column 'q'"),
        ({"source": "goyal_welch", "path": "goyal.csv", "series": ["svar"]}, r"goyal\.csv has no series 'svar'"),
        ({"source": "goyal_welch", "path": "goyal.csv"}, r"goyal\.csv has no series 'ep'"),
    ],
)
def test_broken_macro_is_refused(files: Path, changed: dict[str, Any], says: str) -> None:
    chosen = {"source": "monthly_table", "path": "macro.csv", **changed}
    with pytest.raises(InputError, match=says):
        load(table(files, {**chosen, "path": str(files / chosen["path"])}))


def test_lineage_names_every_file_with_size_hash_and_dates(files: Path) -> None:
    macro = [{"source": "monthly_table", "path": str(files / name), "lag": 1} for name in ("macro.csv", "other.csv")]
    macro[1]["series"] = ["z"]
    lineage = load(table(files, macro)).lineage
    content = (files / "panel.csv").read_bytes()
    assert lineage["panel"] == {
        "name": "panel.csv",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "first_month": "2000-01",
        "last_month": "2000-04",
        "rows": 8,
    }
    assert [(m["files"][0]["name"], m["first_month"], m["last_month"]) for m in lineage["macro"]] == [
        ("macro.csv", "2000-01", "2000-04"),
        ("other.csv", "2000-01", "2000-04"),
    ]


def test_a_source_without_a_file_names_its_package() -> None:
    loaded = load(FrenchData.model_validate({"source": "french", "start": "2000-01", "end": "2001-12"}))
    assert loaded.lineage["panel"]["package"] == "linearmodels"
    assert (loaded.panel.months[0], len(loaded.panel.months)) == (parse_month("2000-01"), 24)
    assert any("equally weighted" in note for note in loaded.notes)


def test_no_macro_source_gives_none() -> None:
    assert read_macro(()) == (None, [], [])


def test_paths_by_key_and_changed(files: Path) -> None:
    macro = [{"source": "monthly_table", "path": "a.csv"}, {"source": "goyal_welch", "path": "b.xlsx"}]
    data = OpenapData.model_validate({"source": "openap", "signals": "s", "returns": "r", "macro": macro})
    assert data.paths() == {
        "data.signals": "s",
        "data.returns": "r",
        "data.macro.0.path": "a.csv",
        "data.macro.1.path": "b.xlsx",
    }
    changed = data.with_paths(lambda path: f"/x/{path}")
    assert OpenapData.model_validate(changed).paths() == {key: f"/x/{path}" for key, path in data.paths().items()}
    assert changed["risk_free"] is None
    one = table(files, {"source": "monthly_table", "path": "a.csv"})
    assert one.paths()["data.macro.path"] == "a.csv"
    assert TableData.model_validate(one.with_paths(lambda path: path)) == one
    assert isinstance(one.macro, MonthlyTable)


def test_relative_paths_are_refused_in_a_ray_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    text = "{source: openap, signals: /s, returns: /r, macro: [{source: goyal_welch, path: g.csv}]}"
    with pytest.raises(InputError, match=r"data\.macro\.0\.path must be absolute .*--set data\.macro\.0\.path=/data/g"):
        experiment(text).require_readable_paths()
    experiment("{source: french}").require_readable_paths()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{source: opnap}", r"data\.source is 'opnap'; did you mean openap\?"),
        ("{source: openap, signals: s}", r"data\.returns is required"),
        ("{source: openap, signals: s, returns: r, chars: [a]}", r"unknown key data\.chars"),
        ("{source: french, weights: cap}", r"data\.weights must be 'value' or 'equal'"),
        ("{source: french, start: 1990}", r"data\.start"),
        ("{source: french, start: 1990-13}", r"data\.start: a month must be written YYYY-MM.*got '1990-13'"),
        ("{source: daily_prices, path: p, macro: {source: fredmd, path: p}}", r"data\.macro\.source is 'fredmd'"),
        ("{source: french, macro: [{source: fred_md, path: p, lagg: 1}]}", r"unknown key data\.macro\.0\.lagg"),
        ("{source: french, macro: {source: fred_md, path: p, lag: -1}}", r"data\.macro\.lag must be at least 0"),
    ],
)
def test_refused_configurations_name_the_key(data: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        experiment(data)
    assert str(caught.value).startswith("run.yaml, line 2: ")


def experiment(data: str) -> Experiment:
    rest = "windows: {first_train_end: 2010-12}\nmodels: [{name: cbapm, consensus_weight: 0}]\n"
    return Experiment.from_configuration(parse(f"name: x\ndata: {data}\n{rest}", "run.yaml"))
