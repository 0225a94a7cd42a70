"""All steps of the preparation against a plain pandas groupby-transform pipeline, on a panel of the paper's size.

    python benchmarks/prepare.py [--rows 605722] [--characteristics 114] [--consensus 9] [--firms 4683] [--shards 2]

Steps: lag by reporting delay, universe, screen, imputation (last value; growth rates by the mean so far; consensus
carried forward; then the month's mean), winsorising, ranks. The pandas pipeline is what a user would write with
``groupby`` and ``transform``, in double precision on one core, as pandas runs; all must end with equal ranks. Each runs
in a process of its own once the panel is in memory; shards are Ray actors that were started before. Processor seconds
are those of one process and count little of what else the machine does; peak memory is that of the process and its
children, shared memory counted once, the panel and Ray itself included.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import threading
import time

import numpy as np
import pandas as pd
import psutil

from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.universe import Universe
from factor_ray.runner.cluster import cluster
from factor_ray.runner.settings import ComputeSettings
from factor_ray.runner.shards import prepare_in_shards

SETTINGS = Preprocess(consensus="impute", winsorise=0.01, universe=Universe(min_price=1), max_missing=0.5)
FIRST = 288  # 1994-01
MISSING = 0.12


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 605_722), ("characteristics", 114), ("consensus", 9), ("firms", 4_683)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shards", type=int, default=2)
    arguments = parser.parse_args()
    sizes = arguments.rows, arguments.characteristics, arguments.consensus, arguments.firms
    found = {}
    for name in ("pandas", "prepare", "shards"):
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
            found[name] = own.submit(measured, name, sizes, arguments.shards).result()
    rows, columns = sizes[0], sizes[1] + sizes[2]
    print(f"{rows:,} rows x {columns} columns, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end")
    print("| preparation              | seconds | ratio | processor seconds | ratio | peak memory, GB |")
    print("|--------------------------|---------|-------|-------------------|-------|-----------------|")
    wall, processor = found["pandas"][:2]
    labels = {"pandas": "pandas, groupby-transform", "prepare": "prepare, one process"}
    for name, (seconds, own_seconds, memory, _) in found.items():
        label = labels.get(name, f"prepare, {arguments.shards} shards")
        told = f"{own_seconds:17.1f} | {processor / own_seconds:5.1f}"
        told = f"{'-':>17s} | {'-':>5s}" if name == "shards" else told  # theirs are spent in other processes
        print(f"| {label:24s} | {seconds:7.1f} | {wall / seconds:5.1f} | {told} | {memory:15.2f} |")
    sums = [told for *_, told in found.values()]
    print(f"largest difference of a checksum of the ranks: {max(sums) - min(sums):.1e}")


def measured(name: str, sizes: tuple[int, int, int, int], shards: int) -> tuple[float, float, float, float]:
    """Seconds, processor seconds, peak memory in GB and a checksum of the prepared values."""
    panel = drawn(*sizes)
    frame = panel.to_frame() if name == "pandas" else None
    with cluster(ComputeSettings(slots=shards)) if name == "shards" else threading.Lock(), Peak() as peak:
        started, own = time.perf_counter(), time.process_time()
        if frame is not None:
            values = plain(frame, panel)
        elif name == "prepare":
            ready = prepare(panel, SETTINGS, judged=judged(panel))
        else:
            ready = prepare_in_shards(panel, SETTINGS, shards, judged(panel))[0]
        seconds, own = time.perf_counter() - started, time.process_time() - own
    if frame is None:
        values = np.concatenate([ready.characteristics, ready.consensus], axis=1)
    check = float(np.mean(np.abs(values @ np.cos(np.arange(values.shape[1])))))
    return seconds, own, peak.bytes / 2**30, check


class Peak:
    """Largest memory of this process and its children while it is open."""

    def __enter__(self) -> Peak:
        self.bytes, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)
            if self._done.wait(0.2):
                return


def drawn(rows: int, characteristics: int, consensus: int, firms: int) -> Panel:
    """Firms with histories of equal length over 360 months; a third of the columns are quarterly, a third annual."""
    stream = np.random.default_rng(0)
    length = -(-rows // firms)
    firm = np.repeat(np.arange(firms), length)[:rows]
    starts = stream.integers(0, max(360 - length, 0) + 1, firms)
    starts[:2] = 0, max(360 - length, 0)
    month = FIRST + starts[firm] + np.tile(np.arange(length), firms)[:rows]
    names = [f"x{number}" for number in range(characteristics)]
    concepts = [f"c{number}" for number in range(consensus)]
    block = stream.standard_normal((rows, characteristics + consensus), dtype=np.float32)
    block[stream.random(block.shape, dtype=np.float32) < MISSING] = np.nan
    frame = pd.DataFrame(block, columns=[*names, *concepts], copy=False)
    frame.insert(0, "month", pd.PeriodIndex.from_ordinals(month, freq="M").to_timestamp())
    frame.insert(1, "asset", firm)
    frame.insert(2, "ret", stream.normal(0, 0.1, rows).clip(-0.9))
    frame.insert(3, "price", np.exp(stream.normal(2, 1, rows)))
    frequency = {name: ("monthly", "quarterly", "annual")[number % 3] for number, name in enumerate(names)}
    return Panel.from_frame(
        frame,
        month="month",
        asset="asset",
        returns="ret",
        price="price",
        characteristics=names,
        consensus=concepts,
        frequency={**frequency, **dict.fromkeys(concepts, "annual")},
        growth=names[::4],
    )


def judged(panel: Panel) -> tuple[int, int]:
    """Return the first seventeen years."""
    return int(panel.months[0]), int(panel.months[0]) + 203


def plain(frame: pd.DataFrame, panel: Panel) -> np.ndarray:
    """The same steps with groupby and transform."""
    names, concepts = list(panel.characteristic_names), list(panel.consensus_names)
    month = pd.Series(panel.row_months.astype(np.int64))
    asset = frame["asset"]
    values = frame[[*names, *concepts]].astype(float)
    delays = {"monthly": 0, "quarterly": 3, "annual": 6}
    for lag in (3, 6):
        moved = [name for name in values if delays[panel.frequency[name]] == lag]
        before = values[moved].assign(month=month + lag, asset=asset)
        keys = pd.DataFrame({"month": month, "asset": asset})
        values[moved] = keys.merge(before, how="left", on=["month", "asset"])[moved].to_numpy()
    entered = values[concepts].notna().any(axis=1).groupby(asset).cummax()
    kept = entered & (frame["price"] >= 1)
    first, last = judged(panel)
    rows = values.loc[kept & month.between(first, last), names]
    names = [name for name in names if rows[name].isna().mean() <= SETTINGS.max_missing]
    growth = [name for name in names if name in panel.growth]
    carried = [name for name in [*names, *concepts] if name not in growth]
    so_far = values[growth].groupby(asset).transform(lambda own: own.expanding().mean())
    values[growth] = values[growth].fillna(so_far)
    values[carried] = values.groupby(asset)[carried].ffill()
    values, month = values.loc[kept, [*names, *concepts]], month[kept]
    by = values.groupby(month)
    low, high = by.transform("quantile", SETTINGS.winsorise), by.transform("quantile", 1 - SETTINGS.winsorise)
    values = values.clip(low, high)
    values = values.fillna(values.groupby(month).transform("mean"))
    by = values.groupby(month)
    ranks, count = by.rank(), by.transform("count")
    return (2 * (ranks - 1) / (count - 1) - 1).to_numpy()


if __name__ == "__main__":
    main()
