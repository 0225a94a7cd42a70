"""The simulated designs of the paper's Section 4, as far as its surviving text gives them.

    Y_it = g_1(x_it'theta_1) f_1t + g_2(x_it'theta_2) f_2t eps_it,   g_2, f_2 >= 0
    Q_tau(Y_it) = g_1 f_1t + Q_eps(tau) g_2 f_2t

Setting 2, the default, is that of Tables 2 and 3: x ~ U(-1, 1)^3, theta_1 = (1, 1, 1) / sqrt 3, theta_2 = (1, -1, 0) /
sqrt 2, g_1(u) = u, g_2(u) = .15 (1 + u^2), eps and f_1 normal, f_2 the absolute value of a normal: a reading that comes
near these tables, chosen with them in sight. So are the paper's own index rule ("pure_powers") and in-sample factors of
step 2, not refitted; with the projection, months of 200 assets overfit their tails in sample, which refitted factors
mend.

Setting 1, ``MANY_WEAK_THETAS``, is that of Table 1. Of it the text keeps that the location-scale form, the factors and
the orthonormal pair of indices are those of Setting 2, that characteristics are many and that some are weak. Assumed,
and not fitted to the table: ten of them, Setting 2's three and seven with a tenth of their weight, in theta_2 with
signs that keep the pair orthogonal; all else as in Setting 2.

Axes: T month, N asset, D characteristic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.errors import InputError

Floats = npt.NDArray[np.float64]

RETURN_SIZE = 0.05
FIRST_MONTH = 360  # 2000-01
_NAMES = ("x1", "x2", "x3")

THETAS = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]]) / np.sqrt([[3.0], [2.0]])
_WEAK = 0.1 * np.array([[1, 1, 1, 1, 1, 1, 1], [1, -1, 1, -1, 1, -1, 0]])
MANY_WEAK_THETAS = np.hstack([[[1, 1, 1], [1, -1, 0]], _WEAK]) / np.sqrt([[3.07], [2.06]])


@dataclass(frozen=True)
class SimulatedQuantiles:
    """A balanced sample with its truth.

    Attributes
    ----------
    x : array (T, N, D)
        Characteristics.
    y : array (T, N)
        Returns.
    location, scale : arrays (T, N)
        ``Q_tau = location + Q_eps(tau) scale``.
    """

    x: Floats
    y: Floats
    location: Floats
    scale: Floats

    @property
    def months(self) -> list[tuple[Floats, Floats]]:
        """The (x, y) of each month, as the estimators take them."""
        return list(zip(self.x, self.y, strict=True))

    def quantiles(self, tau: float) -> Floats:
        """True quantiles (T, N) at a level in (0, 1)."""
        return np.asarray(self.location + norm.ppf(tau) * self.scale, dtype=np.float64)


def simulate_quantiles(assets: int, months: int, seed: int, thetas: Floats = THETAS) -> SimulatedQuantiles:
    """Draw a design: factors satisfy ``F'F / T = I`` exactly over all the months.

    Parameters
    ----------
    assets, months : int
        N and T; at least 1 and 3.
    seed : int
        Starts the random numbers.
    thetas : array (2, D)
        The indices, orthonormal: ``MANY_WEAK_THETAS`` for many characteristics, most of them weak.

    Raises
    ------
    InputError
        If assets or months are too few.
    """
    if assets < 1 or months < 3:
        raise InputError(f"The design needs at least 1 asset and 3 months; got {assets} and {months}")
    rng = np.random.default_rng(seed)
    f_2T = _unit(np.abs(rng.standard_normal(months)))
    drawn_T = rng.standard_normal(months)
    f_1T = _unit(drawn_T - f_2T * (f_2T @ drawn_T) / months)
    x_TND = rng.uniform(-1.0, 1.0, (months, assets, thetas.shape[1]))
    first_TN, second_TN = np.moveaxis(x_TND @ thetas.T, -1, 0)
    location_TN = first_TN * f_1T[:, None]
    scale_TN = 0.15 * (1.0 + second_TN**2) * f_2T[:, None]
    return SimulatedQuantiles(
        x_TND, location_TN + scale_TN * rng.standard_normal(scale_TN.shape), location_TN, scale_TN
    )


def quantile_panel(assets: int, months: int, seed: int) -> Panel:
    """Return the design as a panel, its outcomes taken as returns of the month after their characteristics.

    Returns are a twentieth of the outcomes, which reach below -1: pinball losses are then a twentieth of the paper's.

    Parameters
    ----------
    assets, months, seed
        As in :func:`simulate_quantiles`. The panel has one month more, whose own returns are the last outcomes.

    Raises
    ------
    InputError
        If assets or months are too few.
    """
    drawn = simulate_quantiles(assets, months, seed)
    later_ND = np.random.default_rng([seed, 1]).uniform(-1.0, 1.0, (assets, 3))
    x_TND = np.concatenate([drawn.x, later_ND[None]])
    y_TN = np.concatenate([np.full((1, assets), np.nan), RETURN_SIZE * drawn.y])
    frame = pd.DataFrame(x_TND.reshape(-1, 3), columns=list(_NAMES))
    frame["month"] = np.repeat(month_ends(np.arange(FIRST_MONTH, FIRST_MONTH + months + 1, dtype=np.int32)), assets)
    frame["asset"] = np.tile([f"asset_{number:04d}" for number in range(assets)], months + 1)
    frame["return"] = y_TN.ravel()
    return Panel.from_frame(frame, month="month", asset="asset", returns="return", characteristics=_NAMES)


def _unit(f_T: Floats) -> Floats:
    return np.asarray(np.sqrt(len(f_T)) * f_T / np.linalg.norm(f_T), dtype=np.float64)
