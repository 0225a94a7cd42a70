"""What Jensen, Kelly and Pedersen document of each characteristic: sign, theme, paper and sample."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pandas as pd

from factor_ray.data.sources._files import to_numbers
from factor_ray.data.sources.monthly_table import read_table
from factor_ray.errors import InputError

_TEXTS = {
    "name": "abr_jkp",
    "title": "name_new",
    "theme": "group",
    "citation": "cite",
    "acronym": "abr_hxz",
    "original_title": "name",
}
_DIRECTION, _SAMPLE, _SIGNIFICANT = "direction", "in-sample period", "significance"
_MISSING = ("", "n/a", "na", "nan")
_YEARS = r"(\d{4})\s*-\s*(\d{4})"


def jkp_factor_details(path: str | Path) -> pd.DataFrame:
    """Read the table of characteristics of JKP's Global Factor Data (factor_details.xlsx, also as CSV).

    The sign and theme of each factor of :func:`factor_ray.data.sources.jkp.jkp_factors`::

        details = jkp_factor_details("factor_details.xlsx").dropna(subset="name").set_index("name")
        details.loc["be_me", ["direction", "theme"]]

    Parameters
    ----------
    path
        The workbook, or its sheet as CSV.

    Returns
    -------
    DataFrame
        One row per characteristic in the file's order. ``name`` is the factor's in JKP's files, missing for
        characteristics that they did not build; ``direction`` (Int64) is 1 where high values of the characteristic
        earned more in the original paper and -1 where they earned less (factors are signed by it already);
        ``significant`` (boolean) is whether that was significant there; ``theme`` is the group of Hou, Xue and Zhang in
        lower case, ``new`` for those that JKP added (their 13 clusters are not in this file); then ``title``,
        ``citation``, ``sample_start`` and ``sample_end`` (Int64, years of the paper's sample), and ``acronym`` and
        ``original_title`` of Hou, Xue and Zhang. Texts that were decoded wrongly before they came into the file are
        mended.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, a name comes twice, a direction is neither 1 nor -1, or a sample is
        not written as years.

    References
    ----------
    Jensen, Kelly and Pedersen (2023), Journal of Finance 78(5); Hou, Xue and Zhang (2020), Review of Financial
    Studies 33(5).
    """
    path = Path(path)
    table = read_table(path)
    wanted = [*_TEXTS.values(), _DIRECTION, _SAMPLE, _SIGNIFICANT]
    absent = next((name for name in wanted if name not in table.columns), None)
    if absent is not None:
        raise InputError(f"{path} has no column {absent!r}, which JKP's factor_details.xlsx has: give that file")
    numbers = to_numbers(path, table[[_DIRECTION, _SIGNIFICANT]])
    wrong = numbers[_DIRECTION].dropna()
    wrong = wrong[~wrong.isin([-1, 1])]
    if len(wrong):
        raise InputError(
            f"{path}: 'direction' must be 1 or -1; it is {wrong.iloc[0]:g} in row {wrong.index[0] + 1}: mend it"
        )
    texts = pd.DataFrame({name: table[column].map(_text).astype("string") for name, column in _TEXTS.items()})
    names = texts["name"].dropna()
    if names.duplicated().any():
        raise InputError(f"{path} has the name {names[names.duplicated()].iloc[0]!r} twice: remove one")
    sample = table[_SAMPLE].map(_text).astype("string")
    years = sample.str.extract(_YEARS).astype("Int64")
    unread = sample[sample.notna() & years[0].isna()]
    if len(unread):
        raise InputError(f"{path}: {_SAMPLE!r} must be years, as 1963 - 1990; got {unread.iloc[0]!r}: mend or blank it")
    texts["theme"] = texts["theme"].str.lower()
    found = texts[["name"]].assign(
        direction=numbers[_DIRECTION].astype("Int64"),
        significant=numbers[_SIGNIFICANT].astype("boolean"),
        theme=texts["theme"],
        title=texts["title"],
        citation=texts["citation"],
        sample_start=years[0],
        sample_end=years[1],
    )
    return found.join(texts[["acronym", "original_title"]])


def _text(cell: object) -> str | None:
    """A cell's text, one space between words; UTF-8 that was once read as Windows-1252 is read anew."""
    text = " ".join(str(cell).split())
    with contextlib.suppress(UnicodeError):  # such a text is as it should be
        text = text.encode("cp1252").decode("utf-8")
    return None if text.lower() in _MISSING else text
