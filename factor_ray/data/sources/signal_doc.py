"""Open Source Asset Pricing's SignalDoc.csv: which signals there are, and how often what they measure is reported."""

from __future__ import annotations

from pathlib import Path

from factor_ray.data.panel_rules import Frequency
from factor_ray.data.sources._files import read_csv
from factor_ray.errors import InputError

# SignalDoc states no frequency; what a signal is made of is the nearest. Whatever may come from annual reports counts
# as annual, which is never too early.
_BY_DATA: dict[str, Frequency] = {"Price": "monthly", "Trading": "monthly", "Options": "monthly", "13F": "quarterly"}
_COLUMNS = ("Acronym", "Cat.Signal", "Cat.Data")


def signal_doc(path: str | Path) -> dict[str, Frequency]:
    """Read which signals SignalDoc.csv lists, and a frequency for each, judged by its category of data.

    Parameters
    ----------
    path
        SignalDoc.csv of any date.

    Returns
    -------
    dict of str to str
        By acronym: monthly for price, trading and options data, quarterly for 13F filings, annual for all others.
        Signals marked Drop are left out.

    Raises
    ------
    InputError
        If the file cannot be read or has no column Acronym, Cat.Signal or Cat.Data.
    """
    path = Path(path)
    table = read_csv(path)
    absent = next((name for name in _COLUMNS if name not in table.columns), None)
    if absent is not None:
        raise InputError(f"{path} has no column {absent!r}, which SignalDoc.csv has: give that file as downloaded")
    kept = table[table["Cat.Signal"] != "Drop"]
    return {
        str(name).strip(): _BY_DATA.get(str(data), "annual")
        for name, data in zip(kept["Acronym"], kept["Cat.Data"], strict=True)
    }
