"""Private memory of two workers that fit at once on a panel of a gigabyte, and a checksum of what they were handed.

    python benchmarks/memory.py [--megabytes 1000] [--epochs 2]

The panel lies once in the object store. A worker has imported everything and fitted a toy before its private memory
(USS, not RSS: shared pages are nobody's own) is taken as its start; from then on it is sampled, until the fit is done.
Checksums of the rows are taken by the worker before and after training, and by the driver of its own copy.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil
import ray

from factor_ray import Panel, Windows
from factor_ray.data import Sample
from factor_ray.models import CBAPM, CBAPMSettings, Fit, Hyperparameters, registry
from factor_ray.runner.campaign import Campaign, CellNames, Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.cluster import Machines
from factor_ray.runner.inputs import Inputs, month_digests
from factor_ray.runner.search import search_forward
from factor_ray.runner.settings import SearchSettings
from factor_ray.runner.space import Range, Space
from factor_ray.runner.tuning import run_campaign
from factor_ray.stages import digest_inputs

MONTHS, CHARACTERISTICS, VARIABLES, HORIZON, SLOTS, SEED = 300, 146, 9, 1, 2, 0
LIMIT = 0.05  # of the panel
MIB = 2**20


def main() -> None:
    """Fit two points at once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    register_watched()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(
        address="local",
        num_cpus=SLOTS,
        include_dashboard=False,
        object_store_memory=options.megabytes * 10**6 * 3 // 2,
        logging_level=logging.ERROR,
        runtime_env={
            "worker_process_setup_hook": f"{Path(__file__).stem}.begin_to_watch",
            "env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parent)},
        },
    )
    try:
        inputs = random_inputs(options.megabytes * 10**6)
        size = inputs.panel.table.nbytes + inputs.targets[HORIZON].nbytes
        window = inputs.windows[HORIZON][0]
        expected = checksum(inputs.view(HORIZON, 0).train(window))
        fits = fit_at_once(inputs, {"epochs": options.epochs, "hidden": (32, 16), "warm_up": 0})
    finally:
        ray.shutdown()

    print(f"{len(inputs.panel):,} rows x {CHARACTERISTICS}: {size / MIB:,.0f} MiB in the object store")
    print("| worker | start, MiB | most, MiB | growth, MiB | of the panel | fitting, s | checksum   |")
    print("|--------|------------|-----------|-------------|--------------|------------|------------|")
    shares = []
    for fit in fits:
        seen = fit.scores
        growth = seen["most"] - seen["start"]
        shares.append(growth / size)
        unchanged = {seen["checksum before"], seen["checksum after"]} == {float(expected)}
        print(
            f"| {seen['worker']:6.0f} | {seen['start'] / MIB:10.0f} | {seen['most'] / MIB:9.0f} | {growth / MIB:11.1f} "
            f"| {shares[-1]:12.2%} | {seen['ended'] - seen['began']:10.0f} "
            f"| {'unchanged' if unchanged else 'CHANGED':10} |"
        )
        assert unchanged, "training wrote to the panel"
    together = min(fit.scores["ended"] for fit in fits) - max(fit.scores["began"] for fit in fits)
    print(f"both fitted at once for {together:.0f} s; the largest growth is {max(shares):.2%} of the panel")
    assert together > 0, "the workers did not fit at once"
    assert max(shares) <= LIMIT, f"a worker's private memory grew by more than {LIMIT:.0%} of the panel"


def random_inputs(size: int) -> Inputs:
    """Random rows of about ``size`` bytes in one window that holds nearly all of them."""
    rng = np.random.default_rng(SEED)
    assets = size // (4 * (CHARACTERISTICS + VARIABLES + 5)) // MONTHS
    rows = assets * MONTHS
    names = [f"characteristic_{p}" for p in range(CHARACTERISTICS)]
    concepts = [f"consensus_{c}" for c in range(VARIABLES)]
    values = rng.standard_normal((rows, CHARACTERISTICS + VARIABLES), dtype=np.float32)
    frame = pd.DataFrame(values, columns=[*names, *concepts], copy=False)
    frame["month"] = np.repeat(pd.date_range("1998-01-31", periods=MONTHS, freq="ME"), assets)
    frame["asset"] = np.tile(np.arange(assets), MONTHS)
    frame["return"] = rng.uniform(-0.1, 0.1, rows).astype(np.float32)
    panel = Panel.from_frame(
        frame, month="month", asset="asset", returns="return", characteristics=names, consensus=concepts
    )
    months = panel.months.tolist()
    windows = Windows.single(first_train_end="2021-06", validation=12).split(months, HORIZON)
    target_N = rng.normal(0, 0.1, rows).astype(np.float32)
    nothing = np.zeros((MONTHS, 0), dtype=np.float32)
    return Inputs.of(panel, {HORIZON: target_N}, {HORIZON: windows}, {HORIZON: (nothing,)})


