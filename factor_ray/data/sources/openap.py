"""Open Source Asset Pricing signals joined with CRSP returns: the panel of CB-APM, from files as downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl

from factor_ray.data.macro import Macro
from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.panel_rules import Frequency
from factor_ray.data.sources.cbapm_variables import Variable, cbapm_names, cbapm_variables, other_name
from factor_ray.data.sources.crsp import read_crsp
from factor_ray.data.sources.market import market_returns, require_rates
from factor_ray.data.sources.signal_doc import signal_doc as read_signal_doc
from factor_ray.data.sources.signals import FROM_CRSP, Signals
from factor_ray.errors import InputError

Names = Sequence[str] | Literal["cbapm", "all"]

_LABELS = {"exchange": "exchcd", "share_code": "shrcd"}


def openap(
    signals: str | Path,
    returns: str | Path,
    *,
    risk_free: str | Path | None = None,
    signal_doc: str | Path | None = None,
    delistings: str | Path | None = None,
    missing_delisting_return: float | None = None,
    characteristics: Names = "cbapm",
    consensus: Sequence[str] | Literal["cbapm"] = "cbapm",
    start: str | None = None,
    end: str | None = None,
    macro: Macro | None = None,
) -> Panel:
    """Build a panel from Open Source Asset Pricing signals and CRSP monthly returns.

    Parameters
    ----------
    signals : path
        The wide table (CSV, also zipped, or Parquet) of ``permno, yyyymm`` and one column per acronym, or a folder of
        one file per predictor (``permno, yyyymm, <acronym>``).
    returns : path
        CRSP's monthly stock file, classic or CIZ; see :func:`factor_ray.data.sources.crsp.read_crsp`.
    risk_free : path, optional
        A factor file of Kenneth French's with RF. None: the returns file must have a column ``rf`` (decimals).
    signal_doc : path, optional
        SignalDoc.csv of any date. It settles the frequency of signals that are not in the paper's tables; without it
        they count as annual.
    delistings : path, optional
        CRSP's delisting returns (``permno, dlstdt, dlret, dlstcd``) where the classic returns file lacks them.
    missing_delisting_return : float, optional
        Return of performance-related delistings without a known one, as -0.3 (Shumway, 1997); None: it stays missing.
    characteristics : list of str, "cbapm" or "all"
        Inputs: the 114 of CB-APM's Table D.1, all that are no consensus, or acronyms. A signal that was renamed on
        2024-08-06 is found by either name. Price, Size and STreversal, which Open Source Asset Pricing may not
        distribute, are made from CRSP where they are absent.
    consensus : list of str or "cbapm"
        Targets of the bottleneck: the 9 variables of Table D.4, or acronyms; may be empty.
    start, end : str, optional
        First and last month, YYYY-MM (the paper: 1994-01 to 2023-12).
    macro : Macro, optional

    Returns
    -------
    Panel
        One row per firm and month that has signals, and per month with a CRSP return after its firm's first signals
        (a delisting return may come later than the last signals). Returns are gross, risk_free stands beside them;
        market_cap is in thousand dollars; price, exchange and share_code are CRSP's. frequency and growth are those of
        the paper's tables.

    Raises
    ------
    InputError
        If a file cannot be read, a column or signal is missing, keys repeat, no firm of the signals has returns, or a
        month has no risk-free rate.
    """
    held = Signals(signals)
    concepts = list(cbapm_names("consensus") if consensus == "cbapm" else consensus)
    inputs = _inputs(held, characteristics, concepts)
    documented = {} if signal_doc is None else read_signal_doc(signal_doc)
    span = (None if start is None else parse_month(start), None if end is None else parse_month(end))
    made = [name for name in FROM_CRSP if name in inputs and held.held_as(name) is None]
    wide = held.read([name for name in [*inputs, *concepts] if name not in made], span)
    crsp, notes = read_crsp(
        returns, delistings=delistings, missing_delisting_return=missing_delisting_return, span=span
    )
    rows = _rows(wide, crsp, notes)
    rows = rows.with_columns(_made(name, signed=not held.is_folder) for name in made)
    if made:
        notes.append(
            f"{', '.join(made)} were made from CRSP's prices, shares and returns: {held.path.name} lacks them."
        )
    rows = _with_risk_free(rows, risk_free, returns)
    frequency = _frequencies([*inputs, *concepts], documented, notes)
    frame = rows.to_pandas()
    frame["month"] = frame["month"].to_numpy().astype("datetime64[M]").astype("datetime64[s]")
    growth = [name for name in inputs if (variable := _variable(name)) is not None and variable.growth]
    labels = {role: column for role, column in _LABELS.items() if column in frame}
    try:
        panel = Panel.from_frame(
            frame,
            month="month",
            asset="permno",
            returns="ret",
            risk_free="rf",
            market_cap="cap",
            price="prc",
            characteristics=inputs,
            consensus=concepts,
            frequency=frequency,
            growth=growth,
            macro=macro,
            **labels,
        )
    except InputError as error:
        raise InputError(f"{signals} joined with {returns}: {error}") from error
    return panel.with_notes(notes)


def _inputs(signals: Signals, chosen: Names, concepts: Sequence[str]) -> list[str]:
    if chosen == "cbapm":
        return list(cbapm_names("characteristic"))
    if chosen != "all":
        return list(chosen)
    taken = {*concepts, *(other_name(name) for name in concepts)}
    return [*(name for name in signals.names if name not in taken), *(n for n in FROM_CRSP if n not in signals.names)]


def _rows(signals: pl.DataFrame, crsp: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Join signals and returns, dropping firms without any return, and months of returns before a firm's signals."""
    traded = signals.join(crsp.select("permno").unique(), on="permno", how="semi")
    if traded.is_empty():
        raise InputError(
            f"no permno of the signals (such as {signals['permno'][0]}) has a return in the months asked for: are both "
            "files of CRSP's permno?"
        )
    if traded.height < signals.height:
        firms = signals["permno"].n_unique() - traded["permno"].n_unique()
        notes.append(
            f"{signals.height - traded.height:,} rows of {firms:,} firms without any CRSP return were left out."
        )
    last = int(np.asarray(traded["month"].max()))
    first = traded.group_by("permno").agg(pl.col("month").min().alias("first"))
    known = crsp.join(first, on="permno").filter(pl.col("month").is_between("first", last)).drop("first")
    return traded.join(known, on=["permno", "month"], how="full", coalesce=True)


