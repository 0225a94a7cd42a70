"""The files as downloaded lie beside the repository; they are never part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real() -> Path:
    if not _SHARED.is_dir():
        pytest.skip("the real files are not here: they are looked for in shared/data beside the repository")
    return _SHARED
