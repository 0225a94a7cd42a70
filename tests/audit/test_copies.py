"""Perturbed copies of files: what is dated later is noise or gone, what is earlier is loaded as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray.audit.copies import Change, perturbed_copy
from factor_ray.audit.perturb import perturbed
from factor_ray.configuration import parse
from factor_ray.data import french, goyal_welch
from factor_ray.data.load import load
from factor_ray.data.months import parse_month
from factor_ray.data.synthetic_openap import write_openap
from factor_ray.experiment import Experiment

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CHANGES: tuple[Change, ...] = ("noise", "deletion")


def openap_files(folder: Path) -> dict[str, Any]:
    files = {file.name: str(file) for file in write_openap(folder)}
    macro = [{"source": name, "path": files[f"{name}.csv"]} for name in ("fred_md", "goyal_welch")]
    paths = {"signals": files["signals.parquet"], "returns": files["crsp.parquet"], "risk_free": files["french.csv"]}
    return {"source": "openap", **paths, "macro": macro}


def daily_files(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    (folder / "prices").mkdir()
    days = pd.bdate_range("2009-01-01", "2018-12-31")
    for ticker in ("AAA", "BBB", "CCC", "DDD"):
        close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, len(days))))
        bars = {"Date": days, "Open": close, "High": close * 1.01, "Low": close * 0.99, "Close": close}
        frame = pd.DataFrame({**bars, "Volume": rng.integers(1_000, 9_000, len(days))})
        frame.to_csv(folder / "prices" / f"{ticker}.csv", index=False)
    return {"source": "daily_prices", "path": str(folder / "prices")}


def french_files(_: Path) -> dict[str, Any]:
    if not SHARED.is_dir():
        pytest.skip("the real files are not here: they are looked for in shared/data beside the repository")
    portfolios = SHARED / "portfolios" / "25_Portfolios_5x5.csv"
    factors = SHARED / "factors" / "F-F_Research_Data_5_Factors_2x3.csv"
    return {"source": "french", "path": str(portfolios), "market": str(factors), "start": "1970-01", "end": "2000-12"}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("files", "month", "copies"),
    [(openap_files, "2010-05", 5), (daily_files, "2017-05", 1), (french_files, "1990-05", 2)],
    ids=["openap", "daily_prices", "french"],
)
def test_what_is_earlier_is_loaded_as_it_was(
    tmp_path: Path, files: Callable[[Path], dict[str, Any]], month: str, copies: int, change: Change
) -> None:
    text = {"name": "x", "data": files(tmp_path), "windows": {"first_train_end": month}, "models": [{"name": "cbapm"}]}
    experiment = Experiment.from_configuration(parse(str(text), "x.yaml"))
    loaded, at = load(experiment.data), parse_month(month)
    other, told = perturbed(experiment, loaded, at, change, tmp_path / "copies")
    assert told.count("a copy of") == copies, told
    one, two = loaded.panel, other.panel
    first = int(one.months[0])
    ours, theirs = one.between(first, at), two.between(first, at)
    assert ours.characteristic_names == theirs.characteristic_names
    pd.testing.assert_frame_equal(ours.to_frame(), theirs.to_frame())
    for mine, his in ((ours.macro, theirs.macro), (ours.factors, theirs.factors)):
        if mine is not None and his is not None:
            np.testing.assert_array_equal(mine.values, his.values)
    if change == "deletion":
        assert int(two.months[-1]) == at
    else:
        later = [panel.between(at + 1, int(one.months[-1])) for panel in (one, two)]
        known = np.isfinite(later[0].values("return"))
        assert len(later[0]) == len(later[1])
        differs = later[0].values("return")[known] != later[1].values("return")[known]
        assert differs.mean() > 0.95


@pytest.mark.filterwarnings("ignore:Cannot parse header or footer")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_goyal_and_welch(tmp_path: Path, change: Change, form: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the real files are not here: they are looked for in shared/data beside the repository")
    file = SHARED / "macro" / "PredictorData2022.xlsx"
    if form == "csv":
        table = pd.read_excel(file, sheet_name="Monthly", dtype=object)
        file = tmp_path / "monthly.csv"
        table.to_csv(file, index=False)
    month = parse_month("1995-06")
    one = goyal_welch(file)
    two = goyal_welch(perturbed_copy(file, month, change, tmp_path / "copy"))
    pd.testing.assert_frame_equal(one[:"1995-06"], two[:"1995-06"])
    if change == "deletion":
        assert str(two.index[-1]) == "1995-06"
    else:
        assert (one["tbl"]["1995-07":] != two["tbl"]["1995-07":]).mean() > 0.95
        assert one.isna().equals(two.isna())


def test_annual_blocks_of_french_are_later_when_their_year_ends_later(tmp_path: Path) -> None:
    lines = [",A,B", "199001,1.00,2.00", "199012,3.00,-99.99", "199101,5.00,6.00"]
    file = tmp_path / "file.csv"
    file.write_text("\n".join(["Prose", "", *lines, "", "Annual", ",A,B", "1989,7.00,8.00", "1990,9.00,1.00", ""]))
    copy = perturbed_copy(file, parse_month("1990-06"), "noise", tmp_path / "noise").read_text().splitlines()
    told = file.read_text().splitlines()
    assert [number for number, line in enumerate(told) if line != copy[number]] == [4, 5, 10]
    assert copy[4].endswith(",-99.99")
    cut = perturbed_copy(file, parse_month("1990-06"), "deletion", tmp_path / "cut").read_text().splitlines()
    assert cut == [line for number, line in enumerate(told) if number not in (4, 5, 10)]
    assert len(french(tmp_path / "cut" / "file.csv")) == 2
