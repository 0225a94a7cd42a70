"""Tables 1 to 3 of the QCF paper: AQE and QHE in the simulated designs, published figures beside ours.

    python benchmarks/qcf_tables.py [--table 1] [--sizes 200x50 400x100] [--repetitions 50] [--parsimony 0]
                                    [--processes 2]

Tables 2 and 3, printed together, compare QCF with QFM in Setting 2. Table 1 (``--table 1``) compares QCF with and
without a ridge in Setting 1, of whose many weak characteristics the text has kept no number: they are a guess (see
factor_ray/data/quantile_simulation.py). QCF's r, m and ridge are chosen in every repetition by equation 10 on months
T/2 to T (r and m where there is no ridge), QFM's number of factors by rank minimisation: nothing is set by hand. Out of
sample is the one month T + 1: "fit" refits that month's factors to its own returns, as the paper does; "forecast" takes
their mean over the past.

How the published figures are read. In sample, factors are those of step 2, not refitted: published in-sample losses lie
far above out-of-sample ones, as a large ridge makes them that shrinks the level, to which equation 10 is blind. "paper"
is QCF with the paper's own rule for the index, pure powers, and comes near the published figures of Tables 2 and 3;
"ours" is the projection, this package's default. The projection loses less out of sample, so that equation 10 turns to
the quadratic sieve with a small ridge; months of 200 assets then overfit their tails with 10 terms, and the factors of
step 2 have about 10 / 200 hits too many in sample, which is gone with refitted factors ("refitted in") and at 800
assets.

The paper's QFM hits almost half of all outcomes in the tails. A converged iterative quantile regression does not;
loadings that are not those of the level (here: of the median) do. Both are printed.

Table 1 as measured (``--table 1 --sizes 200x50 200x100 --repetitions 15``: 4 minutes of one core), AQE out of sample
without and with a ridge, and what the ridge adds to "ours", with its standard error:

     tau    N    T    published      paper         ours
    0.05  200   50   .0216 .0206  .0173 .0173  .0173 .0162  -.0011 (.0003)
    0.05  200  100   .0196 .0187  .0163 .0162  .0156 .0154  -.0002 (.0002)
    0.5   200   50   .0954 .0783  .0604 .0604  .0605 .0604  -.0001 (.0001)
    0.5   200  100   .0838 .0706  .0600 .0600  .0599 .0601  +.0002 (.0001)
    0.95  200   50   .0216 .0215  .0170 .0168  .0169 .0158  -.0012 (.0003)
    0.95  200  100   .0191 .0189  .0175 .0172  .0159 .0154  -.0005 (.0001)

With the projection a ridge helps the tails, by about what is published there, and the median not at all, where the
published gain is largest. Without a ridge equation 10 takes the linear sieve, with the paper's rule always, and its 11
terms have little to overfit: at the median the true quantiles lose no less (.061). In sample the paper's rule without a
ridge gives .018, .063 and .018 at the three levels, the published .045, .181 and .044 are .85 of what each month's own
sample quantile loses in our design (.052, .211, .052), with hits exact, as if the index were all but lost. No setting
that equation 10 chooses here does that, and nothing left of the text tells which functions, weights or grid of m would.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from qcf_published import AQE, QHE, RIDGE_AQE, RIDGE_QHE, Published

from factor_ray.data.quantile_simulation import MANY_WEAK_THETAS
from factor_ray.models.quantile import (
    LatentQuantileFactors,
    QuantileFactors,
    Setting,
    SimulatedQuantiles,
    factors_from_coefficients,
    fit_latent_factors,
    number_of_factors,
    score_settings,
    select,
    simulate_quantiles,
    small_quantile_regressions,
    step_one,
    total_quantiles,
)

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]  # assets, months

TAUS = (0.05, 0.5, 0.95)
FACTORS, ORDERS, RIDGES = (1, 2, 3), (2, 3), (1e-4, 1e-3, 1e-2, 1e-1)
RULES = {"paper": "pure_powers", "ours": "projection"}
STARTS = 3


@dataclass(frozen=True)
class Repetition:
    """AQE and QHE by column; what was chosen, and processor seconds, by model."""

    errors: dict[str, tuple[float, float]]
    chosen: dict[str, Setting | int]
    seconds: dict[str, float]


def main() -> None:
    """Run every size and level, printing each as it is done, and then the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=int, choices=TABLES, default=2, help="2 and 3 are printed together")
    parser.add_argument("--sizes", nargs="+", type=size, metavar="NxT", help="by default the paper's")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--parsimony", type=float, default=0.0, help="the tolerance of the selection of r and m")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    table = TABLES[options.table]
    start = time.perf_counter()
    means: dict[tuple[float, Size], dict[str, Floats]] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for assets, months in options.sizes or table.published[0][0.5]:
            for tau in TAUS:
                job = partial(table.repetition, assets, months, tau, options.parsimony)
                done = list(pool.map(job, range(options.repetitions)))
                means[tau, (assets, months)] = {
                    column: np.mean([one.errors[column] for one in done], axis=0) for column in done[0].errors
                }
                print_level(tau, (assets, months), done, table)
                print(f"  {time.perf_counter() - start:.0f} s since the start", flush=True)
    for number, name in enumerate(table.names):
        print_table(name, number, table, means)
    print(f"\n{options.repetitions} repetitions, {time.perf_counter() - start:.0f} s in {options.processes} processes")


