"""NeurIF: a wide month forward and backward, and an epoch of a panel as large as the paper's.

    python benchmarks/neurif.py [--full] [--threads 2] [--blocks 2]

First one month of 8,000 assets (46 characteristics, d = 64, 4 heads, K = 4) through loss and gradients, with induced
and with exact attention, on ``--threads`` threads. Then an epoch over 492 months of about 6,100 assets (3 million rows)
on one thread, as fits run: by default 36 months are measured and the epoch is extrapolated from them, which is labelled
so; ``--full`` makes the whole epoch and prints the peak memory of the process. With a GPU both are measured there too.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from factor_ray.data.sample import History, Sample
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.neurif_network import orthogonality
from factor_ray.models.neurif_step import return_loss
from factor_ray.models.neurif_task import NeurIFTask

WIDE, CHARACTERISTICS, ASSETS, MONTHS, ASSETS_A_MONTH = 8000, 46, 21_945, 492, 6100
MEASURED, VALIDATION = 36, 12


def main() -> None:
    """Print both tables, for every device there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=2)
    options = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        where = f"{options.threads} threads" if device == "cpu" else torch.cuda.get_device_name()
        print(f"torch {torch.__version__}, {device} ({where}): one month of {WIDE} assets, {options.blocks} blocks")
        print("| attention | forward, s | with gradients, s |")
        print("|-----------|------------|-------------------|")
        for attention in ("induced", "exact"):
            forward, both = wide_month(attention, options.blocks, options.threads, device)
            print(f"| {attention:9} | {forward:10.3f} | {both:17.3f} |")
    for device in devices:
        epoch(options.blocks, device, months=MONTHS if options.full else MEASURED)


def wide_month(attention: str, blocks: int, threads: int, device: str, rounds: int = 3) -> tuple[float, float]:
    """Return the least seconds of a forward pass alone, and of loss and gradients, of one month."""
    sample = ragged(np.array([WIDE]))
    point = NeurIFSettings.model_validate({"blocks": blocks, "attention": attention, "start": "random", "dropout": 0.0})
    task = NeurIFTask([point], [0], sample, sample, order_seed=0, device=device)
    network, months = task.networks[0], task.months
    weights = dict(network.named_parameters())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    forward, both = [], []
    for _ in range(rounds + 1):
        with torch.no_grad():
            (chunk,) = months.chunks([0])
            started = time.perf_counter()
            network.loadings(chunk.x_nP, chunk.position_nd, chunk.bounds)
            forward.append(_elapsed(started, device))
        started = time.perf_counter()
        value, factor_TK = return_loss(network, weights, months, [0], instrumentation=0.01)
        torch.autograd.grad(value + 0.01 * orthogonality(factor_TK), list(weights.values()))
        both.append(_elapsed(started, device))
    torch.set_num_threads(before)
    return min(forward[1:]), min(both[1:])


def epoch(blocks: int, device: str, *, months: int) -> None:
    """Fit for one epoch and print its time, and the largest memory that the process has had."""
    rng = np.random.default_rng(0)
    counts = rng.integers(ASSETS_A_MONTH - 1500, ASSETS_A_MONTH + 1501, months)
    train, validation = ragged(counts), ragged(counts[:VALIDATION])
    point = NeurIFSettings(blocks=blocks, epochs=1)
    started = time.process_time()
    (fit,) = NeurIF.fit_pack([point], [0], train, validation, order_seed=0, device=device)
    processor = time.process_time() - started
    print(
        f"{device}: {len(train)} rows in {months} months, {blocks} blocks, one epoch and {VALIDATION} validation months"
    )
    print(f"epoch {fit.seconds:.1f} s, whole fit {processor:.1f} s of processor time (measured)")
    if months < MONTHS:
        rows = MONTHS * ASSETS_A_MONTH
        print(f"epoch of {rows} rows {fit.seconds * rows / len(train):.0f} s (extrapolated)")
    print(f"largest memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if device == "cuda":
        print(f"largest memory of the GPU {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def ragged(counts: np.ndarray) -> Sample:
    """Random rows of so many assets a month, 2% of their returns missing: times do not depend on the values."""
    rng = np.random.default_rng(1)
    rows = int(counts.sum())
    x_NP = rng.random((rows, CHARACTERISTICS), dtype=np.float32) * 2 - 1
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


if __name__ == "__main__":
    main()
