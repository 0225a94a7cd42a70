"""Names by content: equal content, equal digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(identity: Mapping[str, Any] | list[Any] | bytes) -> str:
    """Return a short hash of a JSON-able identity or of bytes."""
    raw = identity if isinstance(identity, bytes) else json.dumps(identity, sort_keys=True, default=plain).encode()
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def plain(value: Any) -> Any:
    """Return what JSON writes for NumPy values and tuples; for ``json.dumps(default=...)``."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | tuple):
        return list(value)
    raise TypeError(f"cannot write {type(value).__name__} into an identity")
