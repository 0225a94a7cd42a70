from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from factor_ray.data.load import load
from factor_ray.data.settings import OpenapData
from factor_ray.data.simulation import simulate
from factor_ray.data.sources.cbapm_variables import cbapm_names
from factor_ray.data.synthetic_macro import SERIES
from factor_ray.data.synthetic_openap import PAPER_ROWS, _firms_of, write_openap
from factor_ray.errors import WorkError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("openap")
    write_openap(made)
    return made


def settings(folder: Path) -> OpenapData:
    macro = [
        {"source": "fred_md", "path": str(folder / "fred_md.csv"), "series": "cbapm"},
        {"source": "goyal_welch", "path": str(folder / "goyal_welch.csv")},
    ]
    files = {"signals": "signals.parquet", "returns": "crsp.parquet", "risk_free": "french.csv"}
    paths = {key: str(folder / name) for key, name in files.items()}
    return OpenapData.model_validate({"source": "openap", **paths, "macro": macro})


def test_what_is_read_is_the_simulated_market(folder: Path) -> None:
    loaded = load(settings(folder))
    truth = simulate(slots=40, months=360, start="1994-01", characteristics=114, macro_series=123).panel
    panel = loaded.panel
    assert len(panel) == len(truth)
    np.testing.assert_array_equal(panel.assets, truth.assets)
    excess = panel.values("return") - panel.values("risk_free")
    np.testing.assert_allclose(excess, truth.values("return"), atol=1e-6)
    np.testing.assert_allclose(panel.values("market_cap"), truth.values("market_cap") * 1000, rtol=1e-5)
    assert panel.characteristic_names == cbapm_names("characteristic")
    priced = panel.characteristic_names.index("AM")  # the first that is reported monthly
    np.testing.assert_array_equal(panel.characteristics[:, priced], truth.characteristics[:, 0])
    np.testing.assert_array_equal(panel.consensus, truth.consensus)
    assert "delisting returns were merged" in " ".join(loaded.notes)


def test_macro_series_are_known_without_delay_once_lagged(folder: Path) -> None:
    panel = load(settings(folder)).panel
    truth = simulate(slots=40, months=360, start="1994-01", characteristics=114, macro_series=123).panel
    assert panel.macro is not None
    assert truth.macro is not None
    assert set(panel.macro.names) == set(SERIES)
    for position, name in enumerate(SERIES):
        read = panel.macro.values[:, panel.macro.names.index(name)].astype(np.float64)
        assert np.isfinite(read).all(), name
        correlation = np.corrcoef(read, truth.macro.values[:, position])[0, 1]
        assert correlation > 0.9999, (name, correlation)


def test_the_files_have_crsps_peculiarities(folder: Path) -> None:
    crsp = pl.read_parquet(folder / "crsp.parquet")
    assert {"B", "C"} <= set(crsp["ret"].unique())
    assert crsp["dlret"].is_not_null().sum() > 10
    assert 0.02 < (crsp["prc"] < 0).mean() < 0.08


def test_as_many_rows_as_the_paper_are_whole_firms() -> None:
    panel = simulate(slots=40, months=60).panel
    rows = _firms_of(panel, 1_000)
    assert len(rows) == 1_000
    counts = dict(zip(*np.unique(panel.assets[rows], return_counts=True), strict=True))
    whole = dict(zip(*np.unique(panel.assets, return_counts=True), strict=True))
    assert sum(counts[firm] < whole[firm] for firm in counts) <= 1
    assert PAPER_ROWS == 605_722


@pytest.mark.parametrize("name", ["signals.parquet", "french.csv"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(WorkError, match=rf"^the files in {tmp_path} cannot be written \(.*No space left.*\): "):
        write_openap(tmp_path)
