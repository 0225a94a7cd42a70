"""Tables 2 and 3 of the QCF paper: AQE and QHE of QCF and QFM in the simulated design, published figures beside ours.

    python benchmarks/qcf_tables.py [--sizes 200x50 200x100] [--repetitions 12] [--parsimony 0]

QCF's r, m and ridge are chosen in every repetition by equation 10 on months T/2 to T, QFM's number of factors by rank
minimisation: nothing is set by hand. Out of sample is the one month T + 1: "fit" refits that month's factors to its own
returns, as the paper does; "forecast" takes their mean over the past.

The paper's QFM hits almost half of all outcomes in the tails. A converged iterative quantile regression does not;
loadings that are not those of the level (here: of the median) do. Both are printed.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile import (
    LatentQuantileFactors,
    Setting,
    SimulatedQuantiles,
    factors_from_coefficients,
    fit_latent_factors,
    number_of_factors,
    quantile_regression,
    score_settings,
    select,
    simulate_quantiles,
    step_one,
)

Floats = npt.NDArray[np.float64]
Errors = dict[str, tuple[float, float]]  # column -> AQE, QHE

TAUS = (0.05, 0.5, 0.95)
FACTORS, ORDERS, RIDGES = (1, 2, 3), (2, 3), (1e-5, 1e-4, 1e-3, 1e-2)
COLUMNS = ("QCF in", "QFM in", "median in", "QCF fit", "QFM fit", "median fit", "QCF forecast", "QFM forecast")

# tau -> size -> in-sample QCF, QFM, out-of-sample QCF, QFM
AQE = {
    0.05: {
        (200, 50): (0.0267, 0.1933, 0.0178, 0.2345),
        (200, 100): (0.0264, 0.2127, 0.0168, 0.2467),
        (400, 100): (0.0257, 0.2172, 0.0178, 0.2579),
        (800, 100): (0.0245, 0.2188, 0.0185, 0.2689),
    },
    0.5: {
        (200, 50): (0.0778, 0.1957, 0.0631, 0.2367),
        (200, 100): (0.0775, 0.2152, 0.0608, 0.2470),
        (400, 100): (0.0740, 0.2187, 0.0628, 0.2578),
        (800, 100): (0.0744, 0.2198, 0.0650, 0.2693),
    },
    0.95: {
        (200, 50): (0.0253, 0.1932, 0.0176, 0.2334),
        (200, 100): (0.0251, 0.2128, 0.0167, 0.2426),
        (400, 100): (0.0243, 0.2172, 0.0176, 0.2549),
        (800, 100): (0.0231, 0.2189, 0.0182, 0.2677),
    },
}
QHE = {
    0.05: {
        (200, 50): (0.0139, 0.4386, 0.0053, 0.4418),
        (200, 100): (0.0153, 0.4421, 0.0060, 0.4434),
        (400, 100): (0.0132, 0.4448, 0.0034, 0.4469),
        (800, 100): (0.0116, 0.4462, 0.0018, 0.4470),
    },
    0.5: {
        (200, 50): (0.0035, 0.0048, 0.0270, 0.0279),
        (200, 100): (0.0028, 0.0032, 0.0259, 0.0277),
        (400, 100): (0.0018, 0.0024, 0.0191, 0.0206),
        (800, 100): (0.0012, 0.0021, 0.0164, 0.0139),
    },
    0.95: {
        (200, 50): (0.0126, 0.4448, 0.0070, 0.4455),
        (200, 100): (0.0119, 0.4445, 0.0072, 0.4470),
        (400, 100): (0.0099, 0.4472, 0.0042, 0.4474),
        (800, 100): (0.0088, 0.4491, 0.0023, 0.4489),
    },
}


def main() -> None:
    """Run every size and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=size, default=[(200, 50)], metavar="NxT")
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--parsimony", type=float, default=0.0, help="the tolerance of the selection of r and m")
    options = parser.parse_args()
    start = time.perf_counter()
    means, chosen = {}, {}
    for tau in TAUS:
        for assets, months in options.sizes:
            samples = (simulate_quantiles(assets, months + 1, seed) for seed in range(options.repetitions))
            errors, choices = zip(*(repetition(sample, tau, options.parsimony) for sample in samples), strict=True)
            means[tau, (assets, months)] = {c: np.mean([error[c] for error in errors], axis=0) for c in COLUMNS}
            chosen[tau, (assets, months)] = Counter(choices)
            print(f"tau {tau}, {assets}x{months} done after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    for number, (name, published) in enumerate((("AQE (Table 2)", AQE), ("QHE (Table 3)", QHE))):
        print_table(name, published, {key: {c: row[c][number] for c in COLUMNS} for key, row in means.items()})
    print("\nChosen: (r, m, ridge) and QFM's factors, times")
    for (tau, (assets, months)), counter in chosen.items():
        text = ", ".join(f"({s.factors}, {s.order}, {s.ridge:g}) {q}: {n}" for (s, q), n in counter.most_common())
        print(f"  {tau:4} {assets}x{months}: {text}")
    print(f"\n{options.repetitions} repetitions, {time.perf_counter() - start:.0f} s")


def size(text: str) -> tuple[int, int]:
    """``200x50`` as (N, T)."""
    assets, months = text.split("x")
    return int(assets), int(months)


def repetition(sample: SimulatedQuantiles, tau: float, parsimony: float) -> tuple[Errors, tuple[Setting, int]]:
    """Errors of one sample whose last month is out of sample, and what was chosen."""
    past, (x, y) = sample.months[:-1], sample.months[-1]
    coefficients = step_one(past, tau, ORDERS, RIDGES)
    scores = score_settings(past, tau, coefficients, FACTORS, first=len(past) // 2, window=None)
    best = select(scores, len(past), tolerance=parsimony)
    qcf = factors_from_coefficients(coefficients[best.order, best.ridge], tau, best.factors, x.shape[1], best.order)
    count = number_of_factors(sample.y[:-1], tau)
    qfm = fit_latent_factors(sample.y[:-1], tau, count)
    median = fit_latent_factors(sample.y[:-1], 0.5, count)
    quantiles = {
        "QCF in": np.array([qcf.in_sample(x_t, t) for t, (x_t, _) in enumerate(past)]),
        "QFM in": qfm.in_sample(),
        "median in": with_loadings(median, sample.y[:-1], tau),
        "QCF fit": qcf.total(x, y),
        "QFM fit": qfm.total(y),
        "median fit": with_loadings(median, sample.y[-1:], tau)[0],
        "QCF forecast": qcf.predictive(x),
        "QFM forecast": qfm.predictive(),
    }
    errors = {
        column: measures(sample.y[:-1] if column.endswith(" in") else y, q, tau) for column, q in quantiles.items()
    }
    return errors, (best, count)


def with_loadings(model: LatentQuantileFactors, y_TN: Floats, tau: float) -> Floats:
    """Quantiles (T, N) of a level from another level's loadings, each month's factors fitted to it."""
    fits = [quantile_regression(model.loadings, y_N, tau, unpenalised=()) for y_N in y_TN]
    return np.array([model.loadings @ fit.coefficients for fit in fits])


def measures(y: Floats, quantile: Floats, tau: float) -> tuple[float, float]:
    """AQE and QHE; a fit goes through some outcomes exactly, which are hits whatever the last bit says."""
    residual = y - quantile
    aqe = np.mean(np.maximum(tau * residual, (tau - 1.0) * residual))
    return float(aqe), float(abs(np.mean(residual <= 1e-9) - tau))


def print_table(
    name: str,
    published: Mapping[float, Mapping[tuple[int, int], Sequence[float]]],
    ours: Mapping[tuple[float, tuple[int, int]], Mapping[str, float]],
) -> None:
    """Published | ours, in and out of sample."""
    print(f"\n{name}: published | ours")
    heads = [column.removesuffix(" in").removesuffix(" fit").replace("median", "median loadings") for column in COLUMNS]
    print(f"{'':17}{'in sample':^48}{'out of sample, fit':^48}")
    print(f"{'tau':>4} {'N':>5} {'T':>5}  " + "".join(f"{head:>16}" for head in heads))
    for (tau, (assets, months)), row in ours.items():
        given = iter(published[tau].get((assets, months), (np.nan,) * 4))
        cells = []
        for column in COLUMNS:
            left = "" if "median" in column or "forecast" in column else f"{next(given):.4f} | "
            cells.append(f"{left + format(row[column], '.4f'):>16}")
        print(f"{tau:4} {assets:5} {months:5}  " + "".join(cells))


if __name__ == "__main__":
    main()
