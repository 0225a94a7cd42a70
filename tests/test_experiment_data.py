"""What is wrong in the section `data` of a configuration ends in one sentence."""

import pytest
from configurations import SIMULATED, assert_refused

from factor_ray.errors import InputError
from factor_ray.experiment import Experiment

REFUSED = [
    ("source: table", "sorce: table", 3, "unknown key data.sorce; did you mean source?"),
    ("  path: panel.parquet", "  pth: panel.parquet", 4, "unknown key data.pth; did you mean path?"),
    ("    asset: permno", "    aset: permno", 6, "unknown key data.columns.aset; did you mean asset?"),
    ("    asset: permno", "    retrun: ret", 6, "unknown key data.columns.retrun; did you mean return?"),
    ("path: macro.csv", "path: macro.csv, lags: 1", 9, "unknown key data.macro.lags; did you mean lag?"),
    ("source: fred_md", "source: fredmd", 9, "data.macro.source is 'fredmd'; did you mean fred_md?"),
    ("source: fred_md, ", "", 9, "data.macro.source is required: add it, one of fred_md, goyal_welch, monthly_table"),
    ("source: table", "source: tables", 3, "data.source is 'tables'; did you mean table?"),
    ("source: table", "source: 5", 3, "data.source is 5; valid are simulated, simulated_quantiles, table, "),
    ("  source: table\n", "", 2, "data.source is required: add it, one of simulated, simulated_quantiles, table, "),
    ("    characteristics: [size, value]\n", "", 5, "data.columns.characteristics is required: add it"),
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
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), REFUSED)
def test_what_is_wrong_in_data_is_one_sentence(old, new, line, sentence):
    assert_refused(old, new, line, sentence)


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
