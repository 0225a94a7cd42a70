"""What was read: each file's name, size, hash and range of months."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from factor_ray.data.months import format_month


def describe_files(path: str | Path) -> list[dict[str, Any]]:
    """Return name, size in bytes and SHA-256 of a file, or of each file of a folder by name."""
    found = Path(path)
    files = sorted(file for file in found.iterdir() if file.is_file()) if found.is_dir() else [found]
    return [_described(file) for file in files]


def describe_months(first: int, last: int) -> dict[str, str]:
    """Return a range of months as it is written."""
    return {"first_month": format_month(first), "last_month": format_month(last)}


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256}
