"""CRSP's monthly stock data from WRDS by SQL: what a subscriber would download, without the download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal, Protocol, get_args

import pandas as pd

from factor_ray.data.months import month_ends, parse_month
from factor_ray.errors import InputError

Layout = Literal["ciz", "classic"]

_CIZ = """
SELECT permno, mthcaldt, mthret, mthprc, mthcap, shrout, primaryexch,
       securitytype, securitysubtype, sharetype, usincflg, issuertype
FROM crsp.msf_v2
WHERE mthcaldt BETWEEN %(first)s AND %(last)s
ORDER BY permno, mthcaldt
"""
_CLASSIC = """
SELECT stocks.permno, stocks.date, stocks.ret, stocks.prc, stocks.shrout, names.exchcd, names.shrcd
FROM crsp.msf AS stocks
LEFT JOIN crsp.msenames AS names
    ON names.permno = stocks.permno AND stocks.date BETWEEN names.namedt AND names.nameendt
WHERE stocks.date BETWEEN %(first)s AND %(last)s
ORDER BY stocks.permno, stocks.date
"""
_DELISTINGS = """
SELECT permno, dlstdt, dlret, dlstcd
FROM crsp.msedelist
WHERE dlstdt BETWEEN %(first)s AND %(last)s AND dlstcd <> 100
ORDER BY permno, dlstdt
"""


class SqlConnection(Protocol):
    """An open connection that runs SQL with bound parameters, as ``wrds.Connection`` of the package wrds is."""

    def raw_sql(self, sql: str, *, params: Mapping[str, date], date_cols: Sequence[str]) -> pd.DataFrame:
        """Run a query whose parameters are written ``%(name)s`` and return its rows."""


def crsp_from_wrds(connection: SqlConnection, first: str, last: str, *, layout: Layout = "ciz") -> pd.DataFrame:
    """Ask WRDS for the file of returns that the source ``openap`` reads.

    Nothing here needs the package wrds; where you have a subscription, ``pip install wrds`` (it asks for versions of
    pandas of its own: an environment beside this one is safest), then::

        frame = crsp_from_wrds(wrds.Connection(), "1994-01", "2023-12")
        frame.to_parquet("crsp.parquet")   # data: {source: openap, returns: crsp.parquet, ...}

    Parameters
    ----------
    connection
        An open connection with ``raw_sql(sql, params=..., date_cols=...)``.
    first, last : str
        Months, YYYY-MM, both included.
    layout : str
        ``ciz``: crsp.msf_v2, whose returns hold delisting returns. ``classic``: crsp.msf with exchange and share codes
        of crsp.msenames and delisting returns and codes of crsp.msedelist; CRSP ended it in 2024.

    Returns
    -------
    DataFrame
        One row per stock and month, all exchanges and kinds of shares, columns as
        :func:`factor_ray.data.sources.crsp.read_crsp` takes them. A delisting in a month without a row makes one.

    Raises
    ------
    InputError
        If the months are not written YYYY-MM or in order, the connection has no raw_sql, there is no such layout, or no
        row comes back.
    """
    if parse_month(first) > parse_month(last):
        raise InputError(f"the first month must not be after the last; got {first} to {last}: exchange them")
    if not hasattr(connection, "raw_sql"):
        raise InputError(f"the connection must have raw_sql, as wrds.Connection() has; got {type(connection).__name__}")
    if layout not in get_args(Layout):
        raise InputError(f"the layout must be one of {', '.join(get_args(Layout))}; got {layout!r}")
    span = {"first": date.fromisoformat(f"{first}-01"), "last": month_ends([parse_month(last)])[0].item()}
    if layout == "ciz":
        return _asked(connection, _CIZ, span, "mthcaldt")
    returns = _asked(connection, _CLASSIC, span, "date")
    return _with_delistings(returns, connection.raw_sql(_DELISTINGS, params=span, date_cols=["dlstdt"]))


def _asked(connection: SqlConnection, sql: str, span: Mapping[str, date], day: str) -> pd.DataFrame:
    frame = connection.raw_sql(sql, params=span, date_cols=[day])
    if frame.empty:
        raise InputError(
            f"WRDS has no row of CRSP's monthly stocks from {span['first']} to {span['last']}: check the months, and "
            "which tables your subscription holds (layout: ciz or classic)"
        )
    return frame


def _with_delistings(returns: pd.DataFrame, delistings: pd.DataFrame) -> pd.DataFrame:
    """Put each delisting beside the return of its month, or into a row of its own."""
    month = returns["date"].dt.to_period("M")
    keyed = delistings.assign(month=delistings["dlstdt"].dt.to_period("M"))
    keyed = keyed[keyed["permno"].isin(returns["permno"])]
    joined = returns.assign(month=month).merge(keyed, on=["permno", "month"], how="outer")
    joined["date"] = joined["date"].fillna(joined["dlstdt"])
    return joined.sort_values(["permno", "date"], ignore_index=True).drop(columns=["month", "dlstdt"])