def _made(name: str, *, signed: bool) -> pl.Expr:
    """Make a signal from CRSP: signed as in the wide file, where a predictor's own file has it as it is."""
    value = {"Price": pl.col("prc").log(), "Size": (pl.col("cap") / 1000).log(), "STreversal": pl.col("ret")}[name]
    return (-value if signed else value).cast(pl.Float32).alias(name)


def _with_risk_free(rows: pl.DataFrame, risk_free: str | Path | None, returns: str | Path) -> pl.DataFrame:
    if risk_free is not None:
        rate = market_returns(risk_free)["RF"]
        numbers = rows["month"].unique().sort()
        months = pd.PeriodIndex(numbers.to_numpy().astype("datetime64[M]").astype("datetime64[s]"), freq="M")
        require_rates(rate, months, risk_free)
        by_month = pl.DataFrame({"month": numbers, "rf": rate.loc[months].to_numpy()})
        return rows.drop("rf", strict=False).join(by_month, on="month", how="left")
    if "rf" in rows.columns:
        return rows
    raise InputError(
        f"{returns} holds returns gross of the risk-free rate and no column rf: give one of French's factor files as "
        "data.risk_free"
    )


def _frequencies(names: Sequence[str], documented: Mapping[str, Frequency], notes: list[str]) -> dict[str, Frequency]:
    found: dict[str, Frequency] = {}
    unknown = []
    for name in names:
        variable = _variable(name)
        if variable is None:
            unknown.append(name)
        found[name] = variable.frequency if variable is not None else _documented(name, documented)
    if unknown:
        judged = "SignalDoc's category of data decided" if documented else "they count as annual"
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        notes.append(
            f"{len(unknown)} signals ({some}) are in no table of the CB-APM paper; of their frequency, {judged}."
        )
    return found


def _documented(name: str, documented: Mapping[str, Frequency]) -> Frequency:
    return documented.get(name) or documented.get(other_name(name) or "") or "annual"


def _variable(name: str) -> Variable | None:
    known = cbapm_variables()
    return known.get(name) or known.get(other_name(name) or "")
