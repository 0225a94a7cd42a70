"""NeurIF: a wide month forward and backward, and an epoch of a panel as large as the paper's.

    python benchmarks/neurif.py [--full] [--threads 2] [--blocks 2]

First one month of 8,000 assets (46 characteristics, d = 64, 4 heads, K = 4) through loss and gradients, with induced
and with exact attention, on ``--threads`` threads. Then an epoch over 492 months of about 6,100 assets (3 million rows)
on one thread, as fits run; 12 validation months are in its time. By default 36 months (and one) are measured and the
epoch is extrapolated from them, which is labelled so; ``--full`` makes the whole epoch. With a GPU both are measured
there too, and the epoch with either attention: on a processor it has induced attention, which is the default there.

Every measurement has a process of its own, so that its peak memory is its own: on a processor the largest resident
memory of that process, with Torch and the panel; on a GPU what Torch has allocated there at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from factor_ray.data.sample import History, Sample
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.neurif_network import orthogonality
from factor_ray.models.neurif_step import return_loss
from factor_ray.models.neurif_task import NeurIFTask

WIDE, CHARACTERISTICS, ASSETS, MONTHS, ASSETS_A_MONTH = 8000, 46, 21_945, 492, 6100
MEASURED, VALIDATION = 36, 12
EPOCH_ATTENTION = {"cpu": ("induced",), "cuda": ("induced", "exact")}
"""By device: with exact attention of 6,100 assets a processor takes many times longer, about an hour an epoch."""

Measured = tuple[float, ...]


def main() -> None:
    """Print both tables, for every device there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=2)
    options = parser.parse_args()
    months = MONTHS if options.full else MEASURED
    for device in EPOCH_ATTENTION if torch.cuda.is_available() else ("cpu",):
        where = f"{options.threads} threads" if device == "cpu" else torch.cuda.get_device_name()
        print(f"torch {torch.__version__}, {device} ({where}): one month of {WIDE} assets, {options.blocks} blocks")
        print("| attention | forward, s | with gradients, s | peak memory, GiB |")
        print("|-----------|------------|-------------------|------------------|")
        for attention in ("induced", "exact"):
            forward, both, memory = alone(wide_month, attention, options.blocks, options.threads, device)
            print(f"| {attention:9} | {forward:10.3f} | {both:17.3f} | {memory:16.2f} |")
        kind = "measured" if options.full else f"extrapolated from {months} months"
        rows = MONTHS * ASSETS_A_MONTH
        print(f"\n{device}: one epoch of {rows} rows in {MONTHS} months, {options.blocks} blocks, {kind}")
        print("| attention | months/s | epoch, s | measured fit, processor s | its peak memory, GiB |")
        print("|-----------|----------|----------|---------------------------|----------------------|")
        for attention in EPOCH_ATTENTION[device]:
            measured, seconds, processor, memory = alone(epoch, attention, options.blocks, device, months)
            whole = seconds * rows / measured
            print(f"| {attention:9} | {MONTHS / whole:8.2f} | {whole:8.0f} | {processor:25.0f} | {memory:20.2f} |")


def alone(measure: Callable[..., Measured], *given: object) -> Measured:
    """Call a measurement in a new process, and return what it returned."""
    with get_context("spawn").Pool(1) as process:
        return process.apply(measure, given)


def wide_month(attention: str, blocks: int, threads: int, device: str, rounds: int = 3) -> Measured:
    """Return the least seconds of a forward pass alone, and of loss and gradients, of one month, and the memory."""
    torch.set_num_threads(threads)
    sample = ragged(np.array([WIDE]))
    point = NeurIFSettings.model_validate({"blocks": blocks, "attention": attention, "start": "random", "dropout": 0.0})
    task = NeurIFTask([point], [0], sample, sample, order_seed=0, device=device)
    network, months = task.networks[0], task.months
    weights = dict(network.named_parameters())
    forward, both = [], []
    for _ in range(rounds + 1):  # the first one is not counted
        with torch.no_grad():
            (chunk,) = months.chunks([0])
            started = time.perf_counter()
            network.loadings(chunk.x_nP, chunk.position_nd, chunk.bounds)
            forward.append(_elapsed(started, device))
        started = time.perf_counter()
        value, factor_TK = return_loss(network, weights, months, [0], instrumentation=0.01)
        torch.autograd.grad(value + 0.01 * orthogonality(factor_TK), list(weights.values()))
        both.append(_elapsed(started, device))
    return min(forward[1:]), min(both[1:]), _peak(device)


def epoch(attention: str, blocks: int, device: str, months: int) -> Measured:
    """Fit for one epoch; return its rows, its seconds, the processor's seconds of the whole fit, and the memory."""
    rng = np.random.default_rng(0)
    counts = rng.integers(ASSETS_A_MONTH - 1500, ASSETS_A_MONTH + 1501, months)
    train, validation = ragged(counts), ragged(counts[: max(1, VALIDATION * months // MONTHS)])
    point = NeurIFSettings.model_validate({"blocks": blocks, "attention": attention, "epochs": 1})
    started = time.process_time()
    (fit,) = NeurIF.fit_pack([point], [0], train, validation, order_seed=0, device=device)
    return len(train), fit.seconds, time.process_time() - started, _peak(device)


def ragged(counts: np.ndarray) -> Sample:
    """Random rows of so many assets a month, 2% of their returns missing: times do not depend on the values."""
    rng = np.random.default_rng(1)
    rows = int(counts.sum())
    x_NP = rng.random((rows, CHARACTERISTICS), dtype=np.float32)
    x_NP *= 2  # in place: the peak is to be that of the fit
    x_NP -= 1
    month_N = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    asset_N = np.concatenate([np.sort(rng.choice(ASSETS, count, replace=False)) for count in counts])
    y_N = rng.standard_normal(rows, dtype=np.float32) * np.float32(0.15)
    y_N[rng.random(rows) < 0.02] = np.nan
    nothing = np.zeros((len(counts), 0), np.float32)
    history = History(x_NP, month_N, asset_N, y_N, y_N, nothing)
    return Sample(x_NP, month_N, nothing, y_N, np.zeros((rows, 0), np.float32), history)


def _elapsed(started: float, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _peak(device: str) -> float:
    """Largest memory of this process so far, in GiB; getrusage's would count the parent's too."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


if __name__ == "__main__":
    main()
