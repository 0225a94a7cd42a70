"""The ipca package, an oracle, imported without compiling it: that takes longer than what it computes here."""

from __future__ import annotations

import numba

numba.config.DISABLE_JIT = True
try:
    from ipca import InstrumentedPCA
finally:
    numba.config.DISABLE_JIT = False

__all__ = ["InstrumentedPCA"]
