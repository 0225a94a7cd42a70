"""The screen: which characteristics are known often enough, and from early enough on, to be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from factor_ray.data.months import format_month
from factor_ray.data.windows import MonthRange
from factor_ray.errors import InputError

IntArray = npt.NDArray[np.int64]

GRACE = 12
"""Months after the first judged one within which a characteristic must start ("sample starting year", CB-APM A.2)."""

_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Census:
    """What is known of each characteristic; those of blocks of firms add up.

    Attributes
    ----------
    rows_P, known_P : int64 array (P,)
        Judged rows from the month on in which the characteristic can be known, and those in which it is.
    first_P : int64 array (P,)
        First judged month in which a firm has it.
    held_P, filled_P : int64 array (P,)
        Rows that are kept in which it is known, and in which the firm's own history fills it.
    """

    rows_P: IntArray
    known_P: IntArray
    first_P: IntArray
    held_P: IntArray
    filled_P: IntArray

    @classmethod
    def of_nothing(cls, width: int) -> Census:
        """Return the census of no firm."""
        nothing = np.zeros(width, dtype=np.int64)
        return cls(nothing, nothing, np.full(width, _NEVER, dtype=np.int64), nothing, nothing)

    def __add__(self, other: Census) -> Census:
        return Census(
            self.rows_P + other.rows_P,
            self.known_P + other.known_P,
            np.minimum(self.first_P, other.first_P),
            self.held_P + other.held_P,
            self.filled_P + other.filled_P,
        )


def take_census(
    known_nP: npt.NDArray[np.bool_],
    filled_nP: npt.NDArray[np.bool_],
    month_n: npt.NDArray[np.integer],
    judged: MonthRange | None,
    earliest_P: IntArray,
) -> Census:
    """Count what is known and what is filled in kept rows; in judged months, from each one's earliest month on."""
    held_P = _counted(known_nP)
    filled_P = _counted(filled_nP) - held_P
    inside_n = np.zeros(len(month_n), dtype=bool)
    if judged is not None:
        inside_n = (month_n >= judged[0]) & (month_n <= judged[1])
    counted_nP = month_n[inside_n, None] >= earliest_P
    known_nP = known_nP[inside_n] & counted_nP
    first_P = np.where(known_nP, month_n[inside_n, None], _NEVER).min(axis=0, initial=_NEVER)
    return Census(_counted(counted_nP), _counted(known_nP), first_P.astype(np.int64), held_P, filled_P)


def screen_characteristics(
    names: Sequence[str], censuses: Sequence[Census], judged: MonthRange, earliest_P: IntArray, max_missing: float
) -> tuple[list[int], dict[str, str]]:
    """Return the positions of the characteristics that are kept, and why each other one is not.

    Raises
    ------
    InputError
        If none is kept.
    """
    total = reduce(Census.__add__, censuses)
    span = f"{format_month(judged[0])}..{format_month(judged[1])}"
    kept, dropped = [], {}
    for position, name in enumerate(names):
        rows, known, first = (int(values[position]) for values in (total.rows_P, total.known_P, total.first_P))
        if known == 0:
            dropped[name] = f"empty in {span}"
        elif rows - known > max_missing * rows:
            dropped[name] = f"missing in {100 * (1 - known / rows):.1f}% of the rows of {span}"
        elif first >= max(int(earliest_P[position]), judged[0]) + GRACE:
            dropped[name] = f"starts in {format_month(first)}, later than {span}"
        else:
            kept.append(position)
    if not kept:
        name, reason = next(iter(dropped.items()))
        raise InputError(
            f"preprocess.screen leaves no characteristic: {name} is {reason}, and so on for all {len(dropped)}; raise "
            "preprocess.max_missing or set preprocess.screen to none"
        )
    return kept, dropped


def _counted(there_nP: npt.NDArray[np.bool_]) -> IntArray:
    return np.asarray(there_nP.sum(axis=0, dtype=np.int32), dtype=np.int64)
