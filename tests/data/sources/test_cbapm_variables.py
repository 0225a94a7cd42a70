from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from factor_ray.data.sources.cbapm_variables import cbapm_names, cbapm_variables, other_name
from factor_ray.data.sources.signal_doc import signal_doc
from factor_ray.errors import InputError


def test_counts_of_the_papers_tables() -> None:
    variables = cbapm_variables()
    assert len(variables) == 123
    inputs = [variable for variable in variables.values() if variable.role == "characteristic"]
    assert Counter(variable.frequency for variable in inputs) == {
        "monthly": 61,
        "annual": 42,
        "quarterly": 9,
        "half-yearly": 1,
        "biennial": 1,
    }
    assert [variable.name for variable in inputs if variable.growth] == [
        "AssetGrowth",
        "ChEQ",
        "ChInv",
        "hire",
        "GrLTNOA",
    ]
    assert cbapm_names("consensus") == (
        *("AnalystRevision", "ChangeInRecommendation", "ChForecastAccrual", "EarningsForecastDisparity", "FEPS"),
        *("ForecastDispersion", "REV6", "AnalystValue", "AOP"),
    )
    assert {variables[name].frequency for name in cbapm_names("consensus")} == {"annual"}
    assert variables["BMdec"].frequency == "half-yearly"
    assert variables["PriceDelayTstat"].source == "Hou and Moskowitz (2005)"


def test_every_renaming_goes_both_ways() -> None:
    pairs = {"zerotrade": "zerotrade6M", "zerotradeAlt1": "zerotrade1M", "zerotradeAlt12": "zerotrade12M"}
    for old, new in pairs.items():
        assert (other_name(old), other_name(new)) == (new, old)
    assert other_name("AM") is None


@pytest.mark.parametrize("date", ["2024-08-05", "2025-10"])
def test_every_variable_is_in_signal_doc_by_one_of_its_names(real: Path, date: str) -> None:
    documented = signal_doc(real / f"meta/SignalDoc_{date}.csv")
    assert len(documented) == 326
    for name in cbapm_variables():
        assert name in documented or other_name(name) in documented, name
    assert documented["DolVol"] == "monthly"
    assert documented["Accruals"] == "annual"


def test_another_table_is_no_signal_doc(tmp_path: Path) -> None:
    (tmp_path / "doc.csv").write_text("Acronym,Sign\nAM,1\n")
    with pytest.raises(InputError, match=r"doc\.csv has no column 'Cat\.Signal'"):
        signal_doc(tmp_path / "doc.csv")
