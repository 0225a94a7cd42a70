"""Reading Open Source Asset Pricing signals and CRSP returns at the size of the CB-APM paper.

    python benchmarks/openap.py FOLDER [--layout parquet|csv|folder]

FOLDER is what `factor-ray simulate --format openap --size paper --out FOLDER` has written: 605,722 rows, 123 signals.
The other layouts are written beside it first. Printed are the seconds of `factor_ray.data.openap`, on the wall and of
the processor, and the most memory that the process has held.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import polars as pl

from factor_ray.data import openap


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=["parquet", "csv", "folder"], default="parquet")
    arguments = parser.parse_args()
    signals = laid_out(arguments.folder, arguments.layout)
    wall, processor = time.perf_counter(), time.process_time()
    panel = openap(signals, arguments.folder / "crsp.parquet", risk_free=arguments.folder / "french.csv")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    width = len(panel.characteristic_names) + len(panel.consensus_names)
    print(
        f"{arguments.layout}: {len(panel):,} rows x {width} in {wall:.1f} s ({processor:.1f} s of processor), "
        f"at most {peak:.2f} GB"
    )


def laid_out(folder: Path, layout: str) -> Path:
    """Return the signals in a layout, written from the Parquet file where they are not there yet."""
    wide = folder / "signals.parquet"
    if layout == "parquet":
        return wide
    target = folder / ("signals.csv" if layout == "csv" else "predictors")
    if target.exists():
        return target
    if layout == "csv":
        pl.scan_parquet(wide).sink_csv(target)
        return target
    target.mkdir()
    keys = ["permno", "yyyymm"]
    for name in pl.read_parquet_schema(wide):
        if name not in keys:
            pl.read_parquet(wide, columns=[*keys, name]).drop_nulls().write_csv(target / f"{name}.csv")
    return target


if __name__ == "__main__":
    main()
