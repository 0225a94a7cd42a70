"""Compiled functions where their machine code cannot be kept."""

from __future__ import annotations

import pytest
from numba.core import caching

from factor_ray.models.quantile.compiled import compiled


def doubled(number: float) -> float:
    return 2.0 * number


def test_where_nothing_can_be_written_code_is_compiled_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiled(doubled)(1.5) == 3.0
