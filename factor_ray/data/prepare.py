"""Preparation of a panel: imputation from the past, then ranks within the month.

Both steps come as functions of a block: imputation of a block of assets, ranking of a block of months. Whoever prepares
in parallel gets the same bits as whoever prepares at once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from factor_ray.data.panel import Panel
from factor_ray.data.windows import MonthRange

FloatArray = npt.NDArray[np.float32]


class Preprocess(BaseModel):
    """How characteristics and consensus become inputs (spec: data, Preprocessing)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: bool = Field(
        True, description="Rank within the month to [-1, 1], ties averaged. False suits data that is already scaled."
    )
    impute: Literal["point_in_time", "none"] = Field(
        "point_in_time",
        description="Missing characteristics: point_in_time carries the asset's last value forward, then takes the "
        "month's mean; none leaves them at the middle rank. Neither looks ahead.",
    )
    consensus: Literal["mask", "impute"] = Field(
        "mask",
        description="Missing consensus: mask leaves it out of the loss; impute fills it as characteristics are.",
    )


def prepare(panel: Panel, settings: Preprocess | None = None, *, months: MonthRange | None = None) -> Panel:
    """Impute and rank a panel: what models are fitted on. Each value depends on data of its month and before only.

    Parameters
    ----------
    panel : Panel
        As it came from its source.
    settings : Preprocess, optional
        The defaults are honest and suit neural models.
    months : (int, int), optional
        Return these months only; the ones before them are still read for imputation.

    Returns
    -------
    Panel
        The rows of ``months``, all by default; characteristics (N, P) without missing values; consensus (N, C), NaN
        where masked.
    """
    chosen = settings or Preprocess()
    characteristics, consensus = panel.characteristics, panel.consensus
    codes, _ = pd.factorize(panel.assets)
    if chosen.impute == "point_in_time":
        characteristics = carry_forward(characteristics, codes)
    if chosen.consensus == "impute":
        consensus = carry_forward(consensus, codes)
    if months is not None:
        rows = panel.rows(*months)
        panel, characteristics, consensus = panel.between(*months), characteristics[rows], consensus[rows]
    ready = np.empty_like(characteristics), np.empty_like(consensus)
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        rows = slice(int(start), int(stop))
        ready[0][rows], ready[1][rows] = prepare_month(characteristics[rows], consensus[rows], chosen)
    return panel.with_columns(characteristics=ready[0], consensus=ready[1], prepared=chosen.model_dump())


def prepare_month(
    characteristics_nP: FloatArray, consensus_nC: FloatArray, settings: Preprocess
) -> tuple[FloatArray, FloatArray]:
    """Fill what is still missing from the month's cross-section, and rank; one month's rows at a time."""
    if settings.impute == "point_in_time":
        characteristics_nP = _fill_with_mean(characteristics_nP)
    if settings.consensus == "impute":
        consensus_nC = _fill_with_mean(consensus_nC)
    if settings.rank:
        characteristics_nP, consensus_nC = rank_within_month(characteristics_nP), rank_within_month(consensus_nC)
    return np.nan_to_num(characteristics_nP, nan=0.0), consensus_nC


def carry_forward(values_NP: FloatArray, asset_codes_N: npt.NDArray[np.int64]) -> FloatArray:
    """Replace missing values by the same asset's last value before them.

    Parameters
    ----------
    values_NP : float32 array (N, P)
        Rows sorted by month.
    asset_codes_N : int array (N,)
        Which asset a row belongs to.
    """
    by_asset_N = np.argsort(asset_codes_N, kind="stable")
    begins_N = np.ones(len(by_asset_N), dtype=bool)
    begins_N[1:] = np.diff(asset_codes_N[by_asset_N]) != 0
    position_N = np.arange(len(by_asset_N))
    first_N = np.maximum.accumulate(np.where(begins_N, position_N, 0))
    filled_NP = np.empty_like(values_NP)
    for column in range(values_NP.shape[1]):
        sorted_N = values_NP[by_asset_N, column]
        last_known_N = np.maximum.accumulate(np.where(np.isnan(sorted_N), first_N, position_N))
        filled_NP[by_asset_N, column] = sorted_N[last_known_N]
    return filled_NP


def rank_within_month(values_nP: FloatArray) -> FloatArray:
    """Rank each column to [-1, 1]: ties at their mean rank, a single value at 0, missing stays NaN."""
    columns_Pn = np.ascontiguousarray(values_nP.T)
    order_Pn = np.argsort(columns_Pn, axis=1, kind="stable")
    sorted_Pn = np.take_along_axis(columns_Pn, order_Pn, axis=1)
    position_n = np.arange(columns_Pn.shape[1], dtype=np.int32)
    begins_Pn = np.ones(columns_Pn.shape, dtype=bool)
    begins_Pn[:, 1:] = sorted_Pn[:, 1:] != sorted_Pn[:, :-1]
    ends_Pn = np.ones(columns_Pn.shape, dtype=bool)
    ends_Pn[:, :-1] = begins_Pn[:, 1:]
    lowest_Pn = np.maximum.accumulate(np.where(begins_Pn, position_n, 0), axis=1)
    last = len(position_n)
    highest_Pn = np.minimum.accumulate(np.where(ends_Pn, position_n, last)[:, ::-1], axis=1)[:, ::-1]
    known_P1 = (~np.isnan(columns_Pn)).sum(axis=1, keepdims=True)
    scaled_Pn = (lowest_Pn + highest_Pn) / np.maximum(known_P1 - 1, 1) - 1.0
    scaled_Pn = np.where(known_P1 == 1, 0.0, scaled_Pn)
    scaled_Pn = np.where(np.isnan(sorted_Pn), np.nan, scaled_Pn)
    ranked_Pn = np.empty(columns_Pn.shape, dtype=np.float32)
    np.put_along_axis(ranked_Pn, order_Pn, scaled_Pn.astype(np.float32), axis=1)
    return np.ascontiguousarray(ranked_Pn.T)


def _fill_with_mean(values_nP: FloatArray) -> FloatArray:
    missing_nP = np.isnan(values_nP)
    number_P = (~missing_nP).sum(axis=0)
    total_P = np.where(missing_nP, 0.0, values_nP).sum(axis=0, dtype=np.float64)
    mean_P = (total_P / np.maximum(number_P, 1)).astype(np.float32)
    return np.where(missing_nP, mean_P, values_nP)
