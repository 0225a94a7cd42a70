"""Rows a second of every forecaster on a window of months, and the memory of a large panel's windows.

    OMP_NUM_THREADS=1 python benchmarks/forecasters.py [--batches 4] [--rounds 3]

Models have their default hyperparameters, 64 characteristics, 12 months, of which a tenth is not observed, batches of
1,024 rows and one thread; a training row is gathered, passed forward and backward with dropout, and its step is made.
Forecasters across assets take a month a step; the time in which links are found, once a fit, counts too.
Seconds are the processor's, so that other work on the machine counts little; medians of some epochs are shown.

Memory is that of a process of its own: a panel of 605,722 rows of 114 characteristics, the windows of 12 months by
index, and one epoch of the MLP on all of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch

from factor_ray.data.sample import History, Sample
from factor_ray.models.forecasters.cross_section_task import CrossSectionTask
from factor_ray.models.forecasters.lookback import Lookback
from factor_ray.models.forecasters.task import ForecasterTask
from factor_ray.models.registry import model
from factor_ray.training.adam import StepSettings
from factor_ray.training.loop import train
from factor_ray.training.schedule import Schedule

ACROSS_ASSETS = ("sthd", "dy_gap")
NAMES = ("mlp", "dlinear", "transformer", "patchtst", "crossformer", "itransformer", *ACROSS_ASSETS)
CHARACTERISTICS, LOOKBACK, BATCH, MONTHS = 64, 12, 1024, 60
LARGE_ROWS, LARGE_CHARACTERISTICS, LARGE_MONTHS = 605_722, 114, 300
MIB = 2**20


def main() -> None:
    """Print one table, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="0 for the memory alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.rounds:
        table(simulated(BATCH * options.batches, CHARACTERISTICS, MONTHS), options.rounds)
    with multiprocessing.get_context("spawn").Pool(1) as process:
        process.apply(memory)


def table(sample: Sample, rounds: int) -> None:
    """Print rows a second of every model."""
    seconds = {name: [speed(name, sample) for _ in range(rounds)] for name in NAMES}
    print(f"torch {torch.__version__}, 1 thread, {len(sample)} rows x {LOOKBACK} months x {CHARACTERISTICS}")
    print("| model        | parameters | training rows/s | forecast rows/s |")
    print("|--------------|------------|-----------------|-----------------|")
    for name, values in seconds.items():
        learned, forecast = np.median(values, axis=0)
        network = model(name).network(point_of(name), CHARACTERISTICS)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        print(f"| {name:12} | {parameters:10,} | {len(sample) / learned:15,.0f} | {len(sample) / forecast:15,.0f} |")


def point_of(name: str):
    """Return a model's default point for one epoch."""
    window = {} if name in ACROSS_ASSETS else {"lookback": LOOKBACK, "batch_size": BATCH}
    return model(name).Settings(**window, epochs=1)


def speed(name: str, sample: Sample) -> tuple[float, float]:
    """Seconds of one epoch, without validation, and of a forecast of as many rows."""
    family, point = model(name), point_of(name)
    if name in ACROSS_ASSETS:
        task = LearningAcross(family, [point], [0], sample, sample, order_seed=0, device="cpu")
        scales = task.scales
    else:
        task = Learning(family.network, [point], [0], sample, sample, order_seed=0, device="cpu")
        scales = {"return_scale": np.ones(1, np.float32)}
    started = time.process_time()
    (trained,) = train(task, [StepSettings(1e-3, 1e-4, 1.0, decoupled=True)], Schedule(epochs=1, patience=1))
    learned = time.process_time() - started
    member = family.fitted(point, {**trained.weights, **scales})
    started = time.process_time()
    member.forecast(sample)
    return learned, time.process_time() - started


class WithoutValidation:
    """A task that is not validated."""

    def validate(self, through):
        """Return a loss of one."""
        return {"validation_loss": torch.ones(len(through.members))}


class Learning(WithoutValidation, ForecasterTask):
    """That of the forecasters on a window of months."""


class LearningAcross(WithoutValidation, CrossSectionTask):
    """That of the forecasters across assets."""


def memory() -> None:
    """Print what the windows of a large panel take."""
    sample = simulated(LARGE_ROWS, LARGE_CHARACTERISTICS, LARGE_MONTHS)
    torch.set_num_threads(1)
    before, started = peak(), time.process_time()
    lookback = Lookback(sample, LOOKBACK)
    made, during = time.process_time() - started, peak()
    print(f"\n{len(sample):,} rows x {LARGE_CHARACTERISTICS}: panel {sample.x_NP.nbytes / MIB:.0f} MiB; peak memory")
    print(f"  with torch and the panel                {before:6.0f} MiB")
    print(f"  while the index was made ({made:4.1f} s)      {during:6.0f} MiB")
    print(f"  the index itself                        {lookback.row_NL.nbytes / MIB:6.0f} MiB")
    rows = np.random.default_rng(0).integers(0, len(sample), (200, BATCH)).astype(np.int32)
    started = time.process_time()
    for row_B in rows:
        lookback.gather(row_B)
    print(f"  a batch of {BATCH} is gathered in {(time.process_time() - started) / len(rows) * 1e3:.1f} ms")
    started = time.process_time()
    model("mlp").fit_pack([point_of("mlp")], [0], sample, tail(sample), order_seed=0)
    print(f"  after an epoch of the MLP ({time.process_time() - started:3.0f} s)     {peak():6.0f} MiB")


def simulated(rows: int, characteristics: int, months: int) -> Sample:
    """Random rows of assets that are observed nine months of ten."""
    rng = np.random.default_rng(0)
    assets = round(rows / (0.9 * months) * 1.05)
    month_H, asset_H = np.divmod(np.sort(rng.choice(months * assets, rows, replace=False)), assets)
    x_HP, y_H = rng.random((rows, characteristics), dtype=np.float32), rng.standard_normal(rows, dtype=np.float32)
    month_H, asset_H = month_H.astype(np.int32), asset_H.astype(np.int64)
    history = History(x_HP, month_H, asset_H, y_H, y_H, np.zeros((months, 0), np.float32))
    nothing = np.zeros((months, 0), np.float32), np.zeros((rows, 0), np.float32)
    return Sample(x_HP, month_H, nothing[0], y_H, nothing[1], history)


def tail(sample: Sample) -> Sample:
    """Return the last 5,000 rows, with all before them as history."""
    return Sample(
        sample.x_NP[-5000:],
        sample.month_N[-5000:],
        sample.z_Td,
        sample.y_N[-5000:],
        sample.c_NC[-5000:],
        sample.history,
    )


def peak() -> float:
    """Largest resident memory of this process so far, in MiB; getrusage's would be that of the parent too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
