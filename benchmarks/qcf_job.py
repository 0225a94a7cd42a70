"""A bond-sized QCF job: how long a run takes, and a second one with other windows.

    python benchmarks/qcf_job.py [--months 206] [--bonds 1000] [--slots 2] [--folder DIR]

A panel of bonds with 14 characteristics is simulated; three levels, m in {2, 3}, five ridges and one to four factors
are searched by equation 10 in every rolling window of 36 months. Every run is a process of its own. "stages" are the
run's own clock, from its first line on: imports are what is left of "process". "started" is when the data are prepared:
what comes after it is the search, the forecasts and the report.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

FIRST, AGAIN = 180, 5
"""Seconds that are wanted of the first run, and of one with other windows after its start-up."""

CHARACTERISTICS = [
    "bond_age",
    "bond_volatility",
    "coupon",
    "duration",
    "face_value",
    "spread",
    "spread_to_d2d",
    "debt_to_ebitda",
    "equity_market_cap",
    "firm_total_debt",
    "equity_volatility",
    "vix_beta",
    "mom_6m_equity",
    "mom_6m_industry",
]


def main() -> None:
    """Simulate, run twice and print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=206)
    parser.add_argument("--bonds", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="factor_ray-qcf-job-") as scratch:
        folder = chosen.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        simulate_bonds(chosen.months, chosen.bonds, folder / "bonds.parquet")
        config = folder / "job.yaml"
        config.write_text(yaml.safe_dump(job(folder, chosen.slots)))
        print(f"{'run':<28}{'process s':>10}{'after start s':>15}{'CPU s':>8}  stages (s from the first line)")
        first, _ = tell("first", config, [])
        tell("the same again", config, [])
        _, again = tell("windows of 24 months", config, ["windows.length=23"])
    for text, seconds, wanted in (("first run", first, FIRST), ("other windows, after start-up", again, AGAIN)):
        print(f"{text}: {seconds:.1f} s, wanted {wanted} s: {'met' if seconds <= wanted else 'missed'}")


def job(folder: Path, slots: int) -> dict[str, object]:
    """Return the configuration."""
    return {
        "name": "bonds",
        "data": {
            "source": "table",
            "path": str(folder / "bonds.parquet"),
            "columns": {"characteristics": CHARACTERISTICS},
        },
        "preprocess": {"rank": False, "standardise": True},
        "target": {"quantiles": [0.05, 0.5, 0.95]},
        "windows": {"scheme": "rolling", "length": 35, "validation": 1, "test": 1, "first_train_end": "2005-11"},
        "macro_state": {"kind": "none"},
        "models": [
            {
                "name": "qcf",
                "search": {
                    "factors": {"integer": [1, 4]},
                    "order": {"choice": [2, 3]},
                    "ridge": {"choice": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]},
                },
            }
        ],
        "search": {"points": 40, "pruner": "none", "tolerance": 0.01},
        "compute": {"slots": slots},
        "tracking": {"mode": "disabled"},
        "output": str(folder / "runs"),
    }


def tell(label: str, config: Path, changes: list[str]) -> tuple[float, float]:
    """Run once, print one line, and return the seconds of the process and those after its start-up."""
    settings = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "factor_ray.cli", "run", str(config), *settings]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    stages: list[tuple[str, float]] = []
    for line in process.stderr:
        if (found := re.match(r"\d\d:\d\d:\d\d (.*)", line)) is not None:
            stages.append((found[1].strip(), time.perf_counter()))
        elif "factor-ray:" in line:
            print(line, file=sys.stderr)
    process.wait()
    ended = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    first = stages[0][1]
    told = ", ".join(f"{name} {at - first:.1f}" for name, at in stages) + f", end {ended - first:.1f}"
    prepared = next(at for name, at in stages if name.startswith("macro state"))
    print(f"{label:<28}{ended - started:>10.1f}{ended - prepared:>15.1f}{cpu:>8.1f}  {told}", flush=True)
    status = json.loads((config.parent / "runs" / "bonds" / "logs" / "status.json").read_text())
    print(f"{'':<28}fitted {status['fitted']}, reused {status['reused']}", flush=True)
    return ended - started, ended - prepared


def simulate_bonds(months: int, bonds: int, file: Path) -> None:
    """Write an unbalanced panel with two indices, one of them of the scale of returns."""
    rng = np.random.default_rng(0)
    width = len(CHARACTERISTICS)
    theta_2D = rng.standard_normal((2, width))
    theta_2D /= np.linalg.norm(theta_2D, axis=1, keepdims=True)
    x_ND, y_N = rng.standard_normal((bonds, width)), np.full(bonds, np.nan)
    frames = []
    ends = pd.date_range("2003-01-31", periods=months + 1, freq="ME")
    for end in ends:
        there = rng.uniform(size=bonds) < 0.95
        frame = pd.DataFrame(x_ND[there], columns=CHARACTERISTICS)
        frame.insert(0, "month", end)
        frame.insert(1, "asset", [f"bond_{k:05d}" for k in np.flatnonzero(there)])
        frame.insert(2, "return", y_N[there])
        frames.append(frame)
        mean_N, spread_N = x_ND @ theta_2D[0], 0.5 + 0.2 * (x_ND @ theta_2D[1]) ** 2
        f_2 = 0.01 * rng.standard_normal(), 0.01 * abs(rng.standard_normal()) + 0.003
        y_N = np.clip(f_2[0] * mean_N + f_2[1] * spread_N * rng.standard_t(4, bonds), -0.9, 3.0)
        x_ND = 0.95 * x_ND + np.sqrt(1 - 0.95**2) * rng.standard_normal((bonds, width))
    pd.concat(frames, ignore_index=True).to_parquet(file)


if __name__ == "__main__":
    main()
