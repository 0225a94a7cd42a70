"""The rows that a fit or a prediction is handed: plain arrays, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

# Axes: N rows (firm-months, sorted by month), P characteristics, C consensus variables, T months, d macro states.


@dataclass(frozen=True)
class Sample:
    """Month-sorted firm-months of a training set, a validation set or a set of test months.

    Arrays may be read-only views of memory shared by every worker: never write to them in place.

    Attributes
    ----------
    x_NP : float32 array (N, P)
        Prepared characteristics, without missing values.
    month_N : int32 array (N,)
        Row of ``z_Td`` that belongs to each firm-month; non-decreasing.
    z_Td : float32 array (T, d)
        Macro state of each month; d is 0 where the model sees none.
    y_N : float32 array (N,)
        Target: the excess return of the next h months in decimals; NaN where it is not known.
    c_NC : float32 array (N, C)
        Analysts' consensus, ranked to [-1, 1]; NaN where missing; C may be 0.
    """

    x_NP: FloatArray
    month_N: IntArray
    z_Td: FloatArray
    y_N: FloatArray
    c_NC: FloatArray

    def __len__(self) -> int:
        return len(self.y_N)
