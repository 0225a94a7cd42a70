"""Frames from which panels are built in tests, and a panel's bytes."""

import numpy as np
import pandas as pd

from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel

ROLES = {
    "month": "date",
    "asset": "permno",
    "returns": "ret",
    "characteristics": ["size", "momentum"],
    "consensus": ["feps"],
    "risk_free": "rf",
    "market_cap": "cap",
}
FIRST = parse_month("2001-11")


def draw_frame(seed: int = 0, *, assets: int = 7, months: int = 5) -> pd.DataFrame:
    """An unbalanced frame, sorted as panels are, with at least one row a month and missing values everywhere."""
    stream = np.random.default_rng(seed)
    cells = [(t, a) for t in range(months) for a in range(assets) if a == 0 or stream.random() < 0.7]
    frame = pd.DataFrame(cells, columns=["t", "permno"])
    frame.insert(0, "date", pd.PeriodIndex.from_ordinals(frame.pop("t") + FIRST, freq="M").astype(str))
    frame["ret"] = stream.normal(0, 0.1, len(frame))
    frame["rf"] = 0.002
    frame["cap"] = stream.lognormal(5, 1, len(frame))
    for name in ("size", "momentum", "feps"):
        frame[name] = stream.normal(size=len(frame))
        frame.loc[stream.random(len(frame)) < 0.2, name] = np.nan
    frame.loc[stream.random(len(frame)) < 0.1, "ret"] = np.nan
    return frame


def small(**columns: list) -> pd.DataFrame:
    """Four good rows, with columns replaced by the given ones."""
    good = {
        "date": ["2001-11", "2001-11", "2001-12", "2001-12"],
        "permno": [1, 2, 1, 2],
        "ret": [0.1, -0.1, 0.05, 0.0],
        "rf": [0.002] * 4,
        "cap": [10.0, 20.0, 11.0, 21.0],
        "size": [1.0, 2.0, 3.0, 4.0],
        "momentum": [4.0, 3.0, 2.0, 1.0],
        "feps": [0.5, np.nan, 0.7, 0.1],
    }
    return pd.DataFrame({**good, **columns})


def all_bytes(panel: Panel) -> list[bytes]:
    plain = [panel.values(name).tobytes() for name in ("month", "return", "risk_free", "market_cap")]
    return [*plain, str(panel.assets.tolist()).encode(), panel.characteristics.tobytes(), panel.consensus.tobytes()]
