"""How numbers are written: a true minus, thousands apart, and an en dash for what is not there."""

from __future__ import annotations

import math

MISSING = "–"


def percent(value: float, digits: int = 2) -> str:
    """Write a decimal in percent, without the sign: the unit belongs to the column's head."""
    return decimal(100 * value, digits)


def decimal(value: float, digits: int = 2) -> str:
    """Write a number with a fixed number of digits."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def p_value(value: float) -> str:
    """Write a p-value."""
    return "<0.001" if value < 0.0005 else decimal(value, 3)


def plain(value: float) -> str:
    """Write a number with as many digits as it needs, up to four that matter."""
    return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else MISSING


def count(value: float) -> str:
    """Write a whole number with thousands apart."""
    return decimal(value, 0)


def duration(seconds: float) -> str:
    """Write a duration as a person says it: ``48 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def size(content: float) -> str:
    """Write a number of bytes: ``912 B``, ``3.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if content < 1000:
            return f"{content:.0f} {unit}" if unit == "B" else f"{content:.1f} {unit}"
        content /= 1000
    return f"{content:,.1f} TB"
