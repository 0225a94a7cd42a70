"""The quantile regression solver against scikit-learn's (HiGHS), to the same objective, on one thread.

    python benchmarks/quantile.py [--repeats 2]

Prints processor seconds of each and their ratio, the two alternating in one process, for a month of 1,000 assets with a
quadratic (120 columns) and a cubic (680 columns) Hermite sieve in 14 characteristics and heavy-tailed returns, at three
levels, without ridge. Then what solving the levels and ridges of a month in one call saves, and what the batch of small
regressions saves: factors of test months, loadings of a latent factor model, loadings on five observed factors.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import QuantileRegressor

from factor_ray.models.quantile import (
    hermite_basis,
    quantile_regression,
    quantile_regressions,
    small_quantile_regressions,
)

Floats = npt.NDArray[np.float64]

ASSETS, CHARACTERISTICS, TAUS = 1_000, 14, (0.05, 0.5, 0.95)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SMALL = ((170, 1_000, 4), (600, 150, 3), (600, 36, 5))  # problems, rows, columns
GOALS = {3: (15, 25), 4: (10, 15)}  # order of the sieve -> least and hoped-for ratio


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    repeats = parser.parse_args().repeats
    against_highs(repeats)
    batched(repeats)
    small(repeats)


def against_highs(repeats: int) -> None:
    """Our seconds beside HiGHS's, and how far the two objectives are apart."""
    print(f"{'rows':>5} {'columns':>8} {'tau':>5} {'ours s':>8} {'HiGHS s':>8} {'ratio':>7}   objective apart by")
    for order, (least, goal) in GOALS.items():
        X, y = month(order)
        ratios = []
        for tau in TAUS:
            model = QuantileRegressor(quantile=tau, alpha=0.0, fit_intercept=False, solver="highs")
            ours = partial(quantile_regression, X, y, tau)
            seconds = alternately([ours, partial(model.fit, X, y)], repeats)
            residual = y - X @ model.coef_
            theirs = float(np.mean(np.maximum(tau * residual, (tau - 1.0) * residual)))
            ratios.append(seconds[1] / seconds[0])
            print(
                f"{len(y):5} {X.shape[1]:8} {tau:5} {seconds[0]:8.4f} {seconds[1]:8.3f} {ratios[-1]:6.1f}x   "
                f"{(ours().objective - theirs) / theirs:+.1e}"
            )
        verdict = "goal met" if min(ratios) >= goal else "required ratio met" if min(ratios) >= least else "MISSED"
        print(f"{'':14} least ratio {min(ratios):.1f}x; required {least}x, goal {goal}x: {verdict}")


def batched(repeats: int) -> None:
    """Milliseconds a fit, one by one and all levels and ridges of a month in one call."""
    print(f"\n{'rows':>5} {'columns':>8} {'fits':>5} {'one by one ms':>14} {'together ms':>12} {'ratio':>7}")
    for rows, order in ((200, 2), (ASSETS, 2), (ASSETS, 3)):
        X, y = month(order)
        X, y = X[:rows], y[:rows]
        fits = len(TAUS) * len(RIDGES)

        single, joint = (
            1e3 * seconds / fits
            for seconds in alternately([partial(one_by_one, X, y), partial(together, X, y)], repeats + 1)
        )
        print(f"{rows:5} {X.shape[1]:8} {fits:5} {single:14.2f} {joint:12.2f} {single / joint:6.1f}x")


def one_by_one(X: Floats, y: Floats) -> None:
    """All levels and ridges of one month, a call each."""
    for tau in TAUS:
        for ridge in RIDGES:
            quantile_regression(X, y, tau, ridge)


def together(X: Floats, y: Floats) -> None:
    """The same in one call."""
    quantile_regressions([(X, y)], TAUS, RIDGES)


def small(repeats: int) -> None:
    """Seconds of many small regressions, one by one and side by side."""
    print(
        f"\n{'problems':>8} {'rows':>5} {'columns':>8} {'tau':>5} {'one by one s':>13} {'together s':>11} {'ratio':>7}"
    )
    rng = np.random.default_rng(0)
    for problems, rows, columns in SMALL:
        X = rng.standard_normal((problems, rows, columns))
        y = X @ np.ones(columns) + rng.standard_t(3, (problems, rows))
        for tau in TAUS[:2]:
            calls = [partial(singly, X, y, tau), partial(small_quantile_regressions, X, y, tau)]
            single, joint = alternately(calls, repeats)
            print(f"{problems:8} {rows:5} {columns:8} {tau:5} {single:13.3f} {joint:11.3f} {single / joint:6.1f}x")


def singly(X: Floats, y: Floats, tau: float) -> None:
    """Each problem by the general solver."""
    for X_k, y_k in zip(X, y, strict=True):
        quantile_regression(X_k, y_k, tau, unpenalised=())


def month(order: int) -> tuple[Floats, Floats]:
    """One month of a planted quadratic index and Student-t returns, its characteristics standardised."""
    rng = np.random.default_rng(order)
    x = rng.standard_normal((ASSETS, CHARACTERISTICS))
    index = x @ np.full(CHARACTERISTICS, CHARACTERISTICS**-0.5)
    y = 0.02 * index + 0.01 * index**2 + 0.05 * rng.standard_t(3, ASSETS)
    return hermite_basis(x, order), y


def alternately(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Least processor seconds of each call, the calls taking turns."""
    best = [np.inf] * len(calls)
    for _ in range(repeats):
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            best[number] = min(best[number], time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