def size(text: str) -> Size:
    """``200x50`` as (N, T)."""
    assets, months = text.split("x")
    return int(assets), int(months)


def against_qfm(assets: int, months: int, tau: float, parsimony: float, seed: int) -> Repetition:
    """QCF by both rules, and QFM, in one sample of Setting 2, whose last month is out of sample."""
    sample = simulate_quantiles(assets, months + 1, seed)
    start = time.process_time()
    quantiles, chosen = qcf_by_both_rules(sample, tau, parsimony, {"": RIDGES})
    middle = time.process_time()
    more, count = qfm_quantiles(sample, tau)
    seconds = {"QCF": middle - start, "QFM": time.process_time() - middle}
    return Repetition(errors(sample, quantiles | more, tau), {**chosen, "QFM": count}, seconds)


def with_and_without_ridge(assets: int, months: int, tau: float, parsimony: float, seed: int) -> Repetition:
    """QCF by both rules with and without a ridge in one sample of Setting 1, whose last month is out of sample."""
    sample = simulate_quantiles(assets, months + 1, seed, MANY_WEAK_THETAS)
    start = time.process_time()
    quantiles, chosen = qcf_by_both_rules(sample, tau, parsimony, {" none": (0.0,), " ridge": RIDGES})
    return Repetition(errors(sample, quantiles, tau), chosen, {"QCF": time.process_time() - start})


