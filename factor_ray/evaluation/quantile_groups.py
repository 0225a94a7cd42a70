"""Which of k portfolios a signal puts an asset in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.evaluation.tables import FloatArray, IntArray


def quantile_groups(
    group: IntArray, signal: FloatArray, sets_breakpoints: npt.NDArray[np.bool_], portfolios: int
) -> IntArray:
    """Sort the rows of each group by their signal into ``portfolios`` quantile portfolios.

    Breakpoint j is the ceil(n j / k)-th smallest of the n signals that set breakpoints; a row's portfolio is 1 plus the
    number of breakpoints below its signal. So equal signals share a portfolio, only the ranks of signals matter, and
    without ties n assets fall into portfolios whose sizes differ by one at most. Heavy ties may leave one empty.

    Parameters
    ----------
    group : int array (N,)
        What is sorted separately: the month, or the month and the first portfolio of a conditional sort; from 0.
    signal : float array (N,)
        NaN where there is none.
    sets_breakpoints : bool array (N,)
        Rows whose signals the breakpoints are taken from.
    portfolios : int
        k.

    Returns
    -------
    int array (N,)
        1 to k; 0 for a row without a signal and for every row of a group in which fewer than k signals set breakpoints.
    """
    ranked = ~np.isnan(signal)
    groups = int(group.max(initial=-1)) + 1
    marked = np.flatnonzero(ranked & sets_breakpoints)
    ascending = signal[marked[np.lexsort((signal[marked], group[marked]))]]
    count = np.bincount(group[marked], minlength=groups)
    start = np.cumsum(count) - count

    sortable = ranked & (count >= portfolios)[group]
    of_row, value = group[sortable], signal[sortable]
    above = np.zeros(len(value), dtype=np.int64)
    for j in range(1, portfolios):
        position = start + -(-count * j // portfolios) - 1
        above += value > ascending[position[of_row]]
    assigned = np.zeros(len(signal), dtype=np.int64)
    assigned[sortable] = above + 1
    return assigned