def fit_at_once(inputs: Inputs, fixed: dict[str, object]) -> list[Fit]:
    """Fit two points, a pack each, through the runner."""
    space = Space(CBAPMSettings, fixed, {"learning_rate": Range.model_validate({"log_uniform": (1e-4, 1e-3)})})
    settings = SearchSettings.model_validate({"points": SLOTS, "round": SLOTS, "pack": 1})
    search = search_forward({Watched.name: space}, 1, settings, 1, SEED)
    digests = digest_inputs(inputs.panel, month_digests(inputs.panel), inputs.targets)
    names = CellNames.of(Watched.name, HORIZON, inputs, digests, SEED)
    with tempfile.TemporaryDirectory() as cells:
        quest = Quest(Watched.name, HORIZON, search, inputs.windows[HORIZON], names)
        campaign = Campaign([quest], CellStore(Path(cells)), slots=SLOTS, pack=1)
        run_campaign(campaign, inputs, Machines(SLOTS, None, 0), on_progress=lambda _: None)
        assert quest.selection is not None
        return [campaign.fit(names.name(0, r.point.settings, r.member)) for r in quest.selection.scores]


class Watched(CBAPM):
    """CB-APM that tells what its fit did to the worker's memory and to the rows."""

    name: ClassVar[str] = "watched"

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str = "cpu",
    ) -> list[Fit]:
        """Fit as CB-APM does."""
        before, began = checksum(train), time.time()
        fits = super().fit_pack(points, seeds, train, validation, order_seed=order_seed, device=device)
        seen = {
            "worker": os.getpid(),
            "start": Memory.start,
            "most": max(Memory.most, private_memory()),
            "began": began,
            "ended": time.time(),
            "checksum before": before,
            "checksum after": checksum(train),
        }
        return [dataclasses.replace(fit, scores={**fit.scores, **seen}) for fit in fits]


class Memory:
    """Private memory of this process: at the start of its work, and the most that was seen since."""

    start: ClassVar[int] = 0
    most: ClassVar[int] = 0

    @classmethod
    def watch(cls) -> None:
        """Sample for ever."""
        while True:
            cls.most = max(cls.most, private_memory())
            time.sleep(0.02)


def register_watched() -> None:
    """Register the watched model in this process."""
    registry._OURS[Watched.name] = f"{Path(__file__).stem}:Watched"


def begin_to_watch() -> None:
    """In a worker: load all that fits need, then take its private memory, again and again."""
    register_watched()
    toy = random_sample(5000)
    CBAPM.fit_pack([CBAPMSettings(epochs=1, hidden=(32, 16))], [SEED], toy, toy, order_seed=SEED)
    gc.collect()
    Memory.start = Memory.most = private_memory()
    threading.Thread(target=Memory.watch, daemon=True).start()


def random_sample(rows: int) -> Sample:
    """A few rows of the panel's widths."""
    rng = np.random.default_rng(SEED)
    return Sample(
        x_NP=rng.standard_normal((rows, CHARACTERISTICS), dtype=np.float32),
        month_N=np.zeros(rows, np.int32),
        z_Td=np.zeros((1, 0), np.float32),
        y_N=rng.standard_normal(rows, dtype=np.float32),
        c_NC=rng.standard_normal((rows, VARIABLES), dtype=np.float32),
    )


def private_memory() -> int:
    """Bytes that only this process has."""
    return int(psutil.Process().memory_full_info().uss)


def checksum(sample: Sample) -> int:
    """A number that any change of the rows changes."""
    total = 0
    for array in (sample.x_NP, sample.c_NC, sample.y_N):
        total = zlib.crc32(memoryview(array).cast("B"), total)
    return total


if __name__ == "__main__":
    main()