def qcf_by_both_rules(
    sample: SimulatedQuantiles, tau: float, parsimony: float, ridges: Mapping[str, Sequence[float]]
) -> tuple[dict[str, Floats], dict[str, Setting | int]]:
    """Quantiles of QCF by both rules and for each list of ridges, each with what equation 10 chooses for it."""
    past = sample.months[:-1]
    quantiles: dict[str, Floats] = {}
    chosen: dict[str, Setting | int] = {}
    for suffix, allowed in ridges.items():
        coefficients = step_one(past, tau, ORDERS, allowed)
        for prefix, rule in RULES.items():
            scores = score_settings(past, tau, coefficients, FACTORS, first=len(past) // 2, window=None, rule=rule)
            best = select(scores, len(past), tolerance=parsimony)
            C_TP, width = coefficients[best.order, best.ridge], sample.x.shape[2]
            model = factors_from_coefficients(C_TP, tau, best.factors, width, best.order, rule=rule)
            quantiles |= {f"{prefix}{suffix} {kind}": q for kind, q in qcf_quantiles(model, sample).items()}
            chosen[prefix + suffix] = best
    return quantiles, chosen


def qcf_quantiles(model: QuantileFactors, sample: SimulatedQuantiles) -> dict[str, Floats]:
    """Quantiles of a model in its months (T, N), and in the month after (N,)."""
    past, (x, y) = sample.months[:-1], sample.months[-1]
    return {
        "in": np.array([model.in_sample(x_t, t) for t, (x_t, _) in enumerate(past)]),
        "refitted in": np.array(total_quantiles([model] * len(past), past)),
        "fit": model.total(x, y),
        "forecast": model.predictive(x),
    }


def qfm_quantiles(sample: SimulatedQuantiles, tau: float) -> tuple[dict[str, Floats], int]:
    """QFM of the level, and of the median with each month's factors fitted to the level."""
    past, last = sample.y[:-1], sample.y[-1]
    count = number_of_factors(past, tau)
    model = fit_latent_factors(past, tau, count, starts=STARTS)
    median = model if tau == 0.5 else fit_latent_factors(past, 0.5, count, starts=STARTS)
    quantiles = {
        "QFM in": model.in_sample(),
        "QFM fit": model.total(last),
        "QFM forecast": model.predictive(),
        "median in": with_loadings(median, past, tau),
        "median fit": with_loadings(median, last[None], tau)[0],
    }
    return quantiles, count


def with_loadings(model: LatentQuantileFactors, y_TN: Floats, tau: float) -> Floats:
    """Quantiles (T, N) of a level from another level's loadings, each month's factors fitted to it."""
    return small_quantile_regressions(model.loadings, y_TN, tau).coefficients @ model.loadings.T


def errors(sample: SimulatedQuantiles, quantiles: Mapping[str, Floats], tau: float) -> dict[str, tuple[float, float]]:
    """AQE and QHE of each column."""
    return {
        column: measures(sample.y[:-1] if column.endswith(" in") else sample.y[-1], q, tau)
        for column, q in quantiles.items()
    }


def measures(y: Floats, quantile: Floats, tau: float) -> tuple[float, float]:
    """AQE and QHE; a fit goes through some outcomes exactly, which are hits whatever the last bit says."""
    residual = y - quantile
    aqe = np.mean(np.maximum(tau * residual, (tau - 1.0) * residual))
    return float(aqe), float(abs(np.mean(residual <= 1e-9) - tau))


@dataclass(frozen=True)
class Table:
    """What a table compares.

    ``places`` are the published columns of ours; of ``rivals`` the first's AQE less the second's is printed with its
    standard error, which is far less than that of either, because both see the same samples.
    """

    names: tuple[str, str]
    published: tuple[Published, Published]
    repetition: Callable[[int, int, float, float, int], Repetition]
    places: Mapping[str, int]
    columns: Mapping[str, Sequence[str]]
    rivals: Sequence[tuple[str, str]]


AGAINST_QFM = Table(
    names=("AQE (Table 2)", "QHE (Table 3)"),
    published=(AQE, QHE),
    repetition=against_qfm,
    places={"paper in": 0, "QFM in": 1, "paper fit": 2, "QFM fit": 3},
    columns={
        "in sample": ("paper in", "ours in", "ours refitted in", "QFM in", "median in"),
        "out of sample": ("paper fit", "ours fit", "QFM fit", "median fit", "ours forecast", "QFM forecast"),
    },
    rivals=(("paper fit", "QFM fit"), ("ours fit", "QFM fit")),
)
RIDGE = Table(
    names=("AQE (Table 1, panel A)", "QHE (Table 1, panel B)"),
    published=(RIDGE_AQE, RIDGE_QHE),
    repetition=with_and_without_ridge,
    places={"paper none in": 0, "paper ridge in": 1, "paper none fit": 2, "paper ridge fit": 3},
    columns={
        "in sample": (
            *("paper none in", "paper ridge in", "ours none in", "ours ridge in"),
            *("ours none refitted in", "ours ridge refitted in"),
        ),
        "out of sample": (
            *("paper none fit", "paper ridge fit", "ours none fit", "ours ridge fit"),
            *("ours none forecast", "ours ridge forecast"),
        ),
    },
    rivals=(("paper ridge fit", "paper none fit"), ("ours ridge fit", "ours none fit")),
)
TABLES = {1: RIDGE, 2: AGAINST_QFM, 3: AGAINST_QFM}


def print_level(tau: float, at: Size, done: Sequence[Repetition], table: Table) -> None:
    """What one size and level gave."""
    seconds = ", ".join(f"{name} {np.mean([one.seconds[name] for one in done]):.2f} s" for name in done[0].seconds)
    print(f"tau {tau}, {at[0]}x{at[1]}: {seconds} a repetition")
    for first, second in table.rivals:
        differences = [one.errors[first][0] - one.errors[second][0] for one in done]
        error = np.std(differences, ddof=1) / np.sqrt(len(done)) if len(done) > 1 else np.nan
        print(f"  AQE, {first} less {second}: {np.mean(differences):+.5f} (standard error {error:.5f})")
    for name in done[0].chosen:
        counter = Counter(written(one.chosen[name]) for one in done)
        print(f"  chosen, {name}: " + ", ".join(f"{choice}: {n}" for choice, n in counter.most_common()))


def written(choice: Setting | int) -> str:
    """(r, m, ridge) of QCF, or the number of QFM's factors."""
    return str(choice) if isinstance(choice, int) else f"({choice.factors}, {choice.order}, {choice.ridge:g})"


def print_table(name: str, number: int, table: Table, means: Mapping[tuple[float, Size], Mapping[str, Floats]]) -> None:
    """Published | ours, in and out of sample, of one measure."""
    for part, columns in table.columns.items():
        print(f"\n{name}, {part}: published | ours")
        heads = [column.removesuffix(" in").removesuffix(" fit") for column in columns]
        print(f"{'tau':>4} {'N':>5} {'T':>5}  " + "".join(f"{head:>22}" for head in heads))
        for (tau, (assets, months)), row in sorted(means.items()):
            given = table.published[number][tau].get((assets, months), (np.nan,) * 4)
            cells = [
                (f"{given[table.places[column]]:.4f} | " if column in table.places else "")
                + f"{row[column][number]:.4f}"
                for column in columns
            ]
            print(f"{tau:4} {assets:5} {months:5}  " + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
